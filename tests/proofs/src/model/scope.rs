//! What a run of the checker explores, and where it begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use paxos_banking::paxos::{Message, ProposerTimer};
use paxos_banking::reconcile::ReconcileTimer;
use paxos_banking::types::{Height, NodeId};

use super::observe::Local;
use super::{Ask, Input, Model, Reached, Sent, Shared, State};
use crate::node::Timer;

/// A bug planted in the model, not in the core: the checker must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// At a crash the disk loses the promise.
    ForgetsPromise,
    /// At a crash the disk loses the vote.
    ForgetsVote,
    /// What stands behind a write is said before it.
    SaysBeforeItWrites,
}

/// The bounds of an exploration.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What happens before the exploration begins.
    pub before: &'static [Before],
    /// Each is asked once, at any time, in any order, or never.
    pub asks: &'static [(&'static str, Ask)],
    /// Which nodes may crash.
    pub crashing: &'static [&'static str],
    /// How often, all together.
    pub crashes: u8,
    /// How often any node gives up waiting, asks again, or looks after a vote, all together.
    pub timers: u8,
    /// Ballots of higher rounds are not explored.
    pub rounds: u64,
    /// Where a write and its flush are two steps, with anything in between.
    pub slow: &'static [&'static str],
    /// Messages that never arrive.
    pub loses: fn(&Message) -> bool,
    /// The height up to which there is something to settle.
    pub last_height: Height,
    /// What must be reached.
    pub reaches: &'static [Reached],
    /// Whether messages and timers that will do nothing any more are left out of a state.
    pub reduced: bool,
    /// Whether the search collects what the nodes came to.
    pub collects: bool,
    /// What is wrong.
    pub flaw: Option<Flaw>,
}

impl Scope {
    /// From this index on the questions are those from before the exploration.
    const BEFORE: usize = 100;

    pub(super) fn ask(&self, index: usize) -> (&'static str, Ask) {
        match index.checked_sub(Self::BEFORE).map(|index| self.before[index]) {
            Some(Before::Ask(name, ask)) => (name, ask),
            Some(other) => unreachable!("{other:?} asks nothing"),
            None => self.asks[index],
        }
    }
}

/// What happens before the exploration begins.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    /// Somebody asks, and what comes of it is carried through, every message being delivered once and in order.
    Ask(&'static str, Ask),
    /// From now on messages from and to this node are lost, and all COMMITs too.
    Without(&'static str),
    /// A node crashes and starts again: what it sends then is under way when the exploration begins.
    Crash(&'static str),
}

/// The state at which the exploration begins.
pub(super) fn start(model: &Model) -> State {
    let nodes = model.names.map(|name| {
        let mut local = Local::new(name, &model.genesis);
        local.node.says_before_it_writes = model.scope.flaw == Some(Flaw::SaysBeforeItWrites);
        local.node.start();
        local
    });
    let mut start = Start { model, nodes: nodes.map(Shared::new), without: BTreeSet::new(), under_way: Vec::new() };
    start.carry_through();
    for (index, before) in model.scope.before.iter().enumerate() {
        match before {
            Before::Ask(name, _) => {
                start.input(name.parse().unwrap(), Input::Ask(Scope::BEFORE + index));
                start.carry_through();
            }
            Before::Without(name) => {
                start.without.insert(name.parse().unwrap());
            }
            Before::Crash(name) => start.input(name.parse().unwrap(), Input::Crash),
        }
    }
    let mut sent = start.under_way;
    sent.sort_by_key(|sent| sent.id);
    State { nodes: start.nodes, sent: Arc::new(sent), asked: 0, crashes: 0, timers: 0 }
}

struct Start<'a> {
    model: &'a Model,
    nodes: [Arc<Shared<Local>>; 3],
    without: BTreeSet<NodeId>,
    under_way: Vec<Arc<Shared<Sent>>>,
}

impl Start<'_> {
    fn input(&mut self, node: NodeId, input: Input) {
        let index = self.model.index(node);
        let outcome = self.model.step(&self.nodes[index], &input);
        let (local, sent) = &*outcome;
        self.nodes[index] = local.clone();
        self.under_way.extend(sent.iter().cloned());
    }

    /// Until nothing is under way, and those who wait for the node that is cut off wait no longer.
    fn carry_through(&mut self) {
        for node in self.model.names {
            self.flush(node);
        }
        loop {
            while !self.under_way.is_empty() {
                let sent = self.under_way.remove(0);
                let Sent { from, to, ref message } = sent.value;
                let lost = self.without.contains(&from) || self.without.contains(&to);
                let commit = !self.without.is_empty() && matches!(message, Message::Commit(_));
                if !lost && !commit {
                    self.input(to, Input::Deliver(sent));
                    self.flush(to);
                }
            }
            for node in self.model.names {
                for timer in [Timer::Proposer(ProposerTimer::Grace), Timer::Reconcile(ReconcileTimer::GiveUp)] {
                    if self.nodes[self.model.index(node)].value.node.timers().contains(&timer) {
                        self.input(node, Input::Fire(timer));
                        self.flush(node);
                    }
                }
            }
            if self.under_way.is_empty() {
                return;
            }
        }
    }

    fn flush(&mut self, node: NodeId) {
        while self.nodes[self.model.index(node)].value.node.writes() {
            self.input(node, Input::Flush);
        }
    }
}
