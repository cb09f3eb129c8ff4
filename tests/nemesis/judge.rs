//! A run of clients under faults, and what counts as having withstood it.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt;
use paxos_banking::entropy::Entropy;
use serde_json::Value;

use crate::bank::Bank;
use crate::clients::{Heard, Town, Walker};
use crate::faults::{Faults, Nemesis};

/// Clients at work at once.
const CLIENTS: usize = 6;
/// Fewer approvals in a second than this, and the run shows nothing.
const APPROVED_PER_SECOND: u64 = 5;

/// How long a run is to be, and which.
pub struct Run {
    pub seconds: u64,
    pub seed: u64,
    /// Where to keep what clients heard.
    pub history: Option<PathBuf>,
}

impl Run {
    /// As the environment says, or else of so many seconds.
    pub fn wanted(seconds: u64) -> Self {
        let history = std::env::var_os("NEMESIS_HISTORY").map(PathBuf::from);
        let run = Self { seconds: number("NEMESIS_SECONDS", seconds), seed: number("NEMESIS_SEED", 1), history };
        println!("NEMESIS_SECONDS={} NEMESIS_SEED={}", run.seconds, run.seed);
        run
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let parsed = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number"));
    std::env::var(variable).map_or(default, parsed)
}

/// Clients at work on a bank whose nodes have just been started, until each fault had its turn; then all must come to rest,
/// and nothing that was told may contradict what is there.
pub async fn withstands<F: Faults>(faults: F, run: &Run, mut entropy: Entropy) -> F {
    faults.bank().all_ready().await;
    let directory = tempfile::tempdir().unwrap();
    let history = run.history.clone().unwrap_or_else(|| directory.path().join("history.jsonl"));
    let town = Town::new(&history);
    let start = |index| {
        let walker = Walker::new(format!("c{index}"), town.clone(), faults.bank().client(), entropy.split());
        tokio::spawn(walker.run())
    };
    let walkers: Vec<_> = (0..CLIENTS).map(start).collect();
    let mut nemesis = Nemesis::new(faults, entropy);
    let raged = caught(async {
        nemesis.rage(Duration::from_secs(run.seconds)).await;
        nemesis.faults.bank().all_ready().await;
    })
    .await;

    town.close();
    let mut done = Vec::new();
    for walker in walkers {
        done.push(walker.await.unwrap());
    }
    let (faults, counts) = (nemesis.faults, nemesis.counts);
    let bank = faults.bank();
    let rested = match raged {
        Ok(()) => caught(rest(bank, &mut done)).await,
        Err(panic) => Err(panic),
    };
    town.flush();
    let heard = done.iter().map(|walker| walker.heard).fold(Heard::default(), sum);
    println!("{heard:?}; {counts:?}");
    // A bank that does not come to rest may have told what is not so all the same.
    nothing_contradicts(bank, &history, rested.is_ok()).await;
    rested.unwrap_or_else(|panic| resume_unwind(panic));
    lies_are_noticed(bank, &history).await;
    counts_for_something::<F>(run, &counts, &heard);
    faults
}

async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    AssertUnwindSafe(work).catch_unwind().await
}

/// Every outcome becomes known, and everything is settled.
async fn rest(bank: &Bank, walkers: &mut [Walker]) {
    for walker in walkers {
        walker.finish().await;
    }
    println!("{} blocks", bank.settled().await);
}

/// A run in which little happened shows little: it does not count.
fn counts_for_something<F: Faults>(run: &Run, counts: &BTreeMap<F::Fault, u64>, heard: &Heard) {
    for fault in F::ALL {
        assert!(counts.get(fault).is_some_and(|count| *count > 0), "does not count: {fault:?} never happened");
    }
    let least = run.seconds * APPROVED_PER_SECOND;
    assert!(heard.approved >= least, "does not count: {} approved of {least}", heard.approved);
    let each = heard.refused > 0 && heard.unknown > 0 && heard.repeated > 0 && heard.opened > 0;
    assert!(each && heard.reads >= run.seconds, "does not count: {heard:?}");
}

/// By the commands that users have. What they name is said in one line, for whoever looks for that alone.
async fn nothing_contradicts(bank: &Bank, history: &Path, rested: bool) {
    let file = history.to_str().unwrap();
    let (status, told) = bank.json(&["check-history", file, "--complete"]).await;
    if let Some(violations) = told["violations"].as_array().filter(|violations| !violations.is_empty()) {
        let mut codes = BTreeMap::<&str, usize>::new();
        violations.iter().for_each(|violation| *codes.entry(violation["code"].as_str().unwrap()).or_default() += 1);
        panic!("check-history named {codes:?}, of these: {}", violations[0]);
    }
    assert_ne!(status, 5, "check-history named damage: {told}");
    let (verified, chains) = bank.json(&["verify"]).await;
    assert_ne!(verified, 5, "verify named damage: {chains}");
    println!("{told}");
    if rested {
        assert_eq!((status, verified), (0, 0), "{file}: {told:#}, {chains:#}");
        assert_eq!((&told["unknown"], &told["not_judged"]), (&Value::from(0), &Value::from(0)), "{told}");
        assert_eq!(told["approved"], told["settled"], "{told}");
        assert_eq!(chains["nodes"].as_object().unwrap().len(), 3, "{chains}");
    }
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
