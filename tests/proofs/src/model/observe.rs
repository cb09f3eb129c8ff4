//! One node with what an onlooker knows of its past, and the rules that a node keeps or breaks alone.

use std::collections::BTreeSet;

use paxos_banking::effect::Slot;
use paxos_banking::ledger::{Action, Answer, Genesis, LogOffer};
use paxos_banking::paxos::{Message, NackKind, Promise, ProposerTimer};
use paxos_banking::types::{AccountId, Amount, Ballot, Hash, Height, NodeId, Seq};

use super::{Flaw, Sent};
use crate::node::{Event, Node, Timer};

/// A rule that one node can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// R1: no vote above the own height + 1.
    VotesAtTheNextHeight,
    /// R3, R7: what is said is durable.
    DurableBeforeSaid,
    /// R12: the balances add up to the genesis sum.
    Conservation,
    /// R12: what can be spent is what chain and log give, never below zero.
    NoOverdraft,
    /// R5, R13: no node of an honest bank has a reason to stop.
    NobodyStops,
}

/// A durable vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// At which height.
    pub height: Height,
    /// Under which ballot.
    pub ballot: Ballot,
    /// For which block.
    pub hash: Hash,
}

impl Vote {
    fn of(slot: &Slot) -> Self {
        Self { height: slot.block.height(), ballot: slot.ballot, hash: slot.block.hash() }
    }
}

/// A node and its past.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    /// Its name.
    pub me: NodeId,
    /// The node.
    pub node: Node,
    /// Every vote that was ever durable.
    pub votes: BTreeSet<Vote>,
    /// The highest ballot that it said it promised, or voted under.
    pub said: Option<Ballot>,
    /// What came while a write waits: until that is durable, none of it comes again, or the queue would grow for ever.
    pub waiting: BTreeSet<u128>,
    /// The height at its last crash.
    pub crashed_at: Option<Height>,
    /// What it broke.
    pub broken: BTreeSet<Rule>,
}

impl Local {
    pub(super) fn new(me: NodeId, genesis: &Genesis) -> Self {
        let node = Node::new(me, genesis);
        Self {
            me,
            node,
            votes: BTreeSet::new(),
            said: None,
            waiting: BTreeSet::new(),
            crashed_at: None,
            broken: BTreeSet::new(),
        }
    }

    /// The height of its stored chain.
    pub fn height(&self) -> Height {
        Height(self.node.disk.chain.len() as u64)
    }

    pub(super) fn crash(&mut self, genesis: &Genesis, flaw: Option<Flaw>) {
        self.crashed_at = Some(self.height());
        let disk = &mut self.node.disk;
        match flaw {
            // What the vote itself says of the promise stays.
            Some(Flaw::ForgetsPromise) => disk.promise = disk.slot.as_ref().map(|slot| slot.ballot),
            Some(Flaw::ForgetsVote) => disk.slot = None,
            Some(Flaw::SaysBeforeItWrites) | None => {}
        }
        self.node.crash_and_restart(genesis);
    }

    /// Looks at what the node did in its last step. Its disk is now as it was when it did that.
    pub(super) fn observe(&mut self, sent: &mut Vec<Sent>) {
        for event in std::mem::take(&mut self.node.events) {
            match event {
                Event::Sent(to, message) => {
                    self.require(Rule::DurableBeforeSaid, self.backs(&message));
                    self.said = self.said.max(match &message {
                        Message::Promise(promise) => Some(promise.ballot),
                        Message::Accepted(accepted) => Some(accepted.ballot),
                        _ => None,
                    });
                    sent.push(Sent { from: self.me, to, message });
                }
                Event::Voted(slot, height) => {
                    self.require(Rule::VotesAtTheNextHeight, slot.block.height() <= height.next());
                    self.votes.insert(Vote::of(&slot));
                }
                Event::Answered(_, Answer::Approved(approval)) => {
                    self.require(Rule::DurableBeforeSaid, self.holds_entry(approval.seq));
                }
                Event::Answered(..) => {}
                Event::Halted(_) => self.require(Rule::NobodyStops, false),
            }
        }
    }

    pub(super) fn without_timers(&self) -> Self {
        let mut local = self.clone();
        for timer in self.node.timers() {
            local.node.stop(*timer);
        }
        local
    }

