//! What only a file can suffer: another process, flipped bytes anywhere in it, a lost end.

use std::path::{Path, PathBuf};

use paxos_banking::effect::Record;
use paxos_banking::store::redb::panics_are_contained;
use paxos_banking::store::{Append, Journal, RedbStore, Store as _, StoreError, Stream, recover};

use crate::bench::{Bench, RedbBench};
use crate::script::*;

/// The primary-slot bit of redb's header: after a crash the other slot may be the newest commit or the one before it,
/// and nothing but this bit says which. A store that goes back by it is found out by its peers only (R13).
pub const SLOT_BYTE: usize = 9;

/// Expected panics of redb are errors by the time a test sees them; they need not fill its output.
pub fn quiet_contained_panics() {
    let outer = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !panics_are_contained() {
            outer(info);
        }
    }));
}

/// The files of a store.
#[derive(Clone)]
struct Files {
    name: &'static str,
    database: Vec<u8>,
    /// Only a process that writes has a log, or one that was killed.
    wal: Option<Vec<u8>>,
}

fn wal_beside(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}.wal", path.file_name().unwrap().to_str().unwrap()))
}

impl Files {
    fn read(name: &'static str, path: &Path) -> Self {
        Self { name, database: std::fs::read(path).unwrap(), wal: std::fs::read(wal_beside(path)).ok() }
    }

    /// What recovery makes of them: the state, or the error.
    fn load(&self, path: &Path) -> Result<State, StoreError> {
        match &self.wal {
            Some(bytes) => {
                // Most of a log was never written.
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                std::fs::write(wal_beside(path), &bytes[..used]).unwrap();
                let file = std::fs::File::options().write(true).open(wal_beside(path)).unwrap();
                file.set_len(bytes.len() as u64).unwrap();
            }
            None => drop(std::fs::remove_file(wal_beside(path))),
        }
        load(path, &self.database)
    }
}

/// The files as a closed store leaves them, and as a process leaves them that is killed after its last write.
fn files() -> [Files; 2] {
    let bench = RedbBench::new();
    let mut store = bench.open().unwrap();
    run_script(&mut *store);
    let killed = Files::read("killed", &bench.path());
    drop(store);
    [Files::read("closed", &bench.path()), killed]
}

/// What recovery makes of a database without a log: the state, or the error.
fn load(path: &Path, bytes: &[u8]) -> Result<State, StoreError> {
    std::fs::write(path, bytes).unwrap();
    state(&mut RedbStore::open(path)?)
}

#[test]
fn r13_only_one_process_owns_a_file() {
    let bench = RedbBench::new();
    let store = bench.open().unwrap();
    let locked = StoreError::Locked { path: bench.path().display().to_string() };
    assert_eq!(RedbStore::open(bench.path()).err(), Some(locked));
    drop(store);
    assert!(bench.open().is_ok());
}

#[test]
fn r13_a_flipped_byte_anywhere_in_a_closed_file_gives_the_same_state_or_an_error() {
    flip_everywhere(0);
}

#[test]
fn r13_a_flipped_byte_anywhere_in_the_file_of_a_killed_process_gives_the_same_state_or_an_error() {
    flip_everywhere(1);
}

/// Which byte of which file, by its offset.
#[derive(Clone, Copy, Debug)]
enum Flip {
    Database(usize),
    Wal(usize),
}

impl Flip {
    fn do_to(self, files: &mut Files) {
        match self {
            Self::Database(SLOT_BYTE) => files.database[SLOT_BYTE] ^= 0xfe,
            Self::Database(offset) => files.database[offset] ^= 1 << (offset % 8),
            Self::Wal(offset) => files.wal.as_mut().unwrap()[offset] ^= 1 << (offset % 8),
        }
    }
}

