//! A whole cluster in one process: complete nodes, each on a `LocalSet` of its own, over in-process links. Dropping a
//! node's `LocalSet` is the crash: its actors, queues and futures go with it, its store stays.

mod network;
mod running;

use std::collections::{BTreeMap, BTreeSet};

use actix::{Actor, Addr, Context, Handler, Message as ActixMessage};
use tokio::sync::oneshot;

use crate::actors::message::{Happened, NodeEvent, Outgoing};
use crate::effect::HaltReason;
use crate::entropy::Entropy;
use crate::ledger::{Answer, Genesis, HomeLimits, Opening, Request};
use crate::node::{Node, NodeConfig, NotRunning, Seams, Timing};
use crate::store::{Disk, STORE_WAIT, StoreAddress, StoreError, StoreThread, patiently};
use crate::types::{Height, NodeId};
use network::{Attach, Cut, Detach, InProcessNetwork};
pub use running::RunningNode;

/// How to run a cluster in one process.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The bank.
    pub genesis: Genesis,
    /// Bounds of each node.
    pub limits: HomeLimits,
    /// Delays of each node.
    pub timing: Timing,
    /// Where the nodes keep their stores.
    pub store: StoreAddress,
}

impl ClusterConfig {
    /// A cluster of this bank, everything else at its default.
    pub fn new(genesis: Genesis, store: StoreAddress) -> Self {
        Self { genesis, limits: HomeLimits::default(), timing: Timing::default(), store }
    }
}

/// Why a cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A node's store; its source says what is wrong and what to do.
    #[error("the store of node {node}")]
    Store {
        /// The node.
        node: NodeId,
        /// What its store says.
        #[source]
        error: StoreError,
    },
    /// A node stopped for good.
    #[error("node {node} stopped: {reason}")]
    Halted {
        /// The node.
        node: NodeId,
        /// Why.
        reason: HaltReason,
    },
    /// A node that was asked is not running.
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
}

/// Sees each message between nodes as it passes; where it says `false`, the message is lost.
pub type Tap = Box<dyn FnMut(&Outgoing) -> bool>;

/// A running cluster.
pub struct Cluster {
    config: ClusterConfig,
    entropy: Entropy,
    network: Addr<InProcessNetwork>,
    board: Addr<Board>,
    disks: BTreeMap<NodeId, Disk>,
    running: BTreeMap<NodeId, RunningNode>,
    cut: Cut,
}

impl Cluster {
    /// Starts all nodes of the bank, on the current `LocalSet`. Nothing is started, and no store changed, where one of
    /// the stores belongs to another bank.
    ///
    /// # Errors
    /// What the first store that fails says.
    pub async fn start(config: ClusterConfig, entropy: Entropy, tap: Tap) -> Result<Self, ClusterError> {
        let cluster = config.genesis.id();
        for node in config.genesis.nodes().iter().copied() {
            let checked = patiently(STORE_WAIT, || config.store.check(node, cluster)).await;
            checked.map_err(|error| ClusterError::Store { node, error })?;
        }
        let disks = config.genesis.nodes().iter().map(|node| (*node, Disk::new())).collect();
        let network = InProcessNetwork::new(tap).start();
        let board = Board::default().start();
        let mut started =
            Self { config, entropy, network, board, disks, running: BTreeMap::new(), cut: Cut::default() };
        for node in started.config.genesis.nodes().clone() {
            started.revive(node).await?;
        }
        Ok(started)
    }

