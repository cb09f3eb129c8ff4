//! What becomes of a request: approved, parked, refused, or answered from memory.

use std::collections::BTreeSet;

use super::ends::To;
use super::{Ends, Home, HomeAction, Mark, Parked, Step};
use crate::ledger::outcome::{Content, Lookup, Outcome, Refusal};
use crate::ledger::{Action, Answer, Operation, Reason, Request, Ticket, Wait};
use crate::types::{Amount, NodeId, Seq};

impl Home {
    /// `ends` are the accounts of the request, as they were found.
    pub(super) fn decide(&mut self, step: &mut Step, ticket: Ticket, request: Request, ends: Ends) {
        let mut reply = |answer| step.actions.push(HomeAction::Reply(ticket, answer));
        // Refusals by form need no memory: they come out the same for ever.
        if request.from.home() != self.me {
            return reply(Answer::Refused(Reason::NotHome { home: request.from.home() }));
        }
        if request.amount == Amount::ZERO {
            return reply(Answer::Refused(Reason::AmountZero));
        }
        if request.from == request.to {
            return reply(Answer::Refused(Reason::SameAccount));
        }
        if !self.ready {
            return reply(Answer::NotReady);
        }
        if let Some(mark) = self.in_flight.get(&(request.from, request.id)) {
            let Some(parked) = self.parked.get_mut(mark) else { return reply(Answer::Busy) };
            if (parked.request.to, parked.request.amount) != (request.to, request.amount) {
                return reply(Answer::Conflict);
            }
            if self.unanswered.parked_len() >= self.limits.waiting_max {
                return reply(Answer::Busy);
            }
            parked.waiting.push((ticket, request.wait));
            return self.unanswered.park(ticket, *mark);
        }
        let (identity, content) = ((request.id, request.from), Content::transfer(request.to, request.amount));
        let owner = ends.from.map(|_| request.from);
        let known = self.memory.look_up_at(self.bank.balances(), owner, self.shelf(ends), identity, content);
        if !self.answer_known(step, ticket, request.wait, known) {
            self.decide_new(step, ticket, request, ends);
        }
    }

    /// Answers a request that was decided before, or may have been (R10); false where it is new.
    pub(super) fn answer_known(&mut self, step: &mut Step, ticket: Ticket, wait: Wait, known: Lookup) -> bool {
        let answer = match known {
            Lookup::New => return false,
            Lookup::Decided(Outcome::Approved(seq)) => {
                self.reply_approved(step, ticket, wait, seq);
                return true;
            }
            Lookup::Decided(Outcome::Refused(reason, _)) => Answer::Refused(*reason),
            Lookup::Conflict => Answer::Conflict,
            Lookup::Expired => Answer::Expired,
        };
        step.actions.push(HomeAction::Reply(ticket, answer));
        true
    }

    fn decide_new(&mut self, step: &mut Step, ticket: Ticket, request: Request, ends: Ends) {
        let spendable = match (ends.from, ends.to) {
            (Some(from), Some(_)) => *self.spendable.at(from),
            (from, _) => {
                let account = if from.is_none() { request.from } else { request.to };
                let reason = Reason::UnknownAccount { height: self.bank.height(), account };
                return self.refuse_transfer(step, &request, &[ticket], reason);
            }
        };
        if self.log.len() >= self.limits.log_entries_max {
            step.settle = true;
            return step.actions.push(HomeAction::Reply(ticket, Answer::Busy));
        }
        if spendable >= request.amount {
            return self.approve(step, &request, ends, &[(ticket, request.wait)]);
        }
        if self.undecided_len() >= self.limits.waiting_max {
            return step.actions.push(HomeAction::Reply(ticket, Answer::Busy));
        }
        self.last_mark += 1;
        self.in_flight.insert((request.from, request.id), self.last_mark);
        self.parked.insert(self.last_mark, Parked { request, waiting: vec![(ticket, request.wait)] });
        self.unanswered.park(ticket, self.last_mark);
        step.settle = true;
    }

    fn covers(&self, request: &Request) -> bool {
        self.spendable.get(&request.from).is_some_and(|spendable| *spendable >= request.amount)
    }

