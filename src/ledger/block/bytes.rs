//! The one encoded form of a block, in which it is voted for, stored and sent.

use std::fmt;
use std::sync::OnceLock;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Block, BlockError};
use crate::codec::{self, DecodeError};
use crate::ledger::aside::Aside;
use crate::ledger::entry::Run;
use crate::types::{Hash, Height};

/// Why bytes are not those of a block.
#[derive(Debug, thiserror::Error)]
pub enum BlockBytesError {
    /// Something else.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A block that cannot be.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Encoded in a way that takes more room than a block of that content may.
    #[error("a block is {bytes} bytes long, and {max} would do")]
    TooLong {
        /// How long they are.
        bytes: usize,
        /// The most that a block of that content takes.
        max: usize,
    },
}

impl Block {
    /// The block that these bytes hold. Nothing in them is trusted.
    ///
    /// # Errors
    /// What they hold instead, or why it is no block.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlockBytesError> {
        let block = Self::try_from(codec::decode::<Fields>(bytes)?.0)?;
        // They are kept and sent on as they are.
        if bytes.len() > block.bytes_bound() {
            return Err(BlockBytesError::TooLong { bytes: bytes.len(), max: block.bytes_bound() });
        }
        Ok(Self { bytes: Aside(OnceLock::from(Box::from(bytes))), ..block })
    }

    /// Its encoded form.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.0.get_or_init(|| {
            let mut bytes = Vec::new();
            let Self { height, parent, state, hash, .. } = *self;
            codec::encode_into(&mut bytes, &BlockRecordOf { height, parent, state, runs: &self.runs, hash });
            bytes.into()
        })
    }
}

/// The encoded form. The hash goes along, so that a block altered on its way is known as such; what it does not cover has
/// no place in a block.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockRecord {
    height: Height,
    parent: Hash,
    state: Hash,
    runs: Vec<Run>,
    hash: Hash,
}

/// The same, of a block that stays.
#[derive(Serialize)]
struct BlockRecordOf<'a> {
    height: Height,
    parent: Hash,
    state: Hash,
    runs: &'a [Run],
    hash: Hash,
}

impl TryFrom<BlockRecord> for Block {
    type Error = BlockError;

    fn try_from(record: BlockRecord) -> Result<Self, BlockError> {
        let claimed = record.hash;
        let block = Self::new(record.height, record.parent, record.state, record.runs)?;
        if block.hash != claimed {
            return Err(BlockError::Hash { height: block.height, claimed, actual: block.hash });
        }
        Ok(block)
    }
}

/// A record as a map, and in none of the other forms that its type would be read from: the bytes of a block must be
/// readable wherever they are put.
struct Fields(BlockRecord);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a block")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Fields, A::Error> {
        BlockRecord::deserialize(MapAccessDeserializer::new(fields)).map(Fields)
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlockVisitor)
    }
}

