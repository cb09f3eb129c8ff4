//! The Acceptor: one durable promise over all heights, one vote at the node's next height. Rules R1, R3, R5, R6.

use std::collections::BTreeMap;

use super::message::{Accept, Accepted, Message, Nack, NackKind, Prepare, Promise};
use crate::effect::{Effect, HaltReason, Record, Slot};
use crate::ledger::{BlockFault, LogOffer};
use crate::types::{Ballot, Hash, Height, NodeId};

/// What the Ledger says when a PREPARE arrives. By the time it is said all of it is durable but the block of that height,
/// where it is for the next (R3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrepareView {
    /// The node's height.
    pub height: Height,
    /// Its state hash.
    pub state: Hash,
    /// Its unsettled log.
    pub log: LogOffer,
}

/// What the Ledger says of a block that an ACCEPT proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The node's height.
    pub height: Height,
    /// Its state hash.
    pub state: Hash,
    /// Why the block does not pass on this node's state, where it does not.
    pub fault: Option<BlockFault>,
}

/// What an [`Acceptor`] asks of its shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AcceptorAction {
    /// Send to a node, possibly this one.
    Send(NodeId, Message),
    /// Tell this node's learner what it voted for, now that the vote is durable.
    Voted(Slot),
    /// Tell this node's proposer that another's ballot is above its own from now on, at that height.
    Overtaken(Ballot, Height),
    /// This node lacks blocks that the peer has: catch up.
    Gap(NodeId, Height),
    /// Ask the same again once the node has caught up: the message comes back to the Ledger, then here.
    AskAgain(NodeId, Message),
    /// A vote is waiting to hear what came of it; after a time-out, call [`Acceptor::unresolved`].
    Watch(Ballot, Height),
}

/// The state of the Acceptor role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acceptor {
    me: NodeId,
    votes: bool,
    promise: Option<Ballot>,
    slot: Option<Slot>,
    /// Height at which the promise was last used by its owner, while that round may be under way.
    round_at: Option<Height>,
    /// Of each proposer the last message that could not be answered before this node has caught up (R1).
    deferred: BTreeMap<NodeId, Message>,
}

type Effects = Vec<Effect<AcceptorAction>>;

fn act(action: AcceptorAction) -> Effect<AcceptorAction> {
    Effect::Act(action)
}

impl Acceptor {
    /// The acceptor with what its store holds; `votes` is false for a baby (R11).
    pub fn new(me: NodeId, votes: bool, promise: Option<Ballot>, slot: Option<Slot>) -> Self {
        let round_at = slot.as_ref().map(|slot| slot.block.height());
        Self { me, votes, promise, slot, round_at, deferred: BTreeMap::new() }
    }

    /// What a start must look after: a vote that was stored without its outcome (reconciling chains alone cannot find
    /// a block that was chosen but applied nowhere).
    pub fn start(&self) -> Effects {
        self.slot.iter().map(|slot| act(AcceptorAction::Watch(slot.ballot, slot.block.height()))).collect()
    }

    /// The node was admitted: it votes from now on.
    pub fn admit(&mut self) {
        self.votes = true;
    }

    /// The highest ballot promised.
    pub fn promise(&self) -> Option<Ballot> {
        self.promise
    }

    /// The last vote, while its height is not applied.
    pub fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// PREPARE: promise, or say why not.
    pub fn on_prepare(&mut self, from: NodeId, prepare: Prepare, view: PrepareView) -> Effects {
        let Prepare { ballot, height, collection } = prepare;
        // R11: a baby is silent. Its HELLO says that it does not vote, so nobody waits for it.
        if !self.votes {
            return Vec::new();
        }
        let asked = Asked { from, ballot, height, message: Message::Prepare(prepare) };
        if let Some(effects) = self.decline(asked, view.height, view.state) {
            return effects;
        }
        let mut effects = self.raise_promise(from, ballot, height);
        let accepted = self.slot.clone().filter(|slot| slot.block.height() == height);
        let promise = Promise { ballot, height, collection, accepted, log: view.log };
        effects.push(act(AcceptorAction::Send(from, Message::Promise(promise))));
        effects
    }

    /// ACCEPT: vote, or say why not.
    pub fn on_accept(&mut self, from: NodeId, accept: Accept, verdict: Verdict) -> Effects {
        let (ballot, height) = (accept.ballot, accept.block.height());
        if !self.votes {
            return Vec::new();
        }
        let asked = Asked { from, ballot, height, message: Message::Accept(accept.clone()) };
        if let Some(effects) = self.decline(asked, verdict.height, verdict.state) {
            return effects;
        }
        if verdict.fault.is_some() {
            return vec![self.nack(from, ballot, height, NackKind::Invalid, verdict.height, verdict.state)];
        }
        let hash = accept.block.hash();
        let voted = act(AcceptorAction::Send(ballot.node, Message::Accepted(Accepted { ballot, height, hash })));
        if let Some(slot) = self.slot.as_ref().filter(|slot| slot.ballot == ballot && slot.block.height() == height) {
            // R6: a proposer sends one block per ballot and height, ever. A second one is its fault, and not voted for.
            return if slot.block.hash() == hash { vec![voted] } else { Vec::new() };
        }
        let overtaken = self.overtaken(from, ballot, height);
        let slot = Slot { ballot, block: accept.block };
        self.promise = Some(ballot);
        self.round_at = Some(height);
        self.slot = Some(slot.clone());
        let mut effects = vec![Effect::Persist(Record::Accepted(slot.clone()))];
        effects.extend(overtaken);
        effects.extend([AcceptorAction::Voted(slot), AcceptorAction::Watch(ballot, height)].map(act));
        effects.push(voted);
        effects
    }

