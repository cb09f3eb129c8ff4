//! Who reads at the Ledger without deciding anything. Every answer waits until what it tells is durable (R3).

use std::collections::BTreeMap;

use actix::{Context, Handler};
use tokio::sync::oneshot;

use super::{Held, LedgerActor};
use crate::actors::message::{AccountView, Collect, Collected, ReadAccount, ReadLog, ReadTrace};
use crate::effect::Effect;
use crate::ledger::Ticket;

/// More readers than this are turned away while a store does not answer: they ask again.
const HELD_MAX: usize = 1_024;

/// Those who wait for a collection have tickets of this batch; those of transfers begin at 1.
const BATCH: u64 = 0;

/// The readers that wait for an answer.
#[derive(Default)]
pub(super) struct Readers {
    pub(super) held: usize,
    collecting: BTreeMap<u32, oneshot::Sender<Collected>>,
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

    fn handle(&mut self, ReadTrace { id, reply_to }: ReadTrace, _: &mut Context<Self>) {
        let traces = self.core.trace(id);
        self.tell_reader(reply_to, traces);
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
