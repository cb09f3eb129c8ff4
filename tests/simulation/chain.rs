//! The one chain that all nodes must agree on, with the state after each of its heights.

use std::collections::BTreeMap;
use std::sync::Arc;

use paxos_banking::ledger::{Action, Bank, Block, BlockFault, Entry, Genesis};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq};

/// The chain as it was first applied anywhere.
pub struct Chain {
    /// The state at each height, from genesis on.
    states: Vec<Bank>,
    blocks: Vec<Arc<Block>>,
    /// Every settled entry with its height.
    entries: BTreeMap<(NodeId, Seq), (Height, Entry)>,
}

impl Chain {
    pub fn new(genesis: &Genesis) -> Self {
        Self { states: vec![Bank::new(genesis)], blocks: Vec::new(), entries: BTreeMap::new() }
    }

    pub fn height(&self) -> Height {
        self.tip().height()
    }

    /// The state after the last block.
    pub fn tip(&self) -> &Bank {
        self.states.last().expect("genesis is always there")
    }

    /// The state at a height, where the chain is known that far.
    pub fn at(&self, height: Height) -> Option<&Bank> {
        self.states.get(usize::try_from(height.0).ok()?)
    }

    pub fn block(&self, height: Height) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(height.0.checked_sub(1)?).ok()?)
    }

    pub fn append(&mut self, block: &Arc<Block>) -> Result<(), BlockFault> {
        let mut bank = self.tip().clone();
        bank.advance(bank.check(block)?);
        for entry in block.runs().iter().flat_map(|run| run.entries()) {
            self.entries.insert((entry.origin, entry.seq), (block.height(), entry));
        }
        self.states.push(bank);
        self.blocks.push(block.clone());
        Ok(())
    }

    pub fn entry(&self, origin: NodeId, seq: Seq) -> Option<&(Height, Entry)> {
        self.entries.get(&(origin, seq))
    }

    /// All settled entries, by origin and seq.
    pub fn entries(&self) -> impl Iterator<Item = &(Height, Entry)> {
        self.entries.values()
    }

    /// The settled entries of one home with a seq above `above`, in order.
    pub fn entries_of(&self, home: NodeId, above: Seq) -> impl Iterator<Item = &Entry> {
        self.entries
            .range((home, above.next())..)
            .take_while(move |((origin, _), _)| *origin == home)
            .map(|(_, (_, entry))| entry)
    }
}

/// What an account of a home can spend at a height, once the home has approved the entries that follow there: its
/// settled balance, less own debits, plus credits from the same home. `None` where that would be below zero.
pub fn spendable<'a>(bank: &Bank, account: AccountId, unsettled: impl Iterator<Item = &'a Entry>) -> Option<Amount> {
    unsettled.fold(bank.balance(account), |sum, entry| match entry.operation.action {
        Action::Transfer { from, amount, .. } if from == account => sum?.checked_sub(amount),
        Action::Transfer { to, amount, .. } if to == account => sum?.checked_add(amount),
        _ => sum,
    })
}
