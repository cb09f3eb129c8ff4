//! The stores under test. Another one joins with one more implementation and one more line in [`on_every_store`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use paxos_banking::store::memory::record_key;
use paxos_banking::store::{Disk, RedbStore, Store, StoreError, Stream};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::redis_bench::RedisBench;

/// A place where one store lives, through restarts, and where a test may damage it.
pub trait Bench {
    fn name(&self) -> &'static str;
    /// Another, empty place of the same kind.
    fn fresh(&self) -> Box<dyn Bench>;
    /// What a process start does. The store opened before must be dropped by then, as its process would be gone.
    fn open(&self) -> Result<Box<dyn Store>, StoreError>;
    /// Behind the store's back, while it is closed: the bytes under a key, as messages name it.
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    /// Behind the store's back, while it is closed.
    fn put(&self, key: &str, bytes: Option<Vec<u8>>);
    /// How many bytes apart the flips may be, so that a slow store is done in reasonable time.
    fn stride(&self) -> usize;
}

pub fn on_every_store(test: fn(&dyn Bench)) {
    let benches: [Box<dyn Bench>; 3] =
        [Box::new(MemoryBench::default()), Box::new(RedbBench::new()), Box::new(RedisBench::new())];
    for bench in benches {
        println!("store: {}", bench.name());
        test(&*bench);
    }
}

/// Everything in a store, by key.
pub fn dump(store: &mut dyn Store) -> BTreeMap<String, Vec<u8>> {
    let mut all = store.fields().unwrap();
    for stream in Stream::ALL {
        let records = store.read(stream, 0, u64::MAX, usize::MAX).unwrap();
        all.extend(records.into_iter().map(|(id, bytes)| (stream.key(id), bytes)));
    }
    all
}

#[derive(Default)]
pub struct MemoryBench {
    pub disk: Disk,
}

impl Bench for MemoryBench {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn fresh(&self) -> Box<dyn Bench> {
        Box::new(Self::default())
    }

    fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(self.disk.open()))
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.disk.snapshot().get(key).cloned()
    }

    fn put(&self, key: &str, bytes: Option<Vec<u8>>) {
        let mut image = self.disk.snapshot();
        image.put(key, bytes);
        self.disk.restore(image);
    }

    fn stride(&self) -> usize {
        1
    }
}

pub struct RedbBench {
    pub directory: tempfile::TempDir,
}

impl RedbBench {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("nodes").join("A.redb")
    }
}

const FIELDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("fields");

fn table(stream: Stream) -> TableDefinition<'static, u64, &'static [u8]> {
    TableDefinition::new(stream.name())
}

impl Bench for RedbBench {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn fresh(&self) -> Box<dyn Bench> {
        Box::new(Self::new())
    }

    fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(RedbStore::open(self.path())?))
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let database = Database::open(self.path()).unwrap();
        let transaction = database.begin_read().unwrap();
        match record_key(key) {
            Some((stream, id)) => {
                let table = transaction.open_table(table(stream)).unwrap();
                table.get(id).unwrap().map(|bytes| bytes.value().to_vec())
            }
            None => {
                let table = transaction.open_table(FIELDS).unwrap();
                table.get(key).unwrap().map(|bytes| bytes.value().to_vec())
            }
        }
    }

    fn put(&self, key: &str, bytes: Option<Vec<u8>>) {
        let database = Database::open(self.path()).unwrap();
        let transaction = database.begin_write().unwrap();
        match record_key(key) {
            Some((stream, id)) => {
                let mut table = transaction.open_table(table(stream)).unwrap();
                match bytes {
                    Some(bytes) => table.insert(id, bytes.as_slice()).map(drop).unwrap(),
                    None => table.remove(id).map(drop).unwrap(),
                }
            }
            None => {
                let mut table = transaction.open_table(FIELDS).unwrap();
                match bytes {
                    Some(bytes) => table.insert(key, bytes.as_slice()).map(drop).unwrap(),
                    None => table.remove(key).map(drop).unwrap(),
                }
            }
        }
        transaction.commit().unwrap();
    }

    fn stride(&self) -> usize {
        23
    }
}
