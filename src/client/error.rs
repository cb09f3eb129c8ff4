//! What a client is told, and why it may be told nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{Approval, Reason};
use crate::types::{Hash, NodeId, TransferId};
use crate::wire::client::{Failure, FailureCode};

/// What became of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Approved, and durable. Without a height it is not settled yet, as far as its home could say in time.
    Approved(Approval),
    /// Refused for good.
    Refused(Reason),
    /// Nobody knows here: it may have been executed, now or later. The same id, asked again, finds out.
    Unknown(Unknown),
}

/// A transfer whose outcome could not be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Its id, to be asked for again.
    pub id: TransferId,
    /// Why.
    pub why: Why,
}

/// Why an outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The deadline passed.
    #[error("no decision was heard within {within:?}{}", because(.last))]
    Deadline {
        /// How long was waited.
        within: Duration,
        /// What was wrong at the last try.
        last: Option<Arc<NodeError>>,
    },
    /// The bank no longer remembers ids that old of this account (R10); it will not execute it.
    #[error("the id is older than what its home remembers; it is not executed any more, look it up in the chain")]
    Expired,
    /// Whoever asked stopped waiting. No call of this library ends so: it is for callers that drop one.
    #[error("the wait was interrupted before a decision was heard")]
    Interrupted,
}

impl Why {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "deadline",
            Self::Expired => "expired",
            Self::Interrupted => "interrupted",
        }
    }
}

fn because(last: &Option<Arc<NodeError>>) -> String {
    last.as_ref().map(|error| format!("; {error}")).unwrap_or_default()
}

fn lines(errors: &[NodeError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Why the bank was not asked, or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No address to begin with.
    #[error("no address of a node is given")]
    NoAddress,
    /// No node that could answer was reached, and nothing was sent.
    #[error("{0}")]
    NoNode(Arc<NodeError>),
    /// The home was not ready at any try, so that it took nothing in: nothing was decided, nor will be.
    #[error("{0}; try again once it is ready")]
    NotReady(Arc<NodeError>),
    /// Another node or another bank is where this one was expected; nothing was sent.
    #[error("{0}")]
    WrongPlace(Arc<NodeError>),
    /// The bank has no such node; nothing was sent.
    #[error("{0}")]
    UnknownNode(Arc<NodeError>),
    /// The id was used before, for a transfer with another content. Nothing was executed for this one.
    #[error("the id {0} was used before for another transfer; draw a new id for a new transfer")]
    Conflict(TransferId),
    /// A node cannot answer such a question, now or later.
    #[error("{0}")]
    Failed(Arc<NodeError>),
    /// Nodes were reached, and none could answer in time.
    #[error("no answer in time: {0}")]
    Late(Arc<NodeError>),
}

impl ClientError {
    /// The error that `last` is in the end, for a question that may simply be asked again.
    pub(super) fn of(last: Arc<NodeError>) -> Self {
        match &*last {
            NodeError::WrongNode { .. } | NodeError::WrongCluster { .. } | NodeError::Version { .. } => {
                Self::WrongPlace(last)
            }
            NodeError::Unreachable { .. } | NodeError::Nobody { .. } | NodeError::NoAddress { .. } => {
                Self::NoNode(last)
            }
            NodeError::UnknownNode { .. } => Self::UnknownNode(last),
            NodeError::Failed { failure, .. } if !failure.code.may_be_retried() => Self::Failed(last),
            _ => Self::Late(last),
        }
    }

    /// Whether a node may have taken in what a call that ended so asked for.
    pub fn may_have_been_sent(&self) -> bool {
        !matches!(
            self,
            Self::NoAddress | Self::NoNode(_) | Self::NotReady(_) | Self::WrongPlace(_) | Self::UnknownNode(_)
        )
    }

    /// What was wrong at the node that was asked last.
    pub fn node_error(&self) -> Option<Arc<NodeError>> {
        match self {
            Self::NoAddress | Self::Conflict(_) => None,
            Self::NoNode(error)
            | Self::NotReady(error)
            | Self::WrongPlace(error)
            | Self::UnknownNode(error)
            | Self::Failed(error)
            | Self::Late(error) => Some(error.clone()),
        }
    }

    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAddress => "usage",
            Self::NoNode(_) => "no_node",
            Self::UnknownNode(_) => "unknown_node",
            Self::Conflict(_) => "conflict",
            Self::NotReady(error) | Self::WrongPlace(error) | Self::Failed(error) | Self::Late(error) => error.code(),
        }
    }
}

/// Why one node gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// It cannot be connected to.
    #[error("{address} cannot be reached: {why}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What the system said.
        why: String,
    },
    /// Several addresses, none of which leads anywhere.
    #[error("{}", lines(.failed))]
    Nobody {
        /// What is wrong with each.
        failed: Vec<NodeError>,
    },
    /// Another node answers there.
    #[error("{address} is said to be node {expected}, but node {found} answers there; the address is not used")]
    WrongNode {
        /// Where.
        address: String,
        /// Who was expected.
        expected: NodeId,
        /// Who it is.
        found: NodeId,
    },
    /// A node of another bank answers there.
    #[error("{address} is a node of the bank {found}, this client talks to the bank {expected}; it is not used")]
    WrongCluster {
        /// Where.
        address: String,
        /// The bank that the client talks to.
        expected: Hash,
        /// The bank that it belongs to.
        found: Hash,
    },
    /// It speaks another version.
    #[error("{address} does not speak the language of this client: {why}")]
    Version {
        /// Where.
        address: String,
        /// What it said.
        why: String,
    },
    /// The bank has no node of that name.
    #[error("this bank has no node {node}; it has {known}")]
    UnknownNode {
        /// The name.
        node: NodeId,
        /// Those that it has, for people.
        known: String,
    },
    /// Nobody who could be asked knows where it is.
    #[error("nobody who answers knows where node {node} listens for clients")]
    NoAddress {
        /// The node.
        node: NodeId,
    },
    /// The connection broke.
    #[error("the connection with node {node} broke: {why}")]
    Broken {
        /// The node.
        node: NodeId,
        /// What the system said.
        why: String,
    },
    /// It said something that cannot be an answer. The connection was closed.
    #[error("what node {node} says is no answer: {why}")]
    Garbled {
        /// The node.
        node: NodeId,
        /// What is wrong with it.
        why: String,
    },
    /// It did not answer in time.
    #[error("node {node} did not answer in time")]
    Silent {
        /// The node.
        node: NodeId,
    },
    /// It said why it has no answer.
    #[error("node {node}: {failure}")]
    Failed {
        /// The node.
        node: NodeId,
        /// What it said.
        failure: Failure,
    },
}

impl NodeError {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Nobody { .. } | Self::NoAddress { .. } => "unreachable",
            Self::WrongNode { .. } => "wrong_node",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::Version { .. } => "version",
            Self::UnknownNode { .. } => "unknown_node",
            Self::Broken { .. } => "broken",
            Self::Garbled { .. } => "garbled",
            Self::Silent { .. } => "timed_out",
            Self::Failed { failure, .. } => failure.code.name(),
        }
    }

    /// A failure that one transfer of many got.
    pub(super) fn undecided(node: NodeId, code: FailureCode, message: &str) -> Arc<Self> {
        Arc::new(Self::Failed { node, failure: Failure { code, message: message.to_owned() } })
    }
}
