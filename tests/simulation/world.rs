//! A whole cluster under simulation: nodes that can be killed and revived, their disks, the network between them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use actix::{Actor, Addr};
use paxos_banking::actors::message::BankView;
use paxos_banking::cluster::RunningNode;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Genesis, HomeLimits};
use paxos_banking::node::{Node, NodeConfig, Seams, Timing};
use paxos_banking::types::{AccountId, Amount, NodeId};
use tokio::task::LocalSet;

use crate::disk::{DiskStats, SimDisk};
use crate::network::{Attach, Detach, SetCut, SimNetwork, Weather};
use crate::observer::{Died, Observer, ReadSeen, Seen};

pub struct World {
    pub genesis: Genesis,
    pub entropy: Entropy,
    pub network: Addr<SimNetwork>,
    pub observer: Addr<Observer>,
    pub disks: BTreeMap<NodeId, SimDisk>,
    pub running: BTreeMap<NodeId, RunningNode>,
    pub limits: HomeLimits,
    pub timing: Timing,
}

thread_local! {
    /// What panicked on this thread, which runs one simulation at a time.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a simulation: paused time that jumps to the next timer whenever nothing else is left to do.
///
/// # Panics
/// Where an actor did. The runtime would only drop it, and the rest go on without it.
pub fn simulate<T>(run: impl Future<Output = T>) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.set(Some(panic.to_string()));
            report(panic);
        }));
    });
    PANICKED.set(None);
    let watch = async {
        while PANICKED.with_borrow(Option::is_none) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let watched = async {
        tokio::select! {
            biased;
            result = run => Some(result),
            () = watch => None,
        }
    };
    let result = runtime.block_on(LocalSet::new().run_until(watched));
    result.unwrap_or_else(|| panic!("an actor panicked: {}", PANICKED.take().unwrap_or_default()))
}

/// What a run starts from.
pub struct Setup {
    pub seed: u64,
    pub size: usize,
    /// On each account.
    pub opening: u64,
    /// Accounts of each home beside its own.
    pub more_accounts: &'static [&'static str],
    pub weather: Weather,
    pub timing: Timing,
    pub limits: HomeLimits,
}

impl World {
    /// A cluster whose nodes are all running; none may be ready yet.
    pub async fn start(setup: Setup) -> Self {
        let Setup { seed, size, opening, more_accounts, weather, timing, limits } = setup;
        let mut entropy = Entropy::from_seed(seed);
        let names: Vec<NodeId> = ["A", "B", "C", "D", "E"][..size].iter().map(|name| name.parse().unwrap()).collect();
        let accounts = names.iter().flat_map(|home| {
            let more = more_accounts.iter().map(|name| AccountId::new(name, *home).unwrap());
            more.chain([AccountId::of_node(*home)]).map(|account| (account, Amount::new(opening)))
        });
        let genesis = Genesis::new(names.iter().copied(), accounts.collect::<Vec<_>>()).unwrap();
        let mut world = Self {
            network: SimNetwork::new(weather, entropy.split()).start(),
            observer: Observer::new(genesis.clone()).start(),
            disks: genesis.nodes().iter().map(|node| (*node, SimDisk::new())).collect(),
            running: BTreeMap::new(),
            genesis,
            entropy,
            limits,
            timing,
        };
        for node in world.genesis.nodes().clone() {
            world.revive(node).await;
        }
        world
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.genesis.nodes().iter().copied().collect()
    }

    pub fn node(&self, id: NodeId) -> Option<Node> {
        self.running.get(&id).map(|running| running.node().clone())
    }

    pub async fn revive(&mut self, id: NodeId) {
        if self.running.contains_key(&id) {
            return;
        }
        let (limits, timing) = (self.limits, self.timing);
        let config = NodeConfig { limits, timing, ..NodeConfig::new(id, self.genesis.clone()) };
        let seams = Seams {
            store: self.disks[&id].host(self.entropy.split()),
            network: self.network.clone().recipient(),
            entropy: self.entropy.split(),
            events: self.observer.clone().recipient(),
        };
        let running =
            RunningNode::start(config, seams).await.unwrap_or_else(|error| panic!("{id} cannot start: {error}"));
        self.network.send(Attach(running.node().clone())).await.unwrap();
        self.running.insert(id, running);
    }

    /// Crashes a node; what it had written and not synced is kept or lost.
    pub async fn kill(&mut self, id: NodeId) {
        if !self.running.contains_key(&id) {
            return;
        }
        // Half of the crashes come when a write is on the disk and not synced: the moment that matters.
        if self.entropy.below(2) == 0 {
            let unsynced = async {
                while !self.disks[&id].has_unsynced() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            };
            drop(tokio::time::timeout(Duration::from_millis(300), unsynced).await);
        }
        let Some(running) = self.running.remove(&id) else { return };
        self.network.send(Detach(id)).await.unwrap();
        running.kill().await;
        let keep = self.entropy.below(2) == 0;
        self.disks[&id].crash(keep);
        self.observer.send(Died(id)).await.unwrap();
    }

    pub async fn cut(&self, from: NodeId, to: NodeId, cut: bool) {
        self.network.send(SetCut { from, to, cut }).await.unwrap();
    }

    /// What was seen so far.
    ///
    /// # Panics
    /// Where something was seen that must never be, with the messages before it.
    pub async fn seen(&self) -> Seen {
        let seen = self.observer.send(ReadSeen).await.unwrap();
        if let Some(violation) = &seen.violation {
            self.fail(violation).await;
        }
        seen
    }

    pub async fn fail(&self, what: &str) -> ! {
        let recent = self.network.send(crate::network::ReadRecent).await.unwrap();
        let shown = recent.len().saturating_sub(60);
        panic!("{what}\nthe last messages:\n{}", recent[shown..].join("\n"));
    }

    /// What each node knows of the bank; without those that do not say, since their disk does not work.
    pub async fn views(&self) -> Vec<(NodeId, BankView)> {
        let mut views = Vec::new();
        for (id, running) in &self.running {
            let view = tokio::time::timeout(Duration::from_secs(5), running.node().bank());
            if let Ok(Ok(view)) = view.await {
                views.push((*id, view));
            }
        }
        views
    }

    /// Waits in virtual time until all nodes serve clients and hear each other.
    pub async fn all_ready(&self, bound: Duration) {
        let ready = async {
            while self.seen().await.ready.len() < self.running.len() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(bound, ready).await.is_err() {
            self.fail("liveness: not all nodes became ready").await;
        }
    }

    pub fn disk_stats(&self) -> DiskStats {
        let mut sum = DiskStats::default();
        for disk in self.disks.values() {
            let DiskStats { writes, failed, unknown, torn } = *disk.stats.borrow();
            sum.writes += writes;
            sum.failed += failed;
            sum.unknown += unknown;
            sum.torn += torn;
        }
        sum
    }
}