/// The bytes that are flipped, one at a time.
fn flips(files: &Files) -> Vec<Flip> {
    let written = |bytes: &[u8]| -> Vec<usize> {
        let pages = bytes.chunks(4096).enumerate();
        pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)).map(|(page, _)| page * 4096).collect()
    };
    // The header is small and says where everything is: of it, every byte. Of pages that were never written, none.
    let header = 0..320;
    // Each start after a kill repairs the database, which takes its time.
    let step = if files.wal.is_some() { 199 } else { 61 };
    let pages = written(&files.database).into_iter();
    let spread = pages.flat_map(|page| (page..page + 4096).filter(|offset| offset % step == 0 && *offset >= 320));
    // Of each page of the log the beginning, which says what it is, and some of what follows.
    let log = written(files.wal.as_deref().unwrap_or_default()).into_iter();
    let log = log.flat_map(|page| (0..48).chain((48..4096).step_by(509)).map(move |byte| page + byte));
    header.chain(spread).map(Flip::Database).chain(log.map(Flip::Wal)).collect()
}

fn flip_everywhere(which: usize) {
    quiet_contained_panics();
    let expected = end_of_script();
    let files = &files()[which];
    let name = files.name;
    // How many flips of some made no difference, and how many were refused.
    let look = |flips: &[Flip]| -> [usize; 2] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("A.redb");
        assert_eq!(files.load(&path).unwrap(), expected, "{name}, intact");
        let mut counts = [0, 0];
        for flip in flips {
            let mut damaged = files.clone();
            flip.do_to(&mut damaged);
            match damaged.load(&path) {
                Ok(state) => {
                    assert_eq!(state, expected, "{name}, {flip:?}");
                    counts[0] += 1;
                }
                Err(StoreError::Corrupt { .. } | StoreError::Open { .. }) => counts[1] += 1,
                Err(other) => panic!("{name}, {flip:?}: {other}"),
            }
        }
        counts
    };
    let flips = flips(files);
    // Each has a copy of the files, of some ten megabytes.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let counts: Vec<_> = std::thread::scope(|scope| {
        let parts = flips.chunks(flips.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || look(part))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let [same, refused] = [0, 1].map(|which| counts.iter().map(|counts| counts[which]).sum::<usize>());
    println!("{name}: {} flips, {same} harmless, {refused} refused", flips.len());
    assert!(same > 0 && refused > 0);
}

#[test]
fn r13_a_file_that_lost_its_end_is_refused() {
    quiet_contained_panics();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("A.redb");
    let cut = |files: Files, what: String| match files.load(&path) {
        Ok(state) => assert_eq!(state, end_of_script(), "{}, {what}", files.name),
        Err(StoreError::Corrupt { .. } | StoreError::Open { .. }) => {}
        Err(other) => panic!("{}, {what}: {other}", files.name),
    };
    for files in files() {
        for eighths in 0..8 {
            for less in [0, 1, 4096] {
                let length = |bytes: &[u8]| (bytes.len() * eighths / 8).saturating_sub(less);
                let mut shorter = files.clone();
                shorter.database.truncate(length(&files.database));
                cut(shorter, format!("an eighth: {eighths}, less {less}"));
                let mut shorter = files.clone();
                shorter.wal.iter_mut().for_each(|wal| wal.truncate(length(wal)));
                cut(shorter, format!("an eighth of the log: {eighths}, less {less}"));
            }
        }
    }
}

