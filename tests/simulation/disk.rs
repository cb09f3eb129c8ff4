//! A store whose writes take virtual time, and fail as the seed says: not written, unknown, lost in a crash because they
//! were not synced, or torn; and whose bytes flip, vanish and go back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::Block;
use paxos_banking::paxos::{BlocksRequest, SentBlock};
use paxos_banking::store::memory::Image;
use paxos_banking::store::record::{self, Kind};
use paxos_banking::store::{
    Disk, Head, MemoryStore, Plan, RecoverOptions, Recovered, Store, StoreError, StoreFuture, StoreHost, Stream, Write,
    field, read_blocks, read_stored, recover,
};
use paxos_banking::types::{Epoch, NodeId};
use tokio::sync::mpsc;

use crate::properties as must;
use crate::record::{Process, Shared};

mod damage;

use damage::Damage;

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

/// Where in a write a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Nothing of it is on the disk.
    Before,
    /// It is on the disk and not synced.
    Unsynced,
    /// It is durable, and nobody knows.
    After,
}

/// A write that a process has asked for, and that is not on the disk yet.
struct InFlight {
    number: u64,
    process: Process,
    write: Arc<Write>,
    /// What became of it, where that was earlier than its own time: while another process read the store.
    done: Option<Result<(), StoreError>>,
}

/// One node's disk, which its crashes leave behind. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Rc<State>);

struct State {
    node: NodeId,
    disk: Disk,
    health: Cell<DiskHealth>,
    /// The process that took the store last.
    owner: Cell<Process>,
    in_flight: RefCell<Vec<InFlight>>,
    last_number: Cell<u64>,
    unsynced: Cell<bool>,
    /// So many writes from now a process dies at this point.
    dies: Cell<Option<(u64, Point)>>,
    died: mpsc::UnboundedSender<(NodeId, Process, Point)>,
    damage: RefCell<Option<Damage>>,
    record: Shared,
}

impl SimDisk {
    pub fn new(node: NodeId, record: Shared, died: mpsc::UnboundedSender<(NodeId, Process, Point)>) -> Self {
        let disk = Disk::new();
        record.borrow_mut().disks.insert(node, disk.clone());
        Self(Rc::new(State {
            node,
            disk,
            health: Cell::new(DiskHealth::GOOD),
            owner: Cell::new(0),
            in_flight: RefCell::default(),
            last_number: Cell::new(0),
            unsynced: Cell::new(false),
            dies: Cell::new(None),
            died,
            damage: RefCell::default(),
            record,
        }))
    }

    pub fn host(&self, process: Process, entropy: Entropy) -> Box<dyn StoreHost> {
        Box::new(SimHost { disk: self.clone(), process, store: self.0.disk.open(), entropy })
    }

    pub fn set_health(&self, health: DiskHealth) {
        self.0.health.set(health);
    }

    /// So many writes from now the process that writes dies at this point.
    pub fn die_at(&self, writes: u64, point: Point) {
        self.0.dies.set(Some((writes, point)));
    }

    /// True while something is written that a crash may take back.
    fn has_unsynced(&self) -> bool {
        self.0.unsynced.get()
    }

    /// True while a write is on its way to the disk.
    pub fn is_being_written(&self) -> bool {
        !self.0.in_flight.borrow().is_empty()
    }

    /// A process is gone, and the machine with it unless another process of the node still runs there. What was written
    /// and not synced is lost, or happens to be there, or is there in part.
    pub fn crash(&self, process: Process, machine: bool, entropy: &mut Entropy) {
        self.0.in_flight.borrow_mut().retain(|write| write.process != process);
        self.0.dies.set(None);
        if !machine {
            return;
        }
        let unsynced = self.0.unsynced.replace(false);
        match entropy.below(if unsynced { 3 } else { 1 }) {
            0 => self.0.disk.crash(false),
            1 => self.0.disk.crash(true),
            _ => self.tear(entropy),
        }
        if unsynced {
            self.0.record.borrow_mut().counts.add("crashes with an unsynced write");
        }
    }

    /// What a crash would leave.
    pub fn image(&self) -> Image {
        self.0.disk.durable()
    }

    /// Puts another image in place of what is there.
    pub fn restore(&self, image: Image) {
        self.set_damage(None);
        self.0.disk.restore(image);
        if let Some(head) = self.head() {
            self.0.record.borrow_mut().heads.insert(self.0.node, head);
        }
    }

