//! Who reads at the Ledger without deciding anything. Every answer waits until what it tells is durable (R3).

use std::collections::{BTreeMap, VecDeque};

use actix::{Context, Handler};
use tokio::sync::oneshot;

use super::{Held, LedgerActor};
use crate::actors::message::{AccountView, Collect, Collected, ReadAccount, ReadLog, ReadTrace};
use crate::actors::task::next_turn;
use crate::effect::Effect;
use crate::ledger::home::Tracing;
use crate::ledger::{Ticket, Trace};

/// More readers than this are turned away while a store does not answer: they ask again.
const HELD_MAX: usize = 1_024;

/// Those who wait for a collection have tickets of this batch; those of transfers begin at 1.
const BATCH: u64 = 0;

/// The readers that wait for an answer.
#[derive(Default)]
pub(super) struct Readers {
    pub(super) held: usize,
    collecting: BTreeMap<u32, oneshot::Sender<Collected>>,
    /// Ids that are looked for, one after the other.
    tracing: VecDeque<(Tracing, oneshot::Sender<Vec<Trace>>)>,
    last: u32,
}

impl Readers {
    /// A collection is over for one of those who waited for it.
    pub(super) fn collected(&mut self, ticket: Ticket, collected: Collected) {
        if let Some(reply_to) = self.collecting.remove(&ticket.index) {
            drop(reply_to.send(collected));
        }
    }
}

impl LedgerActor {
    fn tell_reader<T: 'static>(&mut self, reply_to: oneshot::Sender<T>, answer: T) {
        if self.readers.held >= HELD_MAX {
            return;
        }
        self.readers.held += 1;
        let tell = Box::new(move || drop(reply_to.send(answer)));
        let free = self.outbox.push([Effect::Act(Held::Tell(tell))]);
        self.act(free);
    }

    /// Looks for the first of the ids, and lets everybody else be heard in between.
    fn go_on_tracing(&mut self, ctx: &mut Context<Self>) {
        let waiting = &mut self.readers.tracing;
        waiting.retain(|(_, reply_to)| !reply_to.is_closed());
        let Some((tracing, _)) = waiting.front_mut() else { return };
        if let Some(traces) = self.core.go_on_tracing(tracing)
            && let Some((_, reply_to)) = waiting.pop_front()
        {
            self.tell_reader(reply_to, traces);
        }
        if !self.readers.tracing.is_empty() {
            next_turn(ctx, Self::go_on_tracing);
        }
    }
}

impl Handler<ReadAccount> for LedgerActor {
    type Result = ();

    fn handle(&mut self, ReadAccount { account, reply_to }: ReadAccount, _: &mut Context<Self>) {
        let (bank, spendable) = (self.core.bank(), self.core.spendable().get(&account).copied());
        let view = AccountView { height: bank.height(), settled: bank.balance(account), spendable };
        self.tell_reader(reply_to, view);
    }
}

impl Handler<ReadLog> for LedgerActor {
    type Result = ();

    fn handle(&mut self, ReadLog { from, count, reply_to }: ReadLog, _: &mut Context<Self>) {
        let entries = self.core.log_from(from, count);
        self.tell_reader(reply_to, entries);
    }
}

impl Handler<ReadTrace> for LedgerActor {
    type Result = ();

    fn handle(&mut self, ReadTrace { id, reply_to }: ReadTrace, ctx: &mut Context<Self>) {
        if self.readers.tracing.len() >= HELD_MAX {
            return;
        }
        self.readers.tracing.push_back((self.core.trace(id), reply_to));
        if self.readers.tracing.len() == 1 {
            self.go_on_tracing(ctx);
        }
    }
}

impl Handler<Collect> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Collect(reply_to): Collect, ctx: &mut Context<Self>) {
        let readers = &mut self.readers;
        let gone = readers.collecting.iter().filter(|(_, waiting)| waiting.is_closed());
        for index in gone.map(|(index, _)| *index).collect::<Vec<_>>() {
            readers.collecting.remove(&index);
            self.core.stop_collecting(Ticket { batch: BATCH, index });
        }
        if readers.collecting.len() >= HELD_MAX {
            return;
        }
        readers.last = readers.last.wrapping_add(1);
        let index = readers.last;
        readers.collecting.insert(index, reply_to);
        let effects = self.core.collect(Ticket { batch: BATCH, index });
        self.run(effects, ctx);
    }
}

#[cfg(test)]
#[path = "readers_tests.rs"]
mod tests;
