//! How the roles of a node find each other: every role has its address before any of them starts.

use std::collections::{BTreeMap, BTreeSet};

use actix::{Addr, AsyncContext, Context, Recipient};

use super::root::Root;
use super::{LinkPort, Node, NodeConfig};
use crate::actors::acceptor::AcceptorPorts;
use crate::actors::learner::LearnerPorts;
use crate::actors::ledger::LedgerPorts;
use crate::actors::links::{Inboxes, Links};
use crate::actors::message::{Applied, NodeEvent, Outgoing, Stop};
use crate::actors::peer_link::PeerLinkPorts;
use crate::actors::proposer::ProposerPorts;
use crate::actors::reconcile::ReconcilePorts;
use crate::actors::{
    AcceptorActor, LearnerActor, LedgerActor, PeerLinkActor, PersistenceActor, ProposerActor, ReconcileActor,
};
use crate::entropy::Entropy;
use crate::handshake::{Identity, Link};
use crate::ledger::Home;
use crate::paxos::{Acceptor, Learner, Proposer};
use crate::reconcile::Reconcile;
use crate::store::{Recovered, StoreError, StoreHost};
use crate::types::NodeId;

/// Where each role of the node is reached.
struct Addresses {
    me: NodeId,
    root: Addr<Root>,
    persistence: Addr<PersistenceActor>,
    ledger: Addr<LedgerActor>,
    acceptor: Addr<AcceptorActor>,
    learner: Addr<LearnerActor>,
    proposer: Addr<ProposerActor>,
    reconcile: Addr<ReconcileActor>,
    links: BTreeMap<NodeId, Addr<PeerLinkActor>>,
}

/// Gives every role its core, its neighbours and its address, then starts them.
pub(super) fn wire(
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

    let (root, persistence) = (Context::<Root>::new(), Context::<PersistenceActor>::new());
    let (ledger, acceptor) = (Context::<LedgerActor>::new(), Context::<AcceptorActor>::new());
    let (learner, proposer) = (Context::<LearnerActor>::new(), Context::<ProposerActor>::new());
    let reconcile = Context::<ReconcileActor>::new();
    let links: BTreeMap<_, _> = peers.iter().map(|peer| (*peer, Context::<PeerLinkActor>::new())).collect();
    let at = Addresses {
        me,
        root: root.address(),
        persistence: persistence.address(),
        ledger: ledger.address(),
        acceptor: acceptor.address(),
        learner: learner.address(),
        proposer: proposer.address(),
        reconcile: reconcile.address(),
        links: links.iter().map(|(peer, link)| (*peer, link.address())).collect(),
    };

    ledger.run(LedgerActor::new(me, home, at.ledger_ports(), at.ledger.clone().recipient(), timing.settle_age));
    let core = Acceptor::new(me, admitted, promise, slot.clone());
    let own = at.acceptor.clone().recipient();
    acceptor.run(AcceptorActor::new(core, height, at.acceptor_ports(), own, timing.watch));
    let core = Learner::new(peers.iter().copied(), majority, height, tip, slot.as_ref());
    let core = core.with_unapplied_max(config.limits.unapplied_max);
    learner.run(LearnerActor::new(core, at.learner_ports()));
    let core = Proposer::new(me, peers.iter().copied(), majority, height, promise);
    proposer.run(ProposerActor::new(core, at.proposer_ports(), timing.proposer, entropy.split()));
    let who = peers.iter().copied();
    let core = Reconcile::new(incarnation, who, majority, admitted, config.force_admission, (height, tip));
    let own = at.reconcile.clone().recipient();
    reconcile.run(ReconcileActor::new(core, at.reconcile_ports(), own, timing.reconcile));
    let (cluster, nodes) = (config.genesis.id(), config.genesis.nodes().clone());
    let identity = Identity { node: me, cluster, nodes, incarnation, epoch, client_address: config.client_address };
    for (peer, link) in links {
        let core = Link::new(identity.clone(), peer, admitted, height, known_peers.get(&peer).copied());
        let own = at.links[&peer].clone().recipient();
        let ports = at.peer_link_ports(network.clone());
        link.run(PeerLinkActor::new((me, epoch, peer), core, ports, own, timing.heartbeat));
    }
    let own = at.root.clone().recipient();
    persistence.run(PersistenceActor::new(store, journal, own, timing.persistence));
    root.run(Root { id: me, voters: BTreeSet::new(), roles: at.roles(), events });
    Ok(Node {
        id: me,
        incarnation,
        epoch,
        links: at.ways_in(),
        ledger: at.ledger,
        persistence: at.persistence,
        root: at.root,
    })
}

