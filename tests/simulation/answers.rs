//! What clients asked and heard, in real-time order: calls and returns share one count.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::ledger::{Answer, Approval, Reason, Request};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};

use crate::record::Process;

/// What identifies a request (R10): the debit account, or the one to open, and the id.
pub type Identity = (AccountId, TransferId);

/// What a request asks for. An opening credits its own account with nothing.
pub type Content = (AccountId, Amount);

pub fn identity(request: &Request) -> Identity {
    (request.from, request.id)
}

pub fn content(request: &Request) -> Content {
    (request.to, request.amount)
}

pub fn is_opening(request: &Request) -> bool {
    request.from == request.to && request.amount == Amount::ZERO
}

/// What a home finally said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Approved(NodeId, Seq),
    Refused(Reason),
}

/// All that is known of one identity.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Every time it was asked for: when, and with which content.
    pub asked: Vec<(u64, Content)>,
    /// What was decided, for which content, and when a client first heard of it.
    pub outcome: Option<(Outcome, Content, u64)>,
    /// When it was first said to be older than the home's memory, and how often it had been asked for by then.
    pub expired: Option<(u64, usize)>,
    /// The contents that conflict with what it was used for.
    pub conflicts: Vec<Content>,
    /// When a client first heard that it is settled.
    pub settled: Option<u64>,
    /// How often it was told that nothing was decided.
    pub turned_away: usize,
    /// The last entry that its home had made durable when a client that waits no longer was told that it is pending.
    pub pending: Option<Seq>,
}

impl Story {
    pub fn first_asked(&self) -> u64 {
        self.asked[0].0
    }
}

/// A balance that a node told.
#[derive(Clone, Debug)]
pub struct BalanceRead {
    pub called: u64,
    pub returned: u64,
    pub fresh: bool,
    pub balance: paxos_banking::wire::client::Balance,
}

#[derive(Default)]
pub struct Answers {
    clock: u64,
    /// By the number under which each was asked: when, and what.
    requests: Vec<(u64, Request)>,
    /// The requests that are not answered, each with the process that was asked.
    pub unanswered: BTreeMap<u64, Process>,
    /// Requests that the run itself asks, and waits for.
    pub asked_aside: BTreeSet<u64>,
    /// Of each request whose client said that it waits no longer: the last entry that the home had made durable then.
    pub stopped: BTreeMap<u64, Seq>,
    pub stories: BTreeMap<Identity, Story>,
    /// The largest id that was asked for, of each account that it would debit.
    pub largest_asked: BTreeMap<AccountId, TransferId>,
    pub reads: Vec<BalanceRead>,
    /// The greatest height that each node told a client.
    pub told_heights: BTreeMap<NodeId, Height>,
}

impl Answers {
    /// Counts one call or return.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn asked(&mut self, request: Request) -> u64 {
        let called = self.tick();
        self.stories.entry(identity(&request)).or_default().asked.push((called, content(&request)));
        let largest = self.largest_asked.entry(request.from).or_insert(request.id);
        *largest = request.id.max(*largest);
        self.requests.push((called, request));
        self.requests.len() as u64 - 1
    }

    pub fn request(&self, number: u64) -> Request {
        self.requests[usize::try_from(number).unwrap()].1
    }

    /// When that was asked.
    pub fn called(&self, number: u64) -> u64 {
        self.requests[usize::try_from(number).unwrap()].0
    }

    /// What a client had heard before `called` of a request that was approved: its entry.
    pub fn heard_approved(&self, request: &Request, called: u64) -> Option<(NodeId, Seq)> {
        match &self.stories.get(&identity(request))?.outcome {
            Some((Outcome::Approved(origin, seq), _, heard)) if *heard < called => Some((*origin, *seq)),
            _ => None,
        }
    }

    /// True once a home has said what became of it.
    pub fn is_decided(&self, request: &Request) -> bool {
        self.stories.get(&identity(request)).is_some_and(|story| {
            story.outcome.is_some() || story.expired.is_some() || story.conflicts.contains(&content(request))
        })
    }

    /// R10: the same identity gets the same outcome, and one content only.
    pub fn decided(&mut self, request: &Request, outcome: Outcome) -> Result<bool, String> {
        let now = self.tick();
        let story = self.stories.entry(identity(request)).or_default();
        match &story.outcome {
            None => {
                story.outcome = Some((outcome, content(request), now));
                Ok(false)
            }
            Some((before, with, _)) if (before, with) == (&outcome, &content(request)) => Ok(true),
            Some(before) => Err(format!("R10: {request:?} was {before:?}, then {outcome:?}")),
        }
    }

    /// What the answer says of an outcome, where it says anything.
    pub fn outcome(answer: &Answer) -> Option<Outcome> {
        match answer {
            // The height becomes known later; the entry stays the same.
            Answer::Approved(Approval { origin, seq, .. }) => Some(Outcome::Approved(*origin, *seq)),
            Answer::Refused(Reason::AmountZero | Reason::SameAccount | Reason::NotHome { .. }) => None,
            Answer::Refused(reason) => Some(Outcome::Refused(reason.clone())),
            Answer::Conflict | Answer::Expired | Answer::Busy | Answer::NotReady | Answer::Pending => None,
        }
    }
}
