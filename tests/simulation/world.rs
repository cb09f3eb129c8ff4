//! A whole cluster under simulation: nodes that can be killed and revived, their disks, the network between them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use paxos_banking::actors::Board;
use paxos_banking::actors::client_connection::Service;
use paxos_banking::actors::message::{BankView, NodeEvent};
use paxos_banking::cluster::RunningNode;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Genesis, HomeLimits};
use paxos_banking::node::{Node, NodeConfig, Seams, Timing};
use paxos_banking::store::StoreError;
use paxos_banking::types::{AccountId, Amount, NodeId};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::disk::{Point, SimDisk};
use crate::network::{Attach, Detach, Set, SimNetwork, Weather};
use crate::record::{Excuse, Process, Record, Seen, Shared};

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
            sleep(Duration::from_secs(1)).await;
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

/// How clients reach a process.
#[derive(Clone)]
pub struct Access {
    pub process: Process,
    pub node: Node,
    pub service: Service,
}

/// A process that runs.
struct Running {
    process: Process,
    node: RunningNode,
    access: Access,
    paused: bool,
}

pub struct World {
    pub genesis: Genesis,
    pub entropy: Entropy,
    pub network: Addr<SimNetwork>,
    pub record: Shared,
    pub disks: BTreeMap<NodeId, SimDisk>,
    /// Processes that die in a write, as their disk decides.
    pub dying: mpsc::UnboundedReceiver<(NodeId, Process, Point)>,
    running: BTreeMap<NodeId, Running>,
    /// Processes that another one of their node has replaced, and that may not know it.
    replaced: BTreeMap<NodeId, Running>,
    last_process: Process,
    limits: HomeLimits,
    timing: Timing,
}

