//! From a store to a node: takes it over, creates it where it is new, and loads what the core starts from. Nothing is
//! believed: every checksum and every hash is verified, and whatever is missing is named (R13).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::journal::{Accepted, Head, Journal, creation, horizon_field};
use super::record::{self, Horizon, Identity, Kind, LogBatch, Peer, RefusedBatch};
use super::replay::{Replay, Replayed};
use super::{Store, StoreError, Stream, field};
use crate::effect::{Record, Slot};
use crate::ledger::{Bank, Block, Genesis, HomeStart, Memory, Operation};
use crate::paxos::SentBlock;
use crate::types::{AccountId, Ballot, Epoch, Hash, Height, Incarnation, NodeId, TransferId};

/// How much of a stream is in memory at once while it is loaded.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

/// Whose store it has to be, and what a new one is created with.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// The node.
    pub me: NodeId,
    /// Its bank.
    pub genesis: Genesis,
    /// Drawn at process start: tells this process from another that drew the same epoch number.
    pub token: u64,
    /// Drawn at process start, used only where the store is created now (R11).
    pub incarnation: Incarnation,
    /// Outcomes remembered for exactly-once (R10).
    pub ids_remembered_max: usize,
}

/// What a node starts from.
#[derive(Debug)]
pub struct Recovered {
    /// True where the store was created just now.
    pub fresh: bool,
    /// Under which this process owns the store.
    pub epoch: Epoch,
    /// The store's.
    pub incarnation: Incarnation,
    /// The node may vote and approve (R11).
    pub admitted: bool,
    /// The highest promise (R3).
    pub promise: Option<Ballot>,
    /// The vote above the chain's height, if there is one.
    pub slot: Option<Slot>,
    /// The incarnations that peers told.
    pub peers: BTreeMap<NodeId, Incarnation>,
    /// What the Ledger starts from.
    pub home: HomeStart,
    /// What turns the node's records into writes from here on.
    pub journal: Journal,
}

/// Takes the store over, then loads it; a store that is empty is created.
///
/// # Errors
/// All of [`StoreError`]; where one may be retried, the whole call may.
pub fn recover(store: &mut dyn Store, start: &RecoverOptions) -> Result<Recovered, StoreError> {
    // Whoever is at the wrong store must not take it from its owner, so this one look comes before the epoch.
    check_owner(store, start.me, start.genesis.id())?;
    let epoch = store.take_epoch(start.token)?;
    let mut stored = store.fields()?;
    let fresh = !stored.contains_key(field::IDENTITY) && !stored.contains_key(field::HEAD);
    if fresh {
        refuse_remains(store, &stored)?;
        let identity = Identity { bank: start.genesis.id(), node: start.me, incarnation: start.incarnation };
        store.write(&creation(&identity, &start.genesis, epoch))?;
        stored = store.fields()?;
    }
    let Fields { identity, head, slot, peers, horizons } = Fields::load(&stored)?;

    let mut memory = Memory::new(start.ids_remembered_max);
    horizons.iter().for_each(|(owner, id)| memory.raise_horizon(*owner, *id));
    let mut raised = BTreeMap::new();
    let chain = Replay::from_checkpoint(store, start, &head, &mut memory)?;
    let Replayed { bank, settled_at, saved } = chain.run(store, &head, &mut raised)?;
    load_refused(store, &head, &bank, &mut memory)?;
    let log = load_log(store, &head)?;

    let mut journal = Journal::resume(start.me, epoch, head, peers.clone(), horizons);
    if !raised.is_empty() {
        // A smaller memory than before forgets more, and no client may hear of that before it is durable (R10).
        let records = raised.into_iter().map(|(owner, id)| Record::Horizon { owner, id });
        store.write(&journal.write(records.collect()))?;
    }
    let head = journal.head();
    Ok(Recovered {
        fresh,
        epoch,
        incarnation: identity.incarnation,
        admitted: head.admitted,
        promise: head.promise,
        slot: slot.filter(|slot| slot.block.height() > head.height),
        peers,
        home: HomeStart { bank, log, memory, settled_at, saved },
        journal,
    })
}

/// Looks, and changes nothing, whether the store is one of node `me` of this bank, or new.
///
/// # Errors
/// [`StoreError::OtherBank`] where it is not, and what else reading finds.
pub fn check_owner(store: &mut dyn Store, me: NodeId, bank: Hash) -> Result<(), StoreError> {
    let fields = store.fields()?;
    let Some(bytes) = fields.get(field::IDENTITY) else { return Ok(()) };
    let found: Identity = record::decode(field::IDENTITY, Kind::Identity, bytes)?;
    if found.node == me && found.bank == bank {
        return Ok(());
    }
    Err(StoreError::OtherBank {
        found_node: found.node,
        found_bank: found.bank,
        found_genesis: genesis_in_words(store),
        expected_node: me,
        expected_bank: bank,
    })
}

