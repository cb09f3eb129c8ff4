//! An archive that does not fit its Redis, or is damaged, is named, and nothing is changed.

use std::path::Path;

use paxos_banking::store::{
    Disk, RecoverOptions, Store as _, StoreAddress, StoreError, Stream, audit, read_blocks, recover,
};
use paxos_banking::types::{Height, Incarnation};

use crate::archived_bench::{ArchivedBench, Growing, archived, checked, identity, moved, put, started, tidy};
use crate::redb_file::quiet_contained_panics;
use crate::redis_bench;
use crate::script::*;

#[test]
fn two_processes_cannot_have_one_archive() {
    let bench = ArchivedBench::new();
    let _store = bench.open().unwrap();
    let path = bench.file().display().to_string();
    assert_eq!(bench.open().err(), Some(StoreError::Locked { path: path.clone() }));
    assert_eq!(checked(&bench), Err(StoreError::Locked { path }));
}

#[test]
fn r13_an_archive_that_is_not_there_is_named_with_what_is_missing_before_the_store_is_taken() {
    let bench = ArchivedBench::new();
    let growing = moved(&bench);
    let store = bench.server.address_unix();
    let epoch = bench.server.cli(&["HGET", "SERVER-PAXOS-A", "epoch"]);
    let gap = |archive, first| {
        let store = store.clone();
        Some(StoreError::Gap { store, archive, first: Height(first), last: Height(8) })
    };
    // Without it.
    let plain: StoreAddress = store.parse().unwrap();
    let mut opened = plain.open(node("A"), &Disk::new()).unwrap();
    let without = recover(&mut *opened, &options()).err();
    assert_eq!(without, gap(None, 1));
    assert!(without.unwrap().to_string().contains("--archive"));
    assert_eq!(audit(&mut *opened).err(), gap(None, 1));
    assert_eq!(read_blocks(&mut *opened, Height(4), Height(10), 1).err(), gap(None, 4));
    assert_eq!(read_blocks(&mut *opened, Height(9), Height(10), 1 << 20).unwrap().len(), 2);
    // With an older copy, and with none.
    let path = bench.file().display().to_string();
    let newest = std::fs::read(bench.file()).unwrap();
    (6..=8).for_each(|height| put(&bench, height, None));
    assert_eq!(started(&bench).err(), gap(Some(path.clone()), 6));
    assert_eq!(checked(&bench).err(), gap(Some(path.clone()), 6));
    std::fs::remove_file(bench.file()).unwrap();
    assert_eq!(checked(&bench).err(), gap(Some(path.clone()), 1));
    assert!(!bench.file().exists(), "a check makes none");
    assert_eq!(started(&bench).err(), gap(Some(path), 1));
    assert_eq!(bench.server.cli(&["HGET", "SERVER-PAXOS-A", "epoch"]), epoch, "nobody took the store");
    std::fs::write(bench.file(), newest).unwrap();
    assert_eq!(started(&bench).unwrap(), growing.model.state());
}

#[test]
fn r13_an_archive_beside_a_new_redis_or_that_of_another_store_is_refused() {
    let (bench, other) = (ArchivedBench::new(), ArchivedBench::new());
    let growing = moved(&bench);
    moved(&other);
    let mine = std::fs::read(bench.file()).unwrap();
    let other_archive = |result: Result<State, StoreError>, expected: &str| match result {
        Err(error @ StoreError::OtherArchive { .. }) => assert!(error.to_string().contains(expected), "{error}"),
        other => panic!("{other:?}"),
    };
    // Of the same node of the same bank, but another life of it.
    let mut flushed = ArchivedBench { server: other.server, directory: bench.directory };
    flushed.server.flush_all();
    other_archive(started(&flushed), "there is no store of this node");
    let mut reborn = redis_bench::open(&flushed.server.address_unix());
    recover(&mut reborn, &RecoverOptions { incarnation: Incarnation(7), ..options() }).unwrap();
    drop(reborn);
    other_archive(started(&flushed), "there is store 0000000000000007 of node A");
    assert!(matches!(checked(&flushed), Err(StoreError::OtherArchive { .. })));
    assert_eq!(std::fs::read(flushed.file()).unwrap().len(), mine.len(), "it was left as it was");
    flushed.server = bench.server;
    assert_eq!(started(&flushed).unwrap(), growing.model.state());
}

