//! The PeerLink: one per peer. HELLO opens it, then it carries messages both ways. Upholds R3, R11 and R13 through
//! [`crate::handshake::Link`]. It waits on Persistence.

use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};
use tracing::{info, warn};

use super::accept::Seldom;
use super::links::Inboxes;
use super::message::{
    Admitted, Applied, Connected, Durable, Halt, HelloHeard, Incoming, Introduce, Introduced, Introduction,
    LinkChanged, Outgoing, Persist, ROLE_MAILBOX, Stop, Transmit, Witness,
};
use super::outbox::Outbox;
use crate::effect::Effect;
use crate::handshake::{Link, LinkAction};
use crate::paxos::Hello;
use crate::types::{Epoch, NodeId};

/// The neighbours of a [`PeerLinkActor`].
#[derive(Clone)]
pub struct PeerLinkPorts {
    /// Persistence.
    pub persistence: Recipient<Persist>,
    /// The roles, for what the peer sends.
    pub inboxes: Inboxes,
    /// The ReconcileActor and the node hear each HELLO.
    pub hello: Vec<Recipient<HelloHeard>>,
    /// Ledger and Acceptor hear what the peer has seen of this node.
    pub witness: Vec<Recipient<Witness>>,
    /// Proposer and ReconcileActor hear of the link.
    pub changed: Vec<Recipient<LinkChanged>>,
    /// The network.
    pub network: Recipient<Outgoing>,
    /// The node.
    pub node: Recipient<Halt>,
}

/// While a store does not answer, no more than this waits for it; the peer repeats what matters.
const HELD_MAX: usize = 256;

/// The link to one peer.
pub struct PeerLinkActor {
    me: NodeId,
    epoch: Epoch,
    peer: NodeId,
    core: Link,
    ports: PeerLinkPorts,
    outbox: Outbox<LinkAction>,
    heartbeat: Duration,
    /// Of messages that are not let in.
    lines: Seldom,
}

impl PeerLinkActor {
    /// The link of process `epoch` of node `me` to `peer`; each `heartbeat` it says HELLO again.
    pub fn new(
        (me, epoch, peer): (NodeId, Epoch, NodeId),
        core: Link,
        ports: PeerLinkPorts,
        own: Recipient<Durable>,
        heartbeat: Duration,
    ) -> Self {
        let outbox = Outbox::new(ports.persistence.clone(), ports.node.clone(), own);
        Self { me, epoch, peer, core, ports, outbox, heartbeat, lines: Seldom::default() }
    }

    fn run(&mut self, effects: Vec<Effect<LinkAction>>) {
        let free = self.outbox.push(effects);
        self.act(free);
    }

    fn act(&mut self, actions: Vec<LinkAction>) {
        let peer = self.peer;
        for action in actions {
            match action {
                LinkAction::Send(message) => {
                    let outgoing = Outgoing { from: self.me, epoch: self.epoch, to: peer, message };
                    drop(self.ports.network.try_send(outgoing));
                }
                LinkAction::Deliver(message) => self.ports.inboxes.deliver(peer, message),
                LinkAction::Heard { knows, height, client_address } => {
                    let heard = HelloHeard { peer, knows, height, client_address };
                    self.ports.hello.iter().for_each(|who| who.do_send(heard.clone()));
                }
                LinkAction::Witness(known) => {
                    self.ports.witness.iter().for_each(|role| role.do_send(Witness(peer, known.clone())));
                }
                LinkAction::Up { votes } => {
                    info!(%peer, votes, "link up");
                    self.changed(LinkChanged { peer, up: true, votes });
                }
                LinkAction::Down => {
                    info!(%peer, "link down");
                    self.changed(LinkChanged { peer, up: false, votes: false });
                }
                LinkAction::Refused(refusal) => {
                    if let Some(unsaid) = self.lines.admit() {
                        warn!(%peer, unsaid, "{refusal}");
                    }
                }
            }
        }
    }

    /// What a new connection is told. HELLOs on the one that there is pass the outbox; this one leaves at once, so it does
    /// not name an incarnation that is being written: the peer may vote because it is known, and a crash would forget it
    /// (R11).
    fn introduction(&self) -> Hello {
        let mut hello = self.core.hello();
        if !self.outbox.is_empty() {
            hello.known.incarnation = None;
        }
        hello
    }

    fn changed(&self, changed: LinkChanged) {
        self.ports.changed.iter().for_each(|role| role.do_send(changed));
    }
}

impl Actor for PeerLinkActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(ROLE_MAILBOX);
        ctx.run_interval(self.heartbeat, |actor, _| {
            let effects = actor.core.on_heartbeat();
            actor.run(effects);
        });
    }
}

impl Handler<Connected> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, Connected(connected): Connected, _: &mut Context<Self>) {
        let effects = self.core.on_connection(connected);
        self.run(effects);
    }
}

impl Handler<Introduce> for PeerLinkActor {
    type Result = Introduction;

    fn handle(&mut self, _: Introduce, _: &mut Context<Self>) -> Introduction {
        Introduction { hello: self.introduction(), refusal: None }
    }
}

impl Handler<Introduced> for PeerLinkActor {
    type Result = Introduction;

    fn handle(&mut self, Introduced(hello): Introduced, _: &mut Context<Self>) -> Introduction {
        Introduction { hello: self.introduction(), refusal: self.core.judge(&hello).err() }
    }
}

impl Handler<Incoming> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, Incoming(message): Incoming, _: &mut Context<Self>) {
        if self.outbox.len() >= HELD_MAX {
            return;
        }
        let effects = self.core.receive(message);
        self.run(effects);
    }
}

impl Handler<Transmit> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, Transmit(message): Transmit, _: &mut Context<Self>) {
        let effects = self.core.send(message);
        self.run(effects);
    }
}

impl Handler<Applied> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, _: &mut Context<Self>) {
        self.core.set_height(block.height());
    }
}

impl Handler<Admitted> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, _: Admitted, _: &mut Context<Self>) {
        let effects = self.core.admit();
        self.run(effects);
    }
}

impl Handler<Durable> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, durable: Durable, _: &mut Context<Self>) {
        let released = self.outbox.on_durable(durable);
        self.act(released);
    }
}

impl Handler<Stop> for PeerLinkActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "peer_link_tests.rs"]
mod tests;
