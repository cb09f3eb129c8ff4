//! The Proposer: collects the logs of all nodes, proposes one block, and keeps its ballot until it is outbid. Rules R2
//! to R6, R9, and the liveness rules.
//!
//! A new ballot is first promised by this node's own acceptor, durably; only then do the others hear of it. So a restart
//! never meets a ballot of its own that it does not know of (R3). Under a kept ballot that is done: all are asked at once,
//! and the peers answer while this node's own entries become durable. Either way nothing is proposed before this node's
//! own PROMISE is there, which brings those entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::message::{Accept, EntryFailed, Idle, Message, Nack, NackKind, Prepare, Promise};
use crate::effect::HaltReason;
use crate::ledger::{Block, Candidate, Composition, Mark, Value};
use crate::types::{Ballot, CollectionNumber, Hash, Height, NodeId};

/// How a collection ended, for the Ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CollectionOutcome {
    /// The mark at which it began.
    pub began: Mark,
    /// Where a refusal may rest on it: the nodes whose logs were not in it (R9).
    pub not_heard: Option<BTreeSet<NodeId>>,
}

/// A timer of the proposer. One of each kind runs at a time; a new one replaces the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProposerTimer {
    /// Repeat what is unanswered, unchanged.
    Repeat,
    /// The majority is there: how much longer to wait for the others (R9).
    Grace,
    /// How long to wait for another proposer's block, or for blocks that are missing here; longer with each attempt.
    Wait {
        /// How many rounds in a row did not get through.
        attempt: u32,
    },
}

/// What a [`Proposer`] asks of its shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProposerAction {
    /// Send to a node, possibly this one.
    Send(NodeId, Message),
    /// Ask the Ledger which block these PROMISEs give; the answer comes back by [`Proposer::on_composed`].
    Compose(CollectionNumber, BTreeMap<NodeId, Arc<Candidate>>),
    /// Tell this node's learner what is proposed, before anybody can vote for it.
    Proposed(Ballot, Arc<Block>),
    /// Tell the Ledger that the collection it asked for is over.
    Done(CollectionOutcome),
    /// This node lacks blocks that the peer has: catch up.
    Gap(NodeId, Height),
    /// Start a timer; it comes back by [`Proposer::on_timer`].
    Start(ProposerTimer),
    /// Stop for good.
    Halt(HaltReason),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Peer {
    up: bool,
    votes: bool,
}

/// A collection under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Collection {
    prepare: Prepare,
    began: Mark,
    promises: BTreeMap<NodeId, Arc<Candidate>>,
    /// Nodes whose PROMISE does not count, because their vote does not fit this node's state.
    excluded: BTreeSet<NodeId>,
    grace_started: bool,
    grace_over: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Quiet,
    /// Under a new ballot the own acceptor is asked first.
    Preparing(Collection),
    /// All are asked.
    Collecting(Collection),
    /// The Ledger composes the block.
    Composing(Collection),
    /// One block for this ballot and height, until it is applied or the ballot is lost (R6).
    Proposing {
        ballot: Ballot,
        block: Arc<Block>,
        done: CollectionOutcome,
        invalid_for: BTreeSet<NodeId>,
    },
    /// Another proposer's round, or a gap of this node, comes first. `until` is the height that ends the waiting.
    Waiting {
        began: Mark,
        until: Height,
    },
}

/// The state of the Proposer role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer {
    me: NodeId,
    majority: usize,
    height: Height,
    /// The ballot in use, once the own acceptor has promised it to this process; lost when outbid.
    ballot: Option<Ballot>,
    highest_seen: Option<Ballot>,
    last_collection: CollectionNumber,
    phase: Phase,
    peers: BTreeMap<NodeId, Peer>,
    /// Another proposer's ballot that the own acceptor promised, and the height of its round.
    rival: Option<(Ballot, Height)>,
    /// The last ballot and height that a block was sent for (R6).
    proposed: Option<(Ballot, Height)>,
    attempt: u32,
}

type Actions = Vec<ProposerAction>;

impl Proposer {
    /// The proposer of node `me` among `peers`; `promise` is what its own acceptor had promised before this process.
    pub fn new(
        me: NodeId,
        peers: impl IntoIterator<Item = NodeId>,
        majority: usize,
        height: Height,
        promise: Option<Ballot>,
    ) -> Self {
        Self {
            me,
            majority,
            height,
            ballot: None,
            highest_seen: promise,
            last_collection: CollectionNumber(0),
            phase: Phase::Quiet,
            peers: peers.into_iter().map(|peer| (peer, Peer::default())).collect(),
            rival: None,
            proposed: None,
            attempt: 0,
        }
    }

