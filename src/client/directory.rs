//! Which node is where: learned from the nodes themselves, one live connection for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, locked};
use super::error::NodeError;
use crate::types::{Hash, NodeId};
use crate::wire::client::{Ask, Told, Welcome};

/// Addresses that are remembered beside those given: two for each node of the largest cluster.
const LEARNED_MAX: usize = 32;

pub(super) struct Directory {
    given: Vec<String>,
    connect_within: Duration,
    known: Mutex<Known>,
    /// One search for a node at a time; who comes meanwhile finds what it found.
    searches: Mutex<BTreeMap<Option<NodeId>, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
struct Known {
    /// The bank that this client talks to: as configured, or that of the first node that answered.
    cluster: Option<Hash>,
    /// All nodes of the bank, each with the address where it was last said to be.
    homes: BTreeMap<NodeId, Option<String>>,
    live: BTreeMap<NodeId, Arc<Connection>>,
}

/// A node that was not found.
pub(super) struct NotFound {
    pub(super) error: Arc<NodeError>,
    /// Whether there is no use in looking again.
    pub(super) for_good: bool,
}

impl Directory {
    pub(super) fn new(given: Vec<String>, cluster: Option<Hash>, connect_within: Duration) -> Self {
        let known = Known { cluster, ..Known::default() };
        Self { given, connect_within, known: Mutex::new(known), searches: Mutex::default() }
    }

    pub(super) fn given(&self) -> &[String] {
        &self.given
    }

    pub(super) fn cluster(&self) -> Option<Hash> {
        locked(&self.known).cluster
    }

    /// All nodes of the bank, each with the address where it was last said to be; empty before any node was reached.
    pub(super) fn homes(&self) -> BTreeMap<NodeId, Option<String>> {
        locked(&self.known).homes.clone()
    }

    fn live(&self, wanted: Option<NodeId>) -> Option<Arc<Connection>> {
        let mut known = locked(&self.known);
        known.live.retain(|_, connection| connection.is_live());
        match wanted {
            Some(node) => known.live.get(&node).cloned(),
            None => known.live.values().next().cloned(),
        }
    }

    /// Whether no node is connected with.
    pub(super) fn is_lonely(&self) -> bool {
        self.live(None).is_none()
    }

    /// The node to ask where `node` did not answer: each in its turn.
    pub(super) fn after(&self, node: Option<NodeId>) -> Option<NodeId> {
        let known = locked(&self.known);
        let next = node.and_then(|node| known.homes.keys().find(|other| **other > node));
        next.or_else(|| known.homes.keys().next()).copied()
    }

    /// A live connection with `wanted`, or with any node: one that there is, else one to where the node was last, else
    /// wherever any of the known addresses leads to.
    pub(super) async fn connection(&self, wanted: Option<NodeId>, until: Instant) -> Result<Arc<Connection>, NotFound> {
        if let Some(connection) = self.live(wanted) {
            return Ok(connection);
        }
        let homes = self.homes();
        if let Some(node) = wanted.filter(|node| !homes.is_empty() && !homes.contains_key(node)) {
            return Err(unknown(node, &homes));
        }
        let search = locked(&self.searches).entry(wanted).or_default().clone();
        let Ok(_alone) = timeout_at(until, search.lock()).await else {
            let error = wanted.map_or_else(no_address, |node| NodeError::Silent { node });
            return Err(NotFound { error: Arc::new(error), for_good: false });
        };
        if let Some(connection) = self.live(wanted) {
            return Ok(connection);
        }
        let homes = self.homes();
        let Some(node) = wanted else { return self.search(None, BTreeSet::new(), None, until).await };
        let mut last = None;
        let mut tried = BTreeSet::new();
        if let Some(Some(address)) = homes.get(&node) {
            match self.open(address, Some(node), until).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
            tried.insert(address.clone());
        }
        let found = self.search(wanted, tried, last, until).await;
        let homes = self.homes();
        if found.is_err() && !homes.is_empty() && !homes.contains_key(&node) {
            return Err(unknown(node, &homes));
        }
        found
    }

    /// Asks at all addresses at once, those that are heard of meanwhile included, until one leads to `wanted`.
    async fn search(
        &self,
        wanted: Option<NodeId>,
        mut tried: BTreeSet<String>,
        last: Option<NodeError>,
        until: Instant,
    ) -> Result<Arc<Connection>, NotFound> {
        let mut worst = last.map(|error| (rank(&error) + 1, Arc::new(error)));
        let mut unreachable = BTreeMap::new();
        let mut looks = FuturesUnordered::new();
        loop {
            for (address, expected) in self.addresses() {
                if tried.insert(address.clone()) {
                    looks.push(async move { (expected, self.look(&address, expected, until).await) });
                }
            }
            let Some((expected, looked)) = looks.next().await else { break };
            match looked {
                Ok(connection) if wanted.is_none_or(|node| node == connection.node()) => return Ok(connection),
                Ok(_) => {}
                Err(error) => {
                    // A stranger at one address is no reason to give up a node that may be at another.
                    let about_wanted = expected.is_some() && expected == wanted;
                    let rank = if about_wanted { rank(&error) + 1 } else { rank(&error) };
                    if let NodeError::Unreachable { address, why } = &error {
                        unreachable.insert(address.clone(), why.clone());
                    }
                    if worst.as_ref().is_none_or(|(worst, _)| *worst < rank) {
                        worst = Some((rank, Arc::new(error)));
                    }
                }
            }
        }
        let nobody = self.homes().is_empty();
        if let Some((_, error)) = worst.as_mut().filter(|_| nobody && tried.len() > 1)
            && let NodeError::Unreachable { why, .. } = &**error
        {
            // Nobody answers at all: it is for all addresses to be looked after.
            let address = tried.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            *error = Arc::new(NodeError::Unreachable { address, why: why.clone() });
        }
        if let (Some((0, error)), Some(node), false) = (worst.as_mut(), wanted, nobody) {
            // Where the node is, or else may be: an address that is another's says nothing of it.
            *error = Arc::new(self.nowhere(node, unreachable));
        }
        let for_good =
            worst.as_ref().is_some_and(|(rank, _)| *rank > RANK_STRANGER || (*rank == RANK_STRANGER && nobody));
        let error = match (worst, wanted) {
            (Some((_, error)), _) => error,
            (None, Some(node)) => Arc::new(NodeError::NoAddress { node }),
            (None, None) => Arc::new(no_address()),
        };
        Err(NotFound { error, for_good })
    }

