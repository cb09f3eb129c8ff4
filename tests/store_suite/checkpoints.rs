//! A start begins with the last checkpoint, and believes it no more than anything else.

use paxos_banking::effect::Record;
use paxos_banking::ledger::Checkpoint;
use paxos_banking::store::record::{self, Kind};
use paxos_banking::store::{StoreError, audit, read_blocks, recover};
use paxos_banking::types::{Amount, Hash, Height, Seq};

use crate::bench::{Bench, on_every_store};
use crate::script::*;

/// The key of the one part of the checkpoint in [`filled`].
const PART: &str = "state/1";

/// Five blocks, with a checkpoint at the fourth that leaves the entries of the last two of the four to the blocks.
fn filled(bench: &dyn Bench) -> State {
    let mut store = bench.open().unwrap();
    let (mut journal, mut model) = (recover(&mut *store, &options()).unwrap().journal, Model::new());
    let mut write = |model: &mut Model, record: Record| {
        model.apply(&record);
        store.write(&journal.write(vec![record])).unwrap();
    };
    for height in 1..=5_u64 {
        let seqs = [2 * height - 1, 2 * height];
        let operations = seqs.map(|seq| transfer(u128::from(seq), "A", "B")).to_vec();
        write(&mut model, Record::Log { first: Seq(seqs[0]), operations });
        let next = block(&model.bank, &[("A", model.unsettled()), ("B", &[transfer(u128::from(height), "B", "C")])]);
        write(&mut model, Record::Block(next));
        if height == 4 {
            let checkpoint = model.checkpoint(Seq(5), 100);
            write(&mut model, checkpoint);
        }
    }
    model.state()
}

fn forge(bench: &dyn Bench, change: impl FnOnce(&mut Checkpoint)) {
    let mut checkpoint = record::decode(PART, Kind::Checkpoint, &bench.get(PART).unwrap()).unwrap();
    change(&mut checkpoint);
    bench.put(PART, Some(record::encode(PART, Kind::Checkpoint, &checkpoint)));
}

#[track_caller]
fn expect_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str) {
    match result {
        Err(StoreError::Corrupt { key, .. }) if key == expected => {}
        other => panic!("{expected} should be named, not {other:?}"),
    }
}

#[test]
fn a_start_needs_no_block_below_the_tail_and_whoever_reads_one_still_finds_it_missing() {
    on_every_store(|bench| {
        let expected = filled(bench);
        for key in ["chain/1", "chain/2"] {
            let intact = bench.get(key);
            bench.put(key, None);
            let mut store = bench.open().unwrap();
            assert_eq!(state(&mut *store).unwrap(), expected);
            expect_corrupt(audit(&mut *store), key);
            expect_corrupt(read_blocks(&mut *store, Height(1), Height(5), 1 << 20), key);
            drop(store);
            bench.put(key, intact);
        }
        for key in ["chain/3", "chain/4", "chain/5"] {
            let intact = bench.get(key);
            bench.put(key, None);
            expect_corrupt(state(&mut *bench.open().unwrap()), key);
            bench.put(key, intact);
        }
        assert_eq!(state(&mut *bench.open().unwrap()).unwrap(), expected);
    });
}

#[test]
fn r13_a_forged_checkpoint_that_cannot_be_is_named_by_a_start() {
    on_every_store(|bench| {
        filled(bench);
        let intact = bench.get(PART);
        let forged = |change: fn(&mut Checkpoint), named: &str| {
            forge(bench, change);
            expect_corrupt(state(&mut *bench.open().unwrap()), named);
            bench.put(PART, intact.clone());
        };
        forged(|found| found.balances[0].1 = Amount::new(1), PART);
        forged(|found| found.at.height = Height(3), PART);
        forged(|found| found.at.tail = Height(9), PART);
        forged(|found| found.at.tip = Hash::ZERO, "chain/4");
        forged(|found| found.at.state = Hash::ZERO, "chain/5");
        forged(|found| found.at.watermarks.values_mut().for_each(|seq| *seq = Seq(1)), "chain/3");
    });
}

#[test]
fn r13_a_forged_checkpoint_that_could_be_is_named_by_a_check() {
    on_every_store(|bench| {
        filled(bench);
        let intact = bench.get(PART);
        let forged = |change: fn(&mut Checkpoint)| {
            forge(bench, change);
            expect_corrupt(audit(&mut *bench.open().unwrap()), PART);
            bench.put(PART, intact.clone());
        };
        let moved = |found: &mut Checkpoint| {
            let [from, to, ..] = &mut found.balances[..] else { panic!("a bank of three accounts") };
            from.1 = from.1.checked_sub(Amount::new(1)).unwrap();
            to.1 = to.1.checked_add(Amount::new(1)).unwrap();
        };
        forged(moved);
        forged(|found| found.approvals.truncate(3));
        forged(|found| found.approvals[0].1 = transfer(1, "A", "C"));
        forged(|found| found.settled[0].1 = Height(2));
        assert!(audit(&mut *bench.open().unwrap()).is_ok());
    });
}
