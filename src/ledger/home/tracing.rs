//! What a home can tell of an id. It is remembered by account, so that all accounts are looked through: bit by bit, where
//! there are many.

use std::collections::BTreeMap;

use super::Home;
use crate::ledger::outcome::{Content, Outcome};
use crate::ledger::request::{Trace, Verdict};
use crate::types::{AccountId, TransferId};

/// How many accounts are looked through at once: some tenths of a millisecond.
pub(crate) const TRACED_AT_ONCE: usize = 4_096;

/// A search for an id, as far as it has come.
#[derive(Clone, Debug)]
pub struct Tracing {
    id: TransferId,
    /// How many accounts were looked through.
    accounts: usize,
    /// By the account that the id was used with. What was decided while this went on may stand as it was before.
    found: BTreeMap<AccountId, Trace>,
}

impl Home {
    /// Begins to look for an id: where no account has it, and where a request with it waits.
    pub fn trace(&self, id: TransferId) -> Tracing {
        let parked = self.parked.values().map(|parked| &parked.request).filter(|request| request.id == id);
        let pending = parked.map(|request| {
            let (from, to, amount) = (request.from, request.to, request.amount);
            (from, Trace { id, from, to, amount, verdict: Verdict::Pending })
        });
        let decided =
            self.memory.find_shared(id).map(|(from, content, outcome)| self.traced(id, from, content, outcome));
        Tracing { id, accounts: 0, found: pending.chain(decided).collect() }
    }

    /// Looks through some more accounts; what was found, once that was all of them.
    pub fn go_on_tracing(&self, tracing: &mut Tracing) -> Option<Vec<Trace>> {
        let accounts = tracing.accounts..tracing.accounts + TRACED_AT_ONCE;
        let found = self.memory.find_among(self.bank.balances(), tracing.id, accounts.clone());
        let found = found.map(|(from, content, outcome)| self.traced(tracing.id, from, content, outcome));
        tracing.found.extend(found);
        tracing.accounts = accounts.end;
        let was_all = self.memory.accounts_len() <= accounts.end;
        was_all.then(|| std::mem::take(&mut tracing.found).into_values().collect())
    }

    fn traced(&self, id: TransferId, from: AccountId, content: Content, outcome: Outcome) -> (AccountId, Trace) {
        let verdict = match outcome {
            Outcome::Approved(seq) => Verdict::Approved(self.approval(seq)),
            Outcome::Refused(reason, _) => Verdict::Refused(*reason),
        };
        (from, Trace { id, from, to: content.to(), amount: content.amount(), verdict })
    }
}

#[cfg(test)]
#[path = "tracing_tests.rs"]
mod tests;
