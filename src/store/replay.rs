//! From the stored chain to the state after it: from the last checkpoint on where a node starts, from genesis on where a
//! store is verified.

use std::collections::BTreeMap;

use super::journal::{Head, Saved};
use super::record::{self, Kind};
use super::recover::{RecoverOptions, decode_block, for_each_record, left_over};
use super::{Store, StoreError, Stream, field};
use crate::ledger::{Bank, Block, Checkpoint, Genesis, Memory, Run, SettledAt};
use crate::types::{AccountId, Hash, Height, NodeId, Seq, TransferId};

/// What a chain comes to.
pub(super) struct Replayed {
    pub(super) bank: Bank,
    pub(super) settled_at: SettledAt,
    /// How many entries it held at the checkpoint.
    pub(super) saved: u64,
}

/// Of horizons, those that rose.
type Raised = BTreeMap<Option<AccountId>, TransferId>;

/// A checkpoint that was read, and the state that it tells.
struct Stored {
    first: u64,
    checkpoint: Checkpoint,
    bank: Bank,
}

/// A chain on its way from where the replay begins to its end.
pub(super) struct Replay<'a> {
    me: NodeId,
    bank: Bank,
    settled_at: SettledAt,
    memory: &'a mut Memory,
    stored: Option<Stored>,
    /// The blocks up to here tell which entries were this node's own, and no more: their effects are known.
    known: Height,
    /// This node's own entries up to here are known as well.
    tail_seq: Seq,
    /// The next block.
    next: Height,
    /// The hash of the one before it, where that was read.
    parent: Option<Hash>,
}

impl<'a> Replay<'a> {
    /// Begins with the last checkpoint, where there is one.
    pub(super) fn from_checkpoint(
        store: &mut dyn Store,
        start: &RecoverOptions,
        head: &Head,
        memory: &'a mut Memory,
    ) -> Result<Self, StoreError> {
        let mut replay = Self::from_genesis(store, start, head, memory)?;
        let Some(Stored { checkpoint, bank, .. }) = &mut replay.stored else { return Ok(replay) };
        checkpoint.tidy(replay.memory);
        for (seq, operation) in &checkpoint.approvals {
            replay.memory.approved(bank.balances(), operation, *seq);
        }
        replay.bank = bank.clone();
        replay.settled_at = checkpoint.settled_at();
        replay.known = bank.height();
        replay.tail_seq = checkpoint.at.tail_seq;
        // The block that the checkpoint names is read in any case.
        replay.next = checkpoint.at.tail.next().min(bank.height()).max(Height(1));
        replay.parent = None;
        Ok(replay)
    }

    /// Begins with genesis, and compares with the checkpoint on its way.
    pub(super) fn from_genesis(
        store: &mut dyn Store,
        start: &RecoverOptions,
        head: &Head,
        memory: &'a mut Memory,
    ) -> Result<Self, StoreError> {
        let key = Stream::Chain.key(0);
        let first = store.read(Stream::Chain, 0, 0, 0)?;
        let (_, bytes) = first.first().ok_or_else(|| StoreError::missing(&*key))?;
        if record::decode::<Genesis>(&key, Kind::Genesis, bytes)? != start.genesis {
            return Err(StoreError::corrupt(key, "it is not the genesis that the identity names"));
        }
        let bank = Bank::new(&start.genesis);
        Ok(Self {
            me: start.me,
            parent: Some(bank.tip()),
            bank,
            settled_at: SettledAt::default(),
            memory,
            stored: load_checkpoint(store, head, &start.genesis)?,
            known: Height(0),
            tail_seq: Seq(0),
            next: Height(1),
        })
    }

    /// Goes on to the end of the chain. The horizons that rise on the way come into `raised`.
    pub(super) fn run(
        mut self,
        store: &mut dyn Store,
        head: &Head,
        raised: &mut Raised,
    ) -> Result<Replayed, StoreError> {
        for_each_record(store, Stream::Chain, self.next.0, |id, bytes| {
            if id != self.next.0 {
                return Err(StoreError::missing(Stream::Chain.key(self.next.0)));
            }
            if id > head.height.0 {
                let what = format!("the head knows of blocks up to {} only", head.height);
                return Err(StoreError::corrupt(Stream::Chain.key(id), what));
            }
            self.block(&decode_block(id, bytes)?, raised)
        })?;
        if self.next != head.height.next() {
            return Err(StoreError::missing(Stream::Chain.key(self.next.0)));
        }
        if self.bank.tip() != head.tip {
            return Err(StoreError::corrupt(Stream::Chain.key(head.height.0), "it is not the tip that the head names"));
        }
        if self.bank.watermark(self.me).next() != head.log_first {
            let what = format!("it names {} as first unsettled entry, the chain does not", head.log_first);
            return Err(StoreError::corrupt(field::HEAD, what));
        }
        let saved = self.stored.map_or(0, |stored| stored.bank.entries());
        Ok(Replayed { bank: self.bank, settled_at: self.settled_at, saved })
    }

