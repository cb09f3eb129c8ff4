//! Nodes whose Redis has a disk that fails, is slow or is full, or too little memory, or is set otherwise while they run.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_banking::client::State;
use paxos_banking::ledger::Wait;
use tokio::time::timeout;

use crate::bank::{Bank, NAMES, Stores};
use crate::disk::FaultyDisk;
use crate::load::Load;
use crate::process::PATIENCE;
use crate::redis::RedisServer;

/// Whose disk fails, how, and what its server says.
type Fault = (&'static str, fn(&FaultyDisk), &'static str);

async fn on_faulty_disks(opening: u64) -> (Bank, BTreeMap<&'static str, FaultyDisk>) {
    let mut bank = Bank::prepared(Stores::Redis, opening).await;
    let disks: BTreeMap<_, _> = NAMES.into_iter().map(|name| (name, FaultyDisk::new())).collect();
    for (name, disk) in &disks {
        bank.redis.insert(name, RedisServer::start_in(&disk.environment()));
        bank.run(name).await;
    }
    bank.all_ready().await;
    (bank, disks)
}

#[tokio::test]
async fn r13_a_redis_whose_disk_fails_or_is_full_ends_and_nothing_told_is_lost() {
    let (bank, disks) = on_faulty_disks(100_000).await;
    let load = Load::start(&bank);
    let faults: [Fault; 2] = [
        ("A", FaultyDisk::fails_to_sync, "Can't persist AOF for fsync error"),
        ("B", FaultyDisk::is_full, "Can't recover from AOF write error"),
    ];
    for (victim, fault, said) in faults {
        load.goes_on(&NAMES, 5).await;
        fault(&disks[victim]);
        let redis = &bank.redis[victim];
        let ends = async {
            while !redis.has_ended() {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(PATIENCE, ends).await.is_ok(), "{}", redis.log());
        assert!(redis.log().contains(said), "{}", redis.log());
        bank.until(victim, |status| status.reason.is_some()).await;
        let others: Vec<_> = NAMES.into_iter().filter(|name| *name != victim).collect();
        load.goes_on(&others, 5).await;
        disks[victim].works();
        redis.restart();
        load.goes_on(&[victim], 5).await;
        bank.until(victim, |status| status.reason.is_none()).await;
    }
    load.check(&bank, 100_000).await;
}

#[tokio::test]
async fn r13_a_redis_that_syncs_slowly_makes_all_slower_and_nothing_wrong() {
    let (bank, disks) = on_faulty_disks(100_000).await;
    let load = Load::start(&bank);
    disks.values().for_each(|disk| disk.syncs_in(Duration::from_millis(200)));
    load.goes_on(&NAMES, 3).await;
    disks.values().for_each(FaultyDisk::works);
    disks["A"].syncs_in(Duration::from_secs(2));
    load.goes_on(&["B", "C"], 5).await;
    // An answer may wait for two writes, longer than the clients of the load wait for one before they ask again.
    for _ in 0..3 {
        load.approves_one(&bank, "A", "B").await;
    }
    let slow = bank.until("A", |status| status.state == State::Ready).await;
    assert_eq!(slow.reason, None, "it is slow, and answers");
    // Longer than a node waits for an answer.
    disks["A"].syncs_in(Duration::from_secs(7));
    let unanswered = bank.until("A", |status| status.reason.is_some()).await;
    assert!(unanswered.reason.unwrap().contains(&bank.redis["A"].address_tcp()), "its status tells");
    load.goes_on(&["B", "C"], 5).await;
    disks["A"].works();
    load.goes_on(&["A"], 5).await;
    bank.until("A", |status| status.reason.is_none()).await;
    load.check(&bank, 100_000).await;
}

#[tokio::test]
async fn r13_a_redis_out_of_memory_holds_its_node_up_and_nothing_told_is_lost() {
    let bank = Bank::start(Stores::Redis, 100_000).await;
    let load = Load::start(&bank);
    for victim in ["A", "C"] {
        load.goes_on(&NAMES, 5).await;
        bank.redis[victim].cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let full = bank.until(victim, |status| status.reason.is_some()).await;
        assert!(full.reason.unwrap().contains("OOM"), "its status tells");
        let others: Vec<_> = NAMES.into_iter().filter(|name| *name != victim).collect();
        load.goes_on(&others, 5).await;
        bank.redis[victim].cli(&["CONFIG", "SET", "maxmemory", "0"]);
        load.goes_on(&[victim], 5).await;
    }
    load.check(&bank, 100_000).await;
}

#[tokio::test]
async fn r13_a_redis_that_is_made_unsafe_under_its_node_stops_it_though_it_writes_nothing() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    let client = bank.client();
    for (victim, setting, unsafe_value, needed) in
        [("A", "appendfsync", "everysec", "always"), ("C", "appendonly", "no", "yes")]
    {
        bank.redis[victim].cli(&["CONFIG", "SET", setting, unsafe_value]);
        let stopped = bank.until(victim, |status| status.state == State::Stopped).await;
        let reason = stopped.reason.unwrap();
        assert!(reason.contains(&format!("{setting} is {unsafe_value}, and must be {needed}")), "{reason}");
        bank.approved(&client, "B", "A", 5, Wait::Settled).await;
        bank.kill(victim).await;
        bank.redis[victim].cli(&["CONFIG", "SET", setting, needed]);
        bank.run(victim).await;
        bank.all_ready().await;
        bank.approved(&client, victim, "B", 5, Wait::Settled).await;
    }
}
