//! The composition root: one node out of its roles. Example, binary and tests all start nodes here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Recipient};
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::actors::acceptor::AcceptorPorts;
use crate::actors::learner::LearnerPorts;
use crate::actors::ledger::LedgerPorts;
use crate::actors::links::{Inboxes, Links};
use crate::actors::message::{
    Answers, Applied, BankView, BlocksRead, Connected, Halt, Happened, Incoming, LinkChanged, NodeEvent, Outgoing,
    ReadBank, ReadBlocks, Ready, SettleNow, Stop, Submit,
};
use crate::actors::peer_link::PeerLinkPorts;
use crate::actors::persistence::PersistenceTiming;
use crate::actors::proposer::{ProposerPorts, ProposerTiming};
use crate::actors::reconcile::{ReconcilePorts, ReconcileTiming};
use crate::actors::{
    AcceptorActor, LearnerActor, LedgerActor, PeerLinkActor, PersistenceActor, ProposerActor, ReconcileActor,
};
use crate::entropy::Entropy;
use crate::handshake::{Identity, Link};
use crate::ledger::{Answer, Genesis, Home, HomeLimits, Request};
use crate::paxos::{Acceptor, BlocksRequest, Learner, Proposer};
use crate::reconcile::Reconcile;
use crate::store::{RecoverOptions, Recovered, StoreError, StoreHost};
use crate::types::{Epoch, Height, Incarnation, NodeId};

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
            persistence: PersistenceTiming { retry_min: ms(20), retry_max: ms(1_000) },
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

/// The network's way in to one link of a node.
#[derive(Clone)]
pub struct LinkPort {
    /// For messages of the peer.
    pub incoming: Recipient<Incoming>,
    /// For the state of the way to it.
    pub connected: Recipient<Connected>,
}

/// A running node. Dropping this does not stop it: its actors live as long as the `LocalSet` that they run on.
#[derive(Clone)]
pub struct Node {
    id: NodeId,
    incarnation: Incarnation,
    epoch: Epoch,
    ledger: Addr<LedgerActor>,
    persistence: Recipient<ReadBlocks>,
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
        info!(node = %config.id, kind, fresh, %height, log, epoch = recovered.epoch.number, "starting");
        wire(config, recovered, store, network, entropy, events)
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
        let (id, ledger) = (self.id, self.ledger.clone());
        async move {
            let (reply_to, answer) = oneshot::channel();
            let reply_to = Clerk(Some(reply_to)).start().recipient();
            let submit = Submit { requests: vec![(0, request)], reply_to };
            ledger.send(submit).await.map_err(|_| NotRunning(id))?;
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
        let read = ReadBlocks { request: BlocksRequest { from, to }, bytes_max, reply_to };
        self.persistence.send(read).await.map_err(|_| NotRunning(self.id))?;
        blocks.await.map_err(|_| NotRunning(self.id))
    }

    /// Runs a settlement now, if there is anything to settle.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub async fn settle(&self) -> Result<(), NotRunning> {
        self.ledger.send(SettleNow).await.map_err(|_| NotRunning(self.id))
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

/// Knows all roles of the node, so that one that halts takes the others with it.
struct Root {
    id: NodeId,
    voters: BTreeSet<NodeId>,
    roles: Vec<Recipient<Stop>>,
    events: Recipient<NodeEvent>,
}

impl Root {
    fn tell(&self, what: Happened) {
        // An observer that cannot keep up misses events; the node does not wait for it.
        drop(self.events.try_send(NodeEvent { node: self.id, what }));
    }
}

impl Actor for Root {
    type Context = Context<Self>;
}

impl Handler<Halt> for Root {
    type Result = ();

    fn handle(&mut self, Halt(reason): Halt, ctx: &mut Context<Self>) {
        error!(node = %self.id, "stopped for good: {reason}");
        self.roles.drain(..).for_each(|role| role.do_send(Stop));
        self.tell(Happened::Halted(reason));
        ctx.stop();
    }
}

impl Handler<Stop> for Root {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.roles.drain(..).for_each(|role| role.do_send(Stop));
        ctx.stop();
    }
}

impl Handler<Ready> for Root {
    type Result = ();

    fn handle(&mut self, _: Ready, _: &mut Context<Self>) {
        self.tell(Happened::Ready);
    }
}

