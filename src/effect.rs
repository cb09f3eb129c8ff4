//! What a transition of the core asks its shell to do: values, so that "durable before said" can be read and tested.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Block, BlockFault, Checkpoint, EntryFault, Operation, Refusal};
use crate::types::{AccountId, Ballot, Hash, Height, Incarnation, NodeId, Seq, TransferId};

/// One effect. Their order is the contract: whatever stands behind a `Persist` happens only once that is durable (R3).
#[must_use = "an effect that is dropped is a promise broken or a client left waiting"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<A> {
    /// Make this durable.
    Persist(Record),
    /// Then do this.
    Act(A),
    /// Stop for good. It waits for nothing, and nothing that still stands behind a write is said any more (R13).
    Halt(HaltReason),
}

/// Whether anybody waits for a write, or for one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// Somebody does.
    Now,
    /// Nobody: it may go along with the next that somebody waits for, or by itself a little later.
    Later,
}

/// One thing to make durable. All records of a node pass its Persistence in one order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// Entries of this node's own log, from seq `first` on (R7).
    Log {
        /// Seq of the first operation.
        first: Seq,
        /// The operations, in seq order.
        operations: Vec<Operation>,
    },
    /// The next block of the chain. The same write advances the watermarks, trims what they cover from the log, and
    /// clears an accepted slot of that height or below (R8).
    Block(Arc<Block>),
    /// A promise never to vote below this ballot (R3).
    Promise(Ballot),
    /// A vote. The same write raises the promise to its ballot (R3).
    Accepted(Slot),
    /// Parts of a checkpoint, which need not be written at once: until the last is, the one before counts. Those of
    /// another height than the parts before begin a new one, as does whatever comes behind a complete one.
    Checkpoint {
        /// One at least, in their order.
        parts: Vec<Checkpoint>,
        /// There are no more of it.
        complete: bool,
    },
    /// Refusals to remember, as the record with this number (dense, from 1) (R10).
    Refused {
        /// The record's number.
        number: u64,
        /// What it holds.
        refusals: Vec<Refusal>,
    },
    /// The records of refusals below this number are no longer needed.
    RefusedTrim {
        /// The first that still is.
        first_live: u64,
    },
    /// The largest forgotten id of an account; of `None`, of all debit accounts that do not exist (R10).
    Horizon {
        /// Whose.
        owner: Option<AccountId>,
        /// The id.
        id: TransferId,
    },
    /// The incarnation under which a peer introduced itself (R11).
    Peer {
        /// The peer.
        node: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// This node may vote and approve from now on (R11).
    Admitted,
}

/// What an acceptor voted for last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Under which ballot.
    pub ballot: Ballot,
    /// For which block; its height is the slot's.
    pub block: Arc<Block>,
}

/// Why a node stops for good: going on could lose money or tell a second history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HaltReason {
    /// A chosen block does not follow on this node's chain (R5).
    Diverged(BlockFault),
    /// A peer holds another block at a height that is applied here (R5).
    OtherBlock {
        /// The height.
        height: Height,
        /// The hash here.
        ours: Hash,
        /// The hash there.
        theirs: Hash,
        /// Who holds it.
        peer: NodeId,
    },
    /// A majority says that this node proposes blocks that do not fit (R5).
    InvalidForMajority(Height),
    /// A peer could not apply an entry that this node approved (R5).
    OwnEntryFailed {
        /// Its seq.
        seq: Seq,
        /// What the peer found.
        fault: EntryFault,
    },
    /// A chosen block holds an entry of this node that its own log does not hold (R13).
    ForeignOwnEntry(Seq),
    /// A peer has seen more of this node than its store holds (R13).
    WentBack {
        /// The peer that knows better.
        peer: NodeId,
        /// What it has seen, in words.
        known: String,
        /// What the store holds, in words.
        held: String,
    },
    /// A peer has heard another process of this node, as late as this one or later (R13).
    Overtaken {
        /// The peer that heard it.
        peer: NodeId,
        /// That process's epoch.
        known: u64,
        /// This process's.
        own: u64,
    },
    /// A peer knows this node under another incarnation: its disk was lost (R11).
    LostDisk {
        /// The peer that knows.
        peer: NodeId,
        /// The incarnation it knows.
        known: Incarnation,
        /// The one in this store.
        own: Incarnation,
        /// True where no block is settled yet, so that nothing but approvals could be lost.
        nothing_settled: bool,
    },
    /// The store failed in a way that repeating does not mend (R13).
    Store(String),
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged(fault) => {
                write!(f, "a chosen block does not follow on this node's chain: {fault}; compare the nodes' chains")
            }
            Self::OtherBlock { height, ours, theirs, peer } => write!(
                f,
                "at height {height} {peer} holds block {theirs}, this node {ours}: two histories; compare the chains"
            ),
            Self::InvalidForMajority(height) => {
                write!(f, "a majority refuses this node's block {height} as invalid: its state differs from theirs")
            }
            Self::OwnEntryFailed { seq, fault } => {
                write!(f, "a peer cannot apply this node's entry {seq} ({fault}): its state differs from theirs")
            }
            Self::ForeignOwnEntry(seq) => write!(
                f,
                "a settled block holds entry {seq} of this node with a content that its own log does not hold: the \
                 store went back or was replaced. Put the newest store back; if it is gone, leave this node off: the \
                 others go on without it"
            ),
            Self::WentBack { peer, known, held } => write!(
                f,
                "{peer} has seen {known} of this node, its store holds {held}: the store went back. Put the \
                 newest store back; if it is gone, leave this node off: the others go on without it"
            ),
            Self::Overtaken { peer, known, own } => write!(
                f,
                "{peer} has heard another process of this node, with epoch {known}, this one has {own}: another process \
                 has taken this store since, or the store went back. If no other process of this node runs, put the \
                 newest store back (where that was done after a start on an older one, just start again); if it is \
                 gone, leave this node off: the others go on without it"
            ),
            Self::LostDisk { peer, known, own, nothing_settled } => {
                write!(
                    f,
                    "{peer} knows this node with another store (incarnation {known}, this one has {own}): the store was \
                     lost, or this is not the right one. Check its directory or address, and that no other process of \
                     this node runs. "
                )?;
                if *nothing_settled {
                    write!(
                        f,
                        "No block is settled yet, as far as {peer} has told: if no approval is worth keeping, stop all \
                         nodes, wipe their stores and start afresh"
                    )
                } else {
                    f.write_str("If the right store is gone, leave this node off: the others go on without it")
                }
            }
            Self::Store(error) => write!(f, "the store failed: {error}"),
        }
    }
}
