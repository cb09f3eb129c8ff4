//! What goes wrong, and when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxos_banking::store::memory::Image;
use paxos_banking::types::{Height, NodeId};
use tokio::time::sleep;

use crate::clients::Town;
use crate::disk::{DiskHealth, Point, SimDisk};
use crate::network::{Set, Way, Weather};
use crate::plan::Plan;
use crate::properties as must;
use crate::record::Excuse;
use crate::world::World;

/// One kind of thing that goes wrong, or is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash,
    CrashInAWrite,
    Revive,
    Rolling,
    AllAtOnce,
    Pause,
    SecondProcess,
    Weather,
    Partition,
    OneWay,
    Bridge,
    Ring,
    Clog,
    Flush,
    MendNetwork,
    SlowDisk,
    BadDisk,
    MendDisks,
    FlippedByte,
    StoreGoneBack,
    StoreLost,
    ClocksJump,
}

impl Fault {
    pub const ALL: &[Self] = &[
        Self::Crash,
        Self::CrashInAWrite,
        Self::Revive,
        Self::Rolling,
        Self::AllAtOnce,
        Self::Pause,
        Self::SecondProcess,
        Self::Weather,
        Self::Partition,
        Self::OneWay,
        Self::Bridge,
        Self::Ring,
        Self::Clog,
        Self::Flush,
        Self::MendNetwork,
        Self::SlowDisk,
        Self::BadDisk,
        Self::MendDisks,
        Self::FlippedByte,
        Self::StoreGoneBack,
        Self::StoreLost,
        Self::ClocksJump,
    ];

    /// A node alone has no network, and nobody who would notice that its store is not what it was.
    pub fn fits_one_node(self) -> bool {
        use Fault::{Bridge, Clog, Flush, MendNetwork, OneWay, Partition, Ring, StoreGoneBack, StoreLost, Weather};
        !matches!(
            self,
            Weather | Partition | OneWay | Bridge | Ring | Clog | Flush | MendNetwork | StoreGoneBack | StoreLost
        )
    }
}

/// Makes things go wrong in a world.
pub struct Nemesis<'a> {
    pub world: &'a mut World,
    plan: &'a Plan,
    town: &'a Town,
    cut: BTreeSet<Way>,
    clogged: BTreeSet<Way>,
    /// An older copy of a store, which may come back.
    copy: Option<(NodeId, Image)>,
}

impl<'a> Nemesis<'a> {
    pub fn new(world: &'a mut World, plan: &'a Plan, town: &'a Town) -> Self {
        Self { world, plan, town, cut: BTreeSet::new(), clogged: BTreeSet::new(), copy: None }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.world.entropy.below(bound)
    }

