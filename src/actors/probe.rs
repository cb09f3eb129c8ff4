//! Stand-ins for the neighbours of one actor, so that a test sees everything that it says and nothing else runs.
//!
//! Time is paused: it moves only when every mailbox is empty, to the next timer. So a test that lets some of it pass
//! has seen all that the actor does until then, and nobody waits for real.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message as ActixMessage, Recipient};
use tokio::sync::oneshot;

use super::links::{Inboxes, Links};
use super::message::{
    Admitted, Answers, Applied, Apply, BlocksReader, CollectionDone, CompareTip, Compose, Composed, Delivered, Durable,
    Examine, Examined, Fetched, Gap, Halt, HelloHeard, LinkChanged, Outgoing, Overtaken, Persist, Proposed, ReadBlocks,
    Ready, Settle, StoredRead, Transmit, Voted, Witness,
};
use crate::effect::{Record, Urgency};
use crate::ledger::{Action, Bank, Block, Genesis, Operation, Run};
use crate::paxos::{
    Accept, Accepted, BlocksRequest, BlocksResponse, Commit, EntryFailed, Idle, Message, Nack, Prepare, Promise,
    ReconcileAck, ReconcileRequest,
};
use crate::store::{Disk, RecoverOptions, Recovered, recover};
use crate::types::{Amount, Ballot, CollectionNumber, Height, Incarnation, NodeId, Seq};

macro_rules! seen {
    ($($message:ident)*) => {
        /// One message that a stand-in got.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Seen {
            /// For a role of this node, from that node.
            Delivered(NodeId, Message),
            /// For the link to that peer.
            Transmit(NodeId, Message),
            /// For Persistence; the test says when it is durable.
            Persist(Vec<Record>),
            /// The same, and nobody waits for it.
            PutOff(Vec<Record>),
            /// For Persistence; the test answers.
            ReadBlocks(BlocksRequest, usize),
            $($message($message),)*
        }

        $(
            impl From<$message> for Seen {
                fn from(message: $message) -> Self {
                    Self::$message(message)
                }
            }

            impl Handler<$message> for Probe {
                type Result = ();

                fn handle(&mut self, message: $message, _: &mut Context<Self>) {
                    self.saw(message.into());
                }
            }
        )*
    };
}

seen! {
    Admitted Answers Applied Apply CollectionDone CompareTip Compose Composed Durable Examine Examined Fetched Gap Halt
    HelloHeard LinkChanged Outgoing Overtaken Proposed Ready Settle Voted Witness
}

macro_rules! delivered {
    ($($message:ident)*) => {
        $(
            impl Handler<Delivered<$message>> for Probe {
                type Result = ();

                fn handle(&mut self, Delivered { from, message }: Delivered<$message>, _: &mut Context<Self>) {
                    self.saw(Seen::Delivered(from, Message::$message(message)));
                }
            }
        )*
    };
}

delivered! {
    Prepare Promise Accept Accepted Commit Nack Idle EntryFailed ReconcileRequest ReconcileAck BlocksRequest
    BlocksResponse
}

#[derive(Default)]
struct Log {
    seen: BTreeMap<Option<NodeId>, Vec<Seen>>,
    writes: VecDeque<(Recipient<Durable>, u64)>,
    reads: VecDeque<oneshot::Sender<StoredRead>>,
}

/// One mailbox: of all roles of this node together (so that the order between them is kept), or of one peer.
pub(crate) struct Probe {
    of: Option<NodeId>,
    log: Rc<RefCell<Log>>,
}

