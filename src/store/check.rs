//! The checks that every store makes before it changes anything, whatever it keeps its bytes in.

use std::collections::BTreeMap;

use super::record::{self, Kind};
use super::{Head, StoreError, Stream, Write, field};
use crate::types::Epoch;

/// What a store shows of itself while a write is judged; nothing of it may change in between.
pub(super) trait View {
    fn field(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    fn record(&self, stream: Stream, id: u64) -> Result<Option<Vec<u8>>, StoreError>;
    fn first_id(&self, stream: Stream) -> Result<Option<u64>, StoreError>;
    fn last_id(&self, stream: Stream) -> Result<Option<u64>, StoreError>;
}

/// What is to be done with a write that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the next one.
    Apply,
    /// It is the last one, again: all of it is there.
    Done,
}

/// The epoch after the stored one, for the process that drew `token`.
pub(super) fn next_epoch(view: &impl View, token: u64) -> Result<Epoch, StoreError> {
    let stored = view.field(field::EPOCH)?;
    let mut used = view.field(field::HEAD)?.is_some() || view.field(field::IDENTITY)?.is_some();
    for stream in Stream::ALL {
        used |= view.last_id(stream)?.is_some();
    }
    epoch_after(stored.as_deref(), used, token)
}

/// The epoch after `stored`, for the process that drew `token`; `used` says whether the store holds anything else.
pub(super) fn epoch_after(stored: Option<&[u8]>, used: bool, token: u64) -> Result<Epoch, StoreError> {
    let number = match stored {
        Some(bytes) => {
            let stored: Epoch = record::decode(field::EPOCH, Kind::Epoch, bytes)?;
            stored.number.checked_add(1).ok_or_else(|| StoreError::corrupt(field::EPOCH, "no higher number is left"))?
        }
        // Only a store that nobody ever took has none.
        None if used => return Err(StoreError::missing(field::EPOCH)),
        None => 1,
    };
    Ok(Epoch { number, token })
}

/// Whether `write` is the next one, or done already; all that speaks against it is an error, and nothing was changed.
/// A store that cannot be viewed without being raced compares the bytes itself, in the same order, and has the rest
/// decided by [`other_epoch`] and [`other_head`].
pub(super) fn judge(view: &impl View, write: &Write) -> Result<Verdict, StoreError> {
    let stored_epoch = view.field(field::EPOCH)?;
    if stored_epoch.as_deref() != Some(&encode_epoch(write.epoch)) {
        return Err(other_epoch(stored_epoch.as_deref()));
    }
    let stored_head = view.field(field::HEAD)?;
    if stored_head == write.head_before {
        check_ends(view, write)?;
        return Ok(Verdict::Apply);
    }
    let new_head = write.fields.get(field::HEAD).and_then(Option::as_ref);
    if stored_head.is_some() && stored_head.as_ref() == new_head {
        check_done(view, write)?;
        return Ok(Verdict::Done);
    }
    Err(other_head(stored_head.as_deref(), write))
}

/// What it means that the stored epoch is not that of the write.
pub(super) fn other_epoch(stored: Option<&[u8]>) -> StoreError {
    let Some(bytes) = stored else { return StoreError::missing(field::EPOCH) };
    match record::decode::<Epoch>(field::EPOCH, Kind::Epoch, bytes) {
        Ok(_) => StoreError::Fenced,
        Err(damage) => damage,
    }
}

/// What it means that the stored head is neither the one before the write nor its own.
pub(super) fn other_head(stored: Option<&[u8]>, write: &Write) -> StoreError {
    match stored.map(|bytes| record::decode::<Head>(field::HEAD, Kind::Head, bytes)) {
        Some(Ok(stored)) if stored.write > write.number => {
            StoreError::Stale { number: write.number, stored: stored.write }
        }
        _ => conflict(field::HEAD, write),
    }
}

pub(super) fn encode_epoch(epoch: Epoch) -> Vec<u8> {
    record::encode(field::EPOCH, Kind::Epoch, &epoch)
}

/// Every stream must end where the write expects it to.
fn check_ends(view: &impl View, write: &Write) -> Result<(), StoreError> {
    let mut ends: BTreeMap<Stream, u64> = BTreeMap::new();
    for append in &write.appends {
        let end = match ends.get(&append.stream) {
            Some(end) => Some(*end),
            None => view.last_id(append.stream)?,
        };
        if end != append.after || end.is_some_and(|end| end >= append.id) {
            let there = end.or(append.after).unwrap_or(append.id);
            return Err(conflict(&append.stream.key(there), write));
        }
        ends.insert(append.stream, append.id);
    }
    Ok(())
}

/// Everything that the write leaves in the store must be there, byte for byte.
fn check_done(view: &impl View, write: &Write) -> Result<(), StoreError> {
    for append in &write.appends {
        let trimmed = write.trims.iter().any(|(stream, first)| *stream == append.stream && append.id < *first);
        if !trimmed && view.record(append.stream, append.id)?.as_ref() != Some(&append.bytes) {
            return Err(conflict(&append.stream.key(append.id), write));
        }
    }
    for (stream, first_kept) in &write.trims {
        if let Some(first) = view.first_id(*stream)?.filter(|first| first < first_kept) {
            return Err(conflict(&stream.key(first), write));
        }
    }
    for (name, value) in &write.fields {
        if view.field(name)? != *value {
            return Err(conflict(name, write));
        }
    }
    Ok(())
}

pub(super) fn conflict(key: &str, write: &Write) -> StoreError {
    StoreError::Conflict { key: key.to_owned(), number: write.number }
}