    /// Why `node` is not found, which is at none of the addresses that lead somewhere.
    fn nowhere(&self, node: NodeId, mut unreachable: BTreeMap<String, String>) -> NodeError {
        let homes = self.homes();
        // It may have been said only after that address was tried, as one of those given.
        if let Some(address) = homes.get(&node).cloned().flatten()
            && let Some(why) = unreachable.remove(&address)
        {
            return NodeError::Unreachable { address, why };
        }
        unreachable.retain(|address, _| homes.values().flatten().all(|known| known != address));
        let Some(why) = unreachable.values().next().cloned() else { return NodeError::NoAddress { node } };
        NodeError::Unreachable { address: unreachable.into_keys().collect::<Vec<_>>().join(", "), why }
    }

    /// All known addresses, each with the node that was said to be there.
    fn addresses(&self) -> Vec<(String, Option<NodeId>)> {
        let homes = self.homes();
        let learned = homes.into_iter().filter_map(|(node, address)| Some((address?, Some(node))));
        // Whoever was given is taken for whoever it is.
        let given = self.given.iter().map(|address| (address.clone(), None));
        given.chain(learned.take(LEARNED_MAX)).collect()
    }

    /// Hears who is at an address, and where that one believes the others to be.
    async fn look(
        &self,
        address: &str,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<Arc<Connection>, NodeError> {
        let at = locked(&self.known).live.values().find(|connection| connection.address() == address).cloned();
        let Some(connection) = at.filter(|connection| connection.is_live()) else {
            return self.open(address, expected, until).await;
        };
        let soon = until.min(Instant::now() + self.connect_within);
        if let Ok(Told::Status(status)) = connection.ask(soon, |_| Ask::Status).await {
            self.learn(connection.node(), status.homes);
        }
        Ok(connection)
    }

    /// Connects with whoever is at `address`, which must be `expected` and of this bank.
    pub(super) async fn open(
        &self,
        address: &str,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<Arc<Connection>, NodeError> {
        let within = self.connect_within.min(until.saturating_duration_since(Instant::now()));
        let (connection, Welcome { node, cluster: found, homes, .. }) = Connection::open(address, within).await?;
        if let Some(expected) = expected.filter(|expected| *expected != node) {
            return Err(NodeError::WrongNode { address: address.to_owned(), expected, found: node });
        }
        let connection = {
            let mut known = locked(&self.known);
            let expected = *known.cluster.get_or_insert(found);
            if expected != found {
                return Err(NodeError::WrongCluster { address: address.to_owned(), expected, found });
            }
            match known.live.get(&node).filter(|live| live.is_live()) {
                Some(live) => live.clone(),
                None => {
                    let connection = Arc::new(connection);
                    known.live.insert(node, connection.clone());
                    connection
                }
            }
        };
        self.learn(node, homes);
        locked(&self.known).homes.insert(node, Some(connection.address().to_owned()));
        Ok(connection)
    }

    /// Takes over what one node says of the others' addresses. Where a node is connected with, that is known better.
    pub(super) fn learn(&self, teller: NodeId, homes: BTreeMap<NodeId, Option<String>>) {
        let mut known = locked(&self.known);
        for (node, address) in homes {
            let certain = node == teller || known.live.get(&node).is_some_and(|connection| connection.is_live());
            let entry = known.homes.entry(node).or_default();
            if !certain && address.is_some() {
                *entry = address;
            }
        }
    }
}

fn no_address() -> NodeError {
    NodeError::Unreachable { address: "the bank".to_owned(), why: "no address was left to try in time".to_owned() }
}

fn unknown(node: NodeId, homes: &BTreeMap<NodeId, Option<String>>) -> NotFound {
    let known: Vec<_> = homes.keys().map(NodeId::as_str).collect();
    let error = Arc::new(NodeError::UnknownNode { node, known: known.join(", ") });
    NotFound { error, for_good: true }
}

/// The rank of an error that no waiting mends.
const RANK_STRANGER: u8 = 4;

/// How much an error tells about why a node is not found; one more where it is about that very node.
fn rank(error: &NodeError) -> u8 {
    match error {
        NodeError::WrongCluster { .. } | NodeError::Version { .. } => RANK_STRANGER,
        NodeError::WrongNode { .. } => 2,
        _ => 0,
    }
}
