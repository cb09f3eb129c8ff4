//! A store in memory, for tests and simulations: its disk survives the process, can fail on demand, and shows what a
//! crash between writing and syncing leaves behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::check::{Verdict, View, encode_epoch, judge, next_epoch, other_epoch};
use super::{Store, StoreError, Stream, Write, field};
use crate::types::Epoch;

/// Everything a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    /// The fields.
    pub fields: BTreeMap<String, Vec<u8>>,
    /// The records of each stream.
    pub streams: BTreeMap<Stream, BTreeMap<u64, Vec<u8>>>,
}

impl Image {
    fn apply(&mut self, write: &Write) {
        for append in &write.appends {
            self.streams.entry(append.stream).or_default().insert(append.id, append.bytes.clone());
        }
        for (stream, first_kept) in &write.trims {
            let records = self.streams.entry(*stream).or_default();
            *records = records.split_off(first_kept);
        }
        for (name, value) in &write.fields {
            match value {
                Some(bytes) => self.fields.insert(name.clone(), bytes.clone()),
                None => self.fields.remove(name),
            };
        }
    }

    /// The bytes under a key as messages name it: a field's name, or a stream's and an id.
    pub fn get(&self, key: &str) -> Option<&Vec<u8>> {
        match record_key(key) {
            Some((stream, id)) => self.streams.get(&stream)?.get(&id),
            None => self.fields.get(key),
        }
    }

    /// Puts bytes under a key, or with `None` removes them.
    pub fn put(&mut self, key: &str, bytes: Option<Vec<u8>>) {
        match (record_key(key), bytes) {
            (Some((stream, id)), Some(bytes)) => self.streams.entry(stream).or_default().insert(id, bytes),
            (Some((stream, id)), None) => self.streams.entry(stream).or_default().remove(&id),
            (None, Some(bytes)) => self.fields.insert(key.to_owned(), bytes),
            (None, None) => self.fields.remove(key),
        };
    }

    /// All keys, as messages name them.
    pub fn keys(&self) -> Vec<String> {
        let records = self.streams.iter().flat_map(|(stream, records)| records.keys().map(|id| stream.key(*id)));
        records.chain(self.fields.keys().cloned()).collect()
    }
}

/// The stream and id that a key names, where it does not name a field.
pub fn record_key(key: &str) -> Option<(Stream, u64)> {
    let (name, id) = key.split_once('/')?;
    let stream = Stream::ALL.into_iter().find(|stream| stream.name() == name)?;
    Some((stream, id.parse().ok()?))
}

impl View for Image {
    fn field(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.fields.get(name).cloned())
    }

    fn record(&self, stream: Stream, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.streams.get(&stream).and_then(|records| records.get(&id)).cloned())
    }

    fn first_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        Ok(self.streams.get(&stream).and_then(|records| records.keys().next()).copied())
    }

    fn last_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        Ok(self.streams.get(&stream).and_then(|records| records.keys().next_back()).copied())
    }
}

/// How a write is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It does not happen, and the store says so.
    NotWritten,
    /// It happens, but the store does not say so.
    UnknownDone,
    /// It does not happen, and the store does not say so.
    UnknownLost,
}

#[derive(Debug, Default)]
struct State {
    /// What a running process sees.
    cached: Image,
    /// What is left after a crash.
    durable: Image,
    /// The writes between the two, oldest first.
    unsynced: Vec<Write>,
    next_fault: Option<Fault>,
    writes: u64,
}

impl State {
    fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        if judge(&self.cached, write)? == Verdict::Apply {
            self.cached.apply(write);
            self.unsynced.push(write.clone());
            self.writes += 1;
        }
        Ok(())
    }

    fn flush(&mut self) {
        for write in self.unsynced.drain(..) {
            self.durable.apply(&write);
        }
    }
}

