use std::sync::Arc;

use actix::{Actor, Addr};

use super::super::probe::{Probes, Seen, ballot, bank, block, chain, from, node, prepare, recovered, to, transfer};
use super::*;
use crate::effect::{HaltReason, Record, Slot};
use crate::ledger::{Block, BlockFault, LogOffer};
use crate::paxos::{Accepted, KnownOfYou, Message, Nack, NackKind, PrepareView, Promise, Verdict};
use crate::store::{Disk, Recovered, Store};
use crate::types::{Ballot, Hash};

const WATCH: Duration = Duration::from_secs(10);
const HOURS: Duration = Duration::from_secs(10_000);

fn start(probes: &Probes, core: Acceptor) -> Addr<AcceptorActor> {
    let ports = AcceptorPorts {
        persistence: probes.role(),
        ledger: probes.role(),
        learner: probes.role(),
        proposer: probes.role(),
        settle: probes.role(),
        reconcile: probes.role(),
        node: probes.role(),
        links: probes.links(),
    };
    AcceptorActor::create(|ctx| AcceptorActor::new(core, Height(0), ports, ctx.address().recipient(), WATCH))
}

/// An acceptor with an empty store that votes.
fn acceptor(probes: &Probes) -> Addr<AcceptorActor> {
    start(probes, Acceptor::new(node("A"), true, None, None))
}

/// A PREPARE of B's as the Ledger hands it back at this height of its own.
fn prepared(ballot: Ballot, height: u64, own: u64) -> Examined {
    let view = PrepareView { height: Height(own), state: Hash::ZERO, log: LogOffer::default() };
    Examined::Prepare(ballot.node, prepare(ballot, height), view)
}

/// An ACCEPT as the Ledger hands it back, valid, at the height below.
fn accepting(ballot: Ballot, block: &Arc<Block>) -> Examined {
    let verdict = Verdict { height: Height(block.height().0 - 1), state: Hash::ZERO, fault: None };
    Examined::Accept(ballot.node, Accept { ballot, block: block.clone() }, verdict)
}

fn promise(ballot: Ballot, height: u64, accepted: Option<Slot>) -> Message {
    let Prepare { ballot, height, collection } = prepare(ballot, height);
    Message::Promise(Promise { ballot, height, collection, accepted, log: LogOffer::default() })
}

fn nack(ballot: Ballot, asked: u64, kind: NackKind, promised: Option<Ballot>, height: u64) -> Message {
    Message::Nack(Nack { ballot, asked: Height(asked), kind, promised, height: Height(height), state: Hash::ZERO })
}

fn accepted(ballot: Ballot, block: &Block) -> Message {
    Message::Accepted(Accepted { ballot, height: block.height(), hash: block.hash() })
}

#[actix_rt::test]
async fn what_a_proposer_wants_goes_through_the_ledger_first() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (ballot, block) = (ballot(1, "B"), chain(1).remove(0));
    let accept = Accept { ballot, block };
    acceptor.do_send(from("B", prepare(ballot, 1)));
    acceptor.do_send(from("B", accept.clone()));
    let examine = [Examine::Prepare(node("B"), prepare(ballot, 1)), Examine::Accept(node("B"), accept)];
    probes.see(examine.map(Seen::from)).await;
}

