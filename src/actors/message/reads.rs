//! What readers ask of a node's roles. Whatever they are told is durable by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::Message as ActixMessage;
use tokio::sync::oneshot;

use crate::ledger::{Block, Entry, Trace};
use crate::paxos::{BlocksRequest, SentBlock};
use crate::store::{Head, StoreError};
use crate::types::{AccountId, Amount, Hash, Height, NodeId, Seq, TransferId};

// ---- At the Ledger

/// What a node knows of the bank; all of it is durable by the time it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankView {
    /// Height of its chain.
    pub height: Height,
    /// Hash of its last block.
    pub tip: Hash,
    /// The state hash at that height.
    pub state: Hash,
    /// All settled balances.
    pub settled: BTreeMap<AccountId, Amount>,
    /// What the accounts of this home can spend.
    pub spendable: BTreeMap<AccountId, Amount>,
    /// This home's unsettled entries.
    pub log: Vec<Entry>,
    /// How many tickets and requests count against the bound of those that wait for a settlement.
    pub waiting: usize,
    /// How many outcomes are remembered.
    pub remembered: usize,
}

/// Asks the Ledger for a [`BankView`].
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct ReadBank(pub oneshot::Sender<BankView>);

/// What a node knows of one account; durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Height of the node's chain.
    pub height: Height,
    /// Settled balance; `None` where the account does not exist.
    pub settled: Option<Amount>,
    /// What it can spend; `None` where this is not its home.
    pub spendable: Option<Amount>,
}

/// Asks the Ledger for an [`AccountView`]. Where it is too busy, the sender is dropped.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct ReadAccount {
    /// Whose.
    pub account: AccountId,
    /// The reader.
    pub reply_to: oneshot::Sender<AccountView>,
}

/// Asks the Ledger for unsettled entries of this home, in seq order. Where it is too busy, the sender is dropped.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct ReadLog {
    /// The first; entries that are settled by now are left out.
    pub from: Seq,
    /// At most so many.
    pub count: usize,
    /// The reader.
    pub reply_to: oneshot::Sender<Vec<Entry>>,
}

/// Asks the Ledger what this home knows of an id. Where it is too busy, the sender is dropped.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct ReadTrace {
    /// The id.
    pub id: TransferId,
    /// The reader.
    pub reply_to: oneshot::Sender<Vec<Trace>>,
}

/// Asks the Ledger for a collection that begins from now on. Where it is too busy, the sender is dropped.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Collect(pub oneshot::Sender<Collected>);

/// A collection is over, and what it settled is applied here, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The height after it.
    pub height: Height,
    /// Nodes whose unsettled entries were not in it.
    pub not_heard: BTreeSet<NodeId>,
}

// ---- At Persistence

/// What a reader of blocks is answered.
pub type BlocksRead = Result<Vec<Arc<Block>>, StoreError>;

/// What a reader is answered who sends them on.
pub type StoredRead = Result<Vec<SentBlock>, StoreError>;

/// Who reads blocks, and how they are wanted.
#[derive(Debug)]
pub enum BlocksReader {
    /// Looked into.
    Blocks(oneshot::Sender<BlocksRead>),
    /// To be sent on as they are stored.
    Stored(oneshot::Sender<StoredRead>),
}

/// Asks Persistence for blocks of the stored chain, as many as fit the size, from the first on.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct ReadBlocks {
    /// Which.
    pub request: BlocksRequest,
    /// About how many bytes at the most; at least one block comes.
    pub bytes_max: usize,
    /// The reader.
    pub reader: BlocksReader,
}

/// What the store certainly holds, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreView {
    /// Its head.
    pub head: Head,
    /// Why it does not write, while it does not.
    pub trouble: Option<String>,
}

/// Asks Persistence for a [`StoreView`].
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct ReadHead(pub oneshot::Sender<StoreView>);
