//! What the Ledger tells the acceptor: the height, the log, and whether a proposed block passes.

use actix::{Context, Handler};

use super::{Held, LedgerActor, VIEWS_MAX};
use crate::actors::message::{Examine, Examined};
use crate::paxos::{PrepareView, Verdict};
use crate::types::Height;

impl LedgerActor {
    /// What the acceptor needs to promise or to vote at the next height overtakes the write of the block below. That this is
    /// chosen is so, durable here or not, and whoever asks has it (R3).
    fn tell_acceptor(&mut self, examined: Examined, of_next_height: bool) {
        if !of_next_height {
            return self.tell(Held::Examined(examined));
        }
        self.views_held += 1;
        let free = self.outbox.push_past_blocks(Held::Examined(examined));
        self.act(free.into_iter().collect());
    }
}

impl Handler<Examine> for LedgerActor {
    type Result = ();

    fn handle(&mut self, examine: Examine, _: &mut Context<Self>) {
        if self.views_held >= VIEWS_MAX {
            return;
        }
        let (height, state) = (self.core.bank().height(), self.core.bank().state());
        let (asked, examined, of_next_height) = match examine {
            Examine::Prepare(from, prepare) => {
                // R7: only a proposer that the log is for makes it worth copying.
                let of_next_height = prepare.height == height.next();
                let log = if of_next_height { self.core.offer() } else { Default::default() };
                (prepare.height, Examined::Prepare(from, prepare, PrepareView { height, state, log }), of_next_height)
            }
            Examine::Accept(from, accept) => {
                let fault = self.core.check(&accept.block).err();
                let (asked, of_next_height) = (accept.block.height(), fault.is_none());
                (asked, Examined::Accept(from, accept, Verdict { height, state, fault }), of_next_height)
            }
        };
        if asked > height.next() {
            self.asked_above = self.asked_above.max(Height(asked.0 - 1));
        }
        self.tell_acceptor(examined, of_next_height);
    }
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
