//! Blocks, the genesis they start from, and the hash chain between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::aside::Aside;
use super::entry::{OPERATION_BYTES_MAX, Run};
use crate::codec::{self, DecodeError};
use crate::types::{AccountId, Amount, Hash, Hasher, Height, NodeId};

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

/// Why bytes are not those of a block.
#[derive(Debug, thiserror::Error)]
pub enum BlockBytesError {
    /// Something else.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A block that cannot be.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Encoded in a way that takes more room than a block of that content may.
    #[error("a block is {bytes} bytes long, and {max} would do")]
    TooLong {
        /// How long they are.
        bytes: usize,
        /// The most that a block of that content takes.
        max: usize,
    },
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

    /// The block that these bytes hold. Nothing in them is trusted.
    ///
    /// # Errors
    /// What they hold instead, or why it is no block.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlockBytesError> {
        let block = Self::try_from(codec::decode::<BlockRecord>(bytes)?)?;
        // They are kept and sent on as they are.
        if bytes.len() > block.bytes_bound() {
            return Err(BlockBytesError::TooLong { bytes: bytes.len(), max: block.bytes_bound() });
        }
        Ok(Self { bytes: Aside(OnceLock::from(Box::from(bytes))), ..block })
    }

    /// Its encoded form.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.0.get_or_init(|| {
            let mut bytes = Vec::new();
            let Self { height, parent, state, hash, .. } = *self;
            codec::encode_into(&mut bytes, &BlockRecordOf { height, parent, state, runs: &self.runs, hash });
            bytes.into()
        })
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

/// The encoded form. The hash goes along, so that a block altered on its way is known as such.
#[derive(Deserialize)]
struct BlockRecord {
    height: Height,
    parent: Hash,
    state: Hash,
    runs: Vec<Run>,
    hash: Hash,
}

/// The same, of a block that stays.
#[derive(Serialize)]
struct BlockRecordOf<'a> {
    height: Height,
    parent: Hash,
    state: Hash,
    runs: &'a [Run],
    hash: Hash,
}

impl TryFrom<BlockRecord> for Block {
    type Error = BlockError;

    fn try_from(record: BlockRecord) -> Result<Self, BlockError> {
        let claimed = record.hash;
        let block = Self::new(record.height, record.parent, record.state, record.runs)?;
        if block.hash != claimed {
            return Err(BlockError::Hash { height: block.height, claimed, actual: block.hash });
        }
        Ok(block)
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlockVisitor)
    }
}

/// Takes a block's bytes, as messages hold it, or its fields, as the record of a vote does.
struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = Block;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Block, E> {
        Block::from_bytes(bytes).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Block, A::Error> {
        let record = BlockRecord::deserialize(MapAccessDeserializer::new(fields))?;
        Block::try_from(record).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Action, Operation};
    use crate::types::Seq;

    fn block(runs: Vec<Run>) -> Result<Block, BlockError> {
        Block::new(Height(1), Hash::ZERO, Hash::ZERO, runs)
    }

    fn run(origin: &str, amount: u64) -> Run {
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
    fn a_block_altered_on_its_way_does_not_decode() {
        let honest = block(vec![run("A", 5)]).unwrap();
        let Block { height, parent, state, hash, .. } = honest;
        let forged = [run("A", 6)];
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, &BlockRecordOf { height, parent, state, runs: &forged, hash });
        let error = Block::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, BlockBytesError::Block(BlockError::Hash { .. })), "{error}");
        let error = codec::decode::<Block>(&bytes).unwrap_err();
        assert!(error.to_string().contains("carries the hash"), "{error}");
    }

    #[test]
    fn a_block_is_its_bytes_in_a_message_and_is_read_with_its_fields_too() {
        let block = block(vec![run("A", 5)]).unwrap();
        let mut message = Vec::new();
        codec::encode_into(&mut message, &block);
        let read = codec::decode::<Block>(&message).unwrap();
        assert_eq!((&read, message.ends_with(block.bytes())), (&block, true));
        assert_eq!(read.bytes.0.get().map(|bytes| &bytes[..]), Some(block.bytes()), "it is not encoded again");
        assert_eq!(codec::decode::<Block>(block.bytes()).unwrap(), block);
        assert_eq!(Block::from_bytes(block.bytes()).unwrap(), block);
        for other in [&[0xc4, 0][..], &[0xc0], &[0x90], &[0xc4, 1, 0xc0]] {
            assert!(codec::decode::<Block>(other).is_err(), "{other:x?}");
        }
        assert!(codec::decode::<Block>(&[0xc0]).unwrap_err().to_string().contains("expected a block"));
    }

    #[test]
    fn bytes_that_are_longer_than_a_block_needs_are_refused() {
        let block = block(vec![run("A", 5)]).unwrap();
        let padded = |padding: usize| {
            // One field more, which nobody knows.
            let mut bytes = block.bytes().to_vec();
            bytes[0] += 1;
            codec::encode_into(&mut bytes, &"padding");
            codec::encode_into(&mut bytes, &"x".repeat(padding));
            bytes
        };
        let room = block.bytes_bound() + 300 - padded(300).len();
        assert_eq!(Block::from_bytes(&padded(room)).unwrap(), block);
        assert!(matches!(Block::from_bytes(&padded(room + 1)), Err(BlockBytesError::TooLong { .. })));
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