    /// The height of the last block that was applied here.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The ballot in use, if any.
    pub fn ballot(&self) -> Option<Ballot> {
        self.ballot
    }

    /// Somebody needs a settlement: the Ledger, from `mark` on, or a vote whose outcome nobody told. Where one is under
    /// way its end is told to the Ledger, which then asks again if it has to.
    pub fn on_settle(&mut self, mark: Mark) -> Actions {
        if self.phase != Phase::Quiet {
            return Vec::new();
        }
        // A rival's block carries this node's log too: it is waited for, not outbid.
        match self.rival {
            Some((_, height)) if height == self.height.next() => self.wait(mark, height),
            _ => self.begin(mark),
        }
    }

    /// PROMISE.
    pub fn on_promise(&mut self, from: NodeId, promise: Promise) -> Actions {
        let Promise { ballot, height, collection, accepted, log } = promise;
        // R6: only the current ballot, height and collection count.
        let current = Prepare { ballot, height, collection };
        let candidate = Arc::new(Candidate { accepted: accepted.map(|slot| (slot.ballot, slot.block)), log });
        match std::mem::replace(&mut self.phase, Phase::Quiet) {
            Phase::Preparing(mut under_way) if under_way.prepare == current && from == self.me => {
                self.ballot = Some(ballot);
                under_way.promises.insert(from, candidate);
                self.phase = Phase::Collecting(under_way);
                let mut actions = self.to_up_peers(|_| true, &Message::Prepare(current));
                actions.extend(self.review());
                actions
            }
            Phase::Collecting(mut under_way) if under_way.prepare == current => {
                if !under_way.excluded.contains(&from) {
                    under_way.promises.insert(from, candidate);
                }
                self.phase = Phase::Collecting(under_way);
                self.review()
            }
            other => {
                self.phase = other;
                Vec::new()
            }
        }
    }

    /// The Ledger's answer to [`ProposerAction::Compose`].
    pub fn on_composed(&mut self, collection: CollectionNumber, composition: Composition) -> Actions {
        let under_way = match std::mem::replace(&mut self.phase, Phase::Quiet) {
            Phase::Composing(under_way) if under_way.prepare.collection == collection => under_way,
            other => {
                self.phase = other;
                return Vec::new();
            }
        };
        let Composition { value, excluded, rejected, left_out } = composition;
        let Prepare { ballot, height, .. } = under_way.prepare;
        let mut not_heard: BTreeSet<_> = self.peers.keys().copied().chain([self.me]).collect();
        not_heard.retain(|node| {
            !under_way.promises.contains_key(node) || rejected.contains_key(node) || excluded.contains_key(node)
        });
        let done = CollectionOutcome { began: under_way.began, not_heard: (!left_out).then_some(not_heard) };
        let mut actions: Actions = rejected
            .iter()
            .map(|(node, (seq, fault))| {
                ProposerAction::Send(*node, Message::EntryFailed(EntryFailed { seq: *seq, fault: *fault }))
            })
            .collect();
        match value {
            Value::Undecided => {
                let mut under_way = under_way;
                under_way.promises.retain(|node, _| !excluded.contains_key(node));
                under_way.excluded.extend(excluded.into_keys());
                self.phase = Phase::Collecting(under_way);
                actions.extend(self.review());
            }
            Value::Nothing => {
                actions.extend(self.to_all(|_| true, Message::Idle(Idle { ballot, height })));
                self.attempt = 0;
                actions.push(ProposerAction::Done(done));
            }
            Value::Built(block) => actions.extend(self.propose(ballot, block, done)),
            // R9: nothing of this collection is in the adopted block, so no refusal may rest on it.
            Value::Adopted(block) => {
                let done = CollectionOutcome { not_heard: None, ..done };
                actions.extend(self.propose(ballot, block, done));
            }
        }
        actions
    }

    /// NACK.
    pub fn on_nack(&mut self, from: NodeId, nack: Nack) -> Actions {
        self.highest_seen = self.highest_seen.max(nack.promised);
        let Some((ballot, height, began)) = self.in_progress() else { return Vec::new() };
        if (nack.ballot, nack.asked) != (ballot, height) {
            return Vec::new();
        }
        match nack.kind {
            NackKind::Outbid { open } => {
                self.ballot = None;
                self.attempt += 1;
                // An open round's block is waited for. A promise left over from a round that is over is just topped;
                // after a block was sent, though, waiting is due: it may be what the others are finishing.
                if open || matches!(self.phase, Phase::Proposing { .. }) {
                    self.wait(began, height)
                } else {
                    self.phase = Phase::Quiet;
                    self.begin(began)
                }
            }
            // R9: not an answer. The peer catches up and then answers this very message.
            NackKind::Behind => Vec::new(),
            NackKind::Ahead => {
                // R2: what is missing here comes first.
                let gap = (from != self.me).then_some(ProposerAction::Gap(from, nack.height));
                gap.into_iter().chain(self.wait(began, nack.height)).collect()
            }
            NackKind::Invalid => {
                let Phase::Proposing { invalid_for, block, .. } = &mut self.phase else { return Vec::new() };
                invalid_for.insert(from);
                if invalid_for.len() < self.majority {
                    return Vec::new();
                }
                vec![ProposerAction::Halt(HaltReason::InvalidForMajority(block.height()))]
            }
        }
    }

