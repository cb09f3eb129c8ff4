//! What only the whole history can show: chain and logs are gone through again, and every answer ever given is compared
//! with them, in the real-time order in which clients asked and heard.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::chain::moved;
use super::evidence::{Evidence, Executed, Exempt, Judged};
use super::moments::{Moment, Moments};
use super::violation::{action_content, content_text, executed_text, story_text};
use super::{BalanceRead, History, Identity, Outcome, Rule, Story, Violation};
use crate::ledger::{Action, Entry, Reason};
use crate::types::{AccountId, Amount, Height, NodeId, Seq};

type Held = Result<(), Violation>;

/// Whether something can have been so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Possible {
    Yes,
    No,
    /// Only a node that was not heard could tell.
    Open,
}

/// A history and what came of it, indexed for the questions below.
pub struct Witness<'a> {
    history: &'a History,
    evidence: Evidence<'a>,
    exempt: &'a Exempt,
    executed: BTreeMap<Identity, Vec<Executed>>,
    /// The entries that are in the history, by home and seq.
    entries: Vec<Moment>,
    moments: Moments,
    open: Cell<u64>,
}

impl<'a> Witness<'a> {
    /// A history that is over, with what came of it: the chain goes on in the logs.
    pub fn new(history: &'a History, mut evidence: Evidence<'a>, exempt: &'a Exempt) -> Self {
        let chain = evidence.chain;
        // A node that lags holds in its log what others have settled.
        evidence.logs.iter_mut().for_each(|(home, log)| log.retain(|entry| entry.seq > chain.tip().watermark(*home)));
        let unsettled = evidence.logs.values().flatten().map(|entry| (None, *entry));
        let all = chain.entries().map(|(height, entry)| (Some(height), entry)).chain(unsettled);
        let (mut executed, mut entries) = (BTreeMap::<Identity, Vec<Executed>>::new(), Vec::new());
        for (height, entry) in all {
            let (account, content) = action_content(&entry.operation.action);
            let identity = (account, entry.operation.id);
            executed.entry(identity).or_default().push((entry.origin, entry.seq, content, height));
            if let Some(story) = history.stories.get(&identity) {
                let heard = story.outcome.as_ref().map(|(.., heard)| *heard);
                entries.push(Moment { entry, height, asked: story.first_asked(), heard });
            }
        }
        entries.sort_by_key(|moment| (moment.entry.origin, moment.entry.seq));
        let moments = Moments::new(&entries);
        Self { history, evidence, exempt, executed, entries, moments, open: Cell::new(0) }
    }

    /// What a request became, as often as it is there.
    pub fn executed(&self, identity: &Identity) -> &[Executed] {
        self.executed.get(identity).map_or(&[], Vec::as_slice)
    }

    /// Everything that this file knows.
    pub fn judge(&self) -> Judged {
        let mut violations = self.history.violations.clone();
        violations.extend(self.what_is_there_was_asked_for());
        for (identity, story) in &self.history.stories {
            let held = [
                self.r10_exactly_once(identity, story),
                self.r10_settled_where_it_was_told(identity, story),
                self.r10_what_expired_at_once_is_never_executed(identity, story),
                self.r10_what_was_turned_away_is_not_executed(identity, story),
                self.r10_a_conflict_has_another_content(identity, story),
                self.a_refusal_is_true(identity, story),
            ];
            violations.extend(held.into_iter().filter_map(Result::err));
        }
        violations.extend(self.r7_entries_are_in_real_time_order());
        violations.extend(self.history.reads.iter().filter_map(|read| self.a_balance_is_true(read).err()));
        Judged { violations, open: self.open.get() }
    }

    fn broken(&self, rule: Rule, identity: &Identity, story: &Story) -> Held {
        let there: Vec<_> = self.executed(identity).iter().map(|times| executed_text(identity.0, times)).collect();
        let there = if there.is_empty() { "not there".to_owned() } else { there.join(" and ") };
        let what = format!("{}; in chain and logs it is {there}", story_text(identity.0, story));
        Err(Violation::of(rule, *identity, what))
    }

