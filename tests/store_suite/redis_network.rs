//! What only a server can do to a store: die, stand still, lose an answer, deliver a write late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use paxos_banking::effect::Record;
use paxos_banking::entropy::Entropy;
use paxos_banking::store::{Journal, Store, StoreError, Write, recover};
use paxos_banking::types::Seq;

use crate::bench::{Bench, dump};
use crate::proxy::{Mode, Proxy};
use crate::random::Dice;
use crate::redis_bench::{RedisBench, open};
use crate::redis_server::RedisServer;
use crate::script::*;

fn log(first: u64) -> Vec<Record> {
    vec![Record::Log { first: Seq(first), operations: vec![transfer(first.into(), "A", "B")] }]
}

fn journal(store: &mut dyn Store) -> Journal {
    recover(store, &options()).unwrap().journal
}

/// Lets the killer go where the test fails before its turn.
struct Release(Arc<AtomicU64>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Release);
    }
}

#[test]
fn r13_a_server_that_is_killed_at_any_moment_loses_nothing_acknowledged_and_repeats_nothing() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let (mut journal, mut model) = (journal(&mut store), Model::new());
    let mut dice = Dice(Entropy::from_seed(5));
    let (mut unanswered, mut done) = (0, 0);
    for round in 0..40 {
        // So many writes pass in peace; then the server is killed after a while of some microseconds.
        let (peaceful, delay) = (dice.roll(4), dice.roll(6_000));
        let begun = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (server, killer) = (&bench.server, begun.clone());
            let _release = Release(begun.clone());
            let killed = scope.spawn(move || {
                while killer.load(Ordering::Acquire) <= peaceful {
                    std::hint::spin_loop();
                }
                (0..delay * 50).for_each(|_| std::hint::spin_loop());
                server.kill();
            });
            loop {
                let mut records = Vec::new();
                for _ in 0..=dice.roll(4) {
                    let record = dice.record(&model);
                    model.apply(&record);
                    records.push(record);
                }
                let write = journal.write(records);
                begun.fetch_add(1, Ordering::Release);
                match store.write(&write) {
                    Ok(()) => continue,
                    Err(StoreError::Unknown(_)) => unanswered += 1,
                    Err(StoreError::NotWritten(_)) => {}
                    Err(other) => panic!("round {round}: {other}"),
                }
                done += usize::from(finish(&bench.server, killed, &mut store, &write));
                break;
            }
        });
        if round % 8 == 7 {
            assert_eq!(state(&mut *bench.open().unwrap()).unwrap(), model.state(), "round {round}");
            journal = self::journal(&mut store);
        }
    }
    println!("killed 40 times: {unanswered} writes without an answer, {done} of them done all the same");
    assert!(unanswered > 0);
}

/// The server comes back, and the write is repeated, identical; true where it was done already.
fn finish(
    server: &RedisServer,
    killed: std::thread::ScopedJoinHandle<'_, ()>,
    store: &mut dyn Store,
    write: &Write,
) -> bool {
    killed.join().unwrap();
    assert!(store.write(write).unwrap_err().may_be_retried(), "nobody is there");
    server.restart();
    let done = store.fields().unwrap().get("head") == write.fields["head"].as_ref();
    store.write(write).unwrap();
    done
}

#[test]
fn r13_a_write_whose_answer_was_lost_is_unknown_and_done_once() {
    let bench = RedisBench::new();
    let proxy = Proxy::start(bench.server.port());
    let mut store = open(&proxy.address());
    let mut journal = journal(&mut store);
    store.write(&journal.write(log(1))).unwrap();
    let write = journal.write(log(2));
    proxy.set(Mode::LoseAnswers);
    let error = store.write(&write).unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)), "{error}");
    let once = dump(&mut bench.redis());
    assert!(once.contains_key("log/2"), "it was done");
    // No answer to the handshake either: what was never sent is not unknown.
    assert!(matches!(store.write(&write), Err(StoreError::NotWritten(_))));
    assert!(matches!(store.fields(), Err(StoreError::Unread(_))));
    proxy.set(Mode::Pass);
    store.write(&write).unwrap();
    assert_eq!(dump(&mut store), once);
}

#[test]
fn r13_a_write_that_a_stalled_connection_delivers_late_changes_nothing() {
    let bench = RedisBench::new();
    let proxy = Proxy::start(bench.server.port());
    let (mut stalled, mut store) = (open(&proxy.address()), bench.redis());
    let mut journal = journal(&mut stalled);
    stalled.write(&journal.write(log(1))).unwrap();
    for newer_writes in 0..3 {
        let late = journal.write(log(journal.head().log_last.0 + 1));
        proxy.set(Mode::HoldRequests);
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| stalled.write(&late));
            proxy.holding();
            store.write(&late).unwrap();
            for _ in 0..newer_writes {
                store.write(&journal.write(log(journal.head().log_last.0 + 1))).unwrap();
            }
            let before = dump(&mut store);
            proxy.set(Mode::Pass);
            match answer.join().unwrap() {
                Ok(()) => assert_eq!(newer_writes, 0, "a repetition of the last write"),
                Err(StoreError::Stale { number, stored }) => assert_eq!(stored, number + newer_writes),
                Err(other) => panic!("{other}"),
            }
            assert_eq!(dump(&mut store), before);
        });
    }
}

#[test]
fn r13_an_epoch_that_a_stalled_connection_delivers_late_takes_the_store_from_nobody() {
    let bench = RedisBench::new();
    let proxy = Proxy::start(bench.server.port());
    let (mut stalled, mut store) = (open(&proxy.address()), bench.redis());
    stalled.take_epoch(1).unwrap();
    proxy.set_after(1, Mode::HoldRequests);
    std::thread::scope(|scope| {
        let late = scope.spawn(|| stalled.take_epoch(2));
        proxy.holding();
        let owner = store.take_epoch(3).unwrap();
        assert_eq!(owner.number, 2);
        proxy.set(Mode::Pass);
        // It was raised over that of the owner, not set beside it.
        assert_eq!(late.join().unwrap().unwrap().number, 3);
    });
}

#[test]
fn r13_an_epoch_whose_answer_was_lost_is_known_again_by_its_token() {
    let bench = RedisBench::new();
    let proxy = Proxy::start(bench.server.port());
    let mut store = open(&proxy.address());
    store.take_epoch(1).unwrap();
    proxy.set_after(1, Mode::LoseAnswers);
    assert!(matches!(store.take_epoch(2), Err(StoreError::Unknown(_))));
    proxy.set(Mode::Pass);
    assert_eq!(store.take_epoch(2).unwrap().number, 2, "the one that was set without an answer");
    assert_eq!(store.take_epoch(2).unwrap().number, 3, "and another start is another epoch");
}

#[test]
fn r13_a_server_that_stands_still_leaves_a_write_unknown_and_does_it_once_when_it_goes_on() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let mut journal = journal(&mut store);
    let write = journal.write(log(1));
    bench.server.stop();
    let error = store.write(&write).unwrap_err();
    bench.server.cont();
    assert!(matches!(error, StoreError::Unknown(_)), "{error}");
    store.write(&write).unwrap();
    store.write(&journal.write(log(2))).unwrap();
    assert_eq!(state(&mut store).unwrap().log.len(), 2);
}
