//! Which tickets are not answered yet: by batch, so that those of one are found, and by the entry that they wait for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Mark;
use crate::ledger::request::Ticket;
use crate::types::Seq;

/// What a ticket that is not answered yet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// For its request, parked under this mark, to be decided.
    Parked(Mark),
    /// For the entry with this seq to be settled.
    Settled(Seq),
}

/// All tickets that are not answered. Whoever waits at a parked request is listed with that request as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Unanswered {
    batches: BTreeMap<u64, Batch>,
    parked: usize,
    settling: Settling,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Batch {
    unanswered: usize,
    /// Where its tickets were put, by their index. Of those that were answered since, the places are old.
    places: Vec<(u32, Place)>,
}

/// Those who wait for entries of the log to be settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Settling {
    count: usize,
    /// In seq order, one for each entry at most; `None` where it waits no longer. Entries are approved in that order, and
    /// mostly one client waits for each: so most come in at the end and go out at the front.
    row: VecDeque<(Seq, Option<Ticket>)>,
    others: BTreeMap<Seq, Vec<Ticket>>,
}

impl Unanswered {
    /// How many wait for a request to be decided.
    pub(super) fn parked_len(&self) -> usize {
        self.parked
    }

    /// How many wait for an entry to be settled.
    pub(super) fn settling_len(&self) -> usize {
        self.settling.count
    }

    fn put(&mut self, ticket: Ticket, place: Place) {
        let batch = self.batches.entry(ticket.batch).or_default();
        batch.unanswered += 1;
        batch.places.push((ticket.index, place));
    }

    fn answered(&mut self, ticket: Ticket) {
        if let Some(batch) = self.batches.get_mut(&ticket.batch) {
            batch.unanswered -= 1;
            if batch.unanswered == 0 {
                self.batches.remove(&ticket.batch);
            }
        }
    }

    /// A ticket waits for the request that is parked under `mark`.
    pub(super) fn park(&mut self, ticket: Ticket, mark: Mark) {
        self.put(ticket, Place::Parked(mark));
        self.parked += 1;
    }

    /// The request of a parked ticket is decided.
    pub(super) fn decided(&mut self, ticket: Ticket) {
        self.answered(ticket);
        self.parked -= 1;
    }

    /// A ticket waits for the entry `seq`, which is not settled.
    pub(super) fn settle(&mut self, ticket: Ticket, seq: Seq) {
        self.put(ticket, Place::Settled(seq));
        self.settling.push(seq, ticket);
    }

    /// The entries up to `seq` are settled: who waited for one of them, and for which.
    pub(super) fn settled_up_to(&mut self, seq: Seq) -> Vec<(Seq, Ticket)> {
        let settled = self.settling.take_up_to(seq);
        settled.iter().for_each(|(_, ticket)| self.answered(*ticket));
        settled
    }

    /// Takes all tickets of these batches away and tells where they were. `is_parked` tells whether a request still is.
    pub(super) fn leave(
        &mut self,
        batches: &BTreeSet<u64>,
        settled: Seq,
        is_parked: impl Fn(Mark) -> bool,
    ) -> Vec<(Ticket, Place)> {
        let mut left = Vec::new();
        for batch in batches {
            let places = self.batches.remove(batch).unwrap_or_default().places;
            let ticket = |(index, place)| (Ticket { batch: *batch, index }, place);
            left.extend(places.into_iter().map(ticket).filter(|(_, place)| match place {
                Place::Parked(mark) => is_parked(*mark),
                Place::Settled(seq) => *seq > settled,
            }));
        }
        // Thousands may share one entry: it is gone through once.
        let seqs: BTreeSet<Seq> = left.iter().filter_map(|(_, place)| place.seq()).collect();
        seqs.into_iter().for_each(|seq| self.settling.leave(seq, batches));
        self.parked -= left.iter().filter(|(_, place)| place.seq().is_none()).count();
        left
    }
}

impl Place {
    fn seq(self) -> Option<Seq> {
        match self {
            Self::Parked(_) => None,
            Self::Settled(seq) => Some(seq),
        }
    }
}

impl Settling {
    fn push(&mut self, seq: Seq, ticket: Ticket) {
        self.count += 1;
        if self.row.back().is_none_or(|(last, _)| seq > *last) {
            return self.row.push_back((seq, Some(ticket)));
        }
        match self.row.binary_search_by_key(&seq, |(seq, _)| *seq) {
            Ok(index) if self.row[index].1.is_none() => self.row[index].1 = Some(ticket),
            _ => self.others.entry(seq).or_default().push(ticket),
        }
    }