    /// Block `height` is applied and durable: votes up to it are resolved, and whoever waited for this node is answered.
    pub fn on_applied(&mut self, height: Height) -> Effects {
        if self.slot.as_ref().is_some_and(|slot| slot.block.height() <= height) {
            self.slot = None;
        }
        if self.round_at.is_some_and(|at| at <= height) {
            self.round_at = None;
        }
        let deferred = std::mem::take(&mut self.deferred);
        deferred.into_iter().map(|(from, message)| act(AcceptorAction::AskAgain(from, message))).collect()
    }

    /// IDLE: the round of this ballot is over without a block.
    pub fn on_idle(&mut self, ballot: Ballot) {
        // A vote below that round may still be here, where its block is applied and not durable yet.
        if self.promise == Some(ballot) && self.slot.as_ref().map(|slot| slot.block.height()) != self.round_at {
            self.round_at = None;
        }
    }

    /// True while the vote that [`AcceptorAction::Watch`] named is still unresolved: a round is needed to find out.
    pub fn unresolved(&self, ballot: Ballot, height: Height) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.ballot == ballot && slot.block.height() == height)
    }

    /// A peer's HELLO tells what it has seen of this acceptor: more than is held here means the store went back (R13).
    pub fn witness(
        &mut self,
        peer: NodeId,
        promised: Option<Ballot>,
        accepted: Option<(Ballot, Height)>,
        own_height: Height,
    ) -> Effects {
        let vote_lost = accepted.is_some_and(|(ballot, height)| {
            let held = self.slot.as_ref().filter(|slot| slot.block.height() == height).map(|slot| slot.ballot);
            height > own_height && held < Some(ballot)
        });
        if promised <= self.promise && !vote_lost {
            return Vec::new();
        }
        // Not one vote more, whatever is in the mailbox already.
        self.votes = false;
        let known = format!("a promise of {}, a vote of {}", show(promised), show(accepted.map(|(ballot, _)| ballot)));
        let slot = self.slot.as_ref().map(|slot| slot.ballot);
        let held = format!("a promise of {}, a vote of {}", show(self.promise), show(slot));
        vec![Effect::Halt(HaltReason::WentBack { peer, known, held })]
    }

    /// The reasons not to answer that PREPARE and ACCEPT share; `None` where there is none.
    fn decline(&mut self, asked: Asked, own: Height, state: Hash) -> Option<Effects> {
        let Asked { from, ballot, height, message } = asked;
        // R1: a vote is for the own height + 1, and for nothing else.
        if height <= own {
            return Some(vec![self.nack(from, ballot, height, NackKind::Ahead, own, state)]);
        }
        if height > own.next() {
            self.deferred.insert(from, message);
            let nack = self.nack(from, ballot, height, NackKind::Behind, own, state);
            return Some(vec![act(AcceptorAction::Gap(from, Height(height.0 - 1))), nack]);
        }
        if self.promise > Some(ballot) {
            let open = self.round_at == Some(height);
            return Some(vec![self.nack(from, ballot, height, NackKind::Outbid { open }, own, state)]);
        }
        None
    }

    fn raise_promise(&mut self, from: NodeId, ballot: Ballot, height: Height) -> Effects {
        self.round_at = Some(height);
        if self.promise == Some(ballot) {
            return Vec::new();
        }
        let overtaken = self.overtaken(from, ballot, height);
        self.promise = Some(ballot);
        std::iter::once(Effect::Persist(Record::Promise(ballot))).chain(overtaken).collect()
    }

    fn overtaken(&self, from: NodeId, ballot: Ballot, height: Height) -> Option<Effect<AcceptorAction>> {
        let new = from != self.me && self.promise != Some(ballot);
        new.then(|| act(AcceptorAction::Overtaken(ballot, height)))
    }

    fn nack(
        &self,
        to: NodeId,
        ballot: Ballot,
        asked: Height,
        kind: NackKind,
        height: Height,
        state: Hash,
    ) -> Effect<AcceptorAction> {
        let nack = Nack { ballot, asked, kind, promised: self.promise, height, state };
        act(AcceptorAction::Send(to, Message::Nack(nack)))
    }
}

/// What PREPARE and ACCEPT have in common.
struct Asked {
    from: NodeId,
    ballot: Ballot,
    height: Height,
    message: Message,
}

fn show(ballot: Option<Ballot>) -> String {
    ballot.map_or_else(|| "none".to_owned(), |ballot| ballot.to_string())
}

#[cfg(test)]
#[path = "acceptor_tests.rs"]
mod tests;