    /// Nobody can judge this.
    fn leave_open(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// R10: what is there was asked for, as it is there.
    fn what_is_there_was_asked_for(&self) -> Vec<Violation> {
        if !self.history.complete {
            return Vec::new();
        }
        let not_asked = |(identity, times): (&Identity, &Vec<Executed>)| {
            let asked = self.history.stories.get(identity).map_or(&[][..], |story| &story.asked);
            let strange = times.iter().find(|(_, _, content, _)| !asked.iter().any(|(_, with)| with == content))?;
            let what = format!("nobody asked for it; it is {}", executed_text(identity.0, strange));
            Some(Violation::of(Rule::AskedFor, *identity, what))
        };
        self.executed.iter().filter_map(not_asked).collect()
    }

    /// R7, R10: each approved request is there exactly once, as the entry that its client was told; each refused one
    /// never; each of unknown outcome at most once. A home whose store was lost has lost what was not settled.
    fn r10_exactly_once(&self, identity: &Identity, story: &Story) -> Held {
        let times = self.executed(identity);
        let destroyed = self.exempt.destroyed.contains(&identity.0.home());
        if times.len() > 1 {
            return self.broken(Rule::AtMostOnce, identity, story);
        }
        match (&story.outcome, times) {
            (Some((Outcome::Approved(origin, seq), with, _)), [(found, at, content, _)]) => {
                let as_told = (found, at, content) == (origin, seq, with);
                if as_told { Ok(()) } else { self.broken(Rule::ApprovedOnce, identity, story) }
            }
            (Some((Outcome::Approved(origin, seq), ..)), _) => {
                let settled = *seq <= self.evidence.chain.tip().watermark(*origin);
                if !settled && destroyed {
                    return Ok(());
                }
                if !settled && self.evidence.not_heard.contains(origin) {
                    self.leave_open();
                    return Ok(());
                }
                self.broken(Rule::ApprovedOnce, identity, story)
            }
            (Some((Outcome::Refused(_), ..)), [_, ..]) if !destroyed => {
                self.broken(Rule::RefusedNever, identity, story)
            }
            _ => Ok(()),
        }
    }

    /// R10: what was told as settled is in that block, and in no other.
    fn r10_settled_where_it_was_told(&self, identity: &Identity, story: &Story) -> Held {
        let found = self.executed(identity).first().and_then(|(.., height)| *height);
        let home = identity.0.home();
        let beyond = |told: &Height| *told > self.evidence.chain.height() && self.evidence.not_heard.contains(&home);
        let lies = |told: &&Height| found != Some(**told) && !(found.is_none() && beyond(told));
        match story.heights.iter().find(lies) {
            Some(told) => {
                let what = format!("told as settled at height {told}; it is at {found:?}");
                Err(Violation::of(Rule::ToldHeight, *identity, what))
            }
            None => Ok(()),
        }
    }

    /// R10: what was answered `expired` the only time that it was asked for is never executed.
    fn r10_what_expired_at_once_is_never_executed(&self, identity: &Identity, story: &Story) -> Held {
        match story.expired {
            Some((_, 1)) if story.asked.len() == 1 && !self.executed(identity).is_empty() => {
                self.broken(Rule::ExpiredNever, identity, story)
            }
            _ => Ok(()),
        }
    }

    /// R10: `busy` and `not ready` decide nothing.
    fn r10_what_was_turned_away_is_not_executed(&self, identity: &Identity, story: &Story) -> Held {
        let always = !story.asked.is_empty() && story.turned_away == story.asked.len();
        if always && !self.executed(identity).is_empty() {
            return self.broken(Rule::TurnedAwayNever, identity, story);
        }
        Ok(())
    }

    /// R10: a conflict needs a request with the same identity and another content.
    fn r10_a_conflict_has_another_content(&self, identity: &Identity, story: &Story) -> Held {
        let strange = story.conflicts.iter().find(|content| !story.has_other_content(**content));
        match strange.filter(|_| self.history.complete) {
            Some(content) => {
                let text = content_text(identity.0, *content);
                let what = format!("{text} is a conflict, but nobody used its id for anything else");
                Err(Violation::of(Rule::TrueConflict, *identity, what))
            }
            None => Ok(()),
        }
    }

    /// A refusal tells what was so.
    fn a_refusal_is_true(&self, identity: &Identity, story: &Story) -> Held {
        let Some((Outcome::Refused(reason), (_, amount), heard)) = &story.outcome else { return Ok(()) };
        let (account, asked) = (identity.0, story.first_asked());
        let possible = match reason {
            Reason::InsufficientFunds { height, spendable, not_heard } => {
                // While two processes of one node run, the older one may still offer the log that it knows.
                let doubled = |origin| self.exempt.was_doubled(origin, asked, *heard);
                let counted = |origin: NodeId| !not_heard.contains(&origin) && !doubled(origin);
                self.r9_counts_what_was_approved_before(account, asked, *height, counted)
                    .map_err(|what| Violation::of(Rule::CountsBefore, *identity, self.with_story(identity, &what)))?;
                let possible = self.could_spend(account, *height, *spendable, asked, *heard);
                if *spendable < *amount && possible != Possible::No {
                    possible
                } else {
                    let what = format!("{spendable} could never be spent at height {height}, or covers it");
                    return Err(Violation::of(Rule::Spendable, *identity, self.with_story(identity, &what)));
                }
            }
            Reason::UnknownAccount { height, account: unknown } => match self.evidence.chain.at(*height) {
                Some(bank) if bank.balance(*unknown).is_some() => Possible::No,
                Some(_) => Possible::Yes,
                None => self.beyond(account.home()),
            },
            Reason::AccountExists { account, .. } => self.was_opened(*account),
            Reason::AmountZero | Reason::SameAccount | Reason::NotHome { .. } => Possible::Yes,
        };
        match possible {
            Possible::No => self.broken(Rule::TrueReason, identity, story),
            Possible::Open => {
                self.leave_open();
                Ok(())
            }
            Possible::Yes => Ok(()),
        }
    }

    fn with_story(&self, identity: &Identity, what: &str) -> String {
        let story = self.history.stories.get(identity).map(|story| story_text(identity.0, story));
        format!("{}; {what}", story.unwrap_or_default())
    }

    /// What a node tells of a height that the chain does not reach: one that was heard would have brought it.
    fn beyond(&self, teller: NodeId) -> Possible {
        if self.evidence.not_heard.contains(&teller) { Possible::Open } else { Possible::No }
    }

    fn was_opened(&self, account: AccountId) -> Possible {
        let home = account.home();
        let opens = |entry: &Entry| matches!(entry.operation.action, Action::Open { account: new } if new == account);
        let in_log = self.evidence.logs.get(&home).into_iter().flatten().any(opens);
        if self.evidence.chain.tip().balance(account).is_some() || in_log || self.exempt.destroyed.contains(&home) {
            return Possible::Yes;
        }
        self.beyond(home)
    }

    /// R9: everything that `account` was credited with, and that a client had heard of before `asked`, is settled at or
    /// below `height`, as far as its origin is counted.
    fn r9_counts_what_was_approved_before(
        &self,
        account: AccountId,
        asked: u64,
        height: Height,
        counted: impl Fn(NodeId) -> bool,
    ) -> Result<(), String> {
        let counted = |origin: NodeId| origin != account.home() && counted(origin);
        match self.moments.left_out(account, asked, height, counted) {
            Some((origin, seq)) => {
                Err(format!("at height {height} it does not count {origin}:{seq}, which was approved before"))
            }
            None => Ok(()),
        }
    }

    /// Whether `account` could spend exactly `amount` at `height`, once its home had approved all that clients had heard
    /// of by the call, and nothing that was asked for only after the answer.
    fn could_spend(&self, account: AccountId, height: Height, amount: Amount, called: u64, returned: u64) -> Possible {
        let home = account.home();
        let chain = self.evidence.chain;
        let Some(bank) = chain.at(height) else { return self.beyond(home) };
        // Its unsettled entries went with its store.
        if self.exempt.destroyed.contains(&home) {
            return Possible::Yes;
        }
        let settled = bank.watermark(home);
        let least = self.moments.heard_before(home, called).max(settled);
        let too_late = self.moments.asked_after(home, returned);
        let in_log = self.evidence.logs.get(&home).into_iter().flatten().copied();
        let (mut sum, mut reached) = (bank.balance(account), settled);
        let mut entries = chain.entries_of(home, settled).chain(in_log);
        loop {
            if reached >= least && sum == Some(amount) {
                return Possible::Yes;
            }
            match entries.next() {
                Some(entry) if too_late.is_none_or(|late| entry.seq < late) => {
                    reached = entry.seq;
                    sum = sum.and_then(|sum| moved(sum, account, &entry));
                }
                Some(_) => return Possible::No,
                // What follows is in a log that nobody has seen.
                None => return self.beyond(home),
            }
        }
    }

    /// R7: what was asked for after a client had heard of an approval has a higher seq at that home.
    fn r7_entries_are_in_real_time_order(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut latest: BTreeMap<NodeId, (u64, Seq)> = BTreeMap::new();
        for Moment { entry: Entry { origin, seq, .. }, asked, heard, .. } in &self.entries {
            if let (Some(heard), Some((after, earlier))) = (heard, latest.get(origin))
                && heard < after
            {
                let what = format!(
                    "{origin}:{seq} was heard of at {heard}, before {origin}:{earlier} was asked for at {after}"
                );
                violations.push(Violation { rule: Rule::RealTimeOrder, about: None, what });
            }
            let latest = latest.entry(*origin).or_insert((*asked, *seq));
            if *asked > latest.0 {
                *latest = (*asked, *seq);
            }
        }
        violations
    }

    /// A balance is the settled one of its height, and what could be spent there at some moment of the read. A fresh one
    /// counts what was approved before it, as a refusal does (R9). None is older than what the client had seen.
    fn a_balance_is_true(&self, read: &BalanceRead) -> Held {
        let BalanceRead { called, returned, fresh, seen, node, balance } = read;
        let account = balance.account;
        let lie = |rule, why: String| {
            let (settled, height) = (balance.settled, balance.height);
            let spendable = balance.spendable.map(|spendable| format!("can spend {spendable}; ")).unwrap_or_default();
            let told = format!("{node} told from {called} to {returned}: {account} {spendable}settled {settled}");
            Err(Violation { rule, about: None, what: format!("{told} at height {height}; {why}") })
        };
        if balance.height < *seen {
            return lie(Rule::GoesBack, format!("the client had seen height {seen}"));
        }
        let Some(bank) = self.evidence.chain.at(balance.height) else {
            if self.beyond(*node) == Possible::No {
                return lie(Rule::TrueBalance, format!("the chain ends at {}", self.evidence.chain.height()));
            }
            self.leave_open();
            return Ok(());
        };
        if bank.balance(account) != Some(balance.settled) {
            return lie(Rule::TrueBalance, format!("settled there is {:?}", bank.balance(account)));
        }
        // The older of two processes goes on telling what it knows, until it notices.
        let doubled = self.exempt.was_doubled(account.home(), *called, *returned);
        if let Some(amount) = balance.spendable.filter(|_| !doubled) {
            match self.could_spend(account, balance.height, amount, *called, *returned) {
                Possible::No => return lie(Rule::TrueBalance, "that could never be spent there then".to_owned()),
                Possible::Open => self.leave_open(),
                Possible::Yes => {}
            }
        }
        let heard = |origin: NodeId| {
            let exempt = self.exempt.destroyed.contains(&origin) || balance.not_heard.contains(&origin);
            !exempt && !self.exempt.was_doubled(origin, *called, *returned)
        };
        if *fresh && let Err(why) = self.r9_counts_what_was_approved_before(account, *called, balance.height, heard) {
            return lie(Rule::CountsBefore, why);
        }
        Ok(())
    }
}
