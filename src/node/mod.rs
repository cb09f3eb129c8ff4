//! The composition root: one node out of its roles. Example, binary and tests all start nodes here.
//!
//! This file is what a node is told and what it offers; `wiring.rs` is how its roles find each other; `root.rs` stops them
//! together; [`server`] is a node as a process of its own, with sockets around it.

mod root;
pub mod server;
mod wiring;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, Recipient};
use tokio::sync::oneshot;
use tracing::info;

use crate::actors::board::ReadStatus;
use crate::actors::client_connection::ClientPorts;
pub use crate::actors::links::LinkPort;
use crate::actors::message::{
    Answers, BankView, BlocksRead, BlocksReader, CloseStore, Collect, Collected, Happened, NodeEvent, Outgoing,
    ReadBank, ReadBlocks, SettleNow, Stop, Submit, SubmitOpening,
};
use crate::actors::persistence::PersistenceTiming;
use crate::actors::proposer::ProposerTiming;
use crate::actors::reconcile::ReconcileTiming;
use crate::actors::{LedgerActor, PersistenceActor};
use crate::entropy::Entropy;
use crate::ledger::{Answer, Genesis, HomeLimits, Opening, Request};
use crate::paxos::BlocksRequest;
use crate::store::{RecoverOptions, Recovered, StoreError, StoreHost};
use crate::types::{Epoch, Height, Incarnation, NodeId};
use root::Root;

/// Everything that one node is told about itself, however it is run.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name, one of the genesis' nodes.
    pub id: NodeId,
    /// The bank's nodes and opening balances.
    pub genesis: Genesis,
    /// Bounds.
    pub limits: HomeLimits,
    /// Delays.
    pub timing: Timing,
    /// For a first start with a node that will never come: its missing answer does not keep this one a baby (R11).
    pub force_admission: bool,
    /// Where it serves clients, for its HELLOs.
    pub client_address: Option<String>,
}

impl NodeConfig {
    /// The node `id` of this bank, everything else at its default.
    pub fn new(id: NodeId, genesis: Genesis) -> Self {
        let (limits, timing) = (HomeLimits::default(), Timing::default());
        Self { id, genesis, limits, timing, force_admission: false, client_address: None }
    }

    /// The other nodes of the cluster.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.genesis.nodes().iter().copied().filter(|node| *node != self.id)
    }
}

/// How long a node waits for what. None of these is part of the protocol: they only bound what a loss costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The proposer's delays.
    pub proposer: ProposerTiming,
    /// The reconciliation's delays, and the size of its frames.
    pub reconcile: ReconcileTiming,
    /// The store's delays.
    pub persistence: PersistenceTiming,
    /// How long a vote may wait for its outcome before this node starts a round to find out.
    pub watch: Duration,
    /// How often a link says HELLO again.
    pub heartbeat: Duration,
    /// Settle at the latest so long after an entry was approved; `None` leaves it to shortage and size.
    pub settle_age: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            proposer: ProposerTiming { repeat: ms(250), grace: Some(ms(200)), wait_min: ms(200), wait_max: ms(5_000) },
            reconcile: ReconcileTiming { retry: ms(500), give_up: ms(5_000), frame_bytes_max: 4 << 20 },
            persistence: PersistenceTiming { retry_min: ms(20), retry_max: ms(1_000), put_off_max: ms(10) },
            watch: ms(1_000),
            heartbeat: ms(500),
            settle_age: Some(ms(2_000)),
        }
    }
}

/// What surrounds a node: the seams through which it meets the world, and the only ones.
pub struct Seams {
    /// Where it keeps what must last.
    pub store: Box<dyn StoreHost>,
    /// Where its messages to peers go.
    pub network: Recipient<Outgoing>,
    /// Where its randomness comes from.
    pub entropy: Entropy,
    /// Who hears what happens to it.
    pub events: Recipient<NodeEvent>,
}

/// Makes any panic end the process. An actor that panics would vanish silently while the rest of its node goes on; a node
/// that stops can be started again. Panics that a store turns into errors pass.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !crate::store::redb::panics_are_contained() {
            report(panic);
            std::process::abort();
        }
    }));
}

/// A running node. Dropping this does not stop it: its actors live as long as the `LocalSet` that they run on.
#[derive(Clone)]
pub struct Node {
    id: NodeId,
    incarnation: Incarnation,
    epoch: Epoch,
    ledger: Addr<LedgerActor>,
    persistence: Addr<PersistenceActor>,
    links: BTreeMap<NodeId, LinkPort>,
    root: Addr<Root>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The node has stopped: it was halted, or its actors were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {0} is not running")]
pub struct NotRunning(pub NodeId);

impl Node {
    /// Recovers a node from its store and starts its roles on the current `LocalSet`.
    ///
    /// # Errors
    /// What the store says: it is damaged, it belongs to another bank, somebody else has it.
    pub async fn start(config: NodeConfig, seams: Seams) -> Result<Self, StoreError> {
        let Seams { mut store, network, mut entropy, events } = seams;
        let options = RecoverOptions {
            me: config.id,
            genesis: config.genesis.clone(),
            token: entropy.number(),
            incarnation: Incarnation(entropy.number()),
            ids_remembered_max: config.limits.ids_remembered_max,
        };
        let recovered = store.recover(options).await?;
        let Recovered { fresh, admitted, ref home, .. } = recovered;
        let (height, log) = (home.bank.height(), home.log.len());
        let kind = if admitted { "zombie" } else { "baby" };
        info!(node = %config.id, kind, fresh, height = height.0, log, epoch = recovered.epoch.number, "starting");
        if fresh {
            info!(node = %config.id, "the store was empty: a new one was made in it");
        }
        let what = Happened::Started { admitted, height, tip: home.bank.tip() };
        events.do_send(NodeEvent { node: config.id, what });
        wiring::wire(config, recovered, store, network, entropy, events)
    }

