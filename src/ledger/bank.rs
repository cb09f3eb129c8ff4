//! The state that a chain leads to: settled balances, watermarks, tip. Apply is total and the same everywhere (R5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::accounts::{Accounts, LOOKED_FOR_AT_ONCE, Place};
use super::block::{Block, Genesis};
use super::entry::{Action, Operation, Run};
use super::overlay::{Changes, Overlay};
use crate::types::{AccountId, Amount, Hash, Hasher, Height, NodeId, Seq};

/// The settled state after some height: what every node that applied the same chain agrees on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bank {
    height: Height,
    tip: Hash,
    state: Hash,
    balances: Accounts<Amount>,
    watermarks: BTreeMap<NodeId, Seq>,
}

/// Why an entry cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum EntryFault {
    /// The origin is not the home of the account that it debits or opens.
    #[error("its origin is not the account's home")]
    NotHome,
    /// Debit or credit account does not exist.
    #[error("an account does not exist")]
    UnknownAccount,
    /// The account to open exists.
    #[error("the account exists already")]
    AlreadyOpen,
    /// The debit account has less than the amount.
    #[error("the settled balance does not cover it")]
    Overdraft,
    /// Amount zero, or debit and credit account the same.
    #[error("it moves nothing")]
    Nothing,
    /// The credited balance would not fit.
    #[error("the credited balance would not fit")]
    Overflow,
}

/// Why a block does not follow on this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BlockFault {
    /// Another height than the next.
    #[error("its height is {found}, the next is {next}")]
    Height {
        /// Of the block.
        found: Height,
        /// What would fit.
        next: Height,
    },
    /// Built over another parent.
    #[error("its parent is {found}, the tip here is {tip}")]
    Parent {
        /// Of the block.
        found: Hash,
        /// The tip here.
        tip: Hash,
    },
    /// Built over another state.
    #[error("the state after its parent is {found}, here it is {state}")]
    State {
        /// Of the block.
        found: Hash,
        /// The state here.
        state: Hash,
    },
    /// An origin that is no node of the cluster.
    #[error("{origin} is not a node of this cluster")]
    UnknownOrigin {
        /// Of the run.
        origin: NodeId,
    },
    /// A run that does not start at the origin's watermark + 1.
    #[error("the run of {origin} starts at seq {found}, the next is {next}")]
    Gap {
        /// Of the run.
        origin: NodeId,
        /// Where the run starts.
        found: Seq,
        /// Where it would have to.
        next: Seq,
    },
    /// An entry that does not pass.
    #[error("entry {seq} of {origin} does not pass: {fault}")]
    Entry {
        /// Of the entry.
        origin: NodeId,
        /// Of the entry.
        seq: Seq,
        /// Why.
        fault: EntryFault,
    },
}

/// What a block changes, computed and checked, so that [`Bank::advance`] cannot fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    height: Height,
    tip: Hash,
    state: Hash,
    balances: Changes<Amount>,
    watermarks: BTreeMap<NodeId, Seq>,
}

impl Bank {
    /// The state at genesis.
    pub fn new(genesis: &Genesis) -> Self {
        Self {
            height: Height(0),
            tip: genesis.id(),
            state: genesis.state_hash(),
            balances: genesis.opening().iter().map(|(account, amount)| (*account, *amount)).collect(),
            watermarks: genesis.nodes().iter().map(|node| (*node, Seq(0))).collect(),
        }
    }

    /// The state that a checkpoint tells.
    pub(super) fn at(
        height: Height,
        tip: Hash,
        state: Hash,
        balances: Accounts<Amount>,
        watermarks: BTreeMap<NodeId, Seq>,
    ) -> Self {
        Self { height, tip, state, balances, watermarks }
    }

    /// Height of the last block applied.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Hash of the last block applied; the cluster id at genesis.
    pub fn tip(&self) -> Hash {
        self.tip
    }

    /// The running hash over all effects so far.
    pub fn state(&self) -> Hash {
        self.state
    }

    /// The settled balance of an account, or `None` where it does not exist.
    pub fn balance(&self, account: AccountId) -> Option<Amount> {
        self.balances.get(&account).copied()
    }

    /// All settled balances, in account order.
    pub fn balances(&self) -> &Accounts<Amount> {
        &self.balances
    }

    /// The highest seq of `origin` in the chain; 0 where there is none.
    pub fn watermark(&self, origin: NodeId) -> Seq {
        self.watermarks.get(&origin).copied().unwrap_or_default()
    }

    /// All watermarks, one for each node.
    pub fn watermarks(&self) -> &BTreeMap<NodeId, Seq> {
        &self.watermarks
    }

    /// How many entries the chain holds.
    pub fn entries(&self) -> u64 {
        self.watermarks.values().fold(0, |sum, seq| sum.saturating_add(seq.0))
    }