    fn take_up_to(&mut self, seq: Seq) -> Vec<(Seq, Ticket)> {
        let count = self.row.partition_point(|(known, _)| *known <= seq);
        let mut taken: Vec<_> = self.row.drain(..count).filter_map(|(seq, ticket)| Some((seq, ticket?))).collect();
        if !self.others.is_empty() {
            let later = self.others.split_off(&seq.next());
            for (seq, tickets) in std::mem::replace(&mut self.others, later) {
                taken.extend(tickets.into_iter().map(|ticket| (seq, ticket)));
            }
        }
        self.count -= taken.len();
        taken
    }

    /// Nobody of these batches waits for this entry any more.
    fn leave(&mut self, seq: Seq, batches: &BTreeSet<u64>) {
        if let Ok(index) = self.row.binary_search_by_key(&seq, |(seq, _)| *seq)
            && self.row[index].1.take_if(|ticket| batches.contains(&ticket.batch)).is_some()
        {
            self.count -= 1;
        }
        if let Some(tickets) = self.others.get_mut(&seq) {
            let before = tickets.len();
            tickets.retain(|ticket| !batches.contains(&ticket.batch));
            self.count -= before - tickets.len();
            if tickets.is_empty() {
                self.others.remove(&seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    /// What it stands for, told plainly.
    #[derive(Default)]
    struct Expected {
        parked: Vec<(Mark, Ticket)>,
        settling: Vec<(Seq, Ticket)>,
    }

    #[test]
    fn everyone_who_waits_is_found_once_by_batch_or_by_entry() {
        for seed in 0..60 {
            let mut entropy = Entropy::from_seed(seed);
            let (mut unanswered, mut expected) = (Unanswered::default(), Expected::default());
            let (mut settled, mut last) = (Seq(0), Seq(0));
            // The requests that are parked; none has the mark of one before.
            let (mut marks, mut last_mark) = ([1, 2, 3, 4], 4);
            for index in 0..400 {
                let ticket = Ticket { batch: entropy.below(5), index };
                let parked_at = usize::try_from(entropy.below(4)).unwrap();
                let mark = marks[parked_at];
                match entropy.below(10) {
                    // Mostly for a new entry, sometimes for one that others may wait for.
                    0..=4 => {
                        last = last.next();
                        let unsettled = last.0 - settled.0;
                        let back = if entropy.below(3) == 0 { entropy.below(unsettled) } else { 0 };
                        let seq = Seq(last.0 - back);
                        unanswered.settle(ticket, seq);
                        expected.settling.push((seq, ticket));
                    }
                    5 => {
                        unanswered.park(ticket, mark);
                        expected.parked.push((mark, ticket));
                    }
                    // A request is decided; some of those who waited for it wait for its entry.
                    6 => {
                        last_mark += 1;
                        marks[parked_at] = last_mark;
                        let decided: Vec<_> = expected.parked.extract_if(.., |(at, _)| *at == mark).collect();
                        last = last.next();
                        for (_, ticket) in decided {
                            unanswered.decided(ticket);
                            if entropy.below(2) == 0 {
                                unanswered.settle(ticket, last);
                                expected.settling.push((last, ticket));
                            }
                        }
                    }
                    7 | 8 => {
                        settled = Seq(settled.0 + entropy.below(last.0 - settled.0 + 1));
                        let mut told = unanswered.settled_up_to(settled);
                        let mut answered: Vec<_> =
                            expected.settling.extract_if(.., |(seq, _)| *seq <= settled).collect();
                        told.sort_unstable();
                        answered.sort_unstable();
                        assert_eq!(told, answered);
                    }
                    _ => {
                        let batches = BTreeSet::from([entropy.below(5), entropy.below(5)]);
                        let is_parked = |mark| expected.parked.iter().any(|(at, _)| *at == mark);
                        let mut told = unanswered.leave(&batches, settled, is_parked);
                        let of_batch = |ticket: &Ticket| batches.contains(&ticket.batch);
                        let parked = expected.parked.extract_if(.., |(_, ticket)| of_batch(ticket));
                        let mut left: Vec<_> = parked.map(|(mark, ticket)| (ticket, Place::Parked(mark))).collect();
                        let settling = expected.settling.extract_if(.., |(_, ticket)| of_batch(ticket));
                        left.extend(settling.map(|(seq, ticket)| (ticket, Place::Settled(seq))));
                        told.sort_unstable();
                        left.sort_unstable();
                        assert_eq!(told, left);
                    }
                }
                let counts = (unanswered.parked_len(), unanswered.settling_len());
                assert_eq!(counts, (expected.parked.len(), expected.settling.len()));
                let row = unanswered.settling.row.iter().map(|(seq, _)| *seq);
                assert!(row.clone().is_sorted_by(|a, b| a < b) && row.clone().all(|seq| seq > settled));
                let waiting: BTreeSet<u64> = expected
                    .parked
                    .iter()
                    .map(|(_, t)| t.batch)
                    .chain(expected.settling.iter().map(|(_, t)| t.batch))
                    .collect();
                assert!(unanswered.batches.keys().eq(&waiting), "nothing is kept of a batch that was answered");
            }
        }
    }
}