/// A disk that outlives the process. Its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle for one process. As with any store, the one that takes the epoch last is the owner.
    pub fn open(&self) -> MemoryStore {
        MemoryStore { disk: self.clone() }
    }

    /// Checks and applies a write without making it durable: the first half of [`Store::write`].
    ///
    /// # Errors
    /// As [`Store::write`]; faults that were ordered are left for that.
    pub fn apply(&self, write: &Write) -> Result<(), StoreError> {
        self.state().apply(write)
    }

    /// Makes all that was applied durable: the second half of [`Store::write`].
    pub fn flush(&self) {
        self.state().flush();
    }

    /// The machine fails: what was applied and not flushed is lost, or by luck is not.
    pub fn crash(&self, keep_unsynced: bool) {
        let mut state = self.state();
        if keep_unsynced {
            state.flush();
        }
        state.unsynced.clear();
        state.next_fault = None;
        state.cached = state.durable.clone();
    }

    /// The next [`Store::write`] fails like this.
    pub fn fail_next(&self, fault: Fault) {
        self.state().next_fault = Some(fault);
    }

    /// How many writes were applied, repetitions not counted.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// What a running process sees.
    pub fn snapshot(&self) -> Image {
        self.state().cached.clone()
    }

    /// What a crash would leave, while nothing that was applied and not flushed is kept by luck.
    pub fn durable(&self) -> Image {
        self.state().durable.clone()
    }

    /// A field as a crash would leave it.
    pub fn durable_field(&self, name: &str) -> Option<Vec<u8>> {
        self.state().durable.fields.get(name).cloned()
    }

    /// Puts an older, or a damaged, image in place: what a restored backup does.
    pub fn restore(&self, image: Image) {
        let mut state = self.state();
        state.unsynced.clear();
        state.durable = image.clone();
        state.cached = image;
    }

    /// Flips one bit in a byte of a record; false where there is no such byte.
    pub fn flip(&self, key: &str, byte: usize) -> bool {
        let mut image = self.snapshot();
        let Some(mut bytes) = image.get(key).cloned() else { return false };
        let Some(flipped) = bytes.get_mut(byte) else { return false };
        *flipped ^= 1;
        image.put(key, Some(bytes));
        self.restore(image);
        true
    }

    /// Removes a record or a field.
    pub fn remove(&self, key: &str) {
        let mut image = self.snapshot();
        image.put(key, None);
        self.restore(image);
    }

    /// Removes the last `count` records of a stream, all of them where it has no more.
    pub fn truncate(&self, stream: Stream, count: usize) {
        let mut image = self.snapshot();
        let records = image.streams.entry(stream).or_default();
        (0..count).for_each(|_| {
            records.pop_last();
        });
        self.restore(image);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed elsewhere is no reason to fail here as well.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's handle on a [`Disk`].
#[derive(Clone, Debug)]
pub struct MemoryStore {
    disk: Disk,
}

impl MemoryStore {
    /// The disk under it.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Store for MemoryStore {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        let mut state = self.disk.state();
        let epoch = next_epoch(&state.cached, token)?;
        state.flush();
        let bytes = encode_epoch(epoch);
        state.cached.fields.insert(field::EPOCH.to_owned(), bytes.clone());
        state.durable.fields.insert(field::EPOCH.to_owned(), bytes);
        Ok(epoch)
    }

    fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        match self.disk.state().cached.fields.get(field::EPOCH) {
            Some(found) if *found == encode_epoch(epoch) => Ok(()),
            found => Err(other_epoch(found.map(Vec::as_slice))),
        }
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        Ok(self.disk.state().cached.fields.clone())
    }

    fn read(
        &mut self,
        stream: Stream,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let state = self.disk.state();
        let (mut found, mut total) = (Vec::new(), 0);
        if from > to {
            return Ok(found);
        }
        for (id, bytes) in state.cached.streams.get(&stream).into_iter().flat_map(|records| records.range(from..=to)) {
            total += bytes.len();
            found.push((*id, bytes.clone()));
            if total > bytes_max {
                break;
            }
        }
        Ok(found)
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        let said_nothing = || Err(StoreError::Unknown("the connection was lost".to_owned()));
        match state.next_fault.take() {
            Some(Fault::NotWritten) => return Err(StoreError::NotWritten("no space is left".to_owned())),
            Some(Fault::UnknownLost) => return said_nothing(),
            Some(Fault::UnknownDone) => {
                state.apply(write)?;
                state.flush();
                return said_nothing();
            }
            None => {}
        }
        state.apply(write)?;
        state.flush();
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_durable_lags_behind_what_is_seen_until_it_is_flushed() {
        let disk = Disk::new();
        let epoch = disk.open().take_epoch(1).unwrap();
        let head = |value: &[u8]| (field::HEAD.to_owned(), Some(value.to_vec()));
        let fields = BTreeMap::from([head(b"head")]);
        let write = Write { epoch, number: 1, head_before: None, appends: Vec::new(), trims: Vec::new(), fields };
        disk.apply(&write).unwrap();
        assert!(disk.snapshot().fields.contains_key(field::HEAD));
        assert_eq!((disk.durable_field(field::HEAD), disk.durable().fields.len()), (None, 1), "only the epoch");
        disk.flush();
        assert_eq!(disk.durable_field(field::HEAD), Some(b"head".to_vec()));
        assert_eq!(disk.durable(), disk.snapshot());
    }
}
