//! Exactly once: what was answered to which id, within bounds that one client cannot exhaust for another (R10).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::accounts::{Accounts, Place};
use super::aside::Aside;
use super::entry::Operation;
use super::fullest::Fullest;
use super::outcome::{Content, Lookup, Outcome, Refusal};
use super::shelf::{Existing, Forgotten, Shelf, Walked};
use crate::types::{AccountId, Seq, TransferId};

/// The ids of one account; or, under `None`, of all debit accounts that do not exist: they share one shelf and one
/// horizon, so that inventing account names fills no memory.
type Owner = Option<AccountId>;

/// What identifies a request: its id, and the account that it debits or opens.
type Identity = (TransferId, AccountId);

/// The outcomes that a home remembers. The fullest shelf forgets first, or one that is nearly as full; of its ids the
/// smallest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    capacity: usize,
    total: usize,
    shelves: Accounts<Shelf>,
    /// Of all accounts that do not exist.
    shared: Shelf,
    fullest: Aside<Fullest>,
    /// The stored records of refusals. The first key is the first live record.
    records: BTreeMap<u64, Refusals>,
    /// How many refusals are remembered, in all records.
    refused: usize,
    next_record: u64,
}

/// A stored record of refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Refusals {
    /// How many of them are remembered, as ones of this record.
    live: usize,
    /// Where to look for them: all that ever were, whether the account existed then, in the order in which they came.
    all: Aside<Vec<(bool, Identity)>>,
}

/// How far somebody has come who goes through all that is remembered, a little at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Walk {
    shelf: usize,
    walked: Walked,
}

