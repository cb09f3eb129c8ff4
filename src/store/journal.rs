//! From the core's records to writes: everything that waits becomes one atomic write (R8), and each write says in its
//! head what a complete store then holds, so that nothing can be missing unnoticed (R13).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::{Payload, Plan};
use super::record::{self, Horizon, Identity, Kind, Peer, RefusedBatch};
use super::{Append, Stream, Write, field};
use crate::effect::{Record, Slot};
use crate::ledger::{Block, Checkpoint, Genesis, Operation, Refusal};
use crate::types::{AccountId, Ballot, Epoch, Hash, Height, Incarnation, NodeId, Seq, TransferId};

/// Where everything in the store begins and ends, and how much of it there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the write that stored it.
    pub write: u64,
    /// Height of the last block.
    pub height: Height,
    /// Hash of the last block; the cluster id at genesis.
    pub tip: Hash,
    /// The first entry of this node's log that no block of the chain holds: its watermark + 1.
    pub log_first: Seq,
    /// The last entry of this node, settled or not.
    pub log_last: Seq,
    /// The first record of refusals that is still kept.
    pub refused_first: u64,
    /// The last record of refusals, kept or not.
    pub refused_last: u64,
    /// The highest promise (R3).
    pub promise: Option<Ballot>,
    /// Which vote the slot field holds, if there is one.
    pub accepted: Option<Accepted>,
    /// This node may vote and approve (R11).
    pub admitted: bool,
    /// How many fields hold horizons.
    pub horizons: u64,
    /// How many fields hold peers.
    pub peers: u64,
    /// The last part of a checkpoint, kept or not; 0 where none was ever written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub state_last: u64,
    /// The last complete checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Saved>,
}

/// Passed over, so that the head of a store without checkpoints is what it was before there were any.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where a complete checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The height of its state.
    pub height: Height,
    /// The number of its first part.
    pub first: u64,
    /// The number of its last part.
    pub last: u64,
}

/// What names a vote without its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Under which ballot.
    pub ballot: Ballot,
    /// At which height.
    pub height: Height,
    /// For which block.
    pub hash: Hash,
}

impl Accepted {
    /// The name of `slot`.
    pub fn of(slot: &Slot) -> Self {
        Self { ballot: slot.ballot, height: slot.block.height(), hash: slot.block.hash() }
    }
}

impl Head {
    /// What the write that creates a store leaves.
    fn at_genesis(genesis: &Genesis) -> Self {
        Self {
            write: 1,
            height: Height(0),
            tip: genesis.id(),
            log_first: Seq(1),
            log_last: Seq(0),
            refused_first: 1,
            refused_last: 0,
            promise: None,
            accepted: None,
            admitted: false,
            horizons: 0,
            peers: 0,
            state_last: 0,
            saved: None,
        }
    }

    /// The last record of the log that the store holds: none where all entries are settled.
    fn last_log_record(&self) -> Option<u64> {
        (self.log_last >= self.log_first).then_some(self.log_last.0)
    }

    /// The last part of a checkpoint that the store holds: once there is one, there always is.
    fn last_state_record(&self) -> Option<u64> {
        (self.state_last > 0).then_some(self.state_last)
    }

    fn last_refused_record(&self) -> Option<u64> {
        (self.refused_last >= self.refused_first).then_some(self.refused_last)
    }
}

/// Turns records into writes. It is ahead of the store by the write that it made last, which is repeated, never made
/// anew, until the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    me: NodeId,
    epoch: Epoch,
    head: Head,
    head_bytes: Vec<u8>,
    peers: BTreeMap<NodeId, Incarnation>,
    horizons: BTreeMap<Option<AccountId>, TransferId>,
    unwritten: Unwritten,
}

/// The parts of a checkpoint that were not written yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unwritten {
    parts: VecDeque<Checkpoint>,
    /// Of which height it is.
    height: Option<Height>,
    /// No more parts will come.
    complete: bool,
    /// The number of its first part.
    first: u64,
}

impl Unwritten {
    /// `next` is the number that the next part will have that is written.
    fn take(&mut self, parts: Vec<Checkpoint>, complete: bool, next: u64) {
        let height = parts.first().map(|part| part.at.height);
        if height != self.height || self.complete {
            // One that is not written by now is given up: what of it was written goes with this one's last part.
            *self = Self { parts: VecDeque::new(), height, complete, first: next };
        }
        self.parts.extend(parts);
        self.complete = complete;
    }
}

