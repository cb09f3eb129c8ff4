//! The embedded store: one file per node, locked while it is open, with one table per stream and one for the fields.
//!
//! redb writes copy-on-write and syncs on commit, so a write is there wholly or not at all. Two of its habits are met
//! here. After an IO error a database only answers that it had one: it is closed, and opened again by the next call.
//! On a damaged file it may panic: at this seam a panic becomes an error like any other damage.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend, StorageError, Table,
    TableDefinition, TableError, WriteTransaction,
};

use self::file::{LockedFile, Unlocked};
use super::check::{Verdict, View, encode_epoch, judge, next_epoch};
use super::{Store, StoreError, Stream, Write, field};
use crate::types::Epoch;

mod file;

const FIELDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("fields");

/// Enough to keep what a running node reads again; the default would grow to a gigabyte per node.
const CACHE_BYTES: usize = 64 << 20;

const fn table(stream: Stream) -> TableDefinition<'static, u64, &'static [u8]> {
    TableDefinition::new(stream.name())
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// True while this thread runs code whose panics become errors: a panic hook that ends the process, as nodes have one,
/// lets these pass.
pub fn panics_are_contained() -> bool {
    CONTAINED.get()
}

/// Opens the database, for the first time or again.
type Opener = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send>;

/// Opens the database in a file that holds one.
fn opener(file: LockedFile) -> Opener {
    Box::new(move |builder| {
        file.is_in_place()?;
        builder.create_with_backend(file.clone())
    })
}

/// A store in one file.
pub struct RedbStore {
    /// The file's path, for messages.
    name: String,
    opener: Opener,
    /// `None` after a failure, until the next call opens it again.
    database: Option<Database>,
}

impl RedbStore {
    /// Opens the file, or creates it and the directories above it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Open`] or [`StoreError::Corrupt`], with the path.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        // A relative path tells nothing to somebody who stands elsewhere.
        let name = std::path::absolute(&path).unwrap_or_else(|_| path.clone()).display().to_string();
        let mut store = Self { name, opener: Box::new(|_| Err(DatabaseError::RepairAborted)), database: None };
        loop {
            match LockedFile::open(&path).map_err(|unlocked| store.unlocked(unlocked))? {
                Some(file) if file.is_in_place().is_err() => {
                    return Err(store.corrupt("the file is empty; if the node never ran, remove it"));
                }
                Some(file) => {
                    store.opener = opener(file);
                    store.database = Some(store.open_database()?);
                    return Ok(store);
                }
                // Created only now and here: a file that vanishes under a running node is a lost disk, not a new one.
                None if store.create(&path)? => return Ok(store),
                // Somebody else has just created it.
                None => {}
            }
        }
    }

    /// Creates the file, with a database in it. False where it is there by now.
    fn create(&mut self, path: &Path) -> Result<bool, StoreError> {
        let touched = create_directories(path).map_err(|error| self.cannot_open(&error))?;
        let file = LockedFile::begin(path).map_err(|unlocked| self.unlocked(unlocked))?;
        let begun = file.clone();
        self.opener = Box::new(move |builder| builder.create_with_backend(begun.clone()));
        let database = self.open_database()?;
        let file = file.finish(path).map_err(|error| self.cannot_open(&error))?;
        let Some(file) = file else { return Ok(false) };
        touched.iter().try_for_each(|path| sync_directory(path)).map_err(|error| self.cannot_open(&error))?;
        (self.opener, self.database) = (opener(file), Some(database));
        Ok(true)
    }

    /// A store on something else than a file, such as a disk that a test lets fail. `backend` is asked for it at each
    /// opening, the first one included.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn on_backend<B: StorageBackend>(
        name: impl Into<String>,
        backend: impl Fn() -> B + Send + 'static,
    ) -> Result<Self, StoreError> {
        let opener: Opener = Box::new(move |builder| builder.create_with_backend(backend()));
        let mut store = Self { name: name.into(), opener, database: None };
        store.database = Some(store.open_database()?);
        Ok(store)
    }

    fn open_database(&self) -> Result<Database, StoreError> {
        let mut builder = Builder::new();
        // redb trusts a file that was closed in order. A node reads all of it at start anyhow, and money hangs on it.
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let opened = contain(|| (self.opener)(&builder)).map_err(|panic| self.corrupt(panic))?;
        opened.map_err(|error| match error {
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                self.corrupt(error.to_string())
            }
            DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::RepairAborted => {
                self.corrupt(error.to_string())
            }
            error => self.cannot_open(&error),
        })
    }

    /// Runs `action` on the open database. Whatever it fails with, the database may be of no more use; `failing` says
    /// what it means that it could not be opened again.
    fn with<T>(
        &mut self,
        failing: fn(String) -> StoreError,
        action: impl FnOnce(&Self, &Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.open_database().map_err(|error| match error {
                // It could be opened once, so that this may pass.
                StoreError::Open { path, what } => failing(format!("{path}: {what}")),
                error => error,
            })?,
        };
        let result = contain(|| action(self, &database)).unwrap_or_else(|panic| Err(self.corrupt(panic)));
        match &result {
            Err(error) if error.may_be_retried() || matches!(error, StoreError::Corrupt { .. }) => {
                // Closing writes as well, and may fail as the action did; that was told already.
                let _ = contain(|| drop(database));
            }
            _ => self.database = Some(database),
        }
        result
    }

    /// Runs `change` in one transaction, which is committed where `change` says that it changed something.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(T, Verdict), StoreError>,
    ) -> Result<T, StoreError> {
        self.with(StoreError::NotWritten, |store, database| {
            let failed = |error| store.failed(error, StoreError::NotWritten);
            let mut transaction = database.begin_write().map_err(|error| failed(error.into()))?;
            transaction.set_durability(Durability::Immediate).map_err(|error| failed(error.into()))?;
            // With one sync less, a newest commit that does not verify is taken for one that never ended, and the one
            // before it is opened instead: a store that went back, and does not say so (R13).
            transaction.set_two_phase_commit(true);
            let (value, verdict) = change(&mut Tables::open(store, &transaction)?)?;
            match verdict {
                Verdict::Done => transaction.abort().map_err(|error| failed(error.into()))?,
                Verdict::Apply => {
                    transaction.commit().map_err(|error| store.failed(error.into(), StoreError::Unknown))?;
                }
            }
            Ok(value)
        })
    }

    /// An error of the disk may pass; anything else that redb says of a file means that it is not what redb wrote.
    fn failed(&self, error: ::redb::Error, passing: fn(String) -> StoreError) -> StoreError {
        use ::redb::Error::{Backend, DatabaseClosed, Io, LockPoisoned, PreviousIo};
        match error {
            Io(_) | PreviousIo | DatabaseClosed | Backend(_) | LockPoisoned(_) => {
                passing(format!("{}: {error}", self.name))
            }
            error => self.corrupt(error.to_string()),
        }
    }

    fn corrupt(&self, what: impl Into<String>) -> StoreError {
        StoreError::corrupt(self.name.clone(), what)
    }

    fn unlocked(&self, unlocked: Unlocked) -> StoreError {
        match unlocked {
            Unlocked::InUse => StoreError::Locked { path: self.name.clone() },
            Unlocked::Io(error) => self.cannot_open(&error),
        }
    }

    fn cannot_open(&self, error: &dyn std::error::Error) -> StoreError {
        StoreError::Open { path: self.name.clone(), what: error.to_string() }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        let database = self.database.take();
        let _ = contain(|| drop(database));
    }
}

