//! Nodes on Redis servers that fail.

use std::time::Duration;

use paxos_banking::client::{Outcome, Status};
use paxos_banking::ledger::{Request, Wait};
use paxos_banking::types::Amount;

use crate::bank::{Bank, NAMES, Stores, account};
use crate::load::Load;
use crate::process::{NodeProcess, PATIENCE, fails_to_start};
use crate::redis::RedisServer;

#[tokio::test]
async fn a_redis_is_killed_and_restarted_under_its_node_and_nothing_told_is_lost() {
    let bank = Bank::start(Stores::Redis, 1_000).await;
    let load = Load::start(&bank);
    for victim in NAMES {
        load.goes_on(&NAMES, 5).await;
        bank.redis[victim].kill();
        let others: Vec<_> = NAMES.into_iter().filter(|name| *name != victim).collect();
        load.goes_on(&others, 5).await;
        bank.redis[victim].restart();
        load.goes_on(&[victim], 5).await;
    }
    load.check(&bank, 1_000).await;
}

#[tokio::test]
async fn while_its_redis_is_gone_a_node_says_nothing_that_rests_on_it() {
    let bank = Bank::start(Stores::Redis, 100).await;
    let client = bank.client();
    bank.redis["A"].kill();
    let request = Request {
        id: client.new_id(),
        from: account("A"),
        to: account("B"),
        amount: Amount::new(5),
        wait: Wait::Local,
    };
    let outcome = client.transfer(request, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    let failing = bank.until("A", |status| status.reason.is_some()).await;
    assert!(failing.reason.unwrap().contains(&bank.redis["A"].address_tcp()), "its status tells");
    bank.redis["A"].restart();
    bank.until("A", |status| status.reason.is_none()).await;
    let outcome = client.transfer(request, PATIENCE).await.unwrap();
    assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
    bank.settled().await;
    let entries: usize = bank.chain("B").await.iter().map(|block| block.entry_count()).sum();
    assert_eq!(entries, 1);
}

#[tokio::test]
async fn a_redis_that_is_gone_is_told_of_though_nobody_writes() {
    let bank = Bank::start(Stores::Redis, 100).await;
    bank.settled().await;
    bank.redis["A"].kill();
    let told = |status: &Status| status.reason.as_ref().is_some_and(|told| told.contains("cannot write to its store"));
    bank.until("A", told).await;
    let (code, found) = bank.json(&["doctor"]).await;
    let checks = found["checks"].as_array().unwrap();
    let problems: Vec<_> = checks.iter().filter(|check| check["level"] == "problem").collect();
    assert!(code == 1 && problems.len() == 1 && problems[0]["subject"] == "node A", "{found}");
    bank.redis["A"].restart();
    bank.until("A", |status| status.reason.is_none()).await;
    assert_eq!(bank.json(&["doctor"]).await.0, 0);
}

#[tokio::test]
async fn a_second_signal_ends_a_node_at_once_whatever_its_redis_does() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    bank.redis["A"].stop();
    let client = bank.client_of("A");
    let (from, to, amount) = (account("A"), account("B"), Amount::new(5));
    let request = Request { id: client.new_id(), from, to, amount, wait: Wait::Local };
    // A client that waits for its answer keeps the node from stopping in order.
    let waiting = tokio::spawn(async move { client.transfer(request, PATIENCE).await });
    let node = bank.nodes.remove("A").unwrap();
    // Until the write is under way, the node has nothing to wait for.
    tokio::time::sleep(Duration::from_millis(500)).await;
    node.signal("-TERM");
    node.logged("once more ends this process at once").await;
    let began = tokio::time::Instant::now();
    let (status, log) = node.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(began.elapsed() < Duration::from_secs(2), "it waited for its store: {:?}\n{log}", began.elapsed());
    bank.redis["A"].cont();
    bank.run("A").await;
    assert!(matches!(waiting.await.unwrap(), Ok(Outcome::Approved(_))), "the same id, after the restart");
}

#[tokio::test]
async fn the_chain_is_there_for_redis_cli() {
    let bank = Bank::start(Stores::Redis, 100).await;
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
    bank.settled().await;
    for name in NAMES {
        let shown = bank.redis[name].cli(&["XRANGE", &format!("SERVER-BLOCKCHAIN-{name}"), "-", "+"]);
        assert!(shown.contains("0-1") && shown.contains("1-0"), "{shown}");
    }
}

fn alone(store: &str) -> Vec<String> {
    let arguments = ["--id", "A", "--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0", "--store", store];
    arguments.map(str::to_owned).into()
}

#[tokio::test]
async fn a_node_waits_for_its_redis_and_then_gives_up_with_what_to_do() {
    let redis = RedisServer::start();
    redis.kill();
    let (code, log) = fails_to_start(&alone(&redis.address_tcp())).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains(&redis.address_tcp()), "{log}");
    let arguments = alone(&redis.address_unix());
    let waits = tokio::spawn(async move { NodeProcess::start(&arguments, "info").await });
    redis.restart();
    let node = waits.await.unwrap();
    let (status, log) = node.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn a_redis_that_would_lose_acknowledged_writes_is_refused_by_the_name_of_its_setting() {
    let redis = RedisServer::start_with(&["--appendfsync", "everysec"]);
    let (code, log) = fails_to_start(&alone(&redis.address_tcp())).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("appendfsync"), "{log}");
}
