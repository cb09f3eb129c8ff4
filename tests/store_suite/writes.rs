//! What a write guarantees, and what a restart after it gives back.

use paxos_banking::effect::{Record, Slot};
use paxos_banking::paxos::SentBlock;
use paxos_banking::store::{
    Disk, Fault, Journal, RecoverOptions, Store, StoreError, Stream, Write, read_blocks, read_stored, recover,
};
use paxos_banking::types::{Amount, Epoch, Height, Incarnation, Seq};

use crate::bench::{Bench, dump, on_every_store};
use crate::script::*;

fn keys(store: &mut dyn Store) -> Vec<String> {
    dump(store).into_keys().collect()
}

fn log(first: u64, ids: std::ops::RangeInclusive<u128>) -> Record {
    Record::Log { first: Seq(first), operations: ids.map(|id| transfer(id, "A", "B")).collect() }
}

/// A store with three unsettled entries and a vote for a block of two of them.
fn voted(bench: &dyn Bench) -> (Box<dyn Store>, Journal, Record) {
    let mut store = bench.open().unwrap();
    let recovered = recover(&mut *store, &options()).unwrap();
    let mut journal = recovered.journal;
    let block = block(&recovered.home.bank, &[("A", &[transfer(1, "A", "B"), transfer(2, "A", "B")])]);
    store.write(&journal.write(vec![log(1, 1..=2)])).unwrap();
    let vote = Record::Accepted(Slot { ballot: ballot(1, "C"), block: block.clone() });
    store.write(&journal.write(vec![log(3, 3..=3), vote])).unwrap();
    (store, journal, Record::Block(block))
}

#[test]
fn a_new_store_is_created_once_with_its_incarnation() {
    on_every_store(|bench| {
        let first = recover(&mut *bench.open().unwrap(), &options()).unwrap();
        assert!(first.fresh && !first.admitted);
        let again = RecoverOptions { incarnation: Incarnation(1), token: 78, ..options() };
        let second = recover(&mut *bench.open().unwrap(), &again).unwrap();
        assert!(!second.fresh);
        assert_eq!(second.incarnation, INCARNATION);
        assert_eq!(
            (first.epoch, second.epoch),
            (Epoch { number: 1, token: 77 }, Epoch { number: 2, token: 78 }),
            "each start raises the epoch"
        );
        assert_eq!(State::of(&second), Model::new().state());
    });
}

#[test]
fn r8_one_write_appends_the_block_trims_the_log_and_clears_the_vote() {
    on_every_store(|bench| {
        let (mut store, mut journal, block) = voted(bench);
        assert_eq!(keys(&mut *store), ["chain/0", "epoch", "head", "identity", "log/2", "log/3", "slot"]);
        store.write(&journal.write(vec![block])).unwrap();
        assert_eq!(keys(&mut *store), ["chain/0", "chain/1", "epoch", "head", "identity", "log/3"]);
    });
}

#[test]
fn r8_a_write_that_does_not_fit_at_one_place_changes_nothing_at_any() {
    on_every_store(|bench| {
        let (mut store, mut journal, block) = voted(bench);
        let write = journal.write(vec![block, log(4, 4..=4)]);
        let before = dump(&mut *store);
        let mut unfit = write.clone();
        unfit.appends.last_mut().unwrap().after = Some(2);
        let conflict = StoreError::Conflict { key: "log/3".to_owned(), number: write.number };
        assert_eq!(store.write(&unfit), Err(conflict));
        assert_eq!(dump(&mut *store), before);
        store.write(&write).unwrap();
    });
}

#[test]
fn r8_a_restart_between_any_two_writes_gives_exactly_what_was_written() {
    on_every_store(|bench| {
        let mut model = Model::new();
        for (number, records) in script().into_iter().enumerate() {
            let mut store = bench.open().unwrap();
            let recovered = recover(&mut *store, &options()).unwrap();
            assert_eq!(State::of(&recovered), model.state(), "before write {number}");
            records.iter().for_each(|record| model.apply(record));
            let mut journal = recovered.journal;
            store.write(&journal.write(records)).unwrap();
        }
        assert_eq!(state(&mut *bench.open().unwrap()).unwrap(), model.state());
        assert_eq!(model.state(), end_of_script());
    });
}

#[test]
fn r8_any_grouping_of_the_records_gives_the_same_state() {
    on_every_store(|bench| {
        for group in [2, 3, 7, 100] {
            let bench = bench.fresh();
            let mut store = bench.open().unwrap();
            let mut journal = recover(&mut *store, &options()).unwrap().journal;
            let records: Vec<_> = script().into_iter().flatten().collect();
            for records in records.chunks(group) {
                store.write(&journal.write(records.to_vec())).unwrap();
            }
            assert_eq!(state(&mut *store).unwrap(), end_of_script(), "groups of {group}");
        }
    });
}

