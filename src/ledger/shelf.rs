//! What is remembered of one account's ids, made for clients whose ids ascend, and safe with all others.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::memory::{Content, Outcome};
use crate::types::{AccountId, Seq, TransferId};

/// What an id was used for, and what came of it.
pub(super) type Known = (Content, Outcome);

/// The outcomes of one account, or those that all accounts which do not exist share, with their horizon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shelf {
    pub(super) horizon: Option<TransferId>,
    /// Of one account alone: ids that were each greater than all before, in order. Most are, and come in at the end.
    recent: VecDeque<(TransferId, Known)>,
    /// The last id of `recent`. Most that are looked up are greater, and known to be new without a look at those.
    last: Option<TransferId>,
    /// All others.
    pub(super) others: BTreeMap<(TransferId, AccountId), Known>,
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.others.len()
    }

    pub(super) fn get(&self, key: &(TransferId, AccountId)) -> Option<&Known> {
        match self.place(key.0) {
            Ok(place) => Some(&self.recent[place].1),
            Err(_) => self.others.get(key),
        }
    }

    /// All that is remembered.
    pub(super) fn all(&self) -> impl Iterator<Item = (TransferId, &Known)> {
        let others = self.others.iter().map(|((id, _), known)| (*id, known));
        self.recent.iter().map(|(id, known)| (*id, known)).chain(others)
    }

    /// Where among the recent ones an id is, or where it would belong: most are greater than all, and found at once.
    fn place(&self, id: TransferId) -> Result<usize, usize> {
        match self.last {
            Some(last) if id <= last => self.recent.binary_search_by_key(&id, |(known, _)| *known),
            _ => Err(self.recent.len()),
        }
    }

    /// Remembers an outcome, and returns the one that it replaces. `of_one` says that this is the shelf of one account.
    pub(super) fn insert(
        &mut self,
        of_one: bool,
        key: (TransferId, AccountId),
        content: Content,
        outcome: Outcome,
    ) -> Option<Known> {
        let known = (content, outcome);
        match self.place(key.0) {
            Ok(place) => Some(std::mem::replace(&mut self.recent[place].1, known)),
            Err(place) if of_one && place == self.recent.len() && !self.others.contains_key(&key) => {
                self.last = Some(key.0);
                self.recent.push_back((key.0, known));
                None
            }
            Err(_) => self.others.insert(key, known),
        }
    }

    /// Forgets up to `count` of the smallest ids; approvals above `watermark` stay. `account` is that of the shelf, where
    /// it is of one. Returns what was forgotten, in order.
    pub(super) fn forget(
        &mut self,
        account: Option<AccountId>,
        count: usize,
        watermark: Seq,
    ) -> Vec<((TransferId, AccountId), Outcome)> {
        let forgettable = |(_, outcome): &Known| !matches!(outcome, Outcome::Approved(seq) if *seq > watermark);
        let mut forgotten = Vec::new();
        // Those that were gone past: recent ones are put back in the end.
        let (mut stay, mut after) = (Vec::new(), None);
        while forgotten.len() < count {
            let other = self.others.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).next();
            let other = other.map(|(key, known)| (*key, forgettable(known)));
            let recent = self.recent.front().map(|(id, _)| *id);
            match (recent, other) {
                (Some(id), other) if other.is_none_or(|((other, _), _)| id < other) => {
                    let Some((id, known)) = self.recent.pop_front() else { break };
                    match account {
                        Some(account) if forgettable(&known) => forgotten.push(((id, account), known.1)),
                        _ => stay.push((id, known)),
                    }
                }
                (_, Some((key, true))) => {
                    if let Some((_, outcome)) = self.others.remove(&key) {
                        forgotten.push((key, outcome));
                    }
                }
                (_, Some((key, false))) => after = Some(key),
                (_, None) => break,
            }
        }
        stay.into_iter().rev().for_each(|known| self.recent.push_front(known));
        self.last = self.recent.back().map(|(id, _)| *id);
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::types::Amount;

    /// Remembers and forgets at random, and compares with one ordered map.
    fn is_a_map_that_forgets_its_smallest_ids(accounts: &[&str]) {
        let accounts: Vec<AccountId> = accounts.iter().map(|account| account.parse().unwrap()).collect();
        let of_one = accounts.len() == 1;
        for seed in 0..40 {
            let mut entropy = Entropy::from_seed(seed);
            let (mut shelf, mut expected) = (Shelf::default(), BTreeMap::<_, Known>::new());
            for step in 0..300 {
                let account = accounts[usize::try_from(entropy.below(accounts.len() as u64)).unwrap()];
                // Mostly ascending, as clients' ids are.
                let id = if entropy.below(3) == 0 { entropy.below(80) } else { step };
                let key = (TransferId::from(u128::from(id)), account);
                if entropy.below(12) > 0 {
                    let content = Content::transfer(account, Amount::new(entropy.below(9)));
                    let outcome = Outcome::Approved(Seq(entropy.below(100)));
                    let before = shelf.insert(of_one, key, content, outcome.clone());
                    assert_eq!(before, expected.insert(key, (content, outcome)));
                } else {
                    let (count, watermark) = (entropy.below(20), Seq(50));
                    let passes = |known: &Known| !matches!(known.1, Outcome::Approved(seq) if seq > watermark);
                    let smallest = expected.iter().filter(|(_, known)| passes(known)).map(|(key, _)| *key);
                    let smallest: Vec<_> = smallest.take(usize::try_from(count).unwrap()).collect();
                    let forgotten = smallest.iter().map(|key| (*key, expected.remove(key).unwrap().1));
                    let forgotten: Vec<_> = forgotten.collect();
                    let account = of_one.then_some(account);
                    assert_eq!(shelf.forget(account, usize::try_from(count).unwrap(), watermark), forgotten);
                }
                assert_eq!((shelf.len(), shelf.get(&key)), (expected.len(), expected.get(&key)));
            }
            assert!(expected.iter().all(|(key, known)| shelf.get(key) == Some(known)));
        }
    }

    #[test]
    fn r10_the_shelf_of_an_account_forgets_its_smallest_ids_first_and_none_of_the_local_log() {
        is_a_map_that_forgets_its_smallest_ids(&["A"]);
    }

    #[test]
    fn r10_so_does_the_shelf_that_accounts_share() {
        is_a_map_that_forgets_its_smallest_ids(&["x@A", "y@A", "z@A"]);
    }

    #[test]
    fn ids_that_ascend_go_into_the_row_and_only_others_into_the_tree() {
        let account: AccountId = "A".parse().unwrap();
        let mut shelf = Shelf::default();
        for id in [3, 5, 9, 4, 7] {
            let (content, outcome) = (Content::transfer(account, Amount::new(1)), Outcome::Approved(Seq(id)));
            shelf.insert(true, (u128::from(id).into(), account), content, outcome);
        }
        let row: Vec<_> = shelf.recent.iter().map(|(id, _)| *id).collect();
        assert_eq!(row, [3, 5, 9].map(TransferId::from));
        assert!(shelf.others.keys().map(|(id, _)| *id).eq([4, 7].map(TransferId::from)));
    }
}
