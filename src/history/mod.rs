//! What clients asked and heard, held against the chain and the logs that came of it. No IO.
//!
//! In reading order: this file (a [`History`]: who asked for what, when, and what was heard), [`Chain`] (what was settled,
//! at each height), [`Witness`] (what must be true of the two, each rule by its name), [`Line`] (a history as a file,
//! docs/history.md).
//!
//! Times are numbers of one clock that never goes back; only their order counts. That of a call is taken before it is
//! sent, that of a return after its answer was heard, so that of two calls the one that returned before the other began
//! came first, whatever happened between them.

mod chain;
mod evidence;
mod line;
mod moments;
mod violation;
mod witness;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use chain::{Chain, Settled};
pub use evidence::{Evidence, Executed, Exempt, Judged};
pub use line::{Line, LineError, Op, Told, read};
pub use violation::{Rule, Violation};
pub use witness::Witness;

use crate::ledger::{Reason, Request};
use crate::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};
use crate::wire::client::Balance;

/// What identifies a request (R10): the debit account, or the one to open, and the id.
pub type Identity = (AccountId, TransferId);

/// What a request asks for: the credit account and the amount. An opening credits its own account with nothing.
pub type Content = (AccountId, Amount);

/// What identifies a request.
pub fn identity(request: &Request) -> Identity {
    (request.from, request.id)
}

/// What a request asks for.
pub fn content(request: &Request) -> Content {
    (request.to, request.amount)
}

/// What a home finally said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Approved, as this entry.
    Approved(NodeId, Seq),
    /// Refused, for a reason that depends on the state. What is refused by its form has no outcome.
    Refused(Reason),
}

/// All that is known of one identity.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Every time it was asked for: when, and with which content.
    pub asked: Vec<(u64, Content)>,
    /// What was decided, for which content, and when a client first heard of it.
    pub outcome: Option<(Outcome, Content, u64)>,
    /// The heights at which it was told to be settled; there may be one.
    pub heights: BTreeSet<Height>,
    /// When it was first said to be older than the home's memory, and how often it had been asked for by then.
    pub expired: Option<(u64, usize)>,
    /// The contents that conflict with what it was used for.
    pub conflicts: Vec<Content>,
    /// How often it was told that nothing was decided.
    pub turned_away: usize,
}

impl Story {
    /// When it was first asked for.
    pub fn first_asked(&self) -> u64 {
        self.asked.iter().map(|(when, _)| *when).min().unwrap_or(u64::MAX)
    }

    /// Whether it was ever asked for with another content.
    pub fn has_other_content(&self, content: Content) -> bool {
        self.asked.iter().any(|(_, with)| *with != content)
    }
}

/// A balance that a node told.
#[derive(Clone, Debug)]
pub struct BalanceRead {
    /// When it was asked for.
    pub called: u64,
    /// When it was heard.
    pub returned: u64,
    /// Whether a collection was to come before it.
    pub fresh: bool,
    /// The greatest height that the client had seen, as it said in the call.
    pub seen: Height,
    /// Who told it.
    pub node: NodeId,
    /// What was told.
    pub balance: Balance,
}

/// What clients asked and heard.
#[derive(Default)]
pub struct History {
    /// By what identifies a request.
    pub stories: BTreeMap<Identity, Story>,
    /// The balances that were told.
    pub reads: Vec<BalanceRead>,
    /// Whether nobody else ever asked this bank for anything: then nothing may be there that is not here.
    pub complete: bool,
    /// Answers that contradict each other or their own requests, found as they came.
    pub violations: Vec<Violation>,
}

impl History {
    fn story(&mut self, identity: Identity) -> &mut Story {
        self.stories.entry(identity).or_default()
    }

    /// A client is about to ask for this.
    pub fn asked(&mut self, identity: Identity, content: Content, when: u64) {
        self.story(identity).asked.push((when, content));
    }

    /// R10: the same identity gets the same outcome, and one content only. True where it was known.
    ///
    /// # Errors
    /// What it was before, where that is something else.
    pub fn decided(
        &mut self,
        identity: Identity,
        content: Content,
        outcome: Outcome,
        when: u64,
    ) -> Result<bool, Violation> {
        let story = self.story(identity);
        match &mut story.outcome {
            None => {
                story.outcome = Some((outcome, content, when));
                Ok(false)
            }
            Some((before, with, heard)) if (&*before, &*with) == (&outcome, &content) => {
                *heard = when.min(*heard);
                Ok(true)
            }
            Some((before, with, _)) => {
                let (before, now) =
                    (violation::outcome_text(before, *with), violation::outcome_text(&outcome, content));
                Err(Violation::of(Rule::OneOutcome, identity, format!("{before}, and {now}")))
            }
        }
    }

    /// It was said to be in the block of this height.
    pub fn settled_at(&mut self, identity: Identity, height: Height) {
        self.story(identity).heights.insert(height);
    }

    /// It was said to be older than what its home remembers.
    pub fn expired(&mut self, identity: Identity, when: u64) {
        let story = self.story(identity);
        story.expired.get_or_insert((when, story.asked.len()));
    }

    /// It was said to conflict with what its id was used for.
    pub fn conflict(&mut self, identity: Identity, content: Content) {
        self.story(identity).conflicts.push(content);
    }

    /// It was said that nothing was decided.
    pub fn turned_away(&mut self, identity: Identity) {
        self.story(identity).turned_away += 1;
    }

    /// Refusals by form are those of the request's form; they decide nothing.
    ///
    /// # Errors
    /// Where the form is another one.
    pub fn refused_by_form(identity: Identity, content: Content, reason: &Reason) -> Result<(), Violation> {
        let ((from, _), (to, amount)) = (identity, content);
        let opens = from == to && amount == Amount::ZERO;
        let right = match reason {
            Reason::NotHome { home } => *home == from.home(),
            Reason::AmountZero => amount == Amount::ZERO,
            Reason::SameAccount => from == to && !opens,
            Reason::InsufficientFunds { .. } | Reason::UnknownAccount { .. } | Reason::AccountExists { .. } => true,
        };
        let what = || format!("{} is refused as {}", violation::content_text(from, content), reason.code());
        if right { Ok(()) } else { Err(Violation::of(Rule::TrueReason, identity, what())) }
    }
}
