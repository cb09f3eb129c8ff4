use std::sync::Arc;

use actix::Addr;

use super::super::probe::{Probes, Seen, ballot, chain, from, node, to};
use super::*;
use crate::effect::{HaltReason, Slot, Urgency};
use crate::ledger::Block;
use crate::paxos::Message;
use crate::types::{Ballot, Hash, Height};

/// The learner of a node at genesis.
fn learner(probes: &Probes) -> Addr<LearnerActor> {
    let ports =
        LearnerPorts { ledger: probes.role(), reconcile: probes.role(), node: probes.role(), links: probes.links() };
    LearnerActor::new(Learner::new([node("B"), node("C")], 2, Height(0), Hash::ZERO, None), ports).start()
}

fn vote(ballot: Ballot, block: &Block) -> Accepted {
    Accepted { ballot, height: block.height(), hash: block.hash() }
}

fn commit(block: &Arc<Block>, with: bool) -> Commit {
    Commit { height: block.height(), hash: block.hash(), block: with.then(|| block.clone()) }
}

#[actix_rt::test]
async fn a_block_is_applied_once_when_a_majority_has_voted_under_one_ballot() {
    let probes = Probes::start();
    let (learner, block) = (learner(&probes), chain(1).remove(0));
    learner.do_send(Proposed(ballot(2, "A"), block.clone()));
    learner.do_send(from("B", vote(ballot(1, "A"), &block)));
    learner.do_send(from("A", vote(ballot(2, "A"), &block)));
    learner.do_send(from("A", vote(ballot(2, "A"), &block)));
    probes.see_nothing().await;
    learner.do_send(from("C", vote(ballot(2, "A"), &block)));
    probes.see([Apply(block.clone(), Urgency::Now).into()]).await;
    learner.do_send(from("B", vote(ballot(2, "A"), &block)));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn r3_commit_leaves_once_the_block_is_applied_and_carries_it_to_who_has_not_voted() {
    let probes = Probes::start();
    let (learner, block) = (learner(&probes), chain(1).remove(0));
    learner.do_send(Proposed(ballot(1, "A"), block.clone()));
    learner.do_send(from("A", vote(ballot(1, "A"), &block)));
    learner.do_send(from("B", vote(ballot(1, "A"), &block)));
    probes.see([Apply(block.clone(), Urgency::Now).into()]).await;
    learner.do_send(Applied(block.clone()));
    let commits = [("B", false), ("C", true)];
    probes.see(commits.map(|(peer, with)| to(peer, Message::Commit(commit(&block, with))))).await;
    learner.do_send(Applied(block));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_block_that_another_node_proposed_is_not_committed_again() {
    let probes = Probes::start();
    let (learner, block) = (learner(&probes), chain(1).remove(0));
    learner.do_send(from("B", commit(&block, true)));
    probes.see([Apply(block.clone(), Urgency::Later).into()]).await;
    learner.do_send(Applied(block));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_commit_without_its_block_is_applied_from_the_own_vote() {
    let probes = Probes::start();
    let (learner, block) = (learner(&probes), chain(1).remove(0));
    learner.do_send(Voted(Slot { ballot: ballot(1, "B"), block: block.clone() }));
    learner.do_send(from("B", commit(&block, false)));
    probes.see([Apply(block, Urgency::Later).into()]).await;
}

#[actix_rt::test]
async fn a_commit_of_an_unknown_block_is_a_gap() {
    let probes = Probes::start();
    let (learner, blocks) = (learner(&probes), chain(3));
    learner.do_send(from("B", commit(&blocks[0], false)));
    probes.see([Gap(Height(1)).into()]).await;
    // One block further on even a COMMIT that brings its block leaves a hole below.
    learner.do_send(from("B", commit(&blocks[2], true)));
    probes.see([Gap(Height(3)).into()]).await;
}

#[actix_rt::test]
async fn r5_fetched_blocks_go_to_the_ledger_in_height_order_and_once() {
    let probes = Probes::start();
    let (learner, blocks) = (learner(&probes), chain(3));
    learner.do_send(Fetched(vec![blocks[1].clone(), blocks[0].clone()]));
    probes.see([Apply(blocks[0].clone(), Urgency::Now).into()]).await;
    learner.do_send(Fetched(blocks.clone()));
    probes.see(blocks[1..].iter().map(|block| Apply(block.clone(), Urgency::Now).into())).await;
}

#[actix_rt::test]
async fn r5_another_block_at_the_own_height_halts() {
    let probes = Probes::start();
    let (learner, block) = (learner(&probes), chain(1).remove(0));
    learner.do_send(Applied(block.clone()));
    learner.do_send(CompareTip(node("B"), Height(1), block.hash()));
    probes.see_nothing().await;
    learner.do_send(CompareTip(node("C"), Height(1), Hash::ZERO));
    learner.do_send(Fetched(chain(2)));
    let (ours, theirs, peer) = (block.hash(), Hash::ZERO, node("C"));
    let seen = probes.seen().await;
    let reason = HaltReason::OtherBlock { height: Height(1), ours, theirs, peer };
    assert_eq!(seen.first(), Some(&Seen::from(Halt(reason))));
    assert!(!learner.connected(), "it has stopped");
}
