//! What an id was used for, what came of it, and what the memory says of it.

use serde::{Deserialize, Serialize};

use super::entry::{Action, Operation};
use super::request::Reason;
use crate::types::{AccountId, Amount, Seq, TransferId};

/// A refusal that is remembered, with the content that it refused. That of an opening has the parts of its operation: the
/// account twice, and the amount 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// The client's id.
    pub id: TransferId,
    /// Debit account.
    pub from: AccountId,
    /// Credit account.
    pub to: AccountId,
    /// The amount.
    pub amount: Amount,
    /// Why.
    pub reason: Reason,
}

impl Refusal {
    /// What its id was used for.
    pub(super) fn content(&self) -> Content {
        Content { to: self.to, amount: self.amount }
    }
}

/// What an id was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    to: AccountId,
    amount: Amount,
}

impl Content {
    /// Of a transfer.
    pub fn transfer(to: AccountId, amount: Amount) -> Self {
        Self { to, amount }
    }

    /// Of any operation. No transfer has the content of an opening, whose account is debit and credit account in one.
    pub fn of(operation: &Operation) -> Self {
        let (_, to, amount) = operation.parts();
        Self { to, amount }
    }

    /// The operation with this content, that debits or opens `account`.
    pub(super) fn operation(self, id: TransferId, account: AccountId) -> Operation {
        let Self { to, amount } = self;
        let action = match amount {
            Amount::ZERO => Action::Open { account },
            _ => Action::Transfer { from: account, to, amount },
        };
        Operation { id, action }
    }

    /// The credit account.
    pub fn to(self) -> AccountId {
        self.to
    }

    /// The amount.
    pub fn amount(self) -> Amount {
        self.amount
    }
}

/// What came of an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Approved, as this entry of the home.
    Approved(Seq),
    /// Refused, for this reason; remembered in the record of refusals with this number.
    Refused(Box<Reason>, u64),
}

impl Outcome {
    /// Of an approval.
    pub(super) fn seq(&self) -> Option<Seq> {
        match self {
            Self::Approved(seq) => Some(*seq),
            Self::Refused(..) => None,
        }
    }

    /// Of a refusal, the number of its record.
    pub(super) fn record(&self) -> Option<u64> {
        match self {
            Self::Approved(_) => None,
            Self::Refused(_, number) => Some(*number),
        }
    }
}

/// What the memory says of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Never seen.
    New,
    /// Decided before, with the same content.
    Decided(Outcome),
    /// Decided before, with other content.
    Conflict,
    /// Unknown, and at or below the horizon: it may have been decided and forgotten.
    Expired,
}
