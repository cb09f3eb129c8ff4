//! A store whose writes take virtual time, and fail as the seed says: not written, unknown, or lost in a crash because
//! they were not synced.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::Block;
use paxos_banking::paxos::BlocksRequest;
use paxos_banking::store::{
    Disk, MemoryStore, RecoverOptions, Recovered, Store, StoreError, StoreFuture, StoreHost, Write, read_blocks,
    recover,
};
use paxos_banking::types::Epoch;

/// How a disk behaves.
#[derive(Clone, Copy, Debug)]
pub struct DiskHealth {
    /// The longest that a write and that a sync take.
    pub delay_max: Duration,
    /// Of a thousand writes, how many fail without being done.
    pub fails_permille: u64,
    /// Of a thousand writes, of how many nobody hears what became of them; half of these are done.
    pub unknown_permille: u64,
}

impl DiskHealth {
    pub const GOOD: Self = Self { delay_max: Duration::from_millis(2), fails_permille: 0, unknown_permille: 0 };
}

/// What a node's disk went through, over all its processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskStats {
    pub writes: u64,
    pub failed: u64,
    pub unknown: u64,
    /// Writes that a crash took back, because they were not synced.
    pub torn: u64,
}

/// One node's disk, which its crashes leave behind.
#[derive(Clone)]
pub struct SimDisk {
    pub disk: Disk,
    pub health: Rc<RefCell<DiskHealth>>,
    pub stats: Rc<RefCell<DiskStats>>,
    unsynced: Rc<RefCell<bool>>,
}

impl SimDisk {
    pub fn new() -> Self {
        Self {
            disk: Disk::new(),
            health: Rc::new(RefCell::new(DiskHealth::GOOD)),
            stats: Rc::default(),
            unsynced: Rc::default(),
        }
    }

    pub fn host(&self, entropy: Entropy) -> Box<dyn StoreHost> {
        let store = Rc::new(RefCell::new(self.disk.open()));
        Box::new(SimHost { disk: self.clone(), store, entropy })
    }

    /// True while something is written that a crash may take back.
    pub fn has_unsynced(&self) -> bool {
        *self.unsynced.borrow()
    }

    /// The process died. What it had written and not synced is lost, or happens to be there.
    pub fn crash(&self, keep_unsynced: bool) {
        self.disk.crash(keep_unsynced);
        if self.unsynced.replace(false) && !keep_unsynced {
            self.stats.borrow_mut().torn += 1;
        }
    }
}

/// The disk as one process uses it.
struct SimHost {
    disk: SimDisk,
    store: Rc<RefCell<MemoryStore>>,
    entropy: Entropy,
}

impl SimHost {
    fn delay(&mut self) -> Duration {
        let micros = u64::try_from(self.disk.health.borrow().delay_max.as_micros()).unwrap();
        Duration::from_micros(1 + self.entropy.below(micros))
    }
}

impl StoreHost for SimHost {
    fn recover(&mut self, options: RecoverOptions) -> StoreFuture<Recovered> {
        let recovered = recover(&mut *self.store.borrow_mut(), &options);
        async move { recovered }.boxed_local()
    }

    fn write(&mut self, write: Arc<Write>) -> StoreFuture<()> {
        let health = *self.disk.health.borrow();
        let (write_delay, sync_delay) = (self.delay(), self.delay());
        let fails = self.entropy.below(1_000) < health.fails_permille;
        let unknown = self.entropy.below(1_000) < health.unknown_permille;
        let happens = self.entropy.below(2) == 0;
        let disk = self.disk.clone();
        async move {
            disk.stats.borrow_mut().writes += 1;
            tokio::time::sleep(write_delay).await;
            if fails {
                disk.stats.borrow_mut().failed += 1;
                return Err(StoreError::NotWritten("the seed says so".to_owned()));
            }
            if unknown && !happens {
                disk.stats.borrow_mut().unknown += 1;
                return Err(StoreError::Unknown("the seed says so".to_owned()));
            }
            disk.disk.apply(&write)?;
            disk.unsynced.replace(true);
            tokio::time::sleep(sync_delay).await;
            disk.disk.flush();
            disk.unsynced.replace(false);
            if unknown {
                disk.stats.borrow_mut().unknown += 1;
                return Err(StoreError::Unknown("the seed says so".to_owned()));
            }
            Ok(())
        }
        .boxed_local()
    }

    fn check_epoch(&mut self, epoch: Epoch) -> StoreFuture<()> {
        let owned = self.store.borrow_mut().check_epoch(epoch);
        async move { owned }.boxed_local()
    }

    fn read_blocks(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<Arc<Block>>> {
        let (store, delay) = (self.store.clone(), self.delay());
        async move {
            tokio::time::sleep(delay).await;
            read_blocks(&mut *store.borrow_mut(), request.from, request.to, bytes_max)
        }
        .boxed_local()
    }
}