    /// A process starts on it, and ends before it does anything else.
    pub fn raise_epoch(&self) {
        self.0.disk.open().take_epoch(0).expect("the store is sound");
    }

    /// The store is empty, as a new disk is.
    pub fn empty(&self) {
        self.set_damage(None);
        self.0.disk.restore(Image::default());
        self.0.record.borrow_mut().heads.remove(&self.0.node);
    }

    /// How many writes the store has seen, for comparing images of one store.
    pub fn write_number(image: &Image) -> u64 {
        image.get(field::HEAD).and_then(|bytes| decode_head(bytes)).map_or(0, |head| head.write)
    }

    fn head(&self) -> Option<Head> {
        self.0.disk.durable_field(field::HEAD).and_then(|bytes| decode_head(&bytes))
    }

    fn count(&self, what: &'static str) {
        self.0.record.borrow_mut().counts.add(what);
    }

    /// The point at which the process that begins this write is to die in it.
    fn dies_in_this(&self) -> Option<Point> {
        let (writes, point) = self.0.dies.get()?;
        let dies_now = writes <= 1;
        self.0.dies.set((!dies_now).then(|| (writes - 1, point)));
        dies_now.then_some(point)
    }

    /// The process dies here: nothing after this happens.
    async fn die(&self, process: Process, point: Point) {
        let _ = self.0.died.send((self.0.node, process, point));
        std::future::pending().await
    }

    /// The writes that other processes have under way.
    fn others(&self, process: Process) -> Vec<Other> {
        let in_flight = self.0.in_flight.borrow();
        let others = in_flight.iter().filter(|write| write.process != process && write.done.is_none());
        others
            .map(|write| Other { number: write.number, write: write.write.clone(), done: None, late: false })
            .collect()
    }

    /// A process has tried to take the store over.
    fn recovered(&self, process: Process, store: Contended, loaded: bool) {
        let mut record = self.0.record.borrow_mut();
        for Other { number, done, late, .. } in store.others {
            let mut in_flight = self.0.in_flight.borrow_mut();
            let Some(write) = in_flight.iter_mut().find(|write| write.number == number) else { continue };
            if done.is_some() {
                record.counts.add("writes of another process that landed in a take-over");
            }
            if late {
                record.hold(must::r13_only_the_owner_writes(self.0.node, write.process, process));
            }
            write.done = done;
        }
        if store.taken {
            self.0.owner.set(process);
        }
        if let Some(head) = self.head().filter(|_| loaded) {
            if head.saved.is_some() {
                record.counts.add("starts from a checkpoint");
            }
            if head.saved.map_or(0, |saved| saved.last) < head.state_last {
                record.counts.add("starts beside a checkpoint that is not complete");
            }
            record.holds(self.0.node, head);
        }
    }

    fn begin(&self, process: Process, write: Arc<Write>) -> u64 {
        let number = self.0.last_number.get() + 1;
        self.0.last_number.set(number);
        self.0.in_flight.borrow_mut().push(InFlight { number, process, write, done: None });
        number
    }

    /// The write with this number reaches the disk, unless it did so before.
    fn land(&self, number: u64) -> Result<(), StoreError> {
        let mut in_flight = self.0.in_flight.borrow_mut();
        let index = in_flight.iter().position(|write| write.number == number).expect("a write lands once");
        let InFlight { process, write, done, .. } = in_flight.remove(index);
        done.unwrap_or_else(|| self.apply(process, &write))
    }

    fn apply(&self, process: Process, write: &Write) -> Result<(), StoreError> {
        self.0.disk.apply(write)?;
        self.0.unsynced.set(true);
        let held = must::r13_only_the_owner_writes(self.0.node, process, self.0.owner.get());
        self.0.record.borrow_mut().hold(held);
        Ok(())
    }

    /// Makes everything durable that was applied.
    fn sync(&self, process: Process) {
        self.0.disk.flush();
        self.0.unsynced.set(false);
        if let Some(head) = self.head() {
            self.0.record.borrow_mut().wrote(self.0.node, process, head);
        }
    }
}

fn decode_head(bytes: &[u8]) -> Option<Head> {
    record::decode(field::HEAD, Kind::Head, bytes).ok()
}

