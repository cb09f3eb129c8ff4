//! The one queue of a role between its core and the world: "durable before said" (R3), FIFO and group commit at once.
//!
//! A role hands in its core's effects in order. Records go to Persistence at once, which writes everything that waits as
//! one batch; whatever stands behind a record comes out again, in order, once that record is durable. A halt waits for
//! nothing: from then on nothing comes out.
//!
//! A block that nobody waits for need not be written at once. What is told of a chosen block rests on the majority that
//! voted for it, so one kind of action overtakes it: see [`Outbox::push_past_blocks`].

use std::collections::VecDeque;

use actix::Recipient;

use super::message::{Durable, Halt, Persist};
use crate::effect::{Effect, Record, Urgency};

/// The queue of one role whose core asks for actions of type `A`.
pub struct Outbox<A> {
    persistence: Recipient<Persist>,
    node: Recipient<Halt>,
    reply_to: Recipient<Durable>,
    last_ticket: u64,
    durable: u64,
    held: VecDeque<(u64, A)>,
    /// The last write that holds more than a block.
    overtaken_by_none: u64,
    /// What waits for that one.
    overtaking: VecDeque<(u64, A)>,
    /// The last write that somebody waits for. Those behind it are put off.
    urgent: u64,
    halted: bool,
}

impl<A> Outbox<A> {
    /// An empty queue; `node` hears of a halt, `reply_to` is the role itself.
    pub fn new(persistence: Recipient<Persist>, node: Recipient<Halt>, reply_to: Recipient<Durable>) -> Self {
        Self {
            persistence,
            node,
            reply_to,
            last_ticket: 0,
            durable: 0,
            held: VecDeque::new(),
            overtaken_by_none: 0,
            overtaking: VecDeque::new(),
            urgent: 0,
            halted: false,
        }
    }

    /// How many actions wait for a write. While a store does not answer this grows, and a role takes in no more than
    /// it can bear to hold.
    pub fn len(&self) -> usize {
        self.held.len() + self.overtaking.len()
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes effects in and returns what may be done at once: everything that stands behind no write.
    #[must_use = "what is returned here has left the queue"]
    pub fn push(&mut self, effects: impl IntoIterator<Item = Effect<A>>) -> Vec<A> {
        let before = self.held.len();
        let free = self.take_in(effects, Urgency::Now);
        if self.held.len() > before {
            self.hurry(self.last_ticket);
        }
        free
    }

    /// The same for a block, and what is done once it is durable, where nobody waits for that.
    #[must_use = "what is returned here has left the queue"]
    pub fn put_off(&mut self, effects: impl IntoIterator<Item = Effect<A>>) -> Vec<A> {
        self.take_in(effects, Urgency::Later)
    }

    /// Takes an action in that waits for all writes before it but those of blocks, and returns it where it may be done
    /// at once.
    #[must_use = "what is returned here has left the queue"]
    pub fn push_past_blocks(&mut self, action: A) -> Option<A> {
        if self.halted {
            return None;
        }
        if self.overtaken_by_none <= self.durable {
            return Some(action);
        }
        self.overtaking.push_back((self.overtaken_by_none, action));
        self.hurry(self.overtaken_by_none);
        None
    }

    /// Somebody waits for this write, which may have been put off.
    fn hurry(&mut self, ticket: u64) {
        if ticket > self.urgent {
            self.persist(Vec::new(), Urgency::Now);
        }
    }

    fn take_in(&mut self, effects: impl IntoIterator<Item = Effect<A>>, urgency: Urgency) -> Vec<A> {
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
                    self.flush(&mut records, urgency);
                    self.held.push_back((self.last_ticket, action));
                }
                Effect::Halt(reason) => {
                    self.halted = true;
                    self.held.clear();
                    self.overtaking.clear();
                    self.node.do_send(Halt(reason));
                }
            }
        }
        self.flush(&mut records, urgency);
        free
    }

    /// Persistence has spoken: returns what stood behind the writes up to this ticket, in order.
    #[must_use = "what is returned here has left the queue"]
    pub fn on_durable(&mut self, Durable(ticket): Durable) -> Vec<A> {
        self.durable = self.durable.max(ticket);
        let durable = self.durable;
        let released = |held: &mut VecDeque<(u64, A)>| {
            let count = held.iter().take_while(|(behind, _)| *behind <= durable).count();
            held.drain(..count).map(|(_, action)| action).collect::<Vec<_>>()
        };
        let mut actions = released(&mut self.held);
        actions.extend(released(&mut self.overtaking));
        actions
    }

    fn flush(&mut self, records: &mut Vec<Record>, urgency: Urgency) {
        if !records.is_empty() {
            if !records.iter().all(|record| matches!(record, Record::Block(_) | Record::Checkpoint { .. })) {
                self.overtaken_by_none = self.last_ticket;
            }
            self.persist(std::mem::take(records), urgency);
        }
    }

    fn persist(&mut self, records: Vec<Record>, urgency: Urgency) {
        let (ticket, reply_to) = (self.last_ticket, self.reply_to.clone());
        if urgency == Urgency::Now {
            self.urgent = ticket;
        }
        self.persistence.do_send(Persist { records, ticket, urgency, reply_to });
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
