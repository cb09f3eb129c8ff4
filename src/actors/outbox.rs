//! The one queue of a role between its core and the world: "durable before said" (R3), FIFO and group commit at once.
//!
//! A role hands in its core's effects in order. Records go to Persistence at once, which writes everything that waits as
//! one batch; whatever stands behind a record comes out again, in order, once that record is durable. A halt waits for
//! nothing: from then on nothing comes out.

use std::collections::VecDeque;

use actix::Recipient;

use super::message::{Durable, Halt, Persist};
use crate::effect::{Effect, Record};

/// The queue of one role whose core asks for actions of type `A`.
pub struct Outbox<A> {
    persistence: Recipient<Persist>,
    node: Recipient<Halt>,
    reply_to: Recipient<Durable>,
    last_ticket: u64,
    durable: u64,
    held: VecDeque<(u64, A)>,
    halted: bool,
}

impl<A> Outbox<A> {
    /// An empty queue; `node` hears of a halt, `reply_to` is the role itself.
    pub fn new(persistence: Recipient<Persist>, node: Recipient<Halt>, reply_to: Recipient<Durable>) -> Self {
        let held = VecDeque::new();
        Self { persistence, node, reply_to, last_ticket: 0, durable: 0, held, halted: false }
    }

    /// How many actions wait for a write. While a store does not answer this grows, and a role takes in no more than
    /// it can bear to hold.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes effects in and returns what may be done at once: everything that stands behind no write.
    #[must_use = "what is returned here has left the queue"]
    pub fn push(&mut self, effects: impl IntoIterator<Item = Effect<A>>) -> Vec<A> {
        let mut free = Vec::new();
        let mut records: Vec<Record> = Vec::new();
        for effect in effects {
            match effect {
                _ if self.halted => {}
                Effect::Persist(record) => {
                    if records.is_empty() {
                        self.last_ticket += 1;
                    }
                    records.push(record);
                }
                // Behind nothing that is under way: the world may know.
                Effect::Act(action) if self.durable == self.last_ticket => free.push(action),
                Effect::Act(action) => {
                    self.flush(&mut records);
                    self.held.push_back((self.last_ticket, action));
                }
                Effect::Halt(reason) => {
                    self.halted = true;
                    self.held.clear();
                    self.node.do_send(Halt(reason));
                }
            }
        }
        self.flush(&mut records);
        free
    }

    /// Persistence has spoken: returns what stood behind the writes up to this ticket, in order.
    #[must_use = "what is returned here has left the queue"]
    pub fn on_durable(&mut self, Durable(ticket): Durable) -> Vec<A> {
        self.durable = self.durable.max(ticket);
        let count = self.held.iter().take_while(|(behind, _)| *behind <= self.durable).count();
        self.held.drain(..count).map(|(_, action)| action).collect()
    }

    fn flush(&mut self, records: &mut Vec<Record>) {
        if !records.is_empty() {
            let persist =
                Persist { records: std::mem::take(records), ticket: self.last_ticket, reply_to: self.reply_to.clone() };
            self.persistence.do_send(persist);
        }
    }
}
