//! Those who wait at a home: for a collection to end, or no longer for their transfers; and what a home can tell of its log.

use std::collections::BTreeSet;

use super::unanswered::Place;
use super::{Home, HomeAction, Mark, Step};
use crate::effect::Effect;
use crate::ledger::request::{Answer, Ticket};
use crate::ledger::{Entry, Operation};
use crate::types::{NodeId, Seq};

impl Home {
    /// A collection that began at mark `began` is over, and whatever it settled is applied. `not_heard` is `None`
    /// where no refusal may rest on it: entries were left out, or another proposer's block was finished instead (R9).
    pub fn collection_done(&mut self, began: Mark, not_heard: Option<&BTreeSet<NodeId>>) -> Vec<Effect<HomeAction>> {
        if self.halted {
            return Vec::new();
        }
        self.settling = false;
        let mut step = Step::default();
        self.look_again(&mut step, not_heard.map(|not_heard| (began, not_heard)));
        if let Some(not_heard) = not_heard {
            let later = self.collecting.split_off(&(began + 1));
            for ticket in std::mem::replace(&mut self.collecting, later).into_values() {
                step.actions.push(HomeAction::Collected {
                    ticket,
                    height: self.bank.height(),
                    not_heard: not_heard.clone(),
                });
            }
        }
        step.settle |= !(self.parked.is_empty() && self.unanswered.settling_len() == 0 && self.collecting.is_empty());
        self.finish(step)
    }

    /// Somebody wants to know how a collection ended that begins from now on: what it settles is applied by then.
    pub fn collect(&mut self, ticket: Ticket) -> Vec<Effect<HomeAction>> {
        if self.halted {
            return Vec::new();
        }
        self.last_mark += 1;
        self.collecting.insert(self.last_mark, ticket);
        self.finish(Step { settle: true, ..Step::default() })
    }

    /// Nobody waits for this collection any more.
    pub fn stop_collecting(&mut self, ticket: Ticket) {
        self.collecting.retain(|_, waiting| *waiting != ticket);
    }

    /// The client of these batches waits no longer. What is approved is told as that, settled or not; what is parked stays
    /// in flight, and the same id finds it there or its outcome (R10).
    pub fn stop_waiting(&mut self, batches: &BTreeSet<u64>) -> Vec<Effect<HomeAction>> {
        let left = self.unanswered.leave(batches, self.bank.watermark(self.me), |mark| self.parked.contains_key(&mark));
        let (mut step, mut visited) = (Step::default(), BTreeSet::new());
        for (ticket, place) in left {
            let answer = match place {
                Place::Parked(mark) => {
                    // Thousands may share one request: it is gone through once.
                    if visited.insert(mark)
                        && let Some(parked) = self.parked.get_mut(&mark)
                    {
                        parked.waiting.retain(|(waiting, _)| !batches.contains(&waiting.batch));
                    }
                    Answer::Pending
                }
                Place::Settled(seq) => Answer::Approved(self.approval(seq)),
            };
            step.actions.push(HomeAction::Reply(ticket, answer));
        }
        self.finish(step)
    }

    /// What counts against the bound of those that wait to be decided: tickets, or parked requests where these are more,
    /// since requests that clients left behind stay until they are decided.
    pub(super) fn undecided_len(&self) -> usize {
        self.unanswered.parked_len().max(self.parked.len())
    }

    /// True where somebody here waits for the next block, or for what comes after it.
    pub fn awaits_block(&self) -> bool {
        self.settling || self.waiting_len() > 0 || !self.collecting.is_empty()
    }

    /// How many requests wait, to be decided or to be settled.
    pub fn waiting_len(&self) -> usize {
        self.undecided_len() + self.unanswered.settling_len()
    }

    /// How many outcomes are remembered.
    pub fn remembered_len(&self) -> usize {
        self.memory.len()
    }

    /// The unsettled entries from `from` on, at most `count` of them.
    pub fn log_from(&self, from: Seq, count: usize) -> Vec<Entry> {
        let first = self.log_first();
        let skipped = usize::try_from(from.0.saturating_sub(first.0)).unwrap_or(usize::MAX).min(self.log.len());
        let entry =
            |(seq, operation): (u64, &Operation)| Entry { origin: self.me, seq: Seq(seq), operation: *operation };
        (first.0 + skipped as u64..).zip(self.log.range(skipped..).take(count)).map(entry).collect()
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