    /// Goes through the parked requests in the order of their arrival: approves what is covered now and, where a final
    /// collection says so, refuses what began before it.
    pub(super) fn look_again(&mut self, step: &mut Step, last_word: Option<(Mark, &BTreeSet<NodeId>)>) {
        let marks: Vec<Mark> = self.parked.keys().copied().collect();
        for mark in marks {
            let Some(parked) = self.parked.get(&mark) else { continue };
            let covered = self.covers(&parked.request) && self.log.len() < self.limits.log_entries_max;
            let not_heard = last_word.filter(|(began, _)| mark <= *began).map(|(_, not_heard)| not_heard);
            if !covered && (not_heard.is_none() || self.covers(&parked.request)) {
                continue;
            }
            let Some(Parked { request, waiting }) = self.parked.remove(&mark) else { continue };
            self.in_flight.remove(&(request.from, request.id));
            waiting.iter().for_each(|(ticket, _)| self.unanswered.decided(*ticket));
            if covered {
                self.approve(step, &request, self.ends(request.from, request.to), &waiting);
            } else {
                let reason = Reason::InsufficientFunds {
                    height: self.bank.height(),
                    spendable: self.spendable.get(&request.from).copied().unwrap_or_default(),
                    not_heard: not_heard.cloned().unwrap_or_default(),
                };
                let tickets: Vec<_> = waiting.iter().map(|(ticket, _)| *ticket).collect();
                self.refuse_transfer(step, &request, &tickets, reason);
            }
        }
    }

    fn approve(&mut self, step: &mut Step, request: &Request, ends: Ends, waiting: &[(Ticket, Wait)]) {
        let Request { id, from, to, amount, .. } = *request;
        self.enter(step, Operation { id, action: Action::Transfer { from, to, amount } }, ends, waiting);
    }

    /// Appends an operation that was found to pass, and answers those who wait for it.
    pub(super) fn enter(&mut self, step: &mut Step, operation: Operation, ends: Ends, waiting: &[(Ticket, Wait)]) {
        self.append(operation, ends).expect("it was tried just before, and the genesis sum fits");
        step.appended.push(operation);
        let seq = self.last_seq();
        for (ticket, wait) in waiting {
            self.reply_approved(step, *ticket, *wait, seq);
        }
        step.settle |= self.limits.settle_at_entries.is_some_and(|limit| self.log.len() >= limit);
    }

    /// Appends an operation to the log, its effect on this home's accounts included, or changes nothing.
    pub(super) fn append(&mut self, operation: Operation, ends: Ends) -> Option<()> {
        let seq = self.last_seq().next();
        match operation.action {
            Action::Transfer { amount, .. } => {
                let from = ends.from?;
                let debited = self.spendable.at(from).checked_sub(amount)?;
                if let Some(To::Here(to)) = ends.to {
                    let credited = self.spendable.at_mut(to);
                    *credited = credited.checked_add(amount)?;
                }
                *self.spendable.at_mut(from) = debited;
                let settled = self.settled_places(ends);
                self.log_places.0.push_back(settled);
                let shelf = &mut self.beside.0[from.index()].shelf;
                let shelf = *shelf.get_or_insert_with(|| self.memory.shelf_of(operation.account()));
                self.memory.approved_at(shelf, &operation, settled.map(|[_, to]| to), seq);
            }
            Action::Open { account } if self.can_open(account) => {
                self.opening.insert(account);
                self.log_places.0.push_back(None);
                self.memory.opening_approved(&operation, seq);
            }
            Action::Open { .. } => return None,
        }
        self.log.push_back(operation);
        Some(())
    }

    fn reply_approved(&mut self, step: &mut Step, ticket: Ticket, wait: Wait, seq: Seq) {
        if wait == Wait::Local || seq <= self.bank.watermark(self.me) {
            step.actions.push(HomeAction::Reply(ticket, Answer::Approved(self.approval(seq))));
        } else if self.unanswered.settling_len() >= self.limits.settling_max {
            // R10: `busy` would say that nothing was decided. The entry stands, and is not settled yet.
            step.actions.push(HomeAction::Reply(ticket, Answer::Approved(self.approval(seq))));
        } else {
            self.unanswered.settle(ticket, seq);
            step.settle = true;
        }
    }

    fn refuse_transfer(&mut self, step: &mut Step, request: &Request, tickets: &[Ticket], reason: Reason) {
        let Request { id, from, to, amount, .. } = *request;
        self.refuse(step, Refusal { id, from, to, amount, reason }, tickets);
    }

    pub(super) fn refuse(&mut self, step: &mut Step, refusal: Refusal, tickets: &[Ticket]) {
        // Remembered at once, though written with the step: the next request of the batch may be its twin.
        self.memory.refused(&refusal, self.spendable.contains_key(&refusal.from));
        let reply = |ticket: &Ticket| HomeAction::Reply(*ticket, Answer::Refused(refusal.reason.clone()));
        step.actions.extend(tickets.iter().map(reply));
        step.refused.push(refusal);
    }
}
