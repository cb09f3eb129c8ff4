//! The network between node processes: one TCP connection to each peer, over which both sides send frames of
//! [`Message`]s. Of two nodes the one with the smaller name dials; the other accepts.
//!
//! A connection opens with a HELLO each way. Whether it becomes the link's is the PeerLink's to say
//! ([`crate::handshake::Link::judge`]): so a mistaken address, another bank or an older process disturbs no link that
//! works, and a restarted peer replaces the link of its older process at once. Messages may be lost here: a queue that
//! is full drops them, and their senders repeat what matters. This actor waits on the links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message as ActixMessage, Recipient};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, info, warn};

use super::accept::Seldom;
use super::board::PeerTrouble;
use super::message::{Connected, Incoming, Outgoing};
use super::task::Task;
use crate::actors::links::LinkPort;
use crate::entropy::Entropy;
use crate::paxos::{Hello, Message};
use crate::types::NodeId;
use crate::wire::FrameLimits;

mod connection;
mod openings;

/// Delays and bounds of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkTiming {
    /// For a connection to be made, and for the peer's HELLO on it.
    pub connect: Duration,
    /// A connection on which nothing comes for so long is given up; links say HELLO several times in it.
    pub silence: Duration,
    /// For one frame, from its first byte to its last, in either direction.
    pub frame: Duration,
    /// Before a peer is dialled again, the first time; it doubles with each failure and is drawn from its upper half.
    pub retry_min: Duration,
    /// The bound of that.
    pub retry_max: Duration,
}

impl Default for NetworkTiming {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            silence: Duration::from_secs(5),
            frame: Duration::from_secs(30),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_millis(500),
        }
    }
}

/// Longest frame between peers, in bytes: a PROMISE with a whole log and a block that was voted for, and room.
pub const PEER_FRAME_BYTES_MAX: usize = 32 << 20;

/// Longest first frame, in bytes. Nothing is known of its sender yet.
const HELLO_BYTES_MAX: usize = 4 << 10;

/// How many messages may wait for a connection to take them.
const QUEUE_MAX: usize = 64;

impl NetworkTiming {
    fn hello_limits(&self) -> FrameLimits {
        FrameLimits { bytes_max: HELLO_BYTES_MAX, idle: self.connect, finish: self.connect }
    }

    fn message_limits(&self) -> FrameLimits {
        FrameLimits { bytes_max: PEER_FRAME_BYTES_MAX, idle: self.silence, finish: self.frame }
    }
}

/// The network of one node.
pub struct TcpNetwork {
    me: NodeId,
    listener: Option<TcpListener>,
    addresses: BTreeMap<NodeId, String>,
    timing: NetworkTiming,
    entropy: Entropy,
    connections: BTreeMap<NodeId, Connection>,
    opened: u64,
    /// What was last logged of a peer that cannot be talked to, so that it is not logged with each attempt.
    troubles: BTreeMap<String, String>,
    /// Who tells people why a peer is not there.
    board: Recipient<PeerTrouble>,
    /// Of what those do who connect to this node.
    lines: Seldom,
    tasks: Vec<Task>,
}

/// The connection that a link uses. Dropping the queue closes it.
struct Connection {
    number: u64,
    queue: mpsc::Sender<Queued>,
    bulky: Bulky,
}

/// A message on its way to the socket; of the bulky ones, with the leave to be there.
struct Queued(Message, Option<OwnedSemaphorePermit>);

/// Of the messages that hold logs and blocks, one of each kind is on its way at a time. They are repeated until they are
/// answered: over a link that is slower than that, repetitions would only stand before the answers, a whole queue of them.
struct Bulky([Arc<Semaphore>; 3]);

impl Bulky {
    fn new() -> Self {
        Self([1, 1, 1].map(|one| Arc::new(Semaphore::new(one))))
    }

    /// The message for the queue, unless one of its kind is still on its way.
    fn admit(&self, message: Message) -> Option<Queued> {
        let [promise, accept, blocks] = &self.0;
        let kind = match &message {
            Message::Promise(_) => promise,
            Message::Accept(_) => accept,
            Message::BlocksResponse(_) => blocks,
            _ => return Some(Queued(message, None)),
        };
        let leave = kind.clone().try_acquire_owned().ok()?;
        Some(Queued(message, Some(leave)))
    }
}

impl TcpNetwork {
    /// The network of node `me`, which accepts on `listener` and finds its peers at `addresses` (host and port). Nothing
    /// is said or heard before the node's links are attached. `board` hears why a peer cannot be talked to.
    pub fn new(
        me: NodeId,
        listener: TcpListener,
        addresses: BTreeMap<NodeId, String>,
        timing: NetworkTiming,
        entropy: Entropy,
        board: Recipient<PeerTrouble>,
    ) -> Self {
        Self {
            me,
            listener: Some(listener),
            addresses,
            timing,
            entropy,
            connections: BTreeMap::new(),
            opened: 0,
            troubles: BTreeMap::new(),
            board,
            lines: Seldom::default(),
            tasks: Vec::new(),
        }
    }
}

impl Actor for TcpNetwork {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(super::message::ROLE_MAILBOX);
    }
}

/// The node runs, and these are the ways in to its links.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Attach(pub BTreeMap<NodeId, LinkPort>);

impl Handler<Attach> for TcpNetwork {
    type Result = ();