    fn block(&mut self, block: &Block, raised: &mut Raised) -> Result<(), StoreError> {
        let height = block.height();
        let fault = |what: String| StoreError::corrupt(Stream::Chain.key(height.0), what);
        if height > self.known {
            let delta = self.bank.check(block);
            let delta = delta.map_err(|what| fault(format!("it does not follow on the chain below: {what}")))?;
            self.bank.advance(delta);
        } else if self.parent.is_some_and(|parent| parent != block.parent()) {
            return Err(fault("it does not follow on the block before it".to_owned()));
        } else if height == self.known && block.hash() != self.bank.tip() {
            return Err(fault("it is not the block that the checkpoint names".to_owned()));
        }
        (self.parent, self.next) = (Some(block.hash()), height.next());
        if let Some(run) = block.run_of(self.me).filter(|run| run.first > self.tail_seq) {
            // Above the checkpoint the check of the block saw to that.
            let last = run.last();
            if last > self.bank.watermark(self.me) {
                return Err(fault(format!("it holds entry {last} of this node, which the checkpoint does not know")));
            }
            self.remember(run, raised);
            self.settled_at.note(last, height);
        }
        match &self.stored {
            Some(stored) if height > self.known && height == stored.bank.height() => self.compare(stored),
            _ => Ok(()),
        }
    }

    fn remember(&mut self, own: &Run, raised: &mut Raised) {
        for entry in own.entries() {
            self.memory.settled(self.bank.balances(), &entry.operation, entry.seq);
        }
        raised.append(&mut self.memory.trim(self.bank.watermark(self.me)));
    }

    /// A replay from genesis came by the checkpoint, which has to tell the same.
    fn compare(&self, stored: &Stored) -> Result<(), StoreError> {
        let (mut found, tail) = (stored.checkpoint.clone(), (stored.checkpoint.at.tail_seq, stored.checkpoint.at.tail));
        let computed = Checkpoint::parts(&self.bank, self.memory, &self.settled_at, tail, usize::MAX);
        let mut computed = Checkpoint::joined(computed).expect("all parts are of one checkpoint");
        found.tidy(self.memory);
        computed.tidy(self.memory);
        if found == computed { Ok(()) } else { Err(damaged(stored.first, "the chain leads to another state")) }
    }
}

/// The last checkpoint, and whatever was written of the next one verified as well.
fn load_checkpoint(store: &mut dyn Store, head: &Head, genesis: &Genesis) -> Result<Option<Stored>, StoreError> {
    let mut next = head.saved.map_or(1, |saved| saved.first);
    let mut parts = Vec::new();
    for_each_record(store, Stream::State, 0, |id, bytes| {
        let key = Stream::State.key(id);
        if id < next && parts.is_empty() {
            return Err(left_over(key));
        }
        if id != next {
            return Err(StoreError::missing(Stream::State.key(next)));
        }
        if id > head.state_last {
            return Err(StoreError::corrupt(key, format!("the head knows of parts up to {} only", head.state_last)));
        }
        let part: Checkpoint = record::decode(&key, Kind::Checkpoint, bytes)?;
        if head.saved.is_some_and(|saved| id <= saved.last) {
            parts.push(part);
        }
        next = id + 1;
        Ok(())
    })?;
    if next != head.state_last.saturating_add(1) {
        return Err(StoreError::missing(Stream::State.key(next)));
    }
    let Some(Saved { height, first, .. }) = head.saved else { return Ok(None) };
    let checkpoint = Checkpoint::joined(parts).map_err(|what| damaged(first, what))?;
    let bank = checkpoint.bank(genesis).map_err(|what| damaged(first, what))?;
    if bank.height() != height || height > head.height || checkpoint.at.tail > height {
        return Err(damaged(first, "its heights are not those that the head names"));
    }
    Ok(Some(Stored { first, checkpoint, bank }))
}

fn damaged(first: u64, what: impl Into<String>) -> StoreError {
    StoreError::corrupt(Stream::State.key(first), what)
}
