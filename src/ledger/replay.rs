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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Action, Operation, Run};
    use crate::types::{NodeId, Seq};

    fn genesis() -> Genesis {
        Genesis::with_equal_openings(["A", "B", "C"].map(|name| name.parse::<NodeId>().unwrap()), Amount::new(100))
            .unwrap()
    }

    /// A block over what was replayed, by which A pays B.
    fn block(replay: &Replay, amount: u64) -> Arc<Block> {
        let (bank, [a, b]) = (replay.bank(), ["A", "B"].map(|name| name.parse().unwrap()));
        let action = Action::Transfer { from: a, to: b, amount: Amount::new(amount) };
        let operations = vec![Operation { id: u128::from(amount).into(), action }];
        let run = Run { origin: a.home(), first: bank.watermark(a.home()).next(), operations };
        Arc::new(Block::new(bank.height().next(), bank.tip(), bank.state(), vec![run]).unwrap())
    }

    /// A chain of blocks that move these amounts.
    fn chain(amounts: &[u64]) -> Replay {
        let mut replay = Replay::new(&genesis());
        for amount in amounts {
            replay.apply(&block(&replay, *amount)).unwrap();
        }
        replay
    }

    #[test]
    fn r5_a_chain_is_told_as_far_as_it_is_sound() {
        let mut replay = Replay::new(&genesis());
        let (first, foreign) = (block(&replay, 30), block(&replay, 40));
        assert_eq!(replay.apply(&first), Ok(()));
        let overdraft = block(&replay, 71);
        for wrong in [&first, &foreign, &overdraft] {
            replay.apply(wrong).unwrap_err();
        }
        assert_eq!((replay.height(), replay.tip(), replay.total()), (Height(1), first.hash(), Amount::new(300)));
        assert_eq!(replay.hashes(), [genesis().id(), first.hash()]);
        assert_eq!(replay.bank().watermark("A".parse().unwrap()), Seq(1));
    }

    #[test]
    fn two_histories_differ_from_the_height_on_at_which_they_part() {
        assert_eq!(chain(&[1, 2, 3]).differs_from(&chain(&[1, 5, 3])), Some(2));
        assert_eq!(chain(&[1]).differs_from(&chain(&[2])), Some(1));
        for length in 0..=3 {
            assert_eq!(chain(&[1, 2, 3]).differs_from(&chain(&[1, 2, 3][..length])), None, "one is only longer");
            assert_eq!(chain(&[1, 2, 3][..length]).differs_from(&chain(&[1, 2, 3])), None);
        }
    }
}
