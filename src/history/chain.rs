//! The one chain that all nodes must agree on, with what it says at each of its heights.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ledger::{Action, Bank, Block, BlockFault, Entry, Genesis};
use crate::types::{AccountId, Amount, Hash, Height, NodeId, Seq};

/// A chain from its genesis on. Of each height it keeps what changed there, not the whole state.
pub struct Chain {
    tip: Bank,
    total: Amount,
    blocks: Vec<Arc<Block>>,
    /// At each height, genesis first, the hash of the last block and that of the state.
    hashes: Vec<(Hash, Hash)>,
    /// Of each account its balance from each height on at which it changed.
    balances: BTreeMap<AccountId, Vec<(Height, Amount)>>,
    /// Of each origin the height of each of its entries, which are dense from 1 on.
    settled: BTreeMap<NodeId, Vec<Height>>,
}

/// What a chain says at one of its heights.
#[derive(Clone, Copy)]
pub struct Settled<'a> {
    chain: &'a Chain,
    height: Height,
}

impl Chain {
    /// A chain without blocks.
    pub fn new(genesis: &Genesis) -> Self {
        let tip = Bank::new(genesis);
        Self {
            total: genesis.total(),
            blocks: Vec::new(),
            hashes: vec![(tip.tip(), tip.state())],
            balances: tip.balances().iter().map(|(account, amount)| (*account, vec![(Height(0), *amount)])).collect(),
            settled: genesis.nodes().iter().map(|node| (*node, Vec::new())).collect(),
            tip,
        }
    }

    /// The height of the last block.
    pub fn height(&self) -> Height {
        self.tip.height()
    }

    /// The state after the last block.
    pub fn tip(&self) -> &Bank {
        &self.tip
    }

    /// What it says at a height, where it goes that far.
    pub fn at(&self, height: Height) -> Option<Settled<'_>> {
        (height <= self.height()).then_some(Settled { chain: self, height })
    }

    /// The block of a height; genesis is no block.
    pub fn block(&self, height: Height) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(height.0.checked_sub(1)?).ok()?)
    }

    /// Adds the next block.
    ///
    /// # Errors
    /// Why it does not follow; then nothing is changed.
    pub fn append(&mut self, block: &Arc<Block>) -> Result<(), BlockFault> {
        self.tip.advance(self.tip.check(block)?);
        let height = block.height();
        let mut touched = BTreeSet::new();
        for entry in block.runs().iter().flat_map(|run| run.entries()) {
            let (from, to, _) = entry.operation.parts();
            touched.extend([from, to]);
            self.settled.entry(entry.origin).or_default().push(height);
        }
        for account in touched {
            let amount = self.tip.balance(account).unwrap_or_default();
            self.balances.entry(account).or_default().push((height, amount));
        }
        self.hashes.push((self.tip.tip(), self.tip.state()));
        self.blocks.push(block.clone());
        Ok(())
    }

    /// Whether the balances add up to what the bank began with (R12). That none is below zero, their type says.
    pub fn is_conserved(&self) -> bool {
        let sum = self.tip.balances().values().copied().try_fold(Amount::ZERO, Amount::checked_add);
        sum == Some(self.total)
    }

    /// A settled entry with its height.
    pub fn entry(&self, origin: NodeId, seq: Seq) -> Option<(Height, Entry)> {
        let height = *self.settled.get(&origin)?.get(usize::try_from(seq.0.checked_sub(1)?).ok()?)?;
        let run = self.block(height)?.run_of(origin)?;
        let operation = *run.operations.get(usize::try_from(seq.0.checked_sub(run.first.0)?).ok()?)?;
        Some((height, Entry { origin, seq, operation }))
    }

    /// All settled entries with their heights, in the order of the chain.
    pub fn entries(&self) -> impl Iterator<Item = (Height, Entry)> {
        let of_block = |block: &Arc<Block>| {
            let height = block.height();
            block.runs().iter().flat_map(|run| run.entries()).map(move |entry| (height, entry)).collect::<Vec<_>>()
        };
        self.blocks.iter().flat_map(of_block)
    }

    /// The settled entries of one home with a seq above `above`, in order.
    pub fn entries_of(&self, home: NodeId, above: Seq) -> impl Iterator<Item = Entry> {
        let mut seq = above;
        std::iter::from_fn(move || {
            seq = seq.next();
            self.entry(home, seq).map(|(_, entry)| entry)
        })
    }
}

impl Settled<'_> {
    /// The balance of an account, or `None` where it does not exist yet.
    pub fn balance(&self, account: AccountId) -> Option<Amount> {
        let changes = self.chain.balances.get(&account)?;
        let later = changes.partition_point(|(height, _)| *height <= self.height);
        changes.get(later.checked_sub(1)?).map(|(_, amount)| *amount)
    }

    /// All balances.
    pub fn balances(&self) -> BTreeMap<AccountId, Amount> {
        self.chain.balances.keys().filter_map(|account| Some((*account, self.balance(*account)?))).collect()
    }

    /// The highest seq of `origin` up to here; 0 where there is none.
    pub fn watermark(&self, origin: NodeId) -> Seq {
        let heights = self.chain.settled.get(&origin).map_or(&[][..], Vec::as_slice);
        Seq(heights.partition_point(|height| *height <= self.height) as u64)
    }

    /// The hash of the block of this height, and of the state after it.
    pub fn hashes(&self) -> (Hash, Hash) {
        self.chain.hashes[usize::try_from(self.height.0).unwrap_or(usize::MAX)]
    }

    /// What an account can spend here, once its home has approved the entries that follow: its settled balance, less own
    /// debits, plus credits from the same home. `None` where that would be below zero.
    pub fn spendable(&self, account: AccountId, unsettled: impl Iterator<Item = Entry>) -> Option<Amount> {
        unsettled.fold(self.balance(account), |sum, entry| moved(sum?, account, &entry))
    }
}

/// What is left of a sum after an entry.
pub(super) fn moved(sum: Amount, account: AccountId, entry: &Entry) -> Option<Amount> {
    match entry.operation.action {
        Action::Transfer { from, amount, .. } if from == account => sum.checked_sub(amount),
        Action::Transfer { to, amount, .. } if to == account => sum.checked_add(amount),
        _ => Some(sum),
    }
}
