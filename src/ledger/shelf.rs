//! What is remembered of one account's ids, made for clients whose ids ascend, and safe with all others.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::ops::Bound;

use super::accounts::{Accounts, Place};
use super::aside::Aside;
use super::outcome::{Content, Outcome};
use crate::types::{AccountId, Amount, Seq, TransferId};

/// What an id was used for, and what came of it.
pub(super) type Known = (Content, Outcome);

/// All accounts that exist: the settled balances. A row of a shelf tells an account by its place there, in four bytes
/// instead of forty-eight; so whoever asks for what is in a row has to have them at hand, always the same ones.
pub(super) type Existing = Accounts<Amount>;

/// An approval in a row. A node remembers a million, so they are packed: an id would be aligned to sixteen bytes. Two are
/// compared by where the account is, which is the same for nodes with the same history of openings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, packed(8))]
struct Approved {
    id: TransferId,
    seq: Seq,
    amount: Amount,
    to: Place,
}

impl Approved {
    /// A copy: no reference to what is packed can be had.
    fn id(&self) -> TransferId {
        self.id
    }

    fn content(&self, existing: &Existing) -> Content {
        Content::transfer(existing.name_at(self.to), self.amount)
    }
}

/// The outcomes of one account, or those that all accounts which do not exist share, with their horizon.
///
/// A node has one for each account that was used, and each transfer needs another: what it looks at for an id that is new
/// is 64 bytes, one line of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(align(64))]
pub(super) struct Shelf {
    /// Of one account alone: approvals with ids and seqs that were each greater than all before. Most are, and come in at
    /// the end.
    recent: VecDeque<Approved>,
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

/// What a shelf forgot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// How many ids.
    pub(super) count: usize,
    /// The greatest of them.
    pub(super) last: Option<TransferId>,
    /// The outcomes of those that had not come in order.
    pub(super) others: Vec<Outcome>,
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

    /// Has the shelf itself in the cache.
    pub(super) fn fetch(&self) {
        black_box(self.last_seq);
    }

    /// Has the end of its row in the cache, where the next approval goes.
    pub(super) fn fetch_end(&self) {
        black_box(self.recent.back().map(|approved| approved.to));
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

    pub(super) fn get(&self, key: &(TransferId, AccountId), existing: &Existing) -> Option<Known> {
        if self.is_beyond(key.0) {
            return None;
        }
        match self.row_of(key.0) {
            Ok(row) => {
                let approved = &self.recent[row];
                Some((approved.content(existing), Outcome::Approved(approved.seq)))
            }
            Err(_) => self.others().get(key).cloned(),
        }
    }

    /// Shows the approvals up to `seq` of this shelf, which is of `account` alone. It begins where `walked` stands, ends
    /// where `rows` outcomes were gone through, which are counted down, and tells whether that was the last.
    pub(super) fn walk(
        &self,
        account: AccountId,
        existing: &Existing,
        walked: &mut Walked,
        seq: Seq,
        rows: &mut usize,
        mut show: impl FnMut(Seq, TransferId, Content),
    ) -> bool {
        let mut pass = |walked: &mut Walked, id: TransferId| {
            let passes = *rows > 0;
            if passes {
                *rows -= 1;
                walked.id = Some(id);
            }
            passes
        };
        if !walked.others {
            let first = walked.id.map_or(0, |last| self.recent.partition_point(|approved| approved.id() <= last));
            for approved in self.recent.range(first..).take_while(|approved| approved.seq <= seq) {
                if !pass(walked, approved.id()) {
                    return false;
                }
                show(approved.seq, approved.id(), approved.content(existing));
            }
            *walked = Walked { others: true, id: None };
        }
        let first = walked.id.map_or(Bound::Unbounded, |last| Bound::Excluded((last, account)));
        for ((id, _), (content, outcome)) in self.others().range((first, Bound::Unbounded)) {
            if !pass(walked, *id) {
                return false;
            }
            outcome.seq().filter(|approved| *approved <= seq).into_iter().for_each(|seq| show(seq, *id, *content));
        }
        *walked = Walked::default();
        true
    }

    /// Where among the recent ones an id is, or where it would belong.
    fn row_of(&self, id: TransferId) -> Result<usize, usize> {
        self.recent.binary_search_by_key(&id, |approved| approved.id())
    }

    fn take_recent(&mut self, row: usize) -> Option<Outcome> {
        let approved = self.recent.remove(row)?;
        if self.recent.is_empty() {
            self.last_seq = Seq(0);
        }
        Some(Outcome::Approved(approved.seq))
    }

    /// Remembers an outcome, and returns the one that it replaces. `credited` is where the account in `content` is among
    /// those that exist, on the shelf of one account; on the one that is shared it is `None`.
    pub(super) fn insert(
        &mut self,
        key: (TransferId, AccountId),
        content: Content,
        credited: Option<Place>,
        outcome: Outcome,
    ) -> Option<Outcome> {
        let beyond = self.is_beyond(key.0);
        let before = if beyond {
            None
        } else {
            match self.row_of(key.0) {
                Ok(row) => self.take_recent(row),
                Err(_) => self.remove_other(&key).map(|(_, outcome)| outcome),
            }
        };
        self.greatest.0 = self.greatest.0.max(key.0);
        match (outcome, credited) {
            (Outcome::Approved(seq), Some(to))
                if seq > self.last_seq && (beyond || self.recent.back().is_none_or(|last| key.0 > last.id())) =>
            {
                self.last_seq = seq;
                self.recent.push_back(Approved { id: key.0, seq, amount: content.amount(), to });
            }
            (outcome, _) => drop(self.others_mut().insert(key, (content, outcome))),
        }
        before
    }

    /// Forgets up to `count` of the smallest ids; approvals above `watermark` stay.
    pub(super) fn forget(&mut self, count: usize, watermark: Seq) -> Forgotten {
        let forgettable = |(_, outcome): &Known| !matches!(outcome, Outcome::Approved(seq) if *seq > watermark);
        let mut forgotten = Forgotten::default();
        let mut after = Bound::Unbounded;
        loop {
            let others = self.others().range((after, Bound::Unbounded));
            let other = others.filter(|(_, known)| forgettable(known)).map(|(key, _)| *key).next();
            let run = self.recent_up_to(count - forgotten.count, other.map(|(id, _)| id), watermark);
            if let Some(last) = run.checked_sub(1) {
                forgotten.last = Some(self.recent[last].id());
                forgotten.count += run;
                self.recent.drain(..run);
            }
            let Some(key) = other.filter(|_| forgotten.count < count) else { break };
            forgotten.last = Some(key.0);
            forgotten.count += 1;
            forgotten.others.extend(self.remove_other(&key).map(|(_, outcome)| outcome));
            after = Bound::Excluded(key);
        }
        if self.recent.is_empty() {
            self.last_seq = Seq(0);
        }
        forgotten
    }

    /// How many of the recent ones, `count` at most, have ids below `id` and seqs up to `watermark`.
    fn recent_up_to(&self, count: usize, id: Option<TransferId>, watermark: Seq) -> usize {
        let passes = |approved: &Approved| approved.seq <= watermark && id.is_none_or(|id| approved.id() < id);
        let count = count.min(self.recent.len());
        // Ids and seqs ascend: mostly one look at the last of them is enough, and the others are not waited for.
        match count.checked_sub(1) {
            Some(last) if !passes(&self.recent[last]) => self.recent.partition_point(passes),
            _ => count,
        }
    }
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
