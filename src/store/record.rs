//! What every stored value looks like: a checksum, a version, a kind, then a MessagePack payload.
//!
//! The checksum covers the key as well, so that an intact record in another one's place is known as damage. Its place
//! and its making never change between versions: so a flipped version byte is damage too, and a record that is intact
//! but newer can be refused by name.
//!
//! The bytes of every kind stand in `docs/wire.md`, and `tests/wire_golden` fails when one of them moves: stores that are
//! out there then need a new version, and a reader for the old one.

use serde::de::DeserializeOwned;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};

use super::StoreError;
use crate::codec;
use crate::effect::Slot;
use crate::ledger::{Block, Operation, Refusal};
use crate::types::{Ballot, Hash, Hasher, Incarnation, NodeId, Seq, TransferId};

/// The newest format of records, and the only one so far.
pub const VERSION: u8 = 1;

const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = CHECKSUM_BYTES + 2;

/// What a record holds. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Genesis`](crate::ledger::Genesis), at the start of the chain.
    Genesis = 1,
    /// A [`Block`].
    Block = 2,
    /// A [`LogBatch`].
    Log = 3,
    /// A [`RefusedBatch`].
    Refused = 4,
    /// The [`Head`](super::Head).
    Head = 5,
    /// The [`Identity`].
    Identity = 6,
    /// A [`Slot`].
    Slot = 7,
    /// A [`Peer`].
    Peer = 8,
    /// A [`Horizon`].
    Horizon = 9,
    /// An [`Epoch`](crate::types::Epoch).
    Epoch = 10,
    /// A [`WalState`].
    WalState = 11,
    /// A [`WalHeader`].
    WalHeader = 12,
    /// A [`Checkpoint`](crate::ledger::Checkpoint), or a part of one.
    Checkpoint = 13,
}

/// Entries of this node's own log that became durable together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Seq of the first operation.
    pub first: Seq,
    /// The operations, in seq order, at least one.
    pub operations: Vec<Operation>,
}

/// Refusals that became durable together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedBatch {
    /// The refusals.
    pub refusals: Vec<Refusal>,
}

/// Whose store this is (R11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster id.
    pub bank: Hash,
    /// The node.
    pub node: NodeId,
    /// Drawn when the store was created.
    pub incarnation: Incarnation,
}

/// What a peer introduced itself with (R11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its incarnation.
    pub incarnation: Incarnation,
}

/// The largest forgotten id of the account that the key names (R10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// The id.
    pub id: TransferId,
}

/// How the database of an embedded store stands with its write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalState {
    /// Drawn when the store was created: what its log is known by, and the key of the log's hashes.
    pub store: Hash,
    /// There is a log, without which the database is not all of the store.
    pub open: bool,
    /// The number of the last record of any log that is in the database.
    pub folded: u64,
}

impl WalState {
    /// Its key.
    pub const KEY: &str = "wal state";
}

/// The first page of a write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalHeader {
    /// The store that it belongs to.
    pub store: Hash,
    /// Pages of 4 KiB in each of its halves.
    pub half_pages: u64,
}

impl WalHeader {
    /// Its key.
    pub const KEY: &str = "wal header";
}

/// The stored form of `payload` under `key`; that of a block is [`block`], of a vote [`slot`], of new entries [`log`].
///
/// # Panics
/// Where the payload is of a type that MessagePack cannot hold: a fault of this program, found by its first test.
pub fn encode<T: Serialize>(key: &str, kind: Kind, payload: &T) -> Vec<u8> {
    encode_as(key, VERSION, kind, |bytes| codec::encode_into(bytes, payload))
}

/// The stored form of a block, which is not encoded again for it.
pub fn block(key: &str, block: &Block) -> Vec<u8> {
    encode_as(key, VERSION, Kind::Block, |bytes| bytes.extend_from_slice(block.bytes()))
}

