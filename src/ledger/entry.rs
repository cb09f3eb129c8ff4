//! What a home approves: operations, and the entries `(origin, seq)` that they become in its log.

use serde::{Deserialize, Serialize};

use crate::types::{AccountId, Amount, Hasher, NodeId, Seq, TransferId};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Moves `amount` from an account of the approving home to any other account.
    Transfer {
        /// Debited; its home is the origin of the entry.
        from: AccountId,
        /// Credited.
        to: AccountId,
        /// How much, in the smallest unit; never zero.
        amount: Amount,
    },
    /// Opens an account, with nothing on it, at the approving home.
    Open {
        /// The new account; its home is the origin of the entry.
        account: AccountId,
    },
}

/// One approved operation with the id that its client gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "OperationRecord", try_from = "OperationRecord")]
pub struct Operation {
    /// The client's id.
    pub id: TransferId,
    /// What was approved.
    pub action: Action,
}

/// The most bytes that one operation takes in a record or a frame: id, two accounts with their homes, amount, framing.
pub const OPERATION_BYTES_MAX: usize = 140;

impl Operation {
    /// The account whose home must approve this.
    pub fn account(&self) -> AccountId {
        match self.action {
            Action::Transfer { from, .. } => from,
            Action::Open { account } => account,
        }
    }

    /// Debit account, credit account and amount. An opening names its account twice and has the amount 0: no transfer
    /// has such parts.
    pub fn parts(&self) -> (AccountId, AccountId, Amount) {
        match self.action {
            Action::Transfer { from, to, amount } => (from, to, amount),
            Action::Open { account } => (account, account, Amount::ZERO),
        }
    }

    /// Adds id, kind, accounts and amount.
    pub(crate) fn hash_into(&self, hasher: &mut Hasher) {
        hasher.part::<HASHED_BYTES_MAX>(|part| {
            let id = self.id.to_bytes();
            part.bytes(&id, id.len());
            match &self.action {
                Action::Transfer { from, to, amount } => {
                    part.number(KIND_TRANSFER.into());
                    from.put_into(part);
                    to.put_into(part);
                    part.number(amount.units());
                }
                Action::Open { account } => {
                    part.number(KIND_OPEN.into());
                    account.put_into(part);
                }
            }
        });
    }
}

/// The most bytes of a hash's input that an operation is: id with its length, kind, two accounts, amount.
const HASHED_BYTES_MAX: usize = (8 + 16) + 8 + 2 * AccountId::HASHED_BYTES_MAX + 8;

const KIND_TRANSFER: u8 = 0;
const KIND_OPEN: u8 = 1;

/// The stored and sent form: an array, because operations come by the million and field names would double them. It
/// holds the [`Operation::parts`], so that every array has one length.
#[derive(Serialize, Deserialize)]
struct OperationRecord(u8, TransferId, AccountId, AccountId, Amount);

impl From<Operation> for OperationRecord {
    fn from(operation: Operation) -> Self {
        let kind = match operation.action {
            Action::Transfer { .. } => KIND_TRANSFER,
            Action::Open { .. } => KIND_OPEN,
        };
        let (from, to, amount) = operation.parts();
        Self(kind, operation.id, from, to, amount)
    }
}

impl TryFrom<OperationRecord> for Operation {
    type Error = String;

    fn try_from(OperationRecord(kind, id, from, to, amount): OperationRecord) -> Result<Self, String> {
        let action = match kind {
            KIND_TRANSFER if amount == Amount::ZERO => return Err("a transfer of nothing".to_owned()),
            KIND_TRANSFER => Action::Transfer { from, to, amount },
            KIND_OPEN if from == to && amount == Amount::ZERO => Action::Open { account: from },
            KIND_OPEN => return Err("an opening with a second account or an amount".to_owned()),
            other => return Err(format!("an operation of the unknown kind {other}")),
        };
        Ok(Self { id, action })
    }
}

/// One line of a home's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The home that approved it.
    pub origin: NodeId,
    /// Its number at that home.
    pub seq: Seq,
    /// What was approved.
    pub operation: Operation,
}

/// Consecutive entries of one origin, as a block or a log holds them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The home that approved them.
    pub origin: NodeId,
    /// The seq of the first.
    pub first: Seq,
    /// The operations, in seq order.
    pub operations: Vec<Operation>,
}

impl Run {
    /// The seq of the last.
    pub fn last(&self) -> Seq {
        Seq(self.first.0.saturating_add((self.operations.len() as u64).saturating_sub(1)))
    }

    /// The entries one by one.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let seqs = (self.first.0..).map(Seq);
        seqs.zip(&self.operations).map(|(seq, operation)| Entry { origin: self.origin, seq, operation: *operation })
    }
}

/// A node's unsettled, durable log as its PROMISE offers it: from its watermark + 1 on, as much as a frame may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogOffer {
    /// The seq of the first operation.
    pub first: Seq,
    /// The operations, in seq order.
    pub operations: Vec<Operation>,
    /// True where the log goes on beyond what this message could carry.
    pub truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_operation_keeps_within_its_bound() {
        let home = "n".repeat(16).parse().unwrap();
        let account = AccountId::new(&"a".repeat(32), home).unwrap();
        let action = Action::Transfer { from: account, to: account, amount: Amount::new(u64::MAX) };
        let operation = Operation { id: u128::MAX.into(), action };
        assert!(rmp_serde::to_vec_named(&operation).unwrap().len() <= OPERATION_BYTES_MAX);
    }

    #[test]
    fn operations_that_cannot_be_do_not_decode() {
        let record = |kind, amount| {
            let account: AccountId = "A".parse().unwrap();
            let record = OperationRecord(kind, 1.into(), account, account, Amount::new(amount));
            rmp_serde::from_slice::<Operation>(&rmp_serde::to_vec(&record).unwrap())
        };
        assert!(record(KIND_TRANSFER, 0).is_err());
        assert!(record(KIND_OPEN, 1).is_err());
        assert!(record(2, 1).is_err());
        assert!(record(KIND_TRANSFER, 1).is_ok());
    }
}