#[actix_rt::test]
async fn r3_no_promise_leaves_before_it_is_durable() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let ballot = ballot(1, "B");
    acceptor.do_send(prepared(ballot, 1, 0));
    probes.see([Seen::Persist(vec![Record::Promise(ballot)])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see([Overtaken(ballot, Height(1)).into(), to("B", promise(ballot, 1, None))]).await;
}

#[actix_rt::test]
async fn r3_no_accepted_leaves_before_it_is_durable() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (ballot, block) = (ballot(1, "B"), chain(1).remove(0));
    let slot = Slot { ballot, block: block.clone() };
    acceptor.do_send(accepting(ballot, &block));
    probes.see([Seen::Persist(vec![Record::Accepted(slot.clone())])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    let said = [Overtaken(ballot, Height(1)).into(), Voted(slot).into(), to("B", accepted(ballot, &block))];
    probes.see(said).await;
}

#[actix_rt::test]
async fn r3_after_a_failed_write_nothing_is_said_not_even_a_nack_that_was_queued_behind_it() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    acceptor.do_send(prepared(ballot(5, "B"), 1, 0));
    probes.see([Seen::Persist(vec![Record::Promise(ballot(5, "B"))])]).await;
    // A NACK would name the promise that is not durable; and what is said must be said in order.
    acceptor.do_send(prepared(ballot(4, "C"), 1, 0));
    acceptor.do_send(prepared(ballot(6, "C"), 9, 0));
    acceptor.do_send(prepared(ballot(5, "B"), 1, 0));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn r3_each_answer_leaves_with_its_own_write_and_in_order() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (first, second) = (ballot(1, "B"), ballot(2, "C"));
    acceptor.do_send(prepared(first, 1, 0));
    acceptor.do_send(prepared(second, 1, 0));
    let writes = [first, second].map(|ballot| Seen::Persist(vec![Record::Promise(ballot)]));
    probes.see(writes).await;
    probes.durable();
    probes.see([Overtaken(first, Height(1)).into(), to("B", promise(first, 1, None))]).await;
    probes.durable();
    probes.see([Overtaken(second, Height(1)).into(), to("C", promise(second, 1, None))]).await;
}

#[actix_rt::test]
async fn r3_a_restarted_acceptor_keeps_its_promise() {
    let (probes, disk) = (Probes::start(), Disk::new());
    let Recovered { mut journal, .. } = recovered(&disk);
    let (low, voted, high, block) = (ballot(4, "C"), ballot(5, "B"), ballot(6, "C"), chain(1).remove(0));
    let before = acceptor(&probes);
    before.do_send(accepting(voted, &block));
    for seen in probes.seen().await {
        let Seen::Persist(records) = seen else { panic!("{seen:?}") };
        disk.open().write(&journal.write(records)).unwrap();
    }
    before.do_send(Stop);
    let Recovered { promise: promised, slot, .. } = recovered(&disk);
    let after = start(&probes, Acceptor::new(node("A"), true, promised, slot));
    after.do_send(prepared(low, 1, 0));
    probes.see([to("C", nack(low, 1, NackKind::Outbid { open: true }, Some(voted), 0))]).await;
    after.do_send(prepared(high, 1, 0));
    probes.see([Seen::Persist(vec![Record::Promise(high)])]).await;
    // The write of the process before is still the oldest that waits; its actor is gone.
    probes.durable();
    probes.durable();
    let slot = Slot { ballot: voted, block };
    probes.see([Overtaken(high, Height(1)).into(), to("C", promise(high, 1, Some(slot)))]).await;
}

#[actix_rt::test]
async fn r6_the_same_ballot_at_the_next_height_costs_no_write() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (ballot, block) = (ballot(1, "B"), chain(1).remove(0));
    acceptor.do_send(prepared(ballot, 1, 0));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    acceptor.do_send(Applied(block));
    acceptor.do_send(prepared(ballot, 2, 1));
    probes.see([to("B", promise(ballot, 2, None))]).await;
}

#[actix_rt::test]
async fn r6_a_repeated_accept_is_answered_again_and_another_block_under_its_ballot_is_not_voted_for() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (ballot, first) = (ballot(1, "B"), chain(1).remove(0));
    acceptor.do_send(accepting(ballot, &first));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    acceptor.do_send(accepting(ballot, &first));
    probes.see([to("B", accepted(ballot, &first))]).await;
    let other = block(&bank(&[]), "C", vec![transfer(1, "C", "A", 7)]);
    acceptor.do_send(accepting(ballot, &other));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn r1_an_acceptor_that_has_the_block_already_answers_ahead() {
    let probes = Probes::start();
    let ballot = ballot(1, "B");
    acceptor(&probes).do_send(prepared(ballot, 1, 1));
    probes.see([to("B", nack(ballot, 1, NackKind::Ahead, None, 1))]).await;
}

#[actix_rt::test]
async fn r1_an_acceptor_that_is_behind_says_so_catches_up_and_then_answers_the_same_prepare() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let ballot = ballot(1, "B");
    acceptor.do_send(prepared(ballot, 2, 0));
    probes.see([Gap(Height(1)).into(), to("B", nack(ballot, 2, NackKind::Behind, None, 0))]).await;
    acceptor.do_send(Applied(chain(1).remove(0)));
    probes.see([Seen::Delivered(node("B"), Message::Prepare(prepare(ballot, 2)))]).await;
    acceptor.do_send(from("B", prepare(ballot, 2)));
    probes.see([Examine::Prepare(node("B"), prepare(ballot, 2)).into()]).await;
    acceptor.do_send(prepared(ballot, 2, 1));
    probes.see([Seen::Persist(vec![Record::Promise(ballot)])]).await;
    probes.durable();
    probes.see([Overtaken(ballot, Height(2)).into(), to("B", promise(ballot, 2, None))]).await;
}

#[actix_rt::test]
async fn r5_a_block_that_does_not_pass_is_refused_as_invalid_and_nothing_is_written() {
    let probes = Probes::start();
    let (ballot, block) = (ballot(1, "B"), chain(1).remove(0));
    let fault = Some(BlockFault::Height { found: Height(1), next: Height(1) });
    let verdict = Verdict { height: Height(0), state: Hash::ZERO, fault };
    acceptor(&probes).do_send(Examined::Accept(node("B"), Accept { ballot, block }, verdict));
    probes.see([to("B", nack(ballot, 1, NackKind::Invalid, None, 0))]).await;
}

