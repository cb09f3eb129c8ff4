//! What a restart begins with instead of genesis: the state after some block, and what a home remembers of its settled
//! entries that the chain's tail does not tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::bank::Bank;
use super::block::Genesis;
use super::entry::Operation;
use super::memory::{Memory, Walk};
use super::settled_at::SettledAt;
use crate::types::{AccountId, Amount, Hash, Height, NodeId, Seq};

/// Of which state a checkpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckpointAt {
    /// Height of the last block applied.
    pub height: Height,
    /// Its hash.
    pub tip: Hash,
    /// The state hash after it.
    pub state: Hash,
    /// How far the chain goes for each origin.
    pub watermarks: BTreeMap<NodeId, Seq>,
    /// The node's own entries after this seq are not listed: the blocks hold them.
    pub tail_seq: Seq,
    /// The blocks that hold them are above this height.
    pub tail: Height,
    /// Up to this seq of the node's own it is forgotten which block holds an entry.
    pub heights_forgotten: Seq,
}

/// A checkpoint, or a part of one: all of it, part by part, would be one long write that clients wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of which state; the same in all parts.
    pub at: CheckpointAt,
    /// Settled balances.
    pub balances: Vec<(AccountId, Amount)>,
    /// The entries of the node's own up to `tail_seq` that are remembered.
    pub approvals: Vec<(Seq, Operation)>,
    /// The blocks that hold entries up to `tail_seq`: the last seq of each, and its height.
    pub settled: Vec<(Seq, Height)>,
}

impl Checkpoint {
    /// The whole checkpoint of this state of a home. `tail` is where the blocks begin that tell its last entries:
    /// [`SettledAt::last_up_to`] some seq. A part has at most `rows_max` rows, of all three kinds together.
    pub fn parts(
        bank: &Bank,
        memory: &Memory,
        settled_at: &SettledAt,
        tail: (Seq, Height),
        rows_max: usize,
    ) -> Vec<Self> {
        let mut saving = Saving::new(bank, settled_at, tail, rows_max);
        saving.go_on(bank, memory, usize::MAX);
        saving.take_parts()
    }

    fn empty(at: CheckpointAt) -> Self {
        Self { at, balances: Vec::new(), approvals: Vec::new(), settled: Vec::new() }
    }

    /// All of it, from its parts.
    ///
    /// # Errors
    /// In words, where one is of another checkpoint, or there is none.
    pub fn joined(parts: Vec<Self>) -> Result<Self, String> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().ok_or("it has no part")?;
        parts.try_for_each(|part| whole.join(part))?;
        Ok(whole)
    }

    fn join(&mut self, part: Self) -> Result<(), String> {
        let Self { at, balances, approvals, settled } = part;
        if at != self.at {
            return Err(format!("it is a part of the checkpoint at height {}, not {}", at.height, self.at.height));
        }
        self.balances.extend(balances);
        self.approvals.extend(approvals);
        self.settled.extend(settled);
        Ok(())
    }

    /// Forgets what `memory` has forgotten since, and puts the rest in the order in which it came about.
    pub fn tidy(&mut self, memory: &Memory) {
        self.balances.sort_unstable_by_key(|(account, _)| *account);
        self.approvals.retain(|(_, operation)| memory.horizon(Some(operation.account())) < Some(operation.id));
        self.approvals.sort_unstable_by_key(|(seq, _)| *seq);
        self.settled.sort_unstable();
    }

    /// The settled state, as far as it can be one of that bank.
    ///
    /// # Errors
    /// In words, why it cannot.
    pub fn bank(&self, genesis: &Genesis) -> Result<Bank, String> {
        let CheckpointAt { height, tip, state, watermarks, .. } = &self.at;
        if !watermarks.keys().eq(genesis.nodes()) {
            return Err("it has other nodes than the bank".to_owned());
        }
        if let Some((account, _)) = self.balances.iter().find(|(account, _)| !genesis.nodes().contains(&account.home()))
        {
            return Err(format!("the home of {account} is no node of the bank"));
        }
        let total = self.balances.iter().try_fold(Amount::ZERO, |sum, (_, amount)| sum.checked_add(*amount));
        if total != Some(genesis.total()) {
            return Err(format!("its balances do not add up to the bank's {}", genesis.total()));
        }
        let balances: Accounts<_> = self.balances.iter().copied().collect();
        if balances.len() != self.balances.len() {
            return Err("it tells a balance twice".to_owned());
        }
        Ok(Bank::at(*height, *tip, *state, balances, watermarks.clone()))
    }

    /// In which blocks the node's own entries are, up to the tail.
    pub fn settled_at(&self) -> SettledAt {
        SettledAt::resume(self.at.heights_forgotten, self.settled.iter().copied())
    }
}

/// A checkpoint while it is made. What it tells of the bank is taken at once; what is remembered of settled entries stays
/// as it is until it is forgotten, which a horizon tells, so that it can be gone through bit by bit while other blocks are
/// applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Saving {
    /// Parts that are full.
    parts: Vec<Checkpoint>,
    last: Checkpoint,
    /// Of the last part.
    rows: usize,
    rows_max: usize,
    walk: Walk,
    over: bool,
}

impl Saving {
    /// Begins one of this state, as [`Checkpoint::parts`] says.
    pub(super) fn new(bank: &Bank, settled_at: &SettledAt, (tail_seq, tail): (Seq, Height), rows_max: usize) -> Self {
        let at = CheckpointAt {
            height: bank.height(),
            tip: bank.tip(),
            state: bank.state(),
            watermarks: bank.watermarks().clone(),
            tail_seq,
            tail,
            heights_forgotten: settled_at.forgotten(),
        };
        let (last, walk) = (Checkpoint::empty(at), Walk::default());
        let mut saving = Self { parts: Vec::new(), last, rows: 0, rows_max, walk, over: false };
        for (account, amount) in bank.balances().unordered() {
            saving.next_row().balances.push((*account, *amount));
        }
        for block in settled_at.up_to(tail_seq) {
            saving.next_row().settled.push(block);
        }
        saving
    }

    /// Goes through some more of what is remembered, about so many rows.
    pub(super) fn go_on(&mut self, bank: &Bank, memory: &Memory, rows: usize) {
        let (mut walk, tail_seq) = (std::mem::take(&mut self.walk), self.last.at.tail_seq);
        self.over = memory.walk_approvals(bank.balances(), &mut walk, tail_seq, rows, |seq, operation| {
            self.next_row().approvals.push((seq, operation));
        });
        self.walk = walk;
        if self.over {
            self.end_part();
        }
    }

    /// True once its last part is full.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The parts that are full and were not taken yet.
    pub(super) fn take_parts(&mut self) -> Vec<Checkpoint> {
        std::mem::take(&mut self.parts)
    }

    /// The part that the next row belongs to.
    fn next_row(&mut self) -> &mut Checkpoint {
        if self.rows == self.rows_max {
            self.end_part();
        }
        self.rows += 1;
        &mut self.last
    }

    fn end_part(&mut self) {
        let next = Checkpoint::empty(self.last.at.clone());
        self.parts.push(std::mem::replace(&mut self.last, next));
        self.rows = 0;
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
