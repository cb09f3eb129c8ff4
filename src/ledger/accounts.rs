//! A table with one value for each account: found by a hash, since every transfer looks several up, and gone through in
//! account order, since what is hashed, printed or compared must be the same everywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Index;

use indexmap::IndexSet;

use super::order::Order;
use crate::types::AccountId;

/// In the order in which accounts came, wherever their hashes are: a seed of its own for each process changes nothing, and
/// keeps those who choose account names from choosing names that collide.
type Names = IndexSet<AccountId, foldhash::fast::RandomState>;

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

/// One value for each of some accounts. Accounts come, and none goes.
#[derive(Clone)]
pub struct Accounts<V> {
    names: Names,
    /// By place. Apart from the names: who knows a place looks only at the value, and more of these fit into a cache.
    values: Vec<V>,
    /// The places, in account order.
    order: Order,
}

/// The accounts of so many operations are looked for before the first is decided: the processor waits for them together,
/// where it would wait for each.
pub(crate) const LOOKED_FOR_AT_ONCE: usize = 32;

/// Where an account's value is, for as long as the table is there, and in each copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

impl Place {
    pub(super) fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("memory ends before 2^32 accounts"))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl<V> Accounts<V> {
    /// An empty table.
    pub fn new() -> Self {
        Self { names: Names::default(), values: Vec::new(), order: Order::default() }
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where the value of an account is.
    pub fn place(&self, account: AccountId) -> Option<Place> {
        self.names.get_index_of(&account).map(Place::new)
    }

    /// The account at a place of this table.
    pub fn name_at(&self, place: Place) -> AccountId {
        *name_at(&self.names, place)
    }

    /// The value at a place of this table.
    pub fn at(&self, place: Place) -> &V {
        &self.values[place.index()]
    }

    /// The account that came to this table as the one with this number, counted from 0, and its value.
    pub fn nth(&self, number: usize) -> Option<(AccountId, &V)> {
        self.names.get_index(number).map(|account| (*account, &self.values[number]))
    }

    /// The value at a place of this table, to be changed.
    pub fn at_mut(&mut self, place: Place) -> &mut V {
        &mut self.values[place.index()]
    }

    /// The value of an account.
    pub fn get(&self, account: &AccountId) -> Option<&V> {
        self.place(*account).map(|place| self.at(place))
    }

    /// The value of an account, to be changed.
    pub fn get_mut(&mut self, account: &AccountId) -> Option<&mut V> {
        self.place(*account).map(|place| self.at_mut(place))
    }

    /// True where the account is in the table.
    pub fn contains_key(&self, account: &AccountId) -> bool {
        self.names.contains(account)
    }

    /// Sets the value of an account, and returns the one before.
    pub fn insert(&mut self, account: AccountId, value: V) -> Option<V> {
        let before = self.insert_anywhere(account, value);
        if before.is_none() {
            self.order.insert(Place::new(self.len() - 1), in_account_order(&self.names));
        }
        before
    }

    /// The same, but for the order, where a new account is still to come in.
    fn insert_anywhere(&mut self, account: AccountId, value: V) -> Option<V> {
        let (index, is_new) = self.names.insert_full(account);
        if is_new {
            self.values.push(value);
            return None;
        }
        Some(std::mem::replace(&mut self.values[index], value))
    }

    /// Where the value of an account is; where it has none, `V`'s default becomes it.
    pub fn place_or_default(&mut self, account: AccountId) -> Place
    where
        V: Default,
    {
        self.place(account).unwrap_or_else(|| {
            self.insert(account, V::default());
            Place::new(self.len() - 1)
        })
    }

    /// All accounts with their values, in account order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&AccountId, &V)> + Clone {
        self.in_order().map(|place| (name_at(&self.names, place), self.at(place)))
    }

    fn in_order(&self) -> impl ExactSizeIterator<Item = Place> + Clone {
        self.order.iter(in_account_order(&self.names))
    }

    /// All accounts with their values, in no order that means anything.
    pub fn unordered(&self) -> impl ExactSizeIterator<Item = (&AccountId, &V)> {
        self.names.iter().zip(&self.values)
    }

    /// All values, in account order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> + Clone {
        self.in_order().map(|place| self.at(place))
    }
}

