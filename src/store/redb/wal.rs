//! The write-ahead log of an embedded store: one record per write, in a file of fixed size that is written round and
//! round, so that a write costs one sync of pages that are there already.
//!
//! The file is a page with the [`WalHeader`], then two halves. A record fills whole pages; each half is written from its
//! first page on, and while one of them is filled the other one's records move into the database. Records are numbered
//! for ever. What the database does not hold yet must be there without a gap, up to the last number that any page of the
//! file names: a record that is missing below that is damage. A *seal* stands behind each record that was synced, until
//! the next one takes its place; it is synced with that one, or by [`Wal::seal`] when there is time. So damage to the
//! very last record shows too, unless the power fails before that: a record without a seal is one whose write never ended.
//!
//! Every record and seal carries a keyed hash, so that nothing in a record's content can pass for one of them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use ::redb::StorageBackend;

use super::super::record::{self, Kind, WalHeader};
use crate::types::Hash;

/// The unit of writing, in bytes: no page that was synced is written again before its record is in the database.
pub(super) const PAGE: usize = 4096;

/// Pages in each half of a log, 16 MiB.
pub(super) const HALF_PAGES: u64 = 4096;

/// A [`Mark`], which the content follows.
const MARK_BYTES: usize = 32 + 8 + 8;

/// The length that a seal has.
const SEAL: u64 = u64::MAX;

/// How much of the file is read at once.
const CHUNK_PAGES: u64 = 256;

/// Where a log is kept.
pub trait WalPlace: Send {
    /// What is there, if anything is.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>>;

    /// An empty one in its place, which a loss of power leaves there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Removes it.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self) -> io::Result<()>;
}

/// Why there is no more to be had from a log.
#[derive(Debug)]
pub(super) enum WalError {
    /// The system says so.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
}

impl From<io::Error> for WalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What became of a record that could not be appended.
#[derive(Debug)]
pub(super) enum Unappended {
    /// It is not there.
    NotWritten(io::Error),
    /// It may be there.
    Unknown(io::Error),
}

/// What begins a record or is a seal.
struct Mark {
    hash: [u8; 32],
    number: u64,
    length: u64,
}

impl Mark {
    fn of(key: &Hash, number: u64, content: Option<&[u8]>) -> Self {
        let length = content.map_or(SEAL, |content| content.len() as u64);
        let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
        hasher.update(&number.to_le_bytes()).update(&length.to_le_bytes()).update(content.unwrap_or_default());
        Self { hash: hasher.finalize().into(), number, length }
    }

    fn parse(page: &[u8]) -> Option<Self> {
        let (hash, rest) = page.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        Some(Self { hash: *hash, number: u64::from_le_bytes(*number), length: u64::from_le_bytes(*length) })
    }

    fn write(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.hash);
        page.extend_from_slice(&self.number.to_le_bytes());
        page.extend_from_slice(&self.length.to_le_bytes());
    }

    fn is_of(&self, key: &Hash, content: Option<&[u8]>) -> bool {
        self.hash == Self::of(key, self.number, content).hash
    }
}

/// Pages that a record takes.
fn pages(content_bytes: usize) -> u64 {
    (MARK_BYTES + content_bytes).div_ceil(PAGE) as u64
}

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Wal {
    file: Box<dyn StorageBackend>,
    header: WalHeader,
    /// Which half is written now, 0 or 1.
    half: u64,
    /// Of this half, the page at which the next record begins.
    next: u64,
    /// The last seal may be lost with the power.
    unsealed: bool,
    page: Vec<u8>,
}

impl Wal {
    /// A new log in `file`, durable but for the file's own place in its directory.
    pub(super) fn create(file: Box<dyn StorageBackend>, header: WalHeader) -> io::Result<Self> {
        let record = record::encode(WalHeader::KEY, Kind::WalHeader, &header);
        let mut page = Vec::with_capacity(PAGE);
        page.extend_from_slice(&(record.len() as u64).to_le_bytes());
        page.extend_from_slice(&record);
        page.resize(PAGE, 0);
        let pages = 1 + 2 * header.half_pages;
        file.set_len(PAGE as u64 * pages)?;
        // A page that was never written has no place on the disk: to give it one takes as long as the sync that waits for
        // it. One by one, since a system may keep what came at once as one, and count all of it as written for each part.
        for number in 1..pages {
            file.write(number * PAGE as u64, &[0; PAGE])?;
        }
        file.write(0, &page)?;
        file.sync_data()?;
        Ok(Self { file, header, half: 0, next: 0, unsealed: false, page })
    }

    /// The log in `file`, to be written from its beginning again once its records are in the database; and those from
    /// number `from` on, without a gap.
    pub(super) fn open(
        file: Box<dyn StorageBackend>,
        store: Hash,
        from: u64,
    ) -> Result<(Self, Vec<Vec<u8>>), WalError> {
        let header = read_header(&*file)?;
        if header.store != store {
            return Err(WalError::Damaged("it is the log of another store; put the right one in its place".to_owned()));
        }
        let wal = Self { file, header, half: 0, next: 0, unsealed: false, page: Vec::new() };
        let (mut records, last) = wal.scan(from)?;
        let mut found = Vec::new();
        for number in from..=last {
            let Some(content) = records.remove(&number) else {
                return Err(WalError::Damaged(format!(
                    "write {number} is missing or damaged, while there is a trace of write {last}"
                )));
            };
            found.push(content);
        }
        Ok((wal, found))
    }

