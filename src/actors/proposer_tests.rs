use std::collections::BTreeSet;
use std::sync::Arc;

use actix::Addr;

use super::super::probe::{Probes, Seen, ballot, chain, from, node, to};
use super::*;
use crate::effect::{HaltReason, Slot};
use crate::ledger::{Block, Candidate, Composition, LogOffer};
use crate::paxos::{Accept, CollectionOutcome, Message, NackKind, Prepare};
use crate::types::{Ballot, CollectionNumber, Hash, Height, NodeId};

const REPEAT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(100);
/// Much less than any of them.
const SLACK: Duration = Duration::from_millis(100);

const TIMING: ProposerTiming =
    ProposerTiming { repeat: REPEAT, grace: Some(GRACE), wait_min: WAIT, wait_max: Duration::from_secs(1_000) };

/// The proposer of a node at genesis, both peers of which are up and vote.
fn proposer_with(probes: &Probes, timing: ProposerTiming, seed: u64) -> Addr<ProposerActor> {
    let ports = ProposerPorts {
        compose: probes.role(),
        done: probes.role(),
        learner: probes.role(),
        reconcile: probes.role(),
        node: probes.role(),
        links: probes.links(),
    };
    let core = Proposer::new(node("A"), [node("B"), node("C")], 2, Height(0), None);
    let proposer = ProposerActor::new(core, ports, timing, Entropy::from_seed(seed)).start();
    for peer in ["B", "C"] {
        proposer.do_send(LinkChanged { peer: node(peer), up: true, votes: true });
    }
    proposer
}

fn proposer(probes: &Probes) -> Addr<ProposerActor> {
    proposer_with(probes, TIMING, 1)
}

fn prepare(round: u64, collection: u64) -> Prepare {
    Prepare { ballot: ballot(round, "A"), height: Height(1), collection: CollectionNumber(collection) }
}

fn promise(prepare: Prepare) -> Promise {
    let Prepare { ballot, height, collection } = prepare;
    Promise { ballot, height, collection, accepted: None, log: LogOffer::default() }
}

fn nack(kind: NackKind, promised: Option<Ballot>, height: u64) -> Nack {
    let Prepare { ballot, height: asked, .. } = prepare(1, 1);
    Nack { ballot, asked, kind, promised, height: Height(height), state: Hash::ZERO }
}

/// What the own acceptor is sent.
fn own(message: Message) -> Seen {
    Seen::Delivered(node("A"), message)
}

fn compose(heard: &[&str]) -> Seen {
    let candidate = |name: &&str| (node(name), Arc::new(Candidate { accepted: None, log: LogOffer::default() }));
    Compose { collection: CollectionNumber(1), candidates: heard.iter().map(candidate).collect() }.into()
}

fn composed(value: Value) -> Composed {
    let composition = Composition { value, excluded: BTreeMap::new(), rejected: BTreeMap::new(), left_out: false };
    Composed { collection: CollectionNumber(1), composition }
}

fn accepts(block: &Arc<Block>) -> [Seen; 3] {
    let accept = Message::Accept(Accept { ballot: ballot(1, "A"), block: block.clone() });
    [own(accept.clone()), to("B", accept.clone()), to("C", accept)]
}

fn done(not_heard: Option<BTreeSet<NodeId>>) -> Seen {
    CollectionDone(CollectionOutcome { began: 1, not_heard }).into()
}

/// Brings it to where all three have promised and the Ledger is asked.
async fn collected(probes: &Probes, proposer: &Addr<ProposerActor>) {
    proposer.do_send(Settle(1));
    for name in ["A", "B", "C"] {
        proposer.do_send(from(name, promise(prepare(1, 1))));
    }
    assert_eq!(probes.seen().await[1], compose(&["A", "B", "C"]));
}

/// Brings it to where its block for height 1 is sent.
async fn proposing(probes: &Probes, proposer: &Addr<ProposerActor>) -> Arc<Block> {
    collected(probes, proposer).await;
    let block = chain(1).remove(0);
    proposer.do_send(composed(Value::Built(block.clone())));
    probes.seen().await;
    block
}