    fn ms(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    fn shuffled(&mut self) -> Vec<NodeId> {
        let mut nodes = self.world.nodes();
        for index in (1..nodes.len()).rev() {
            nodes.swap(index, usize::try_from(self.below(index as u64 + 1)).unwrap());
        }
        nodes
    }

    /// Lets time pass, while processes die that were told to die in a write.
    pub async fn wait(&mut self, time: Duration) {
        let over = sleep(time);
        tokio::pin!(over);
        loop {
            let died = tokio::select! {
                biased;
                Some(died) = self.world.dying.recv() => died,
                () = &mut over => return,
            };
            self.world.bury(died).await;
            self.town.publish(self.world);
        }
    }

    /// One fault, or one end of some.
    pub async fn strike(&mut self) {
        let faults = &self.plan.faults;
        let fault = faults[usize::try_from(self.world.entropy.below(faults.len() as u64)).unwrap()];
        self.world.note(format!("fault: {fault:?}"));
        self.world.record.borrow_mut().counts.add("faults");
        let node = self.world.any_node();
        match fault {
            Fault::Crash => self.world.kill(node).await,
            Fault::CrashInAWrite => {
                let point = [Point::Before, Point::Unsynced, Point::After][usize::try_from(self.below(3)).unwrap()];
                let writes = 1 + self.below(6);
                self.world.disks[&node].die_at(writes, point);
            }
            Fault::Revive => self.revive_all().await,
            Fault::Rolling => self.roll().await,
            Fault::AllAtOnce => self.all_at_once().await,
            Fault::Pause => {
                let paused = self.below(2) == 0;
                self.world.pause(node, paused);
            }
            Fault::SecondProcess => self.second_process(node).await,
            Fault::Weather => {
                let weather = Weather {
                    lost_percent: self.below(31),
                    doubled_percent: self.below(20),
                    delay_max: Duration::from_millis(1) + self.ms(self.plan.delay_ms_max),
                };
                self.world.set(Set::Weather(weather)).await;
            }
            Fault::Partition | Fault::OneWay | Fault::Bridge | Fault::Ring => self.cut(fault).await,
            Fault::Clog => self.clog().await,
            Fault::Flush => {
                self.clogged.clear();
                self.world.set(Set::Clogged(BTreeSet::new())).await;
            }
            Fault::MendNetwork => self.mend_network().await,
            Fault::SlowDisk => {
                let delay_max = Duration::from_millis(1) + self.ms(400);
                self.world.disks[&node].set_health(DiskHealth { delay_max, ..DiskHealth::GOOD });
            }
            Fault::BadDisk => {
                let delay_max = Duration::from_millis(1) + self.ms(30);
                let (fails_permille, unknown_permille) = (self.below(60), self.below(100));
                self.world.disks[&node].set_health(DiskHealth { delay_max, fails_permille, unknown_permille });
            }
            Fault::MendDisks => self.world.disks.values().for_each(|disk| disk.set_health(DiskHealth::GOOD)),
            Fault::FlippedByte => self.flip(node),
            Fault::StoreGoneBack => self.go_back(node).await,
            Fault::StoreLost => self.lose_store(node).await,
            Fault::ClocksJump => {
                let jumped = 500_000_000 + self.below(1_000_000_000);
                self.town.clocks_off_ms.set(jumped);
                self.world.record.borrow_mut().counts.add("jumps of the clients' clocks");
            }
        }
        self.town.publish(self.world);
    }

    /// Starts what does not run, or not all of it.
    async fn revive_all(&mut self) {
        for node in self.shuffled() {
            if self.below(4) > 0 {
                self.restart_if_stopped(node).await;
                self.world.pause(node, false);
                self.world.revive(node).await;
            }
        }
    }

    /// A process that stopped for good is ended, as an operator does, before another is started. One that was replaced
    /// stays.
    async fn restart_if_stopped(&mut self, node: NodeId) {
        if self.world.is_running(node) && !self.world.alive().contains(&node) {
            self.world.kill(node).await;
        }
    }

    async fn roll(&mut self) {
        for node in self.shuffled() {
            self.world.kill(node).await;
            let pause = self.ms(300);
            self.wait(pause).await;
            self.world.revive(node).await;
            let pause = self.ms(300);
            self.wait(pause).await;
        }
        self.world.record.borrow_mut().counts.add("rolling restarts");
    }

    async fn all_at_once(&mut self) {
        for node in self.shuffled() {
            self.world.kill(node).await;
        }
        self.town.publish(self.world);
        let pause = self.ms(500);
        self.wait(pause).await;
        for node in self.shuffled() {
            self.world.revive(node).await;
        }
        self.world.record.borrow_mut().counts.add("crashes of all nodes at once");
    }

    /// Some peers notice a little later that their connection is with a process that was replaced.
    async fn second_process(&mut self, node: NodeId) {
        // Half of them come when the first process has a write under way: the moment that matters.
        if self.below(2) == 0 {
            for _ in 0..500 {
                if self.world.disks[&node].is_being_written() {
                    break;
                }
                self.wait(Duration::from_micros(500)).await;
            }
        }
        self.world.double(node).await;
        self.town.publish(self.world);
        let pause = self.ms(1_500);
        self.wait(pause).await;
        for peer in self.shuffled().into_iter().filter(|peer| *peer != node) {
            self.world.set(Set::Reconnect { peer, node }).await;
        }
        if self.below(2) == 0 {
            self.world.kill_replaced(node).await;
        }
    }

    async fn cut(&mut self, fault: Fault) {
        let nodes = self.shuffled();
        let half = 1 + usize::try_from(self.below(nodes.len() as u64 - 1)).unwrap();
        let side = |index: usize| index < half;
        let ways = (0..nodes.len()).flat_map(|a| (0..nodes.len()).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let is_cut = |(a, b): &(usize, usize)| match fault {
            Fault::Partition => side(*a) != side(*b),
            Fault::OneWay => side(*a) && !side(*b),
            // The first node hears all; the halves of the others do not hear each other.
            Fault::Bridge => *a != 0 && *b != 0 && (*a % 2 == 0) != (*b % 2 == 0),
            // Each hears the one before it only.
            _ => *b != (*a + 1) % nodes.len(),
        };
        self.cut = ways.filter(is_cut).map(|(a, b)| (nodes[a], nodes[b])).collect();
        self.world.record.borrow_mut().counts.add(match fault {
            Fault::Partition => "partitions: in two",
            Fault::OneWay => "partitions: one way",
            Fault::Bridge => "partitions: bridged",
            _ => "partitions: ring",
        });
        self.world.set(Set::Cut(self.cut.clone())).await;
    }

    async fn clog(&mut self) {
        let nodes = self.shuffled();
        self.clogged.insert((nodes[0], nodes[1]));
        if self.below(2) == 0 {
            self.clogged.insert((nodes[1], nodes[0]));
        }
        self.world.record.borrow_mut().counts.add("links clogged");
        self.world.set(Set::Clogged(self.clogged.clone())).await;
    }

    async fn mend_network(&mut self) {
        (self.cut, self.clogged) = (BTreeSet::new(), BTreeSet::new());
        self.world.set(Set::Cut(BTreeSet::new())).await;
        self.world.set(Set::Clogged(BTreeSet::new())).await;
        self.world.set(Set::Weather(Weather::CALM)).await;
    }

    fn flip(&mut self, node: NodeId) {
        if self.world.disks[&node].flip(&mut self.world.entropy) {
            self.world.excuse(node, Excuse::Damaged);
            self.world.record.borrow_mut().counts.add("bytes flipped");
        }
    }

    /// An older copy of a store is put in place while peers that know better can be reached, and no round gets through
    /// before them. The node stops if one of them has heard of more, or has a block with an entry that the node lacks;
    /// then the newest store is put back.
    async fn go_back(&mut self, node: NodeId) {
        let Some((of, copy)) = self.copy.take() else {
            let lost = self.world.record.borrow().exempt.destroyed.contains(&node);
            if !lost && !self.world.disks[&node].is_damaged() {
                self.copy = Some((node, self.world.disks[&node].image()));
            }
            return;
        };
        self.world.kill_replaced(of).await;
        self.world.kill(of).await;
        let newest = self.world.disks[&of].image();
        if self.world.disks[&of].is_damaged() || SimDisk::write_number(&copy) >= SimDisk::write_number(&newest) {
            return;
        }
        let height = self.world.record.borrow().heads.get(&of).map_or(Height(0), |head| head.height);
        self.world.set(Set::NoRounds(BTreeMap::from([(of, height)]))).await;
        self.world.disks[&of].restore(copy);
        {
            let mut record = self.world.record.borrow_mut();
            record.gone_back.insert(of);
            record.fetching.retain(|(node, _)| *node != of);
        }
        self.town.publish(self.world);
        self.world.revive(of).await;
        self.wait(Duration::from_millis(1_500)).await;
        let noticed = self.world.seen(of, |seen| seen.halted).unwrap_or_default();
        {
            let mut record = self.world.record.borrow_mut();
            let witnessed = record.witnessed.remove(&of);
            record.hold(must::r13_a_store_that_went_back_is_noticed(of, witnessed, noticed));
            record.counts.add(match noticed {
                true => "stores gone back, noticed",
                false => "stores gone back, nobody there who knew",
            });
        }
        self.world.kill(of).await;
        self.world.record.borrow_mut().gone_back.remove(&of);
        self.world.disks[&of].restore(newest);
        // Peers have heard the process on the older copy: the first start on the newest store is told so and stops, too.
        self.world.disks[&of].raise_epoch();
        self.world.set(Set::NoRounds(BTreeMap::new())).await;
    }

    /// A store is lost, for good; a majority of the others is left.
    async fn lose_store(&mut self, node: NodeId) {
        let lost = self.world.record.borrow().emptied.len();
        let spare = self.world.genesis.nodes().len() - self.world.genesis.majority();
        if lost >= spare || self.below(3) > 0 {
            return;
        }
        self.destroy(node).await;
        self.world.revive(node).await;
    }

    async fn destroy(&mut self, node: NodeId) {
        self.world.kill_replaced(node).await;
        self.world.kill(node).await;
        self.world.disks[&node].empty();
        let mut record = self.world.record.borrow_mut();
        record.counts.add("stores lost");
        record.emptied.insert(node);
        if record.reached.get(&node).is_some_and(|reached| reached.admitted) {
            record.exempt.destroyed.insert(node);
        }
        record.reached.remove(&node);
        drop(record);
        if self.copy.as_ref().is_some_and(|(of, _)| *of == node) {
            self.copy = None;
        }
    }

    /// Most of the stores are lost while the other nodes are away; the new ones are restarted, and only then meet who
    /// knows better. They must neither vote nor approve: two of them would make a second history.
    pub async fn disaster(&mut self) {
        self.mend_network().await;
        let majority = self.world.genesis.majority();
        let mut nodes = self.shuffled();
        // Who has lost its store already is among them, so that somebody is left who knows better.
        nodes.sort_by_key(|node| !self.world.record.borrow().emptied.contains(node));
        let (losing, knowing) = nodes.split_at(majority);
        for node in knowing {
            self.world.kill_replaced(*node).await;
            self.world.kill(*node).await;
        }
        for node in losing {
            self.destroy(*node).await;
        }
        for _ in 0..2 {
            for node in losing {
                self.world.revive(*node).await;
            }
            self.town.publish(self.world);
            self.wait(Duration::from_secs(4)).await;
            for node in losing {
                self.world.kill(*node).await;
            }
        }
        self.world.record.borrow_mut().counts.add("majorities of stores lost");
        for node in nodes {
            self.world.revive(node).await;
        }
        self.town.publish(self.world);
    }

    /// Everything is mended, and whoever has a store runs.
    pub async fn heal(&mut self) {
        self.mend_network().await;
        self.world.set(Set::NoRounds(BTreeMap::new())).await;
        self.world.note("everything is mended".to_owned());
        let nodes = self.world.nodes();
        for node in &nodes {
            for peer in &nodes {
                self.world.set(Set::Reconnect { peer: *peer, node: *node }).await;
            }
            let disk = self.world.disks[node].clone();
            disk.set_health(DiskHealth::GOOD);
            disk.die_at(u64::MAX, Point::After);
            self.world.pause(*node, false);
        }
        // Long enough for a process that was replaced to look at its store.
        self.wait(Duration::from_secs(6)).await;
        self.world.replaced_processes_stopped().await;
        for node in nodes {
            // A start has to meet what is damaged still, and name it.
            if self.world.disks[&node].is_damaged() {
                self.world.kill(node).await;
                self.world.revive(node).await;
            }
            if !self.world.record.borrow().exempt.destroyed.contains(&node) {
                self.restart_if_stopped(node).await;
                self.world.revive(node).await;
            }
        }
        self.town.publish(self.world);
    }
}
