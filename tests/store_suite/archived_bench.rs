//! A Redis with an archive as a store under test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use paxos_banking::effect::Record;
use paxos_banking::ledger::Block;
use paxos_banking::store::{
    ArchivedRedis, Journal, RedisAddress, Store, StoreAddress, StoreError, Stream, Write, audit, recover,
};
use paxos_banking::types::{Epoch, Seq};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::redis_server::RedisServer;
use crate::script::*;

pub struct ArchivedBench {
    pub server: RedisServer,
    pub directory: tempfile::TempDir,
}

impl ArchivedBench {
    pub fn new() -> Self {
        Self { server: RedisServer::start(), directory: tempfile::tempdir().unwrap() }
    }

    pub fn address(&self) -> RedisAddress {
        self.address_by(&self.server.address_unix())
    }

    /// The same by another way to the server.
    pub fn address_by(&self, redis: &str) -> RedisAddress {
        let address: StoreAddress = redis.parse().unwrap();
        match address.with_archive(Some(self.directory.path().join("archive"))).unwrap() {
            StoreAddress::Redis(address) => address,
            other => panic!("{other}"),
        }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("archive").join("A.archive")
    }

    pub fn open(&self) -> Result<ArchivedRedis, StoreError> {
        ArchivedRedis::open(self.address(), node("A"))
    }

    /// One that moves all that may be moved whenever it has written.
    pub fn open_tidied(&self) -> Box<dyn Store> {
        Box::new(Tidied(self.open().unwrap()))
    }

    /// The heights that are in the Redis, genesis first.
    pub fn in_redis(&self) -> Vec<u64> {
        type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;
        let mut connection = self.server.connection();
        let entries: Entries =
            redis::cmd("XRANGE").arg("SERVER-BLOCKCHAIN-A").arg("-").arg("+").query(&mut connection).unwrap();
        entries.iter().map(|(id, _)| id.split_once('-').unwrap().0.parse().unwrap()).collect()
    }
}

/// Moves until nothing is left to move.
pub fn tidy(store: &mut dyn Store) {
    while store.tidy().unwrap() {}
}

struct Tidied(ArchivedRedis);

impl Store for Tidied {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        self.0.take_epoch(token)
    }

    fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.0.check_epoch(epoch)
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.0.fields()
    }

    fn read(
        &mut self,
        stream: Stream,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.0.read(stream, from, to, bytes_max)
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        self.0.write(write)?;
        tidy(&mut self.0);
        Ok(())
    }

    fn describe(&self) -> String {
        format!("{} with an archive", self.0.describe())
    }
}

/// A chain that grows, and what it is written with.
pub struct Growing {
    pub journal: Journal,
    pub model: Model,
}

impl Growing {
    pub fn on(store: &mut dyn Store) -> Self {
        Self { journal: recover(store, &options()).unwrap().journal, model: Model::new() }
    }

    /// The same after a restart.
    pub fn again(self, store: &mut dyn Store) -> Self {
        let recovered = recover(store, &options()).unwrap();
        assert_eq!(State::of(&recovered), self.model.state());
        Self { journal: recovered.journal, ..self }
    }

    pub fn write(&mut self, store: &mut dyn Store, record: Record) {
        self.model.apply(&record);
        store.write(&self.journal.write(vec![record])).unwrap();
    }

    /// Blocks, each of one transfer of B and as many of A as `own` says, up to this height.
    pub fn grow(&mut self, store: &mut dyn Store, height: u64, own: usize) {
        while self.height() < height {
            let next = self.next(own, store);
            self.write(store, Record::Block(next));
        }
    }

    fn next(&mut self, own: usize, store: &mut dyn Store) -> Arc<Block> {
        let first = self.model.entries.len() as u64 + 1;
        if own > 0 {
            let operations = (0..own as u64).map(|index| transfer((first + index).into(), "A", "B")).collect();
            self.write(store, Record::Log { first: Seq(first), operations });
        }
        let from_b = [transfer(self.height().into(), "B", "A")];
        block(&self.model.bank, &[("A", self.model.unsettled()), ("B", &from_b)])
    }

    pub fn height(&self) -> u64 {
        self.model.bank.height().0
    }

    /// A checkpoint at the height that it is, complete.
    pub fn checkpoint(&mut self, store: &mut dyn Store) {
        let record = self.model.checkpoint(Seq(self.model.watermark() as u64), usize::MAX);
        self.write(store, record);
        assert!(!self.journal.is_saving());
    }
}

const CHAIN: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("chain");

/// What the archive holds under a height, read behind the store's back.
pub fn archived(bench: &ArchivedBench, height: u64) -> Option<Vec<u8>> {
    let database = Database::open(bench.file()).unwrap();
    let table = database.begin_read().unwrap().open_table(CHAIN).unwrap();
    table.get(height).unwrap().map(|bytes| bytes.value().to_vec())
}

pub fn put(bench: &ArchivedBench, height: u64, bytes: Option<&[u8]>) {
    let database = Database::open(bench.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(CHAIN).unwrap();
        match bytes {
            Some(bytes) => table.insert(height, bytes).map(drop).unwrap(),
            None => table.remove(height).map(drop).unwrap(),
        }
    }
    transaction.commit().unwrap();
}

/// Exchanges the identity in the archive, behind the store's back, and gives the one before.
pub fn identity(bench: &ArchivedBench, bytes: Option<&[u8]>) -> Option<Vec<u8>> {
    const FIELDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("fields");
    let transaction = Database::open(bench.file()).unwrap().begin_write().unwrap();
    let mut table = transaction.open_table(FIELDS).unwrap();
    let before = match bytes {
        Some(bytes) => table.insert("identity", bytes).unwrap().map(|before| before.value().to_vec()),
        None => table.remove("identity").unwrap().map(|before| before.value().to_vec()),
    };
    drop(table);
    transaction.commit().unwrap();
    before
}

/// Eight blocks, a checkpoint behind them, two more, and all moved that may be.
pub fn moved(bench: &ArchivedBench) -> Growing {
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 2);
    growing.checkpoint(&mut store);
    growing.grow(&mut store, 10, 2);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 9, 10]);
    growing
}

/// What a check says of the store.
pub fn checked(bench: &ArchivedBench) -> Result<usize, StoreError> {
    audit(&mut ArchivedRedis::look(&bench.address(), node("A"))?).map(|audit| audit.hashes.len())
}

/// What a start says.
pub fn started(bench: &ArchivedBench) -> Result<State, StoreError> {
    state(&mut bench.open()?)
}
