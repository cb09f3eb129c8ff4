//! What clients ask of a node, and what it answers, over its client port.
//!
//! A client sends [`Call`]s, each with a tag of its own, without waiting for answers; each [`Reply`] repeats the tag of
//! its call. Replies come in any order. A call of transfers gets as many replies as it takes until each transfer has its
//! outcome; any other call gets one. The first call on a connection is [`Ask::Hello`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::frame::FrameLimits;
pub use super::genesis::{GENESIS_PAGE_MAX, GenesisPage};
pub use super::outcome::Outcome;
use crate::ledger::{Block, Entry, Operation, Request, Trace, Wait};
use crate::text;
use crate::types::{AccountId, Amount, Ballot, Hash, Height, NodeId, Seq, TransferId};

/// Version of the protocol between clients and nodes; a node refuses a client with another one.
pub const CLIENT_PROTOCOL_VERSION: u32 = 2;

/// What a node grants to its clients.
pub const CALL_LIMITS: FrameLimits =
    FrameLimits { bytes_max: 5 << 18, idle: Duration::from_secs(300), finish: Duration::from_secs(10) };

/// Longest reply, in bytes: a page of blocks that ends with the largest.
pub const REPLY_BYTES_MAX: usize = 16 << 20;

/// The most transfers in one call: even the longest names fit the frame.
pub const TRANSFERS_MAX: usize = 8_192;

/// The most entries of a log in one reply.
pub const LOG_PAGE_MAX: usize = 4_096;

/// About how many bytes of blocks come in one reply; at least one block does.
pub const CHAIN_PAGE_BYTES: usize = 1 << 20;

/// One question of a client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The client's own number for it.
    pub tag: u64,
    /// The question.
    pub ask: Ask,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The first call on a connection: who is there? Answered by [`Told::Welcome`].
    Hello {
        /// [`CLIENT_PROTOCOL_VERSION`] of the client.
        version: u32,
    },
    /// Transfers out of accounts of this home, at most [`TRANSFERS_MAX`]. Answered by [`Told::Outcomes`].
    Transfers {
        /// What to wait for.
        wait: Wait,
        /// For how long, in milliseconds: after that the client hears what can be said then.
        within_ms: u64,
        /// The transfers, decided in this order.
        transfers: Vec<Transfer>,
    },
    /// Opens an account at this home. Answered by [`Told::Outcomes`], of which there is one, with the index 0.
    Open {
        /// Kept through retries; with the account it is the request's identity (R10).
        id: TransferId,
        /// The new account; this node is its home.
        account: AccountId,
        /// What to wait for. All nodes know the account once it is settled.
        wait: Wait,
        /// As for transfers.
        within_ms: u64,
    },
    /// What became of an id? Answered by [`Told::Traces`].
    Trace {
        /// The id.
        id: TransferId,
    },
    /// A balance. Answered by [`Told::Balance`].
    Balance {
        /// Whose.
        account: AccountId,
        /// How much the answer may lack.
        read: ReadLevel,
        /// The greatest height that the client has seen; a node below it is not ready.
        seen: Height,
        /// For how long a fresh read may take, in milliseconds.
        within_ms: u64,
    },
    /// Unsettled entries of this home. Answered by [`Told::Log`].
    Log {
        /// The first.
        from: Seq,
    },
    /// Blocks of this node's chain. Answered by [`Told::Chain`].
    Chain {
        /// The first; genesis is no block.
        from: Height,
        /// The last.
        to: Height,
    },
    /// What the bank started from. Answered by [`Told::Genesis`].
    Genesis {
        /// The accounts behind this one; the first ones where it is `None`.
        after: Option<AccountId>,
    },
    /// A settlement now. Answered by [`Told::Settled`].
    Settle {
        /// For how long it may take, in milliseconds.
        within_ms: u64,
    },
    /// How the node is. Answered by [`Told::Status`], in every state.
    Status,
}

/// One transfer of a call: an array, because they come by the thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transfer(
    /// Kept through retries (R10).
    pub TransferId,
    /// Debited; this node is its home.
    pub AccountId,
    /// Credited.
    pub AccountId,
    /// How much, in the smallest unit.
    pub Amount,
);

impl Transfer {
    /// As the home takes it.
    pub fn request(self, wait: Wait) -> Request {
        let Self(id, from, to, amount) = self;
        Request { id, from, to, amount, wait }
    }
}

/// How much a balance may lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadLevel {
    /// What the home can spend now. Only the home tells it.
    #[default]
    Local,
    /// What this node's chain says.
    Settled,
    /// As `local`, after a collection that began with this call.
    Fresh,
}

/// One answer of a node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// As in the call. 0 where the call could not be read; the connection is closed then.
    pub tag: u64,
    /// The answer.
    pub told: Told,
}

