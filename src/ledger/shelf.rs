//! What is remembered of one account's ids, made for clients whose ids ascend, and safe with all others.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::aside::Aside;
use super::outcome::{Content, Outcome};
use crate::types::{AccountId, Seq, TransferId};

/// What an id was used for, and what came of it.
pub(super) type Known = (Content, Outcome);

/// The outcomes of one account, or those that all accounts which do not exist share, with their horizon.
///
/// A node has one for each account that was used, and each transfer needs another: what it looks at for an id that is new
/// is 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shelf {
    /// Of one account alone: ids that were each greater than all before, in order, approvals among them with seqs that
    /// were too. Most are, and come in at the end.
    recent: VecDeque<(TransferId, Known)>,
    /// No seq in `recent` is greater.
    last_seq: Seq,
    /// No id that is remembered or forgotten is greater. Most that are looked up are, and so known to be new.
    greatest: Aside<TransferId>,
    rare: Option<Box<Rare>>,
}

/// Where somebody has come to who goes through the shelf of an account: behind this id, among the recent ones first and
/// then among the others. What is forgotten or comes in meanwhile moves nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Walked {
    others: bool,
    id: Option<TransferId>,
}

/// What most shelves do not have, or nobody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Rare {
    horizon: Option<TransferId>,
    /// All outcomes that are not recent.
    others: BTreeMap<(TransferId, AccountId), Known>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { recent: VecDeque::new(), last_seq: Seq(0), greatest: Aside(0.into()), rare: None }
    }
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.others().len()
    }

    /// The largest forgotten id.
    pub(super) fn horizon(&self) -> Option<TransferId> {
        self.rare.as_ref().and_then(|rare| rare.horizon)
    }

    /// Raises the horizon; it never falls.
    pub(super) fn raise_horizon(&mut self, id: TransferId) {
        self.greatest.0 = self.greatest.0.max(id);
        let rare = self.rare.get_or_insert_default();
        rare.horizon = rare.horizon.max(Some(id));
    }

    /// The outcomes that did not come in order.
    pub(super) fn others(&self) -> &BTreeMap<(TransferId, AccountId), Known> {
        static NONE: BTreeMap<(TransferId, AccountId), Known> = BTreeMap::new();
        self.rare.as_ref().map_or(&NONE, |rare| &rare.others)
    }

    fn others_mut(&mut self) -> &mut BTreeMap<(TransferId, AccountId), Known> {
        &mut self.rare.get_or_insert_default().others
    }

    /// Takes one of them away.
    pub(super) fn remove_other(&mut self, key: &(TransferId, AccountId)) -> Option<Known> {
        let rare = self.rare.as_mut()?;
        let known = rare.others.remove(key);
        // Two shelves are equal that remember and forgot the same, whatever they once had.
        if rare.others.is_empty() && rare.horizon.is_none() {
            self.rare = None;
        }
        known
    }

    /// True where an id is greater than all that were ever here: neither remembered nor forgotten.
    pub(super) fn is_beyond(&self, id: TransferId) -> bool {
        id > self.greatest.0
    }

    pub(super) fn get(&self, key: &(TransferId, AccountId)) -> Option<&Known> {
        if self.is_beyond(key.0) {
            return None;
        }
        match self.place(key.0) {
            Ok(place) => Some(&self.recent[place].1),
            Err(_) => self.others().get(key),
        }
    }

    /// Shows the approvals up to `seq` of this shelf, which is of `account` alone. It begins where `walked` stands, ends
    /// where `rows` outcomes were gone through, which are counted down, and tells whether that was the last.
    pub(super) fn walk(
        &self,
        account: AccountId,
        walked: &mut Walked,
        seq: Seq,
        rows: &mut usize,
        mut show: impl FnMut(Seq, TransferId, Content),
    ) -> bool {
        let mut pass = |walked: &mut Walked, id: TransferId, (content, outcome): &Known| {
            if *rows == 0 {
                return false;
            }
            *rows -= 1;
            walked.id = Some(id);
            outcome.seq().filter(|approved| *approved <= seq).into_iter().for_each(|seq| show(seq, id, *content));
            true
        };
        if !walked.others {
            let first = walked.id.map_or(0, |last| self.recent.partition_point(|(id, _)| *id <= last));
            let recent = self.recent.range(first..).take_while(|(_, (_, outcome))| outcome.seq() <= Some(seq));
            for (id, known) in recent {
                if !pass(walked, *id, known) {
                    return false;
                }
            }
            *walked = Walked { others: true, id: None };
        }
        let first = walked.id.map_or(Bound::Unbounded, |last| Bound::Excluded((last, account)));
        for ((id, _), known) in self.others().range((first, Bound::Unbounded)) {
            if !pass(walked, *id, known) {
                return false;
            }
        }
        *walked = Walked::default();
        true
    }

    /// Where among the recent ones an id is, or where it would belong.
    fn place(&self, id: TransferId) -> Result<usize, usize> {
        self.recent.binary_search_by_key(&id, |(known, _)| *known)
    }

    fn take_recent(&mut self, place: usize) -> Option<Known> {
        let (_, known) = self.recent.remove(place)?;
        if self.recent.is_empty() {
            self.last_seq = Seq(0);
        }
        Some(known)
    }

    /// Remembers an outcome, and returns the one that it replaces. `of_one` says that this is the shelf of one account.
    pub(super) fn insert(
        &mut self,
        of_one: bool,
        key: (TransferId, AccountId),
        content: Content,
        outcome: Outcome,
    ) -> Option<Known> {
        let beyond = self.is_beyond(key.0);
        let before = if beyond {
            None
        } else {
            match self.place(key.0) {
                Ok(place) => self.take_recent(place),
                Err(_) => self.remove_other(&key),
            }
        };
        self.greatest.0 = self.greatest.0.max(key.0);
        let follows = (beyond || self.recent.back().is_none_or(|(last, _)| key.0 > *last))
            && outcome.seq().is_none_or(|seq| seq > self.last_seq);
        if of_one && follows {
            self.last_seq = outcome.seq().unwrap_or(self.last_seq);
            self.recent.push_back((key.0, (content, outcome)));
        } else {
            self.others_mut().insert(key, (content, outcome));
        }
        before
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
            let other = self.others().range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).next();
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
                    if let Some((_, outcome)) = self.remove_other(&key) {
                        forgotten.push((key, outcome));
                    }
                }
                (_, Some((key, false))) => after = Some(key),
                (_, None) => break,
            }
        }
        stay.into_iter().rev().for_each(|known| self.recent.push_front(known));
        if self.recent.is_empty() {
            self.last_seq = Seq(0);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::types::Amount;

    /// The approvals up to a seq, in id order.
    fn walked_bit_by_bit(
        shelf: &Shelf,
        account: AccountId,
        seq: Seq,
        entropy: &mut Entropy,
    ) -> Vec<(Seq, TransferId, Content)> {
        let (mut walked, mut approvals) = (Walked::default(), Vec::new());
        loop {
            let mut rows = 1 + usize::try_from(entropy.below(20)).unwrap();
            let show = |seq, id, content| approvals.push((seq, id, content));
            if shelf.walk(account, &mut walked, seq, &mut rows, show) {
                break;
            }
            assert_eq!(rows, 0);
        }
        assert_eq!(walked, Walked::default(), "ready for the next shelf");
        approvals.sort_unstable_by_key(|(_, id, _)| *id);
        approvals
    }

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
                    let seq = if entropy.below(3) == 0 { entropy.below(100) } else { step };
                    let outcome = Outcome::Approved(Seq(seq));
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
                if of_one {
                    let bound = Seq(entropy.below(300));
                    let expected = expected.iter().map(|((id, _), known)| (*id, known));
                    let expected = expected.map(|(id, (content, outcome))| (outcome.seq().unwrap(), id, *content));
                    let expected: Vec<_> = expected.filter(|(seq, ..)| *seq <= bound).collect();
                    assert_eq!(walked_bit_by_bit(&shelf, account, bound, &mut entropy), expected);
                }
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
    fn a_remembered_id_takes_96_bytes_and_a_shelf_one_line_of_a_cache() {
        assert_eq!(size_of::<(TransferId, Known)>(), 96, "docs/performance.md tells it");
        assert_eq!(size_of::<Shelf>(), 64);
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
        assert!(shelf.others().keys().map(|(id, _)| *id).eq([4, 7].map(TransferId::from)));
        // Whoever looks for approvals up to a seq ends at the first in the row that is above it.
        let (content, outcome) = (Content::transfer(account, Amount::new(1)), Outcome::Approved(Seq(8)));
        shelf.insert(true, (10.into(), account), content, outcome);
        assert_eq!((shelf.recent.len(), shelf.others().len()), (3, 3), "the seq is lower than that of id 9");
    }
}