#[actix_rt::test]
async fn r3_the_own_acceptor_promises_before_any_peer_hears_of_the_ballot() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    proposer.do_send(Settle(1));
    probes.see([own(Message::Prepare(prepare(1, 1)))]).await;
    proposer.do_send(from("B", promise(prepare(1, 1))));
    // However often it has to ask again, only its own acceptor is asked.
    probes.pass(REPEAT).await;
    probes.see([own(Message::Prepare(prepare(1, 1)))]).await;
    proposer.do_send(from("A", promise(prepare(1, 1))));
    probes.see(["B", "C"].map(|peer| to(peer, Message::Prepare(prepare(1, 1))))).await;
}

#[actix_rt::test]
async fn r3_a_ballot_that_the_own_acceptor_promised_before_is_told_to_all_at_once() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    collected(&probes, &proposer).await;
    proposer.do_send(composed(Value::Nothing));
    probes.seen().await;
    let again = prepare(1, 2);
    proposer.do_send(Settle(2));
    probes
        .see([own(Message::Prepare(again)), to("B", Message::Prepare(again)), to("C", Message::Prepare(again))])
        .await;
    // R9: this node's own log has to be in the block, however long its disk takes, so it is asked again and waited for.
    proposer.do_send(from("B", promise(again)));
    proposer.do_send(from("C", promise(again)));
    probes.pass(REPEAT).await;
    probes.see([own(Message::Prepare(again))]).await;
    proposer.do_send(from("A", promise(again)));
    let seen = probes.seen().await;
    assert!(matches!(&seen[..], [Seen::Compose(asked)] if asked.candidates.len() == 3), "{seen:?}");
}

#[actix_rt::test]
async fn r9_the_block_is_composed_as_soon_as_everybody_is_heard() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    proposer.do_send(Settle(1));
    proposer.do_send(from("A", promise(prepare(1, 1))));
    proposer.do_send(from("B", promise(prepare(1, 1))));
    probes.seen().await;
    probes.see_nothing().await;
    proposer.do_send(from("C", promise(prepare(1, 1))));
    probes.see([compose(&["A", "B", "C"])]).await;
}

#[actix_rt::test]
async fn r9_beyond_the_majority_others_are_waited_for_as_long_as_the_grace() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    proposer.do_send(Settle(1));
    proposer.do_send(from("A", promise(prepare(1, 1))));
    proposer.do_send(from("B", promise(prepare(1, 1))));
    probes.seen().await;
    probes.pass(GRACE - SLACK).await;
    probes.see_nothing().await;
    probes.pass(SLACK).await;
    probes.see([compose(&["A", "B"])]).await;
}

#[actix_rt::test]
async fn whoever_has_not_answered_is_asked_again_during_the_grace_as_well() {
    let probes = Probes::start();
    let proposer = proposer_with(&probes, ProposerTiming { grace: Some(REPEAT * 2), ..TIMING }, 1);
    proposer.do_send(Settle(1));
    proposer.do_send(from("A", promise(prepare(1, 1))));
    proposer.do_send(from("B", promise(prepare(1, 1))));
    probes.seen().await;
    probes.pass(REPEAT).await;
    probes.see([to("C", Message::Prepare(prepare(1, 1)))]).await;
}

#[actix_rt::test]
async fn r9_without_a_grace_a_peer_is_waited_for_until_its_link_goes_down() {
    let probes = Probes::start();
    let proposer = proposer_with(&probes, ProposerTiming { grace: None, ..TIMING }, 1);
    proposer.do_send(Settle(1));
    proposer.do_send(from("A", promise(prepare(1, 1))));
    proposer.do_send(from("B", promise(prepare(1, 1))));
    probes.seen().await;
    probes.pass(REPEAT).await;
    probes.see([to("C", Message::Prepare(prepare(1, 1)))]).await;
    proposer.do_send(LinkChanged { peer: node("C"), up: false, votes: false });
    probes.see([compose(&["A", "B"])]).await;
}

#[actix_rt::test]
async fn the_learner_hears_of_a_block_before_anybody_is_asked_to_vote_for_it() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    collected(&probes, &proposer).await;
    let block = chain(1).remove(0);
    proposer.do_send(composed(Value::Built(block.clone())));
    let proposed = Proposed(ballot(1, "A"), block.clone()).into();
    probes.see([proposed].into_iter().chain(accepts(&block))).await;
}

