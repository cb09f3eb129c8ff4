//! In which block an entry of this home was settled, for those who ask after an approval.

use std::collections::BTreeMap;

use crate::types::{Height, Seq};

/// How many blocks with entries of its own a home can tell the heights of: about as many as it remembers ids.
const BLOCKS_MAX: usize = 1_000_000;

/// The heights of the last blocks that settled entries of one home.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SettledAt {
    /// By the last seq that each block settled.
    heights: BTreeMap<Seq, Height>,
    /// The last seq of the blocks that were forgotten: up to it, any block could have been the one.
    forgotten: Seq,
    /// The last seq that any block settled: what is asked after is mostly above it.
    last: Seq,
    blocks_max: usize,
}

impl Default for SettledAt {
    fn default() -> Self {
        Self::bounded(BLOCKS_MAX)
    }
}

impl SettledAt {
    fn bounded(blocks_max: usize) -> Self {
        Self { heights: BTreeMap::new(), forgotten: Seq(0), last: Seq(0), blocks_max }
    }

    /// What [`SettledAt::forgotten`] and [`SettledAt::up_to`] told of another.
    pub(super) fn resume(forgotten: Seq, blocks: impl IntoIterator<Item = (Seq, Height)>) -> Self {
        let heights: BTreeMap<_, _> = blocks.into_iter().collect();
        let last = heights.last_key_value().map_or(forgotten, |(last, _)| *last);
        Self { heights, forgotten, last, ..Self::default() }
    }

    /// Up to which seq the blocks are forgotten.
    pub(super) fn forgotten(&self) -> Seq {
        self.forgotten
    }

    /// The last block that ends at `seq` or below, as its last seq and its height. Where none is known, the place before
    /// the first that is.
    pub fn last_up_to(&self, seq: Seq) -> (Seq, Height) {
        let before_first = || {
            let first = self.heights.first_key_value().filter(|_| self.forgotten > Seq(0));
            (self.forgotten, first.map_or(Height(0), |(_, height)| Height(height.0.saturating_sub(1))))
        };
        let found = self.heights.range(..=seq).next_back();
        found.map_or_else(before_first, |(last, height)| (*last, *height))
    }

    /// The blocks that end at `seq` or below.
    pub(super) fn up_to(&self, seq: Seq) -> impl Iterator<Item = (Seq, Height)> {
        self.heights.range(..=seq).map(|(last, height)| (*last, *height))
    }

    /// The block at `height` settled entries up to `last`. Where it is one too many, the oldest is forgotten.
    pub fn note(&mut self, last: Seq, height: Height) {
        self.heights.insert(last, height);
        self.last = self.last.max(last);
        if self.heights.len() > self.blocks_max
            && let Some((last, _)) = self.heights.pop_first()
        {
            self.forgotten = last;
        }
    }

    /// The height of the block that holds the entry with this seq; `None` where that is forgotten, or the entry is not
    /// settled.
    pub fn height_of(&self, seq: Seq) -> Option<Height> {
        if seq > self.last || seq <= self.forgotten {
            return None;
        }
        let mut from_there = self.heights.range(seq..);
        from_there.next().map(|(_, height)| *height)
    }
}

impl FromIterator<(Seq, Height)> for SettledAt {
    /// Of what was noted, in the order of the blocks.
    fn from_iter<T: IntoIterator<Item = (Seq, Height)>>(blocks: T) -> Self {
        let mut settled_at = Self::default();
        blocks.into_iter().for_each(|(last, height)| settled_at.note(last, height));
        settled_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heights_of_the_last_blocks_are_told_and_those_of_older_ones_are_not_guessed() {
        let mut settled_at = SettledAt::bounded(2);
        let heights = |settled_at: &SettledAt| (1..=8).map(|seq| settled_at.height_of(Seq(seq))).collect::<Vec<_>>();
        let (four, six, nine) = (Some(Height(4)), Some(Height(6)), Some(Height(9)));
        settled_at.note(Seq(3), Height(4));
        settled_at.note(Seq(5), Height(6));
        assert_eq!(heights(&settled_at), [four, four, four, six, six, None, None, None]);
        settled_at.note(Seq(7), Height(9));
        assert_eq!(heights(&settled_at), [None, None, None, six, six, nine, nine, None]);
    }

    #[test]
    fn a_part_of_it_begins_behind_a_block_or_before_the_first_that_is_known() {
        let mut settled_at = SettledAt::bounded(2);
        assert_eq!(settled_at.last_up_to(Seq(9)), (Seq(0), Height(0)));
        settled_at.note(Seq(3), Height(4));
        settled_at.note(Seq(5), Height(6));
        assert_eq!(settled_at.last_up_to(Seq(2)), (Seq(0), Height(0)));
        assert_eq!(settled_at.last_up_to(Seq(4)), (Seq(3), Height(4)));
        settled_at.note(Seq(7), Height(9));
        assert_eq!(settled_at.last_up_to(Seq(4)), (Seq(3), Height(5)), "the block of seq 3 is forgotten");
        assert_eq!(settled_at.last_up_to(Seq(9)), (Seq(7), Height(9)));
        let all = SettledAt { blocks_max: 2, ..SettledAt::resume(settled_at.forgotten(), settled_at.up_to(Seq(7))) };
        assert_eq!(all, settled_at);
    }
}
