//! What a history can have against a bank.

use std::fmt;

use super::{Content, Executed, Identity, Outcome, Story};
use crate::ledger::Action;
use crate::render::{opening_text, reason_text, transfer_text};
use crate::types::{AccountId, Amount};

/// What is violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One request, two outcomes.
    OneOutcome,
    /// Approved, and not there once, as told.
    ApprovedOnce,
    /// Refused, and there.
    RefusedNever,
    /// Of unknown outcome or not, there more than once.
    AtMostOnce,
    /// Told as settled by a block that does not hold it.
    ToldHeight,
    /// Expired, and executed.
    ExpiredNever,
    /// Only turned away, and executed.
    TurnedAwayNever,
    /// There, though nobody asked for it.
    AskedFor,
    /// A conflict with nothing.
    TrueConflict,
    /// Does not count what was approved before.
    CountsBefore,
    /// Tells an amount that could never be spent.
    Spendable,
    /// A reason that is not true.
    TrueReason,
    /// Entries of a home are not in the order of their approvals.
    RealTimeOrder,
    /// A balance that was never so.
    TrueBalance,
    /// An older height than the client had seen.
    GoesBack,
}

impl Rule {
    /// Its name for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::OneOutcome => "one_outcome",
            Self::ApprovedOnce => "approved_once",
            Self::RefusedNever => "refused_never",
            Self::AtMostOnce => "at_most_once",
            Self::ToldHeight => "told_height",
            Self::ExpiredNever => "expired_never",
            Self::TurnedAwayNever => "turned_away_never",
            Self::AskedFor => "asked_for",
            Self::TrueConflict => "true_conflict",
            Self::CountsBefore => "counts_before",
            Self::Spendable => "spendable",
            Self::TrueReason => "true_reason",
            Self::RealTimeOrder => "real_time_order",
            Self::TrueBalance => "true_balance",
            Self::GoesBack => "goes_back",
        }
    }

    /// The rules of docs/protocol.md that it belongs to.
    pub fn cites(self) -> &'static str {
        match self {
            Self::ApprovedOnce => "R7, R10",
            Self::RealTimeOrder => "R7",
            Self::CountsBefore | Self::Spendable => "R9",
            Self::TrueBalance => "R12",
            Self::GoesBack => "R3",
            _ => "R10",
        }
    }
}

/// One thing that must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is violated.
    pub rule: Rule,
    /// The request that it is about, where it is about one.
    pub about: Option<Identity>,
    /// What was seen.
    pub what: String,
}

impl Violation {
    pub(super) fn of(rule: Rule, identity: Identity, what: String) -> Self {
        Self { rule, about: Some(identity), what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, about, what } = self;
        write!(f, "{} ({}): ", rule.cites(), rule.code())?;
        if let Some((account, id)) = about {
            write!(f, "id {id} of {account}: ")?;
        }
        f.write_str(what)
    }
}

/// `A→B 20`, or `open x@A`.
pub(super) fn content_text(from: AccountId, (to, amount): Content) -> String {
    if from == to && amount == Amount::ZERO { opening_text(from) } else { transfer_text(from, to, amount) }
}

pub(super) fn action_content(action: &Action) -> (AccountId, Content) {
    match *action {
        Action::Transfer { from, to, amount } => (from, (to, amount)),
        Action::Open { account } => (account, (account, Amount::ZERO)),
    }
}

/// What was decided, for which content.
pub(super) fn outcome_text(outcome: &Outcome, (to, amount): Content) -> String {
    let asked = format!("{amount} to {to}");
    match outcome {
        Outcome::Approved(origin, seq) => format!("{asked} was approved as {origin}:{seq}"),
        Outcome::Refused(reason) => format!("{asked} was refused ({})", reason_text(reason)),
    }
}

/// What is known of a request, for people.
pub(super) fn story_text(from: AccountId, story: &Story) -> String {
    let asked = story.asked.first().map_or_else(String::new, |(_, content)| content_text(from, *content));
    let told = match &story.outcome {
        Some((outcome, with, heard)) => format!("{}, heard at {heard}", outcome_text(outcome, *with)),
        None => "no outcome was heard".to_owned(),
    };
    format!("{asked}, asked for {} times, first at {}: {told}", story.asked.len(), story.first_asked())
}

/// What it became, for people.
pub(super) fn executed_text(from: AccountId, (origin, seq, content, height): &Executed) -> String {
    let settled = height.map_or("not settled".to_owned(), |height| format!("settled at height {height}"));
    format!("{origin}:{seq} {}, {settled}", content_text(from, *content))
}
