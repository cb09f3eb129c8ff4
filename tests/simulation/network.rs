//! A network that drops, delays, doubles, reorders and cuts, as its weather says.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message as ActixMessage};
use paxos_banking::actors::message::{Connected, Incoming, Outgoing};
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::Block;
use paxos_banking::node::{LinkPort, Node};
use paxos_banking::paxos::{Message, NackKind};
use paxos_banking::types::{Ballot, Hash as BlockHash, NodeId};
use tokio::time::Instant;

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
    /// Nothing is lost, everything is late and out of order.
    pub const REORDERING: Self = Self { lost_percent: 0, doubled_percent: 0, delay_max: Duration::from_millis(20) };
}

/// What passed, for the figures of a campaign and for the trace.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub messages: u64,
    pub lost: u64,
    pub outbid: u64,
    pub adopted: u64,
    pub fetched: u64,
    pub idle: u64,
    pub trace: u64,
}

pub struct SimNetwork {
    ports: BTreeMap<NodeId, BTreeMap<NodeId, LinkPort>>,
    weather: Weather,
    cut: BTreeSet<(NodeId, NodeId)>,
    entropy: Entropy,
    traffic: Traffic,
    start: Instant,
    proposed: BTreeMap<BlockHash, Ballot>,
    recent: Vec<String>,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Attach(pub Node);

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Detach(pub NodeId);

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct SetWeather(pub Weather);

/// Cuts or heals the way from one node to another. While one direction is cut, messages that way are lost; while both
/// are, the links notice.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct SetCut {
    pub from: NodeId,
    pub to: NodeId,
    pub cut: bool,
}

#[derive(ActixMessage)]
#[rtype(result = "Traffic")]
pub struct ReadTraffic;

/// The last messages, for the report of a violation.
#[derive(ActixMessage)]
#[rtype(result = "Vec<String>")]
pub struct ReadRecent;

impl SimNetwork {
    pub fn new(weather: Weather, entropy: Entropy) -> Self {
        Self {
            ports: BTreeMap::new(),
            weather,
            cut: BTreeSet::new(),
            entropy,
            traffic: Traffic::default(),
            start: Instant::now(),
            proposed: BTreeMap::new(),
            recent: Vec::new(),
        }
    }

    fn connected(&self, a: NodeId, b: NodeId) -> bool {
        let cut = self.cut.contains(&(a, b)) && self.cut.contains(&(b, a));
        self.ports.contains_key(&a) && self.ports.contains_key(&b) && !cut
    }

    fn tell(&self, a: NodeId, b: NodeId, connected: bool) {
        for (own, peer) in [(a, b), (b, a)] {
            if let Some(port) = self.ports.get(&own).and_then(|links| links.get(&peer)) {
                port.connected.do_send(Connected(connected));
            }
        }
    }

    fn note(&mut self, outgoing: &Outgoing) {
        self.traffic.messages += 1;
        let mut hasher = DefaultHasher::new();
        (self.traffic.trace, outgoing.from, outgoing.to).hash(&mut hasher);
        (self.start.elapsed(), &outgoing.message).hash(&mut hasher);
        self.traffic.trace = hasher.finish();
        match &outgoing.message {
            Message::Nack(nack) if matches!(nack.kind, NackKind::Outbid { .. }) => self.traffic.outbid += 1,
            Message::BlocksResponse(_) => self.traffic.fetched += 1,
            Message::Idle(_) => self.traffic.idle += 1,
            Message::Accept(accept) => {
                let first = *self.proposed.entry(Block::hash(&accept.block)).or_insert(accept.ballot);
                self.traffic.adopted += u64::from(first.node != accept.ballot.node);
            }
            _ => {}
        }
        if !matches!(outgoing.message, Message::Hello(_)) {
            if self.recent.len() >= 2_000 {
                self.recent.drain(..1_000);
            }
            let Outgoing { from, to, message, .. } = outgoing;
            self.recent.push(format!("{:>10.3?} {from} > {to} {message:?}", self.start.elapsed()));
        }
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
        self.ports.insert(node.id(), node.links().clone());
        for peer in node.links().keys() {
            if self.connected(node.id(), *peer) {
                self.tell(node.id(), *peer, true);
            }
        }
    }
}

impl Handler<Detach> for SimNetwork {
    type Result = ();

    fn handle(&mut self, Detach(node): Detach, _: &mut Context<Self>) {
        for peer in self.ports.keys() {
            self.tell(node, *peer, false);
        }
        self.ports.remove(&node);
    }
}

impl Handler<SetWeather> for SimNetwork {
    type Result = ();

    fn handle(&mut self, SetWeather(weather): SetWeather, _: &mut Context<Self>) {
        self.weather = weather;
    }
}

impl Handler<SetCut> for SimNetwork {
    type Result = ();

    fn handle(&mut self, SetCut { from, to, cut }: SetCut, _: &mut Context<Self>) {
        let before = self.connected(from, to);
        if cut {
            self.cut.insert((from, to));
        } else {
            self.cut.remove(&(from, to));
        }
        if self.connected(from, to) != before {
            self.tell(from, to, !before);
        }
    }
}

impl Handler<Outgoing> for SimNetwork {
    type Result = ();

    fn handle(&mut self, outgoing: Outgoing, ctx: &mut Context<Self>) {
        self.note(&outgoing);
        let Outgoing { from, to, message, .. } = outgoing;
        if self.cut.contains(&(from, to)) || self.entropy.below(100) < self.weather.lost_percent {
            self.traffic.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.entropy.below(100) < self.weather.doubled_percent);
        for _ in 0..copies {
            let micros = u64::try_from(self.weather.delay_max.as_micros()).unwrap();
            let delay = Duration::from_micros(self.entropy.below(micros + 1));
            let message = message.clone();
            // Whoever runs under that name by then gets it, even where its sender died on the way: nothing that is
            // late, from an older life of either, may do harm.
            ctx.run_later(delay, move |network, _| {
                if let Some(port) = network.ports.get(&to).and_then(|links| links.get(&from)) {
                    drop(port.incoming.try_send(Incoming(message)));
                }
            });
        }
    }
}

impl Handler<ReadTraffic> for SimNetwork {
    type Result = actix::MessageResult<ReadTraffic>;

    fn handle(&mut self, _: ReadTraffic, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(self.traffic.clone())
    }
}

impl Handler<ReadRecent> for SimNetwork {
    type Result = Vec<String>;

    fn handle(&mut self, _: ReadRecent, _: &mut Context<Self>) -> Vec<String> {
        self.recent.clone()
    }
}
