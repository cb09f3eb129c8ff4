use std::collections::BTreeSet;

use tokio::sync::oneshot::error::TryRecvError;

use super::super::tests::{approved, done, ledger, ledger_of, log, stop_waiting, submit};
use super::*;
use crate::actors::message::{Answers, Settle, Submit};
use crate::actors::probe::{Probes, node, transfer};
use crate::ledger::{Answer, Genesis, Request, Verdict, Wait};
use crate::types::{AccountId, Amount, Height, Seq};

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

#[actix_rt::test]
async fn others_are_heard_while_an_id_is_looked_for_among_many_accounts() {
    const COUNT: u64 = 10_000;
    let probes = Probes::start();
    let customer = |number: u64| -> AccountId { format!("c{number}@A").parse().unwrap() };
    let opening = (0..COUNT).map(|number| (customer(number), Amount::new(9)));
    let ledger = ledger_of(&probes, &Genesis::new([node("A")], opening).unwrap(), None);
    for first in (0..COUNT).step_by(100) {
        let id = |number| if number == COUNT - 1 { 1.into() } else { 2.into() };
        let request = |number| {
            let (from, to, amount) = (customer(number), customer((number + 1) % COUNT), Amount::new(1));
            (number, Request { id: id(number), from, to, amount, wait: Wait::Local })
        };
        let requests = (first..first + 100).map(request).collect();
        ledger.do_send(Submit { requests, reply_to: probes.role() });
    }
    probes.seen().await.iter().for_each(|_| probes.durable());
    let [(first, mut one), (second, mut other)] = [oneshot::channel(), oneshot::channel()];
    let ((gone, _), (account, mut view)) = (oneshot::channel(), oneshot::channel());
    ledger.do_send(ReadTrace { id: 1.into(), reply_to: first });
    ledger.do_send(ReadTrace { id: 3.into(), reply_to: gone });
    ledger.do_send(ReadTrace { id: 2.into(), reply_to: second });
    ledger.send(ReadAccount { account: customer(0), reply_to: account }).await.unwrap();
    assert!(view.try_recv().is_ok() && one.try_recv().is_err(), "there is more to look through");
    assert_eq!(one.await.unwrap().iter().map(|trace| trace.from).collect::<Vec<_>>(), [customer(COUNT - 1)]);
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty), "one after the other");
    assert_eq!(other.await.unwrap().len() as u64, COUNT - 1);
}
