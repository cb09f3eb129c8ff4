//! The messages between the actors of one node, and between a node and what surrounds it. Those of readers, who decide
//! nothing, are in `message/reads.rs`.

mod reads;

pub use reads::{
    AccountView, BankView, BlocksRead, BlocksReader, Collect, Collected, ReadAccount, ReadBank, ReadBlocks, ReadHead,
    ReadLog, ReadTrace, StoreView, StoredRead,
};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::{Message as ActixMessage, Recipient};
use tokio::sync::oneshot;

use crate::effect::{HaltReason, Record, Slot, Urgency};
use crate::handshake::LinkRefusal;
use crate::ledger::{Answer, Block, Candidate, Composition, Mark, Opening, Request};
use crate::paxos::{Accept, CollectionOutcome, Hello, KnownOfYou, Message, Prepare, PrepareView, Verdict};
use crate::types::{Ballot, CollectionNumber, Epoch, Hash, Height, Incarnation, NodeId};

/// How many messages a role's mailbox holds before those of peers and clients are turned away.
pub const ROLE_MAILBOX: usize = 1_024;

/// A message of a node (a peer, or this one) for one of this node's roles.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Delivered<M> {
    /// The node that sent it.
    pub from: NodeId,
    /// What it sent.
    pub message: M,
}

// ---- Clients and observers -> Ledger

/// Transfers for this home, as one batch. Answers come to `reply_to` as they are decided, in any order.
#[derive(Clone, ActixMessage)]
#[rtype(result = "()")]
pub struct Submit {
    /// Each with a tag of the client's, which its answer repeats.
    pub requests: Vec<(u64, Request)>,
    /// Where the answers go.
    pub reply_to: Recipient<Answers>,
}

/// The opening of an account of this home, as a batch of its own; all else is as with [`Submit`].
#[derive(Clone, ActixMessage)]
#[rtype(result = "()")]
pub struct SubmitOpening {
    /// Which its answer repeats.
    pub tag: u64,
    /// What is asked for.
    pub opening: Opening,
    /// Where the answer goes.
    pub reply_to: Recipient<Answers>,
}

/// Answers to some of the requests of a [`Submit`] or [`SubmitOpening`]: the tag, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Answers(pub Vec<(u64, Answer)>);

/// A client waits no longer for some batches: whatever can be said of their requests is said now.
#[derive(Clone, ActixMessage)]
#[rtype(result = "()")]
pub struct StopWaiting {
    /// The tag of the first request of each.
    pub tags: Vec<u64>,
    /// Where their answers go.
    pub reply_to: Recipient<Answers>,
}

/// Asks for a settlement now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct SettleNow;

// ---- Acceptor <-> Ledger

/// What a proposer wants of the acceptor, on its way through the Ledger, which adds what it knows.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub enum Examine {
    /// PREPARE, from that node.
    Prepare(NodeId, Prepare),
    /// ACCEPT, from that node.
    Accept(NodeId, Accept),
}

/// The same on its way back, with the Ledger's view.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub enum Examined {
    /// PREPARE, with height, state and log.
    Prepare(NodeId, Prepare, PrepareView),
    /// ACCEPT, with the verdict on its block.
    Accept(NodeId, Accept, Verdict),
}

impl Examined {
    /// The height of the node.
    pub fn height(&self) -> Height {
        match self {
            Self::Prepare(_, _, view) => view.height,
            Self::Accept(_, _, verdict) => verdict.height,
        }
    }
}

// ---- Proposer <-> Ledger

/// Ledger, or an acceptor with an unresolved vote, to Proposer: a settlement is wanted, from this mark on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Settle(pub Mark);

/// Proposer to Ledger: which block do these PROMISEs give?
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Compose {
    /// The collection that they belong to.
    pub collection: CollectionNumber,
    /// What each node promised and offered.
    pub candidates: BTreeMap<NodeId, Arc<Candidate>>,
}

/// Ledger to Proposer: this one.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Composed {
    /// As in the [`Compose`].
    pub collection: CollectionNumber,
    /// The value, and what was left out.
    pub composition: Composition,
}

/// Proposer to Ledger: the collection is over.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct CollectionDone(pub CollectionOutcome);

// ---- Acceptor, Proposer -> Learner -> Ledger

/// Proposer to Learner: this block is about to be proposed.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Proposed(pub Ballot, pub Arc<Block>);

/// Acceptor to Learner: voted, durably.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Voted(pub Slot);

