//! What a bank started from, page by page: it may have more accounts than a reply holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use serde::{Deserialize, Serialize};

use crate::ledger::Genesis;
use crate::types::{AccountId, Amount, NodeId};

/// The most accounts in one reply: half a megabyte, where all names are as long as they can be.
pub const GENESIS_PAGE_MAX: usize = 8_192;

/// A part of what the bank started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenesisPage {
    /// All nodes.
    pub nodes: BTreeSet<NodeId>,
    /// How many accounts there are altogether.
    pub accounts: u64,
    /// Some of them, without a gap, with what each held.
    pub opening: BTreeMap<AccountId, Amount>,
}

impl GenesisPage {
    /// The accounts behind `after`, or the first ones, as far as a reply holds them.
    pub fn of(genesis: &Genesis, after: Option<AccountId>) -> Self {
        let from = after.map_or(Unbounded, Excluded);
        let opening = genesis.opening().range((from, Unbounded)).take(GENESIS_PAGE_MAX);
        Self {
            nodes: genesis.nodes().clone(),
            accounts: genesis.opening().len() as u64,
            opening: opening.map(|(account, amount)| (*account, *amount)).collect(),
        }
    }

    /// Behind which account the next page begins.
    pub fn last(&self) -> Option<AccountId> {
        self.opening.last_key_value().map(|(account, _)| *account)
    }

    /// True where all accounts are in it.
    pub fn is_whole(&self) -> bool {
        self.opening.len() as u64 >= self.accounts
    }

    /// Adds the page that follows on this one; false where `next` does not.
    #[must_use = "a page that does not follow is left out"]
    pub fn add(&mut self, next: Self) -> bool {
        let follows = next.opening.keys().next().is_some_and(|first| Some(*first) > self.last());
        if follows && (&next.nodes, next.accounts) == (&self.nodes, self.accounts) {
            self.opening.extend(next.opening);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_on_each_other_and_make_the_whole() {
        let node: NodeId = "A".parse().unwrap();
        let account = |number: usize| -> AccountId { format!("c{number}@A").parse().unwrap() };
        let opening = (0..2 * GENESIS_PAGE_MAX + 1).map(|number| (account(number), Amount::new(1)));
        let genesis = Genesis::new([node], opening).unwrap();
        let mut page = GenesisPage::of(&genesis, None);
        for rest in [GENESIS_PAGE_MAX, 1] {
            assert!(!page.is_whole());
            let next = GenesisPage::of(&genesis, page.last());
            assert_eq!(next.opening.len(), rest);
            assert!(page.add(next.clone()) && !page.add(next), "once, and not again");
        }
        assert!(page.is_whole());
        assert_eq!(Genesis::new(page.nodes.clone(), page.opening.clone()), Ok(genesis.clone()));
        assert!(!page.add(GenesisPage::of(&genesis, page.last())), "an empty one brings nobody on");
        let empty = Genesis::new([node], []).unwrap();
        assert!(GenesisPage::of(&empty, None).is_whole());
        let of_others = GenesisPage { accounts: 9, ..GenesisPage::of(&genesis, None) };
        assert!(!GenesisPage { opening: BTreeMap::new(), ..GenesisPage::of(&genesis, None) }.add(of_others));
    }
}