/// What tells people more than two hashes do; nothing rests on it.
fn genesis_in_words(store: &mut dyn Store) -> String {
    let first = store.read(Stream::Chain, 0, 0, 0).unwrap_or_default();
    let genesis = first
        .first()
        .and_then(|(id, bytes)| record::decode::<Genesis>(&Stream::Chain.key(*id), Kind::Genesis, bytes).ok());
    genesis.map_or_else(String::new, |genesis| {
        let nodes: Vec<_> = genesis.nodes().iter().map(NodeId::as_str).collect();
        format!(" (nodes {}, {} in all in the beginning)", nodes.join(", "), genesis.total())
    })
}

/// The blocks at heights `from..=to`, which this node must hold: as many as `bytes_max` allows, at least one.
///
/// # Errors
/// [`StoreError::Corrupt`] with the key of the first block that is damaged, missing or out of its place.
pub fn read_blocks(
    store: &mut dyn Store,
    from: Height,
    to: Height,
    bytes_max: usize,
) -> Result<Vec<Arc<Block>>, StoreError> {
    let mut tip = None;
    read_chain(store, from, to, bytes_max, |id, bytes| {
        let block = decode_block(id, &bytes)?;
        if tip.replace(block.hash()).is_some_and(|parent| parent != block.parent()) {
            return Err(StoreError::corrupt(Stream::Chain.key(id), "it does not follow on the block before it"));
        }
        Ok(Arc::new(block))
    })
}

/// The same, for a peer that looks into them itself: here they are only what was once stored.
///
/// # Errors
/// As [`read_blocks`], but not of what only shows in a block.
pub fn read_stored(
    store: &mut dyn Store,
    from: Height,
    to: Height,
    bytes_max: usize,
) -> Result<Vec<SentBlock>, StoreError> {
    read_chain(store, from, to, bytes_max, |id, bytes| {
        let bytes = record::block_bytes(&Stream::Chain.key(id), &bytes)?;
        Ok(SentBlock::Stored(Height(id), bytes.into()))
    })
}