/// What one write collects before it is put together.
#[derive(Default)]
struct Draft {
    blocks: Vec<Arc<Block>>,
    /// Entries that follow each other are one record, however many groups they came in.
    log: Option<(Seq, Vec<Vec<Operation>>)>,
    refused: Vec<(u64, Vec<Refusal>)>,
    /// The last word on the slot, if anything was said about it.
    slot: Option<Option<Slot>>,
    fields: BTreeMap<String, Option<Payload>>,
}

/// The write that creates a store.
pub(super) fn creation(identity: &Identity, genesis: &Genesis, epoch: Epoch) -> Write {
    let head = Head::at_genesis(genesis);
    let id = head.height.0;
    let bytes = record::encode(&Stream::Chain.key(id), Kind::Genesis, genesis);
    let fields = [
        (field::HEAD, record::encode(field::HEAD, Kind::Head, &head)),
        (field::IDENTITY, record::encode(field::IDENTITY, Kind::Identity, identity)),
    ];
    Write {
        epoch,
        number: head.write,
        head_before: None,
        appends: vec![Append { stream: Stream::Chain, after: None, id, bytes }],
        trims: Vec::new(),
        fields: fields.map(|(name, bytes)| (name.to_owned(), Some(bytes))).into(),
    }
}

impl Journal {
    /// The journal of a store that was loaded under `epoch`.
    pub(super) fn resume(
        me: NodeId,
        epoch: Epoch,
        head: Head,
        peers: BTreeMap<NodeId, Incarnation>,
        horizons: BTreeMap<Option<AccountId>, TransferId>,
    ) -> Self {
        let head_bytes = record::encode(field::HEAD, Kind::Head, &head);
        Self { me, epoch, head, head_bytes, peers, horizons, unwritten: Unwritten::default() }
    }

    /// True where a checkpoint is not complete: each write takes a part of it along, and one of no records a part alone.
    pub fn is_saving(&self) -> bool {
        !self.unwritten.parts.is_empty()
    }

    /// What the store holds once the last write is durable.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The epoch of all its writes.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// As [`Journal::plan`], encoded.
    ///
    /// # Panics
    /// As it does.
    pub fn write(&mut self, records: Vec<Record>) -> Write {
        self.plan(records).encode()
    }

    /// One write of all `records`, in their order.
    ///
    /// # Panics
    /// Where the records do not follow on those before: a fault of this program, and better found here than stored.
    pub fn plan(&mut self, records: Vec<Record>) -> Plan {
        let before = self.head.clone();
        let mut draft = Draft::default();
        for record in records {
            self.take(record, &mut draft);
        }
        self.put_together(&before, draft)
    }

    fn take(&mut self, record: Record, draft: &mut Draft) {
        match record {
            Record::Log { first, operations } => self.take_log(first, operations, draft),
            Record::Block(block) => self.take_block(block, draft),
            Record::Promise(ballot) => self.raise_promise(ballot),
            Record::Accepted(slot) => {
                self.raise_promise(slot.ballot);
                // A block may have overtaken the vote for its height, which is then of no more use (R8).
                if slot.block.height() > self.head.height {
                    self.head.accepted = Some(Accepted::of(&slot));
                    draft.slot = Some(Some(slot));
                }
            }
            Record::Refused { number, refusals } => {
                assert_eq!(number, self.head.refused_last + 1, "records of refusals are numbered densely");
                self.head.refused_last = number;
                draft.refused.push((number, refusals));
            }
            Record::RefusedTrim { first_live } => {
                assert!(first_live <= self.head.refused_last + 1, "only what was written can be trimmed");
                self.head.refused_first = self.head.refused_first.max(first_live);
            }
            Record::Horizon { owner, id } => {
                let horizon = self.horizons.entry(owner).or_insert(id);
                *horizon = id.max(*horizon);
                let name = horizon_field(owner);
                let bytes = record::encode(&name, Kind::Horizon, &Horizon { id: *horizon });
                draft.fields.insert(name, Some(Payload::Encoded(bytes)));
                self.head.horizons = self.horizons.len() as u64;
            }
            Record::Peer { node, incarnation } => {
                let name = peer_field(node);
                let bytes = record::encode(&name, Kind::Peer, &Peer { incarnation });
                draft.fields.insert(name, Some(Payload::Encoded(bytes)));
                self.peers.insert(node, incarnation);
                self.head.peers = self.peers.len() as u64;
            }
            Record::Admitted => self.head.admitted = true,
            Record::Checkpoint { parts, complete } => self.unwritten.take(parts, complete, self.head.state_last + 1),
        }
    }