    /// Its name.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The incarnation of its store.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The epoch of its process.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where clients send transfers.
    pub fn submit(&self) -> Recipient<Submit> {
        self.ledger.clone().recipient()
    }

    /// Asks for a transfer out of an account of this home, and waits for the answer.
    ///
    /// # Errors
    /// [`NotRunning`] where the node stops before it answers: the outcome is unknown then.
    pub fn transfer(&self, request: Request) -> impl Future<Output = Result<Answer, NotRunning>> + use<> {
        self.ask(move |reply_to| Submit { requests: vec![(0, request)], reply_to })
    }

    /// Asks for the opening of an account of this home, and waits for the answer.
    ///
    /// # Errors
    /// As [`Node::transfer`].
    pub fn open(&self, opening: Opening) -> impl Future<Output = Result<Answer, NotRunning>> + use<> {
        self.ask(move |reply_to| SubmitOpening { tag: 0, opening, reply_to })
    }

    /// Asks the Ledger for one decision.
    fn ask<M, F>(&self, message: F) -> impl Future<Output = Result<Answer, NotRunning>> + use<M, F>
    where
        LedgerActor: Handler<M, Result = ()>,
        M: Message<Result = ()> + Send + 'static,
        F: FnOnce(Recipient<Answers>) -> M,
    {
        let (id, ledger) = (self.id, self.ledger.clone());
        async move {
            let (reply_to, answer) = oneshot::channel();
            let reply_to = Clerk(Some(reply_to)).start().recipient();
            ledger.send(message(reply_to)).await.map_err(|_| NotRunning(id))?;
            answer.await.map_err(|_| NotRunning(id))
        }
    }

    /// The network's way in, by peer.
    pub fn links(&self) -> &BTreeMap<NodeId, LinkPort> {
        &self.links
    }

    /// What the node knows of the bank, all of it durable.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub async fn bank(&self) -> Result<BankView, NotRunning> {
        let (reply_to, view) = oneshot::channel();
        self.ledger.send(ReadBank(reply_to)).await.map_err(|_| NotRunning(self.id))?;
        view.await.map_err(|_| NotRunning(self.id))
    }

    /// Blocks of the node's stored chain, about `bytes_max` bytes of them and at least one.
    ///
    /// # Errors
    /// [`NotRunning`]; inside, what the store says.
    pub async fn blocks(&self, from: Height, to: Height, bytes_max: usize) -> Result<BlocksRead, NotRunning> {
        let (reply_to, blocks) = oneshot::channel();
        let (request, reader) = (BlocksRequest { from, to }, BlocksReader::Blocks(reply_to));
        let read = ReadBlocks { request, bytes_max, reader };
        self.persistence.send(read).await.map_err(|_| NotRunning(self.id))?;
        blocks.await.map_err(|_| NotRunning(self.id))
    }

    /// What serves clients of this node; `status` is its Board.
    pub fn client_ports(&self, status: Recipient<ReadStatus>) -> Arc<ClientPorts> {
        Arc::new(ClientPorts {
            submit: self.ledger.clone().recipient(),
            open: self.ledger.clone().recipient(),
            stop_waiting: self.ledger.clone().recipient(),
            account: self.ledger.clone().recipient(),
            log: self.ledger.clone().recipient(),
            trace: self.ledger.clone().recipient(),
            collect: self.ledger.clone().recipient(),
            blocks: self.persistence.clone().recipient(),
            head: self.persistence.clone().recipient(),
            status,
        })
    }

    /// Runs a settlement now, if there is anything to settle.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub async fn settle(&self) -> Result<(), NotRunning> {
        self.ledger.send(SettleNow).await.map_err(|_| NotRunning(self.id))
    }

    /// Settles now what is unsettled at all nodes that can be reached; over once that is done.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub async fn collect(&self) -> Result<Collected, NotRunning> {
        let (reply_to, collected) = oneshot::channel();
        self.ledger.send(Collect(reply_to)).await.map_err(|_| NotRunning(self.id))?;
        collected.await.map_err(|_| NotRunning(self.id))
    }

    /// Writes nothing more, and lets go of the store; over once that is closed.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub async fn close_store(&self) -> Result<(), NotRunning> {
        let (reply_to, closed) = oneshot::channel();
        self.persistence.send(CloseStore(reply_to)).await.map_err(|_| NotRunning(self.id))?;
        closed.await.map_err(|_| NotRunning(self.id))
    }

    /// Stops all roles. What is not durable yet was promised to nobody.
    pub fn stop(&self) {
        self.root.do_send(Stop);
    }
}

/// Takes the one answer of one request. Where the ledger is gone, so is this address, and the asker learns of it.
struct Clerk(Option<oneshot::Sender<Answer>>);

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl Handler<Answers> for Clerk {
    type Result = ();

    fn handle(&mut self, Answers(answers): Answers, _: &mut Context<Self>) {
        for (_, answer) in answers {
            if let Some(reply_to) = self.0.take() {
                drop(reply_to.send(answer));
            }
        }
    }
}
