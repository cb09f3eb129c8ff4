//! Who asks the Ledger to decide: transfers by the batch, openings one by one. Every request has one answer.

use std::fmt;

use actix::{Context, Handler, Recipient};
use tracing::{Level, debug, debug_span, enabled};

use super::LedgerActor;
use crate::actors::message::{Answers, StopWaiting, Submit, SubmitOpening};
use crate::actors::task::{next_turn, once_heard};
use crate::ledger::{Answer, Ticket};
use crate::types::TransferId;

/// While a store does not answer, no more answers than this wait for it: beyond it new requests get `busy`.
const HELD_MAX: usize = 100_000;

impl LedgerActor {
    /// The number of a new batch, where there is anything to decide. The bulk path makes no texts; with debug logs on,
    /// each request can be followed by its id.
    fn batch(
        &mut self,
        tags: Vec<u64>,
        ids: impl FnOnce() -> Vec<TransferId>,
        reply_to: Recipient<Answers>,
    ) -> Option<u64> {
        let ids = if enabled!(Level::DEBUG) { ids() } else { Vec::new() };
        self.batches.open(tags, ids, reply_to)
    }

    /// Small calls that wait in the mailbox together are decided together: one record and one write for all of them, and
    /// accounts that are looked for at once. Large ones would only wait for each other.
    fn decide_with_others(&mut self, ctx: &mut Context<Self>) {
        if !self.turns.are_few() {
            self.decide(ctx);
        } else if !std::mem::replace(&mut self.will_decide, true) {
            once_heard(ctx, |actor: &mut Self, ctx| {
                actor.will_decide = false;
                actor.decide(ctx);
            });
        }
    }

    /// Decides what this turn has room for; the rest in the next, once everybody else was heard.
    fn decide(&mut self, ctx: &mut Context<Self>) {
        if self.turns.is_empty() {
            return;
        }
        if self.answers_held >= HELD_MAX {
            let tickets = self.turns.by_ref().map(|(ticket, _)| ticket).collect();
            self.turn_away(tickets);
        } else {
            let effects = self.core.submit(self.turns.by_ref());
            self.run(effects, ctx);
        }
        if self.turns.end() {
            next_turn(ctx, |actor: &mut Self, ctx| {
                actor.turns.begin();
                actor.decide(ctx);
            });
        }
    }

    /// Too much waits for the store already.
    fn turn_away(&mut self, tickets: Vec<Ticket>) {
        self.answers_held += tickets.len();
        for same_batch in tickets.chunk_by(|one, next| one.batch == next.batch) {
            let answers = same_batch.iter().map(|ticket| (ticket.index, Answer::Busy)).collect();
            self.answer(same_batch[0].batch, answers);
        }
    }
}

fn asked(id: TransferId, request: &impl fmt::Debug) -> TransferId {
    debug_span!("request", %id).in_scope(|| debug!(?request, "asked"));
    id
}

impl Handler<Submit> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Submit { requests, reply_to }: Submit, ctx: &mut Context<Self>) {
        let tags = requests.iter().map(|(tag, _)| *tag).collect();
        let ids = || requests.iter().map(|(_, request)| asked(request.id, request)).collect();
        if let Some(batch) = self.batch(tags, ids, reply_to.clone()) {
            self.turns.push(batch, requests, reply_to);
            self.decide_with_others(ctx);
        }
    }
}

impl Handler<SubmitOpening> for LedgerActor {
    type Result = ();

    fn handle(&mut self, SubmitOpening { tag, opening, reply_to }: SubmitOpening, ctx: &mut Context<Self>) {
        if let Some(batch) = self.batch(vec![tag], || vec![asked(opening.id, &opening)], reply_to) {
            let ticket = Ticket { batch, index: 0 };
            if self.answers_held >= HELD_MAX {
                self.turn_away(vec![ticket]);
            } else {
                let effects = self.core.open(ticket, opening);
                self.run(effects, ctx);
            }
        }
    }
}

impl Handler<StopWaiting> for LedgerActor {
    type Result = ();

    fn handle(&mut self, StopWaiting { tags, reply_to }: StopWaiting, ctx: &mut Context<Self>) {
        let batches = self.batches.of(&reply_to, &tags);
        // What waits for its turn has it now: it was sent, and whoever sent it must be told what became of it.
        let undecided = self.turns.take_all_of(&reply_to, &batches);
        let mut effects = self.core.submit(undecided.into_iter().flatten());
        effects.extend(self.core.stop_waiting(&batches));
        self.run(effects, ctx);
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