impl Handler<LinkChanged> for Root {
    type Result = ();

    fn handle(&mut self, LinkChanged { peer, up, votes }: LinkChanged, _: &mut Context<Self>) {
        let changed = if up && votes { self.voters.insert(peer) } else { self.voters.remove(&peer) };
        if changed {
            self.tell(Happened::Voters(self.voters.clone()));
        }
    }
}

impl Handler<Applied> for Root {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, _: &mut Context<Self>) {
        self.tell(Happened::Applied(block));
    }
}

/// Gives every role its core, its neighbours and its address, then starts them.
fn wire(
    config: NodeConfig,
    recovered: Recovered,
    store: Box<dyn StoreHost>,
    network: Recipient<Outgoing>,
    mut entropy: Entropy,
    events: Recipient<NodeEvent>,
) -> Result<Node, StoreError> {
    let Recovered { epoch, incarnation, admitted, promise, slot, peers: known_peers, home, journal, .. } = recovered;
    let (me, timing, majority) = (config.id, config.timing, config.genesis.majority());
    let (height, tip) = (home.bank.height(), home.bank.tip());
    let peers: Vec<NodeId> = config.peers().collect();
    let damaged = |seq| StoreError::Corrupt {
        key: format!("log entry {seq}"),
        what: "the stored chain does not cover it".to_owned(),
    };
    let home = Home::new(me, majority, config.limits, home).map_err(damaged)?;

    // Addresses first, so that every role can be given all its neighbours before it starts.
    let root = Context::<Root>::new();
    let persistence = Context::<PersistenceActor>::new();
    let ledger = Context::<LedgerActor>::new();
    let acceptor = Context::<AcceptorActor>::new();
    let learner = Context::<LearnerActor>::new();
    let proposer = Context::<ProposerActor>::new();
    let reconcile = Context::<ReconcileActor>::new();
    let peer_links: BTreeMap<_, _> = peers.iter().map(|peer| (*peer, Context::<PeerLinkActor>::new())).collect();
    let (to_root, to_persistence, to_ledger) = (root.address(), persistence.address(), ledger.address());
    let (to_acceptor, to_learner) = (acceptor.address(), learner.address());
    let (to_proposer, to_reconcile) = (proposer.address(), reconcile.address());
    let to_links: BTreeMap<_, _> = peer_links.iter().map(|(peer, link)| (*peer, link.address())).collect();

    let inboxes = Inboxes {
        prepare: to_acceptor.clone().recipient(),
        promise: to_proposer.clone().recipient(),
        accept: to_acceptor.clone().recipient(),
        accepted: to_learner.clone().recipient(),
        commit: to_learner.clone().recipient(),
        nack: to_proposer.clone().recipient(),
        idle: [to_acceptor.clone().recipient(), to_proposer.clone().recipient()],
        entry_failed: to_ledger.clone().recipient(),
        reconcile_request: to_reconcile.clone().recipient(),
        reconcile_ack: to_reconcile.clone().recipient(),
        blocks_request: to_reconcile.clone().recipient(),
        blocks_response: to_reconcile.clone().recipient(),
    };
    let transmit = to_links.iter().map(|(peer, link)| (*peer, link.clone().recipient())).collect();
    let links = Links { me, inboxes: inboxes.clone(), peers: transmit };

    // The acceptor hears of a block first: it clears its vote before anything else happens at the new height.
    let mut applied: Vec<Recipient<Applied>> = vec![
        to_acceptor.clone().recipient(),
        to_learner.clone().recipient(),
        to_proposer.clone().recipient(),
        to_reconcile.clone().recipient(),
    ];
    applied.extend(to_links.values().map(|link| link.clone().recipient()));
    applied.push(to_root.clone().recipient());

    let ports = LedgerPorts {
        persistence: to_persistence.clone().recipient(),
        acceptor: to_acceptor.clone().recipient(),
        settle: to_proposer.clone().recipient(),
        composed: to_proposer.clone().recipient(),
        applied,
        node: to_root.clone().recipient(),
    };
    ledger.run(LedgerActor::new(me, home, ports, to_ledger.clone().recipient(), timing.settle_age));

    let ports = AcceptorPorts {
        persistence: to_persistence.clone().recipient(),
        ledger: to_ledger.clone().recipient(),
        learner: to_learner.clone().recipient(),
        proposer: to_proposer.clone().recipient(),
        settle: to_proposer.clone().recipient(),
        reconcile: to_reconcile.clone().recipient(),
        node: to_root.clone().recipient(),
        links: links.clone(),
    };
    let core = Acceptor::new(me, admitted, promise, slot.clone());
    acceptor.run(AcceptorActor::new(core, height, ports, to_acceptor.clone().recipient(), timing.watch));

    let ports = LearnerPorts {
        ledger: to_ledger.clone().recipient(),
        reconcile: to_reconcile.clone().recipient(),
        node: to_root.clone().recipient(),
        links: links.clone(),
    };
    let core = Learner::new(peers.iter().copied(), majority, height, tip, slot.as_ref());
    learner.run(LearnerActor::new(core, ports));

    let ports = ProposerPorts {
        compose: to_ledger.clone().recipient(),
        done: to_ledger.clone().recipient(),
        learner: to_learner.clone().recipient(),
        reconcile: to_reconcile.clone().recipient(),
        node: to_root.clone().recipient(),
        links: links.clone(),
    };
    let core = Proposer::new(me, peers.iter().copied(), majority, height, promise);
    proposer.run(ProposerActor::new(core, ports, timing.proposer, entropy.split()));

    let mut to_admit = vec![to_acceptor.clone().recipient()];
    to_admit.extend(to_links.values().map(|link| link.clone().recipient()));
    let ports = ReconcilePorts {
        persistence: to_persistence.clone().recipient(),
        blocks: to_persistence.clone().recipient(),
        fetched: to_learner.clone().recipient(),
        compare: to_learner.clone().recipient(),
        admitted: to_admit,
        ready: vec![to_ledger.clone().recipient(), to_root.clone().recipient()],
        node: to_root.clone().recipient(),
        links: links.clone(),
    };
    let who = peers.iter().copied();
    let core = Reconcile::new(incarnation, who, majority, admitted, config.force_admission, (height, tip));
    reconcile.run(ReconcileActor::new(core, ports, to_reconcile.clone().recipient(), timing.reconcile));

    let identity = Identity {
        node: me,
        cluster: config.genesis.id(),
        nodes: config.genesis.nodes().clone(),
        incarnation,
        epoch,
        client_address: config.client_address,
    };
    let mut ways_in = BTreeMap::new();
    let mut roles: Vec<Recipient<Stop>> = vec![
        to_ledger.clone().recipient(),
        to_acceptor.clone().recipient(),
        to_learner.recipient(),
        to_proposer.clone().recipient(),
        to_reconcile.clone().recipient(),
    ];
    for (peer, context) in peer_links {
        let ports = PeerLinkPorts {
            persistence: to_persistence.clone().recipient(),
            inboxes: inboxes.clone(),
            hello: to_reconcile.clone().recipient(),
            witness: vec![to_ledger.clone().recipient(), to_acceptor.clone().recipient()],
            changed: vec![
                to_proposer.clone().recipient(),
                to_reconcile.clone().recipient(),
                to_root.clone().recipient(),
            ],
            network: network.clone(),
            node: to_root.clone().recipient(),
        };
        let core = Link::new(identity.clone(), peer, admitted, height, known_peers.get(&peer).copied());
        let link = &to_links[&peer];
        let own = link.clone().recipient();
        context.run(PeerLinkActor::new((me, epoch, peer), core, ports, own, timing.heartbeat));
        let port = LinkPort { incoming: link.clone().recipient(), connected: link.clone().recipient() };
        ways_in.insert(peer, port);
        roles.push(link.clone().recipient());
    }
    // Last of all: what the other roles promised may still be on its way to the disk when they stop.
    roles.push(to_persistence.clone().recipient());
    persistence.run(PersistenceActor::new(store, journal, to_root.clone().recipient(), timing.persistence));
    let to_root = root.run(Root { id: me, voters: BTreeSet::new(), roles, events });
    Ok(Node {
        id: me,
        incarnation,
        epoch,
        ledger: to_ledger,
        persistence: to_persistence.recipient(),
        links: ways_in,
        root: to_root,
    })
}
