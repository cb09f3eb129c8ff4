//! What clients asked and heard, in real-time order: calls and returns share one count.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::history::{History, Identity, Outcome, content, identity};
use paxos_banking::ledger::{Answer, Approval, Reason, Request};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};

use crate::record::Process;

pub fn is_opening(request: &Request) -> bool {
    request.from == request.to && request.amount == Amount::ZERO
}

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
    /// All of it, as any client could have written it down.
    pub history: History,
    /// When a client first heard that it is settled.
    pub settled: BTreeMap<Identity, u64>,
    /// The last entry that its home had made durable when a client that waits no longer was told that it is pending.
    pub pending: BTreeMap<Identity, Seq>,
    /// The largest id that was asked for, of each account that it would debit.
    pub largest_asked: BTreeMap<AccountId, TransferId>,
    /// The greatest height that each node told a client.
    pub told_heights: BTreeMap<NodeId, Height>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            clock: 0,
            requests: Vec::new(),
            unanswered: BTreeMap::new(),
            asked_aside: BTreeSet::new(),
            stopped: BTreeMap::new(),
            history: History { complete: true, ..History::default() },
            settled: BTreeMap::new(),
            pending: BTreeMap::new(),
            largest_asked: BTreeMap::new(),
            told_heights: BTreeMap::new(),
        }
    }
}

impl Answers {
    /// Counts one call or return.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn asked(&mut self, request: Request) -> u64 {
        let called = self.tick();
        self.history.asked(identity(&request), content(&request), called);
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
        match &self.history.stories.get(&identity(request))?.outcome {
            Some((Outcome::Approved(origin, seq), _, heard)) if *heard < called => Some((*origin, *seq)),
            _ => None,
        }
    }

    /// True once a home has said what became of it.
    pub fn is_decided(&self, request: &Request) -> bool {
        self.history.stories.get(&identity(request)).is_some_and(|story| {
            story.outcome.is_some() || story.expired.is_some() || story.conflicts.contains(&content(request))
        })
    }

    /// R10: the same identity gets the same outcome, and one content only.
    pub fn decided(&mut self, request: &Request, outcome: Outcome) -> Result<bool, String> {
        let now = self.tick();
        let decided = self.history.decided(identity(request), content(request), outcome, now);
        decided.map_err(|violation| violation.to_string())
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