#[actix_rt::test]
async fn r6_one_block_per_ballot_and_height() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    let block = proposing(&probes, &proposer).await;
    let slot = Slot { ballot: ballot(1, "C"), block: chain(2).remove(1) };
    proposer.do_send(from("C", Promise { accepted: Some(slot), ..promise(prepare(1, 1)) }));
    proposer.do_send(composed(Value::Built(chain(2).remove(1))));
    probes.see_nothing().await;
    for _ in 0..3 {
        probes.pass(REPEAT).await;
        probes.see(accepts(&block)).await;
    }
}

#[actix_rt::test]
async fn an_applied_block_ends_the_round_and_its_repetition() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    let block = proposing(&probes, &proposer).await;
    proposer.do_send(Applied(block));
    probes.see([done(Some(BTreeSet::new()))]).await;
    probes.pass(WAIT).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn r9_a_collection_that_found_nothing_is_announced_and_no_block_is_proposed() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    collected(&probes, &proposer).await;
    proposer.do_send(composed(Value::Nothing));
    let idle = Message::Idle(Idle { ballot: ballot(1, "A"), height: Height(1) });
    let seen = probes.seen().await;
    assert!(seen.contains(&done(Some(BTreeSet::new()))), "{seen:?}");
    assert!(seen.contains(&to("B", idle.clone())) && seen.contains(&to("C", idle)), "{seen:?}");
    probes.pass(WAIT).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_proposer_that_is_outbid_waits_and_tries_again_with_a_higher_ballot() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    proposing(&probes, &proposer).await;
    proposer.do_send(from("B", nack(NackKind::Outbid { open: true }, Some(ballot(7, "B")), 0)));
    // The wait after one failure: twice the shortest one, drawn from its upper half.
    probes.pass(WAIT - SLACK).await;
    probes.see_nothing().await;
    probes.pass(WAIT + SLACK).await;
    let seen = probes.seen().await;
    // How often the question was repeated since depends on the draw.
    assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == own(Message::Prepare(prepare(8, 2)))), "{seen:?}");
}

#[actix_rt::test]
async fn a_proposer_that_is_outbid_looks_again_once_the_winners_block_is_applied() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    proposing(&probes, &proposer).await;
    proposer.do_send(from("B", nack(NackKind::Outbid { open: true }, Some(ballot(7, "B")), 0)));
    probes.see_nothing().await;
    proposer.do_send(Applied(chain(1).remove(0)));
    probes.see([done(None)]).await;
    probes.pass(WAIT * 10).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn rivals_do_not_wait_equally_long() {
    let probes = Probes::start();
    for seed in 1..=8 {
        let proposer = proposer_with(&probes, TIMING, seed);
        proposer.do_send(Overtaken(ballot(7, "B"), Height(1)));
        proposer.do_send(Settle(1));
    }
    // None waits for less than half of the time, and not all of them for the same part of it.
    probes.pass(WAIT / 2 - SLACK).await;
    probes.see_nothing().await;
    probes.pass(WAIT / 4).await;
    let early = probes.seen().await.len();
    assert!(0 < early && early < 8, "{early} of 8 in the first half");
}

#[actix_rt::test]
async fn r2_a_greater_height_is_reconciled_first_and_then_the_ledger_looks_again() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    collected(&probes, &proposer).await;
    proposer.do_send(from("B", nack(NackKind::Ahead, None, 2)));
    probes.see([Gap(Height(2)).into()]).await;
    let blocks = chain(2);
    proposer.do_send(Applied(blocks[0].clone()));
    probes.see_nothing().await;
    proposer.do_send(Applied(blocks[1].clone()));
    probes.see([done(None)]).await;
}

#[actix_rt::test]
async fn r5_a_majority_that_calls_the_block_invalid_halts() {
    let probes = Probes::start();
    let proposer = proposer(&probes);
    proposing(&probes, &proposer).await;
    proposer.do_send(from("B", nack(NackKind::Invalid, None, 0)));
    probes.see_nothing().await;
    proposer.do_send(from("C", nack(NackKind::Invalid, None, 0)));
    probes.see([Halt(HaltReason::InvalidForMajority(Height(1))).into()]).await;
    assert!(!proposer.connected(), "it has stopped");
}
