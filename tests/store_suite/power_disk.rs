//! A disk of sectors, with the two files of a store, that loses its power: of what was not synced, any subset of the
//! sectors is there afterwards. And one that does worse than that, to what it had acknowledged.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use paxos_banking::entropy::Entropy;
use paxos_banking::store::redb::WalPlace;
use redb::StorageBackend;

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing: the power goes while nobody asks.
    Nothing,
    Read,
    Write,
    Resize,
    Sync,
}

/// At which operation the power goes.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Only operations of this kind count; `None`: all do.
    pub action: Option<Action>,
    /// So many of them from now on; 1 is the next.
    pub count: u64,
    /// After it was done, but before its caller hears of it; or before.
    pub after: bool,
}

/// What can become of a sector that was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// One bit of it flips.
    BitRot,
    /// It reads as zeros.
    Zeroed,
    /// It holds what another sector holds: that one's write went here.
    Misdirected,
    /// Its last write never happened, though it was acknowledged.
    LostWrite,
}

impl Damage {
    pub const ALL: [Self; 4] = [Self::BitRot, Self::Zeroed, Self::Misdirected, Self::LostWrite];
}

/// Which file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Database,
    Wal,
}

impl Part {
    const ALL: [Self; 2] = [Self::Database, Self::Wal];
}

/// Where the damage is.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub part: Part,
    pub sector: usize,
    /// For a bit that flipped, its byte in the file and its mask.
    pub bit: Option<(usize, u8)>,
}

#[derive(Clone, Debug)]
struct Platter {
    sector_bytes: usize,
    /// What a running process reads.
    seen: Vec<u8>,
    /// What is there for certain: all of the last sync.
    synced: Vec<u8>,
    /// What each sector held since the last sync, oldest first.
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths since the last sync, oldest first.
    lengths: Vec<usize>,
    /// What the sectors held before the sync that changed them last.
    replaced: BTreeMap<usize, Vec<u8>>,
    /// It acknowledges a sync that it does not do.
    lies: bool,
}

/// Both files, and the power that they share.
#[derive(Clone, Debug)]
struct Machine {
    platters: [Platter; 2],
    operations: u64,
    syncs: u64,
    /// The loss of power that is ordered.
    cut: Option<Cut>,
    /// Where the power went; until it is back, every operation fails.
    off: Option<Action>,
}

impl Platter {
    fn new(sector_bytes: usize, lies: bool) -> Self {
        Self {
            sector_bytes,
            seen: Vec::new(),
            synced: Vec::new(),
            unsynced: BTreeMap::new(),
            lengths: Vec::new(),
            replaced: BTreeMap::new(),
            lies,
        }
    }

