//! What must hold in every state of a scope, and what some state of it must show.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::paxos::Message;
use paxos_banking::types::{Ballot, Hash, Height};
use stateright::Property;

use super::observe::Vote;
use super::{Model, Rule, Scope, State};

/// What a scope must reach: where it does not, it explores nothing of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// A block that A built is chosen.
    BlockOfA,
    /// A block that B built is chosen.
    BlockOfB,
    /// A vote of a lower ballot is adopted: the same block is voted for under two.
    Adopted,
    /// A block is applied by a node that crashed before.
    AppliedAfterCrash,
    /// Every node has every block of the scope's last height.
    AllAtLastHeight,
    /// Two blocks that one ballot settled.
    BallotKept,
    /// A PROMISE is said by a node that has not written the block below its height.
    PromiseBeforeBlock,
}

/// The name of the property that counts most.
pub const ONE_BLOCK_PER_HEIGHT: &str = "R1, R6: one block per height";

pub(super) fn properties(scope: &Scope) -> Vec<Property<Model>> {
    let mut properties = vec![
        Property::always(ONE_BLOCK_PER_HEIGHT, |_: &Model, state| one_block_per_height(state)),
        Property::always("R6: at most one block is chosen at a height", |_, state| one_chosen(state)),
        Property::always("R6: one block per ballot and height", |_, state| one_block_per_ballot(state)),
        Property::always("R5: what is applied was chosen", |_, state| applied_was_chosen(state)),
        Property::always("R3: no promise falls below what was said", |_, state| promises_stand(state)),
        Property::always("R1: votes are for the next height", |_, state| keep(state, Rule::VotesAtTheNextHeight)),
        Property::always("R3, R7: durable before said", |_, state| keep(state, Rule::DurableBeforeSaid)),
        Property::always("R12: conservation", |_, state| keep(state, Rule::Conservation)),
        Property::always("R12: no overdraft", |_, state| keep(state, Rule::NoOverdraft)),
        Property::always("nobody stops", |_, state| keep(state, Rule::NobodyStops)),
    ];
    properties.extend(scope.reaches.iter().map(|reached| match reached {
        Reached::BlockOfA => Property::sometimes("a block of A is chosen", |_, state| chosen_of(state, "A")),
        Reached::BlockOfB => Property::sometimes("a block of B is chosen", |_, state| chosen_of(state, "B")),
        Reached::Adopted => Property::sometimes("a vote of a lower ballot is adopted", |_, state| adopted(state)),
        Reached::AppliedAfterCrash => {
            Property::sometimes("a block is applied after a crash", |_, state| applied_after_crash(state))
        }
        Reached::AllAtLastHeight => Property::sometimes("all nodes have all blocks", |model: &Model, state| {
            state.nodes.iter().all(|local| local.value.height() == model.scope().last_height)
        }),
        Reached::BallotKept => Property::sometimes("one ballot settles two blocks", |_, state| ballot_kept(state)),
        Reached::PromiseBeforeBlock => Property::sometimes("a promise overtakes a block", promise_before_block),
    }));
    properties
}

fn promise_before_block(model: &Model, state: &State) -> bool {
    state.sent.iter().any(|sent| match &sent.value.message {
        Message::Promise(promise) => promise.height > state.nodes[model.index(sent.value.from)].value.height().next(),
        _ => false,
    })
}

fn keep(state: &State, rule: Rule) -> bool {
    state.nodes.iter().all(|local| !local.value.broken.contains(&rule))
}

fn one_block_per_height(state: &State) -> bool {
    let chains = || state.nodes.iter().map(|local| &local.value.node.disk.chain);
    let longest = chains().max_by_key(|chain| chain.len()).unwrap();
    chains().all(|chain| chain.iter().zip(longest).all(|(one, other)| one.hash() == other.hash()))
}

fn votes(state: &State) -> impl Iterator<Item = &Vote> {
    state.nodes.iter().flat_map(|local| &local.value.votes)
}

/// What a majority voted for, durably, under one ballot, at whatever time.
fn chosen(state: &State) -> BTreeSet<(Height, Hash)> {
    let mut counts: BTreeMap<&Vote, usize> = BTreeMap::new();
    votes(state).for_each(|vote| *counts.entry(vote).or_default() += 1);
    counts.into_iter().filter(|(_, count)| *count >= 2).map(|(vote, _)| (vote.height, vote.hash)).collect()
}

fn one_chosen(state: &State) -> bool {
    let chosen = chosen(state);
    let heights: BTreeSet<_> = chosen.iter().map(|(height, _)| height).collect();
    heights.len() == chosen.len()
}

fn applied_was_chosen(state: &State) -> bool {
    let chosen = chosen(state);
    let blocks = state.nodes.iter().flat_map(|local| &local.value.node.disk.chain);
    blocks.into_iter().all(|block| chosen.contains(&(block.height(), block.hash())))
}

fn one_block_per_ballot(state: &State) -> bool {
    let mut proposed: BTreeMap<(Ballot, Height), Hash> = BTreeMap::new();
    let accepts = state.sent.iter().filter_map(|sent| match &sent.value.message {
        Message::Accept(accept) => Some((accept.ballot, accept.block.height(), accept.block.hash())),
        _ => None,
    });
    let voted = votes(state).map(|vote| (vote.ballot, vote.height, vote.hash));
    accepts.chain(voted).all(|(ballot, height, hash)| *proposed.entry((ballot, height)).or_insert(hash) == hash)
}

fn promises_stand(state: &State) -> bool {
    state.nodes.iter().all(|local| local.value.node.disk.promise >= local.value.said)
}

/// The proposer of the lowest ballot that a block was voted for under is the one that built it.
fn chosen_of(state: &State, name: &str) -> bool {
    let builder = |hash: Hash| votes(state).filter(|vote| vote.hash == hash).map(|vote| vote.ballot).min();
    chosen(state).iter().any(|(_, hash)| builder(*hash).is_some_and(|ballot| ballot.node.as_str() == name))
}

fn adopted(state: &State) -> bool {
    votes(state).any(|vote| votes(state).any(|other| other.hash == vote.hash && other.ballot.node != vote.ballot.node))
}

fn applied_after_crash(state: &State) -> bool {
    state.nodes.iter().any(|local| local.value.crashed_at.is_some_and(|at| at < local.value.height()))
}

fn ballot_kept(state: &State) -> bool {
    let chosen = chosen(state);
    let settled = |vote: &&Vote| chosen.contains(&(vote.height, vote.hash));
    let ballots: BTreeSet<_> = votes(state).filter(settled).map(|vote| (vote.ballot, vote.height)).collect();
    ballots.iter().zip(ballots.iter().skip(1)).any(|((one, _), (other, _))| one == other)
}
