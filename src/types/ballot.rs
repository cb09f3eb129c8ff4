//! Numbers of the protocol: heights, seqs, ballots, and what tells one process or disk from another.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NodeId;

/// A block's sequence number; genesis is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    /// The height of the next block.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An entry's number among those of its origin: dense, from 1. As a watermark, 0 says "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The seq after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The seq `count` places further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Number of a proposer's collection of logs, dense within one process. With the ballot it names one PREPARE for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionNumber(pub u64);

/// A proposal number: ordered by round, then by node; global over heights (Lamport, *Paxos Made Simple*, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Counts up; the larger round wins.
    pub round: u64,
    /// The proposer that owns this ballot.
    pub node: NodeId,
}

impl Ballot {
    /// The lowest ballot of `node` that is above `other`, or its first where there is none.
    #[must_use]
    pub fn above(other: Option<Self>, node: NodeId) -> Self {
        Self { round: other.map_or(0, |ballot| ballot.round) + 1, node }
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

/// A random number drawn when a store is created: another one under the same node name is a lost disk (R11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which process owns a store: the number rises at each start, the token tells two that drew the same number apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Raised by each process that takes the store over.
    pub number: u64,
    /// Drawn at process start.
    pub token: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_order_by_round_before_node() {
        let ballot = |round, node: &str| Ballot { round, node: node.parse().unwrap() };
        assert!(ballot(1, "B") < ballot(2, "A"));
        assert!(ballot(1, "A") < ballot(1, "B"));
        assert_eq!(Ballot::above(Some(ballot(7, "C")), "A".parse().unwrap()), ballot(8, "A"));
        assert!(None < Some(ballot(0, "A")), "a ballot is above no ballot");
    }
}
