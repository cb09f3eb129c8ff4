//! How accounts come to be at this home: an opening is approved alone, as a transfer is, and the account exists once a
//! block has settled it (R5, R7, R10).

use std::collections::BTreeSet;

use super::{Home, HomeAction, Step};
use crate::effect::{Effect, Record};
use crate::ledger::block::Block;
use crate::ledger::outcome::{Content, Refusal};
use crate::ledger::{Action, Answer, Opening, Operation, Reason, Ticket};
use crate::types::{AccountId, Amount};

impl Home {
    /// Decides an opening. It needs no balance, so it is never parked.
    pub fn open(&mut self, ticket: Ticket, opening: Opening) -> Vec<Effect<HomeAction>> {
        let mut step = Step::default();
        if !self.halted {
            self.decide_opening(&mut step, ticket, opening);
        }
        self.finish(step)
    }

    fn decide_opening(&mut self, step: &mut Step, ticket: Ticket, Opening { id, account, wait }: Opening) {
        let mut reply = |answer| step.actions.push(HomeAction::Reply(ticket, answer));
        if account.home() != self.me {
            return reply(Answer::Refused(Reason::NotHome { home: account.home() }));
        }
        if !self.ready {
            return reply(Answer::NotReady);
        }
        // What is parked is a transfer: the same identity, with other content.
        if self.in_flight.contains_key(&(account, id)) {
            return reply(Answer::Conflict);
        }
        let operation = Operation { id, action: Action::Open { account } };
        let ends = self.ends(account, account);
        let (owner, content) = (ends.from.map(|_| account), Content::of(&operation));
        let known = self.memory.look_up(self.bank.balances(), owner, (id, account), content);
        if self.answer_known(step, ticket, wait, known) {
            return;
        }
        if !self.can_open(account) {
            let reason = Reason::AccountExists { height: self.bank.height(), account };
            let refusal = Refusal { id, from: account, to: account, amount: Amount::ZERO, reason };
            return self.refuse(step, refusal, &[ticket]);
        }
        if self.log.len() >= self.limits.log_entries_max {
            step.settle = true;
            return step.actions.push(HomeAction::Reply(ticket, Answer::Busy));
        }
        self.enter(step, operation, ends, &[(ticket, wait)]);
    }

    /// Whether an account of this home neither exists nor is about to.
    pub(super) fn can_open(&self, account: AccountId) -> bool {
        account.home() == self.me && self.bank.balance(account).is_none() && !self.opening.contains(&account)
    }

    /// What a settled block means for the accounts of this home: credits from other homes become spendable, accounts
    /// that it opened exist.
    pub(super) fn take_effects_of(&mut self, block: &Block, effects: &mut Vec<Effect<HomeAction>>) {
        let mut opened = BTreeSet::new();
        for run in block.runs() {
            for operation in &run.operations {
                match operation.action {
                    Action::Transfer { to, amount, .. } if run.origin != self.me => {
                        if let Some(spendable) = self.spendable.get_mut(&to) {
                            *spendable = spendable.checked_add(amount).expect("the genesis sum fits (R12)");
                        }
                    }
                    Action::Open { account } if account.home() == self.me => {
                        self.spendable.insert(account, Amount::ZERO);
                        self.note_beside(account);
                        self.opening.remove(&account);
                        opened.insert(account);
                    }
                    Action::Transfer { .. } | Action::Open { .. } => {}
                }
            }
        }
        if opened.is_empty() {
            return;
        }
        // From now on these accounts are looked up on shelves and under horizons of their own: what the shared shelf
        // remembers of them goes along, and what it forgot of them stays forgotten, not new.
        if let Some(id) = self.memory.horizon(None) {
            for account in &opened {
                self.memory.raise_horizon(Some(*account), id);
                effects.push(Effect::Persist(Record::Horizon { owner: Some(*account), id }));
            }
        }
        self.memory.give_shelves(&opened);
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
