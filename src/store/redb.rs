//! The embedded store: a database in one file per node, locked while it is open, and a write-ahead log in another file
//! beside it, which is there while a process writes and after one that was killed.
//!
//! A write is one record of the log and one sync. What the log holds is kept in memory as well, and read from there; it
//! moves into the database by the half of a log at a time, on a thread of its own while the other half is being filled.
//! An orderly end moves the rest, and removes the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use ::redb::StorageBackend;

use self::base::{Base, CACHE_BYTES};
use self::file::WalFile;
use self::open::{OnBase, cannot_open, full_name};
use self::segment::{Above, Seen, Segment};
use self::wal::{Unappended, Wal, WalError};
use super::check::{Verdict, encode_epoch, judge, next_epoch};
use super::record::{WalHeader, WalState};
use super::{Store, StoreError, Stream, Write, field};
use crate::types::{Epoch, Hash};

pub(super) mod archive;
mod base;
mod file;
mod folding;
mod open;
mod segment;
mod wal;

pub use base::panics_are_contained;
pub use wal::WalPlace;

/// A store in one file, and in a second one beside it while it is written.
pub struct RedbStore {
    /// The file's path, for messages.
    name: String,
    base: Base,
    state: WalState,
    place: Box<dyn WalPlace>,
    half_pages: u64,
    /// From the first write on.
    wal: Option<Wal>,
    /// The number of its last record.
    last: u64,
    /// What the half of the log holds that is being written.
    current: Segment,
    /// What the other half holds, while that is not in the database.
    frozen: Option<Arc<Segment>>,
    /// On its way into the database.
    folding: Option<JoinHandle<Result<(), StoreError>>>,
    /// Whether a half moves while the other one is filled, or when that is full.
    at_once: bool,
    /// The record under way.
    content: Vec<u8>,
}

impl RedbStore {
    /// Opens the file, or creates it and the directories above it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Open`] or [`StoreError::Corrupt`], with the path.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        open::open_or_create(&path, |base| {
            Self::on(full_name(&path), base, Box::new(WalFile::beside(&path)), wal::HALF_PAGES, true)
        })
    }

    /// A store on something else than files, such as a disk that a test lets fail. `database` is asked for its storage
    /// at each opening, the first one included; half of the log has `half_pages` pages of 4 KiB, and moves into the
    /// database when the other half is full, so that the same calls always do the same.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn on_backends<B: StorageBackend>(
        name: impl Into<String>,
        database: impl Fn() -> B + Send + 'static,
        wal: impl WalPlace + 'static,
        half_pages: u64,
    ) -> Result<Self, StoreError> {
        let name = name.into();
        let base = Base::open(&name, Box::new(move |builder| builder.create_with_backend(database())), CACHE_BYTES)?;
        Self::on(name, base, Box::new(wal), half_pages, false)
    }

    fn on(
        name: String,
        mut base: Base,
        place: Box<dyn WalPlace>,
        half_pages: u64,
        at_once: bool,
    ) -> Result<Self, StoreError> {
        let state = base.with(StoreError::Unread, |open| open.look()?.wal_state())?;
        let state = match state {
            Some(state) => state,
            None => {
                let store = drawn().map_err(|error| cannot_open(&name, &error))?;
                let state = WalState { store, open: false, folded: 0 };
                // Before there is a log, so that a log is never of a store that nobody knows any more.
                base.with(StoreError::NotWritten, |open| open.change(|tables| tables.set_wal_state(&state)))
                    .map_err(|error| if error.may_be_retried() { cannot_open(&name, &error) } else { error })?;
                state
            }
        };
        let (current, content) = (Segment::default(), Vec::new());
        let (wal, frozen, folding, last) = (None, None, None, state.folded);
        let mut store =
            Self { name, base, state, place, half_pages, wal, last, current, frozen, folding, at_once, content };
        store.open_wal()?;
        Ok(store)
    }

    /// Brings into the database what the log of a process that was killed holds.
    fn open_wal(&mut self) -> Result<(), StoreError> {
        let key = self.wal_name();
        let cannot_open = |error: std::io::Error| cannot_open(&key, &error);
        let Some(file) = self.place.open().map_err(cannot_open)? else {
            let missing =
                format!("it is missing, and with it what {} does not hold yet; both files belong together", self.name);
            return if self.state.open { Err(StoreError::corrupt(key, missing)) } else { Ok(()) };
        };
        if !self.state.open {
            match wal::owner(&*file).map_err(cannot_open)? {
                Some(owner) if owner == self.state.store => {}
                Some(_) => return Err(StoreError::corrupt(key, self.of_another_store())),
                // Its creation never ended.
                None => return Ok(()),
            }
        }
        // After an orderly end that was cut off it holds nothing that is not in the database. If it does, the database
        // went back to before there was a log.
        let (wal, records) = Wal::open(file, self.state.store, self.state.folded + 1).map_err(|error| match error {
            WalError::Io(error) => cannot_open(error),
            WalError::Damaged(what) => StoreError::corrupt(&key, what),
        })?;
        for (number, bytes) in (self.state.folded + 1..).zip(records) {
            let added = self.current.add_record(number, &bytes);
            added.map_err(|what| StoreError::corrupt(&key, format!("write {number}: {what}")))?;
            self.last = number;
        }
        // Otherwise it is begun again with the first write: what the database does not know of it may not rely on.
        self.wal = self.state.open.then_some(wal);
        self.fold_all()
    }

    fn of_another_store(&self) -> String {
        format!(
            "it is the log of another store, without which that one is not whole, and not of {}; move it to where it \
             belongs",
            self.name
        )
    }

    /// Begins a log, unless there is one.
    fn begin_wal(&mut self) -> Result<(), StoreError> {
        // It is made once: where the database then fails to tell of it, it may have told all the same, and a process that
        // is killed while it makes another one would leave none.
        if self.wal.is_none() {
            let header = WalHeader { store: self.state.store, half_pages: self.half_pages };
            let wal = self.place.create().and_then(|file| Wal::create(file, header));
            let wal = wal.map_err(|error| StoreError::NotWritten(format!("{}: {error}", self.wal_name())))?;
            self.wal = Some(wal);
        }
        if !self.state.open {
            let state = WalState { open: true, ..self.state.clone() };
            self.base.with(StoreError::NotWritten, |open| open.change(|tables| tables.set_wal_state(&state)))?;
            self.state = state;
        }
        Ok(())
    }

    fn wal_name(&self) -> String {
        format!("{}.wal", self.name)
    }

    /// Looks at what the store holds now, in the log and in the database.
    fn look<T>(
        &mut self,
        failing: fn(String) -> StoreError,
        action: impl FnOnce(Above<'_>, &base::Look<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.base.is_closed() {
            // It is opened again only when nobody else has it open.
            self.join();
        }
        let above = Above([self.frozen.as_deref(), Some(&self.current)]);
        self.base.with(failing, |open| action(above, &open.look()?))
    }

    /// Puts a write that was found to be the next into the store.
    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        self.begin_wal()?;
        let mut content = std::mem::take(&mut self.content);
        segment::encode(write, &mut content);
        let appended = self.append_content(write, &content);
        self.content = content;
        appended
    }

    fn append_content(&mut self, write: &Write, content: &[u8]) -> Result<(), StoreError> {
        let fits = |wal: &Wal| (wal.can_hold(content.len()), wal.has_room(content.len()));
        let (can_hold, has_room) = self.wal.as_ref().map(fits).unwrap_or_default();
        if !can_hold {
            self.fold_all()?;
            return self.base.with(StoreError::NotWritten, |open| open.change(|tables| tables.apply(write)));
        }
        if !has_room {
            self.turn_over()?;
        } else if self.folding.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join();
        }
        let number = self.last + 1;
        let name = self.wal_name();
        let Some(wal) = &mut self.wal else { return Err(StoreError::NotWritten(name)) };
        wal.append(number, content).map_err(|unappended| match unappended {
            Unappended::NotWritten(error) => StoreError::NotWritten(format!("{name}: {error}")),
            Unappended::Unknown(error) => StoreError::Unknown(format!("{name}: {error}")),
        })?;
        self.last = number;
        self.current.add(number, write);
        Ok(())
    }
}