    /// Tries `block` on this state without changing it: the whole check of R5.
    pub fn check(&self, block: &Block) -> Result<Delta, BlockFault> {
        if block.height() != self.height.next() {
            return Err(BlockFault::Height { found: block.height(), next: self.height.next() });
        }
        if block.parent() != self.tip {
            return Err(BlockFault::Parent { found: block.parent(), tip: self.tip });
        }
        if block.state() != self.state {
            return Err(BlockFault::State { found: block.state(), state: self.state });
        }
        let mut trial = Trial::new(self, block.entry_count());
        for run in block.runs() {
            trial.run(run)?;
        }
        Ok(trial.finish(block))
    }

    /// Applies what [`Bank::check`] found.
    ///
    /// # Panics
    /// Where `delta` was computed on another state: a fault of this program.
    pub fn advance(&mut self, delta: Delta) {
        assert_eq!(delta.height, self.height.next(), "a delta fits only the state that it was computed on");
        self.height = delta.height;
        self.tip = delta.tip;
        self.state = delta.state;
        delta.balances.apply(&mut self.balances);
        self.watermarks.extend(delta.watermarks);
    }
}

impl Delta {
    /// Whether it is what [`Bank::check`] finds for that block: a block names the state that it follows on.
    pub(super) fn is_of(&self, block: &Block) -> bool {
        self.tip == block.hash()
    }
}

/// A state under trial: the bank below, what the entries so far changed above it.
pub(super) struct Trial<'a> {
    bank: &'a Bank,
    balances: Overlay<'a, Amount>,
    watermarks: BTreeMap<NodeId, Seq>,
}

impl<'a> Trial<'a> {
    /// Of so many operations on the state of `bank`.
    pub(super) fn new(bank: &'a Bank, operations: usize) -> Self {
        Self { bank, balances: Overlay::new(&bank.balances, 2 * operations), watermarks: BTreeMap::new() }
    }

    fn balance(&self, account: AccountId, below: Option<Place>) -> Result<Amount, EntryFault> {
        self.balances.get(account, below).ok_or(EntryFault::UnknownAccount)
    }

    /// Applies operations of `origin` in their order up to the first that does not pass, and tells which that is, counted
    /// from 0. `places` are where the accounts of the first transfers should be among the balances, as far as that is known.
    pub(super) fn operations(
        &mut self,
        origin: NodeId,
        operations: &[Operation],
        places: impl Iterator<Item = Option<[Place; 2]>>,
    ) -> Result<(), (usize, EntryFault)> {
        let mut places = places.chain(std::iter::repeat(None));
        let mut found = Vec::with_capacity(LOOKED_FOR_AT_ONCE);
        let mut passed = 0;
        for some in operations.chunks(LOOKED_FOR_AT_ONCE) {
            found.extend(some.iter().zip(&mut places).map(|(operation, should_be)| {
                let ((from, to, _), should_be) = (operation.parts(), should_be.map_or([None; 2], |at| at.map(Some)));
                [self.balances.below(from, should_be[0]), self.balances.below(to, should_be[1])]
            }));
            for (operation, below) in some.iter().zip(found.drain(..)) {
                self.operation(origin, operation, below).map_err(|fault| (passed, fault))?;
                passed += 1;
            }
        }
        Ok(())
    }

    /// Applies one operation, or changes nothing. `from_at` and `to_at` are where the bank has its two accounts.
    fn operation(
        &mut self,
        origin: NodeId,
        operation: &Operation,
        [from_at, to_at]: [Option<Place>; 2],
    ) -> Result<(), EntryFault> {
        if operation.account().home() != origin {
            return Err(EntryFault::NotHome);
        }
        match operation.action {
            Action::Transfer { from, to, amount } => {
                if from == to || amount == Amount::ZERO {
                    return Err(EntryFault::Nothing);
                }
                let debited = self.balance(from, from_at)?.checked_sub(amount).ok_or(EntryFault::Overdraft)?;
                let credited = self.balance(to, to_at)?.checked_add(amount).ok_or(EntryFault::Overflow)?;
                self.balances.set(from, from_at, debited);
                self.balances.set(to, to_at, credited);
            }
            Action::Open { account } => {
                if self.balance(account, from_at).is_ok() {
                    return Err(EntryFault::AlreadyOpen);
                }
                self.balances.set(account, from_at, Amount::ZERO);
            }
        }
        Ok(())
    }

    /// Counts the run of an origin, whose entries passed.
    pub(super) fn settle(&mut self, run: &Run) {
        self.watermarks.insert(run.origin, run.last());
    }