#[test]
fn r13_a_redis_that_went_back_behind_its_archive_is_named() {
    let bench = ArchivedBench::new();
    let copies = tempfile::tempdir().unwrap();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 4, 1);
    drop(store);
    copy(&bench.server.log_directory(), copies.path());
    let mut store = bench.open().unwrap();
    let mut growing = growing.again(&mut store);
    growing.grow(&mut store, 9, 1);
    growing.checkpoint(&mut store);
    tidy(&mut store);
    drop(store);
    bench.server.kill();
    std::fs::remove_dir_all(bench.server.log_directory()).unwrap();
    std::fs::create_dir(bench.server.log_directory()).unwrap();
    copy(copies.path(), &bench.server.log_directory());
    bench.server.restart();
    let expected = StoreError::WentBack {
        store: bench.server.address_unix(),
        height: Height(4),
        archive: bench.file().display().to_string(),
        archived: Height(8),
    };
    assert_eq!(started(&bench).err(), Some(expected.clone()));
    assert_eq!(checked(&bench).err(), Some(expected));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn r13_another_block_in_the_archive_where_one_is_to_move_is_damage_and_nothing_is_removed() {
    let bench = ArchivedBench::new();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 1);
    growing.checkpoint(&mut store);
    bench.server.cli(&["ACL", "SETUSER", "default", "-xdel"]);
    store.tidy().unwrap_err();
    bench.server.cli(&["ACL", "SETUSER", "default", "+xdel"]);
    drop(store);
    put(&bench, 3, archived(&bench, 4).as_deref());
    let mut store = bench.open().unwrap();
    growing.again(&mut store);
    match store.tidy() {
        Err(StoreError::Corrupt { key, what }) if key == "chain/3" => assert!(what.contains("A.archive"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.in_redis(), (0..=8).collect::<Vec<_>>());
}

#[test]
fn damage_in_the_archive_is_found_and_named_when_it_is_read() {
    quiet_contained_panics();
    let bench = ArchivedBench::new();
    let growing = moved(&bench);
    for height in [1, 5, 8] {
        let intact = archived(&bench, height).unwrap();
        let mut forged = intact.clone();
        *forged.last_mut().unwrap() ^= 1;
        put(&bench, height, Some(&forged));
        let key = Stream::Chain.key(height);
        assert!(matches!(checked(&bench), Err(StoreError::Corrupt { key: found, .. }) if found == key));
        put(&bench, height, Some(&intact));
    }
    let intact = archived(&bench, 5).unwrap();
    put(&bench, 5, None);
    assert!(matches!(checked(&bench), Err(StoreError::Corrupt { key, .. }) if key == "chain/5"));
    put(&bench, 5, Some(&intact));
    assert_eq!(checked(&bench).unwrap(), 11);
    let identity = identity(&bench, None);
    let path = bench.file().display().to_string();
    assert!(matches!(checked(&bench), Err(StoreError::Corrupt { key, .. }) if key == path));
    self::identity(&bench, identity.as_deref());
    // A bit anywhere in the file: it is found, or nothing that is read depends on it.
    let file = std::fs::read(bench.file()).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for position in (0..file.len()).step_by(4_099) {
        let mut damaged = file.clone();
        damaged[position] ^= 0x10;
        std::fs::write(bench.file(), &damaged).unwrap();
        match checked(&bench) {
            Ok(blocks) => {
                assert_eq!(blocks, 11);
                harmless += 1;
            }
            Err(StoreError::Corrupt { .. } | StoreError::Gap { .. } | StoreError::Open { .. }) => found += 1,
            Err(other) => panic!("byte {position}: {other}"),
        }
    }
    assert!(found > 0 && harmless > 0, "{found} found, {harmless} harmless");
    std::fs::write(bench.file(), &file[..file.len() / 2]).unwrap();
    assert!(checked(&bench).is_err());
    std::fs::write(bench.file(), []).unwrap();
    assert!(matches!(checked(&bench), Err(StoreError::Corrupt { .. })));
    std::fs::write(bench.file(), &file).unwrap();
    assert_eq!(started(&bench).unwrap(), growing.model.state());
}

#[test]
fn only_a_redis_has_an_archive() {
    for address in ["memory", "redb:bank"] {
        let address: StoreAddress = address.parse().unwrap();
        let error = address.clone().with_archive(Some("archive".into())).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(address.clone().with_archive(None), Ok(address));
    }
}