    /// IDLE of another proposer: its round is over, so this node need not wait for it any longer.
    pub fn on_idle(&mut self, idle: Idle) -> Actions {
        self.highest_seen = self.highest_seen.max(Some(idle.ballot));
        if self.rival.is_some_and(|(ballot, _)| ballot <= idle.ballot) {
            self.rival = None;
        }
        match self.phase {
            Phase::Waiting { began, until } if until == idle.height => self.unfinished(began),
            _ => Vec::new(),
        }
    }

    /// The own acceptor promised another's ballot: this node's own is worth nothing from now on.
    pub fn on_overtaken(&mut self, ballot: Ballot, height: Height) {
        self.highest_seen = self.highest_seen.max(Some(ballot));
        self.ballot = None;
        self.rival = Some((ballot, height));
    }

    /// A block is applied here, durably.
    pub fn on_applied(&mut self, height: Height, hash: Hash) -> Actions {
        self.height = self.height.max(height);
        if self.rival.is_some_and(|(_, at)| at <= height) {
            self.rival = None;
        }
        match &self.phase {
            Phase::Proposing { block, done, .. } if block.height() <= height => {
                self.attempt = 0;
                let done = match block.hash() == hash {
                    true => done.clone(),
                    false => CollectionOutcome { began: done.began, not_heard: None },
                };
                self.phase = Phase::Quiet;
                vec![ProposerAction::Done(done)]
            }
            Phase::Preparing(collection) | Phase::Collecting(collection) | Phase::Composing(collection)
                if collection.prepare.height <= height =>
            {
                self.unfinished(collection.began)
            }
            Phase::Waiting { began, until } if *until <= height => {
                self.attempt = 0;
                self.unfinished(*began)
            }
            _ => Vec::new(),
        }
    }

    /// A link came up or went down, or a peer began to vote.
    pub fn on_link(&mut self, peer: NodeId, up: bool, votes: bool) -> Actions {
        let Some(known) = self.peers.get_mut(&peer) else { return Vec::new() };
        *known = Peer { up, votes };
        let mut actions = if up { self.unanswered(|node| node == peer) } else { Vec::new() };
        actions.extend(self.review());
        actions
    }

    /// A timer ran out.
    pub fn on_timer(&mut self, timer: ProposerTimer) -> Actions {
        match timer {
            ProposerTimer::Repeat => {
                let mut actions = self.unanswered(|_| true);
                if self.in_progress().is_some() {
                    actions.push(ProposerAction::Start(ProposerTimer::Repeat));
                }
                actions
            }
            ProposerTimer::Grace => {
                if let Phase::Collecting(collection) = &mut self.phase {
                    collection.grace_over = collection.grace_started;
                }
                self.review()
            }
            ProposerTimer::Wait { attempt } => match self.phase {
                Phase::Waiting { began, .. } if attempt == self.attempt => {
                    self.attempt += 1;
                    self.rival = None;
                    self.phase = Phase::Quiet;
                    self.begin(began)
                }
                _ => Vec::new(),
            },
        }
    }

    fn begin(&mut self, began: Mark) -> Actions {
        self.last_collection = CollectionNumber(self.last_collection.0 + 1);
        let height = self.height.next();
        // R6: under a ballot that a block was already sent for at this height, no other may follow.
        let kept = self.ballot.filter(|ballot| self.proposed != Some((*ballot, height)));
        let ballot = kept.unwrap_or_else(|| Ballot::above(self.highest_seen, self.me));
        self.highest_seen = self.highest_seen.max(Some(ballot));
        let prepare = Prepare { ballot, height, collection: self.last_collection };
        let collection = Collection {
            prepare,
            began,
            promises: BTreeMap::new(),
            excluded: BTreeSet::new(),
            grace_started: false,
            grace_over: false,
        };
        // R3: the own acceptor promised a kept ballot to this very process, so the peers may hear of it now.
        self.phase = if kept.is_some() { Phase::Collecting(collection) } else { Phase::Preparing(collection) };
        let mut actions = self.unanswered(|_| true);
        actions.push(ProposerAction::Start(ProposerTimer::Repeat));
        actions
    }

