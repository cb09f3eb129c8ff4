//! A network that drops, delays, doubles, reorders, cuts and clogs, as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message as ActixMessage};
use paxos_banking::actors::message::{Connected, Incoming, Outgoing};
use paxos_banking::entropy::Entropy;
use paxos_banking::node::{LinkPort, Node};
use paxos_banking::paxos::Message;
use paxos_banking::types::{Epoch, Height, NodeId};
use tokio::time::Instant;

use crate::record::Shared;

/// What the network does to messages.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of a hundred messages, how many are lost.
    pub lost_percent: u64,
    /// Of a hundred messages, how many come twice.
    pub doubled_percent: u64,
    /// The longest that a message takes; each draws its own time, which reorders them.
    pub delay_max: Duration,
}

impl Weather {
    pub const CALM: Self = Self { lost_percent: 0, doubled_percent: 0, delay_max: Duration::from_millis(5) };
    /// Nothing is lost, everything is late and out of order.
    pub const REORDERING: Self = Self { lost_percent: 0, doubled_percent: 0, delay_max: Duration::from_millis(20) };
}

/// A way from one node to another.
pub type Way = (NodeId, NodeId);

/// A process on the network.
struct Attached {
    epoch: Epoch,
    links: BTreeMap<NodeId, LinkPort>,
}

pub struct SimNetwork {
    /// The processes of each node, the newest last. There are two while one has taken the other's store.
    attached: BTreeMap<NodeId, Vec<Attached>>,
    /// Whom a peer still has its connection with, where that is not a node's newest process.
    older: BTreeMap<(NodeId, NodeId), Epoch>,
    weather: Weather,
    cut: BTreeSet<Way>,
    clogged: BTreeSet<Way>,
    /// What waits on ways that are clogged.
    held: Vec<Outgoing>,
    /// Nodes to and from which nothing passes but HELLOs, and the blocks that they ask for.
    no_rounds: BTreeMap<NodeId, Height>,
    entropy: Entropy,
    record: Shared,
    in_flight: BTreeMap<(Instant, u64), Outgoing>,
    sent: u64,
    wakes_at: Option<Instant>,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Attach(pub Node);

/// The process of a node with this epoch is gone.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Detach(pub NodeId, pub Epoch);

/// Changes how the network behaves.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub enum Set {
    Weather(Weather),
    /// These ways are cut and no others. While one direction is, messages that way are lost; while both are, the links
    /// notice.
    Cut(BTreeSet<Way>),
    /// These ways are clogged and no others: messages wait, and come all at once when the way is free again.
    Clogged(BTreeSet<Way>),
    /// To and from these nothing passes but HELLOs, and blocks up to this height.
    NoRounds(BTreeMap<NodeId, Height>),
    /// The peer's connection with the node is with its newest process from now on.
    Reconnect {
        peer: NodeId,
        node: NodeId,
    },
}

/// What waits on clogged ways is bounded, as sockets' buffers are: beyond it the newest are lost.
const HELD_MAX: usize = 5_000;

impl SimNetwork {
    pub fn new(weather: Weather, entropy: Entropy, record: Shared) -> Self {
        Self {
            attached: BTreeMap::new(),
            older: BTreeMap::new(),
            weather,
            cut: BTreeSet::new(),
            clogged: BTreeSet::new(),
            held: Vec::new(),
            no_rounds: BTreeMap::new(),
            entropy,
            record,
            in_flight: BTreeMap::new(),
            sent: 0,
            wakes_at: None,
        }
    }

    fn connected(&self, a: NodeId, b: NodeId) -> bool {
        let cut = self.cut.contains(&(a, b)) && self.cut.contains(&(b, a));
        self.attached.contains_key(&a) && self.attached.contains_key(&b) && !cut
    }

    /// The process of `node` that `peer` has its connection with.
    fn process(&self, node: NodeId, peer: NodeId) -> Option<&Attached> {
        let processes = self.attached.get(&node)?;
        let older = self.older.get(&(peer, node));
        let older = older.and_then(|epoch| processes.iter().find(|process| process.epoch == *epoch));
        older.or(processes.last())
    }