    /// Whether such a message, where it does nothing now, will never do anything: a PROMISE counts for one collection, an
    /// ACCEPTED for one proposal, a NACK for a ballot that is in use, and none of them comes back. The proposer forgets at
    /// a crash what a NACK told of the highest ballot, unless its own acceptor knows as much.
    pub(super) fn may_be_done_with(&self, message: &Message) -> bool {
        let promised = self.node.disk.promise;
        match message {
            Message::Promise(_) | Message::Accepted(_) => true,
            Message::Nack(nack) => promised > Some(nack.ballot) && promised >= nack.promised,
            Message::Commit(commit) => commit.height <= self.height(),
            _ => false,
        }
    }

    /// Two states that differ in a timer that will do nothing are one. Where it comes to mean something again, it is
    /// started again. What is repeated was sent before, and nothing that was sent is ever taken away.
    pub(super) fn drop_idle_timers(&mut self) {
        for timer in self.node.timers().clone() {
            let (mut without, mut fired) = (self.node.clone(), self.node.clone());
            without.stop(timer);
            fired.fire(timer);
            if timer == Timer::Proposer(ProposerTimer::Repeat) || fired == without {
                self.node = without;
            }
        }
    }

    pub(super) fn look_at_balances(&mut self, total: Amount) {
        let home = self.node.home();
        let sum = home.bank().balances().values().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount));
        let conserved = sum == Some(total);
        let own = AccountId::of_node(self.me);
        let debits = home.log().map(|operation| match operation.action {
            Action::Transfer { amount, .. } => amount.units(),
            Action::Open { .. } => 0,
        });
        let left = home.bank().balance(own).unwrap().units().checked_sub(debits.sum());
        let covered = left == home.spendable().get(&own).map(|amount| amount.units());
        self.require(Rule::Conservation, conserved);
        self.require(Rule::NoOverdraft, covered);
    }

    fn require(&mut self, rule: Rule, holds: bool) {
        if !holds {
            self.broken.insert(rule);
        }
    }

    /// R3: the disk holds what a message tells of.
    fn backs(&self, message: &Message) -> bool {
        let (promised, height) = (self.node.disk.promise, self.height());
        match message {
            Message::Prepare(prepare) => promised >= Some(prepare.ballot),
            Message::Accept(accept) => promised >= Some(accept.ballot),
            Message::Promise(promise) => {
                promised >= Some(promise.ballot) && self.tells_vote(promise) && self.holds_log(&promise.log)
            }
            Message::Accepted(accepted) => {
                let (height, ballot, hash) = (accepted.height, accepted.ballot, accepted.hash);
                promised >= Some(ballot) && self.votes.contains(&Vote { height, ballot, hash })
            }
            // Who is asked for the height above its own may know that from a block that is not durable yet.
            Message::Nack(nack) => {
                let may_run_ahead = matches!(nack.kind, NackKind::Outbid { .. }) && nack.height.next() == nack.asked;
                promised >= nack.promised && (nack.height <= height || may_run_ahead)
            }
            Message::Commit(commit) => self.hash_at(commit.height) == Some(commit.hash),
            Message::ReconcileAck(ack) => ack.height().is_some_and(|to| to <= height),
            Message::BlocksResponse(response) => response
                .blocks
                .iter()
                .all(|block| self.hash_at(block.height()) == block.block().ok().map(|block| block.hash())),
            _ => true,
        }
    }

    /// A PROMISE tells a durable vote, and none below its ballot is higher. What was voted for under its own ballot, or
    /// above, may have become durable with it.
    fn tells_vote(&self, promise: &Promise) -> bool {
        let told = promise.accepted.as_ref().map(Vote::of);
        let due = |vote: &&Vote| vote.height == promise.height && vote.ballot < promise.ballot;
        let highest = self.votes.iter().filter(due).map(|vote| vote.ballot).max();
        told.is_none_or(|told| self.votes.contains(&told)) && told.map(|told| told.ballot) >= highest
    }

    fn hash_at(&self, height: Height) -> Option<Hash> {
        let index = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.node.disk.chain.get(index).map(|block| block.hash())
    }

    fn holds_log(&self, offer: &LogOffer) -> bool {
        (0..offer.operations.len() as u64).all(|index| self.holds_entry(offer.first.plus(index)))
    }

    fn holds_entry(&self, seq: Seq) -> bool {
        let disk = &self.node.disk;
        let mut settled = disk.chain.iter().filter_map(|block| block.run_of(self.me)).flat_map(|run| run.entries());
        disk.log.contains_key(&seq) || settled.any(|entry| entry.seq == seq)
    }
}
