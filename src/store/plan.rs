//! A write before its records are bytes. Encoding them and hashing them is most of the work, and none of the actors' thread:
//! whoever carries the write out does it, in a node the thread of the store.

use std::sync::Arc;

use super::record::{self, Kind, RefusedBatch};
use super::{Append, Write};
use crate::effect::Slot;
use crate::ledger::{Block, Checkpoint, Operation};
use crate::types::Seq;

/// What a [`Journal`](super::Journal) wants written. It has the same bytes however often it is encoded, so that a write
/// that is repeated is the same one (R13).
pub type Plan = Write<Payload>;

/// A record that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Of the chain.
    Block(Arc<Block>),
    /// Of the log: the seq of the first operation, and the groups in which they came.
    Log(Seq, Vec<Vec<Operation>>),
    /// Of the refusals.
    Refused(RefusedBatch),
    /// Of the state.
    Checkpoint(Checkpoint),
    /// A vote.
    Slot(Slot),
    /// Short, or compared with what is stored: it is encoded already.
    Encoded(Vec<u8>),
}

impl Payload {
    fn encode(&self, key: &str) -> Vec<u8> {
        match self {
            Self::Block(block) => record::block(key, block),
            Self::Log(first, groups) => record::log(key, *first, groups),
            Self::Refused(batch) => record::encode(key, Kind::Refused, batch),
            Self::Checkpoint(part) => record::encode(key, Kind::Checkpoint, part),
            Self::Slot(slot) => record::slot(key, slot),
            Self::Encoded(bytes) => bytes.clone(),
        }
    }
}

impl Plan {
    /// The write itself.
    pub fn encode(&self) -> Write {
        let append = |append: &Append<Payload>| {
            let Append { stream, after, id, bytes } = append;
            Append { stream: *stream, after: *after, id: *id, bytes: bytes.encode(&stream.key(*id)) }
        };
        let field = |(name, value): (&String, &Option<Payload>)| {
            (name.clone(), value.as_ref().map(|payload| payload.encode(name)))
        };
        Write {
            epoch: self.epoch,
            number: self.number,
            head_before: self.head_before.clone(),
            appends: self.appends.iter().map(append).collect(),
            trims: self.trims.clone(),
            fields: self.fields.iter().map(field).collect(),
        }
    }
}
