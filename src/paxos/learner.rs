//! The Learner: counts votes for what this node proposes, hears what others had chosen, and hands blocks to the Ledger
//! in the order of their heights. Rules R3, R5, R6.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::message::{Accepted, Commit, Message};
use crate::effect::{HaltReason, Slot, Urgency};
use crate::ledger::{Block, HomeLimits};
use crate::types::{Ballot, Hash, Height, NodeId};

/// What a [`Learner`] asks of its shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LearnerAction {
    /// Send to a node.
    Send(NodeId, Message),
    /// Hand a chosen block to the Ledger. No other node waits until this one has what it was told of.
    Apply(Arc<Block>, Urgency),
    /// This node lacks blocks that the peer has: catch up.
    Gap(NodeId, Height),
    /// Stop for good.
    Halt(HaltReason),
}

/// A block that this node proposes, and who voted for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Proposal {
    ballot: Ballot,
    block: Arc<Block>,
    voters: BTreeSet<NodeId>,
    chosen: bool,
}

/// The state of the Learner role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learner {
    peers: Vec<NodeId>,
    majority: usize,
    height: Height,
    tip: Hash,
    proposal: Option<Proposal>,
    /// What this node's acceptor voted for last: a COMMIT need not bring it again.
    voted: Option<Arc<Block>>,
    /// Height of the last block handed to the Ledger.
    handed: Height,
    /// How many entries the blocks have that were handed to it and are not durable yet.
    unapplied: usize,
    unapplied_max: usize,
}

type Actions = Vec<LearnerAction>;

impl Learner {
    /// The learner of a node among `peers`, whose chain ends at `height` with `tip`.
    pub fn new(
        peers: impl IntoIterator<Item = NodeId>,
        majority: usize,
        height: Height,
        tip: Hash,
        slot: Option<&Slot>,
    ) -> Self {
        let voted = slot.map(|slot| slot.block.clone());
        let (peers, proposal, unapplied) = (peers.into_iter().collect(), None, 0);
        let (handed, unapplied_max) = (height, HomeLimits::default().unapplied_max);
        Self { peers, majority, height, tip, proposal, voted, handed, unapplied, unapplied_max }
    }

    /// With another [`HomeLimits::unapplied_max`].
    #[must_use]
    pub fn with_unapplied_max(self, unapplied_max: usize) -> Self {
        Self { unapplied_max, ..self }
    }

    /// This node's proposer is about to send ACCEPT.
    pub fn on_proposed(&mut self, ballot: Ballot, block: Arc<Block>) {
        self.proposal = Some(Proposal { ballot, block, voters: BTreeSet::new(), chosen: false });
    }

    /// This node's acceptor voted, durably.
    pub fn on_voted(&mut self, slot: &Slot) {
        self.voted = Some(slot.block.clone());
    }

    /// ACCEPTED: with a majority under one ballot the block is chosen.
    pub fn on_accepted(&mut self, from: NodeId, accepted: Accepted) -> Actions {
        let Some(proposal) = &mut self.proposal else { return Vec::new() };
        let proposed = (proposal.ballot, proposal.block.height(), proposal.block.hash());
        if proposed != (accepted.ballot, accepted.height, accepted.hash) {
            return Vec::new();
        }
        proposal.voters.insert(from);
        if proposal.chosen || proposal.voters.len() < self.majority {
            return Vec::new();
        }
        proposal.chosen = true;
        let block = proposal.block.clone();
        self.hand_over(block, Urgency::Now)
    }

    /// COMMIT.
    pub fn on_commit(&mut self, from: NodeId, commit: Commit) -> Actions {
        let Commit { height, hash, block } = commit;
        if height <= self.height {
            return self.compare(from, height, hash);
        }
        if height > self.handed.next() {
            return vec![LearnerAction::Gap(from, height)];
        }
        let brought = block.filter(|block| block.height() == height && block.hash() == hash);
        let known = brought.or_else(|| self.voted.clone().filter(|block| block.hash() == hash));
        match known {
            _ if height <= self.handed => Vec::new(),
            Some(block) if self.unapplied < self.unapplied_max => self.hand_over(block, Urgency::Later),
            Some(_) | None => vec![LearnerAction::Gap(from, height)],
        }
    }

    /// Blocks of a peer's chain, as reconciliation fetched them.
    pub fn on_fetched(&mut self, blocks: Vec<Arc<Block>>) -> Actions {
        blocks.into_iter().flat_map(|block| self.hand_over(block, Urgency::Now)).collect()
    }

