//! Who asks the Ledger to decide: transfers by the batch, openings one by one. Every request has one answer.
//!
//! Transfers are decided in turns of a bounded number, and between two of them the node looks what else there is: peers
//! that wait for this node's part in a block go before clients that come by the thousand, and can work meanwhile.

use std::collections::VecDeque;
use std::fmt;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Recipient, WrapFuture as _};
use tracing::{Level, debug, debug_span, enabled};

use super::LedgerActor;
use crate::actors::message::{Answers, StopWaiting, Submit, SubmitOpening};
use crate::ledger::{Answer, Request, Ticket};
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

/// How many transfers are decided in one turn: some hundred microseconds, after which peers are heard.
const TURN: usize = 512;

/// Who asks for no more than this at once goes before those who do. So much is left to these of each turn.
pub(super) const LITTLE: usize = 128;

/// How many transfers wait for their turn. Beyond it a turn is as long as it must be.
const UNDECIDED_MAX: usize = 65_536;

/// Transfers that are not decided yet. Those of one client are in the order in which they came.
pub(super) struct Turns {
    /// First those who ask for little, then the others; among their like each in the order in which they came.
    clients: VecDeque<Client>,
    /// How many ask for little, and how much more the first of them may.
    few: usize,
    little_left: usize,
    undecided: usize,
    /// How many this turn may still decide.
    left: usize,
    /// This turn is over, and the next will begin by itself.
    over: bool,
}

struct Client {
    reply_to: Recipient<Answers>,
    batches: VecDeque<Undecided>,
}

/// What is not decided yet of a batch.
#[derive(Default)]
struct Undecided {
    batch: u64,
    next_index: u32,
    requests: std::vec::IntoIter<(u64, Request)>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { clients: VecDeque::new(), few: 0, little_left: LITTLE, undecided: 0, left: TURN, over: false }
    }
}

impl Turns {
    fn push(&mut self, batch: u64, requests: Vec<(u64, Request)>, reply_to: Recipient<Answers>) {
        let count = requests.len();
        self.undecided += count;
        self.left = self.left.max(self.undecided.saturating_sub(UNDECIDED_MAX));
        let batch = Undecided { batch, next_index: 0, requests: requests.into_iter() };
        if let Some(client) = self.clients.iter_mut().find(|client| client.reply_to == reply_to) {
            return client.batches.push_back(batch);
        }
        let client = Client { reply_to, batches: [batch].into() };
        if count <= LITTLE {
            self.clients.insert(self.few, client);
            self.few += 1;
        } else {
            self.clients.push_back(client);
        }
    }

    /// All that is not decided yet of a batch, whoever's turn it is.
    fn take_all_of(&mut self, batch: u64) -> Option<Undecided> {
        let mut batches = self.clients.iter_mut().flat_map(|client| &mut client.batches);
        let undecided = batches.find(|undecided| undecided.batch == batch)?;
        self.undecided -= undecided.requests.len();
        Some(std::mem::take(undecided))
    }

    /// The first of those who ask for little leaves them.
    fn leave_the_few(&mut self) -> Option<Client> {
        self.few -= 1;
        self.little_left = LITTLE;
        self.clients.pop_front()
    }
}

/// What is decided in this turn.
impl Iterator for Turns {
    type Item = (Ticket, Request);

    fn next(&mut self) -> Option<(Ticket, Request)> {
        while self.left > 0 {
            let is_one_of_few = self.few > 0 && (self.left > LITTLE || self.few == self.clients.len());
            if is_one_of_few && self.little_left == 0 {
                // It was little at first, and more came.
                let client = self.leave_the_few();
                self.clients.extend(client);
                continue;
            }
            let place = if is_one_of_few { 0 } else { self.few };
            let client = self.clients.get_mut(place)?;
            match client.batches.front_mut().map(Iterator::next) {
                Some(Some(next)) => {
                    self.left -= 1;
                    self.undecided -= 1;
                    self.little_left -= usize::from(is_one_of_few);
                    return Some(next);
                }
                Some(None) => drop(client.batches.pop_front()),
                None if is_one_of_few => drop(self.leave_the_few()),
                None => drop(self.clients.remove(place)),
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.left.min(self.undecided);
        (count, Some(count))
    }
}

impl Iterator for Undecided {
    type Item = (Ticket, Request);

    fn next(&mut self) -> Option<(Ticket, Request)> {
        let (_, request) = self.requests.next()?;
        let ticket = Ticket { batch: self.batch, index: self.next_index };
        self.next_index += 1;
        Some((ticket, request))
    }
}

impl LedgerActor {
    /// The number of a new batch, where there is anything to decide. The bulk path makes no texts; with debug logs on,
    /// each request can be followed by its id.
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
        let ids = if enabled!(Level::DEBUG) { ids() } else { Vec::new() };
        self.batches.insert(self.last_batch, Batch { open: tags.len(), tags, ids, reply_to });
        Some(self.last_batch)
    }

    /// Decides what this turn has room for; the rest in the next, once everybody else was heard.
    fn decide(&mut self, ctx: &mut Context<Self>) {
        if self.turns.undecided == 0 {
            return;
        }
        if self.answers_held >= HELD_MAX {
            let tickets = self.turns.by_ref().map(|(ticket, _)| ticket).collect();
            self.turn_away(tickets);
        } else {
            let effects = self.core.submit(self.turns.by_ref());
            self.run(effects, ctx);
        }
        if self.turns.left == 0 && !std::mem::replace(&mut self.turns.over, true) {
            ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), actor, ctx| {
                (actor.turns.left, actor.turns.over) = (TURN, false);
                actor.decide(ctx);
            }));
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
    type Result = u64;

    fn handle(&mut self, Submit { requests, reply_to }: Submit, ctx: &mut Context<Self>) -> u64 {
        let tags = requests.iter().map(|(tag, _)| *tag).collect();
        let ids = || requests.iter().map(|(_, request)| asked(request.id, request)).collect();
        if let Some(batch) = self.batch(tags, ids, reply_to.clone()) {
            self.turns.push(batch, requests, reply_to);
            self.decide(ctx);
        }
        self.last_batch
    }
}

impl Handler<SubmitOpening> for LedgerActor {
    type Result = u64;

    fn handle(&mut self, SubmitOpening { tag, opening, reply_to }: SubmitOpening, ctx: &mut Context<Self>) -> u64 {
        if let Some(batch) = self.batch(vec![tag], || vec![asked(opening.id, &opening)], reply_to) {
            let ticket = Ticket { batch, index: 0 };
            if self.answers_held >= HELD_MAX {
                self.turn_away(vec![ticket]);
            } else {
                let effects = self.core.open(ticket, opening);
                self.run(effects, ctx);
            }
        }
        self.last_batch
    }
}

impl Handler<StopWaiting> for LedgerActor {
    type Result = ();

    fn handle(&mut self, StopWaiting(batch): StopWaiting, ctx: &mut Context<Self>) {
        // What waits for its turn has it now: it was sent, and whoever sent it must be told what became of it.
        if let Some(undecided) = self.turns.take_all_of(batch) {
            let effects = self.core.submit(undecided);
            self.run(effects, ctx);
        }
        let effects = self.core.stop_waiting(batch);
        self.run(effects, ctx);
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
