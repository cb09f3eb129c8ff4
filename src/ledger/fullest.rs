//! Which shelf of the memory is the fullest, without a look at all of them.

use std::collections::BTreeSet;

use super::accounts::Place;

/// Of each shelf a size that it had: since then it grew by less than a quarter, or by one. So one that holds what was noted
/// of it, while more was noted of none, is nearly the fullest. `None` stands for the shared shelf.
#[derive(Clone, Debug, Default)]
pub(super) struct Fullest {
    /// What was noted, the shared shelf's first, then by place.
    known: Vec<usize>,
    queue: BTreeSet<(usize, Option<Place>)>,
}

impl Fullest {
    /// A shelf has one id more, and holds so many. That is seldom noted.
    pub(super) fn grew(&mut self, shelf: Option<Place>, size: usize) {
        if size.is_power_of_two() || size.is_multiple_of(size.next_power_of_two() / 8) {
            self.note(shelf, size);
        }
    }

    /// A shelf holds so many; one that is noted to hold none is passed over until it is noted again.
    pub(super) fn note(&mut self, shelf: Option<Place>, size: usize) {
        let index = shelf.map_or(0, |place| 1 + place.index());
        if index >= self.known.len() {
            self.known.resize(index + 1, 0);
        }
        let before = std::mem::replace(&mut self.known[index], size);
        self.queue.remove(&(before, shelf));
        if size > 0 {
            self.queue.insert((size, shelf));
        }
    }

    /// The shelf that was noted with most, and how much that is.
    pub(super) fn last(&self) -> Option<(usize, Option<Place>)> {
        self.queue.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_a_shelf_that_grows_is_never_a_quarter_too_little() {
        let mut fullest = Fullest::default();
        let mut notes = BTreeSet::new();
        for size in 1..=10_000 {
            fullest.grew(None, size);
            let (noted, shelf) = fullest.last().unwrap();
            assert!(shelf.is_none() && noted <= size && size - noted < noted.div_ceil(4).max(2), "{noted} for {size}");
            notes.insert(noted);
        }
        assert!(notes.len() < 100, "{} notes", notes.len());
    }

    #[test]
    fn the_last_is_the_one_that_was_noted_with_most() {
        let accounts: crate::ledger::Accounts<()> =
            ["x@A", "y@A"].map(|name| (name.parse().unwrap(), ())).into_iter().collect();
        let [x, y] = ["x@A", "y@A"].map(|name| accounts.place(name.parse().unwrap()));
        let mut fullest = Fullest::default();
        assert_eq!(fullest.last(), None);
        for (shelf, size, last) in [
            (y, 5, (5, y)),
            (None, 7, (7, None)),
            (x, 6, (7, None)),
            (None, 2, (6, x)),
            (x, 0, (5, y)),
            (y, 1, (2, None)),
        ] {
            fullest.note(shelf, size);
            assert_eq!(fullest.last(), Some(last));
        }
    }
}