/// Tells the record, and the node's own Board, what happens to a process.
struct Watcher {
    process: Process,
    record: Shared,
    board: Recipient<NodeEvent>,
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Events must not be dropped here: a run rests on them.
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<NodeEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: NodeEvent, _: &mut Context<Self>) {
        self.board.do_send(event.clone());
        self.record.borrow_mut().happened(event.node, self.process, event.what);
    }
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
        let record = Rc::new(RefCell::new(Record::new(genesis.clone(), limits)));
        let (died, dying) = mpsc::unbounded_channel();
        let disk = |node: &NodeId| (*node, SimDisk::new(*node, record.clone(), died.clone()));
        let mut world = Self {
            network: SimNetwork::new(weather, entropy.split(), record.clone()).start(),
            disks: genesis.nodes().iter().map(disk).collect(),
            dying,
            running: BTreeMap::new(),
            replaced: BTreeMap::new(),
            last_process: 0,
            record,
            genesis,
            entropy,
            limits,
            timing,
        };
        for node in world.nodes() {
            world.revive(node).await;
        }
        world
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.genesis.nodes().iter().copied().collect()
    }

    /// A node of the cluster, as the seed has it.
    pub fn any_node(&mut self) -> NodeId {
        let nodes = self.nodes();
        nodes[usize::try_from(self.entropy.below(nodes.len() as u64)).unwrap()]
    }

    pub fn is_running(&self, id: NodeId) -> bool {
        self.running.contains_key(&id)
    }

    pub fn node(&self, id: NodeId) -> Option<Node> {
        self.running.get(&id).map(|running| running.access.node.clone())
    }

    /// Nodes that run, and whose process has not stopped for good.
    pub fn alive(&self) -> BTreeSet<NodeId> {
        let record = self.record.borrow();
        let halted = |process: Process| record.processes.get(&process).is_some_and(|seen| seen.halted);
        self.running.iter().filter(|(_, running)| !halted(running.process)).map(|(id, _)| *id).collect()
    }

    /// Every process that clients may reach, by node. One whose store went back would use seqs again.
    pub fn accesses(&self) -> BTreeMap<NodeId, Vec<Access>> {
        let mut accesses: BTreeMap<NodeId, Vec<Access>> = BTreeMap::new();
        let gone_back = &self.record.borrow().gone_back;
        for (id, running) in self.running.iter().chain(&self.replaced).filter(|(id, _)| !gone_back.contains(id)) {
            accesses.entry(*id).or_default().push(running.access.clone());
        }
        accesses
    }

    /// What is known of the process that runs as this node.
    pub fn seen<T>(&self, id: NodeId, look: impl FnOnce(&mut Seen) -> T) -> Option<T> {
        let process = self.running.get(&id)?.process;
        self.record.borrow_mut().processes.get_mut(&process).map(look)
    }

    pub fn excuse(&self, id: NodeId, excuse: Excuse) {
        self.seen(id, |seen| seen.excuses.insert(excuse));
    }

    /// Starts a node, where it does not run. A store that is damaged turns it away.
    pub async fn revive(&mut self, id: NodeId) {
        if self.running.contains_key(&id) {
            return;
        }
        match self.start_process(id).await {
            Ok(running) => {
                self.disks[&id].start_met_damage(None);
                self.running.insert(id, running);
            }
            Err(error) if self.disks[&id].is_damaged() => {
                self.note(format!("{id} does not start: {error}"));
                self.disks[&id].start_met_damage(Some(&error));
            }
            Err(error) => self.fail(&format!("{id} cannot start: {error}")),
        }
    }

    async fn start_process(&mut self, id: NodeId) -> Result<Running, StoreError> {
        self.last_process += 1;
        let process = self.last_process;
        self.note(format!("{id} ({process}) starts"));
        let (mut limits, timing) = (self.limits, self.timing);
        // Somebody makes the memory smaller, and then larger again: what was forgotten stays forgotten.
        if process % 3 == 2 {
            limits.ids_remembered_max /= 2;
        }
        let config = NodeConfig { limits, timing, ..NodeConfig::new(id, self.genesis.clone()) };
        let board = Board::new(id, self.genesis.nodes(), "simulated".to_owned(), None).start();
        let watcher = Watcher { process, record: self.record.clone(), board: board.clone().recipient() }.start();
        self.record.borrow_mut().started(id, process);
        let seams = Seams {
            store: self.disks[&id].host(process, self.entropy.split()),
            network: self.network.clone().recipient(),
            entropy: self.entropy.split(),
            events: watcher.recipient(),
        };
        let node = RunningNode::start(config, seams).await?;
        self.network.send(Attach(node.node().clone())).await.unwrap();
        let service = Service {
            node: id,
            genesis: Arc::new(self.genesis.clone()),
            ports: node.node().client_ports(board.recipient()),
            searches: Arc::new(Semaphore::new(2)),
        };
        let access = Access { process, node: node.node().clone(), service };
        Ok(Running { process, node, access, paused: false })
    }

    /// Crashes a node, and its machine with it.
    pub async fn kill(&mut self, id: NodeId) {
        let Some(running) = self.running.remove(&id) else { return };
        let machine = !self.replaced.contains_key(&id);
        self.end(id, running, machine).await;
    }

    /// Crashes the older one of two processes.
    pub async fn kill_replaced(&mut self, id: NodeId) {
        let Some(running) = self.replaced.remove(&id) else { return };
        self.end(id, running, false).await;
        self.record.borrow_mut().single_again(id);
    }

    /// Crashes the process that a disk had die in a write.
    pub async fn bury(&mut self, (id, process, point): (NodeId, Process, Point)) {
        self.record.borrow_mut().counts.add(match point {
            Point::Before => "crashes just before a write",
            Point::Unsynced => "crashes between a write and its sync",
            Point::After => "crashes just after a write",
        });
        if self.running.get(&id).is_some_and(|running| running.process == process) {
            self.kill(id).await;
        } else if self.replaced.get(&id).is_some_and(|running| running.process == process) {
            self.kill_replaced(id).await;
        }
    }

    async fn end(&mut self, id: NodeId, running: Running, machine: bool) {
        let Running { process, node, access, .. } = running;
        self.note(format!("{id} ({process}) crashes"));
        self.network.send(Detach(id, access.node.epoch())).await.unwrap();
        node.kill().await;
        self.disks[&id].crash(process, machine, &mut self.entropy);
        let mut record = self.record.borrow_mut();
        record.counts.add("crashes");
        if let Some(seen) = record.processes.get_mut(&process) {
            (seen.ready, seen.voters) = (false, BTreeSet::new());
        }
    }

    /// Starts a second process of a node that runs. It takes the store; the first one has to notice.
    pub async fn double(&mut self, id: NodeId) {
        if self.replaced.contains_key(&id) || !self.alive().contains(&id) || self.disks[&id].is_damaged() {
            return;
        }
        let older = self.running.remove(&id).expect("it is alive");
        {
            let mut record = self.record.borrow_mut();
            record.doubles(id);
            record.counts.add("second processes of a node");
            record.processes.entry(older.process).or_default().excuses.insert(Excuse::Replaced);
        }
        self.replaced.insert(id, older);
        self.revive(id).await;
    }

    /// Stops or continues a process, as a debugger does, or a machine that is out of memory.
    pub fn pause(&mut self, id: NodeId, paused: bool) {
        for running in [self.running.get_mut(&id), self.replaced.get_mut(&id)].into_iter().flatten() {
            if running.paused != paused {
                running.paused = paused;
                self.record.borrow_mut().witnesses.forget(id);
                running.node.pause(paused);
                let what = if paused { "processes paused" } else { "processes continued" };
                self.record.borrow_mut().counts.add(what);
            }
        }
    }

    pub async fn set(&self, set: Set) {
        self.network.send(set).await.unwrap();
    }

    pub fn note(&self, text: String) {
        self.record.borrow_mut().note(text);
    }

    /// Ends the run where something was seen that must never be.
    pub fn judge(&self) {
        self.record.borrow().judge();
    }

    pub fn fail(&self, what: &str) -> ! {
        self.record.borrow_mut().hold(Err(what.to_owned()));
        self.judge();
        unreachable!("a violation was noted")
    }

    /// What each node knows of the bank; without those that do not say, since they or their disks do not work.
    pub async fn views(&self, patience: Duration) -> BTreeMap<NodeId, BankView> {
        let mut views = BTreeMap::new();
        for (id, running) in self.running.iter().filter(|(_, running)| !running.paused) {
            if let Ok(Ok(view)) = timeout(patience, running.access.node.bank()).await {
                self.record.borrow_mut().viewed(*id, &view);
                views.insert(*id, view);
            }
        }
        views
    }

    /// Waits in virtual time until all nodes that run serve clients and hear each other.
    pub async fn all_ready(&self, bound: Duration) {
        let alive = self.alive();
        let ready = async {
            loop {
                self.judge();
                let hears_all = |id: &NodeId| {
                    let others = alive.iter().filter(|other| *other != id);
                    self.seen(*id, |seen| {
                        seen.ready && others.copied().collect::<BTreeSet<_>>().is_subset(&seen.voters)
                    })
                };
                if alive.iter().all(|id| hears_all(id).unwrap_or_default()) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(bound, ready).await.is_err() {
            self.fail(&format!("liveness: not all of {alive:?} became ready and heard each other"));
        }
    }

    fn has_halted(&self, process: Process) -> bool {
        self.record.borrow().processes.get(&process).is_some_and(|seen| seen.halted)
    }

    /// Every process that was replaced has noticed, and stopped: its store is another's (R13).
    pub async fn replaced_processes_stopped(&mut self) {
        for (id, running) in std::mem::take(&mut self.replaced) {
            if !self.has_halted(running.process) {
                self.fail(&format!("R13: process {} of {id} goes on, though another has its store", running.process));
            }
            self.end(id, running, false).await;
            self.record.borrow_mut().single_again(id);
        }
    }
}