impl Memory {
    /// An empty memory of about `capacity` ids.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(16),
            total: 0,
            shelves: Accounts::new(),
            shared: Shelf::default(),
            fullest: Aside::default(),
            records: BTreeMap::new(),
            refused: 0,
            next_record: 1,
        }
    }

    /// How many outcomes are remembered.
    pub fn len(&self) -> usize {
        self.total
    }

    /// True where none is.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    fn shelf(&self, owner: Owner) -> Option<&Shelf> {
        match owner {
            Some(account) => self.shelves.get(&account),
            None => Some(&self.shared),
        }
    }

    /// Where the shelf of `owner` is, which it has from now on.
    fn place(&mut self, owner: Owner) -> Option<Place> {
        owner.map(|account| self.shelves.place_or_default(account))
    }

    fn shelf_at(&mut self, place: Option<Place>) -> &mut Shelf {
        match place {
            Some(place) => self.shelves.at_mut(place),
            None => &mut self.shared,
        }
    }

    /// The largest forgotten id of `owner`.
    pub fn horizon(&self, owner: Owner) -> Option<TransferId> {
        self.shelf(owner).and_then(Shelf::horizon)
    }

    /// Raises a horizon; it never falls.
    pub fn raise_horizon(&mut self, owner: Owner, id: TransferId) {
        let place = self.place(owner);
        self.shelf_at(place).raise_horizon(id);
    }

    /// What is known of a request with this identity and content, the account of which is `owner` or does not exist.
    pub fn look_up(&self, existing: &Existing, owner: Owner, identity: Identity, content: Content) -> Lookup {
        self.look_up_at(existing, owner, None, identity, content)
    }

    /// The same by somebody who may know where the account's shelf is: [`Memory::shelf_of`] told it.
    pub(super) fn look_up_at(
        &self,
        existing: &Existing,
        owner: Owner,
        shelf: Option<Place>,
        identity: Identity,
        content: Content,
    ) -> Lookup {
        let own = match shelf {
            Some(place) => Some(self.shelves.at(place)),
            None => owner.and_then(|account| self.shelves.get(&account)),
        };
        let get = |shelf: &Shelf| shelf.get(&identity, existing);
        match own.and_then(get).or_else(|| get(&self.shared)) {
            Some((known, outcome)) if known == content => Lookup::Decided(outcome),
            Some(_) => Lookup::Conflict,
            None => {
                let shelf = if owner.is_some() { own } else { Some(&self.shared) };
                let forgotten = |shelf: &Shelf| !shelf.is_beyond(identity.0) && shelf.horizon() >= Some(identity.0);
                if shelf.is_some_and(forgotten) { Lookup::Expired } else { Lookup::New }
            }
        }
    }

    /// Has what an approval needs of these shelves in the cache.
    pub(super) fn fetch(&self, shelves: impl Iterator<Item = Place> + Clone) {
        for place in shelves.clone() {
            self.shelves.at(place).fetch();
            self.fullest.0.fetch(place);
        }
        shelves.for_each(|place| self.shelves.at(place).fetch_end());
    }

    /// What is remembered of an id that was used with accounts that do not exist.
    pub fn find_shared(&self, id: TransferId) -> impl Iterator<Item = (AccountId, Content, Outcome)> {
        let others =
            self.shared.others().range((id, AccountId::FIRST)..).take_while(move |((found, _), _)| *found == id);
        others.map(|((_, from), (content, outcome))| (*from, *content, outcome.clone()))
    }

    /// What is remembered of an id that was used with some of the accounts that exist, by the order in which they were
    /// first used: there are [`Memory::accounts_len`].
    pub fn find_among(
        &self,
        existing: &Existing,
        id: TransferId,
        accounts: Range<usize>,
    ) -> impl Iterator<Item = (AccountId, Content, Outcome)> {
        let shelves = accounts.map_while(|number| self.shelves.nth(number));
        let known = shelves.filter_map(move |(from, shelf)| Some((from, shelf.get(&(id, from), existing)?)));
        known.map(|(from, (content, outcome))| (from, content, outcome))
    }

    /// Of how many accounts that exist anything is, or was, remembered.
    pub fn accounts_len(&self) -> usize {
        self.shelves.len()
    }

    /// Shows the approvals up to `seq`, of which none may be unsettled: those of accounts that exist. In no order. It goes
    /// on where `walk` stands, through about `rows` outcomes, at least one, and tells whether that was the last.
    pub fn walk_approvals(
        &self,
        existing: &Existing,
        walk: &mut Walk,
        seq: Seq,
        mut rows: usize,
        mut show: impl FnMut(Seq, Operation),
    ) -> bool {
        while let Some((account, shelf)) = self.shelves.nth(walk.shelf) {
            let show = |seq, id, content: Content| show(seq, content.operation(id, account));
            // To come to another shelf takes as long as a row or two.
            if rows == 0 || !shelf.walk(account, existing, &mut walk.walked, seq, &mut rows, show) {
                return false;
            }
            rows = rows.saturating_sub(1);
            walk.shelf += 1;
        }
        true
    }

    /// Remembers an approval of an account that exists; where that of an opening does, it is settled.
    pub fn approved(&mut self, existing: &Existing, operation: &Operation, seq: Seq) {
        let shelf = self.shelf_of(operation.account());
        self.approved_at(shelf, operation, existing.place(Content::of(operation).to()), seq);
    }

    /// The same by somebody who knows where its shelf is, and the credited account among those that exist.
    pub(super) fn approved_at(&mut self, shelf: Place, operation: &Operation, credited: Option<Place>, seq: Seq) {
        let key = (operation.id, operation.account());
        self.insert(Some(shelf), key, Content::of(operation), credited, Outcome::Approved(seq));
    }

    /// Remembers the approval of an opening that is not settled, so that its account has no shelf yet.
    pub fn opening_approved(&mut self, operation: &Operation, seq: Seq) {
        let key = (operation.id, operation.account());
        self.insert(None, key, Content::of(operation), None, Outcome::Approved(seq));
    }

    /// Where the shelf of an account that exists is, which it has from now on.
    pub(super) fn shelf_of(&mut self, account: AccountId) -> Place {
        self.shelves.place_or_default(account)
    }

    /// Remembers an approval that a chain holds, unless it is forgotten: a chain is longer than a memory. An account that it
    /// opens exists, so that this too is remembered as one of its own.
    pub fn settled(&mut self, existing: &Existing, operation: &Operation, seq: Seq) {
        let shelf = self.shelf_of(operation.account());
        if self.shelves.at(shelf).horizon() < Some(operation.id) {
            self.approved_at(shelf, operation, existing.place(Content::of(operation).to()), seq);
        }
    }

    /// Accounts were opened: what the shared shelf remembers of them moves to shelves of their own. Left there, it
    /// could be forgotten under the shared horizon, while the account's own one says that its ids are new.
    pub fn give_shelves(&mut self, accounts: &BTreeSet<AccountId>) {
        let theirs = self.shared.others().iter().filter(|((_, account), _)| accounts.contains(account));
        for (identity, (content, outcome)) in theirs.map(|(key, value)| (*key, value.clone())).collect::<Vec<_>>() {
            let place = self.place(Some(identity.1));
            self.insert(place, identity, content, None, outcome);
        }
    }

    /// Remembers a refusal, as part of the record that [`Memory::close_record`] will number; `exists` tells whether its
    /// debit account has a shelf of its own.
    pub fn refused(&mut self, refusal: &Refusal, exists: bool) {
        self.refused_in(self.next_record, refusal, exists);
    }

    /// The number of the record that holds all refusals since the last call.
    pub fn close_record(&mut self) -> u64 {
        self.next_record += 1;
        self.next_record - 1
    }

    /// Remembers a stored record of refusals.
    pub fn load_record(&mut self, number: u64, refusals: &[Refusal], exists: impl Fn(AccountId) -> bool) {
        // A record all of whose refusals were written again later still stands in the store: dead, and trimmed as such.
        self.records.entry(number).or_default();
        for refusal in refusals {
            let exists = exists(refusal.from);
            // What was forgotten stays forgotten, though others of its record keep it in the store.
            if self.horizon(exists.then_some(refusal.from)) < Some(refusal.id) {
                self.refused_in(number, refusal, exists);
            }
        }
        self.continue_records_at(number + 1);
    }

    /// Numbers are dense and go on here after a restart, whatever records are left.
    pub fn continue_records_at(&mut self, number: u64) {
        self.next_record = self.next_record.max(number);
    }

    fn refused_in(&mut self, number: u64, refusal: &Refusal, exists: bool) {
        let place = self.place(exists.then_some(refusal.from));
        let outcome = Outcome::Refused(Box::new(refusal.reason.clone()), number);
        self.insert(place, (refusal.id, refusal.from), refusal.content(), None, outcome);
    }

    /// Puts an outcome on the shelf at a place, or on the shared one.
    fn insert(
        &mut self,
        place: Option<Place>,
        key: Identity,
        content: Content,
        credited: Option<Place>,
        outcome: Outcome,
    ) {
        let exists = place.is_some();
        if exists && let Some((_, outcome)) = self.shared.remove_other(&key) {
            // Decided before the account existed: one copy is enough.
            self.total -= 1;
            self.forget_refusal(&outcome);
        }
        let record = outcome.record();
        let shelf = self.shelf_at(place);
        match shelf.insert(key, content, credited, outcome) {
            None => {
                self.fullest.0.grew(place);
                self.total += 1;
            }
            // In an older record, from which it was carried over, it is dead.
            Some(before) => self.forget_refusal(&before),
        }
        if let Some(record) = record {
            self.refused += 1;
            let record = self.records.entry(record).or_default();
            record.live += 1;
            record.all.0.push((exists, key));
        }
    }

    /// An outcome that was remembered is so no longer, or not as this.
    fn forget_refusal(&mut self, outcome: &Outcome) {
        if let Some(record) = outcome.record().and_then(|number| self.records.get_mut(&number)) {
            record.live -= 1;
            self.refused -= 1;
        }
    }

    /// Forgets down to the capacity; approvals above `watermark` stay, they are in the local log. Returns the horizons
    /// that rose.
    pub fn trim(&mut self, watermark: Seq) -> BTreeMap<Owner, TransferId> {
        let mut raised = BTreeMap::new();
        if self.total <= self.capacity {
            return raised;
        }
        // A little more than needed, so that this is not done again for each transfer, and never so much that anybody
        // would notice the time that it takes.
        let target = self.capacity - self.capacity / 1_024;
        let mut stay = Vec::new();
        while self.total > target {
            let Some(place) = self.fullest.0.last() else { break };
            let size = self.shelf_at(place).len();
            // Some that it held moved to other shelves.
            if self.fullest.0.note(place, size) {
                continue;
            }
            // A horizon that rises is a record to write: so rather a quarter of one shelf than a little of many.
            let count = size.div_ceil(4).min(self.total - target);
            if let Some(id) = self.forget(place, count, watermark) {
                let shelf = self.shelf_at(place);
                shelf.raise_horizon(id);
                let (left, horizon) = (shelf.len(), shelf.horizon());
                self.fullest.0.note(place, left);
                raised.extend(horizon.map(|id| (place.map(|place| self.shelves.name_at(place)), id)));
            } else {
                // All of it is in the local log.
                self.fullest.0.note(place, 0);
                stay.push((place, size));
            }
        }
        for (place, size) in stay {
            self.fullest.0.note(place, size);
        }
        raised
    }

    /// Forgets up to `count` of the smallest ids of one shelf, and returns the greatest of them.
    fn forget(&mut self, place: Option<Place>, count: usize, watermark: Seq) -> Option<TransferId> {
        let Forgotten { count, last, others } = self.shelf_at(place).forget(count, watermark);
        self.total -= count;
        others.iter().for_each(|outcome| self.forget_refusal(outcome));
        last
    }

    /// Drops leading records of refusals that hold nothing live, and returns the number of the first that does.
    pub fn drop_dead_records(&mut self) -> Option<u64> {
        let before = self.records.keys().next().copied()?;
        while self.records.first_key_value().is_some_and(|(_, record)| record.live == 0) {
            self.records.pop_first();
        }
        let first_live = self.records.keys().next().copied().unwrap_or(self.next_record);
        (first_live != before).then_some(first_live)
    }

    /// The refusals of the oldest record, where a few of them keep a long tail of records from being trimmed. Written
    /// again as part of a new record, they free the old one.
    pub fn carry_over(&self) -> Vec<Refusal> {
        let Some((number, oldest)) = self.records.first_key_value() else { return Vec::new() };
        if self.records.len() <= 64.max(2 * self.refused) {
            return Vec::new();
        }
        let refusal = |(exists, (id, from)): &(bool, Identity)| {
            let (content, outcome) = self.shelf(exists.then_some(*from))?.others().get(&(*id, *from))?;
            match outcome {
                Outcome::Refused(reason, record) if record == number => {
                    let (to, amount) = (content.to(), content.amount());
                    Some(Refusal { id: *id, from: *from, to, amount, reason: (**reason).clone() })
                }
                _ => None,
            }
        };
        oldest.all.0.iter().filter_map(refusal).collect()
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
