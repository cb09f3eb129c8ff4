//! No damage goes unnoticed: each is found when the store is loaded, and named (R13).

use paxos_banking::store::{StoreError, Stream, audit, read_blocks, read_stored, recover};
use paxos_banking::types::{Hasher, Height};

use crate::bench::{Bench, dump, on_every_store};
use crate::script::*;

/// Runs the script, closes the store, and names what it then holds.
fn filled(bench: &dyn Bench) -> Vec<String> {
    let mut store = bench.open().unwrap();
    run_script(&mut *store);
    dump(&mut *store).into_keys().collect()
}

/// Where a record is missing of which only the number is known, the error names its kind.
fn name_when_missing(key: &str) -> &str {
    match key {
        _ if key.starts_with("peer/") => "peer/*",
        _ if key.starts_with("horizon/") => "horizon/*",
        _ => key,
    }
}

#[track_caller]
fn expect_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str, why: &str) {
    match result {
        Err(StoreError::Corrupt { key, .. }) if key == expected => {}
        other => panic!("{why}: {expected} should be named, not {other:?}"),
    }
}

/// A start and a check must find the same.
fn load(bench: &dyn Bench) -> Result<State, StoreError> {
    let audited = audit(&mut *bench.open()?);
    let loaded = state(&mut *bench.open()?);
    assert_eq!(audited.is_ok(), loaded.is_ok(), "{audited:?}, {loaded:?}");
    loaded
}

#[test]
fn r13_every_flipped_byte_of_every_record_is_found_and_named() {
    on_every_store(|bench| {
        for key in filled(bench) {
            let intact = bench.get(&key).unwrap();
            for index in (0..intact.len()).step_by(bench.stride()) {
                let mut damaged = intact.clone();
                damaged[index] ^= 1 << (index % 8);
                bench.put(&key, Some(damaged));
                expect_corrupt(load(bench), &key, &format!("byte {index} flipped"));
                if let Some(height) = key.strip_prefix("chain/").and_then(|id| id.parse().ok()).filter(|id| *id > 0) {
                    let mut store = bench.open().unwrap();
                    expect_corrupt(read_blocks(&mut *store, Height(1), Height(3), 1 << 20), &key, "served");
                    expect_corrupt(read_blocks(&mut *store, Height(height), Height(3), 0), &key, "served");
                    expect_corrupt(read_stored(&mut *store, Height(1), Height(3), 1 << 20), &key, "sent on");
                }
            }
            bench.put(&key, Some(intact));
        }
        assert_eq!(load(bench).unwrap(), end_of_script(), "and what is put right again loads as before");
    });
}

#[test]
fn r13_every_cut_record_is_found_and_named() {
    on_every_store(|bench| {
        for key in filled(bench) {
            let intact = bench.get(&key).unwrap();
            for length in [0, 1, 15, 16, 17, 18, intact.len() - 1] {
                bench.put(&key, Some(intact[..length].to_vec()));
                expect_corrupt(load(bench), &key, &format!("cut to {length} bytes"));
            }
            bench.put(&key, Some(intact));
        }
    });
}

#[test]
fn r13_a_record_that_should_be_gone_is_found_and_named() {
    on_every_store(|bench| {
        filled(bench);
        for (key, like) in [("log/1", "log/7"), ("refused/1", "refused/2"), ("state/1", "state/2")] {
            bench.put(key, bench.get(like));
            expect_corrupt(load(bench), key, "left over from a write of which only a part is there");
            bench.put(key, None);
        }
        assert_eq!(load(bench).unwrap(), end_of_script());
    });
}

#[test]
fn r13_every_missing_record_is_found_and_named() {
    on_every_store(|bench| {
        let keys = filled(bench);
        assert_eq!(
            keys,
            [
                "chain/0",
                "chain/1",
                "chain/2",
                "chain/3",
                "epoch",
                "head",
                "horizon/",
                "horizon/A",
                "horizon/alice@A",
                "identity",
                "log/7",
                "log/8",
                "log/9",
                "peer/B",
                "peer/C",
                "refused/2",
                "refused/3",
                "slot",
                "state/2",
            ]
        );
        for key in keys {
            let intact = bench.get(&key).unwrap();
            bench.put(&key, None);
            expect_corrupt(load(bench), name_when_missing(&key), "missing");
            bench.put(&key, Some(intact));
        }
        assert_eq!(load(bench).unwrap(), end_of_script());
    });
}

