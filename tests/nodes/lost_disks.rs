//! Stores that are lost, go back, or are taken by somebody else (R11, R13).

use paxos_banking::client::State;
use paxos_banking::ledger::Wait;

use crate::bank::{Bank, Stores, node};

/// The node has stopped for good: it says so, serves nothing else, and fails when it is told to end.
async fn stopped_for_good(bank: &mut Bank, name: &'static str, why: &str) {
    let status = bank.until(name, |status| status.state == State::Stopped).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains(why), "{reason}");
    bank.nodes[name].logged(why).await;
    let (code, value) = bank.json(&["status"]).await;
    assert_eq!((code, value["nodes"][name]["state"].as_str()), (0, Some("stopped")), "{value}");
    let (status, log) = bank.nodes.remove(name).unwrap().terminate().await;
    assert_eq!(status.code(), Some(5), "{log}");
    assert!(log.contains(why), "{log}");
}

#[tokio::test]
async fn a_node_with_an_emptied_redis_stops_naming_the_lost_store_and_the_others_go_on() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    let client = bank.client();
    bank.approved(&client, "C", "A", 5, Wait::Settled).await;
    bank.kill("C").await;
    bank.redis["C"].flush_all();
    bank.run("C").await;
    stopped_for_good(&mut bank, "C", "the store was lost, or this is not the right one").await;
    bank.approved(&client, "A", "B", 5, Wait::Settled).await;
    let status = bank.until("A", |status| status.state == State::Ready).await;
    assert!(!status.peers_up.contains(&node("C")));
}

#[tokio::test]
async fn a_redis_that_is_emptied_under_a_running_node_stops_it() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    let client = bank.client();
    bank.redis["C"].flush_all();
    // C's next write finds out. Whatever it is, nobody hears that it was done.
    let short = std::time::Duration::from_secs(1);
    let request = paxos_banking::ledger::Request {
        id: client.new_id(),
        from: crate::bank::account("C"),
        to: crate::bank::account("A"),
        amount: paxos_banking::types::Amount::new(5),
        wait: Wait::Local,
    };
    let outcome = client.transfer(request, short).await;
    assert!(!matches!(outcome, Ok(paxos_banking::client::Outcome::Approved(_))), "{outcome:?}");
    stopped_for_good(&mut bank, "C", "this record is missing").await;
    bank.approved(&client, "A", "B", 5, Wait::Settled).await;
}

#[tokio::test]
async fn a_node_whose_files_are_gone_stops_and_before_the_first_block_is_told_that_all_may_be_wiped() {
    let mut bank = Bank::start(Stores::Redb, 100).await;
    bank.kill("B").await;
    std::fs::remove_dir_all(bank.store_directory("B")).unwrap();
    bank.run("B").await;
    stopped_for_good(&mut bank, "B", "No block is settled yet, as far as").await;
}

#[tokio::test]
async fn a_node_whose_store_went_back_stops() {
    let mut bank = Bank::start(Stores::Redb, 100).await;
    let client = bank.client();
    bank.approved(&client, "C", "A", 5, Wait::Settled).await;
    let (status, log) = bank.nodes.remove("C").unwrap().terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let (file, copy) = (bank.store_directory("C").join("C.redb"), bank.store_directory("C").join("backup"));
    std::fs::copy(&file, &copy).unwrap();
    bank.run("C").await;
    bank.ready("C").await;
    bank.approved(&client, "C", "A", 6, Wait::Settled).await;
    bank.kill("C").await;
    std::fs::copy(&copy, &file).unwrap();
    bank.run("C").await;
    stopped_for_good(&mut bank, "C", "the store went back").await;
    bank.approved(&client, "A", "B", 5, Wait::Settled).await;
}

#[tokio::test]
async fn a_second_process_on_the_same_redis_takes_over_and_the_older_one_stops() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    let client = bank.client();
    let older = bank.nodes.remove("C").unwrap();
    bank.run("C").await;
    older.logged("another process has taken this store").await;
    bank.ready("C").await;
    bank.approved(&client, "C", "A", 5, Wait::Settled).await;
    let (status, log) = older.terminate().await;
    assert_eq!(status.code(), Some(5), "{log}");
}