fn name_at(names: &Names, place: Place) -> &AccountId {
    names.get_index(place.index()).expect("places stay as long as their table")
}

/// Whether the account at one place comes before that at another.
fn in_account_order(names: &Names) -> impl Fn(Place, Place) -> bool + Copy {
    move |one, other| name_at(names, one) < name_at(names, other)
}

impl<V> Default for Accounts<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> FromIterator<(AccountId, V)> for Accounts<V> {
    /// Of an account that comes twice the last value counts.
    fn from_iter<I: IntoIterator<Item = (AccountId, V)>>(values: I) -> Self {
        let (mut table, values) = (Self::new(), values.into_iter());
        table.names.reserve(values.size_hint().0);
        table.values.reserve(values.size_hint().0);
        for (account, value) in values {
            table.insert_anywhere(account, value);
        }
        let mut order: Vec<Place> = (0..table.len()).map(Place::new).collect();
        order.sort_unstable_by_key(|place| table.name_at(*place));
        table.order = Order::of(order);
        table
    }
}

impl<V> Index<&AccountId> for Accounts<V> {
    type Output = V;

    fn index(&self, account: &AccountId) -> &V {
        self.get(account).expect("the account is in the table")
    }
}

impl<V: PartialEq> PartialEq for Accounts<V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for Accounts<V> {}

impl<V: Hash> Hash for Accounts<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<V: fmt::Debug> fmt::Debug for Accounts<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
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
        let there =
            should_be.filter(|place| self.below.names.get_index(place.index()).is_some_and(|name| *name == account));
        there.or_else(|| self.below.place(account))
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
    fn it_is_an_ordered_map_of_accounts_however_they_came() {
        let mut entropy = Entropy::from_seed(1);
        for _ in 0..50 {
            let (mut accounts, mut expected) = (Accounts::new(), BTreeMap::new());
            assert!(accounts.is_empty());
            for number in 0..entropy.below(200) {
                let account: AccountId = format!("a{}@A", entropy.below(100)).parse().unwrap();
                assert_eq!(accounts.insert(account, number), expected.insert(account, number));
            }
            assert!(accounts.iter().eq(expected.iter()) && accounts.values().eq(expected.values()));
            assert_eq!((accounts.len(), accounts.is_empty()), (expected.len(), expected.is_empty()));
            assert_eq!(format!("{accounts:?}"), format!("{expected:?}"));
            let collected: Accounts<u64> = expected.iter().rev().map(|(account, number)| (*account, *number)).collect();
            assert_eq!(collected, accounts, "the order in which they come says nothing");
            for (account, number) in &expected {
                assert_eq!((accounts.get(account), &accounts[account]), (Some(number), number));
            }
            assert_eq!(accounts.get(&"b@A".parse().unwrap()), None);
        }
    }

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
        for should_be in [None, table.place(x), table.place(y), Some(Place(2))] {
            assert_eq!(overlay.below(x, should_be), table.place(x));
            assert_eq!(overlay.below(z, should_be), None);
        }
    }

    #[test]
    fn tables_are_equal_and_hash_alike_where_their_accounts_and_values_are_the_same() {
        let table = |values: &[(&str, u64)]| -> Accounts<u64> {
            values.iter().map(|(account, value)| (account.parse().unwrap(), *value)).collect()
        };
        let hash = |table: &Accounts<u64>| {
            let mut hasher = std::hash::DefaultHasher::new();
            table.hash(&mut hasher);
            hasher.finish()
        };
        let (one, same) = (table(&[("A", 1), ("B", 2)]), table(&[("B", 2), ("A", 1)]));
        assert_eq!((&one, hash(&one)), (&same, hash(&same)));
        for other in [table(&[("A", 1), ("B", 3)]), table(&[("A", 1), ("C", 2)]), table(&[("A", 1)])] {
            assert_ne!(one, other);
            assert_ne!(hash(&one), hash(&other), "the model tells states apart by this");
        }
    }
}
