use std::time::Duration;

use super::super::tests::{approved, ledger, log, submit};
use super::*;
use crate::actors::message::ReadBank;
use crate::actors::probe::{Probes, Seen};
use crate::effect::Record;
use crate::ledger::{Action, Opening, Operation, Reason, Refusal, Wait};
use crate::types::{AccountId, Amount, Height};

const HOURS: Duration = Duration::from_secs(10_000);

fn account() -> AccountId {
    "new@A".parse().unwrap()
}

fn open(probes: &Probes, id: u128, wait: Wait) -> SubmitOpening {
    let opening = Opening { id: id.into(), account: account(), wait };
    SubmitOpening { tag: id as u64 * 10, opening, reply_to: probes.role() }
}

fn operation(id: u128) -> Operation {
    Operation { id: id.into(), action: Action::Open { account: account() } }
}

#[actix_rt::test]
async fn r7_no_approval_of_an_opening_leaves_before_its_entry_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(open(&probes, 1, Wait::Local));
    probes.see([log(1, vec![operation(1)])]).await;
    let (reply_to, mut view) = tokio::sync::oneshot::channel();
    ledger.do_send(ReadBank(reply_to));
    ledger.do_send(open(&probes, 1, Wait::Local));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    assert!(view.try_recv().is_err(), "nor does anybody see the entry");
    probes.durable();
    let told = || Answers(vec![(10, approved(1))]).into();
    probes.see([told(), told()]).await;
    assert_eq!(view.try_recv().unwrap().log[0].operation, operation(1));
}

#[actix_rt::test]
async fn r10_the_refusal_of_an_opening_is_durable_before_it_is_answered() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(open(&probes, 1, Wait::Local));
    probes.see([log(1, vec![operation(1)])]).await;
    probes.durable();
    probes.see([Answers(vec![(10, approved(1))]).into()]).await;
    ledger.do_send(open(&probes, 2, Wait::Local));
    let reason = Reason::AccountExists { height: Height(0), account: account() };
    let refusal =
        Refusal { id: 2.into(), from: account(), to: account(), amount: Amount::ZERO, reason: reason.clone() };
    let written = Record::Refused { number: 1, refusals: vec![refusal] };
    probes.see([Seen::Persist(vec![written])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see([Answers(vec![(20, Answer::Refused(reason))]).into()]).await;
}

#[actix_rt::test]
async fn who_opens_an_account_may_wait_for_its_settlement_and_stop_waiting() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let batch = ledger.send(open(&probes, 1, Wait::Settled)).await.unwrap();
    let transfers = ledger.send(submit(&probes, &[(2, "B", 5)])).await.unwrap();
    assert!(transfers > batch, "both count as batches");
    probes.seen().await;
    probes.durable();
    probes.durable();
    let seen = probes.seen().await;
    assert!(!seen.contains(&Answers(vec![(10, approved(1))]).into()), "{seen:?}");
    ledger.do_send(StopWaiting(batch));
    probes.see([Answers(vec![(10, approved(1))]).into()]).await;
}

#[actix_rt::test]
async fn a_store_that_does_not_answer_makes_openings_busy_in_the_end() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let many: Vec<_> = (1..=HELD_MAX as u128).map(|id| (id, "nobody@B", 1)).collect();
    ledger.do_send(submit(&probes, &many));
    probes.seen().await;
    ledger.do_send(open(&probes, 200_000, Wait::Local));
    probes.see([Answers(vec![(2_000_000, Answer::Busy)]).into()]).await;
}