/// Takes a block's bytes, as messages hold it, or its fields, as the record of a vote does.
struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = Block;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Block, E> {
        Block::from_bytes(bytes).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Block, A::Error> {
        Block::try_from(FieldsVisitor.visit_map(fields)?.0).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{block, run};
    use super::*;
    use crate::ledger::{Action, Operation};
    use crate::types::{AccountId, Amount, Seq};

    #[test]
    fn a_block_altered_on_its_way_does_not_decode() {
        let honest = block(vec![run("A", 5)]).unwrap();
        let Block { height, parent, state, hash, .. } = honest;
        let forged = [run("A", 6)];
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, &BlockRecordOf { height, parent, state, runs: &forged, hash });
        let error = Block::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, BlockBytesError::Block(BlockError::Hash { .. })), "{error}");
        let error = codec::decode::<Block>(&bytes).unwrap_err();
        assert!(error.to_string().contains("carries the hash"), "{error}");
    }

    #[test]
    fn a_block_is_its_bytes_in_a_message_and_is_read_with_its_fields_too() {
        let block = block(vec![run("A", 5)]).unwrap();
        let mut message = Vec::new();
        codec::encode_into(&mut message, &block);
        let read = codec::decode::<Block>(&message).unwrap();
        assert_eq!((&read, message.ends_with(block.bytes())), (&block, true));
        assert_eq!(read.bytes.0.get().map(|bytes| &bytes[..]), Some(block.bytes()), "it is not encoded again");
        assert_eq!(codec::decode::<Block>(block.bytes()).unwrap(), block);
        assert_eq!(Block::from_bytes(block.bytes()).unwrap(), block);
        for other in [&[0xc4, 0][..], &[0xc0], &[0x90], &[0xc4, 1, 0xc0]] {
            assert!(codec::decode::<Block>(other).is_err(), "{other:x?}");
        }
        assert!(codec::decode::<Block>(&[0xc0]).unwrap_err().to_string().contains("expected a block"));
    }

    #[test]
    fn a_block_holds_what_its_hash_covers_in_one_shape_and_nothing_else() {
        let block = block(vec![run("A", 5)]).unwrap();
        // As an array, its runs too: those who read it as a part of a record would not know it.
        let mut array = Vec::new();
        let runs: Vec<_> = block.runs.iter().map(|run| (run.origin, run.first, &run.operations)).collect();
        codec::encode_into(&mut array, &(block.height, block.parent, block.state, runs, block.hash));
        let error = Block::from_bytes(&array).unwrap_err().to_string();
        assert!(error.contains("expected the fields of a block"), "{error}");
        let more = |bytes: &[u8], map: usize| {
            let mut bytes = bytes.to_vec();
            bytes[map] += 1;
            let mut field = Vec::new();
            codec::encode_into(&mut field, &"zone");
            codec::encode_into(&mut field, &"eu");
            bytes.splice(map + 1..=map, field);
            Block::from_bytes(&bytes).unwrap_err().to_string()
        };
        let run = block.bytes().windows(7).position(|bytes| bytes == b"\x83\xa6origi").unwrap();
        for map in [0, run] {
            let error = more(block.bytes(), map);
            assert!(error.contains("unknown field `zone`"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_longer_than_a_block_needs_are_refused() {
        // Numbers and names may come in longer forms than they need: here in some that take up to so many bytes more.
        let widened = |block: &Block, mut more: usize| {
            let mut bytes = Vec::new();
            let mut rest = block.bytes();
            while let Some((first, after)) = rest.split_first() {
                let forms: [(&[u8], &[u8]); 3] = [
                    (b"\x95\x00\xc4\x10", b"\x95\xcf\0\0\0\0\0\0\0\0\xc4\x10"),
                    (b"\xd9\x31", b"\xdb\0\0\0\x31"),
                    (b"\xd9\x31", b"\xda\0\x31"),
                ];
                let fits = |(from, to): &(&[u8], &[u8])| rest.starts_with(from) && to.len() - from.len() <= more;
                if let Some((from, to)) = forms.into_iter().find(fits) {
                    bytes.extend(to);
                    rest = &rest[from.len()..];
                    more -= to.len() - from.len();
                } else {
                    bytes.push(*first);
                    rest = after;
                }
            }
            bytes
        };
        let short = block(vec![run("A", 5)]).unwrap();
        assert_ne!(widened(&short, 100), short.bytes());
        assert_eq!(Block::from_bytes(&widened(&short, 100)).unwrap(), short);
        let home = "n".repeat(16).parse().unwrap();
        let account = AccountId::new(&"a".repeat(32), home).unwrap();
        let action = Action::Transfer { from: account, to: account, amount: Amount::new(u64::MAX) };
        let operations = vec![Operation { id: u128::MAX.into(), action }; 200];
        let long = block(vec![Run { origin: home, first: Seq(1), operations }]).unwrap();
        let (bytes, max) = (long.bytes().len(), long.bytes_bound());
        assert_eq!(Block::from_bytes(&widened(&long, max - bytes)).unwrap(), long, "there is room for {max}");
        let found = Block::from_bytes(&widened(&long, max - bytes + 1));
        assert!(matches!(found, Err(BlockBytesError::TooLong { bytes, .. }) if bytes == max + 1), "{found:?}");
        assert_eq!(Block::from_bytes(long.bytes()).unwrap(), long);
    }
}
