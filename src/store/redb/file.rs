//! The files of an embedded store. That of the database is locked from the moment it is opened until the store goes,
//! whatever becomes of the database in it meanwhile, and is there under its name only once there is a database in it.
//! That of the log belongs to whoever holds the lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::redb::StorageBackend;

use super::wal::WalPlace;

/// A file that this process alone uses.
#[derive(Clone, Debug)]
pub(super) struct LockedFile {
    file: Arc<Lock>,
    path: PathBuf,
    /// Bytes that were written since the last sync.
    unsynced: Arc<AtomicUsize>,
}

/// So much is written before it is synced, whether somebody asks for that or not. Sixteen megabytes that go to the disk at
/// once are in the way of a log that is synced every millisecond.
const PORTION_BYTES: usize = 1 << 20;

/// Lets go of its lock by name: a process that is just being started holds a copy of every open file for a moment, and
/// with it the lock of one that was merely closed.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where that fails, closing it does the same a moment later.
        let _ = self.0.unlock();
    }
}

impl Deref for Lock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

/// Why there is no locked file.
pub(super) enum Unlocked {
    /// Another process has it.
    InUse,
    /// The system says so.
    Io(io::Error),
}

impl From<io::Error> for Unlocked {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl LockedFile {
    /// The file that is there; `None` where there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Unlocked> {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => Self::lock(file, path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An empty file in which a database is to be made, under another name than it will have. What a start that was cut
    /// off has left there is nothing that anybody was told of.
    pub(super) fn begin(path: &Path) -> Result<Self, Unlocked> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let path = path.with_file_name(name);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let begun = Self::lock(file, &path)?;
        // Between opening and locking it another process may have finished it, and gone: by now it is that one's store.
        if !begun.has_its_name().unwrap_or(false) {
            return Err(Unlocked::InUse);
        }
        begun.file.set_len(0)?;
        Ok(begun)
    }

    /// Gives the file its name, now that it holds a database. `None` where another process was faster.
    pub(super) fn finish(mut self, path: &Path) -> io::Result<Option<Self>> {
        self.file.sync_all()?;
        // Whoever makes a file of this name holds the lock on the one that it will be made from, which is this one.
        if path.exists() {
            fs::remove_file(&self.path)?;
            return Ok(None);
        }
        fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(Some(self))
    }

    /// Fails where the file is gone, or another one has its name: what is written would be lost with it.
    pub(super) fn is_in_place(&self) -> io::Result<()> {
        if self.has_its_name()? && self.file.metadata()?.len() > 0 {
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::NotFound, "the file was emptied or replaced while it was in use"))
    }

    /// Whether this file, and no other, is the one of its name.
    fn has_its_name(&self) -> io::Result<bool> {
        Ok(is_same(&fs::metadata(&self.path)?, &self.file.metadata()?))
    }

    fn lock(file: File, path: &Path) -> Result<Self, Unlocked> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file: Arc::new(Lock(file)), path: path.to_owned(), unsynced: Arc::default() }),
            Err(TryLockError::WouldBlock) => Err(Unlocked::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

#[cfg(unix)]
fn is_same(found: &fs::Metadata, held: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino()) == (held.dev(), held.ino())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    // A file that is in use cannot be replaced there.
    true
}

/// What redb asks of a file. It takes no lock, and lets go of none: a database that is closed because of an error, to be
/// opened again, leaves no moment in which another process could take the file.
impl StorageBackend for Lock {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_at(&self.0, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_at(&self.0, offset, data)
    }
}

impl StorageBackend for LockedFile {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(&*self.file)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        StorageBackend::set_len(&*self.file, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        StorageBackend::sync_data(&*self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        for (part, offset) in data.chunks(PORTION_BYTES).zip((offset..).step_by(PORTION_BYTES)) {
            self.file.write(offset, part)?;
            let before = self.unsynced.fetch_add(part.len(), Ordering::Relaxed);
            if before + part.len() >= PORTION_BYTES {
                self.sync_data()?;
            }
        }
        Ok(())
    }
}

/// The file of the log, beside that of the database.
#[derive(Debug)]
pub(super) struct WalFile(PathBuf);

impl WalFile {
    pub(super) fn beside(database: &Path) -> Self {
        let mut name = database.file_name().unwrap_or_default().to_owned();
        name.push(".wal");
        Self(database.with_file_name(name))
    }
}

impl WalPlace for WalFile {
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match File::options().read(true).write(true).open(&self.0) {
            Ok(file) => Ok(Some(Box::new(Lock(file)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&self.0)?;
        if let Some(directory) = self.0.parent() {
            sync_directory(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })?;
        }
        Ok(Box::new(Lock(file)))
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.0)
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    use std::io::{Read as _, Seek as _};
    // One thread uses a store at a time.
    file.seek(io::SeekFrom::Start(offset))?;
    file.read_exact(out)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    use std::io::{Seek as _, Write as _};
    file.seek(io::SeekFrom::Start(offset))?;
    file.write_all(data)
}

/// Creates what is missing of the directories above `path`, and names those in which something new now stands.
pub(super) fn create_directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut touched = Vec::new();
    for directory in path.ancestors().skip(1) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        touched.push(directory.to_owned());
        if directory.exists() {
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            break;
        }
    }
    Ok(touched)
}

/// Without this a power failure may take the whole new file along, synced as its content is.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::RedbStore;
    use super::*;
    use crate::store::{Store as _, StoreError};

    #[test]
    fn r13_a_database_that_is_opened_again_after_an_error_leaves_no_moment_to_another_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("A.redb");
        let mut store = RedbStore::open(&path).unwrap();
        let epoch = store.take_epoch(7).unwrap();
        // As after an error of the disk.
        store.base.close();
        assert!(matches!(RedbStore::open(&path), Err(StoreError::Locked { .. })));
        store.check_epoch(epoch).unwrap();
        assert_eq!(store.fields().unwrap().len(), 1);
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        store.base.close();
        assert!(store.fields().unwrap_err().may_be_retried(), "a file that is gone is not made anew");
        assert!(!path.exists());
    }

    #[test]
    fn no_more_than_a_portion_waits_for_a_sync() {
        let directory = tempfile::tempdir().unwrap();
        let Ok(file) = LockedFile::begin(&directory.path().join("A.redb")) else { panic!("nobody else has it") };
        let unsynced = || file.unsynced.load(Ordering::Relaxed);
        let half = vec![1; PORTION_BYTES / 2];
        file.write(0, &half).unwrap();
        assert_eq!(unsynced(), half.len());
        file.write(half.len() as u64, &half).unwrap();
        assert_eq!(unsynced(), 0);
        file.write(0, &half).unwrap();
        StorageBackend::sync_data(&file).unwrap();
        assert_eq!(unsynced(), 0);
        let bytes: Vec<u8> = (0..PORTION_BYTES * 5 / 2).map(|place| (place / 1_000) as u8).collect();
        file.write(7, &bytes).unwrap();
        assert_eq!(unsynced(), half.len());
        let mut read = vec![0; bytes.len()];
        file.read(7, &mut read).unwrap();
        assert!(read == bytes);
    }

    #[test]
    fn a_start_that_was_cut_off_while_the_file_was_made_leaves_nothing_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let (path, begun) = (directory.path().join("A.redb"), directory.path().join("A.redb.new"));
        std::fs::write(&begun, [0x5a; 5_000]).unwrap();
        let mut store = RedbStore::open(&path).unwrap();
        store.take_epoch(7).unwrap();
        assert!(path.exists() && !begun.exists());
        drop(store);
        assert_eq!(RedbStore::open(&path).unwrap().fields().unwrap().len(), 1);
    }
}