fn read_chain<T>(
    store: &mut dyn Store,
    from: Height,
    to: Height,
    bytes_max: usize,
    mut take: impl FnMut(u64, Vec<u8>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    // Genesis is no block: everybody has it from the configuration.
    let from = from.max(Height(1));
    if from > to {
        return Ok(Vec::new());
    }
    let mut blocks = Vec::new();
    for (id, bytes) in store.read(Stream::Chain, from.0, to.0, bytes_max)? {
        let expected = from.0 + blocks.len() as u64;
        if id != expected {
            return Err(StoreError::missing(Stream::Chain.key(expected)));
        }
        blocks.push(take(id, bytes)?);
    }
    if blocks.is_empty() {
        return Err(StoreError::missing(Stream::Chain.key(from.0)));
    }
    Ok(blocks)
}

pub(super) fn decode_block(id: u64, bytes: &[u8]) -> Result<Block, StoreError> {
    let key = Stream::Chain.key(id);
    let block = record::decode_block(&key, bytes)?;
    if block.height() != Height(id) {
        return Err(StoreError::corrupt(key, format!("it holds the block of height {}", block.height())));
    }
    Ok(block)
}

/// A store without identity and head is new only if it holds nothing at all, or else it would be created over what is
/// left of an old one.
fn refuse_remains(store: &mut dyn Store, stored: &BTreeMap<String, Vec<u8>>) -> Result<(), StoreError> {
    let remains = |key: &str| StoreError::corrupt(field::IDENTITY, format!("it is missing, while {key} is there"));
    if let Some(name) = stored.keys().find(|name| *name != field::EPOCH) {
        return Err(remains(name));
    }
    for stream in Stream::ALL {
        if let Some((id, _)) = store.read(stream, 0, u64::MAX, 0)?.first() {
            return Err(remains(&stream.key(*id)));
        }
    }
    Ok(())
}

/// What the fields hold, each checked against the head.
pub(super) struct Fields {
    pub(super) identity: Identity,
    pub(super) head: Head,
    slot: Option<Slot>,
    peers: BTreeMap<NodeId, Incarnation>,
    pub(super) horizons: BTreeMap<Option<AccountId>, TransferId>,
}

impl Fields {
    pub(super) fn load(stored: &BTreeMap<String, Vec<u8>>) -> Result<Self, StoreError> {
        let get = |name: &str| stored.get(name).ok_or_else(|| StoreError::missing(name));
        let identity: Identity = record::decode(field::IDENTITY, Kind::Identity, get(field::IDENTITY)?)?;
        let head: Head = record::decode(field::HEAD, Kind::Head, get(field::HEAD)?)?;
        // Whoever takes the store looks at it by that. This is for whoever only looks.
        record::decode::<Epoch>(field::EPOCH, Kind::Epoch, get(field::EPOCH)?)?;
        let mut fields = Self { identity, head, slot: None, peers: BTreeMap::new(), horizons: BTreeMap::new() };
        for (name, bytes) in stored {
            fields.take(name, bytes)?;
        }
        fields.check_complete()?;
        Ok(fields)
    }

    fn take(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let unknown = || StoreError::corrupt(name, "no field has this name");
        match name {
            field::EPOCH | field::IDENTITY | field::HEAD => {}
            field::SLOT => self.slot = Some(record::decode(name, Kind::Slot, bytes)?),
            _ => {
                if let Some(text) = name.strip_prefix(field::PEER) {
                    let node = text.parse().map_err(|_| unknown())?;
                    let Peer { incarnation } = record::decode(name, Kind::Peer, bytes)?;
                    self.peers.insert(node, incarnation);
                } else if let Some(text) = name.strip_prefix(field::HORIZON) {
                    let owner = if text.is_empty() { None } else { Some(text.parse().map_err(|_| unknown())?) };
                    // One account has one spelling, or it could have two horizons.
                    if horizon_field(owner) != name {
                        return Err(unknown());
                    }
                    let Horizon { id } = record::decode(name, Kind::Horizon, bytes)?;
                    self.horizons.insert(owner, id);
                } else {
                    return Err(unknown());
                }
            }
        }
        Ok(())
    }

    /// Every field that the head knows of must be there, and no other.
    fn check_complete(&self) -> Result<(), StoreError> {
        let counts = [
            (field::PEER, self.peers.len() as u64, self.head.peers),
            (field::HORIZON, self.horizons.len() as u64, self.head.horizons),
        ];
        for (prefix, found, expected) in counts {
            if found != expected {
                let what = format!("{found} of these fields are there where {expected} were written");
                return Err(StoreError::corrupt(format!("{prefix}*"), what));
            }
        }
        match (&self.slot, &self.head.accepted) {
            (None, Some(_)) => Err(StoreError::missing(field::SLOT)),
            (slot, accepted) if slot.as_ref().map(Accepted::of) != *accepted => {
                Err(StoreError::corrupt(field::SLOT, "it is not the vote that the head names"))
            }
            _ => Ok(()),
        }
    }
}

/// The unsettled entries, from the watermark + 1 on.
pub(super) fn load_log(store: &mut dyn Store, head: &Head) -> Result<Vec<Operation>, StoreError> {
    let mut log: Vec<Operation> = Vec::new();
    let mut next = head.log_first.0;
    for_each_record(store, Stream::Log, 0, |id, bytes| {
        let key = Stream::Log.key(id);
        if id < head.log_first.0 {
            return Err(left_over(key));
        }
        if id > head.log_last.0 {
            return Err(StoreError::corrupt(key, format!("the head knows of entries up to {} only", head.log_last)));
        }
        let LogBatch { first, operations } = record::decode(&key, Kind::Log, bytes)?;
        let count = operations.len() as u64;
        if count == 0 || first.0.checked_add(count - 1) != Some(id) {
            return Err(StoreError::corrupt(key, format!("{count} entries from {first} on do not end here")));
        }
        // Only the first batch that is left may begin below the watermark: a block settled a part of it.
        let settled = if log.is_empty() { next.saturating_sub(first.0) } else { 0 };
        if first.0 + settled != next {
            return Err(StoreError::missing(Stream::Log.key(first.0.saturating_sub(1).max(next))));
        }
        log.extend(operations.into_iter().skip(usize::try_from(settled).unwrap_or(usize::MAX)));
        next = id + 1;
        Ok(())
    })?;
    if next != head.log_last.0.saturating_add(1) {
        return Err(StoreError::missing(Stream::Log.key(head.log_last.0)));
    }
    Ok(log)
}

pub(super) fn load_refused(
    store: &mut dyn Store,
    head: &Head,
    bank: &Bank,
    memory: &mut Memory,
) -> Result<(), StoreError> {
    let mut next = head.refused_first;
    for_each_record(store, Stream::Refused, 0, |id, bytes| {
        let key = Stream::Refused.key(id);
        if id < head.refused_first {
            return Err(left_over(key));
        }
        if id != next {
            return Err(StoreError::missing(Stream::Refused.key(next)));
        }
        if id > head.refused_last {
            return Err(StoreError::corrupt(
                key,
                format!("the head knows of records up to {} only", head.refused_last),
            ));
        }
        let RefusedBatch { refusals } = record::decode(&key, Kind::Refused, bytes)?;
        memory.load_record(id, &refusals, |account| bank.balance(account).is_some());
        next = id + 1;
        Ok(())
    })?;
    if next != head.refused_last.saturating_add(1) {
        return Err(StoreError::missing(Stream::Refused.key(next)));
    }
    memory.continue_records_at(next);
    Ok(())
}

/// The write that moved the stream's beginning took this away as well, or it is there in part only.
pub(super) fn left_over(key: String) -> StoreError {
    StoreError::corrupt(key, "the head says that it was trimmed")
}

/// Shows the records of a stream from an id on one by one, a bounded part of them in memory.
pub(super) fn for_each_record(
    store: &mut dyn Store,
    stream: Stream,
    from: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = Some(from);
    while let Some(from) = next {
        let records = store.read(stream, from, u64::MAX, CHUNK_BYTES)?;
        for (id, bytes) in &records {
            each(*id, bytes)?;
        }
        next = records.last().and_then(|(id, _)| id.checked_add(1));
    }
    Ok(())
}
