//! A chain computed again, by someone who trusts nobody who told it.

use std::sync::Arc;

use super::{Bank, Block, Genesis};
use crate::types::{Amount, Hash, Height};

/// A chain, computed from its genesis as far as it goes.
#[derive(Clone, Debug)]
pub struct Replay {
    bank: Bank,
    total: Amount,
    hashes: Vec<Hash>,
}

impl Replay {
    /// The genesis.
    pub fn new(genesis: &Genesis) -> Self {
        Self { bank: Bank::new(genesis), total: genesis.total(), hashes: vec![genesis.id()] }
    }

    /// Applies the next block as a node must: hash, parent, state, seqs, every entry; then the sum of all balances (R12).
    ///
    /// # Errors
    /// What is wrong with it. Nothing that follows can be relied on.
    pub fn apply(&mut self, block: &Arc<Block>) -> Result<(), String> {
        let delta = self.bank.check(block).map_err(|fault| fault.to_string())?;
        self.bank.advance(delta);
        let sum = self.bank.balances().values().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount));
        if sum != Some(self.total) {
            return Err("after it the balances do not add up to the genesis sum".to_owned());
        }
        self.hashes.push(block.hash());
        Ok(())
    }

    /// The state that it came to.
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// The hashes of its blocks, the genesis' first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// How far it came.
    pub fn height(&self) -> Height {
        self.bank.height()
    }

    /// The hash of the last block.
    pub fn tip(&self) -> Hash {
        self.bank.tip()
    }

    /// The sum of all settled balances.
    pub fn total(&self) -> Amount {
        self.total
    }

    /// The first height, as far as both go, at which another chain has another block.
    pub fn differs_from(&self, other: &Self) -> Option<usize> {
        self.hashes.iter().zip(&other.hashes).position(|(ours, theirs)| ours != theirs)
    }
}
