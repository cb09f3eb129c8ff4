//! The order of a table's accounts, to which more come one by one.

use super::accounts::Place;

/// So many of those that came last are kept apart, until all are put into one row again: a place that comes moves none of a
/// million, and each costs a part of that in a thousand.
const APART_MAX: usize = 1_024;

/// Places in an order that whoever has the table knows: `is_before` tells whether the first of two comes first.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// Both rows are in order.
    most: Vec<Place>,
    apart: Vec<Place>,
}

impl Order {
    /// Of places that are in order.
    pub(super) fn of(places: Vec<Place>) -> Self {
        Self { most: places, apart: Vec::new() }
    }

    /// A place comes that was not there.
    pub(super) fn insert(&mut self, place: Place, is_before: impl Fn(Place, Place) -> bool + Copy) {
        let at = self.apart.partition_point(|other| is_before(*other, place));
        self.apart.insert(at, place);
        if self.apart.len() == APART_MAX {
            self.most = self.iter(is_before).collect();
            self.apart.clear();
        }
    }

    /// All of them, in order.
    pub(super) fn iter<F: Fn(Place, Place) -> bool>(&self, is_before: F) -> InOrder<'_, F> {
        let mut places = InOrder { most: &self.most, apart: &self.apart, next_of_most: 0, is_before };
        places.look();
        places
    }
}

/// See [`Order::iter`].
#[derive(Clone)]
pub(super) struct InOrder<'a, F> {
    most: &'a [Place],
    apart: &'a [Place],
    /// So many of `most` come before the next of `apart`.
    next_of_most: usize,
    is_before: F,
}

impl<F: Fn(Place, Place) -> bool> InOrder<'_, F> {
    fn look(&mut self) {
        self.next_of_most = match self.apart.first() {
            Some(next) => self.most.partition_point(|place| (self.is_before)(*place, *next)),
            None => self.most.len(),
        };
    }
}

impl<F: Fn(Place, Place) -> bool> Iterator for InOrder<'_, F> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        if self.next_of_most > 0 {
            self.next_of_most -= 1;
            return self.most.split_off_first().copied();
        }
        let place = self.apart.split_off_first().copied();
        if place.is_some() {
            self.look();
        }
        place
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.most.len() + self.apart.len();
        (count, Some(count))
    }
}

impl<F: Fn(Place, Place) -> bool> ExactSizeIterator for InOrder<'_, F> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    #[test]
    fn places_are_in_order_however_many_came_and_however_they_came() {
        let mut entropy = Entropy::from_seed(1);
        // What stands at each place.
        let values: Vec<u64> = (0..4 * APART_MAX).map(|_| entropy.number()).collect();
        let is_before = |one: Place, other: Place| values[one.index()] < values[other.index()];
        let begun = 700;
        let mut places: Vec<Place> = (0..begun).map(Place::new).collect();
        places.sort_unstable_by_key(|place| values[place.index()]);
        let mut order = Order::of(places);
        for count in begun..values.len() {
            if entropy.below(100) == 0 || count % APART_MAX < 2 {
                let mut expected = values[..count].to_vec();
                expected.sort_unstable();
                let places = order.iter(is_before);
                assert_eq!(places.len(), count);
                assert!(places.map(|place| values[place.index()]).eq(expected), "{count} places");
            }
            order.insert(Place::new(count), is_before);
            assert!(order.apart.len() < APART_MAX);
        }
    }
}
