//! The wire between the nodes of one process.

use std::collections::BTreeMap;

use actix::{Actor, Context, Handler, Message as ActixMessage};

use super::Tap;
use crate::actors::message::{Connected, Incoming, Outgoing};
use crate::node::LinkPort;
use crate::types::{Epoch, NodeId};

/// Which group of the network each node is in; those that are named in none are together.
#[derive(Clone, Debug, Default, ActixMessage)]
#[rtype(result = "()")]
pub(super) struct Cut(BTreeMap<NodeId, usize>);

impl Cut {
    pub(super) fn into(groups: &[Vec<NodeId>]) -> Self {
        let numbered = groups.iter().enumerate();
        Self(numbered.flat_map(|(number, group)| group.iter().map(move |node| (*node, number))).collect())
    }

    pub(super) fn lets_pass(&self, one: NodeId, other: NodeId) -> bool {
        self.0.get(&one) == self.0.get(&other)
    }
}

/// Carries messages between the nodes of one process, in order and without loss, as the cut and the tap allow.
pub(super) struct InProcessNetwork {
    ports: BTreeMap<NodeId, (Epoch, BTreeMap<NodeId, LinkPort>)>,
    cut: Cut,
    tap: Tap,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub(super) struct Attach {
    pub(super) node: NodeId,
    pub(super) epoch: Epoch,
    pub(super) links: BTreeMap<NodeId, LinkPort>,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub(super) struct Detach(pub(super) NodeId);

impl InProcessNetwork {
    pub(super) fn new(tap: Tap) -> Self {
        Self { ports: BTreeMap::new(), cut: Cut::default(), tap }
    }

    /// Tells a node and all that it can hear that the way between them is there, or is gone.
    fn connect(&self, node: NodeId, connected: bool) {
        for peer in self.ports.keys().filter(|peer| **peer != node && self.cut.lets_pass(node, **peer)) {
            self.tell(node, *peer, connected);
        }
    }

    fn tell(&self, one: NodeId, other: NodeId, connected: bool) {
        for (node, peer) in [(one, other), (other, one)] {
            if let Some(port) = self.ports.get(&node).and_then(|(_, links)| links.get(&peer)) {
                port.connected.do_send(Connected(connected));
            }
        }
    }
}

impl Actor for InProcessNetwork {
    type Context = Context<Self>;
}

impl Handler<Attach> for InProcessNetwork {
    type Result = ();

    fn handle(&mut self, Attach { node, epoch, links }: Attach, _: &mut Context<Self>) {
        self.ports.insert(node, (epoch, links));
        self.connect(node, true);
    }
}

impl Handler<Detach> for InProcessNetwork {
    type Result = ();

    fn handle(&mut self, Detach(node): Detach, _: &mut Context<Self>) {
        self.connect(node, false);
        self.ports.remove(&node);
    }
}

impl Handler<Cut> for InProcessNetwork {
    type Result = ();

    /// Links notice at once, as those over TCP notice a connection that breaks: no collection waits for who is cut off.
    fn handle(&mut self, cut: Cut, _: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.cut, cut);
        let nodes: Vec<NodeId> = self.ports.keys().copied().collect();
        for (at, one) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                let now = self.cut.lets_pass(*one, *other);
                if now != before.lets_pass(*one, *other) {
                    self.tell(*one, *other, now);
                }
            }
        }
    }
}

impl Handler<Outgoing> for InProcessNetwork {
    type Result = ();

    fn handle(&mut self, outgoing: Outgoing, _: &mut Context<Self>) {
        // What a process sent before it died is gone with it, as it is on a connection that breaks.
        if self.ports.get(&outgoing.from).is_none_or(|(epoch, _)| *epoch != outgoing.epoch) {
            return;
        }
        if !self.cut.lets_pass(outgoing.from, outgoing.to) {
            return;
        }
        let port = self.ports.get(&outgoing.to).and_then(|(_, links)| links.get(&outgoing.from));
        if let Some(port) = port.filter(|_| (self.tap)(&outgoing)) {
            drop(port.incoming.try_send(Incoming(outgoing.message)));
        }
    }
}