impl Store for RedbStore {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        self.change(|tables| {
            let epoch = next_epoch(tables, token)?;
            tables.set_field(field::EPOCH, Some(&encode_epoch(epoch)))?;
            Ok((epoch, Verdict::Apply))
        })
    }

    fn check_epoch(&mut self, _: Epoch) -> Result<(), StoreError> {
        // The file is locked.
        Ok(())
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.with(StoreError::Unread, |store, database| {
            let failed = |error| store.failed(error, StoreError::Unread);
            let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
            let table = match transaction.open_table(FIELDS) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                Err(error) => return Err(failed(error.into())),
            };
            let mut fields = BTreeMap::new();
            for entry in table.iter().map_err(|error| failed(error.into()))? {
                let (name, bytes) = entry.map_err(|error| failed(error.into()))?;
                fields.insert(name.value().to_owned(), bytes.value().to_vec());
            }
            Ok(fields)
        })
    }

    fn read(
        &mut self,
        stream: Stream,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.with(StoreError::Unread, |store, database| {
            let failed = |error| store.failed(error, StoreError::Unread);
            let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
            let (mut found, mut total) = (Vec::new(), 0);
            let table = match transaction.open_table(table(stream)) {
                Ok(table) if from <= to => table,
                Ok(_) | Err(TableError::TableDoesNotExist(_)) => return Ok(found),
                Err(error) => return Err(failed(error.into())),
            };
            for entry in table.range(from..=to).map_err(|error| failed(error.into()))? {
                let (id, bytes) = entry.map_err(|error| failed(error.into()))?;
                total += bytes.value().len();
                found.push((id.value(), bytes.value().to_vec()));
                if total > bytes_max {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        self.change(|tables| {
            let verdict = judge(tables, write)?;
            if verdict == Verdict::Apply {
                tables.apply(write)?;
            }
            Ok(((), verdict))
        })
    }

    fn describe(&self) -> String {
        format!("redb:{}", self.name)
    }
}

/// The open tables of one write transaction.
struct Tables<'a> {
    store: &'a RedbStore,
    fields: Table<'a, &'static str, &'static [u8]>,
    streams: BTreeMap<Stream, Table<'a, u64, &'static [u8]>>,
}

impl<'a> Tables<'a> {
    fn open(store: &'a RedbStore, transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        let failed = |error: TableError| store.failed(error.into(), StoreError::NotWritten);
        let fields = transaction.open_table(FIELDS).map_err(failed)?;
        let mut streams = BTreeMap::new();
        for stream in Stream::ALL {
            streams.insert(stream, transaction.open_table(table(stream)).map_err(failed)?);
        }
        Ok(Self { store, fields, streams })
    }

    fn failed(&self) -> impl Fn(StorageError) -> StoreError + use<'a> {
        let store = self.store;
        move |error| store.failed(error.into(), StoreError::NotWritten)
    }

    fn set_field(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let failed = self.failed();
        match value {
            Some(bytes) => self.fields.insert(name, bytes).map(drop).map_err(failed),
            None => self.fields.remove(name).map(drop).map_err(failed),
        }
    }

    fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        let failed = self.failed();
        for append in &write.appends {
            let table = self.streams.get_mut(&append.stream).expect("open() opened all of them");
            table.insert(append.id, append.bytes.as_slice()).map(drop).map_err(&failed)?;
        }
        for (stream, first_kept) in &write.trims {
            let table = self.streams.get_mut(stream).expect("open() opened all of them");
            table.retain_in::<u64, _>(..*first_kept, |_, _| false).map_err(&failed)?;
        }
        for (name, value) in &write.fields {
            self.set_field(name, value.as_deref())?;
        }
        Ok(())
    }
}

impl View for Tables<'_> {
    fn field(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.fields.get(name).map_err(self.failed())?;
        Ok(value.map(|bytes| bytes.value().to_vec()))
    }

    fn record(&self, stream: Stream, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.streams[&stream].get(id).map_err(self.failed())?;
        Ok(value.map(|bytes| bytes.value().to_vec()))
    }

    fn first_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        let first = self.streams[&stream].first().map_err(self.failed())?;
        Ok(first.map(|(id, _)| id.value()))
    }

    fn last_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        let last = self.streams[&stream].last().map_err(self.failed())?;
        Ok(last.map(|(id, _)| id.value()))
    }
}

/// Runs `action`; a panic in it becomes its message.
fn contain<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(action));
    CONTAINED.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the file does not make sense ({})", text.unwrap_or_default())
    })
}

/// Creates what is missing of the directories above `path`, and names those in which something new now stands.
fn create_directories(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut touched = Vec::new();
    for directory in path.ancestors().skip(1) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        touched.push(directory.to_owned());
        if directory.exists() {
            std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
            break;
        }
    }
    Ok(touched)
}

/// Without this a power failure may take the whole new file along, synced as its content is.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