    /// Goes on from a collection once it has what R9 asks for: a majority, this node itself, and every voting peer that
    /// can be reached, as long as the grace lasts.
    fn review(&mut self) -> Actions {
        let Phase::Collecting(collection) = &mut self.phase else { return Vec::new() };
        if collection.promises.len() < self.majority {
            return Vec::new();
        }
        let heard = |node: &NodeId| collection.promises.contains_key(node) || collection.excluded.contains(node);
        let heard_itself = heard(&self.me);
        let awaited = self.peers.iter().any(|(node, peer)| peer.up && peer.votes && !heard(node));
        if awaited && !collection.grace_over {
            let first_time = !std::mem::replace(&mut collection.grace_started, true);
            return first_time.then_some(ProposerAction::Start(ProposerTimer::Grace)).into_iter().collect();
        }
        // Peers answer a kept ballot before this node's disk does. Without its own log, what was approved here would
        // miss the block that it asked for, and a refusal would name this very node as not heard.
        if !heard_itself {
            return Vec::new();
        }
        let compose = ProposerAction::Compose(collection.prepare.collection, collection.promises.clone());
        self.phase = Phase::Composing(collection.clone());
        vec![compose]
    }

    fn propose(&mut self, ballot: Ballot, block: Arc<Block>, done: CollectionOutcome) -> Actions {
        let height = block.height();
        // R6: never a second block for one ballot and height. begin() sees to it; money rests on it.
        assert!(
            self.proposed < Some((ballot, height)),
            "a block was already sent for ballot {ballot}, height {height}"
        );
        self.proposed = Some((ballot, height));
        let accept = Message::Accept(Accept { ballot, block: block.clone() });
        let mut actions = vec![ProposerAction::Proposed(ballot, block.clone())];
        actions.extend(self.to_all(|_| true, accept));
        actions.push(ProposerAction::Start(ProposerTimer::Repeat));
        self.phase = Phase::Proposing { ballot, block, done, invalid_for: BTreeSet::new() };
        actions
    }

    fn wait(&mut self, began: Mark, until: Height) -> Actions {
        self.phase = Phase::Waiting { began, until };
        vec![ProposerAction::Start(ProposerTimer::Wait { attempt: self.attempt })]
    }

    /// The collection came to nothing of its own: the Ledger looks again, and asks again if it is still short.
    fn unfinished(&mut self, began: Mark) -> Actions {
        self.phase = Phase::Quiet;
        vec![ProposerAction::Done(CollectionOutcome { began, not_heard: None })]
    }

    /// Ballot, height and mark of what is under way.
    fn in_progress(&self) -> Option<(Ballot, Height, Mark)> {
        match &self.phase {
            Phase::Quiet | Phase::Waiting { .. } => None,
            Phase::Preparing(collection) | Phase::Collecting(collection) | Phase::Composing(collection) => {
                Some((collection.prepare.ballot, collection.prepare.height, collection.began))
            }
            Phase::Proposing { ballot, block, done, .. } => Some((*ballot, block.height(), done.began)),
        }
    }

    /// What nodes that match have not answered yet, as it was sent before.
    fn unanswered(&self, matches: impl Fn(NodeId) -> bool) -> Actions {
        match &self.phase {
            Phase::Preparing(collection) if matches(self.me) => {
                vec![ProposerAction::Send(self.me, Message::Prepare(collection.prepare))]
            }
            Phase::Collecting(collection) => {
                let silent = |node| matches(node) && !collection.promises.contains_key(&node);
                self.to_all(silent, Message::Prepare(collection.prepare))
            }
            Phase::Proposing { ballot, block, .. } => {
                self.to_all(matches, Message::Accept(Accept { ballot: *ballot, block: block.clone() }))
            }
            _ => Vec::new(),
        }
    }

    /// To the peers first: their disks work while this one's does.
    fn to_all(&self, matches: impl Fn(NodeId) -> bool, message: Message) -> Actions {
        let mut actions = self.to_up_peers(&matches, &message);
        if matches(self.me) {
            actions.push(ProposerAction::Send(self.me, message));
        }
        actions
    }

    fn to_up_peers(&self, matches: impl Fn(NodeId) -> bool, message: &Message) -> Actions {
        let up = self.peers.iter().filter(|(node, peer)| peer.up && matches(**node));
        up.map(|(node, _)| ProposerAction::Send(*node, message.clone())).collect()
    }
}

#[cfg(test)]
#[path = "proposer_tests.rs"]
mod tests;