    fn run(&mut self, run: &Run) -> Result<(), BlockFault> {
        let origin = run.origin;
        let watermark = *self.bank.watermarks.get(&origin).ok_or(BlockFault::UnknownOrigin { origin })?;
        if run.first != watermark.next() {
            return Err(BlockFault::Gap { origin, found: run.first, next: watermark.next() });
        }
        let fault = |(index, fault)| BlockFault::Entry { origin, seq: run.first.plus(index as u64), fault };
        self.operations(origin, &run.operations, std::iter::empty()).map_err(fault)?;
        self.settle(run);
        Ok(())
    }

    pub(super) fn finish(self, block: &Block) -> Delta {
        let Self { bank, balances, watermarks } = self;
        let balances = balances.finish();
        let mut hasher = Hasher::new("paxos-banking effects 1");
        hasher.hash(&bank.state).number(block.height().0).number(balances.iter().len() as u64);
        for (account, amount) in balances.iter() {
            account.hash_into(&mut hasher);
            hasher.number(amount.units());
        }
        hasher.number(watermarks.len() as u64);
        for (origin, seq) in &watermarks {
            hasher.text(origin.as_str()).number(seq.0);
        }
        Delta { height: block.height(), tip: block.hash(), state: hasher.finish(), balances, watermarks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank() -> Bank {
        let nodes = ["A", "B", "C"].map(|name| name.parse().unwrap());
        Bank::new(&Genesis::with_equal_openings(nodes, Amount::new(100)).unwrap())
    }

    fn operation(from: &str, to: &str, amount: u64) -> Operation {
        let action =
            Action::Transfer { from: from.parse().unwrap(), to: to.parse().unwrap(), amount: Amount::new(amount) };
        Operation { id: 1.into(), action }
    }

    fn run(origin: &str, first: u64, operations: Vec<Operation>) -> Run {
        Run { origin: origin.parse().unwrap(), first: Seq(first), operations }
    }

    fn check(runs: Vec<Run>) -> Result<Delta, BlockFault> {
        let bank = bank();
        bank.check(&Block::new(Height(1), bank.tip(), bank.state(), runs).unwrap())
    }

    #[test]
    fn r12_a_block_moves_money_and_makes_none() {
        let mut bank = bank();
        let delta =
            check(vec![run("A", 1, vec![operation("A", "B", 100)]), run("B", 1, vec![operation("B", "C", 150)])]);
        bank.advance(delta.unwrap());
        let balances: Vec<_> = bank.balances().values().map(|amount| amount.units()).collect();
        assert_eq!(balances, [0, 50, 250]);
        assert_eq!(bank.watermark("A".parse().unwrap()), Seq(1));
    }

    #[test]
    fn r5_every_fault_of_an_entry_is_found_and_named() {
        let fault = |run: Run| match check(vec![run]) {
            Err(BlockFault::Entry { fault, .. }) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(run("A", 1, vec![operation("A", "B", 101)])), EntryFault::Overdraft);
        assert_eq!(fault(run("A", 1, vec![operation("B", "A", 1)])), EntryFault::NotHome);
        assert_eq!(fault(run("A", 1, vec![operation("A", "x@B", 1)])), EntryFault::UnknownAccount);
        assert_eq!(fault(run("A", 1, vec![operation("A", "A", 1)])), EntryFault::Nothing);
        let open = Operation { id: 1.into(), action: Action::Open { account: "A".parse().unwrap() } };
        assert_eq!(fault(run("A", 1, vec![open])), EntryFault::AlreadyOpen);
    }

    #[test]
    fn r5_a_run_starts_at_the_watermark_and_a_block_at_the_tip() {
        let some = || vec![operation("A", "B", 1)];
        assert!(matches!(check(vec![run("A", 2, some())]), Err(BlockFault::Gap { next: Seq(1), .. })));
        assert!(matches!(check(vec![run("Z", 1, some())]), Err(BlockFault::UnknownOrigin { .. })));
        let bank = bank();
        let runs = || vec![run("A", 1, some())];
        let block = Block::new(Height(2), bank.tip(), bank.state(), runs()).unwrap();
        assert!(matches!(bank.check(&block), Err(BlockFault::Height { .. })));
        let block = Block::new(Height(1), Hash::ZERO, bank.state(), runs()).unwrap();
        assert!(matches!(bank.check(&block), Err(BlockFault::Parent { .. })));
        let block = Block::new(Height(1), bank.tip(), Hash::ZERO, runs()).unwrap();
        assert!(matches!(bank.check(&block), Err(BlockFault::State { .. })));
    }

    #[test]
    fn an_account_opened_in_a_block_can_be_used_in_the_same_block() {
        let account: AccountId = "new@A".parse().unwrap();
        let open = Operation { id: 1.into(), action: Action::Open { account } };
        let mut bank = bank();
        bank.advance(check(vec![run("A", 1, vec![open, operation("A", "new@A", 40)])]).unwrap());
        assert_eq!(bank.balance(account), Some(Amount::new(40)));
    }
}