#[test]
fn r13_the_lost_tail_of_each_stream_is_found_and_named() {
    on_every_store(|bench| {
        let keys = filled(bench);
        for stream in Stream::ALL {
            let prefix = format!("{}/", stream.name());
            let mut lost: Vec<_> = Vec::new();
            for key in keys.iter().rev().filter(|key| key.starts_with(&prefix)) {
                lost.push((key, bench.get(key)));
                bench.put(key, None);
                // Dense numbers name the first that is gone; of entries only the last one is known.
                let named = if stream == Stream::Log { "log/9" } else { key };
                expect_corrupt(load(bench), named, "tail lost");
            }
            lost.into_iter().for_each(|(key, bytes)| bench.put(key, bytes));
        }
        assert_eq!(load(bench).unwrap(), end_of_script());
    });
}

#[test]
fn r13_a_gap_in_what_is_served_is_found_and_named() {
    on_every_store(|bench| {
        filled(bench);
        bench.put("chain/2", None);
        let mut store = bench.open().unwrap();
        for from in [1, 2] {
            expect_corrupt(read_blocks(&mut *store, Height(from), Height(3), 1 << 20), "chain/2", "served");
            expect_corrupt(read_stored(&mut *store, Height(from), Height(3), 1 << 20), "chain/2", "sent on");
        }
    });
}

#[test]
fn r13_a_record_that_the_head_does_not_know_is_found_and_named() {
    on_every_store(|bench| {
        filled(bench);
        let streams = [("chain/4", "chain/3"), ("log/10", "log/9"), ("refused/4", "refused/3"), ("state/3", "state/2")];
        for (key, like) in streams.into_iter().chain([("extra", "slot")]) {
            bench.put(key, bench.get(like));
            expect_corrupt(load(bench), key, "unknown");
            bench.put(key, None);
        }
        let peer = bench.get("peer/B");
        bench.put("peer/D", peer);
        expect_corrupt(load(bench), "peer/D", "a record under another key");
    });
}

#[test]
fn r13_an_older_state_of_one_field_among_newer_ones_is_found() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        let mut journal = recover(&mut *store, &options()).unwrap().journal;
        let mut heads = Vec::new();
        for records in script() {
            heads.push(store.fields().unwrap()["head"].clone());
            store.write(&journal.write(records)).unwrap();
        }
        drop(store);
        for (number, head) in heads.into_iter().enumerate() {
            bench.put("head", Some(head));
            let error = load(bench).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "head before write {number}: {error}");
        }
    });
}

#[test]
fn r13_a_store_that_lost_its_fields_is_not_created_anew_over_the_rest() {
    on_every_store(|bench| {
        let keys = filled(bench);
        let (streams, fields): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| Stream::ALL.iter().any(|stream| key.starts_with(stream.name())));
        for key in fields.iter().filter(|key| *key != "epoch") {
            bench.put(key, None);
        }
        expect_corrupt(load(bench), "identity", "only streams and the epoch are left");
        for key in &streams[1..] {
            bench.put(key, None);
        }
        expect_corrupt(load(bench), "identity", "only genesis and the epoch are left");
        bench.put("epoch", None);
        expect_corrupt(load(bench), "epoch", "only genesis is left");
    });
}

#[test]
fn r13_a_stream_that_changed_under_a_running_process_is_not_written_to() {
    on_every_store(|bench| {
        let mut store = bench.open().unwrap();
        run_script(&mut *store);
        let mut journal = recover(&mut *store, &options()).unwrap().journal;
        drop(store);
        bench.put("log/9", None);
        let mut store = bench.open().unwrap();
        let before = dump(&mut *store);
        let operations = vec![transfer(10, "A", "B")];
        let first = paxos_banking::types::Seq(10);
        let write = journal.write(vec![paxos_banking::effect::Record::Log { first, operations }]);
        assert!(matches!(store.write(&write), Err(StoreError::Conflict { key, .. }) if key == "log/8"));
        assert_eq!(dump(&mut *store), before);
    });
}

#[test]
fn a_record_of_a_newer_format_is_refused_by_name() {
    on_every_store(|bench| {
        for key in filled(bench) {
            let intact = bench.get(&key).unwrap();
            let mut rest = intact[16..].to_vec();
            rest[0] += 1;
            let sum = Hasher::new("paxos-banking record").text(&key).bytes(&rest).finish();
            bench.put(&key, Some([&sum.as_bytes()[..16], &rest].concat()));
            let newer = StoreError::NewerFormat { key: key.clone(), found: 2, supported: 1 };
            assert_eq!(load(bench), Err(newer));
            bench.put(&key, Some(intact));
        }
    });
}
