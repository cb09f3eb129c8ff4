//! What only a file can suffer: another process, flipped bytes anywhere in it, a lost end.

use std::path::Path;

use paxos_banking::store::redb::panics_are_contained;
use paxos_banking::store::{RedbStore, StoreError};

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

/// The file as a closed store leaves it, and as a process leaves it that is killed after its last write.
fn files() -> [(&'static str, Vec<u8>); 2] {
    let bench = RedbBench::new();
    let mut store = bench.open().unwrap();
    run_script(&mut *store);
    let killed = std::fs::read(bench.path()).unwrap();
    drop(store);
    [("closed", std::fs::read(bench.path()).unwrap()), ("killed", killed)]
}

/// What recovery makes of a file: the state, or the error.
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

fn flip_everywhere(which: usize) {
    quiet_contained_panics();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("A.redb");
    let expected = end_of_script();
    let (name, file) = &files()[which];
    assert_eq!(load(&path, file).unwrap(), expected, "{name}, intact");
    // The header is small and says where everything is: of it, every byte. Of pages that were never written, none.
    let header = 0..320;
    let pages = (file.chunks(4096).enumerate()).filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    let spread = pages.flat_map(|(page, _)| (page * 4096..(page + 1) * 4096).filter(|offset| offset % 61 == 0));
    let (mut same, mut refused) = (0, 0);
    for offset in header.chain(spread.filter(|offset| *offset >= 320)) {
        let mut damaged = file.clone();
        damaged[offset] ^= if offset == SLOT_BYTE { 0xfe } else { 1 << (offset % 8) };
        match load(&path, &damaged) {
            Ok(state) => {
                assert_eq!(state, expected, "{name}, byte {offset} flipped");
                same += 1;
            }
            Err(StoreError::Corrupt { .. } | StoreError::Open { .. }) => refused += 1,
            Err(other) => panic!("{name}, byte {offset} flipped: {other}"),
        }
    }
    println!("{name}: {} bytes, {same} flips harmless, {refused} refused", file.len());
    assert!(same > 0 && refused > 0);
}

#[test]
fn r13_a_file_that_lost_its_end_is_refused() {
    quiet_contained_panics();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("A.redb");
    for (name, file) in files() {
        for eighths in 0..8 {
            for less in [0, 1, 4096] {
                let length = (file.len() * eighths / 8).saturating_sub(less);
                match load(&path, &file[..length]) {
                    Ok(state) => assert_eq!(state, end_of_script(), "{name}, cut to {length} bytes"),
                    Err(StoreError::Corrupt { .. } | StoreError::Open { .. }) => {}
                    Err(other) => panic!("{name}, cut to {length} bytes: {other}"),
                }
            }
        }
    }
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
