//! What clients ask of a home, and what it answers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};

/// Until when a client wants to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Until the entry is durable at home.
    #[default]
    Local,
    /// Until the home has durably applied the block that holds it.
    Settled,
}

/// A transfer as a client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Kept through retries; with the debit account it is the request's identity (R10).
    pub id: TransferId,
    /// The account to debit; its home decides.
    pub from: AccountId,
    /// The account to credit.
    pub to: AccountId,
    /// How much, in the smallest unit.
    pub amount: Amount,
    /// What to wait for.
    pub wait: Wait,
}

/// The opening of an account as a client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// Kept through retries; with the account it is the opening's identity, as the debit account is with a transfer's
    /// (R10).
    pub id: TransferId,
    /// The new account; its home decides.
    pub account: AccountId,
    /// What to wait for.
    pub wait: Wait,
}

/// Where the answer goes. The core hands it back untouched: `batch` and `index` are the asker's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Number of the batch of requests.
    pub batch: u64,
    /// Place in that batch.
    pub index: u32,
}

/// The entry that an approved transfer or opening became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Approval {
    /// The home that approved it.
    pub origin: NodeId,
    /// Its seq there.
    pub seq: Seq,
    /// The height of the block that holds it, where the home has applied that block and still knows which it was.
    pub height: Option<Height>,
}

/// Why the bank refuses a transfer or an opening. Final: the same id gets the same answer again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Reason {
    /// The balance does not cover it, after everybody that could be reached was asked.
    InsufficientFunds {
        /// The height that the decision rests on.
        height: Height,
        /// What could have been spent.
        spendable: Amount,
        /// Nodes whose unsettled entries are not in that figure.
        not_heard: BTreeSet<NodeId>,
    },
    /// Debit or credit account does not exist at that height.
    UnknownAccount {
        /// The height that the decision rests on.
        height: Height,
        /// The account.
        account: AccountId,
    },
    /// The account to open exists at that height, or the home has approved its opening, which is not settled yet.
    AccountExists {
        /// The height that the decision rests on.
        height: Height,
        /// The account.
        account: AccountId,
    },
    /// A transfer of nothing.
    AmountZero,
    /// Debit and credit account are the same.
    SameAccount,
    /// Another node decides about this account.
    NotHome {
        /// That node.
        home: NodeId,
    },
}

impl Reason {
    /// The stable, machine-readable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::UnknownAccount { .. } => "unknown_account",
            Self::AccountExists { .. } => "account_exists",
            Self::AmountZero => "amount_zero",
            Self::SameAccount => "same_account",
            Self::NotHome { .. } => "not_home",
        }
    }
}

/// What a home answers to a [`Request`] or an [`Opening`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Approved, and durable as far as was asked for.
    Approved(Approval),
    /// Refused for good.
    Refused(Reason),
    /// The id was used before with another content, be it a transfer or an opening: an error of the client.
    Conflict,
    /// Older than what the bank remembers of this account: look it up in the chain; it is never executed (R10).
    Expired,
    /// Nothing was decided: too much is waiting here. Ask again later.
    Busy,
    /// Nothing was decided: the node has not caught up yet. Ask again later.
    NotReady,
    /// Nothing is decided yet, and the client waits no longer. The request is in flight: the same id finds it there, or
    /// finds its outcome.
    Pending,
}

/// What became of an id that was used with one debit account, or to open one account. An opening has its account as
/// debit and as credit account and the amount 0; no transfer has, since those are refused by form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    /// The id.
    pub id: TransferId,
    /// Debit account, or the account to open.
    pub from: AccountId,
    /// Credit account, or the account to open.
    pub to: AccountId,
    /// The amount; 0 for an opening.
    pub amount: Amount,
    /// What was decided.
    pub verdict: Verdict,
}

impl Trace {
    /// The account, where this is what became of an opening.
    pub fn opens(&self) -> Option<AccountId> {
        (self.from == self.to).then_some(self.from)
    }
}

/// What a [`Trace`] ends in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Approved, durably.
    Approved(Approval),
    /// Refused for good.
    Refused(Reason),
    /// Parked at its home until a settlement decides.
    Pending,
}