#[actix_rt::test]
async fn r11_a_baby_is_silent_until_it_is_admitted() {
    let probes = Probes::start();
    let baby = start(&probes, Acceptor::new(node("A"), false, None, None));
    baby.do_send(prepared(ballot(1, "B"), 1, 0));
    baby.do_send(accepting(ballot(1, "B"), &chain(1)[0]));
    baby.do_send(prepared(ballot(1, "B"), 9, 0));
    probes.see_nothing().await;
    baby.do_send(Admitted);
    baby.do_send(prepared(ballot(1, "B"), 1, 0));
    probes.see([Seen::Persist(vec![Record::Promise(ballot(1, "B"))])]).await;
}

#[actix_rt::test]
async fn a_vote_without_an_outcome_asks_for_a_round_after_the_watch_time_until_it_is_resolved() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let block = chain(1).remove(0);
    acceptor.do_send(accepting(ballot(1, "B"), &block));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    probes.pass(WATCH - Duration::from_millis(100)).await;
    probes.see_nothing().await;
    probes.pass(Duration::from_millis(200)).await;
    probes.see([Settle(0).into()]).await;
    probes.pass(WATCH).await;
    probes.see([Settle(0).into()]).await;
    acceptor.do_send(Applied(block));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_vote_found_in_the_store_is_watched_from_the_start() {
    let probes = Probes::start();
    let slot = Slot { ballot: ballot(3, "B"), block: chain(1).remove(0) };
    let _acceptor = start(&probes, Acceptor::new(node("A"), true, Some(ballot(3, "B")), Some(slot)));
    probes.see_nothing().await;
    probes.pass(WATCH).await;
    probes.see([Settle(0).into()]).await;
}

#[actix_rt::test]
async fn r1_a_vote_above_a_block_that_is_not_durable_yet_takes_its_place_and_a_witness_of_the_one_below_is_no_contradiction()
 {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (ballot, blocks) = (ballot(1, "B"), chain(2));
    acceptor.do_send(accepting(ballot, &blocks[0]));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    // The Ledger has applied the first. It hands its block in before, so that the vote is written behind it.
    let accept = Accept { ballot, block: blocks[1].clone() };
    let verdict = Verdict { height: Height(1), state: bank(&blocks[..1]).state(), fault: None };
    acceptor.do_send(Examined::Accept(node("B"), accept, verdict));
    let slot = Slot { ballot, block: blocks[1].clone() };
    probes.see([Seen::Persist(vec![Record::Accepted(slot.clone())])]).await;
    let known = KnownOfYou { accepted: Some((ballot, Height(1))), ..KnownOfYou::default() };
    acceptor.do_send(Witness(node("B"), known));
    acceptor.do_send(Applied(blocks[0].clone()));
    probes.see_nothing().await;
    probes.durable();
    probes.see([Voted(slot).into(), to("B", accepted(ballot, &blocks[1]))]).await;
}

#[actix_rt::test]
async fn r13_a_witness_that_has_seen_more_halts_and_nothing_is_voted_afterwards() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    acceptor.do_send(Witness(node("C"), KnownOfYou::default()));
    probes.see_nothing().await;
    let known = KnownOfYou { promised: Some(ballot(7, "C")), ..KnownOfYou::default() };
    acceptor.do_send(Witness(node("C"), known));
    // Both are in the mailbox before the witness is heard.
    acceptor.do_send(prepared(ballot(8, "B"), 1, 0));
    acceptor.do_send(accepting(ballot(8, "B"), &chain(1)[0]));
    let seen = probes.seen().await;
    assert!(matches!(&seen[..], [Seen::Halt(Halt(HaltReason::WentBack { .. }))]), "{seen:?}");
}

#[actix_rt::test]
async fn r13_a_halt_waits_for_no_write_and_what_stood_behind_one_is_never_said() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    acceptor.do_send(accepting(ballot(8, "B"), &chain(1)[0]));
    let seen = probes.seen().await;
    assert!(matches!(&seen[..], [Seen::Persist(_)]), "{seen:?}");
    let known = KnownOfYou { promised: Some(ballot(9, "C")), ..KnownOfYou::default() };
    acceptor.do_send(Witness(node("C"), known));
    let seen = probes.seen().await;
    assert!(matches!(&seen[..], [Seen::Halt(Halt(HaltReason::WentBack { .. }))]), "{seen:?}");
    probes.durable();
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn an_acceptor_whose_promised_round_ended_idle_tells_a_rival_that_it_need_not_wait() {
    let probes = Probes::start();
    let acceptor = acceptor(&probes);
    let (rival, low) = (ballot(5, "B"), ballot(4, "C"));
    acceptor.do_send(prepared(rival, 1, 0));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    acceptor.do_send(prepared(low, 1, 0));
    probes.see([to("C", nack(low, 1, NackKind::Outbid { open: true }, Some(rival), 0))]).await;
    acceptor.do_send(from("B", Idle { ballot: rival, height: Height(1) }));
    acceptor.do_send(prepared(low, 1, 0));
    probes.see([to("C", nack(low, 1, NackKind::Outbid { open: false }, Some(rival), 0))]).await;
}
