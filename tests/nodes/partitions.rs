//! A minority that is cut off.

use std::time::Duration;

use paxos_banking::client::{Outcome, ReadLevel};
use paxos_banking::ledger::{Request, Wait};
use paxos_banking::types::{Amount, Height};

use crate::bank::{Bank, Stores, account, node};
use crate::process::PATIENCE;
use crate::proxy::Way;

#[tokio::test]
async fn a_minority_that_is_cut_off_approves_alone_settles_nothing_and_catches_up() {
    for way in [Way::Cut, Way::Frozen] {
        let bank = Bank::start(Stores::Redb, 100).await;
        let client = bank.client();
        bank.approved(&client, "C", "A", 1, Wait::Settled).await;
        let before = bank.until("C", |status| status.log == Some(0)).await.height;
        bank.set_around("C", way);
        bank.until("C", |status| status.peers_up.is_empty()).await;
        bank.until("A", |status| !status.peers_up.contains(&node("C"))).await;

        let local = bank.approved(&client, "C", "A", 30, Wait::Local).await;
        let request = Request {
            id: client.new_id(),
            from: account("C"),
            to: account("B"),
            amount: Amount::new(9),
            wait: Wait::Settled,
        };
        let outcome = client.transfer(request, Duration::from_millis(700)).await.unwrap();
        let Outcome::Approved(unsettled) = outcome else { panic!("{outcome:?}") };
        assert_eq!((unsettled.seq.0, unsettled.height), (local.seq.0 + 1, None), "approved, not yet settled");
        // More than C can see: nobody may say no before a majority was heard.
        let short = Request { id: client.new_id(), amount: Amount::new(99), wait: Wait::Local, ..request };
        let outcome = client.transfer(short, Duration::from_millis(700)).await.unwrap();
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        let alone = bank.until("C", |_| true).await;
        assert_eq!(alone.height, before, "it settles nothing");
        assert!(alone.reason.unwrap().contains("no majority"), "and says so");

        for _ in 0..3 {
            bank.approved(&client, "A", "B", 5, Wait::Settled).await;
        }
        bank.set_around("C", Way::Open);
        bank.all_ready().await;
        let outcome = client.transfer(short, PATIENCE).await.unwrap();
        assert!(matches!(outcome, Outcome::Refused(_)), "the same id has its outcome now: {outcome:?}");
        let outcome = client.transfer(request, PATIENCE).await.unwrap();
        let Outcome::Approved(settled) = outcome else { panic!("{outcome:?}") };
        assert_eq!(settled.seq, unsettled.seq, "and the other is settled");
        assert!(settled.height > Some(before));
        bank.settled().await;
        let balance = client.balance(account("C"), ReadLevel::Fresh, PATIENCE).await.unwrap();
        assert_eq!(balance.told.settled, Amount::new(100 - 1 - 30 - 9));
        assert_eq!(balance.told.not_heard.len(), 0);
    }
}

#[tokio::test]
async fn a_refusal_names_the_node_that_was_not_heard() {
    let mut bank = Bank::start(Stores::Redb, 100).await;
    let client = bank.client();
    bank.kill("C").await;
    bank.until("A", |status| !status.peers_up.contains(&node("C"))).await;
    let outcome = bank.transfer(&client, "A", "B", 101, Wait::Local).await;
    let Outcome::Refused(paxos_banking::ledger::Reason::InsufficientFunds { height, spendable, not_heard }) = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((height, spendable, not_heard), (Height(0), Amount::new(100), [node("C")].into()));
}
