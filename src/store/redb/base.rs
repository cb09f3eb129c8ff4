//! The database of an embedded store: one table per stream, one for the fields, and one for how it stands with its
//! write-ahead log.
//!
//! redb writes copy-on-write and syncs on commit, so a change is there wholly or not at all. Two of its habits are met
//! here. After an IO error a database only answers that it had one: it is closed, and opened again by the next call.
//! On a damaged file it may panic: at this seam a panic becomes an error like any other damage.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageError, Table, TableDefinition, TableError, WriteTransaction,
};

use super::super::record::{self, Kind, WalState};
use super::super::{StoreError, Stream, Write};
use super::segment::Segment;

const FIELDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("fields");

/// Holds one value, the [`WalState`].
const WAL: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("wal");

/// Enough to keep what a running node reads again; the default would grow to a gigabyte per node.
pub(super) const CACHE_BYTES: usize = 64 << 20;

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
pub(super) type Opener = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send>;

/// The database, open or to be opened again.
pub(super) struct Base {
    name: Arc<str>,
    opener: Opener,
    cache_bytes: usize,
    /// `None` after a failure, until the next call opens it again.
    database: Option<Arc<Database>>,
}

/// A database that is open, for whoever uses it on another thread.
#[derive(Clone)]
pub(super) struct Open {
    name: Arc<str>,
    database: Arc<Database>,
}

impl Base {
    /// Opens the database called `name` in messages, which keeps no more than `cache_bytes` of it in memory.
    pub(super) fn open(name: &str, opener: Opener, cache_bytes: usize) -> Result<Self, StoreError> {
        let mut base = Self { name: name.into(), opener, cache_bytes, database: None };
        base.database = Some(base.open_database()?);
        Ok(base)
    }

    /// Has it opened in another way from now on.
    pub(super) fn reopen_with(&mut self, opener: Opener) {
        self.opener = opener;
    }

    fn open_database(&self) -> Result<Arc<Database>, StoreError> {
        let mut builder = Builder::new();
        // redb trusts a file that was closed in order, and money hangs on it.
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(true);
        let opened = contain(|| (self.opener)(&builder)).map_err(|panic| corrupt(&self.name, panic))?;
        opened.map(Arc::new).map_err(|error| match error {
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                corrupt(&self.name, error.to_string())
            }
            DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::RepairAborted => {
                corrupt(&self.name, error.to_string())
            }
            error => StoreError::Open { path: self.name.to_string(), what: error.to_string() },
        })
    }

    /// True where the next call opens it again: no other thread may use it then.
    pub(super) fn is_closed(&self) -> bool {
        self.database.is_none()
    }

    /// Closes it: it failed, and is of no more use.
    pub(super) fn close(&mut self) {
        let database = self.database.take();
        // Closing writes as well, and may fail as it did before; that was told already.
        let _ = contain(|| drop(database));
    }

    /// The open database. `failing` says what it means that it could not be opened again.
    pub(super) fn handle(&mut self, failing: fn(String) -> StoreError) -> Result<Open, StoreError> {
        let database = match &self.database {
            Some(database) => database.clone(),
            None => self.open_database().map_err(|error| match error {
                // It could be opened once, so that this may pass.
                StoreError::Open { path, what } => failing(format!("{path}: {what}")),
                error => error,
            })?,
        };
        self.database = Some(database.clone());
        Ok(Open { name: self.name.clone(), database })
    }

    /// Runs `action` on the open database. Whatever it fails with, the database may be of no more use.
    pub(super) fn with<T>(
        &mut self,
        failing: fn(String) -> StoreError,
        action: impl FnOnce(&Open) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = self.handle(failing)?;
        let result = open.contained(action);
        drop(open);
        if let Err(error) = &result
            && (error.may_be_retried() || matches!(error, StoreError::Corrupt { .. }))
        {
            self.close();
        }
        result
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    /// Runs `action`; a panic in it is damage.
    pub(super) fn contained<T>(&self, action: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        contain(|| action(self)).unwrap_or_else(|panic| Err(corrupt(&self.name, panic)))
    }

    /// Lets go of it; where it was closed meanwhile, that happens here.
    pub(super) fn release(self) {
        let _ = contain(|| drop(self));
    }

    /// Runs `change` in one transaction, and makes it durable.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = |error| failed(&self.name, error, StoreError::NotWritten);
        let mut transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        transaction.set_durability(Durability::Immediate).map_err(|error| failed(error.into()))?;
        // With one sync less, a newest commit that does not verify is taken for one that never ended, and the one
        // before it is opened instead: a store that went back, and does not say so (R13).
        transaction.set_two_phase_commit(true);
        // Or else the start after a kill reads the whole file once more, to find out which of its pages are free.
        transaction.set_quick_repair(true);
        let value = change(&mut Tables::open(&self.name, &transaction)?)?;
        transaction.commit().map_err(|error| self::failed(&self.name, error.into(), StoreError::Unknown))?;
        Ok(value)
    }

    /// A look at what is there now.
    pub(super) fn look(&self) -> Result<Look<'_>, StoreError> {
        let transaction = self.database.begin_read();
        let transaction = transaction.map_err(|error| failed(&self.name, error.into(), StoreError::Unread))?;
        Ok(Look { name: &self.name, transaction })
    }
}