    fn take_log(&mut self, first: Seq, operations: Vec<Operation>, draft: &mut Draft) {
        assert_eq!(first, self.head.log_last.next(), "entries are numbered densely, and no seq is used twice (R7)");
        assert!(!operations.is_empty(), "a batch of no entries has no last seq");
        self.head.log_last = self.head.log_last.plus(operations.len() as u64);
        draft.log.get_or_insert_with(|| (first, Vec::new())).1.push(operations);
    }

    fn take_block(&mut self, block: Arc<Block>, draft: &mut Draft) {
        assert_eq!(block.height(), self.head.height.next(), "blocks are applied in height order (R5)");
        assert_eq!(block.parent(), self.head.tip, "a block follows on the tip (R5)");
        if let Some(run) = block.run_of(self.me) {
            assert_eq!(run.first, self.head.log_first, "a run starts at the watermark + 1 (R5)");
            self.head.log_first = run.first.plus(run.operations.len() as u64);
            assert!(self.head.log_first.0 <= self.head.log_last.0 + 1, "a block settles only what the log holds (R13)");
        }
        self.head.height = block.height();
        self.head.tip = block.hash();
        // Of a later height it stays: that vote is not settled by this block.
        if self.head.accepted.is_some_and(|accepted| accepted.height <= block.height()) {
            self.head.accepted = None;
            draft.slot = Some(None);
        }
        draft.blocks.push(block);
    }

    fn raise_promise(&mut self, ballot: Ballot) {
        self.head.promise = self.head.promise.max(Some(ballot));
    }

    fn take_part(&mut self, part: Checkpoint) -> Append<Payload> {
        let after = self.head.last_state_record();
        self.head.state_last += 1;
        Append { stream: Stream::State, after, id: self.head.state_last, bytes: Payload::Checkpoint(part) }
    }

    fn put_together(&mut self, before: &Head, draft: Draft) -> Plan {
        let Draft { blocks, log, refused, slot, mut fields } = draft;
        let mut appends = Vec::new();
        for block in blocks {
            let id = block.height().0;
            let (after, bytes) = (Some(id - 1), Payload::Block(block));
            appends.push(Append { stream: Stream::Chain, after, id, bytes });
        }
        // What is settled, or forgotten, by the very write that would store it, is not stored at all.
        if let (Some((first, groups)), Some(id)) = (log, self.head.last_log_record()) {
            let (after, bytes) = (before.last_log_record(), Payload::Log(first, groups));
            appends.push(Append { stream: Stream::Log, after, id, bytes });
        }
        let mut after = before.last_refused_record();
        for (id, refusals) in refused {
            if id >= self.head.refused_first {
                let bytes = Payload::Refused(RefusedBatch { refusals });
                appends.push(Append { stream: Stream::Refused, after, id, bytes });
                after = Some(id);
            }
        }
        let mut trims = Vec::new();
        if let Some(part) = self.unwritten.parts.pop_front() {
            let height = part.at.height;
            appends.push(self.take_part(part));
            if self.unwritten.complete && self.unwritten.parts.is_empty() {
                let first = self.unwritten.first;
                self.head.saved = Some(Saved { height, first, last: self.head.state_last });
                trims.push((Stream::State, first));
            }
        }
        if self.head.log_first != before.log_first {
            trims.push((Stream::Log, self.head.log_first.0));
        }
        if self.head.refused_first != before.refused_first {
            trims.push((Stream::Refused, self.head.refused_first));
        }
        if let Some(slot) = slot {
            fields.insert(field::SLOT.to_owned(), slot.map(Payload::Slot));
        }
        self.head.write += 1;
        let head_bytes = record::encode(field::HEAD, Kind::Head, &self.head);
        fields.insert(field::HEAD.to_owned(), Some(Payload::Encoded(head_bytes.clone())));
        let head_before = Some(std::mem::replace(&mut self.head_bytes, head_bytes));
        Write { epoch: self.epoch, number: self.head.write, head_before, appends, trims, fields }
    }
}

/// The field that holds an account's horizon, or the shared one.
pub(super) fn horizon_field(owner: Option<AccountId>) -> String {
    owner.map_or_else(|| field::HORIZON.to_owned(), |account| format!("{}{account}", field::HORIZON))
}

/// The field that holds a peer's incarnation.
pub(super) fn peer_field(node: NodeId) -> String {
    format!("{}{node}", field::PEER)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