#[test]
fn r13_a_repeated_write_is_done_once() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        let mut journal = recover(&mut *store, &options()).unwrap().journal;
        for records in script() {
            let write = journal.write(records);
            store.write(&write).unwrap();
            let once = dump(&mut *store);
            store.write(&write).unwrap();
            assert_eq!(dump(&mut *store), once);
        }
        assert_eq!(state(&mut *store).unwrap(), end_of_script());
    });
}

#[test]
fn r13_a_repeated_write_with_another_content_is_a_conflict_and_changes_nothing() {
    on_every_store(|bench| {
        let (mut store, mut journal, block) = voted(bench);
        let peer = Record::Peer { node: node("B"), incarnation: Incarnation(1) };
        let write = journal.write(vec![block, log(4, 4..=4), peer]);
        store.write(&write).unwrap();
        let before = dump(&mut *store);
        let mut refuse = |key: &str, change: fn(&mut Write)| {
            let mut other = write.clone();
            change(&mut other);
            let conflict = StoreError::Conflict { key: key.to_owned(), number: write.number };
            assert_eq!(store.write(&other), Err(conflict));
            assert_eq!(dump(&mut *store), before);
        };
        refuse("chain/1", |write| write.appends[0].bytes.push(0));
        refuse("log/4", |write| write.appends[1].bytes[30] ^= 1);
        refuse("peer/B", |write| *write.fields.get_mut("peer/B").unwrap() = None);
        refuse("slot", |write| *write.fields.get_mut("slot").unwrap() = Some(vec![1]));
        refuse("head", |write| *write.fields.get_mut("head").unwrap() = Some(vec![1]));
        refuse("log/3", |write| write.trims[0].1 = 4);
    });
}

#[test]
fn r13_an_older_write_that_lands_late_changes_nothing_and_trims_nothing() {
    on_every_store(|bench| {
        let (mut store, mut journal, block) = voted(bench);
        let late = journal.write(vec![block]);
        store.write(&late).unwrap();
        let last = journal.write(vec![log(4, 4..=5)]);
        store.write(&last).unwrap();
        let before = dump(&mut *store);
        assert_eq!(store.write(&late), Err(StoreError::Stale { number: late.number, stored: last.number }));
        assert_eq!(dump(&mut *store), before);
        let _skipped = journal.write(vec![Record::Admitted]);
        let early = journal.write(vec![Record::Promise(ballot(9, "A"))]);
        assert!(matches!(store.write(&early), Err(StoreError::Conflict { key, .. }) if key == "head"));
        assert_eq!(dump(&mut *store), before);
    });
}

#[test]
fn r13_the_process_that_lost_the_store_writes_nothing_more() {
    on_every_store(|bench| {
        let old = recover(&mut *bench.open().unwrap(), &options()).unwrap();
        let mut store = bench.open().unwrap();
        let new = recover(&mut *store, &options()).unwrap();
        let (mut old, mut new) = (old.journal, new.journal);
        let before = dump(&mut *store);
        let late = old.write(vec![Record::Admitted]);
        assert_eq!(store.write(&late), Err(StoreError::Fenced));
        assert_eq!(dump(&mut *store), before);
        let write = new.write(vec![Record::Admitted]);
        store.write(&write).unwrap();
        assert_eq!(store.write(&Write { epoch: late.epoch, ..write }), Err(StoreError::Fenced), "a repetition as well");
    });
}

#[test]
fn r3_a_promise_never_falls() {
    on_every_store(|bench| {
        let (mut store, mut journal, block) = voted(bench);
        store.write(&journal.write(vec![Record::Promise(ballot(9, "B"))])).unwrap();
        store.write(&journal.write(vec![Record::Promise(ballot(4, "C")), block])).unwrap();
        let recovered = recover(&mut *store, &options()).unwrap();
        assert_eq!(recovered.promise, Some(ballot(9, "B")));
        let mut journal = recovered.journal;
        store.write(&journal.write(vec![Record::Promise(ballot(8, "A"))])).unwrap();
        assert_eq!(state(&mut *store).unwrap().promise, Some(ballot(9, "B")));
    });
}

#[test]
fn r8_a_vote_goes_with_the_block_of_its_height_and_stays_for_a_later_one() {
    on_every_store(|bench| {
        let (mut store, mut journal, first) = voted(bench);
        let Record::Block(first) = first else { unreachable!() };
        let mut bank = Model::new().bank;
        bank.advance(bank.check(&first).unwrap());
        let second = block(&bank, &[("B", &[transfer(50, "B", "C")])]);
        let later = Slot { ballot: ballot(2, "A"), block: second };
        let late = Slot { ballot: ballot(3, "A"), block: first.clone() };
        store.write(&journal.write(vec![Record::Accepted(later.clone())])).unwrap();
        store.write(&journal.write(vec![Record::Block(first), Record::Accepted(late)])).unwrap();
        let recovered = recover(&mut *store, &options()).unwrap();
        assert_eq!((recovered.slot, recovered.promise), (Some(later.clone()), Some(ballot(3, "A"))));
        let mut journal = recovered.journal;
        store.write(&journal.write(vec![Record::Block(later.block)])).unwrap();
        assert_eq!(recover(&mut *store, &options()).unwrap().slot, None);
    });
}