    /// A block is applied here, durably. Where it is this node's own proposal, the others are told now, not before:
    /// a COMMIT says that its sender has the block (R3).
    pub fn on_applied(&mut self, block: &Arc<Block>) -> Actions {
        (self.height, self.tip) = (block.height(), block.hash());
        self.handed = self.handed.max(self.height);
        self.unapplied = self.unapplied.saturating_sub(block.entry_count());
        if self.voted.as_ref().is_some_and(|voted| voted.height() <= self.height) {
            self.voted = None;
        }
        if self.proposal.as_ref().is_none_or(|proposal| proposal.block.height() > self.height) {
            return Vec::new();
        }
        let Some(proposal) = self.proposal.take() else { return Vec::new() };
        if proposal.block.hash() != block.hash() {
            return Vec::new();
        }
        let commit = |peer: &NodeId| {
            let unvoted = !proposal.voters.contains(peer);
            let (height, hash) = (block.height(), block.hash());
            let commit = Commit { height, hash, block: unvoted.then(|| block.clone()) };
            LearnerAction::Send(*peer, Message::Commit(commit))
        };
        self.peers.iter().map(commit).collect()
    }

    /// Compares what a peer says of its chain with this node's tip: two blocks at one height are two histories (R5).
    pub fn compare(&self, peer: NodeId, height: Height, theirs: Hash) -> Actions {
        if height != self.height || theirs == self.tip {
            return Vec::new();
        }
        vec![LearnerAction::Halt(HaltReason::OtherBlock { height, ours: self.tip, theirs, peer })]
    }

