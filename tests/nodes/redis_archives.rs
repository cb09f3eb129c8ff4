//! A node whose settled blocks move out of its Redis, as its user runs it.

use paxos_banking::client::Status;
use tokio::time::{Instant, timeout};

use crate::bank::{Bank, NAMES, Stores};
use crate::crashes::many;
use crate::process::{PATIENCE, fails_to_start};

/// More than the entries between two checkpoints.
const TRANSFERS: usize = 260_000;

/// The lowest block in the Redis of A.
fn first(bank: &Bank) -> u64 {
    let id = bank.redis["A"].cli(&["--raw", "XRANGE", "SERVER-BLOCKCHAIN-A", "1-0", "+", "COUNT", "1"]);
    id.split('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_node_that_is_killed_between_copy_and_removal_goes_on_and_is_whole_with_its_archive_only() {
    let mut bank = Bank::prepared(Stores::Redis, 1_000_000).await;
    let directory = bank.store_directory("A").display().to_string();
    let without = bank.arguments("A");
    let with = |directory: &str| [&without[..], &["--archive".to_owned(), directory.to_owned()]].concat();
    bank.run_with("A", &with(&directory)).await;
    bank.run("B").await;
    bank.run("C").await;
    bank.all_ready().await;
    let redis = bank.redis["A"].address_tcp();

    // What is copied cannot be removed, and the node goes on.
    bank.redis["A"].cli(&["ACL", "SETUSER", "default", "-xdel"]);
    many(&bank, TRANSFERS).await;
    let told = timeout(PATIENCE, bank.nodes["A"].logged("blocks stay in the store that could leave it")).await;
    assert!(told.unwrap().to_string().contains("can't run this command"));
    assert_eq!(first(&bank), 1);
    bank.kill("A").await;
    bank.redis["A"].cli(&["ACL", "SETUSER", "default", "+xdel"]);
    bank.run_with("A", &with(&directory)).await;
    let began = Instant::now();
    while first(&bank) == 1 {
        assert!(began.elapsed() < PATIENCE, "{}", bank.nodes["A"].log());
        tokio::task::yield_now().await;
    }
    bank.all_ready().await;
    let height = bank.settled().await;
    let status: Status = bank.until("A", |_| true).await;
    assert_eq!((status.height, status.reason), (height, None));
    assert_eq!(bank.chain("A").await, bank.chain("B").await);
    assert_eq!(bank.json(&["verify"]).await.0, 0);

    for name in NAMES {
        bank.kill(name).await;
    }
    let (code, told) = bank.json(&["check", "--store", &redis, "--archive", &directory]).await;
    assert_eq!((code, told["nodes"]["A"]["height"].as_u64()), (0, Some(height.0)), "{told}");
    let (code, told) = bank.json(&["check", "--store", &redis]).await;
    assert!(code == 5 && told.to_string().contains("name its directory in --archive"), "{told}");
    let (code, log) = fails_to_start(&without).await;
    assert!(code == Some(2) && log.contains("name its directory in --archive"), "{log}");
    let (code, log) = fails_to_start(&with(&format!("{directory}-other"))).await;
    assert!(code == Some(5) && log.contains("restore its newest copy"), "{log}");
}

#[tokio::test]
async fn an_archive_for_a_store_that_is_no_redis_is_a_mistake_that_is_told_before_anything_is_started() {
    let arguments =
        ["--id", "A", "--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0", "--archive", "archive"];
    let arguments: Vec<String> = arguments.map(str::to_owned).into();
    let (code, log) = fails_to_start(&arguments).await;
    assert!(code == Some(2) && log.contains("only a Redis holds all blocks in memory"), "{log}");
    let memory = [&arguments[..], &["--store".to_owned(), "memory".to_owned()]].concat();
    assert_eq!(fails_to_start(&memory).await.0, Some(2));
    for command in [&["check", "--store", "redb:A"][..], &["config", "--id", "A", "--store", "redb:A"]] {
        let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"))
            .args(command)
            .args(["--archive", "archive"])
            .output();
        let output = timeout(PATIENCE, run).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