    /// The nodes that run.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.running.keys().copied().collect()
    }

    /// A node that runs.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub fn node(&self, id: NodeId) -> Result<&Node, NotRunning> {
        self.running.get(&id).map(RunningNode::node).ok_or(NotRunning(id))
    }

    /// Crashes a node: nothing of it is left but its store.
    pub async fn kill(&mut self, id: NodeId) {
        let Some(running) = self.running.remove(&id) else { return };
        running.kill().await;
        self.network.do_send(Detach(id));
        self.board.do_send(Forget(id));
    }

    /// Starts a node on its store, and connects it with those that run.
    ///
    /// # Errors
    /// What its store says.
    pub async fn revive(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let failed = |error| ClusterError::Store { node: id, error };
        let store = self.config.store.open_patiently(id, &self.disks[&id], STORE_WAIT).await.map_err(failed)?;
        let seams = Seams {
            store: Box::new(StoreThread::spawn(store).map_err(failed)?),
            network: self.network.clone().recipient(),
            entropy: self.entropy.split(),
            events: self.board.clone().recipient(),
        };
        let ClusterConfig { genesis, limits, timing, .. } = self.config.clone();
        let config = NodeConfig { limits, timing, ..NodeConfig::new(id, genesis) };
        let running = RunningNode::start(config, seams).await.map_err(failed)?;
        let node = running.node();
        self.network.do_send(Attach { node: id, epoch: node.epoch(), links: node.links().clone() });
        self.running.insert(id, running);
        Ok(())
    }

    /// Cuts the network into groups of nodes that do not hear each other; those that are in none are one more. Without
    /// groups, all hear each other again. [`Cluster::complete`] waits until they have noticed.
    pub fn partition(&mut self, groups: &[Vec<NodeId>]) {
        self.cut = Cut::into(groups);
        self.network.do_send(self.cut.clone());
    }

    /// Whether messages pass between two nodes, as far as the network goes.
    pub fn hears(&self, one: NodeId, other: NodeId) -> bool {
        self.cut.lets_pass(one, other)
    }

    /// Waits until a node serves clients.
    ///
    /// # Errors
    /// [`ClusterError::Halted`] or [`ClusterError::NotRunning`] where that will not happen.
    pub async fn ready(&self, id: NodeId) -> Result<(), ClusterError> {
        self.wait_for(id, Condition::Ready).await
    }

    /// Waits until every running node serves clients and hears every other that it can hear, and no more than those, so
    /// that a collection waits for all of them, and for nobody else.
    ///
    /// # Errors
    /// [`ClusterError::Halted`] or [`ClusterError::NotRunning`] where that will not happen.
    pub async fn complete(&self) -> Result<(), ClusterError> {
        for id in self.nodes() {
            self.ready(id).await?;
            let mut peers = self.nodes();
            peers.retain(|peer| *peer != id && self.hears(id, *peer));
            self.wait_for(id, Condition::Voters(peers)).await?;
        }
        Ok(())
    }

    /// Waits until a node has applied the block at `height`.
    ///
    /// # Errors
    /// [`ClusterError::Halted`] or [`ClusterError::NotRunning`] where that will not happen.
    pub async fn applied(&self, id: NodeId, height: Height) -> Result<(), ClusterError> {
        if height == Height(0) || self.node(id)?.bank().await?.height >= height {
            return Ok(());
        }
        self.wait_for(id, Condition::Applied(height)).await
    }

    async fn wait_for(&self, node: NodeId, condition: Condition) -> Result<(), ClusterError> {
        self.node(node)?;
        let (reply_to, met) = oneshot::channel();
        self.board.do_send(WaitFor { node, condition, reply_to });
        match met.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(ClusterError::Halted { node, reason }),
            Err(_) => Err(NotRunning(node).into()),
        }
    }

    /// Asks the home of the debit account, and waits for its answer.
    ///
    /// # Errors
    /// [`NotRunning`] where the home does not run, or is killed before it answers: the outcome is unknown then.
    pub fn transfer(&self, request: Request) -> impl Future<Output = Result<Answer, NotRunning>> + use<> {
        let answer = self.node(request.from.home()).map(|home| home.transfer(request));
        async move { answer?.await }
    }

    /// Asks the home of an account to open it, and waits for its answer.
    ///
    /// # Errors
    /// As [`Cluster::transfer`].
    pub fn open(&self, opening: Opening) -> impl Future<Output = Result<Answer, NotRunning>> + use<> {
        let answer = self.node(opening.account.home()).map(|home| home.open(opening));
        async move { answer?.await }
    }
}

enum Condition {
    Ready,
    Voters(BTreeSet<NodeId>),
    Applied(Height),
}

#[derive(Default)]
struct Known {
    ready: bool,
    voters: BTreeSet<NodeId>,
    height: Height,
    halted: Option<HaltReason>,
}

impl Known {
    fn meets(&self, condition: &Condition) -> Option<Result<(), HaltReason>> {
        let met = match condition {
            Condition::Ready => self.ready,
            Condition::Voters(peers) => self.voters == *peers,
            Condition::Applied(height) => self.height >= *height,
        };
        if met { Some(Ok(())) } else { self.halted.clone().map(Err) }
    }
}

/// Enough for what happens while all nodes of the largest bank meet.
const BOARD_MAILBOX: usize = 16_384;

/// What happened to each node, for those who wait for it.
#[derive(Default)]
struct Board {
    nodes: BTreeMap<NodeId, Known>,
    waiting: Vec<WaitFor>,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
struct WaitFor {
    node: NodeId,
    condition: Condition,
    reply_to: oneshot::Sender<Result<(), HaltReason>>,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Forget(NodeId);

impl Board {
    fn review(&mut self) {
        let nodes = &self.nodes;
        let met =
            |wait: &mut WaitFor| nodes.get(&wait.node).is_some_and(|known| known.meets(&wait.condition).is_some());
        for WaitFor { node, condition, reply_to } in self.waiting.extract_if(.., met).collect::<Vec<_>>() {
            if let Some(result) = self.nodes.get(&node).and_then(|known| known.meets(&condition)) {
                drop(reply_to.send(result));
            }
        }
    }
}

impl Actor for Board {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // The nodes drop what does not fit, and whoever waits for it would wait for ever.
        ctx.set_mailbox_capacity(BOARD_MAILBOX);
    }
}

impl Handler<NodeEvent> for Board {
    type Result = ();

    fn handle(&mut self, NodeEvent { node, what }: NodeEvent, _: &mut Context<Self>) {
        let known = self.nodes.entry(node).or_default();
        match what {
            Happened::Ready => known.ready = true,
            Happened::Started { .. } | Happened::Admitted | Happened::Link(_) | Happened::Heard(_) => {}
            Happened::Voters(voters) => known.voters = voters,
            Happened::Applied(block) => known.height = block.height(),
            Happened::Halted(reason) => known.halted = Some(reason),
        }
        self.review();
    }
}

impl Handler<WaitFor> for Board {
    type Result = ();

    fn handle(&mut self, wait: WaitFor, _: &mut Context<Self>) {
        self.waiting.push(wait);
        self.review();
    }
}

impl Handler<Forget> for Board {
    type Result = ();

    fn handle(&mut self, Forget(node): Forget, _: &mut Context<Self>) {
        self.nodes.remove(&node);
        self.waiting.retain(|wait| wait.node != node);
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
