//! The embedded store on a disk that fails: every single operation once, without and with a loss of power.

use std::io::{Error, Result};
use std::sync::{Arc, Mutex};

use paxos_banking::store::{RedbStore, Store, StoreError, recover};
use redb::StorageBackend;

use crate::power_disk::WalOn;
use crate::script::*;

#[derive(Clone, Debug, Default)]
struct Platter {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct Platters {
    /// The database and the log.
    files: [Platter; 2],
    operations: u64,
    /// The number of the operation that fails.
    fails_at: Option<u64>,
    /// It is done all the same: only its caller hears that it was not.
    done: bool,
    /// From this operation on nothing is done: the process was killed.
    ends_at: Option<u64>,
}

/// A disk whose clones are the same disk.
#[derive(Clone, Debug, Default)]
struct FailingDisk(Arc<Mutex<Platters>>);

/// One of its files, by number.
#[derive(Clone, Debug)]
struct FailingFile(FailingDisk, usize);

impl FailingFile {
    fn operate<T>(&self, action: impl FnOnce(&mut Platter) -> T) -> Result<T> {
        let mut platters = self.0.0.lock().unwrap();
        platters.operations += 1;
        let fails = platters.fails_at == Some(platters.operations);
        if platters.ends_at.is_some_and(|end| end <= platters.operations) || fails && !platters.done {
            return Err(Error::other("the disk had a fault"));
        }
        let done = action(&mut platters.files[self.1]);
        if fails { Err(Error::other("the disk had a fault, or so it says")) } else { Ok(done) }
    }
}

impl FailingDisk {
    /// What is left once the power is lost, whatever is done to it until then.
    fn durable(&self) -> [Platter; 2] {
        let files = self.0.lock().unwrap().files.clone();
        files.map(|file| Platter { cached: file.durable.clone(), ..file })
    }

    fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }
}

impl StorageBackend for FailingFile {
    fn len(&self) -> Result<u64> {
        self.operate(|platter| platter.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.operate(|platter| out.copy_from_slice(&platter.cached[offset..offset + out.len()]))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.operate(|platter| platter.cached.resize(usize::try_from(length).unwrap(), 0))
    }

    fn sync_data(&self) -> Result<()> {
        self.operate(|platter| platter.durable = platter.cached.clone())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.operate(|platter| platter.cached[offset..offset + data.len()].copy_from_slice(data))
    }
}

fn open(disk: &FailingDisk) -> std::result::Result<RedbStore, StoreError> {
    let [database, wal] = [0, 1].map(|number| FailingFile(disk.clone(), number));
    RedbStore::on_backends("disk", move || database.clone(), WalOn(wal), 3)
}

/// A step that is repeated as its error allows.
fn patiently<T>(mut step: impl FnMut() -> std::result::Result<T, StoreError>) -> std::result::Result<T, StoreError> {
    step().or_else(|error| if error.may_be_retried() { step() } else { Err(error) })
}

/// The script, each step repeated as its error allows.
fn live(disk: &FailingDisk) -> std::result::Result<RedbStore, StoreError> {
    let mut store = open(disk)?;
    let mut journal = patiently(|| recover(&mut store, &options()))?.journal;
    for records in script() {
        let write = journal.write(records);
        patiently(|| store.write(&write))?;
    }
    Ok(store)
}

#[test]
fn r13_a_disk_that_fails_once_anywhere_loses_nothing_and_repeats_nothing() {
    let healthy = FailingDisk::default();
    let opening = {
        drop(open(&healthy).unwrap());
        healthy.operations()
    };
    let operations = {
        let disk = FailingDisk::default();
        drop(live(&disk).unwrap());
        disk.operations()
    };
    for fails_at in 1..=operations {
        let disk = FailingDisk::default();
        disk.0.lock().unwrap().fails_at = Some(fails_at);
        match live(&disk) {
            Ok(mut store) => {
                disk.0.lock().unwrap().fails_at = None;
                assert_eq!(state(&mut store).unwrap(), end_of_script(), "operation {fails_at} failed");
            }
            // A store that cannot even be opened first says so, and what was left of it is an operator's to remove.
            Err(StoreError::Open { .. }) if fails_at <= opening => {}
            Err(error) => panic!("operation {fails_at} failed: {error}"),
        }
    }
}

#[test]
fn r13_a_store_that_is_killed_while_it_repeats_what_was_done_already_is_opened_again() {
    // The operations up to a first start, which makes the log, and up to its end.
    let start = |disk: &FailingDisk| {
        let mut store = open(disk)?;
        let opened = disk.operations();
        patiently(|| recover(&mut store, &options()))?;
        Ok::<_, StoreError>([opened, disk.operations()])
    };
    let [opened, started] = start(&FailingDisk::default()).unwrap();
    let mut cut_short = 0;
    for fails_at in opened + 1..=started {
        for ends_at in fails_at + 1.. {
            let disk = FailingDisk::default();
            *disk.0.lock().unwrap() =
                Platters { fails_at: Some(fails_at), done: true, ends_at: Some(ends_at), ..Platters::default() };
            let is_whole = start(&disk).is_ok();
            let again = FailingDisk::default();
            again.0.lock().unwrap().files = disk.0.lock().unwrap().files.clone();
            let next = start(&again);
            assert!(next.is_ok(), "operation {fails_at} was said to have failed, the end was {ends_at}: {next:?}");
            if is_whole {
                break;
            }
            cut_short += 1;
        }
    }
    assert!(cut_short > started - opened, "a start that repeats something is cut short in many ways: {cut_short}");
}

#[test]
fn r3_what_was_written_survives_a_loss_of_power_after_any_write() {
    let mut model = Model::new();
    let disk = FailingDisk::default();
    for records in std::iter::once(Vec::new()).chain(script()) {
        let mut store = open(&disk).unwrap();
        let recovered = recover(&mut store, &options()).unwrap();
        assert_eq!(State::of(&recovered), model.state());
        records.iter().for_each(|record| model.apply(record));
        let mut journal = recovered.journal;
        store.write(&journal.write(records)).unwrap();
        // Closing a database tidies up. A machine that lost power had no time to.
        let kept = disk.durable();
        drop(store);
        disk.0.lock().unwrap().files = kept;
    }
    assert_eq!(state(&mut open(&disk).unwrap()).unwrap(), model.state());
}