/// The disk as one process uses it.
struct SimHost {
    disk: SimDisk,
    process: Process,
    store: MemoryStore,
    entropy: Entropy,
}

impl SimHost {
    fn delay(&mut self) -> Duration {
        let micros = u64::try_from(self.disk.0.health.get().delay_max.as_micros()).unwrap();
        Duration::from_micros(1 + self.entropy.below(micros))
    }
}

impl StoreHost for SimHost {
    fn recover(&mut self, options: RecoverOptions) -> StoreFuture<Recovered> {
        let entropy = self.entropy.split();
        let mut store =
            Contended { store: self.store.clone(), others: self.disk.others(self.process), entropy, taken: false };
        let recovered = recover(&mut store, &options);
        self.disk.recovered(self.process, store, recovered.is_ok());
        async move { recovered }.boxed_local()
    }

    fn write(&mut self, plan: Arc<Plan>) -> StoreFuture<()> {
        let write = Arc::new(plan.encode());
        let health = self.disk.0.health.get();
        let (write_delay, sync_delay) = (self.delay(), self.delay());
        let fails = self.entropy.below(1_000) < health.fails_permille;
        let unknown = self.entropy.below(1_000) < health.unknown_permille;
        let happens = !unknown || self.entropy.below(2) == 0;
        let (disk, process) = (self.disk.clone(), self.process);
        let dies = disk.dies_in_this();
        async move {
            disk.count("writes");
            if fails {
                tokio::time::sleep(write_delay).await;
                disk.count("writes failed");
                return Err(StoreError::NotWritten("the seed says so".to_owned()));
            }
            if happens {
                let number = disk.begin(process, write);
                tokio::time::sleep(write_delay).await;
                if dies == Some(Point::Before) {
                    disk.die(process, Point::Before).await;
                }
                disk.land(number)?;
                if dies == Some(Point::Unsynced) {
                    disk.die(process, Point::Unsynced).await;
                }
                tokio::time::sleep(sync_delay).await;
                disk.sync(process);
                if dies == Some(Point::After) {
                    disk.die(process, Point::After).await;
                }
            }
            if unknown {
                disk.count(if happens { "writes of unknown fate, done" } else { "writes of unknown fate, not done" });
                return Err(StoreError::Unknown("the seed says so".to_owned()));
            }
            Ok(())
        }
        .boxed_local()
    }

    fn check_epoch(&mut self, epoch: Epoch) -> StoreFuture<()> {
        let owned = self.store.check_epoch(epoch);
        async move { owned }.boxed_local()
    }

    fn read_blocks(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<Arc<Block>>> {
        let (mut store, delay) = (self.store.clone(), self.delay());
        async move {
            tokio::time::sleep(delay).await;
            read_blocks(&mut store, request.from, request.to, bytes_max)
        }
        .boxed_local()
    }

    fn read_stored(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<SentBlock>> {
        let (mut store, delay) = (self.store.clone(), self.delay());
        async move {
            tokio::time::sleep(delay).await;
            read_stored(&mut store, request.from, request.to, bytes_max)
        }
        .boxed_local()
    }
}

/// The store while a process takes it over: between any two of its calls, writes that another process of the node has
/// under way may reach it.
struct Contended {
    store: MemoryStore,
    others: Vec<Other>,
    entropy: Entropy,
    /// The epoch is this process's.
    taken: bool,
}

/// A write of another process, and what became of it while this one took the store over.
struct Other {
    number: u64,
    write: Arc<Write>,
    done: Option<Result<(), StoreError>>,
    /// It reached the disk after the store was taken.
    late: bool,
}

impl Contended {
    fn others_write(&mut self) {
        for other in self.others.iter_mut().filter(|other| other.done.is_none()) {
            if self.entropy.below(2) == 0 {
                let done = self.store.disk().apply(&other.write);
                other.late = self.taken && done.is_ok();
                other.done = Some(done);
            }
        }
    }
}

impl Store for Contended {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        self.others_write();
        let epoch = self.store.take_epoch(token)?;
        self.taken = true;
        Ok(epoch)
    }

    fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.store.check_epoch(epoch)
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        self.others_write();
        self.store.fields()
    }

    fn read(&mut self, stream: Stream, from: u64, to: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.others_write();
        self.store.read(stream, from, to, max)
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        self.store.write(write)
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
