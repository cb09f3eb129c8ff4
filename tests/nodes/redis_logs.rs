//! Redis servers that come back with less than they had: a log of changes that was cut, or an older copy of it. What a
//! peer has seen stops the node; what only its clients knew is lost without a trace, unless the peer has heard a process
//! that came after the copy. `REDIS_CUTS` sets how many, `REDIS_SEED` where.

use std::collections::BTreeMap;
use std::path::PathBuf;

use paxos_banking::client::{Client, State};
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::Wait;

use crate::bank::{Bank, Stores, node};

/// The files of a log by name.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn read(bank: &Bank) -> Files {
    let entries = std::fs::read_dir(bank.redis["C"].log_directory()).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// The file to which the server appends.
fn tail(files: &mut Files) -> &mut Vec<u8> {
    files.iter_mut().find(|(path, _)| path.to_str().unwrap().ends_with(".incr.aof")).unwrap().1
}

fn length(bank: &Bank) -> usize {
    tail(&mut read(bank)).len()
}

/// Kills C and its Redis, and starts both on these files.
async fn start_on(bank: &mut Bank, files: &Files) {
    bank.kill("C").await;
    bank.redis["C"].kill();
    files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    bank.redis["C"].restart();
    bank.run("C").await;
}

async fn stopped(bank: &Bank) {
    let status = bank.until("C", |status| status.state == State::Stopped).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains("the store went back"), "{reason}");
}

/// Starts it on the newest store again. Peers have heard the process on the older one, and each start raises the epoch.
async fn mended(bank: &mut Bank, newest: &Files) {
    start_on(bank, newest).await;
    loop {
        let met = |state| state == State::Stopped || state == State::Ready;
        let status =
            bank.until("C", |status| met(status.state) && (status.peers_up.len() == 2 || status.reason.is_some()));
        if status.await.state == State::Ready {
            return;
        }
        bank.kill("C").await;
        bank.run("C").await;
    }
}

/// C approves three transfers, which are settled, then two of which no peer hears: their seqs, and how long its log is
/// after each of the latter. Returns how long it was when two were approved, and when the block was there.
async fn approved_and_settled(bank: &Bank, client: &Client, told: &mut Vec<(u64, usize)>) -> (usize, usize) {
    for _ in 0..2 {
        told.push((bank.approved(client, "C", "A", 1, Wait::Local).await.seq.0, 0));
    }
    let logged = length(bank);
    told.push((bank.approved(client, "C", "A", 1, Wait::Settled).await.seq.0, 0));
    let height = bank.until("A", |status| status.peers_up.len() == 2).await.height;
    bank.until("C", |status| status.height >= height).await;
    let witnessed = length(bank);
    for _ in 0..2 {
        let seq = bank.approved(client, "C", "B", 1, Wait::Local).await.seq.0;
        told.push((seq, length(bank)));
    }
    (logged, witnessed)
}

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test]
async fn r13_a_log_that_was_cut_stops_its_node_where_a_peer_has_seen_more_and_loses_only_what_no_peer_has_seen() {
    let mut bank = Bank::start(Stores::Redis, 10_000).await;
    let client = bank.client();
    let mut entropy = Entropy::from_seed(number_from("REDIS_SEED", 1));
    let mut told: Vec<(u64, usize)> = Vec::new();
    let (mut found, mut lost) = (0, 0);
    for _ in 0..number_from("REDIS_CUTS", 4) {
        let before = length(&bank);
        let (logged, witnessed) = approved_and_settled(&bank, &client, &mut told).await;
        let newest = read(&bank);
        // Before the last entry that the block holds was whole, or after all had the block. In between it depends on
        // what C had said of itself by then.
        let range = logged - before + length(&bank) - witnessed;
        let at = before + usize::try_from(entropy.below(range as u64)).unwrap();
        let at = if at < logged { at } else { at - logged + witnessed };
        let mut cut = newest.clone();
        tail(&mut cut).truncate(at);
        start_on(&mut bank, &cut).await;
        if at >= witnessed {
            bank.all_ready().await;
            told.retain(|(_, length)| *length <= at);
            lost += 1;
        } else {
            stopped(&bank).await;
            bank.approved(&client, "A", "B", 1, Wait::Settled).await;
            mended(&mut bank, &newest).await;
            found += 1;
        }
        bank.settled().await;
        let blocks = bank.chain("A").await;
        let runs = blocks.iter().filter_map(|block| block.run_of(node("C")));
        let there: Vec<u64> = runs.flat_map(|run| run.entries().map(|entry| entry.seq.0).collect::<Vec<_>>()).collect();
        let expected: Vec<u64> = told.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(there, expected, "cut at {at}: {before}, {logged}, {witnessed}");
        told.iter_mut().for_each(|(_, length)| *length = 0);
        let verified = bank.paxbank(&["verify"]).await;
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    println!("{found} found by peers, {lost} where only approvals were lost that no peer had seen");
}

#[tokio::test]
async fn r13_an_older_copy_of_a_log_is_found_by_the_process_that_peers_heard_since() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    let client = bank.client();
    let older = read(&bank);
    bank.kill("C").await;
    bank.run("C").await;
    bank.all_ready().await;
    // No peer hears of this approval.
    bank.approved(&client, "C", "A", 5, Wait::Local).await;
    let newest = read(&bank);
    start_on(&mut bank, &older).await;
    stopped(&bank).await;
    mended(&mut bank, &newest).await;
    bank.settled().await;
    let entries: usize = bank.chain("A").await.iter().map(|block| block.entry_count()).sum();
    assert_eq!(entries, 1, "the approval is there");
}