    /// Whether a node whose store went back may hear or say this.
    fn passes(&self, Outgoing { from, to, message, .. }: &Outgoing) -> bool {
        let Some(newest) = self.no_rounds.get(to).or(self.no_rounds.get(from)) else { return true };
        match message {
            Message::Hello(_) | Message::ReconcileRequest(_) | Message::ReconcileAck(_) | Message::BlocksRequest(_) => {
                true
            }
            // With more than its newest store holds it would itself tell of more, before that is put back.
            Message::BlocksResponse(response) => response.blocks.last().is_none_or(|block| block.height() <= *newest),
            _ => false,
        }
    }

    /// Whether a process reads what reaches it: not over a way that is broken by now, and no HELLO of a process that
    /// another one has replaced.
    fn is_heard(&self, from: NodeId, to: NodeId, message: &Message) -> bool {
        let older = match message {
            Message::Hello(hello) => self.process(from, to).is_none_or(|process| process.epoch != hello.epoch),
            _ => false,
        };
        self.connected(from, to) && !older
    }

    fn tell(&self, a: NodeId, b: NodeId, connected: bool) {
        for (own, peer) in [(a, b), (b, a)] {
            let Some(process) = self.process(own, peer) else { continue };
            self.record.borrow_mut().witnesses.disconnected(own, process.epoch, peer);
            if let Some(port) = process.links.get(&peer) {
                port.connected.do_send(Connected(connected));
            }
        }
    }

    fn reconnect(&mut self, peer: NodeId, node: NodeId) {
        if self.older.contains_key(&(peer, node)) {
            if let Some(process) = self.process(node, peer) {
                self.record.borrow_mut().witnesses.disconnected(node, process.epoch, peer);
                if let Some(port) = process.links.get(&peer) {
                    port.connected.do_send(Connected(false));
                }
            }
            self.older.remove(&(peer, node));
            if self.connected(node, peer) {
                self.tell(node, peer, true);
            }
        }
    }

    fn set_cut(&mut self, cut: BTreeSet<Way>) {
        let nodes: Vec<NodeId> = self.attached.keys().copied().collect();
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
        let before: Vec<_> = pairs.map(|(a, b)| (a, b, self.connected(a, b))).collect();
        self.cut = cut;
        for (a, b, was) in before {
            if self.connected(a, b) != was {
                self.tell(a, b, !was);
            }
        }
    }

    /// Carries a message, once or twice, or loses it.
    fn carry(&mut self, outgoing: Outgoing, ctx: &mut Context<Self>) {
        if self.entropy.below(100) < self.weather.lost_percent {
            return self.lose(&outgoing, "lost: ");
        }
        let copies = 1 + u64::from(self.entropy.below(100) < self.weather.doubled_percent);
        self.record.borrow_mut().carried(&outgoing, if copies == 1 { "" } else { "twice: " });
        for _ in 0..copies {
            let micros = u64::try_from(self.weather.delay_max.as_micros()).unwrap();
            let due = Instant::now() + Duration::from_micros(self.entropy.below(micros + 1));
            self.sent += 1;
            self.in_flight.insert((due, self.sent), outgoing.clone());
        }
        self.wake(ctx);
    }

    fn lose(&self, outgoing: &Outgoing, how: &'static str) {
        let mut record = self.record.borrow_mut();
        record.counts.add("messages lost");
        record.carried(outgoing, how);
    }

    /// One timer for all that is on its way.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        let Some((due, _)) = self.in_flight.keys().next().copied() else { return };
        if self.wakes_at.is_some_and(|at| at <= due) {
            return;
        }
        self.wakes_at = Some(due);
        ctx.run_later(due - Instant::now(), |network, ctx| {
            network.wakes_at = None;
            let now = Instant::now();
            while let Some(first) = network.in_flight.first_entry().filter(|entry| entry.key().0 <= now) {
                let outgoing = first.remove();
                if !network.passes(&outgoing) {
                    continue;
                }
                let Outgoing { from, to, message, .. } = outgoing;
                // Whoever runs under that name by then gets it, even where its sender died on the way: nothing that is
                // late, from an older life of either, may do harm.
                let Some(process) = network.process(to, from) else { continue };
                if let Some(port) = process.links.get(&from) {
                    if network.is_heard(from, to, &message) {
                        network.record.borrow_mut().delivered(from, (to, process.epoch), &message);
                    }
                    drop(port.incoming.try_send(Incoming(message)));
                }
            }
            network.wake(ctx);
        });
    }
}