impl OnBase for RedbStore {
    const CACHE_BYTES: usize = CACHE_BYTES;
    const EMPTY: &str = "the file is empty; if the node never ran, remove it";

    fn base(&mut self) -> &mut Base {
        &mut self.base
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // Where that fails, the log stays, and the next process finds in it what is missing in the database.
        let _ = self.close();
        self.join();
    }
}

impl Store for RedbStore {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        self.fold_all()?;
        let epoch =
            self.look(StoreError::NotWritten, |above, database| next_epoch(&Seen { above, database }, token))?;
        self.base.with(StoreError::NotWritten, |open| {
            open.change(|tables| tables.set_field(field::EPOCH, Some(&encode_epoch(epoch))))
        })?;
        Ok(epoch)
    }

    fn check_epoch(&mut self, _: Epoch) -> Result<(), StoreError> {
        // The file is locked. Whoever looks writes nothing just now: time for what a write does not wait for.
        self.wal.iter_mut().for_each(Wal::seal);
        Ok(())
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.look(StoreError::Unread, |above, look| {
            let mut fields = look.fields()?;
            for (name, value) in above.segments().flat_map(|segment| &segment.fields) {
                match value {
                    Some(bytes) => fields.insert(name.clone(), bytes.clone()),
                    None => fields.remove(name),
                };
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
        self.look(StoreError::Unread, |above, look| {
            let (mut found, mut total) = (Vec::<(u64, Vec<u8>)>::new(), 0);
            let mut take = |id, bytes: &[u8]| {
                // What moves into the database just now is seen in both.
                if found.last().is_none_or(|(last, _)| id > *last) {
                    total += bytes.len();
                    found.push((id, bytes.to_vec()));
                }
                total <= bytes_max
            };
            let from = from.max(above.first_kept(stream));
            let mut more = true;
            look.records(stream, from, to, |id, bytes| {
                more = take(id, bytes);
                more
            })?;
            let above = above.segments().flat_map(|segment| segment.records(stream, from, to));
            let _ = more && above.into_iter().all(|(id, bytes)| take(id, bytes));
            Ok(found)
        })
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        let verdict = self.look(StoreError::NotWritten, |above, database| judge(&Seen { above, database }, write))?;
        match verdict {
            Verdict::Done => Ok(()),
            Verdict::Apply => self.append(write),
        }
    }

    fn describe(&self) -> String {
        format!("redb:{}", self.name)
    }
}

/// What tells one store from all others.
fn drawn() -> std::io::Result<Hash> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(Hash::from_bytes(bytes))
}