/// The stored form of a [`LogBatch`] of operations that came in groups, which are not put together for it.
pub fn log(key: &str, first: Seq, groups: &[Vec<Operation>]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Batch<'a> {
        first: Seq,
        operations: Joined<'a>,
    }
    encode_as(key, VERSION, Kind::Log, |bytes| {
        let operations = Joined { groups, count: groups.iter().map(Vec::len).sum() };
        bytes.reserve(operations.count * OPERATION_BYTES_MOSTLY);
        codec::encode_into(bytes, &Batch { first, operations });
    })
}

/// Groups that are written as one sequence.
struct Joined<'a> {
    groups: &'a [Vec<Operation>],
    count: usize,
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.count))?;
        self.groups.iter().flatten().try_for_each(|operation| sequence.serialize_element(operation))?;
        sequence.end()
    }
}

/// What most operations do not exceed where accounts have short names.
const OPERATION_BYTES_MOSTLY: usize = 64;

/// The stored form of a vote. Its block stands in it with its fields, as it does in the chain.
pub fn slot(key: &str, slot: &Slot) -> Vec<u8> {
    /// What stands before the block, and nothing in the block's place.
    #[derive(Serialize)]
    struct Beginning {
        ballot: Ballot,
        block: (),
    }
    encode_as(key, VERSION, Kind::Slot, |bytes| {
        codec::encode_into(bytes, &Beginning { ballot: slot.ballot, block: () });
        // Nothing is one byte.
        bytes.pop();
        bytes.extend_from_slice(slot.block.bytes());
    })
}

fn encode_as(key: &str, version: u8, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    payload(&mut bytes);
    bytes[CHECKSUM_BYTES] = version;
    bytes[CHECKSUM_BYTES + 1] = kind as u8;
    let checksum = checksum(key, &bytes[CHECKSUM_BYTES..]);
    bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum);
    bytes
}

/// The payload stored under `key`. Nothing in `bytes` is trusted, and no input makes this panic.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::NewerFormat`], naming the key.
pub fn decode<T: DeserializeOwned>(key: &str, kind: Kind, bytes: &[u8]) -> Result<T, StoreError> {
    codec::decode(payload(key, kind, bytes)?).map_err(|error| StoreError::corrupt(key, error.to_string()))
}

/// The block stored under `key`, as [`decode`] does it.
///
/// # Errors
/// As [`decode`].
pub fn decode_block(key: &str, bytes: &[u8]) -> Result<Block, StoreError> {
    Block::from_bytes(block_bytes(key, bytes)?).map_err(|error| StoreError::corrupt(key, error.to_string()))
}

/// The bytes of the block stored under `key`, which are what was once stored there; nobody has looked into them.
///
/// # Errors
/// As [`decode`].
pub fn block_bytes<'a>(key: &str, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    payload(key, Kind::Block, bytes)
}

fn payload<'a>(key: &str, kind: Kind, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let Some((stored, rest)) = bytes.split_at_checked(CHECKSUM_BYTES) else {
        return Err(StoreError::corrupt(key, format!("a record of {} bytes is too short", bytes.len())));
    };
    if stored != checksum(key, rest) {
        return Err(StoreError::corrupt(key, "its checksum does not fit its content and its place"));
    }
    let [version, found_kind, payload @ ..] = rest else {
        return Err(StoreError::corrupt(key, format!("a record of {} bytes is too short", bytes.len())));
    };
    if *version > VERSION {
        return Err(StoreError::NewerFormat { key: key.to_owned(), found: *version, supported: VERSION });
    }
    if *version != VERSION || *found_kind != kind as u8 {
        return Err(StoreError::corrupt(key, format!("version {version}, kind {found_kind} cannot stand here")));
    }
    Ok(payload)
}

/// Over the key, and over version, kind and payload.
fn checksum(key: &str, rest: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Hasher::new("paxos-banking record").text(key).bytes(rest).finish();
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
