//! What the write-ahead log holds and the database does not yet: kept in memory, and seen above the database by all who
//! read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::super::check::View;
use super::super::{Append, StoreError, Stream, Write};
use super::base::Look;
use crate::codec::{self, DecodeError};

/// A record of the log: what a write changes. That it fits was checked before.
#[derive(Serialize)]
struct Change<'a> {
    appends: Vec<(u8, u64, &'a Bytes)>,
    trims: Vec<(u8, u64)>,
    fields: Vec<(&'a str, Option<&'a Bytes>)>,
}

/// A [`Change`] that was read.
#[derive(Deserialize)]
struct ReadChange {
    appends: Vec<(u8, u64, ByteBuf)>,
    trims: Vec<(u8, u64)>,
    fields: Vec<(String, Option<ByteBuf>)>,
}

const fn number_of(stream: Stream) -> u8 {
    match stream {
        Stream::Chain => 0,
        Stream::Log => 1,
        Stream::Refused => 2,
        Stream::State => 3,
    }
}

fn stream_of(number: u8) -> Result<Stream, String> {
    let stream = Stream::ALL.into_iter().find(|stream| number_of(*stream) == number);
    stream.ok_or_else(|| format!("no stream has the number {number}"))
}

/// Puts the record of `write` into `bytes`.
pub(super) fn encode(write: &Write, bytes: &mut Vec<u8>) {
    let appends = write.appends.iter().map(|append| (number_of(append.stream), append.id, Bytes::new(&append.bytes)));
    let change = Change {
        appends: appends.collect(),
        trims: write.trims.iter().map(|(stream, first_kept)| (number_of(*stream), *first_kept)).collect(),
        fields: write.fields.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(Bytes::new))).collect(),
    };
    bytes.clear();
    codec::encode_into(bytes, &change);
}

/// What writes that follow each other come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// The number of its last record.
    pub(super) last: u64,
    pub(super) appends: BTreeMap<(Stream, u64), Vec<u8>>,
    /// Of which streams all records below which id are gone.
    pub(super) trims: BTreeMap<Stream, u64>,
    pub(super) fields: BTreeMap<String, Option<Vec<u8>>>,
}

impl Segment {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.appends.is_empty() && self.trims.is_empty()
    }

    /// Adds a write, which is record `number` of the log.
    pub(super) fn add(&mut self, number: u64, write: &Write) {
        self.last = number;
        for Append { stream, id, bytes, .. } in &write.appends {
            self.appends.insert((*stream, *id), bytes.clone());
        }
        write.trims.iter().for_each(|(stream, first_kept)| self.trim(*stream, *first_kept));
        self.fields.extend(write.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Adds record `number`, as it was read from the log.
    pub(super) fn add_record(&mut self, number: u64, bytes: &[u8]) -> Result<(), String> {
        let change: ReadChange = codec::decode(bytes).map_err(|error: DecodeError| error.to_string())?;
        self.last = number;
        for (stream, id, bytes) in change.appends {
            self.appends.insert((stream_of(stream)?, id), bytes.into_vec());
        }
        for (stream, first_kept) in change.trims {
            self.trim(stream_of(stream)?, first_kept);
        }
        self.fields.extend(change.fields.into_iter().map(|(name, value)| (name, value.map(ByteBuf::into_vec))));
        Ok(())
    }

    fn trim(&mut self, stream: Stream, first_kept: u64) {
        let trimmed: Vec<_> = self.appends.range((stream, 0)..(stream, first_kept)).map(|(key, _)| *key).collect();
        trimmed.iter().for_each(|key| drop(self.appends.remove(key)));
        let trim = self.trims.entry(stream).or_default();
        *trim = first_kept.max(*trim);
    }

    /// Its records of a stream with ids in `from..=to`, in order.
    pub(super) fn records(&self, stream: Stream, from: u64, to: u64) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        // A range whose beginning is above its end is no range.
        let ids = (from <= to).then(|| self.appends.range((stream, from)..=(stream, to)));
        ids.into_iter().flatten().map(|((_, id), bytes)| (*id, bytes.as_slice()))
    }
}

/// The segments above a database, oldest first, as one.
#[derive(Clone, Copy)]
pub(super) struct Above<'a>(pub(super) [Option<&'a Segment>; 2]);

impl<'a> Above<'a> {
    pub(super) fn segments(self) -> impl DoubleEndedIterator<Item = &'a Segment> {
        self.0.into_iter().flatten()
    }

    /// The first id of a stream that was not trimmed.
    pub(super) fn first_kept(self, stream: Stream) -> u64 {
        self.segments().filter_map(|segment| segment.trims.get(&stream).copied()).max().unwrap_or_default()
    }
}

/// A database with what is above it.
pub(super) struct Seen<'a> {
    pub(super) above: Above<'a>,
    pub(super) database: &'a Look<'a>,
}

impl View for Seen<'_> {
    fn field(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.above.segments().rev().find_map(|segment| segment.fields.get(name)) {
            Some(value) => Ok(value.clone()),
            None => self.database.field(name),
        }
    }

    fn record(&self, stream: Stream, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if id < self.above.first_kept(stream) {
            return Ok(None);
        }
        match self.above.segments().find_map(|segment| segment.appends.get(&(stream, id))) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.database.record(stream, id),
        }
    }

    fn first_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        let from = self.above.first_kept(stream);
        let above = self.above.segments().find_map(|segment| segment.records(stream, from, u64::MAX).next());
        let below = self.database.first_id(stream, from)?;
        Ok(below.or(above.map(|(id, _)| id)))
    }

    fn last_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        let from = self.above.first_kept(stream);
        match self.above.segments().rev().find_map(|segment| segment.records(stream, from, u64::MAX).next_back()) {
            Some((id, _)) => Ok(Some(id)),
            None => Ok(self.database.last_id(stream)?.filter(|id| *id >= from)),
        }
    }
}