impl Probe {
    fn saw(&self, seen: Seen) {
        self.log.borrow_mut().seen.entry(self.of).or_default().push(seen);
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Transmit> for Probe {
    type Result = ();

    fn handle(&mut self, Transmit(message): Transmit, _: &mut Context<Self>) {
        self.saw(Seen::Transmit(self.of.expect("only peers have links"), message));
    }
}

impl Handler<Persist> for Probe {
    type Result = ();

    fn handle(&mut self, Persist { records, ticket, urgency, reply_to }: Persist, _: &mut Context<Self>) {
        self.saw(match urgency {
            Urgency::Now => Seen::Persist(records),
            Urgency::Later => Seen::PutOff(records),
        });
        self.log.borrow_mut().writes.push_back((reply_to, ticket));
    }
}

impl Handler<ReadBlocks> for Probe {
    type Result = ();

    fn handle(&mut self, ReadBlocks { request, bytes_max, reader }: ReadBlocks, _: &mut Context<Self>) {
        self.saw(Seen::ReadBlocks(request, bytes_max));
        let BlocksReader::Stored(reader) = reader else { unreachable!("who sends blocks on does not look into them") };
        self.log.borrow_mut().reads.push_back(reader);
    }
}

/// All neighbours of an actor of node A in the cluster A, B, C.
pub(crate) struct Probes {
    log: Rc<RefCell<Log>>,
    roles: Addr<Probe>,
    peers: BTreeMap<NodeId, Addr<Probe>>,
}

impl Probes {
    /// Starts them and stops the clock; once per test.
    pub(crate) fn start() -> Self {
        tokio::time::pause();
        let log = Rc::new(RefCell::new(Log::default()));
        let mailbox = |of| Probe { of, log: log.clone() }.start();
        let peers = ["B", "C"].map(node).map(|peer| (peer, mailbox(Some(peer)))).into();
        Self { roles: mailbox(None), log, peers }
    }

    /// The way to any role of this node.
    pub(crate) fn role<M>(&self) -> Recipient<M>
    where
        Probe: Handler<M>,
        M: ActixMessage<Result = ()> + Send + 'static,
    {
        self.roles.clone().recipient()
    }

    /// A mailbox of its own.
    pub(crate) fn peer<M>(&self, name: &str) -> Recipient<M>
    where
        Probe: Handler<M>,
        M: ActixMessage<Result = ()> + Send + 'static,
    {
        self.peers[&node(name)].clone().recipient()
    }

    /// The roles as receivers of what nodes send.
    pub(crate) fn inboxes(&self) -> Inboxes {
        Inboxes {
            prepare: self.role(),
            promise: self.role(),
            accept: self.role(),
            accepted: self.role(),
            commit: self.role(),
            nack: self.role(),
            idle: [self.role(), self.role()],
            entry_failed: self.role(),
            reconcile_request: self.role(),
            reconcile_ack: self.role(),
            blocks_request: self.role(),
            blocks_response: self.role(),
        }
    }

    /// The way of a role of A to every node.
    pub(crate) fn links(&self) -> Links {
        let peers = self.peers.iter().map(|(peer, addr)| (*peer, addr.clone().recipient())).collect();
        Links { me: node("A"), inboxes: self.inboxes(), peers }
    }

    /// Everything that came since the last look: first what the roles got, then each peer, each in order.
    pub(crate) async fn seen(&self) -> Vec<Seen> {
        // The clock is paused, so even this shortest of times passes only once nobody has anything left to do.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let seen = std::mem::take(&mut self.log.borrow_mut().seen);
        seen.into_values().flatten().collect()
    }

    /// Exactly these came since the last look.
    #[track_caller]
    pub(crate) fn see(&self, expected: impl IntoIterator<Item = Seen>) -> impl Future<Output = ()> {
        let (expected, caller) = (expected.into_iter().collect::<Vec<_>>(), std::panic::Location::caller());
        async move { assert_eq!(self.seen().await, expected, "at {caller}") }
    }

    /// Nothing came since the last look.
    #[track_caller]
    pub(crate) fn see_nothing(&self) -> impl Future<Output = ()> {
        self.see([])
    }

    /// Lets time pass; all timers that are due on the way run.
    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The oldest write that waits is durable now.
    pub(crate) fn durable(&self) {
        let (reply_to, ticket) = self.log.borrow_mut().writes.pop_front().expect("a write that waits");
        reply_to.do_send(Durable(ticket));
    }

    /// The answer to the oldest read that waits.
    pub(crate) fn answer_read(&self, blocks: StoredRead) {
        let reply_to = self.log.borrow_mut().reads.pop_front().expect("a read that waits");
        reply_to.send(blocks).expect("a reader that waits");
    }
}

pub(crate) fn to(peer: &str, message: Message) -> Seen {
    Seen::Transmit(node(peer), message)
}

pub(crate) fn from<M>(peer: &str, message: M) -> Delivered<M> {
    Delivered { from: node(peer), message }
}

pub(crate) fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(crate) fn ballot(round: u64, name: &str) -> Ballot {
    Ballot { round, node: node(name) }
}

pub(crate) fn prepare(ballot: Ballot, height: u64) -> Prepare {
    Prepare { ballot, height: Height(height), collection: CollectionNumber(1) }
}

pub(crate) fn genesis() -> Genesis {
    Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(100)).unwrap()
}

/// The bank after genesis and these blocks.
pub(crate) fn bank(blocks: &[Arc<Block>]) -> Bank {
    let mut bank = Bank::new(&genesis());
    for block in blocks {
        bank.advance(bank.check(block).unwrap());
    }
    bank
}

pub(crate) fn transfer(id: u128, from: &str, to: &str, amount: u64) -> Operation {
    let action = Action::Transfer { from: from.parse().unwrap(), to: to.parse().unwrap(), amount: Amount::new(amount) };
    Operation { id: id.into(), action }
}

/// The block over `bank` that settles these operations of one node.
pub(crate) fn block(bank: &Bank, origin: &str, operations: Vec<Operation>) -> Arc<Block> {
    let run = Run { origin: node(origin), first: Seq(bank.watermark(node(origin)).0 + 1), operations };
    Arc::new(Block::new(bank.height().next(), bank.tip(), bank.state(), vec![run]).unwrap())
}

/// That many blocks over genesis, each with one transfer of B's.
pub(crate) fn chain(length: usize) -> Vec<Arc<Block>> {
    let mut blocks = Vec::new();
    for id in 1..=length as u128 {
        blocks.push(block(&bank(&blocks), "B", vec![transfer(id, "B", "A", 1)]));
    }
    blocks
}

/// What node A loads from this disk; a new one is created.
pub(crate) fn recovered(disk: &Disk) -> Recovered {
    let options = RecoverOptions {
        me: node("A"),
        genesis: genesis(),
        token: 1,
        incarnation: Incarnation(1),
        ids_remembered_max: 100,
    };
    recover(&mut disk.open(), &options).unwrap()
}