    fn handle(&mut self, Attach(ports): Attach, ctx: &mut Context<Self>) {
        let network = ctx.address();
        for (peer, port) in &ports {
            let Some(address) = self.addresses.get(peer).filter(|_| *peer > self.me) else { continue };
            let dialler = connection::Dialler {
                network: network.clone(),
                peer: *peer,
                address: address.clone(),
                port: port.clone(),
                timing: self.timing,
                entropy: self.entropy.split(),
            };
            self.tasks.push(Task::spawn(dialler.run()));
        }
        if let Some(listener) = self.listener.take() {
            self.tasks.push(Task::spawn(connection::serve(network, listener, ports, self.timing)));
        }
    }
}

/// A connection is open and is the link's from now on: what was the link's before is closed.
#[derive(ActixMessage)]
#[rtype(result = "u64")]
struct Opened {
    peer: NodeId,
    port: LinkPort,
    hello: Box<Hello>,
    queue: mpsc::Sender<Queued>,
}

impl Handler<Opened> for TcpNetwork {
    type Result = u64;

    fn handle(&mut self, Opened { peer, port, hello, queue }: Opened, _: &mut Context<Self>) -> u64 {
        self.opened += 1;
        let number = self.opened;
        if self.connections.insert(peer, Connection { number, queue, bulky: Bulky::new() }).is_some()
            && let Some(unsaid) = self.lines.admit()
        {
            info!(%peer, epoch = hello.epoch.number, unsaid, "a new connection replaces the one before");
        }
        port.connected.do_send(Connected(true));
        port.incoming.do_send(Incoming(Message::Hello(hello)));
        number
    }
}

/// A connection is closed.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Closed {
    peer: NodeId,
    port: LinkPort,
    number: u64,
}

impl Handler<Closed> for TcpNetwork {
    type Result = ();

    fn handle(&mut self, Closed { peer, port, number }: Closed, _: &mut Context<Self>) {
        if self.connections.get(&peer).is_some_and(|current| current.number == number) {
            self.connections.remove(&peer);
            port.connected.do_send(Connected(false));
        }
    }
}

/// A peer, or whoever is at its address, cannot be talked to; or, with nothing to say, can be again.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Trouble {
    /// The peer's name, or the address of somebody who gave none.
    who: String,
    /// What is wrong, in words.
    what: Option<String>,
    /// It needs somebody's hand, other than a peer that is just not there.
    serious: bool,
    /// This node dialled, which bounds how often it happens.
    dialled: bool,
}

impl Handler<Trouble> for TcpNetwork {
    type Result = ();

    fn handle(&mut self, Trouble { who, what, serious, dialled }: Trouble, _: &mut Context<Self>) {
        // An attempt that fails while a connection works, by somebody who only says that he is the peer, tells nothing.
        let peer = who.parse().ok().filter(|peer| self.addresses.contains_key(peer));
        if let Some(peer) = peer.filter(|peer| what.is_none() || !self.connections.contains_key(peer)) {
            // Where it is lost, the next attempt tells again.
            drop(self.board.try_send(PeerTrouble { peer, what: what.clone() }));
        }
        let Some(what) = what else {
            self.troubles.remove(&who);
            return;
        };
        // Bounded, because strangers have many addresses.
        if self.troubles.len() > 1_000 {
            self.troubles.clear();
        }
        let news = self.troubles.get(&who) != Some(&what);
        let admitted = || if dialled { Some(None) } else { self.lines.admit() };
        let Some(unsaid) = news.then(admitted).flatten() else {
            debug!(peer = who, "{what}");
            return;
        };
        if serious {
            warn!(peer = who, unsaid, "{what}");
        } else {
            info!(peer = who, unsaid, "{what}");
        }
        self.troubles.insert(who, what);
    }
}

impl Handler<Outgoing> for TcpNetwork {
    type Result = ();

    fn handle(&mut self, Outgoing { to, message, .. }: Outgoing, _: &mut Context<Self>) {
        let Some(connection) = self.connections.get(&to) else { return };
        let name = message.name();
        let taken = connection.bulky.admit(message).is_some_and(|queued| connection.queue.try_send(queued).is_ok());
        if !taken {
            debug!(peer = %to, message = name, "dropped: the peer does not take what is sent to it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LogOffer;
    use crate::paxos::{Promise, ReconcileRequest};
    use crate::types::{Ballot, CollectionNumber, Height, Seq};

    #[test]
    fn of_what_is_bulky_one_of_each_kind_is_on_its_way() {
        let ballot = Ballot { round: 1, node: "A".parse().unwrap() };
        let log = LogOffer { first: Seq(1), operations: Vec::new(), truncated: false };
        let promise = |number| {
            let collection = CollectionNumber(number);
            Message::Promise(Promise { ballot, height: Height(1), collection, accepted: None, log: log.clone() })
        };
        let bulky = Bulky::new();
        let first = bulky.admit(promise(1));
        assert!(first.is_some() && bulky.admit(promise(2)).is_none());
        assert!(bulky.admit(Message::BlocksResponse(crate::paxos::BlocksResponse { blocks: Vec::new() })).is_some());
        assert!(bulky.admit(Message::ReconcileRequest(ReconcileRequest {})).is_some());
        drop(first);
        assert!(bulky.admit(promise(3)).is_some());
    }
}
