//! How a database in a file is opened, or made where there is none.

use std::io;
use std::path::Path;

use super::super::StoreError;
use super::base::{Base, Opener};
use super::file::{LockedFile, Unlocked, create_directories, sync_directory};

/// What is made of a database, and holds it.
pub(super) trait OnBase: Sized {
    /// How much of it is kept in memory.
    const CACHE_BYTES: usize;
    /// What somebody is told who finds its file empty.
    const EMPTY: &str;

    fn base(&mut self) -> &mut Base;
}

/// A path in full, since a relative one tells nothing to somebody who stands elsewhere.
pub(super) fn full_name(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Opens the file, or creates it and the directories above it. `begin` has the database that is in it, or a new one
/// before the file has its name.
pub(super) fn open_or_create<T: OnBase>(
    path: &Path,
    begin: impl Fn(Base) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    loop {
        if let Some(opened) = open(path, &begin)? {
            return Ok(opened);
        }
        // Created only now and here: a file that vanishes under a running node is a lost disk, not a new one. None:
        // somebody else has just created it.
        if let Some(created) = create(path, &begin)? {
            return Ok(created);
        }
    }
}

/// Opens the file that is there; `None` where there is none.
pub(super) fn open<T: OnBase>(
    path: &Path,
    begin: impl Fn(Base) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let name = full_name(path);
    match LockedFile::open(path).map_err(|unlocked| not_locked(&name, unlocked))? {
        Some(file) if file.is_in_place().is_err() => Err(StoreError::corrupt(name, T::EMPTY)),
        Some(file) => begin(Base::open(&name, opener(file), T::CACHE_BYTES)?).map(Some),
        None => Ok(None),
    }
}

/// Creates the file, with a database in it. `None` where it is there by now.
fn create<T: OnBase>(path: &Path, begin: impl Fn(Base) -> Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    let name = full_name(path);
    let cannot_open = |error: io::Error| cannot_open(&name, &error);
    let touched = create_directories(path).map_err(cannot_open)?;
    let file = LockedFile::begin(path).map_err(|unlocked| not_locked(&name, unlocked))?;
    let begun = file.clone();
    let base = Base::open(&name, Box::new(move |builder| builder.create_with_backend(begun.clone())), T::CACHE_BYTES)?;
    // What is wrong is found before the file has its name; where somebody was faster, it may be no fault.
    let made = begin(base);
    if made.is_err() && !path.exists() {
        return made.map(Some);
    }
    let Some(file) = file.finish(path).map_err(cannot_open)? else { return Ok(None) };
    let mut made = made?;
    touched.iter().try_for_each(|path| sync_directory(path)).map_err(cannot_open)?;
    made.base().reopen_with(opener(file));
    Ok(Some(made))
}

/// Opens the database in a file that holds one.
fn opener(file: LockedFile) -> Opener {
    Box::new(move |builder| {
        file.is_in_place()?;
        builder.create_with_backend(file.clone())
    })
}

fn not_locked(name: &str, unlocked: Unlocked) -> StoreError {
    match unlocked {
        Unlocked::InUse => StoreError::Locked { path: name.to_owned() },
        Unlocked::Io(error) => cannot_open(name, &error),
    }
}

pub(super) fn cannot_open(name: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Open { path: name.to_owned(), what: error.to_string() }
}