/// One state of the database, to be read.
pub(super) struct Look<'a> {
    name: &'a str,
    transaction: ReadTransaction,
}

impl Look<'_> {
    fn failed(&self, error: impl Into<::redb::Error>) -> StoreError {
        failed(self.name, error.into(), StoreError::Unread)
    }

    fn table<K: ::redb::Key + 'static, V: ::redb::Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
        match self.transaction.open_table(definition) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// How it stands with its log; `None` in a store that never had one.
    pub(super) fn wal_state(&self) -> Result<Option<WalState>, StoreError> {
        let Some(table) = self.table(WAL)? else { return Ok(None) };
        let Some(bytes) = table.get(WalState::KEY).map_err(|error| self.failed(error))? else { return Ok(None) };
        record::decode(WalState::KEY, Kind::WalState, bytes.value()).map(Some)
    }

    pub(super) fn fields(&self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let mut fields = BTreeMap::new();
        let Some(table) = self.table(FIELDS)? else { return Ok(fields) };
        for entry in table.iter().map_err(|error| self.failed(error))? {
            let (name, bytes) = entry.map_err(|error| self.failed(error))?;
            fields.insert(name.value().to_owned(), bytes.value().to_vec());
        }
        Ok(fields)
    }

    /// Shows the records of a stream with ids in `from..=to`, in order, for as long as `each` wants more.
    pub(super) fn records(
        &self,
        stream: Stream,
        from: u64,
        to: u64,
        mut each: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let Some(table) = self.table(table(stream))?.filter(|_| from <= to) else { return Ok(()) };
        for entry in table.range(from..=to).map_err(|error| self.failed(error))? {
            let (id, bytes) = entry.map_err(|error| self.failed(error))?;
            if !each(id.value(), bytes.value()) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn field(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(table) = self.table(FIELDS)? else { return Ok(None) };
        let value = table.get(name).map_err(|error| self.failed(error))?;
        Ok(value.map(|bytes| bytes.value().to_vec()))
    }

    pub(super) fn record(&self, stream: Stream, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(table) = self.table(table(stream))? else { return Ok(None) };
        let value = table.get(id).map_err(|error| self.failed(error))?;
        Ok(value.map(|bytes| bytes.value().to_vec()))
    }

    /// The first record from an id on.
    pub(super) fn first_id(&self, stream: Stream, from: u64) -> Result<Option<u64>, StoreError> {
        let mut first = None;
        self.records(stream, from, u64::MAX, |id, _| {
            first = Some(id);
            false
        })?;
        Ok(first)
    }

    pub(super) fn last_id(&self, stream: Stream) -> Result<Option<u64>, StoreError> {
        let Some(table) = self.table(table(stream))? else { return Ok(None) };
        let last = table.last().map_err(|error| self.failed(error))?;
        Ok(last.map(|(id, _)| id.value()))
    }
}

/// The open tables of one write transaction.
pub(super) struct Tables<'a> {
    name: &'a str,
    fields: Table<'a, &'static str, &'static [u8]>,
    wal: Table<'a, &'static str, &'static [u8]>,
    streams: BTreeMap<Stream, Table<'a, u64, &'static [u8]>>,
}

