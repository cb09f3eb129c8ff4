//! Transfers: retries under one id, deadlines, what a home answers, batches.

use std::time::Duration;

use paxos_banking::client::{ClientError, Outcome, Why};
use paxos_banking::ledger::{Answer, Reason, Wait};
use paxos_banking::types::{Amount, Height, Seq};
use paxos_banking::wire::client::{Ask, FailureCode, Told, Transfer};
use tokio::time::Instant;

use crate::node::{Act, Bank, all, approved, client, failed, hasty_client, node, nowhere, request};

/// Far more than any of this takes.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn r10_a_transfer_is_retried_under_its_id_until_it_is_decided() {
    let mut bank = Bank::new().await;
    let mut count = 0;
    let home = bank.start("A", move |call| {
        count += 1;
        match count {
            1 => vec![all(call, &Answer::Busy)],
            2 => vec![all(call, &Answer::NotReady)],
            3 => vec![all(call, &Answer::Pending)],
            4 => vec![Act::Close],
            5 => vec![],
            6 => vec![failed(FailureCode::Stopped)],
            7 => vec![failed(FailureCode::TimedOut)],
            _ => vec![all(call, &approved("A", 5, None))],
        }
    });
    let client = hasty_client([&home.address]);
    let request = request(&client, "A", "B", 20);
    let outcome = client.transfer(request, LONG).await.unwrap();
    let Outcome::Approved(approval) = outcome else { panic!("{outcome:?}") };
    assert_eq!((approval.origin, approval.seq, approval.height), (node("A"), Seq(5), None));
    let sent = home.transfers();
    assert_eq!(sent.len(), 8);
    assert!(sent.iter().all(|call| *call == [Transfer(request.id, request.from, request.to, Amount::new(20))]));
}

#[tokio::test]
async fn a_deadline_that_passes_leaves_the_outcome_unknown_with_the_id_to_ask_for() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |_| vec![]);
    let client = hasty_client([&home.address]);
    let request = request(&client, "A", "B", 20);
    let began = Instant::now();
    let outcome = client.transfer(request, Duration::from_secs(3)).await.unwrap();
    assert!(began.elapsed() < LONG / 2);
    let Outcome::Unknown(unknown) = outcome else { panic!("{outcome:?}") };
    assert_eq!((unknown.id, unknown.why.code()), (request.id, "deadline"));
    assert!(home.transfers().len() > 1, "it was tried again meanwhile");
    let Ask::Transfers { within_ms, .. } = home.calls.lock().unwrap()[1].clone() else { panic!("transfers") };
    assert!(within_ms < 1_000, "the node is told to answer before the client stops listening: {within_ms}");
}