/// Acceptor to Proposer: another's ballot was promised, for a round at this height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Overtaken(pub Ballot, pub Height);

/// Learner to Ledger: this block is chosen. It is written at once, or later, where nobody here waits for it.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Apply(pub Arc<Block>, pub Urgency);

/// Ledger to all: this block is applied and durable.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Applied(pub Arc<Block>);

// ---- Reconciliation and links

/// Any role to the ReconcileActor: the chain of this node ends below that height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Gap(pub Height);

/// ReconcileActor to Learner: blocks of a peer's chain.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Fetched(pub Vec<Arc<Block>>);

/// ReconcileActor to Learner: a peer's chain ends so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct CompareTip(pub NodeId, pub Height, pub Hash);

/// ReconcileActor to Acceptor and links: the node votes from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Admitted;

/// ReconcileActor to Ledger: the node serves clients from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Ready;

/// PeerLink to Proposer and ReconcileActor: the link to a peer came up, or went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct LinkChanged {
    /// The peer.
    pub peer: NodeId,
    /// Whether it can be reached.
    pub up: bool,
    /// Whether it votes.
    pub votes: bool,
}

/// PeerLink to ReconcileActor and the node: what a HELLO said.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct HelloHeard {
    /// The peer.
    pub peer: NodeId,
    /// Which incarnation of this node it knows.
    pub knows: Option<Incarnation>,
    /// Its height.
    pub height: Height,
    /// Where it serves clients.
    pub client_address: Option<String>,
}

/// PeerLink to Ledger and Acceptor: what a peer has seen of this node.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Witness(pub NodeId, pub KnownOfYou);

/// A role to a PeerLink: send this to your peer. May be dropped: messages between nodes are loss-tolerant.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Transmit(pub Message);

// ---- Persistence

/// A role to Persistence: make these durable, then say so.
#[derive(Clone, ActixMessage)]
#[rtype(result = "()")]
pub struct Persist {
    /// In the order in which they must be found.
    pub records: Vec<Record>,
    /// The role's own number for this write; they ascend.
    pub ticket: u64,
    /// Whether anybody waits for it.
    pub urgency: Urgency,
    /// Who hears of it.
    pub reply_to: Recipient<Durable>,
}

/// Persistence to a role: everything up to this ticket is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Durable(pub u64);

// ---- The node and what surrounds it

/// A role to the node: stop for good.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Halt(pub HaltReason);

/// The node to Persistence: write nothing more, let go of the store, and say so.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct CloseStore(pub oneshot::Sender<()>);

/// The node to its actors: stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Stop;

/// A PeerLink to the network: carry this to its peer.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Outgoing {
    /// This node.
    pub from: NodeId,
    /// The process of this node that sends it.
    pub epoch: Epoch,
    /// The peer.
    pub to: NodeId,
    /// What to carry.
    pub message: Message,
}

/// The network to a PeerLink: this came from its peer.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Incoming(pub Message);

/// The network to a PeerLink: a connection on which the peer, so it seems, said this HELLO. May it be the link's?
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "Introduction")]
pub struct Introduced(pub Hello);

/// The network to a PeerLink: what to say first on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "Introduction")]
pub struct Introduce;

/// A PeerLink to the network: its own HELLO, and whether the peer's is taken.
#[derive(Clone, Debug, PartialEq, Eq, actix::MessageResponse)]
pub struct Introduction {
    /// What this node says.
    pub hello: Hello,
    /// Why the peer's HELLO is not taken.
    pub refusal: Option<LinkRefusal>,
}

/// The network to a PeerLink: the way to its peer is there, or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Connected(pub bool);

/// A node to whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct NodeEvent {
    /// The node.
    pub node: NodeId,
    /// What happened.
    pub what: Happened,
}

/// What a [`NodeEvent`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It found this in its store, and starts: a zombie where it is admitted, else a baby (R11).
    Started {
        /// It may vote.
        admitted: bool,
        /// Height of its chain.
        height: Height,
        /// Hash of its last block.
        tip: Hash,
    },
    /// It votes from now on.
    Admitted,
    /// It serves clients from now on.
    Ready,
    /// The link to a peer came up, or went down.
    Link(LinkChanged),
    /// A peer's HELLO was heard.
    Heard(HelloHeard),
    /// Peers that it can reach and that vote: whose logs its collections wait for (R9).
    Voters(BTreeSet<NodeId>),
    /// It applied a block, durably.
    Applied(Arc<Block>),
    /// It stopped for good.
    Halted(HaltReason),
}
