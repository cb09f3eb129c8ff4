//! Blocks, the genesis they start from, and the hash chain between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::aside::Aside;
use super::entry::{OPERATION_BYTES_MAX, Run};
use crate::types::{AccountId, Amount, Hash, Hasher, Height, NodeId};

mod bytes;

pub use bytes::BlockBytesError;

/// What the bank starts from: its nodes and its opening balances. Its hash is the cluster id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "GenesisRecord", into = "GenesisRecord")]
pub struct Genesis {
    nodes: BTreeSet<NodeId>,
    opening: BTreeMap<AccountId, Amount>,
    total: Amount,
    id: Hash,
}

/// Why nodes and balances make no bank.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// An even number of nodes, or none.
    #[error("a cluster has an odd number of nodes, since one more would not stand one more failure; this one has {0}")]
    EvenNodes(usize),
    /// More nodes than the protocol's messages are sized for.
    #[error("a cluster has at most {NODES_MAX} nodes; this one has {0}")]
    TooManyNodes(usize),
    /// An account at a node that is not in the cluster.
    #[error("the account {0} has a home that is not a node of the cluster")]
    UnknownHome(AccountId),
    /// The sum of the opening balances does not fit.
    #[error("the opening balances add up to more than {max}, the most that fits", max = u64::MAX)]
    TotalTooLarge,
}

/// The most nodes a cluster may have.
pub const NODES_MAX: usize = 15;

impl Genesis {
    /// A bank of `nodes` (an odd number) with these opening balances. The sum of the balances must fit an [`Amount`]:
    /// then no later balance can overflow, since money is only moved (R12).
    pub fn new(
        nodes: impl IntoIterator<Item = NodeId>,
        opening: impl IntoIterator<Item = (AccountId, Amount)>,
    ) -> Result<Self, GenesisError> {
        let nodes: BTreeSet<_> = nodes.into_iter().collect();
        let opening: BTreeMap<_, _> = opening.into_iter().collect();
        if nodes.len() % 2 == 0 {
            return Err(GenesisError::EvenNodes(nodes.len()));
        }
        if nodes.len() > NODES_MAX {
            return Err(GenesisError::TooManyNodes(nodes.len()));
        }
        if let Some(account) = opening.keys().find(|account| !nodes.contains(&account.home())) {
            return Err(GenesisError::UnknownHome(*account));
        }
        let total = opening.values().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount));
        let total = total.ok_or(GenesisError::TotalTooLarge)?;
        let id = Self::hash(&nodes, &opening);
        Ok(Self { nodes, opening, total, id })
    }

    /// A bank in which every node has its own account with the same opening balance.
    pub fn with_equal_openings(nodes: impl IntoIterator<Item = NodeId>, opening: Amount) -> Result<Self, GenesisError> {
        let nodes: Vec<_> = nodes.into_iter().collect();
        Self::new(nodes.iter().copied(), nodes.iter().map(|node| (AccountId::of_node(*node), opening)))
    }

    /// The cluster's nodes, in order.
    pub fn nodes(&self) -> &BTreeSet<NodeId> {
        &self.nodes
    }

    /// The opening balances.
    pub fn opening(&self) -> &BTreeMap<AccountId, Amount> {
        &self.opening
    }

    /// The sum of all balances, at every height (R12).
    pub fn total(&self) -> Amount {
        self.total
    }

    /// How many nodes make a majority.
    pub fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// The cluster id, which is also the hash of block 0.
    pub fn id(&self) -> Hash {
        self.id
    }

    fn hash(nodes: &BTreeSet<NodeId>, opening: &BTreeMap<AccountId, Amount>) -> Hash {
        let mut hasher = Hasher::new("paxos-banking genesis 1");
        hasher.number(nodes.len() as u64);
        for node in nodes {
            hasher.text(node.as_str());
        }
        hasher.number(opening.len() as u64);
        for (account, amount) in opening {
            account.hash_into(&mut hasher);
            hasher.number(amount.units());
        }
        hasher.finish()
    }

    /// The state hash before any block.
    pub fn state_hash(&self) -> Hash {
        Hasher::new("paxos-banking state 1").hash(&self.id()).finish()
    }
}

#[derive(Serialize, Deserialize)]
struct GenesisRecord {
    nodes: Vec<NodeId>,
    opening: BTreeMap<AccountId, Amount>,
}

impl From<Genesis> for GenesisRecord {
    fn from(genesis: Genesis) -> Self {
        Self { nodes: genesis.nodes.into_iter().collect(), opening: genesis.opening }
    }
}

impl TryFrom<GenesisRecord> for Genesis {
    type Error = GenesisError;

    fn try_from(record: GenesisRecord) -> Result<Self, GenesisError> {
        Self::new(record.nodes, record.opening)
    }
}

/// A block of the chain: for each origin a run of entries, in origin order. Its hash covers height, parent, state and
/// runs, and no ballot: the same block re-proposed under another ballot is the same block.
///
/// In a message it is its [`Block::bytes`], as one value: it is encoded once, by the node that composed it, and what is
/// voted for, stored and sent on are those bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    height: Height,
    parent: Hash,
    state: Hash,
    runs: Vec<Run>,
    hash: Hash,
    /// What it was read from, or was encoded to when somebody asked first.
    bytes: Aside<OnceLock<Box<[u8]>>>,
}

