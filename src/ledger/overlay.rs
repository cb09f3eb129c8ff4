//! A table of accounts under trial: what a block would change, beside what is there.

use std::collections::BTreeMap;

use super::accounts::{Accounts, Place};
use crate::types::AccountId;

#[expect(clippy::disallowed_types, reason = "what is taken out of it is sorted")]
type Few<V> = std::collections::HashMap<Place, V, foldhash::fast::RandomState>;

/// Values that are different above a table, found by their place in it; sorted before anybody sees them.
#[derive(Clone, Debug)]
enum Changed<V> {
    Few(Few<V>),
    /// Room for all of them, where it will be used.
    Many(Vec<Option<V>>),
}

impl<V: Copy> Changed<V> {
    fn get(&self, place: Place) -> Option<V> {
        match self {
            Self::Few(changed) => changed.get(&place).copied(),
            Self::Many(changed) => changed[place.index()],
        }
    }

    fn set(&mut self, place: Place, value: V) {
        match self {
            Self::Few(changed) => drop(changed.insert(place, value)),
            Self::Many(changed) => changed[place.index()] = Some(value),
        }
    }
}

/// Whether it is quicker to sort so many changes than to go through all accounts in their order: names are long, and
/// compared a dozen times each.
const fn are_few(changes: usize, accounts: usize) -> bool {
    changes < accounts / 16
}

/// A table under trial: what is there, and what would be different.
#[derive(Clone, Debug)]
pub(super) struct Overlay<'a, V> {
    below: &'a Accounts<V>,
    changed: Changed<V>,
    added: BTreeMap<AccountId, V>,
}

/// What an overlay changes in the table below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changes<V> {
    /// In account order; without a place where the account is new.
    values: Vec<(AccountId, V, Option<Place>)>,
}

impl<'a, V: Copy> Overlay<'a, V> {
    /// Over `below`, with room for so many changes.
    pub(super) fn new(below: &'a Accounts<V>, changes: usize) -> Self {
        let changed = if are_few(changes, below.len()) {
            let mut few = Few::default();
            few.reserve(changes);
            Changed::Few(few)
        } else {
            Changed::Many(vec![None; below.len()])
        };
        Self { below, changed, added: BTreeMap::new() }
    }

    /// Where the table below has an account, for the calls of the others that name both. It is looked for unless it is
    /// where it should be.
    pub(super) fn below(&self, account: AccountId, should_be: Option<Place>) -> Option<Place> {
        should_be.filter(|place| self.below.is_at(account, *place)).or_else(|| self.below.place(account))
    }

    pub(super) fn get(&self, account: AccountId, below: Option<Place>) -> Option<V> {
        match below {
            Some(place) => Some(self.changed.get(place).unwrap_or_else(|| *self.below.at(place))),
            None => self.added.get(&account).copied(),
        }
    }

    pub(super) fn set(&mut self, account: AccountId, below: Option<Place>, value: V) {
        match below {
            Some(place) => self.changed.set(place, value),
            None => drop(self.added.insert(account, value)),
        }
    }

    pub(super) fn finish(self) -> Changes<V> {
        let Self { below, changed, added } = self;
        let entry = |(place, value): (Place, V)| (below.name_at(place), value, Some(place));
        let few = matches!(changed, Changed::Few(_));
        let mut values: Vec<_> = match changed {
            Changed::Few(changed) => changed.into_iter().map(entry).collect(),
            Changed::Many(changed) => {
                let in_order = below.in_order().filter_map(|place| Some((place, changed[place.index()]?)));
                in_order.map(entry).collect()
            }
        };
        if few || !added.is_empty() {
            values.extend(added.into_iter().map(|(account, value)| (account, value, None)));
            values.sort_unstable_by_key(|(account, ..)| *account);
        }
        Changes { values }
    }
}

impl<V: Copy> Changes<V> {
    /// All that is different, in account order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (AccountId, V)> {
        self.values.iter().map(|(account, value, _)| (*account, *value))
    }

    /// Makes the changes in the table that the overlay was laid over.
    pub(super) fn apply(self, below: &mut Accounts<V>) {
        for (account, value, place) in self.values {
            match place {
                Some(place) => *below.at_mut(place) = value,
                None => drop(below.insert(account, value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    #[test]
    fn changes_come_in_account_order_and_hold_what_was_set_whether_they_are_few_or_many() {
        assert!(are_few(0, 16) && !are_few(1, 16) && are_few(61, 1_000) && !are_few(62, 1_000));
        let account = |number: u64| -> AccountId { format!("a{number}@A").parse().unwrap() };
        let mut entropy = Entropy::from_seed(2);
        for (changes, added) in [(3, 0), (3, 2), (40, 0), (40, 3), (0, 1)] {
            // In another order than that of the names.
            let mut table: Accounts<u64> = Accounts::new();
            for number in (0..200).rev() {
                table.insert(account(number), number);
            }
            let mut expected: BTreeMap<AccountId, u64> =
                table.iter().map(|(account, value)| (*account, *value)).collect();
            let mut overlay = Overlay::new(&table, changes);
            let mut set = BTreeMap::new();
            for change in 0..changes + added {
                let number = if change < changes { entropy.below(200) } else { 200 + change as u64 };
                let (account, value) = (account(number), entropy.below(1_000));
                let below = overlay.below(account, None);
                assert_eq!(overlay.get(account, below), expected.get(&account).copied());
                overlay.set(account, below, value);
                assert_eq!(overlay.get(account, below), Some(value));
                set.insert(account, value);
                expected.insert(account, value);
            }
            let changed = overlay.finish();
            assert!(changed.iter().eq(set), "{changes} and {added}");
            changed.apply(&mut table);
            assert!(table.iter().eq(expected.iter()), "{changes} and {added}");
        }
    }

    #[test]
    fn an_account_is_looked_for_unless_it_is_where_it_should_be() {
        let table: Accounts<()> = ["x@A", "y@A"].map(|name| (name.parse().unwrap(), ())).into_iter().collect();
        let overlay = Overlay::new(&table, 0);
        let [x, y, z] = ["x@A", "y@A", "z@A"].map(|name| name.parse::<AccountId>().unwrap());
        for should_be in [None, table.place(x), table.place(y), Some(Place::new(2))] {
            assert_eq!(overlay.below(x, should_be), table.place(x));
            assert_eq!(overlay.below(z, should_be), None);
        }
    }
}
