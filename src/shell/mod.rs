//! The language of a prompt: the words of the command line, one command at a time. Pure: text goes in, commands come out,
//! and nothing is read, asked or printed here.
//!
//! ```
//! use paxos_banking::shell::{Command, Grammar, parse};
//!
//! let commands = parse("(A, B, 30)  # a bare triplet is a transfer\n", Grammar::Bank)?;
//! assert!(matches!(commands[..], [Command::Transfer { settled: false, .. }]));
//! assert!(parse("transfre A B 30", Grammar::Bank).unwrap_err().to_string().contains("did you mean transfer?"));
//! # Ok::<(), paxos_banking::shell::ParseError>(())
//! ```

mod complete;
mod parse;
mod words;

pub use complete::{Names, complete};
pub(crate) use parse::nearest;
pub use parse::{ParseError, parse, parse_each};
pub use words::{Word, help};

use crate::triplets::Triplet;
use crate::types::{AccountId, Height, NodeId, TransferId};

/// What can be said at a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// What a bank's clients can ask.
    Bank,
    /// And what can be done to nodes that are all in this process.
    Cluster,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Moves money.
    Transfer {
        /// From where to where, and how much.
        transfer: Triplet,
        /// Whether to wait for the block.
        settled: bool,
    },
    /// Opens an account.
    Open(AccountId),
    /// Tells what an account has.
    Balance(AccountId),
    /// Shows what a home approved and no block holds yet.
    Log(NodeId),
    /// Shows blocks.
    Chain {
        /// The first; 0 is the genesis.
        from: Height,
        /// The last; without it, the end of the chain.
        to: Option<Height>,
    },
    /// Tells what became of a transfer or an opening.
    Outcome(TransferId),
    /// Makes a block now.
    Settle,
    /// Tells how the nodes are.
    Status,
    /// Computes every node's chain again, and compares them.
    Verify,
    /// Explains one command, or lists all.
    Help(Option<&'static Word>),
    /// Ends the session.
    Quit,
    /// Crashes a node.
    Kill(NodeId),
    /// Starts a node that was killed, on what its store holds.
    Revive(NodeId),
    /// Cuts the nodes into groups that do not hear each other.
    Partition(Vec<Vec<NodeId>>),
    /// Ends the cut.
    Heal,
}

impl Command {
    /// The account that it debits.
    pub(crate) fn debit(&self) -> Option<AccountId> {
        match self {
            Self::Transfer { transfer, .. } => Some(transfer.from),
            _ => None,
        }
    }

    /// The accounts that it names.
    pub(crate) fn accounts(&self) -> Vec<AccountId> {
        match self {
            Self::Transfer { transfer, .. } => vec![transfer.from, transfer.to],
            Self::Open(account) | Self::Balance(account) => vec![*account],
            _ => Vec::new(),
        }
    }
}
