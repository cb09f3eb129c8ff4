use super::super::tests::{HOURS, approved, everybody_hears_of, ledger, log, submit};
use super::*;
use crate::actors::message::{Answers, Apply, Settle, SettleNow};
use crate::actors::probe::{Probes, Seen, ballot, bank, block, chain, genesis, node, prepare, transfer};
use crate::effect::{Record, Urgency};
use crate::ledger::{LogOffer, Wait};
use crate::paxos::Accept;
use crate::types::Seq;

#[actix_rt::test]
async fn a_prepare_for_another_height_is_shown_no_log() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    ledger.do_send(Examine::Prepare(node("B"), prepare(ballot(1, "B"), 2)));
    let view = PrepareView { height: Height(0), state: genesis().state_hash(), log: LogOffer::default() };
    probes.see([Examined::Prepare(node("B"), prepare(ballot(1, "B"), 2), view).into()]).await;
}

#[actix_rt::test]
async fn r5_a_proposed_block_is_tried_on_the_own_state() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let good = chain(1).remove(0);
    let overdraft = block(&bank(&[]), "B", vec![transfer(1, "B", "A", 101)]);
    for block in [&good, &overdraft] {
        ledger.do_send(Examine::Accept(node("B"), Accept { ballot: ballot(1, "B"), block: block.clone() }));
    }
    let seen = probes.seen().await;
    let faults = seen.iter().map(|seen| match seen {
        Seen::Examined(Examined::Accept(_, accept, verdict)) => (accept.block.hash(), verdict.fault.is_some()),
        other => panic!("{other:?}"),
    });
    assert_eq!(faults.collect::<Vec<_>>(), [(good.hash(), false), (overdraft.hash(), true)]);
}

#[actix_rt::test]
async fn r3_a_block_that_nobody_waits_for_is_put_off_and_only_what_is_asked_for_the_next_height_overtakes_it() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let blocks = chain(2);
    ledger.do_send(Apply(blocks[0].clone(), Urgency::Later));
    probes.see([Seen::PutOff(vec![Record::Block(blocks[0].clone())])]).await;
    let (height, state) = (Height(1), bank(&blocks[..1]).state());
    let (ask, accept) = (prepare(ballot(1, "B"), 2), Accept { ballot: ballot(1, "B"), block: blocks[1].clone() });
    ledger.do_send(Examine::Prepare(node("B"), ask));
    ledger.do_send(Examine::Accept(node("B"), accept.clone()));
    let view = PrepareView { height, state, log: LogOffer { first: Seq(1), ..LogOffer::default() } };
    let verdict = Verdict { height, state, fault: None };
    let examined = [Examined::Prepare(node("B"), ask, view), Examined::Accept(node("B"), accept, verdict)];
    probes.see(examined.map(Seen::from)).await;
    // Whoever asks for less than that is told of the height, and so waits for it.
    ledger.do_send(Examine::Prepare(node("C"), prepare(ballot(2, "C"), 1)));
    probes.see([Seen::Persist(vec![])]).await;
    [0, 1].iter().for_each(|_| probes.durable());
    let view = PrepareView { height, state, log: LogOffer::default() };
    let [first, second] = everybody_hears_of(&blocks[0]);
    probes.see([Examined::Prepare(node("C"), prepare(ballot(2, "C"), 1), view).into(), first, second]).await;
}

#[actix_rt::test]
async fn a_block_without_which_a_proposer_gets_no_answer_is_not_put_off() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let blocks = chain(2);
    ledger.do_send(Examine::Prepare(node("C"), prepare(ballot(1, "C"), 2)));
    ledger.do_send(Apply(blocks[0].clone(), Urgency::Later));
    let seen = probes.seen().await;
    assert!(matches!(&seen[..], [Seen::Examined(_), Seen::Persist(_)]), "{seen:?}");
    // Nobody asked for what is above the next one.
    ledger.do_send(Apply(blocks[1].clone(), Urgency::Later));
    probes.see([Seen::PutOff(vec![Record::Block(blocks[1].clone())])]).await;
}

#[actix_rt::test]
async fn a_block_that_somebody_here_waits_for_is_not_put_off() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let block = chain(1).remove(0);
    ledger.do_send(SettleNow);
    ledger.do_send(Apply(block.clone(), Urgency::Later));
    probes.see([Settle(0).into(), Seen::Persist(vec![Record::Block(block)])]).await;
}

#[actix_rt::test]
async fn r7_a_log_is_offered_only_once_it_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let operations = vec![transfer(1, "A", "B", 60)];
    ledger.send(submit(&probes, &[(1, "B", 60)])).await.unwrap();
    ledger.do_send(Examine::Prepare(node("B"), prepare(ballot(1, "B"), 1)));
    probes.see([log(1, operations.clone())]).await;
    probes.durable();
    let log = LogOffer { first: Seq(1), operations, truncated: false };
    let view = PrepareView { height: Height(0), state: genesis().state_hash(), log };
    let examined = Examined::Prepare(node("B"), prepare(ballot(1, "B"), 1), view);
    probes.see([Answers(vec![(10, approved(1))]).into(), examined.into()]).await;
}

#[actix_rt::test]
async fn r7_an_entry_that_nobody_is_told_of_yet_is_not_offered_before_it_is_durable_either() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(SettleNow);
    probes.see([Settle(0).into()]).await;
    // A settlement is under way already, so this write has nothing else behind it.
    let mut settled = submit(&probes, &[(1, "B", 60)]);
    settled.requests[0].1.wait = Wait::Settled;
    ledger.do_send(settled);
    let operations = vec![transfer(1, "A", "B", 60)];
    probes.see([log(1, operations.clone())]).await;
    ledger.do_send(Examine::Prepare(node("B"), prepare(ballot(1, "B"), 1)));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    let log = LogOffer { first: Seq(1), operations, truncated: false };
    let view = PrepareView { height: Height(0), state: genesis().state_hash(), log };
    probes.see([Examined::Prepare(node("B"), prepare(ballot(1, "B"), 1), view).into()]).await;
}
