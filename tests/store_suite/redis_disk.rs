//! A Redis whose disk fails to sync: it ends, and what it had written by then may be there when it starts again, read from
//! memory that no disk holds. It counts only once a sync has succeeded (R3, R13).

use paxos_banking::effect::Record;
use paxos_banking::store::{RedisStore, Store, StoreError, Stream, recover};
use paxos_banking::types::Seq;

use crate::disk::FaultyDisk;
use crate::redis_bench::open;
use crate::redis_server::RedisServer;
use crate::script::*;

/// Runs `call` while no sync succeeds: the server must end of it, and is started again on a disk that works.
fn unsynced<T: std::fmt::Debug>(
    disk: &FaultyDisk,
    server: &RedisServer,
    store: &mut RedisStore,
    call: impl Fn(&mut RedisStore) -> Result<T, StoreError>,
) {
    disk.fails_to_sync();
    match call(store) {
        Err(StoreError::Unknown(_)) => {}
        other => panic!("nothing was synced, and yet: {other:?}"),
    }
    assert!(server.ends(), "{}", server.log());
    disk.works();
    server.restart();
}

#[test]
fn r3_a_write_that_is_found_done_after_a_sync_that_failed_counts_once_it_is_synced() {
    let disk = FaultyDisk::new();
    let server = RedisServer::start_in(&disk.environment());
    let mut store = open(&server.address_unix());
    let mut journal = recover(&mut store, &options()).unwrap().journal;
    let write = journal.write(vec![Record::Log { first: Seq(1), operations: vec![transfer(1, "A", "B")] }]);
    unsynced(&disk, &server, &mut store, |store| store.write(&write));
    assert!(server.log().contains("Can't persist AOF for fsync error"), "{}", server.log());
    let found = open(&server.address_unix()).read(Stream::Log, 1, 1, 0).unwrap();
    assert_eq!(found.len(), 1, "the server found it again");
    unsynced(&disk, &server, &mut store, |store| store.write(&write));
    store.write(&write).unwrap();
    store.write(&journal.write(vec![Record::Admitted])).unwrap();
}

#[test]
fn r3_an_epoch_that_is_found_taken_after_a_sync_that_failed_counts_once_it_is_synced() {
    let disk = FaultyDisk::new();
    let server = RedisServer::start_in(&disk.environment());
    let mut store = open(&server.address_unix());
    let first = recover(&mut store, &options()).unwrap().epoch;
    unsynced(&disk, &server, &mut store, |store| store.take_epoch(5));
    unsynced(&disk, &server, &mut store, |store| store.take_epoch(5));
    let second = store.take_epoch(5).unwrap();
    assert_eq!((second.number, second.token), (first.number + 1, 5));
}
