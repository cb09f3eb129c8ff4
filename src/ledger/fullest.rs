//! Which shelf of the memory is the fullest, without a look at all of them.

use std::hint::black_box;

use super::accounts::Place;

/// The shelves by size, in classes: the sizes of a class differ by less than a quarter, or not at all. `None` stands for
/// the shared shelf.
#[derive(Clone, Debug, Default)]
pub(super) struct Fullest {
    /// Where each shelf stands, the shared one first, then by place.
    known: Vec<Standing>,
    /// The shelves of each class, in no order; those of class 0, which are empty, are left out.
    classes: Vec<Vec<Option<Place>>>,
}

/// Beside the shelves, whose own lengths would have to be waited for: they are partly in what most shelves do not have.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// How many ids the shelf holds, or once held: it may have lost some since.
    size: u32,
    /// The index in the class of that size.
    at: u32,
}

impl Standing {
    fn class(self) -> u8 {
        class_of(self.size)
    }
}

/// Sizes below 4 are classes of their own, and there are four classes from each power of two to the next.
fn class_of(size: u32) -> u8 {
    let class = match size.checked_ilog2() {
        None | Some(0 | 1) => size,
        Some(power) => 4 * (power - 1) + ((size >> (power - 2)) & 3),
    };
    u8::try_from(class).expect("there are 124")
}

impl Fullest {
    /// Has what is known of a shelf in the cache.
    pub(super) fn fetch(&self, shelf: Place) {
        black_box(self.known.get(index_of(Some(shelf))).map(|standing| standing.size));
    }

    /// A shelf has one id more.
    pub(super) fn grew(&mut self, shelf: Option<Place>) {
        let standing = self.standing(shelf);
        let size = standing.size + 1;
        // Mostly it is in the class that it was in.
        if class_of(size) == standing.class() {
            standing.size = size;
        } else {
            self.stand(shelf, size);
        }
    }

    /// A shelf holds so many; one that is noted to hold none is passed over until it is noted again. Tells whether it was
    /// in another class.
    pub(super) fn note(&mut self, shelf: Option<Place>, size: usize) -> bool {
        let size = u32::try_from(size).expect("memory ends before 2^32 ids");
        let standing = self.standing(shelf);
        if class_of(size) == standing.class() {
            standing.size = size;
            return false;
        }
        self.stand(shelf, size);
        true
    }

    fn standing(&mut self, shelf: Option<Place>) -> &mut Standing {
        let index = index_of(shelf);
        if index >= self.known.len() {
            self.known.resize(index + 1, Standing::default());
        }
        &mut self.known[index]
    }

    /// Puts a shelf into the class of another size.
    fn stand(&mut self, shelf: Option<Place>, size: u32) {
        let (before, class) = (*self.standing(shelf), class_of(size));
        if before.size > 0 {
            let shelves = &mut self.classes[usize::from(before.class())];
            shelves.swap_remove(before.at as usize);
            if let Some(moved) = shelves.get(before.at as usize) {
                self.known[index_of(*moved)].at = before.at;
            }
        }
        let mut at = 0;
        if size > 0 {
            let classes = self.classes.len().max(usize::from(class) + 1);
            self.classes.resize(classes, Vec::new());
            let shelves = &mut self.classes[usize::from(class)];
            at = u32::try_from(shelves.len()).expect("memory ends before 2^32 accounts");
            shelves.push(shelf);
        }
        *self.standing(shelf) = Standing { size, at };
    }

    /// A shelf of the highest class.
    pub(super) fn last(&self) -> Option<Option<Place>> {
        self.classes.iter().rev().find_map(|shelves| shelves.last().copied())
    }
}

fn index_of(shelf: Option<Place>) -> usize {
    shelf.map_or(0, |place| 1 + place.index())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::ledger::Accounts;

    #[test]
    fn sizes_of_one_class_differ_by_less_than_a_quarter() {
        let mut first = 0;
        for size in 1..=10_000 {
            let (before, class) = (class_of(size - 1), class_of(size));
            assert!(class == before || class == before + 1);
            if class > before {
                first = size;
            }
            assert!(size - first < first.div_ceil(4), "{first} and {size}");
        }
        assert_eq!([class_of(0), class_of(1), class_of(10_000), class_of(u32::MAX)], [0, 1, 48, 123]);
    }

    #[test]
    fn one_of_the_fullest_is_last() {
        let accounts: Accounts<()> = (0..20).map(|i| (format!("{i}@A").parse().unwrap(), ())).collect();
        let shelves: Vec<_> =
            (0..20).map(|i| accounts.place(format!("{i}@A").parse().unwrap())).chain([None]).collect();
        for seed in 0..20 {
            let mut entropy = Entropy::from_seed(seed);
            let (mut fullest, mut sizes) = (Fullest::default(), vec![0; shelves.len()]);
            for _ in 0..2_000 {
                let chosen = usize::try_from(entropy.below(21)).unwrap();
                if entropy.below(30) > 0 {
                    sizes[chosen] += 1;
                    fullest.grew(shelves[chosen]);
                } else {
                    let before = sizes[chosen];
                    sizes[chosen] = u32::try_from(entropy.below(u64::from(before) + 1)).unwrap();
                    let moved = fullest.note(shelves[chosen], sizes[chosen] as usize);
                    assert_eq!(moved, class_of(before) != class_of(sizes[chosen]));
                }
                let most = class_of(*sizes.iter().max().unwrap());
                let last = fullest.last().map(|last| shelves.iter().position(|shelf| *shelf == last).unwrap());
                assert_eq!(last.map_or(0, |last| class_of(sizes[last])), most);
                assert_eq!(
                    fullest.classes.iter().map(Vec::len).sum::<usize>(),
                    sizes.iter().filter(|s| **s > 0).count()
                );
            }
        }
    }
}
