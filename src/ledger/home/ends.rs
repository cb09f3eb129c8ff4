//! Where the tables of a home have the accounts of a transfer, so that each account is looked for once for each transfer.

use std::hint::black_box;

use super::Home;
use crate::ledger::accounts::Place;
use crate::types::AccountId;

/// The two accounts of a transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The debit account, among those of this home; `None` where it does not exist.
    pub(super) from: Option<Place>,
    /// The credit account; `None` where no block has opened it.
    pub(super) to: Option<To>,
}

/// A credit account that exists.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// Here: its place among the accounts of this home.
    Here(Place),
    /// At another home: its place among the settled balances.
    Elsewhere(Place),
}

/// Where an account of this home has its other values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    /// Its place among the settled balances.
    pub(super) settled: Place,
    /// The place of its shelf in the memory, since that was used first.
    pub(super) shelf: Option<Place>,
}

impl Home {
    /// Looks for the accounts of a transfer.
    pub(super) fn ends(&self, from: AccountId, to: AccountId) -> Ends {
        // Of its own accounts a home has a table that is smaller, and in use.
        let credit = if to.home() == self.me {
            self.spendable.place(to).map(To::Here)
        } else {
            self.bank.balances().place(to).map(To::Elsewhere)
        };
        Ends { from: self.spendable.place(from), to: credit }
    }

    /// The shelf of the debit account, where that is known.
    pub(super) fn shelf(&self, ends: Ends) -> Option<Place> {
        self.beside.0[ends.from?.index()].shelf
    }

    /// The same two accounts among the settled balances.
    pub(super) fn settled_places(&self, ends: Ends) -> Option<[Place; 2]> {
        let to = match ends.to? {
            To::Here(place) => self.beside.0[place.index()].settled,
            To::Elsewhere(place) => place,
        };
        Some([self.beside.0[ends.from?.index()].settled, to])
    }

    /// Makes an account of this home known to all that is kept beside what can be spent of it.
    pub(super) fn note_beside(&mut self, account: AccountId) {
        let settled = self.bank.balances().place(account).expect("an account of this home is one of the bank's");
        self.beside.0.push(Beside { settled, shelf: None });
    }

    /// Has what deciding these transfers needs in the cache: the processor waits for many places in memory at the same time
    /// where it is told of them one right after the other, and none depends on what stands in another.
    pub(super) fn fetch(&self, transfers: impl Iterator<Item = Ends> + Clone) {
        let fetch = |place: Place| {
            black_box((*self.spendable.at(place), self.beside.0[place.index()].shelf));
        };
        for ends in transfers.clone() {
            ends.from.into_iter().for_each(fetch);
            if let Some(To::Here(to)) = ends.to {
                fetch(to);
            }
        }
        self.memory.fetch(transfers.filter_map(|ends| self.shelf(ends)));
    }
}