    fn sector_of<'a>(&self, bytes: &'a [u8], sector: usize) -> &'a [u8] {
        let start = sector * self.sector_bytes;
        bytes.get(start..start + self.sector_bytes).unwrap_or_default()
    }

    fn remember(&mut self, sector: usize) {
        let now = self.sector_of(&self.seen, sector).to_vec();
        let latest = match self.unsynced.get(&sector) {
            Some(versions) => versions.last().map_or(&[][..], Vec::as_slice),
            None => self.sector_of(&self.synced, sector),
        };
        if now != latest {
            self.unsynced.entry(sector).or_default().push(now);
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        let target = self.seen.get_mut(offset..offset + data.len()).ok_or_else(beyond_the_end)?;
        target.copy_from_slice(data);
        let last = (offset + data.len()).div_ceil(self.sector_bytes);
        (offset / self.sector_bytes..last).for_each(|sector| self.remember(sector));
        Ok(())
    }

    fn resize(&mut self, length: usize) {
        assert_eq!(length % self.sector_bytes, 0, "a file of whole sectors");
        let before = self.seen.len();
        self.seen.resize(length, 0);
        self.lengths.push(length);
        // What was cut off and comes back is zeros, unless the disk forgets both.
        for sector in before / self.sector_bytes..length / self.sector_bytes {
            if self.unsynced.contains_key(&sector) || sector * self.sector_bytes < self.synced.len() {
                self.remember(sector);
            }
        }
    }

    fn sync(&mut self) {
        if self.lies {
            return;
        }
        for (sector, mut versions) in std::mem::take(&mut self.unsynced) {
            let before = self.sector_of(&self.synced, sector).to_vec();
            let Some(last) = versions.pop().filter(|last| *last != before) else { continue };
            let before = if before.is_empty() { vec![0; self.sector_bytes] } else { before };
            self.put(sector, &last);
            self.replaced.insert(sector, before);
        }
        self.lengths.clear();
        self.synced.resize(self.seen.len(), 0);
        let end = self.synced.len() / self.sector_bytes;
        self.replaced.split_off(&end);
    }

    /// Puts a sector where it is certain.
    fn put(&mut self, sector: usize, bytes: &[u8]) {
        let start = sector * self.sector_bytes;
        if self.synced.len() < start + bytes.len() {
            self.synced.resize(start + bytes.len(), 0);
        }
        self.synced[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Decides what was written of all that was not synced.
    fn settle(&mut self, chance: &mut Entropy) {
        let (unsynced, lengths) = (std::mem::take(&mut self.unsynced), std::mem::take(&mut self.lengths));
        let which = index(chance, lengths.len() + 1);
        let length = which.checked_sub(1).map_or(self.synced.len(), |index| lengths[index]);
        let odd_one = index(chance, unsynced.len().max(1));
        // Of many sectors half would never be nearly all or nearly none, and these are the hard ones.
        let manner = chance.below(5);
        for (position, (sector, versions)) in unsynced.iter().enumerate() {
            let there = match manner {
                0 => false,
                1 => true,
                2 => position == odd_one,
                3 => position != odd_one,
                _ => chance.below(2) == 0,
            };
            if there {
                let version = if manner == 1 { versions.len() - 1 } else { index(chance, versions.len()) };
                self.put(*sector, &versions[version]);
                self.replaced.remove(sector);
            }
        }
        self.synced.resize(length, 0);
        self.replaced.split_off(&(length / self.sector_bytes));
        self.seen.clone_from(&self.synced);
    }
}

fn index(chance: &mut Entropy, length: usize) -> usize {
    usize::try_from(chance.below(length as u64)).unwrap()
}

fn beyond_the_end() -> Error {
    Error::other("beyond the end of the disk")
}

/// A disk whose clones are the same disk.
#[derive(Clone, Debug)]
pub struct PowerDisk(Arc<Mutex<Machine>>);

/// One of its files.
#[derive(Clone, Debug)]
pub struct PowerFile {
    disk: PowerDisk,
    part: Part,
}

impl PowerDisk {
    pub fn new(sector_bytes: usize, lies: bool) -> Self {
        let platters = Part::ALL.map(|_| Platter::new(sector_bytes, lies));
        Self(Arc::new(Mutex::new(Machine { platters, operations: 0, syncs: 0, cut: None, off: None })))
    }

    /// One of its files.
    pub fn file(&self, part: Part) -> PowerFile {
        PowerFile { disk: self.clone(), part }
    }

    /// Another disk, that holds the same.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.machine().clone())))
    }

    /// How many operations and how many syncs there were.
    pub fn operations(&self) -> (u64, u64) {
        let machine = self.machine();
        (machine.operations, machine.syncs)
    }

    /// Orders a loss of power.
    pub fn cut(&self, cut: Cut) {
        self.machine().cut = Some(cut);
    }

    /// The power goes now, if it has not gone before.
    pub fn cut_now(&self) {
        self.machine().off.get_or_insert(Action::Nothing);
    }

    /// At what the power went.
    pub fn off(&self) -> Option<Action> {
        self.machine().off
    }

    /// The power is back, and with it what the disk made of all that it was told.
    pub fn restart(&self, chance: &mut Entropy) {
        let mut machine = self.machine();
        machine.platters.iter_mut().for_each(|platter| platter.settle(chance));
        (machine.cut, machine.off) = (None, None);
    }

    /// Damages one sector that was synced; `None` where that would change nothing.
    pub fn damage(&self, damage: Damage, chance: &mut Entropy) -> Option<Site> {
        let mut machine = self.machine();
        let part = Part::ALL[usize::from(chance.below(3) == 0)];
        let platter = &mut machine.platters[part as usize];
        let count = platter.synced.len() / platter.sector_bytes;
        // Where nothing was ever written, nothing can be found out.
        let used = |sector: &usize| platter.sector_of(&platter.synced, *sector).iter().any(|byte| *byte != 0);
        let sectors: Vec<usize> = match damage {
            Damage::LostWrite => platter.replaced.keys().copied().collect(),
            _ => (0..count).filter(used).collect(),
        };
        // The first sector says what all others mean, so that it gets more than its share.
        let first = sectors.first().filter(|_| chance.below(4) == 0);
        let sector = *first.or_else(|| sectors.get(index(chance, sectors.len().max(1))))?;
        let mut bytes = platter.sector_of(&platter.synced, sector).to_vec();
        let mut bit = None;
        match damage {
            Damage::BitRot => {
                // Of the first sector redb uses 320 bytes.
                let used = if sector == 0 && part == Part::Database { 320 } else { bytes.len() };
                let within = index(chance, used);
                let mask = 1 << chance.below(8);
                bytes[within] ^= mask;
                bit = Some((sector * platter.sector_bytes + within, mask));
            }
            Damage::Zeroed => bytes.fill(0),
            Damage::Misdirected => {
                let other = sectors[index(chance, sectors.len())];
                bytes.copy_from_slice(platter.sector_of(&platter.synced, other));
            }
            Damage::LostWrite => bytes.clone_from(&platter.replaced[&sector]),
        }
        if platter.sector_of(&platter.synced, sector) == bytes {
            return None;
        }
        platter.put(sector, &bytes);
        platter.seen = platter.synced.clone();
        Some(Site { part, sector, bit })
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap()
    }
}

impl PowerFile {
    fn operate<T>(&self, action: Action, operation: impl FnOnce(&mut Platter) -> Result<T>) -> Result<T> {
        let mut machine = self.disk.machine();
        let no_power = || Err(Error::other("the disk has no power"));
        if machine.off.is_some() {
            return no_power();
        }
        machine.operations += 1;
        machine.syncs += u64::from(action == Action::Sync);
        let after = match &mut machine.cut {
            Some(Cut { action: kind, count, after }) if kind.is_none_or(|kind| kind == action) => {
                *count -= 1;
                (*count == 0).then_some(*after)
            }
            _ => None,
        };
        let platter = &mut machine.platters[self.part as usize];
        let Some(after) = after else { return operation(platter) };
        if after {
            operation(platter)?;
        }
        machine.off = Some(action);
        no_power()
    }
}

/// The file of a log on a disk of a test, which is there where it has a length. That it is removed is not synced.
pub struct WalOn<F>(pub F);

impl<F: StorageBackend + Clone> WalPlace for WalOn<F> {
    fn open(&self) -> Result<Option<Box<dyn StorageBackend>>> {
        Ok(if self.0.len()? > 0 { Some(Box::new(self.0.clone())) } else { None })
    }

    fn create(&self) -> Result<Box<dyn StorageBackend>> {
        self.0.set_len(0)?;
        Ok(Box::new(self.0.clone()))
    }

    fn remove(&self) -> Result<()> {
        self.0.set_len(0)
    }
}

impl StorageBackend for PowerFile {
    fn len(&self) -> Result<u64> {
        self.operate(Action::Read, |platter| Ok(platter.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.operate(Action::Read, |platter| {
            let bytes = platter.seen.get(offset..offset + out.len()).ok_or_else(beyond_the_end)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let length = usize::try_from(length).unwrap();
        self.operate(Action::Resize, |platter| {
            platter.resize(length);
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<()> {
        self.operate(Action::Sync, |platter| {
            platter.sync();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.operate(Action::Write, |platter| platter.write(offset, data))
    }
}