impl Actor for SimNetwork {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<Attach> for SimNetwork {
    type Result = ();

    fn handle(&mut self, Attach(node): Attach, _: &mut Context<Self>) {
        let (id, links) = (node.id(), node.links().clone());
        let peers: Vec<NodeId> = links.keys().copied().collect();
        let processes = self.attached.entry(id).or_default();
        let before = processes.last().map(|process| process.epoch);
        processes.push(Attached { epoch: node.epoch(), links });
        for peer in peers {
            match before {
                // Half of the peers have not noticed yet that there is a new process.
                Some(epoch) if self.entropy.below(2) == 0 => {
                    self.older.entry((peer, id)).or_insert(epoch);
                }
                _ if self.older.contains_key(&(peer, id)) => {}
                _ if self.connected(id, peer) => self.tell(id, peer, true),
                _ => {}
            }
        }
    }
}

impl Handler<Detach> for SimNetwork {
    type Result = ();

    fn handle(&mut self, Detach(node, epoch): Detach, _: &mut Context<Self>) {
        let peers: Vec<NodeId> = self.attached.keys().copied().filter(|peer| *peer != node).collect();
        let lost: Vec<NodeId> = peers
            .iter()
            .copied()
            .filter(|peer| self.process(node, *peer).is_some_and(|process| process.epoch == epoch))
            .collect();
        for peer in &lost {
            self.tell(node, *peer, false);
            self.older.remove(&(*peer, node));
        }
        if let Some(processes) = self.attached.get_mut(&node) {
            processes.retain(|process| process.epoch != epoch);
            if processes.is_empty() {
                self.attached.remove(&node);
            }
        }
        // The other process of the node, where there is one, takes over.
        for peer in lost {
            if self.connected(node, peer) {
                self.tell(node, peer, true);
            }
        }
    }
}

impl Handler<Set> for SimNetwork {
    type Result = ();

    fn handle(&mut self, set: Set, ctx: &mut Context<Self>) {
        match set {
            Set::Weather(weather) => self.weather = weather,
            Set::Cut(cut) => self.set_cut(cut),
            Set::Clogged(clogged) => {
                self.clogged = clogged;
                let free = |outgoing: &mut Outgoing| !self.clogged.contains(&(outgoing.from, outgoing.to));
                let flushed: Vec<_> = self.held.extract_if(.., free).collect();
                self.record.borrow_mut().counts.add_many("messages flushed from clogged links", flushed.len() as u64);
                flushed.into_iter().for_each(|outgoing| self.carry(outgoing, ctx));
            }
            Set::NoRounds(nodes) => self.no_rounds = nodes,
            Set::Reconnect { peer, node } => self.reconnect(peer, node),
        }
    }
}

impl Handler<Outgoing> for SimNetwork {
    type Result = ();

    fn handle(&mut self, outgoing: Outgoing, ctx: &mut Context<Self>) {
        let way = (outgoing.from, outgoing.to);
        if !self.passes(&outgoing) {
            return;
        }
        // What an older process says to a peer that has a connection with the newer one reaches nobody.
        if self.process(way.0, way.1).is_some_and(|process| process.epoch != outgoing.epoch) {
            return;
        }
        self.record.borrow_mut().sent(&outgoing);
        if self.cut.contains(&way) {
            self.lose(&outgoing, "cut off: ");
        } else if self.clogged.contains(&way) {
            self.record.borrow_mut().carried(&outgoing, "clogged: ");
            if self.held.len() < HELD_MAX {
                self.held.push(outgoing);
            }
        } else {
            self.carry(outgoing, ctx);
        }
    }
}