#[test]
fn r13_without_its_log_or_with_that_of_another_store_a_store_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("A.redb");
    let [closed, killed] = files();
    let [other, others_killed] = files();
    let refused = |files: &Files, word: &str| {
        let error = files.load(&path).unwrap_err();
        let named = matches!(&error, StoreError::Corrupt { key, what } if key.ends_with(".wal") && what.contains(word));
        assert!(named, "{error}");
        assert!(std::fs::read(wal_beside(&path)).ok() == files.wal, "left as it was");
    };
    refused(&Files { wal: None, ..killed.clone() }, "missing");
    refused(&Files { wal: others_killed.wal.clone(), ..killed.clone() }, "another store");
    std::fs::write(wal_beside(&path), killed.wal.as_ref().unwrap()).unwrap();
    assert_eq!(state(&mut RedbStore::open(&path).unwrap()).unwrap(), end_of_script(), "the right one makes it whole");
    refused(&Files { wal: others_killed.wal.clone(), ..closed }, "another store");
    // One whose database is gone.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(wal_beside(&path), others_killed.wal.as_ref().unwrap()).unwrap();
    let error = RedbStore::open(&path).err().unwrap();
    assert!(error.to_string().contains("another store") && !path.exists(), "{error}");
    // What is left of an orderly end that was cut off is the store's own.
    assert_eq!(Files { wal: others_killed.wal, ..other }.load(&path).unwrap(), end_of_script());
}

#[test]
fn r7_a_log_that_is_filled_again_and_again_shows_and_keeps_everything() {
    let bench = RedbBench::new();
    let mut store = RedbStore::open(bench.path()).unwrap();
    let mut journal = recover(&mut store, &options()).unwrap().journal;
    let mut model = Model::new();
    let write = |store: &mut RedbStore, journal: &mut Journal, model: &mut Model| {
        let refusals = (0..10_000).map(|id| refusal(id, "A")).collect();
        let record = Record::Refused { number: model.refused_next, refusals };
        model.apply(&record);
        let write = journal.write(vec![record]);
        // The second time it is there already.
        (0..2).for_each(|_| store.write(&write).unwrap());
        write
    };
    let mut bytes = 0;
    // Twice through both halves of a log, each of which moves into the database while the other one is filled.
    while bytes < 70 << 20 {
        let write = write(&mut store, &mut journal, &mut model);
        let Append { id, bytes: newest, .. } = &write.appends[0];
        bytes += newest.len();
        let seen = store.read(Stream::Refused, id.saturating_sub(1), u64::MAX, usize::MAX).unwrap();
        assert_eq!(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>(), (1.max(id - 1)..=*id).collect::<Vec<_>>());
        assert!(seen.last().is_some_and(|(_, bytes)| bytes == newest), "record {id} is as it was written");
        assert_eq!(store.read(Stream::Refused, 0, u64::MAX, 0).unwrap()[0].0, 1);
    }
    let recovered = recover(&mut store, &options()).unwrap();
    assert!(State::of(&recovered) == model.state(), "as the process that wrote it reads it");
    let mut journal = recovered.journal;
    (0..3).for_each(|_| drop(write(&mut store, &mut journal, &mut model)));
    let killed = Files::read("killed", &bench.path());
    drop(store);
    let directory = tempfile::tempdir().unwrap();
    assert!(killed.load(&directory.path().join("A.redb")).unwrap() == model.state(), "as after a kill");
    assert!(Files::read("closed", &bench.path()).wal.is_none());
    assert!(state(&mut RedbStore::open(bench.path()).unwrap()).unwrap() == model.state(), "as after an orderly end");
}

#[test]
fn r13_a_file_that_was_emptied_is_not_taken_for_a_new_one() {
    let bench = RedbBench::new();
    run_script(&mut *bench.open().unwrap());
    let error = load(&bench.path(), &[]).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { what, .. } if what.contains("empty")), "{error}");
}

#[test]
fn a_path_that_cannot_be_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let error = RedbStore::open(directory.path()).err().unwrap();
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    let error = RedbStore::open("/dev/null/A.redb").err().unwrap();
    assert!(matches!(&error, StoreError::Open { path, .. } if path == "/dev/null/A.redb"), "{error}");
    let text = directory.path().join("notes.txt");
    let error = load(&text, b"this was never a store").unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { key, .. } if key.ends_with("notes.txt")), "{error}");
    assert_eq!(std::fs::read(&text).unwrap(), b"this was never a store", "and it is left as it was");
}