    /// All whole records from number `from` on, and the last number of which there is a trace.
    fn scan(&self, from: u64) -> io::Result<(BTreeMap<u64, Vec<u8>>, u64)> {
        let end = 1 + 2 * self.header.half_pages;
        let (mut records, mut last) = (BTreeMap::new(), from.saturating_sub(1));
        let mut chunk = Vec::new();
        for first in (1..end).step_by(usize::try_from(CHUNK_PAGES).unwrap_or(1)) {
            let count = CHUNK_PAGES.min(end - first);
            chunk.resize(usize::try_from(count).unwrap_or(0) * PAGE, 0);
            self.file.read(first * PAGE as u64, &mut chunk)?;
            for (page, bytes) in (first..).zip(chunk.chunks(PAGE)) {
                let Some(mark) = Mark::parse(bytes).filter(|mark| mark.number >= from) else { continue };
                if mark.length == SEAL {
                    if mark.is_of(&self.header.store, None) {
                        last = last.max(mark.number);
                    }
                } else if let Some(content) = self.content(page, mark.length)?
                    && mark.is_of(&self.header.store, Some(&content))
                {
                    last = last.max(mark.number);
                    records.insert(mark.number, content);
                }
            }
        }
        Ok((records, last))
    }

    /// What follows the mark at the beginning of a page, where that fits in the half.
    fn content(&self, page: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
        let half_ends = if page <= self.header.half_pages { 1 } else { 2 } * self.header.half_pages + 1;
        let start = page * PAGE as u64 + MARK_BYTES as u64;
        let fits = length <= half_ends * PAGE as u64 - start;
        let Some(length) = usize::try_from(length).ok().filter(|_| fits) else { return Ok(None) };
        let mut content = vec![0; length];
        self.file.read(start, &mut content)?;
        Ok(Some(content))
    }

    /// Whether a record of so many bytes has room in any half: a seal has to stand behind it.
    pub(super) fn can_hold(&self, content_bytes: usize) -> bool {
        pages(content_bytes) < self.header.half_pages
    }

    /// Whether a record of so many bytes has room in what is left of this half.
    pub(super) fn has_room(&self, content_bytes: usize) -> bool {
        self.next + pages(content_bytes) < self.header.half_pages
    }

    /// Goes on in the other half, all of whose records must be in the database.
    pub(super) fn switch(&mut self) {
        (self.half, self.next) = (1 - self.half, 0);
    }

    /// Makes record `number` durable. One that failed is to be repeated under the same number, and takes the same place.
    pub(super) fn append(&mut self, number: u64, content: &[u8]) -> Result<(), Unappended> {
        self.page.clear();
        Mark::of(&self.header.store, number, Some(content)).write(&mut self.page);
        self.page.extend_from_slice(content);
        let pages = pages(content.len());
        self.page.resize(self.page.len().next_multiple_of(PAGE), 0);
        let first = 1 + self.half * self.header.half_pages + self.next;
        self.file.write(first * PAGE as u64, &self.page).map_err(|error| match error.kind() {
            // So that it is not whole.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Unappended::NotWritten(error),
            _ => Unappended::Unknown(error),
        })?;
        self.file.sync_data().map_err(Unappended::Unknown)?;
        self.next += pages;
        self.page.clear();
        Mark::of(&self.header.store, number, None).write(&mut self.page);
        // Nothing rests on it while the disk is sound.
        self.unsealed = self.file.write((first + pages) * PAGE as u64, &self.page).is_ok();
        Ok(())
    }

    /// Makes the last record's seal durable, if it is not.
    pub(super) fn seal(&mut self) {
        if std::mem::take(&mut self.unsealed) {
            // If this fails, so will the next write.
            let _ = self.file.sync_data();
        }
    }
}

/// The store that the log in `file` belongs to; `None` where its creation never ended.
pub(super) fn owner(file: &dyn StorageBackend) -> io::Result<Option<Hash>> {
    match read_header(file) {
        Ok(header) => Ok(Some(header.store)),
        Err(WalError::Damaged(_)) => Ok(None),
        Err(WalError::Io(error)) => Err(error),
    }
}

fn read_header(file: &dyn StorageBackend) -> Result<WalHeader, WalError> {
    let damaged = |what: &str| WalError::Damaged(what.to_owned());
    let length = file.len()?;
    let mut page = vec![0; PAGE];
    if length < PAGE as u64 {
        return Err(damaged("its first page is missing"));
    }
    file.read(0, &mut page)?;
    let (record_bytes, rest) = page.split_first_chunk().expect("a page is longer than a number");
    let record = usize::try_from(u64::from_le_bytes(*record_bytes)).ok().and_then(|bytes| rest.get(..bytes));
    let record = record.ok_or_else(|| damaged("its first page makes no sense"))?;
    let header: WalHeader = record::decode(WalHeader::KEY, Kind::WalHeader, record)
        .map_err(|error| damaged(&format!("its first page: {error}")))?;
    let expected = header.half_pages.checked_mul(2).and_then(|pages| (pages + 1).checked_mul(PAGE as u64));
    if expected != Some(length) {
        return Err(damaged("it is longer or shorter than its first page says"));
    }
    Ok(header)
}
