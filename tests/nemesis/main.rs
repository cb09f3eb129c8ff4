//! Real processes, real sockets, real stores, and everything that can be done to them at once: what clients were told under
//! it is held against the bank by `paxbank check-history`.
//!
//! `NEMESIS_SECONDS` sets how long the faults go on, `NEMESIS_SEED` which come, and in which order; what real processes do
//! meanwhile is not repeated exactly. `NEMESIS_HISTORY` names a file to keep the history in.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "../nodes/bank.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod bank;
#[path = "../nodes/certificates.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod certificates;
#[path = "../nodes/process.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod process;
#[path = "../nodes/proxy.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod proxy;
#[path = "../common/redis.rs"]
mod redis;

mod clients;
mod faults;
mod shim;

use std::path::Path;
use std::time::Duration;

use paxos_banking::entropy::Entropy;
use serde_json::Value;

use bank::{Bank, NAMES};
use clients::{Heard, Town, Walker};
use faults::{ALL, Nemesis};
use shim::Shim;

/// Clients at work at once.
const CLIENTS: usize = 6;
/// Fewer approvals in a second than this, and the run shows nothing.
const APPROVED_PER_SECOND: u64 = 5;

fn number(variable: &str, default: u64) -> u64 {
    let parsed = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number"));
    std::env::var(variable).map_or(default, parsed)
}

#[tokio::test]
async fn what_clients_are_told_under_every_fault_is_what_the_bank_holds() {
    let (seconds, seed) = (number("NEMESIS_SECONDS", 20), number("NEMESIS_SEED", 1));
    println!("NEMESIS_SECONDS={seconds} NEMESIS_SEED={seed}");
    let mut entropy = Entropy::from_seed(seed);
    let shim = Shim::new();
    // At least one of each kind of store.
    let odd = NAMES[usize::try_from(entropy.below(3)).unwrap()];
    let one = entropy.below(2) == 0;
    let on_redis: Vec<&str> = NAMES.into_iter().filter(|name| (*name == odd) == one).collect();
    let mut bank = Bank::prepared_on(&on_redis, 1_000).await;
    bank.environment = NAMES.map(|name| (name, shim.environment(name))).into();
    for name in NAMES {
        bank.run(name).await;
    }
    bank.all_ready().await;

    let directory = tempfile::tempdir().unwrap();
    let history = std::env::var_os("NEMESIS_HISTORY").map_or(directory.path().join("history.jsonl"), Into::into);
    let town = Town::new(&history);
    let start = |index| {
        let walker = Walker::new(format!("c{index}"), town.clone(), bank.client(), entropy.split());
        tokio::spawn(walker.run())
    };
    let walkers: Vec<_> = (0..CLIENTS).map(start).collect();
    let mut nemesis = Nemesis::new(&mut bank, &shim, entropy);
    nemesis.rage(Duration::from_secs(seconds)).await;
    let (counts, ended) = (nemesis.counts.clone(), nemesis.ended);

    bank.all_ready().await;
    town.close();
    let mut heard = Heard::default();
    for walker in walkers {
        let mut walker = walker.await.unwrap();
        walker.finish().await;
        heard = sum(heard, walker.heard);
    }
    let height = bank.settled().await;
    town.flush();
    println!("{heard:?}, {height} blocks; {counts:?}; {ended} nodes ended by themselves, {on_redis:?} on a Redis");
    nothing_contradicts(&bank, &history).await;
    lies_are_noticed(&bank, &history).await;

    // A run in which little happened shows little: it does not count.
    for fault in ALL {
        assert!(counts.contains_key(&fault) && counts[&fault] > 0, "does not count: {fault:?} never happened");
    }
    let least = seconds * APPROVED_PER_SECOND;
    assert!(heard.approved >= least, "does not count: {} approved of {least}", heard.approved);
    assert!(heard.refused > 0 && heard.unknown > 0 && heard.repeated > 0 && heard.opened > 0, "{heard:?}");
    assert!(heard.reads >= seconds, "does not count: {heard:?}");
}

/// By the commands that users have.
async fn nothing_contradicts(bank: &Bank, history: &Path) {
    let file = history.to_str().unwrap();
    let (status, told) = bank.json(&["check-history", file, "--complete"]).await;
    assert_eq!(status, 0, "{file}: {told:#}");
    assert_eq!((&told["unknown"], &told["not_judged"]), (&Value::from(0), &Value::from(0)), "{told}");
    assert_eq!(told["approved"], told["settled"], "{told}");
    println!("{told}");
    let (status, told) = bank.json(&["verify"]).await;
    assert_eq!(status, 0, "{told}");
    assert_eq!(told["nodes"].as_object().unwrap().len(), 3, "{told}");
}

/// The same history with one lie, of several kinds: were these not noticed, the one above would show nothing.
async fn lies_are_noticed(bank: &Bank, history: &Path) {
    let text = std::fs::read_to_string(history).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let approved = |line: &&str| line.contains("\"approved\"") && line.contains("\"op\":\"transfer\"");
    let of = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    // One whose id is asked for once, so that the lie is nowhere contradicted in the history itself.
    let once = |line: &&str| lines.iter().filter(|other| other.contains(of(line)["id"].as_str().unwrap())).count() == 1;
    let index = lines.iter().position(|line| approved(line) && once(line)).expect("a transfer that was asked for once");
    let told = |change: &dyn Fn(&mut Value)| {
        let mut line = of(lines[index]);
        change(&mut line);
        Some(line.to_string())
    };
    let seq = of(lines[index])["seq"].as_u64().unwrap();
    let amount = of(lines[index])["amount"].as_u64().unwrap();
    let lies = [
        ("asked_for", None),
        ("approved_once", told(&|line| line["seq"] = (seq + 1).into())),
        ("approved_once", told(&|line| line["amount"] = (amount + 1).into())),
        ("told_height", told(&|line| line["height"] = 0.into())),
    ];
    let lied = history.with_extension("lie");
    for (rule, lie) in lies {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        match lie {
            Some(line) => changed[index] = line,
            None => drop(changed.remove(index)),
        }
        std::fs::write(&lied, changed.join("\n") + "\n").unwrap();
        let (status, told) = bank.json(&["check-history", lied.to_str().unwrap(), "--complete"]).await;
        let found = told["violations"].as_array().unwrap().iter().any(|violation| violation["code"] == rule);
        assert!(status == 5 && found, "{rule}: {status}, {told:#}");
    }
    std::fs::remove_file(lied).unwrap();
}

fn sum(one: Heard, other: Heard) -> Heard {
    Heard {
        approved: one.approved + other.approved,
        refused: one.refused + other.refused,
        unknown: one.unknown + other.unknown,
        reads: one.reads + other.reads,
        opened: one.opened + other.opened,
        repeated: one.repeated + other.repeated,
    }
}
