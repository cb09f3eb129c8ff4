//! The cluster of the example, with an ear on its wire.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use anyhow::{Result, bail};
use paxos_banking::actors::message::{BankView, Outgoing};
use paxos_banking::cli::say;
use paxos_banking::cluster::{Cluster, ClusterConfig};
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Answer, Block, Genesis, HomeLimits, Request, Wait};
use paxos_banking::node::Timing;
use paxos_banking::store::StoreAddress;
use paxos_banking::triplets::Triplet;
use paxos_banking::types::{Height, NodeId, TransferId};
use paxos_banking::wire::wall_clock_ms;
use std::sync::Arc;
use tokio::sync::Notify;

use crate::wire::message_text;

/// A trap on the wire: the next message of that kind to that node is lost, and the trapper told.
pub struct Trap {
    pub to: NodeId,
    pub message: &'static str,
    pub sprung: Rc<Notify>,
}

#[derive(Default)]
struct Wire {
    passed: Vec<Outgoing>,
    trap: Option<Trap>,
    /// Whether messages are shown as they pass.
    shown: bool,
}

pub struct Bank {
    pub cluster: Cluster,
    entropy: Entropy,
    wire: Rc<RefCell<Wire>>,
}

impl Bank {
    /// Starts the three nodes and waits until all serve clients. `transfers` is how many will follow at the most:
    /// one shortage then settles everything that is unsettled, in one block.
    pub async fn start(genesis: Genesis, store: StoreAddress, transfers: usize) -> Result<Self> {
        let limits = HomeLimits {
            log_entries_max: transfers.max(100_000),
            block_bytes_max: transfers.max(50_000) * 160,
            settle_at_entries: None,
            ..HomeLimits::default()
        };
        // Blocks on shortage only, and every node whose link is up is waited for: the result is exact.
        let mut timing = Timing { settle_age: None, ..Timing::default() };
        timing.proposer.grace = None;
        let mut entropy = Entropy::from_os();
        let wire = Rc::new(RefCell::new(Wire::default()));
        let ear = wire.clone();
        let tap = Box::new(move |message: &Outgoing| ear.borrow_mut().pass(message));
        let config = ClusterConfig { genesis, limits, timing, store };
        let cluster = Cluster::start(config, entropy.split(), tap).await?;
        cluster.complete().await?;
        let bank = Self { cluster, entropy, wire };
        bank.level().await?;
        bank.take_messages();
        Ok(bank)
    }

    pub fn request(&mut self, transfer: &Triplet) -> Request {
        let Triplet { from, to, amount } = *transfer;
        Request { id: self.new_id(), from, to, amount, wait: Wait::Local }
    }

    pub fn new_id(&mut self) -> TransferId {
        TransferId::from_parts(wall_clock_ms(), self.entropy.wide())
    }

    /// Sends a transfer to its home and waits for what the bank decides.
    pub async fn decide(&self, request: Request) -> Result<Answer> {
        match self.cluster.transfer(request).await? {
            answer @ (Answer::Approved(_) | Answer::Refused(_)) => Ok(answer),
            other => bail!("the transfer {} got no decision but {other:?}", request.id),
        }
    }

    /// Waits until every node that runs has applied the last block of all.
    pub async fn level(&self) -> Result<Height> {
        self.level_of(self.cluster.nodes()).await
    }

    /// The same for those that hear `with`.
    pub async fn level_with(&self, with: NodeId) -> Result<Height> {
        let hear = |node: &NodeId| self.cluster.hears(with, *node);
        self.level_of(self.cluster.nodes().into_iter().filter(hear).collect()).await
    }

    async fn level_of(&self, nodes: BTreeSet<NodeId>) -> Result<Height> {
        let mut height = Height(0);
        for node in &nodes {
            height = height.max(self.view(*node).await?.height);
        }
        for node in &nodes {
            self.cluster.applied(*node, height).await?;
        }
        Ok(height)
    }

    pub async fn view(&self, node: NodeId) -> Result<BankView> {
        Ok(self.cluster.node(node)?.bank().await?)
    }

    /// The blocks of a node's chain after `after`, from its store.
    pub async fn chain(&self, node: NodeId, after: Height) -> Result<Vec<Arc<Block>>> {
        let height = self.view(node).await?.height;
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        let mut next = after.next();
        while next <= height {
            blocks.extend(self.cluster.node(node)?.blocks(next, height, 4 << 20).await??);
            next = blocks.last().map_or(next, |block| block.height().next());
        }
        Ok(blocks)
    }

    pub fn set_trap(&self, trap: Trap) {
        self.wire.borrow_mut().trap = Some(trap);
    }

    /// From now on, prints each message as it passes.
    pub fn show_messages(&self, shown: bool) {
        self.wire.borrow_mut().shown = shown;
    }

    /// The messages that passed since the last call, without the HELLOs that keep links alive.
    pub fn take_messages(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.wire.borrow_mut().passed)
    }
}

impl Wire {
    fn pass(&mut self, message: &Outgoing) -> bool {
        let name = message.message.name();
        if let Some(trap) = self.trap.take_if(|trap| (trap.to, trap.message) == (message.to, name)) {
            trap.sprung.notify_one();
            return false;
        }
        if self.shown && name != "HELLO" {
            say(&format!("    {}", message_text(message)));
        }
        // Nobody reads a record of all rounds of a long file: the newest messages are enough for the story.
        if name != "HELLO" && self.passed.len() < 10_000 {
            self.passed.push(message.clone());
        }
        true
    }
}
