use std::collections::BTreeSet;

use tokio::sync::oneshot::error::TryRecvError;

use super::super::tests::{approved, done, ledger, log, stop_waiting, submit};
use super::*;
use crate::actors::message::{Answers, Settle};
use crate::actors::probe::{Probes, node, transfer};
use crate::ledger::{Answer, Verdict};
use crate::types::{Amount, Height, Seq};

#[actix_rt::test]
async fn r3_readers_hear_of_nothing_that_is_not_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.send(submit(&probes, &[(1, "B", 60)])).await.unwrap();
    let (account, mut view) = oneshot::channel();
    ledger.do_send(ReadAccount { account: "A".parse().unwrap(), reply_to: account });
    let (entries, mut log_page) = oneshot::channel();
    ledger.do_send(ReadLog { from: Seq(0), count: 10, reply_to: entries });
    let (traces, mut trace) = oneshot::channel();
    ledger.do_send(ReadTrace { id: 1.into(), reply_to: traces });
    probes.see([log(1, vec![transfer(1, "A", "B", 60)])]).await;
    assert_eq!(view.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(log_page.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(trace.try_recv(), Err(TryRecvError::Empty));
    probes.durable();
    probes.see([Answers(vec![(10, approved(1))]).into()]).await;
    let (settled, spendable) = (Some(Amount::new(100)), Some(Amount::new(40)));
    assert_eq!(view.try_recv(), Ok(AccountView { height: Height(0), settled, spendable }));
    assert_eq!(log_page.try_recv().unwrap().len(), 1);
    assert!(matches!(trace.try_recv().unwrap()[0].verdict, Verdict::Approved(_)));
}

#[actix_rt::test]
async fn r9_a_collection_is_told_to_those_who_asked_before_it_began() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let (first, mut early) = oneshot::channel();
    ledger.do_send(Collect(first));
    probes.see([Settle(1).into()]).await;
    let (second, mut late) = oneshot::channel();
    ledger.do_send(Collect(second));
    let not_heard = BTreeSet::from([node("C")]);
    ledger.do_send(done(1, Some(not_heard.clone())));
    probes.see([Settle(2).into()]).await;
    assert_eq!(early.try_recv(), Ok(Collected { height: Height(0), not_heard }));
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    // It went away: nothing more is settled for it.
    drop(late);
    let (third, _waiting) = oneshot::channel();
    ledger.do_send(Collect(third));
    ledger.do_send(done(2, Some(BTreeSet::new())));
    probes.see([Settle(3).into()]).await;
}

#[actix_rt::test]
async fn a_client_that_waits_no_longer_is_answered_and_its_request_is_decided_all_the_same() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 500)]));
    probes.see([Settle(1).into()]).await;
    ledger.do_send(stop_waiting(&probes, 10));
    probes.see([Answers(vec![(10, Answer::Pending)]).into()]).await;
    ledger.do_send(stop_waiting(&probes, 10));
    probes.see_nothing().await;
    ledger.do_send(done(1, Some(BTreeSet::new())));
    let seen = probes.seen().await;
    assert_eq!(seen.len(), 1, "the refusal is written, and told to nobody: {seen:?}");
}