#[test]
fn r10_what_a_smaller_memory_forgets_at_start_is_durable_before_anybody_hears_of_it() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        let recovered = recover(&mut *store, &options()).unwrap();
        let (mut journal, bank) = (recovered.journal, recovered.home.bank);
        let entries: Vec<_> = (1..=60).map(|id| transfer(id, "A", "B")).collect();
        let block = block(&bank, &[("A", &entries)]);
        store.write(&journal.write(vec![log(1, 1..=60), Record::Block(block)])).unwrap();
        let small = RecoverOptions { ids_remembered_max: 20, ..options() };
        let horizon = recover(&mut *store, &small).unwrap().home.memory.horizon(Some(account("A")));
        assert!(horizon >= Some(40.into()), "{horizon:?}");
        let again = recover(&mut *store, &options()).unwrap();
        assert_eq!(again.home.memory.horizon(Some(account("A"))), horizon);
    });
}

#[test]
fn another_bank_or_another_nodes_store_is_refused_and_left_alone() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        run_script(&mut *store);
        let other_node = RecoverOptions { me: node("B"), ..options() };
        let richer = paxos_banking::ledger::Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(1));
        let other_bank = RecoverOptions { genesis: richer.unwrap(), ..options() };
        for options in [other_node, other_bank] {
            let before = dump(&mut *store);
            let error = recover(&mut *store, &options).unwrap_err();
            let StoreError::OtherBank { found_bank, expected_bank, .. } = &error else { panic!("{error}") };
            assert_eq!((*found_bank, *expected_bank), (genesis().id(), options.genesis.id()));
            let message = error.to_string();
            assert!(message.contains(&found_bank.to_string()) && message.contains(&expected_bank.to_string()));
            let mut after = dump(&mut *store);
            after.insert("epoch".to_owned(), before["epoch"].clone());
            assert_eq!(after, before);
        }
    });
}

#[test]
fn blocks_are_read_in_bounded_parts_that_follow_on_each_other() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        run_script(&mut *store);
        let mut heights = |from, to, bytes_max| -> Vec<u64> {
            let blocks = read_blocks(&mut *store, Height(from), Height(to), bytes_max).unwrap();
            let stored = read_stored(&mut *store, Height(from), Height(to), bytes_max).unwrap();
            assert_eq!(stored, blocks.iter().cloned().map(SentBlock::Known).collect::<Vec<_>>());
            assert!(stored.iter().zip(&blocks).all(|(stored, block)| stored.height() == block.height()));
            blocks.iter().map(|block| block.height().0).collect()
        };
        assert_eq!(heights(1, 3, usize::MAX), [1, 2, 3]);
        assert_eq!(heights(0, 2, usize::MAX), [1, 2], "genesis is no block");
        assert_eq!(heights(2, 3, 0), [2], "at least one");
        assert_eq!(heights(3, 2, usize::MAX), [0; 0]);
    });
}

#[test]
fn a_read_gives_at_least_one_record_and_none_after_its_bound_was_passed() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        run_script(&mut *store);
        let mut ids = |from, to, bytes_max| -> Vec<u64> {
            let records = store.read(Stream::Chain, from, to, bytes_max).unwrap();
            records.iter().map(|(id, _)| *id).collect()
        };
        assert_eq!(ids(0, u64::MAX, 0), [0]);
        assert_eq!(ids(1, 2, 1 << 20), [1, 2]);
        assert_eq!(ids(4, 9, 1 << 20), [0; 0]);
        assert_eq!(ids(2, 1, 1 << 20), [0; 0]);
    });
}

#[test]
fn r13_an_unknown_write_is_settled_by_repeating_it_whether_it_happened_or_not() {
    for fault in [Fault::NotWritten, Fault::UnknownDone, Fault::UnknownLost] {
        let disk = Disk::new();
        let mut store = disk.open();
        let mut journal = recover(&mut store, &options()).unwrap().journal;
        for records in script() {
            let write = journal.write(records);
            disk.fail_next(fault);
            assert!(store.write(&write).unwrap_err().may_be_retried());
            store.write(&write).unwrap();
        }
        assert_eq!(disk.writes(), script().len() as u64 + 1);
        assert_eq!(state(&mut store).unwrap(), end_of_script());
    }
}

#[test]
fn a_crash_takes_what_was_not_flushed_and_nothing_else() {
    for keep_unsynced in [false, true] {
        let disk = Disk::new();
        let mut store = disk.open();
        let mut journal = recover(&mut store, &options()).unwrap().journal;
        let mut model = Model::new();
        store.write(&journal.write(vec![Record::Admitted])).unwrap();
        model.apply(&Record::Admitted);
        let promise = Record::Promise(ballot(1, "A"));
        disk.apply(&journal.write(vec![promise.clone()])).unwrap();
        disk.crash(keep_unsynced);
        if keep_unsynced {
            model.apply(&promise);
        }
        assert_eq!(state(&mut store).unwrap(), model.state());
    }
}
