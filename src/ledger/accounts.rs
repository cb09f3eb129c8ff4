//! A table with one value for each account: found by a hash, since every transfer looks several up, and gone through in
//! account order, since what is hashed, printed or compared must be the same everywhere.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Index;

use indexmap::IndexSet;

use super::order::Order;
use crate::types::AccountId;

/// In the order in which accounts came, wherever their hashes are: a seed of its own for each process changes nothing, and
/// keeps those who choose account names from choosing names that collide.
type Names = IndexSet<AccountId, foldhash::fast::RandomState>;

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

    /// Whether an account is at a place, which this table need not have.
    pub(super) fn is_at(&self, account: AccountId, place: Place) -> bool {
        self.names.get_index(place.index()) == Some(&account)
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

    /// The places of all accounts, in account order.
    pub(super) fn in_order(&self) -> impl ExactSizeIterator<Item = Place> + Clone {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