/// Why bytes or parts are not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The hash that came with the block is not the hash of its content.
    #[error("block {height} carries the hash {claimed} but its content has {actual}")]
    Hash {
        /// The height that the block claims.
        height: Height,
        /// The hash that came with it.
        claimed: Hash,
        /// The hash of what came.
        actual: Hash,
    },
    /// Empty, or with runs that are empty or not in origin order.
    #[error("block {0} is not in its one proper form: runs in origin order, none empty, at least one")]
    Form(Height),
}

impl Block {
    /// The block at `height` over `parent`, `state` being the hash of the state after the parent. The runs must be in
    /// origin order, at least one, none empty.
    pub fn new(height: Height, parent: Hash, state: Hash, runs: Vec<Run>) -> Result<Self, BlockError> {
        let ordered = runs.windows(2).all(|pair| pair[0].origin < pair[1].origin);
        if height == Height(0) || runs.is_empty() || !ordered || runs.iter().any(|run| run.operations.is_empty()) {
            return Err(BlockError::Form(height));
        }
        let mut hasher = Hasher::new("paxos-banking block 1");
        hasher.number(height.0).hash(&parent).hash(&state).number(runs.len() as u64);
        for run in &runs {
            hasher.text(run.origin.as_str()).number(run.first.0).number(run.operations.len() as u64);
            run.operations.iter().for_each(|operation| operation.hash_into(&mut hasher));
        }
        let hash = hasher.finish();
        Ok(Self { height, parent, state, runs, hash, bytes: Aside::default() })
    }

    /// Its sequence number.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The hash of the block before it; the cluster id for block 1.
    pub fn parent(&self) -> Hash {
        self.parent
    }

    /// The hash of the state after its parent.
    pub fn state(&self) -> Hash {
        self.state
    }

    /// The entries it settles, by origin.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The entries of one origin, if it has any.
    pub fn run_of(&self, origin: NodeId) -> Option<&Run> {
        self.runs.iter().find(|run| run.origin == origin)
    }

    /// The hash of all of the above.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// How many entries it settles.
    pub fn entry_count(&self) -> usize {
        self.runs.iter().map(|run| run.operations.len()).sum()
    }

    /// An upper bound of the length of its [`Block::bytes`].
    pub fn bytes_bound(&self) -> usize {
        256 + self.runs.len() * 64 + self.entry_count() * OPERATION_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Action, Operation};
    use crate::types::Seq;

    pub(super) fn block(runs: Vec<Run>) -> Result<Block, BlockError> {
        Block::new(Height(1), Hash::ZERO, Hash::ZERO, runs)
    }

    pub(super) fn run(origin: &str, amount: u64) -> Run {
        let action =
            Action::Transfer { from: origin.parse().unwrap(), to: "Z".parse().unwrap(), amount: Amount::new(amount) };
        Run { origin: origin.parse().unwrap(), first: Seq(1), operations: vec![Operation { id: 1.into(), action }] }
    }

    #[test]
    fn a_block_has_one_proper_form() {
        let empty = Run { operations: Vec::new(), ..run("A", 1) };
        for runs in [vec![], vec![empty], vec![run("B", 1), run("A", 1)], vec![run("A", 1), run("A", 1)]] {
            assert_eq!(block(runs), Err(BlockError::Form(Height(1))));
        }
        assert!(block(vec![run("A", 1), run("B", 1)]).is_ok());
    }

    #[test]
    fn the_longest_block_keeps_within_its_bound_and_close_to_it() {
        let run = |node: usize, count: usize| {
            let origin: NodeId = format!("{node:n>16}").parse().unwrap();
            let account = AccountId::new(&"a".repeat(32), origin).unwrap();
            let action = Action::Transfer { from: account, to: account, amount: Amount::new(u64::MAX) };
            Run { origin, first: Seq(u64::MAX), operations: vec![Operation { id: u128::MAX.into(), action }; count] }
        };
        for (runs, count) in [(1, 1), (1, 100), (NODES_MAX, 1), (NODES_MAX, 20)] {
            let runs = (10..10 + runs).map(|node| run(node, count)).collect();
            let block = Block::new(Height(u64::MAX), Hash::ZERO, Hash::ZERO, runs).unwrap();
            let (size, bound) = (block.bytes().len(), block.bytes_bound());
            assert!(size <= bound && bound <= size + size / 8 + 128, "{size} bytes, bound by {bound}");
        }
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_nodes() {
        for (nodes, majority) in [(1, 1), (3, 2), (5, 3), (15, 8)] {
            let nodes = (0..nodes).map(|node| format!("n{node}").parse().unwrap());
            assert_eq!(Genesis::with_equal_openings(nodes, Amount::new(1)).unwrap().majority(), majority);
        }
    }

    #[test]
    fn the_cluster_id_depends_on_every_node_and_balance() {
        let nodes = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let genesis = |names: &[&str], opening| Genesis::with_equal_openings(nodes(names), Amount::new(opening));
        let abc = genesis(&["A", "B", "C"], 100).unwrap();
        assert_eq!(abc.id(), genesis(&["C", "A", "B"], 100).unwrap().id(), "the order of the flags is no matter");
        assert_ne!(abc.id(), genesis(&["A", "B", "C"], 101).unwrap().id());
        assert_ne!(abc.id(), genesis(&["A", "B", "D"], 100).unwrap().id());
        assert_eq!(genesis(&["A", "B"], 1), Err(GenesisError::EvenNodes(2)));
        assert_eq!(genesis(&["A", "B", "C"], u64::MAX), Err(GenesisError::TotalTooLarge));
    }
}