    fn hand_over(&mut self, block: Arc<Block>, urgency: Urgency) -> Actions {
        if block.height() != self.handed.next() {
            return Vec::new();
        }
        self.handed = block.height();
        self.unapplied += block.entry_count();
        vec![LearnerAction::Apply(block, urgency)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Action, Operation, Run};
    use crate::types::{Amount, Seq};

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn block(height: u64, parent: Hash) -> Arc<Block> {
        let action =
            Action::Transfer { from: "A".parse().unwrap(), to: "B".parse().unwrap(), amount: Amount::new(height) };
        let operations = vec![Operation { id: 1.into(), action }];
        let runs = vec![Run { origin: node("A"), first: Seq(1), operations }];
        Arc::new(Block::new(Height(height), parent, Hash::ZERO, runs).unwrap())
    }

    fn learner() -> Learner {
        Learner::new([node("B"), node("C")], 2, Height(0), Hash::ZERO, None)
    }

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: node("A") }
    }

    fn vote(round: u64, block: &Block) -> Accepted {
        Accepted { ballot: ballot(round), height: block.height(), hash: block.hash() }
    }

    #[test]
    fn a_block_is_chosen_by_a_majority_under_one_ballot() {
        let (mut learner, block) = (learner(), block(1, Hash::ZERO));
        learner.on_proposed(ballot(2), block.clone());
        assert_eq!(learner.on_accepted(node("B"), vote(1, &block)), [], "a vote under another ballot");
        assert_eq!(learner.on_accepted(node("C"), vote(2, &block)), []);
        assert_eq!(learner.on_accepted(node("C"), vote(2, &block)), [], "the same vote again");
        assert_eq!(learner.on_accepted(node("A"), vote(2, &block)), [LearnerAction::Apply(block, Urgency::Now)]);
    }

    #[test]
    fn r3_commit_leaves_once_the_block_is_applied_and_carries_it_to_who_has_not_voted() {
        let (mut learner, block) = (learner(), block(1, Hash::ZERO));
        learner.on_proposed(ballot(1), block.clone());
        for name in ["A", "C"] {
            let _ = learner.on_accepted(node(name), vote(1, &block));
        }
        let commit = |to: &str, with: Option<&Arc<Block>>| {
            let commit = Commit { height: Height(1), hash: block.hash(), block: with.cloned() };
            LearnerAction::Send(node(to), Message::Commit(commit))
        };
        assert_eq!(learner.on_applied(&block), [commit("B", Some(&block)), commit("C", None)]);
        assert_eq!(learner.on_applied(&block), []);
    }

    #[test]
    fn a_commit_is_applied_from_the_own_vote_or_from_what_it_brings() {
        let (mut learner, first) = (learner(), block(1, Hash::ZERO));
        let commit = |block: &Arc<Block>, with: bool| Commit {
            height: block.height(),
            hash: block.hash(),
            block: with.then(|| block.clone()),
        };
        assert_eq!(learner.on_commit(node("B"), commit(&first, false)), [LearnerAction::Gap(node("B"), Height(1))]);
        learner.on_voted(&Slot { ballot: ballot(1), block: first.clone() });
        assert_eq!(
            learner.on_commit(node("B"), commit(&first, false)),
            [LearnerAction::Apply(first.clone(), Urgency::Later)]
        );
        let second = block(2, first.hash());
        assert_eq!(learner.on_commit(node("B"), commit(&second, true)), [LearnerAction::Apply(second, Urgency::Later)]);
        let later = block(9, first.hash());
        assert_eq!(learner.on_commit(node("B"), commit(&later, true)), [LearnerAction::Gap(node("B"), Height(9))]);
    }

    #[test]
    fn r5_another_block_at_the_own_height_halts() {
        let (mut learner, first) = (learner(), block(1, Hash::ZERO));
        let _ = learner.on_applied(&first);
        let other = Commit { height: Height(1), hash: Hash::ZERO, block: None };
        assert!(matches!(
            learner.on_commit(node("B"), other)[..],
            [LearnerAction::Halt(HaltReason::OtherBlock { height: Height(1), .. })]
        ));
    }

    #[test]
    fn r5_only_the_own_tip_is_compared_with_that_of_a_peer() {
        let (mut learner, first) = (learner(), block(1, Hash::ZERO));
        let second = block(2, first.hash());
        for applied in [&first, &second] {
            let _ = learner.on_applied(applied);
        }
        let told = |block: &Block| Commit { height: block.height(), hash: block.hash(), block: None };
        assert_eq!(learner.on_commit(node("B"), told(&second)), [], "the same block");
        assert_eq!(learner.on_commit(node("B"), told(&first)), [], "an older one is not the tip");
    }

    #[test]
    fn a_commit_is_believed_for_the_block_that_it_names_alone() {
        let (mut learner, first, other) = (learner(), block(1, Hash::ZERO), block(1, block(7, Hash::ZERO).hash()));
        let gap = [LearnerAction::Gap(node("B"), Height(1))];
        let commit = |with: &Arc<Block>| Commit { height: Height(1), hash: first.hash(), block: Some(with.clone()) };
        assert_eq!(learner.on_commit(node("B"), commit(&other)), gap, "it brings another");
        learner.on_voted(&Slot { ballot: ballot(1), block: other.clone() });
        assert_eq!(
            learner.on_commit(node("B"), Commit { block: None, ..commit(&other) }),
            gap,
            "another was voted for"
        );
        assert_eq!(learner.on_commit(node("B"), commit(&first)), [LearnerAction::Apply(first.clone(), Urgency::Later)]);
        let unheard = Commit { hash: other.hash(), block: None, ..commit(&first) };
        learner.on_voted(&Slot { ballot: ballot(1), block: first.clone() });
        assert_eq!(learner.on_commit(node("B"), unheard), [], "one of this height is on its way to the Ledger");
    }

    #[test]
    fn while_the_store_hangs_blocks_are_left_where_they_are_and_fetched_once_it_goes_on() {
        let mut learner = learner().with_unapplied_max(2);
        let mut chain = vec![block(1, Hash::ZERO)];
        for height in 2..=3 {
            let parent = chain[height as usize - 2].hash();
            chain.push(block(height, parent));
        }
        let commit = |block: &Arc<Block>| {
            let (height, hash) = (block.height(), block.hash());
            Commit { height, hash, block: Some(block.clone()) }
        };
        let apply = |block: &Arc<Block>, urgency| [LearnerAction::Apply(block.clone(), urgency)];
        for block in &chain[..2] {
            assert_eq!(learner.on_commit(node("B"), commit(block)), apply(block, Urgency::Later));
        }
        let left = [LearnerAction::Gap(node("B"), Height(3))];
        assert_eq!(learner.on_commit(node("B"), commit(&chain[2])), left);
        assert_eq!(learner.on_commit(node("B"), commit(&chain[1])), [], "it is on its way");
        let mut other = learner.clone();
        let _ = learner.on_applied(&chain[0]);
        assert_eq!(learner.on_commit(node("B"), commit(&chain[2])), apply(&chain[2], Urgency::Later));
        // Who fetches takes no more at once than it may.
        assert_eq!(other.on_fetched(chain.clone()), apply(&chain[2], Urgency::Now));
    }

    #[test]
    fn what_is_of_the_next_height_stays_while_the_block_below_is_applied() {
        let (mut learner, first) = (learner(), block(1, Hash::ZERO));
        let second = block(2, first.hash());
        learner.on_voted(&Slot { ballot: ballot(1), block: second.clone() });
        learner.on_proposed(ballot(1), second.clone());
        assert_eq!(learner.on_applied(&first), [], "nothing of its own");
        let told = Commit { height: Height(2), hash: second.hash(), block: None };
        assert_eq!(
            learner.clone().on_commit(node("B"), told),
            [LearnerAction::Apply(second.clone(), Urgency::Later)],
            "its vote"
        );
        let _ = learner.on_accepted(node("B"), vote(1, &second));
        assert_eq!(
            learner.on_accepted(node("C"), vote(1, &second)),
            [LearnerAction::Apply(second.clone(), Urgency::Now)]
        );
        assert_eq!(learner.on_applied(&second).len(), 2, "its proposal: both peers are told");
    }

    #[test]
    fn a_rivals_block_in_place_of_the_own_one_is_not_told_as_the_own_one() {
        let (mut learner, own) = (learner(), block(1, Hash::ZERO));
        learner.on_proposed(ballot(1), own);
        assert_eq!(learner.on_applied(&block(1, block(7, Hash::ZERO).hash())), []);
    }
}