impl Addresses {
    /// Which role takes which message of a peer's.
    fn inboxes(&self) -> Inboxes {
        Inboxes {
            prepare: self.acceptor.clone().recipient(),
            promise: self.proposer.clone().recipient(),
            accept: self.acceptor.clone().recipient(),
            accepted: self.learner.clone().recipient(),
            commit: self.learner.clone().recipient(),
            nack: self.proposer.clone().recipient(),
            idle: [self.acceptor.clone().recipient(), self.proposer.clone().recipient()],
            entry_failed: self.ledger.clone().recipient(),
            reconcile_request: self.reconcile.clone().recipient(),
            reconcile_ack: self.reconcile.clone().recipient(),
            blocks_request: self.reconcile.clone().recipient(),
            blocks_response: self.reconcile.clone().recipient(),
        }
    }

    fn links(&self) -> Links {
        let peers = self.links.iter().map(|(peer, link)| (*peer, link.clone().recipient())).collect();
        Links { me: self.me, inboxes: self.inboxes(), peers }
    }

    fn ledger_ports(&self) -> LedgerPorts {
        // The acceptor hears of a block first: it clears its vote before anything else happens at the new height.
        let mut applied: Vec<Recipient<Applied>> = vec![
            self.acceptor.clone().recipient(),
            self.learner.clone().recipient(),
            self.proposer.clone().recipient(),
            self.reconcile.clone().recipient(),
        ];
        applied.extend(self.links.values().map(|link| link.clone().recipient()));
        applied.push(self.root.clone().recipient());
        LedgerPorts {
            persistence: self.persistence.clone().recipient(),
            acceptor: self.acceptor.clone().recipient(),
            settle: self.proposer.clone().recipient(),
            composed: self.proposer.clone().recipient(),
            applied,
            node: self.root.clone().recipient(),
        }
    }

    fn acceptor_ports(&self) -> AcceptorPorts {
        AcceptorPorts {
            persistence: self.persistence.clone().recipient(),
            ledger: self.ledger.clone().recipient(),
            learner: self.learner.clone().recipient(),
            proposer: self.proposer.clone().recipient(),
            settle: self.proposer.clone().recipient(),
            reconcile: self.reconcile.clone().recipient(),
            node: self.root.clone().recipient(),
            links: self.links(),
        }
    }

    fn learner_ports(&self) -> LearnerPorts {
        LearnerPorts {
            ledger: self.ledger.clone().recipient(),
            reconcile: self.reconcile.clone().recipient(),
            node: self.root.clone().recipient(),
            links: self.links(),
        }
    }

    fn proposer_ports(&self) -> ProposerPorts {
        ProposerPorts {
            compose: self.ledger.clone().recipient(),
            done: self.ledger.clone().recipient(),
            learner: self.learner.clone().recipient(),
            reconcile: self.reconcile.clone().recipient(),
            node: self.root.clone().recipient(),
            links: self.links(),
        }
    }

    fn reconcile_ports(&self) -> ReconcilePorts {
        let mut admitted = vec![self.acceptor.clone().recipient()];
        admitted.extend(self.links.values().map(|link| link.clone().recipient()));
        admitted.push(self.root.clone().recipient());
        ReconcilePorts {
            persistence: self.persistence.clone().recipient(),
            blocks: self.persistence.clone().recipient(),
            fetched: self.learner.clone().recipient(),
            compare: self.learner.clone().recipient(),
            admitted,
            ready: vec![self.ledger.clone().recipient(), self.root.clone().recipient()],
            node: self.root.clone().recipient(),
            links: self.links(),
        }
    }

    fn peer_link_ports(&self, network: Recipient<Outgoing>) -> PeerLinkPorts {
        PeerLinkPorts {
            persistence: self.persistence.clone().recipient(),
            inboxes: self.inboxes(),
            hello: vec![self.reconcile.clone().recipient(), self.root.clone().recipient()],
            witness: vec![self.ledger.clone().recipient(), self.acceptor.clone().recipient()],
            changed: vec![
                self.proposer.clone().recipient(),
                self.reconcile.clone().recipient(),
                self.root.clone().recipient(),
            ],
            network,
            node: self.root.clone().recipient(),
        }
    }

    /// The network's way in to each link.
    fn ways_in(&self) -> BTreeMap<NodeId, LinkPort> {
        let way_in = |link: &Addr<PeerLinkActor>| LinkPort {
            incoming: link.clone().recipient(),
            introduce: link.clone().recipient(),
            introduced: link.clone().recipient(),
            connected: link.clone().recipient(),
        };
        self.links.iter().map(|(peer, link)| (*peer, way_in(link))).collect()
    }

    /// All roles, Persistence last: what the others asked it to write may still be on its way when they stop.
    fn roles(&self) -> Vec<Recipient<Stop>> {
        let mut roles: Vec<Recipient<Stop>> = vec![
            self.ledger.clone().recipient(),
            self.acceptor.clone().recipient(),
            self.learner.clone().recipient(),
            self.proposer.clone().recipient(),
            self.reconcile.clone().recipient(),
        ];
        roles.extend(self.links.values().map(|link| link.clone().recipient()));
        roles.push(self.persistence.clone().recipient());
        roles
    }
}
