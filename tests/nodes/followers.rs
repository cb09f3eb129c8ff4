//! Whoever reads a bank along: blocks as they come, chains as files, and the doctor, with nodes that are killed.

use std::process::Stdio;

use paxos_banking::ledger::Wait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::bank::{Bank, NAMES, Stores};
use crate::process::PATIENCE;

#[tokio::test]
async fn blocks_are_followed_through_a_kill_of_every_node_and_each_comes_once() {
    let mut bank = Bank::start(Stores::Redb, 1_000).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(["follow", "--from", "1", "--every", "20ms"]).env("PAXBANK_NODES", bank.addresses());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut followed: Vec<Value> = Vec::new();
    let client = bank.client();
    for (from, to, killed) in [("A", "B", "C"), ("B", "C", "A"), ("C", "A", "B")] {
        bank.kill(killed).await;
        let told = bank.approved(&client, from, to, 5, Wait::Settled).await;
        let height = told.height.unwrap().0;
        while followed.len() < usize::try_from(height).unwrap() {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it comes in bounded time").unwrap().unwrap();
            followed.push(serde_json::from_str(&line).unwrap());
        }
        bank.run(killed).await;
        bank.all_ready().await;
    }
    // All at once, too.
    for name in NAMES {
        bank.kill(name).await;
    }
    for name in NAMES {
        bank.run(name).await;
    }
    bank.all_ready().await;
    bank.approved(&client, "A", "C", 5, Wait::Settled).await;
    let height = usize::try_from(bank.settled().await.0).unwrap();
    while followed.len() < height {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it comes in bounded time").unwrap().unwrap();
        followed.push(serde_json::from_str(&line).unwrap());
    }
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
    assert_eq!(lines.next_line().await.unwrap(), None);
    let (_, chain) = bank.json(&["chain", "--from", "1"]).await;
    assert_eq!(json!(followed), chain["blocks"]);
}

#[tokio::test]
async fn an_exported_chain_is_that_of_the_nodes_and_damage_to_it_is_named_by_its_line() {
    let bank = Bank::start(Stores::Redb, 1_000).await;
    let client = bank.client();
    for amount in 1..=3 {
        bank.approved(&client, "A", "B", amount, Wait::Settled).await;
    }
    let (code, _) = bank.json(&["open", "alice@C"]).await;
    assert_eq!(code, 0);
    let height = bank.settled().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.jsonl");
    let file = path.to_str().unwrap();
    let (code, told) = bank.json(&["export", file]).await;
    assert_eq!((code, &told["height"]), (0, &json!(height)), "{told}");
    let (code, told) = bank.json(&["import", file, "--compare"]).await;
    assert_eq!((code, &told["settled"]["alice@C"], &told["total"]), (0, &json!(0), &json!(3_000)), "{told}");
    for name in NAMES {
        assert_eq!(told["nodes"][name], json!({ "chain": "equal" }), "{told}");
    }
    bank.approved(&client, "B", "C", 1, Wait::Settled).await;
    bank.settled().await;
    let (code, told) = bank.json(&["import", file, "--compare"]).await;
    assert_eq!((code, &told["nodes"]["B"]["chain"]), (0, &json!("longer")), "{told}");

    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"amount\":2}", "\"amount\":200}", 1)).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("\"amount\":2}")).unwrap();
    let (code, told) = bank.json(&["import", file]).await;
    let message = told["error"]["message"].as_str().unwrap();
    assert!(code == 5 && message.contains(&format!("bank.jsonl, line {line}: ")), "{message}");
}

#[tokio::test]
async fn the_doctor_takes_no_store_from_a_node_and_finds_what_keeps_one_from_starting() {
    let mut bank = Bank::start(Stores::Redb, 100).await;
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
    let store = format!("redb:{}", bank.store_directory("A").display());
    let about_file = |told: &Value| {
        let checks = told["checks"].as_array().unwrap();
        let of_file = |check: &&Value| check["subject"].as_str().unwrap().ends_with("A.redb");
        checks.iter().filter(of_file).map(|check| check["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (code, told) = bank.json(&["doctor", "--store", &store]).await;
    assert_eq!((code, &told["problems"]), (0, &json!(0)), "{told}");
    assert!(about_file(&told).concat().contains("in use by another process"), "{told}");
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
    bank.kill("A").await;
    let (code, told) = bank.json(&["doctor", "--store", &store]).await;
    assert_eq!(code, 1, "A is away: {told}");
    assert!(about_file(&told).concat().contains("intact, node A of bank "), "{told}");
    bank.run("A").await;
    bank.all_ready().await;

    let bank = Bank::start(Stores::Redis, 100).await;
    let address = bank.redis["A"].address_tcp();
    let (code, told) = bank.json(&["doctor", "--store", &address]).await;
    assert_eq!((code, &told["problems"]), (0, &json!(0)), "{told}");
    bank.redis["A"].cli(&["CONFIG", "SET", "appendfsync", "everysec"]);
    bank.redis["A"].cli(&["CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"]);
    let (code, told) = bank.json(&["doctor", "--store", &address]).await;
    assert_eq!((code, &told["problems"]), (1, &json!(2)), "each setting is named: {told}");
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
}
