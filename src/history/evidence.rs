//! What a history is held against, and what excuses a node.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use super::{Content, Violation};
use crate::ledger::Entry;
use crate::types::{Height, NodeId, Seq};

/// What became an entry: which one, with which content, and the height where it is settled.
pub type Executed = (NodeId, Seq, Content, Option<Height>);

/// What the bank holds once the history is over.
pub struct Evidence<'a> {
    /// The longest chain.
    pub chain: &'a Chain,
    /// What is not settled, of each home that was heard.
    pub logs: BTreeMap<NodeId, Vec<Entry>>,
    /// The nodes that were not heard: of what they approved, only that is known which is in the chain.
    pub not_heard: BTreeSet<NodeId>,
}

/// What is known to have happened to nodes, and excuses them.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    /// Nodes whose store was lost, and what they had approved and not settled with it.
    pub destroyed: BTreeSet<NodeId>,
    /// Of each node from when to when two processes of it ran at once: until the older one notices, it tells what it
    /// knows.
    pub doubled: BTreeMap<NodeId, Vec<(u64, u64)>>,
}

impl Exempt {
    /// Whether two processes of a node ran at once at any time from `called` to `returned`.
    pub fn was_doubled(&self, node: NodeId, called: u64, returned: u64) -> bool {
        self.doubled.get(&node).into_iter().flatten().any(|(from, to)| *from <= returned && called <= *to)
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Judged {
    /// What must never be, and was.
    pub violations: Vec<Violation>,
    /// How many answers nobody can judge, because the node that gave them was not heard in the end.
    pub open: u64,
}