/// What a node can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// To [`Ask::Hello`].
    Welcome(Welcome),
    /// To [`Ask::Transfers`]: outcomes of some of them. To [`Ask::Open`]: its outcome.
    Outcomes(Vec<Outcome>),
    /// To [`Ask::Trace`]: one for each debit account that the id was used with, as far as this node knows. Of other
    /// homes it knows what is settled.
    Traces {
        /// Up to which height the chain was searched.
        height: Height,
        /// What was found.
        traces: Vec<Trace>,
    },
    /// To [`Ask::Balance`].
    Balance(Balance),
    /// To [`Ask::Log`]: at most [`LOG_PAGE_MAX`] entries, in seq order.
    Log(Vec<LogEntry>),
    /// To [`Ask::Chain`]: as many blocks as a reply holds, from the first asked for on; none where there is none.
    Chain {
        /// The node's height.
        height: Height,
        /// The blocks, in height order, without a gap.
        blocks: Vec<Arc<Block>>,
    },
    /// To [`Ask::Genesis`]: at most [`GENESIS_PAGE_MAX`] accounts.
    Genesis(GenesisPage),
    /// To [`Ask::Settle`].
    Settled {
        /// The height after it.
        height: Height,
        /// Nodes whose unsettled entries were not in it.
        not_heard: BTreeSet<NodeId>,
    },
    /// To [`Ask::Status`].
    Status(Status),
    /// To any call: why there is no answer.
    Failed(Failure),
}

/// Who a client talks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`CLIENT_PROTOCOL_VERSION`] of the node.
    pub version: u32,
    /// The node.
    pub node: NodeId,
    /// The cluster id.
    pub cluster: Hash,
    /// All nodes of the cluster, each with the address of its client port as far as it is known.
    #[serde(deserialize_with = "homes")]
    pub homes: BTreeMap<NodeId, Option<String>>,
}

/// An account's balance as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The account.
    pub account: AccountId,
    /// What it can spend; only its home knows.
    pub spendable: Option<Amount>,
    /// What the node's chain says.
    pub settled: Amount,
    /// The height of that chain.
    pub height: Height,
    /// Of a fresh read: nodes whose unsettled entries are not in it.
    pub not_heard: BTreeSet<NodeId>,
}

/// One entry of a log: an array of its seq and its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry(pub Seq, pub Operation);

impl LogEntry {
    /// The entry of `home` that this is.
    pub fn entry(self, home: NodeId) -> Entry {
        Entry { origin: home, seq: self.0, operation: self.1 }
    }
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its store is new, and not every peer has said that it knows it: it neither votes nor approves (R11).
    Baby,
    /// It votes, and catches up; clients are told to wait.
    Zombie,
    /// It serves clients.
    Ready,
    /// It stopped for good, and serves nothing but its status.
    Stopped,
}

impl State {
    /// Its name on the wire and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baby => "baby",
            Self::Zombie => "zombie",
            Self::Ready => "ready",
            Self::Stopped => "stopped",
        }
    }
}

/// How a node is. All that it tells of its chain and its log is durable there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// How far it has come.
    pub state: State,
    /// In words, why it stopped, where it did; or else what keeps it from doing all that its state promises.
    #[serde(default, deserialize_with = "text::deserialize_option")]
    pub reason: Option<String>,
    /// Height of its chain.
    pub height: Height,
    /// Hash of its last block.
    pub tip: Hash,
    /// How many entries of its log are unsettled; unknown of a node that stopped.
    pub log: Option<u64>,
    /// The highest ballot that it promised.
    pub ballot: Option<Ballot>,
    /// The peers whose links are up.
    pub peers_up: BTreeSet<NodeId>,
    /// Where it keeps what must last.
    #[serde(deserialize_with = "text::deserialize")]
    pub store: String,
    /// How many blocks the longest chain that it heard of has more.
    pub behind: u64,
    /// All nodes of the cluster, each with the address of its client port as far as it is known.
    #[serde(deserialize_with = "homes")]
    pub homes: BTreeMap<NodeId, Option<String>>,
    /// The version of the program that it runs, where it tells that.
    pub program: Option<String>,
    /// Its wall clock when it answered, in milliseconds since 1970, where it tells that. Nothing is decided by it.
    pub clock_ms: Option<u64>,
    /// How many writes its store has taken in its life, each of them made durable by itself; where it tells that.
    pub writes: Option<u64>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people: what was wrong, and what to do.
    #[serde(deserialize_with = "text::deserialize")]
    pub message: String,
}

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// Too much is waiting here; the same call may be repeated later.
    Busy,
    /// The node has not caught up, or not as far as the client has seen; repeat later, or ask another node.
    NotReady,
    /// It took too long; repeat later.
    TimedOut,
    /// The node is about to stop, or stopped for good; ask again later, or another node.
    Stopped,
    /// The call cannot be read, or is too large: a fault of the client.
    BadCall,
    /// The client speaks another version.
    Version,
    /// There is no such account.
    UnknownAccount,
    /// Another node is the home of that account.
    NotHome,
    /// The node could not read its store.
    Store,
}

impl FailureCode {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NotReady => "not_ready",
            Self::TimedOut => "timed_out",
            Self::Stopped => "stopped",
            Self::BadCall => "bad_call",
            Self::Version => "version",
            Self::UnknownAccount => "unknown_account",
            Self::NotHome => "not_home",
            Self::Store => "store",
        }
    }

    /// True where the same call may succeed later, here or at another node.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::Busy | Self::NotReady | Self::TimedOut | Self::Stopped | Self::Store)
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Addresses of other nodes are printed, too.
fn homes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<NodeId, Option<String>>, D::Error> {
    let homes = BTreeMap::<NodeId, Option<String>>::deserialize(deserializer)?;
    Ok(homes.into_iter().map(|(node, at)| (node, at.as_deref().map(text::printable))).collect())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
