//! When the entries of the homes were asked for and heard of, so that questions about a moment need not go through all.

use std::collections::BTreeMap;

use crate::ledger::{Action, Entry};
use crate::types::{AccountId, Height, NodeId, Seq};

/// An entry, with what is known of it.
pub(super) struct Moment {
    pub(super) entry: Entry,
    /// Where it is settled.
    pub(super) height: Option<Height>,
    /// When it was first asked for, and when a client first heard that it is approved.
    pub(super) asked: u64,
    pub(super) heard: Option<u64>,
}

#[derive(Default)]
struct OfHome {
    /// By when they were heard of: the greatest seq up to then.
    heard: Vec<(u64, Seq)>,
    /// By when they were asked for: the least seq from then on.
    asked: Vec<(u64, Seq)>,
}

/// When a client heard of a credit, where that is settled, and its seq.
type Credit = (u64, Height, Seq);

/// Settled nowhere yet.
const NOWHERE: Height = Height(u64::MAX);

/// Sorted, and searched by halves.
#[derive(Default)]
pub(super) struct Moments {
    homes: BTreeMap<NodeId, OfHome>,
    /// Of each account, and each origin that credits it, by when they were heard of: the credit up to then that is
    /// settled last.
    credits: BTreeMap<(AccountId, NodeId), Vec<Credit>>,
}

impl Moments {
    pub(super) fn new(moments: &[Moment]) -> Self {
        let mut sorted = Self::default();
        for Moment { entry, height, asked, heard } in moments {
            let home = sorted.homes.entry(entry.origin).or_default();
            home.asked.push((*asked, entry.seq));
            let Some(heard) = *heard else { continue };
            home.heard.push((heard, entry.seq));
            if let Action::Transfer { to, .. } = entry.operation.action {
                let credit = (heard, height.unwrap_or(NOWHERE), entry.seq);
                sorted.credits.entry((to, entry.origin)).or_default().push(credit);
            }
        }
        for home in sorted.homes.values_mut() {
            home.heard.sort_unstable();
            let mut greatest = Seq(0);
            for (_, seq) in &mut home.heard {
                greatest = greatest.max(*seq);
                *seq = greatest;
            }
            home.asked.sort_unstable();
            let mut least = Seq(u64::MAX);
            for (_, seq) in home.asked.iter_mut().rev() {
                least = least.min(*seq);
                *seq = least;
            }
        }
        for credits in sorted.credits.values_mut() {
            credits.sort_unstable();
            let mut last = (Height(0), Seq(0));
            for (_, height, seq) in credits {
                last = last.max((*height, *seq));
                (*height, *seq) = last;
            }
        }
        sorted
    }

    /// The last entry of a home that a client had heard of before `when`.
    pub(super) fn heard_before(&self, home: NodeId, when: u64) -> Seq {
        let heard = self.homes.get(&home).map_or(&[][..], |home| &home.heard);
        let count = heard.partition_point(|(moment, _)| *moment < when);
        count.checked_sub(1).map_or(Seq(0), |last| heard[last].1)
    }

    /// The first entry of a home that was asked for only after `when`.
    pub(super) fn asked_after(&self, home: NodeId, when: u64) -> Option<Seq> {
        let asked = self.homes.get(&home).map_or(&[][..], |home| &home.asked);
        asked.get(asked.partition_point(|(moment, _)| *moment <= when)).map(|(_, seq)| *seq)
    }

    /// An entry that credits `account`, that a client had heard of before `when`, and that is not settled at or below
    /// `height`; of origins that are `counted`.
    pub(super) fn left_out(
        &self,
        account: AccountId,
        when: u64,
        height: Height,
        counted: impl Fn(NodeId) -> bool,
    ) -> Option<(NodeId, Seq)> {
        for (origin, _) in self.homes.iter().filter(|(origin, _)| counted(**origin)) {
            let Some(credits) = self.credits.get(&(account, *origin)) else { continue };
            let count = credits.partition_point(|(heard, ..)| *heard < when);
            let Some((_, settled, seq)) = count.checked_sub(1).map(|last| credits[last]) else { continue };
            if settled > height {
                return Some((*origin, seq));
            }
        }
        None
    }
}
