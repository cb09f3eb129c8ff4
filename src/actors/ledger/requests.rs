//! Who asks the Ledger to decide: transfers by the batch, openings one by one. Every request has one answer.

use std::fmt;

use actix::{Context, Handler, Recipient};
use tracing::{Level, debug, debug_span, enabled};

use super::LedgerActor;
use crate::actors::message::{Answers, StopWaiting, Submit, SubmitOpening};
use crate::ledger::{Answer, Ticket};
use crate::types::TransferId;

/// A batch of a client's that is not answered wholly.
pub(super) struct Batch {
    pub(super) tags: Vec<u64>,
    /// Of each request, while debug logs are on.
    pub(super) ids: Vec<TransferId>,
    pub(super) open: usize,
    pub(super) reply_to: Recipient<Answers>,
}

/// While a store does not answer, no more answers than this wait for it: beyond it new requests get `busy`.
const HELD_MAX: usize = 100_000;

impl LedgerActor {
    /// The number of a new batch, where there is anything to decide; where too much waits for the store already, all of
    /// it is told so. The bulk path makes no texts; with debug logs on, each request can be followed by its id.
    fn batch(
        &mut self,
        tags: Vec<u64>,
        ids: impl FnOnce() -> Vec<TransferId>,
        reply_to: Recipient<Answers>,
    ) -> Option<u64> {
        self.last_batch += 1;
        if tags.is_empty() {
            return None;
        }
        if self.answers_held >= HELD_MAX {
            reply_to.do_send(Answers(tags.into_iter().map(|tag| (tag, Answer::Busy)).collect()));
            return None;
        }
        let ids = if enabled!(Level::DEBUG) { ids() } else { Vec::new() };
        self.batches.insert(self.last_batch, Batch { open: tags.len(), tags, ids, reply_to });
        Some(self.last_batch)
    }
}

fn asked(id: TransferId, request: &impl fmt::Debug) -> TransferId {
    debug_span!("request", %id).in_scope(|| debug!(?request, "asked"));
    id
}

impl Handler<Submit> for LedgerActor {
    type Result = u64;

    fn handle(&mut self, Submit { requests, reply_to }: Submit, ctx: &mut Context<Self>) -> u64 {
        let tags = requests.iter().map(|(tag, _)| *tag).collect();
        let ids = || requests.iter().map(|(_, request)| asked(request.id, request)).collect();
        let batch = self.batch(tags, ids, reply_to);
        if let Some(batch) = batch {
            let ticketed = (0u32..).zip(requests).map(|(index, (_, request))| (Ticket { batch, index }, request));
            let effects = self.core.submit(ticketed);
            self.run(effects, ctx);
        }
        self.last_batch
    }
}

impl Handler<SubmitOpening> for LedgerActor {
    type Result = u64;

    fn handle(&mut self, SubmitOpening { tag, opening, reply_to }: SubmitOpening, ctx: &mut Context<Self>) -> u64 {
        let batch = self.batch(vec![tag], || vec![asked(opening.id, &opening)], reply_to);
        if let Some(batch) = batch {
            let effects = self.core.open(Ticket { batch, index: 0 }, opening);
            self.run(effects, ctx);
        }
        self.last_batch
    }
}

impl Handler<StopWaiting> for LedgerActor {
    type Result = ();

    fn handle(&mut self, StopWaiting(batch): StopWaiting, ctx: &mut Context<Self>) {
        let effects = self.core.stop_waiting(batch);
        self.run(effects, ctx);
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