#[tokio::test]
async fn r10_where_every_try_met_a_home_that_was_not_ready_nothing_is_decided_and_the_error_says_so() {
    let mut bank = Bank::new().await;
    let baby = bank.start("A", |call| vec![all(call, &Answer::NotReady)]);
    let client = hasty_client([&baby.address]);
    let request = request(&client, "A", "B", 20);
    let error = client.transfer(request, Duration::from_millis(700)).await.unwrap_err();
    assert!(matches!(error, ClientError::NotReady(_)) && !error.may_have_been_sent(), "{error}");
    assert!(baby.transfers().len() > 1, "it was tried again meanwhile");
    // What may have been taken in once stays unknown, whatever is answered before and after.
    for other in [failed(FailureCode::Stopped), failed(FailureCode::TimedOut), Act::Close] {
        let (mut bank, mut other) = (Bank::new().await, Some(other));
        let mut count = 0;
        let home = bank.start("A", move |call| {
            count += 1;
            match other.take_if(|_| count == 2) {
                Some(other) => vec![other],
                None => vec![all(call, &Answer::NotReady)],
            }
        });
        let client = hasty_client([&home.address]);
        let outcome = client.transfer(request, Duration::from_millis(700)).await.unwrap();
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        assert!(home.transfers().len() > 2, "it was not ready again after that");
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent_and_the_error_says_so() {
    let client = client([&nowhere().await, &nowhere().await]);
    let request = request(&client, "A", "B", 20);
    let error = client.transfer(request, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ClientError::NoNode(_)), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn once_a_try_may_have_arrived_the_outcome_is_unknown_and_no_error() {
    let mut bank = Bank::new().await;
    let (told, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let home = bank.start("A", move |_| {
        told.send(()).unwrap();
        vec![Act::Close]
    });
    let client = client([&home.address]);
    let request = request(&client, "A", "B", 20);
    let dies = async {
        gone.recv().await.unwrap();
        drop(home);
    };
    let (outcome, ()) = futures_util::future::join(client.transfer(request, Duration::from_secs(2)), dies).await;
    assert!(matches!(&outcome, Ok(Outcome::Unknown(unknown)) if unknown.id == request.id), "{outcome:?}");
}

#[tokio::test]
async fn settled_means_that_the_height_is_known_and_the_deadline_ends_the_wait() {
    let mut bank = Bank::new().await;
    let mut count = 0;
    let a = bank.start("A", move |call| {
        assert!(matches!(call.ask, Ask::Transfers { wait: Wait::Settled, .. }));
        count += 1;
        vec![all(call, &approved("A", 1, (count > 2).then_some(7)))]
    });
    let b = bank.start("B", |call| vec![all(call, &approved("B", 4, None))]);
    let client = client([&a.address, &b.address]);
    let settled = |from| paxos_banking::ledger::Request { wait: Wait::Settled, ..request(&client, from, "C", 20) };
    let outcome = client.transfer(settled("A"), LONG).await.unwrap();
    assert!(matches!(outcome, Outcome::Approved(approval) if approval.height == Some(Height(7))), "{outcome:?}");
    assert_eq!(client.seen(), Height(7));
    let outcome = client.transfer(settled("B"), Duration::from_secs(2)).await.unwrap();
    let Outcome::Approved(approval) = outcome else { panic!("approved, not yet settled, but {outcome:?}") };
    assert_eq!((approval.seq, approval.height), (Seq(4), None));
    assert!(b.transfers().len() > 1);
}

#[tokio::test]
async fn refused_expired_and_conflict_are_final() {
    let mut bank = Bank::new().await;
    let refusal =
        || Reason::InsufficientFunds { height: Height(3), spendable: Amount::new(20), not_heard: [node("C")].into() };
    let mut count = 0;
    let home = bank.start("A", move |call| {
        count += 1;
        match count {
            1 => vec![all(call, &Answer::Refused(refusal()))],
            2 => vec![all(call, &Answer::Expired)],
            _ => vec![all(call, &Answer::Conflict)],
        }
    });
    let client = client([&home.address]);
    let request = request(&client, "A", "B", 90);
    assert_eq!(client.transfer(request, LONG).await.unwrap(), Outcome::Refused(refusal()));
    assert_eq!(client.seen(), Height(3));
    let outcome = client.transfer(request, LONG).await.unwrap();
    assert!(matches!(&outcome, Outcome::Unknown(unknown) if unknown.why == Why::Expired), "{outcome:?}");
    assert_eq!(client.transfer(request, LONG).await, Err(ClientError::Conflict(request.id)));
    assert_eq!(home.transfers().len(), 3);
}

#[tokio::test]
async fn a_batch_goes_to_each_home_and_only_what_is_undecided_goes_again() {
    let mut bank = Bank::new().await;
    let script = |origin: &'static str| {
        let mut first = true;
        move |call: &paxos_banking::wire::client::Call| {
            let Ask::Transfers { transfers, .. } = &call.ask else { panic!("transfers") };
            let answer = |(index, transfer): (u32, &Transfer)| {
                let units = transfer.3.units();
                let answer = match units % 3 {
                    0 if first => Answer::Busy,
                    1 => Answer::Refused(Reason::AmountZero),
                    _ => approved(origin, units, None),
                };
                paxos_banking::wire::client::Outcome::new(index, answer)
            };
            let mut outcomes: Vec<_> = (0..).zip(transfers).map(answer).collect();
            first = false;
            // Answers come in any order, in any number of replies.
            outcomes.reverse();
            let rest = outcomes.split_off(outcomes.len() / 2);
            vec![Act::Tell(Told::Outcomes(rest)), Act::Tell(Told::Outcomes(outcomes))]
        }
    };
    let (a, b) = (bank.start("A", script("A")), bank.start("B", script("B")));
    let client = client([&a.address, &b.address]);
    let transfer = |n: u64| {
        let (from, to) = if n.is_multiple_of(2) { ("A", "B") } else { ("B", "A") };
        Transfer(client.new_id(), from.parse().unwrap(), to.parse().unwrap(), Amount::new(n))
    };
    let batch: Vec<_> = (1..=24).map(transfer).collect();
    let results = client.transfers(&batch, Wait::Local, LONG).await;
    for (Transfer(_, from, _, amount), result) in batch.iter().zip(results) {
        match result.unwrap() {
            Outcome::Approved(approval) => {
                assert_eq!((approval.origin, approval.seq.0), (from.home(), amount.units()), "its own outcome");
            }
            outcome => assert!(amount.units() % 3 == 1 && outcome == Outcome::Refused(Reason::AmountZero)),
        }
    }
    for (home, name) in [(a, "A"), (b, "B")] {
        let calls = home.transfers();
        let of_home: Vec<_> = batch.iter().filter(|transfer| transfer.1.home() == node(name)).copied().collect();
        let busy: Vec<_> = of_home.iter().filter(|transfer| transfer.3.units() % 3 == 0).copied().collect();
        assert_eq!(calls, [of_home, busy]);
    }
}

#[tokio::test]
async fn ten_thousand_transfers_go_in_few_calls_and_each_gets_its_own_outcome() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |call| {
        let Ask::Transfers { transfers, .. } = &call.ask else { panic!("transfers") };
        let outcomes = (0..).zip(transfers).map(|(index, transfer)| {
            paxos_banking::wire::client::Outcome::new(index, approved("A", transfer.3.units(), None))
        });
        vec![Act::Tell(Told::Outcomes(outcomes.collect()))]
    });
    let client = client([&home.address]);
    let (from, to) = ("A".parse().unwrap(), "B".parse().unwrap());
    let batch: Vec<_> = (1..=10_000).map(|n| Transfer(client.new_id(), from, to, Amount::new(n))).collect();
    let results = client.transfers(&batch, Wait::Local, LONG).await;
    let seqs = results.into_iter().map(|result| match result.unwrap() {
        Outcome::Approved(approval) => approval.seq.0,
        outcome => panic!("{outcome:?}"),
    });
    assert!(seqs.eq(1..=10_000));
    assert_eq!(home.transfers().len(), 10);
    assert_eq!(home.transfers().concat(), batch, "in the order given");
}

#[tokio::test]
async fn all_clones_of_a_client_share_one_connection_to_each_node() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |call| vec![all(call, &approved("A", 1, None))]);
    let client = client([&home.address]);
    let transfers = (0..300).map(|_| {
        let client = client.clone();
        async move { client.transfer(request(&client, "A", "B", 1), LONG).await.unwrap() }
    });
    let outcomes = futures_util::future::join_all(transfers.map(tokio::spawn)).await;
    assert!(outcomes.into_iter().all(|outcome| matches!(outcome.unwrap(), Outcome::Approved(_))));
    assert_eq!((home.hellos(), home.transfers().len()), (1, 300));
}