impl<'a> Tables<'a> {
    fn open(name: &'a str, transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        let failed = |error: TableError| failed(name, error.into(), StoreError::NotWritten);
        let fields = transaction.open_table(FIELDS).map_err(failed)?;
        let wal = transaction.open_table(WAL).map_err(failed)?;
        let mut streams = BTreeMap::new();
        for stream in Stream::ALL {
            streams.insert(stream, transaction.open_table(table(stream)).map_err(failed)?);
        }
        Ok(Self { name, fields, wal, streams })
    }

    fn failed(&self) -> impl Fn(StorageError) -> StoreError + use<'a> {
        let name = self.name;
        move |error| failed(name, error.into(), StoreError::NotWritten)
    }

    pub(super) fn set_wal_state(&mut self, state: &WalState) -> Result<(), StoreError> {
        let bytes = record::encode(WalState::KEY, Kind::WalState, state);
        self.wal.insert(WalState::KEY, bytes.as_slice()).map(drop).map_err(self.failed())
    }

    pub(super) fn set_field(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let failed = self.failed();
        match value {
            Some(bytes) => self.fields.insert(name, bytes).map(drop).map_err(failed),
            None => self.fields.remove(name).map(drop).map_err(failed),
        }
    }

    pub(super) fn append(&mut self, stream: Stream, id: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let failed = self.failed();
        let table = self.streams.get_mut(&stream).expect("open() opened all of them");
        table.insert(id, bytes).map(drop).map_err(failed)
    }

    fn trim(&mut self, stream: Stream, first_kept: u64) -> Result<(), StoreError> {
        let failed = self.failed();
        let table = self.streams.get_mut(&stream).expect("open() opened all of them");
        table.retain_in::<u64, _>(..first_kept, |_, _| false).map_err(failed)
    }

    /// Changes what `write` changes.
    pub(super) fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        write.appends.iter().try_for_each(|append| self.append(append.stream, append.id, &append.bytes))?;
        write.trims.iter().try_for_each(|(stream, first_kept)| self.trim(*stream, *first_kept))?;
        write.fields.iter().try_for_each(|(name, value)| self.set_field(name, value.as_deref()))
    }

    /// Changes what all writes of `segment` change.
    pub(super) fn fold(&mut self, segment: &Segment) -> Result<(), StoreError> {
        segment.trims.iter().try_for_each(|(stream, first_kept)| self.trim(*stream, *first_kept))?;
        segment.appends.iter().try_for_each(|((stream, id), bytes)| self.append(*stream, *id, bytes))?;
        segment.fields.iter().try_for_each(|(name, value)| self.set_field(name, value.as_deref()))
    }
}

/// An error of the disk may pass; anything else that redb says of a file means that it is not what redb wrote.
fn failed(name: &str, error: ::redb::Error, passing: fn(String) -> StoreError) -> StoreError {
    use ::redb::Error::{Backend, DatabaseClosed, Io, LockPoisoned, PreviousIo};
    match error {
        Io(_) | PreviousIo | DatabaseClosed | Backend(_) | LockPoisoned(_) => passing(format!("{name}: {error}")),
        error => corrupt(name, error.to_string()),
    }
}

fn corrupt(name: &str, what: impl Into<String>) -> StoreError {
    StoreError::corrupt(name, what)
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
