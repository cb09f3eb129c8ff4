//! What somebody with `redis-cli` can do to a store, and a server that is full: it is refused by name, and nothing is
//! changed.

use std::collections::BTreeMap;

use paxos_banking::effect::{Record, Slot};
use paxos_banking::store::{Journal, Store, StoreError, Stream, read_blocks, recover};
use paxos_banking::types::{Height, Seq};
use redis::cmd;

use crate::bench::{Bench, dump};
use crate::redis_bench::RedisBench;
use crate::script::*;

fn log(first: u64) -> Vec<Record> {
    vec![Record::Log { first: Seq(first), operations: vec![transfer(first.into(), "A", "B")] }]
}

/// At the end of the script, with a journal that goes on.
fn at_end_of_script(bench: &RedisBench) -> (impl Store + use<>, Journal) {
    let mut store = bench.redis();
    run_script(&mut store);
    let journal = recover(&mut store, &options()).unwrap().journal;
    (store, journal)
}

type Image = ([Option<Vec<u8>>; 4], BTreeMap<Vec<u8>, Vec<u8>>);

/// Everything in the server: the streams with their last-generated ids and all, and the fields.
fn image(bench: &RedisBench) -> Image {
    let mut connection = bench.server.connection();
    let streams = ["SERVER-BLOCKCHAIN-A", "SERVER-LOG-A", "SERVER-REFUSED-A", "SERVER-STATE-A"];
    let dumped = streams.map(|key| cmd("DUMP").arg(key).query(&mut connection).unwrap());
    // A hash has no order that lasts.
    (dumped, cmd("HGETALL").arg("SERVER-PAXOS-A").query(&mut connection).unwrap_or_default())
}

#[track_caller]
fn expect_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &str) {
    match result {
        Err(StoreError::Corrupt { key, .. }) if key == expected => {}
        other => panic!("{expected} should be named, not {other:?}"),
    }
}

fn is_number(text: &&str) -> bool {
    text.parse::<u64>().is_ok()
}

#[test]
fn the_keys_show_the_chain_and_the_log_to_anybody_with_redis_cli() {
    let bench = RedisBench::new();
    at_end_of_script(&bench);
    let ids = |key: &str| -> Vec<String> {
        let shown = bench.server.cli(&["XRANGE", key, "-", "+"]);
        let lines: Vec<_> = shown.lines().collect();
        let is_id = |line: &str| line.split_once('-').is_some_and(|(id, rest)| [id, rest].iter().all(is_number));
        let ids = lines.windows(2).filter(|pair| is_id(pair[0]) && pair[1] == "record");
        ids.map(|pair| pair[0].to_owned()).collect()
    };
    assert_eq!(ids("SERVER-BLOCKCHAIN-A"), ["0-1", "1-0", "2-0", "3-0"]);
    assert_eq!(ids("SERVER-LOG-A"), ["7-0", "8-0", "9-0"]);
    assert_eq!(ids("SERVER-REFUSED-A"), ["2-0", "3-0"]);
    let mut fields: Vec<_> = bench.server.cli(&["HKEYS", "SERVER-PAXOS-A"]).lines().map(str::to_owned).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["epoch", "head", "horizon/", "horizon/A", "horizon/alice@A", "identity", "peer/B", "peer/C", "slot"]
    );
}

#[test]
fn nodes_of_any_name_share_a_database() {
    let bench = RedisBench::new();
    let (mut a, mut of_a) = at_end_of_script(&bench);
    let before = dump(&mut a);
    let address = bench.server.address_tcp();
    let open = |name: &str| {
        let mut store = paxos_banking::store::RedisStore::open(address.parse().unwrap(), node(name)).unwrap();
        let options = paxos_banking::store::RecoverOptions { me: node(name), ..options() };
        assert!(recover(&mut store, &options).unwrap().fresh);
    };
    open("B");
    open("C");
    assert_eq!(dump(&mut a), before);
    a.write(&of_a.write(log(10))).unwrap();
    let nodes = paxos_banking::store::RedisStore::nodes(&address.parse().unwrap()).unwrap();
    assert_eq!(nodes, ["A", "B", "C"].map(node));
}

#[test]
fn ids_beyond_what_lua_can_count_are_kept_apart() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    let mut write = journal.write(log(10));
    // Two to the power of 53 and the number after it are the same number of Lua.
    for (after, id) in [(Some(9), (1 << 53) + 1), (Some((1 << 53) + 1), u64::MAX)] {
        let append = &mut write.appends[0];
        (append.after, append.id) = (after.map(|after| if after == 9 { 9 } else { after - 1 }), id);
        if after != Some(9) {
            let conflict = StoreError::Conflict { key: "log/9007199254740993".to_owned(), number: write.number };
            assert_eq!(store.write(&write), Err(conflict), "it ends one later");
        }
        write.appends[0].after = after;
        store.write(&write).unwrap();
        store.write(&write).unwrap();
        let mut next = journal.write(log(journal.head().log_last.0 + 1));
        next.head_before = write.fields["head"].clone();
        write = next;
    }
    let ids = store.read(Stream::Log, 10, u64::MAX, usize::MAX).unwrap().into_iter().map(|(id, _)| id);
    assert_eq!(ids.collect::<Vec<_>>(), [(1 << 53) + 1, u64::MAX]);
}

#[test]
fn r13_the_older_of_two_processes_is_fenced_and_changes_nothing() {
    let bench = RedisBench::new();
    let (mut old, mut of_old) = at_end_of_script(&bench);
    let mut new = bench.redis();
    let mut of_new = recover(&mut new, &options()).unwrap().journal;
    new.write(&of_new.write(log(10))).unwrap();
    let before = image(&bench);
    assert_eq!(old.write(&of_old.write(log(10))), Err(StoreError::Fenced));
    assert_eq!(image(&bench), before);
    new.write(&of_new.write(log(11))).unwrap();
}

#[test]
fn r13_another_value_under_an_id_is_a_conflict_and_nothing_is_trimmed() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    let bank = recover(&mut bench.redis(), &options()).unwrap();
    let own = &bank.home.log[..2];
    let block = block(&bank.home.bank, &[("A", own)]);
    let mut journal_of_new = bank.journal;
    assert_eq!(store.write(&journal.write(log(10))), Err(StoreError::Fenced));
    let foreign = bench.server.cli(&["XADD", "SERVER-BLOCKCHAIN-A", "4-0", "record", "something else"]);
    assert_eq!(foreign, "4-0");
    let before = image(&bench);
    let write = journal_of_new.write(vec![Record::Block(block)]);
    assert!(!write.trims.is_empty());
    let conflict = StoreError::Conflict { key: "chain/4".to_owned(), number: write.number };
    assert_eq!(store.write(&write), Err(conflict));
    assert_eq!(image(&bench), before);
}

#[test]
fn r13_an_id_that_was_used_and_removed_is_a_conflict_and_changes_nothing() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    let write = journal.write(log(10));
    bench.server.cli(&["XADD", "SERVER-LOG-A", "10-7", "record", "gone"]);
    bench.server.cli(&["XDEL", "SERVER-LOG-A", "10-7"]);
    let before = image(&bench);
    let conflict = StoreError::Conflict { key: "log/10".to_owned(), number: write.number };
    assert_eq!(store.write(&write), Err(conflict));
    assert_eq!(image(&bench), before);
    // Where the stream itself was not touched, the same write goes on.
    bench.server.cli(&["XSETID", "SERVER-LOG-A", "9-0"]);
    store.write(&write).unwrap();
}

#[test]
fn r13_a_foreign_entry_is_named_and_nothing_is_written_after_it() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    let write = journal.write(log(10));
    let add = |key: &str, id: &str, fields: &[&str]| {
        bench.server.cli(&[&["XADD", key, id], fields].concat());
    };
    add("SERVER-LOG-A", "9-3", &["record", "odd id"]);
    expect_corrupt(store.read(Stream::Log, 0, u64::MAX, usize::MAX), "log/9");
    assert!(matches!(store.write(&write), Err(StoreError::Conflict { key, .. }) if key == "log/9"));
    bench.server.cli(&["XDEL", "SERVER-LOG-A", "9-3"]);
    bench.server.cli(&["XSETID", "SERVER-LOG-A", "9-0"]);
    store.write(&write).unwrap();
    for (id, fields) in [("4-0", &["block", "x"][..]), ("5-0", &["record", "x", "more", "y"])] {
        add("SERVER-BLOCKCHAIN-A", id, fields);
        let key = format!("chain/{}", &id[..1]);
        expect_corrupt(store.read(Stream::Chain, 1, 9, usize::MAX), &key);
        expect_corrupt(read_blocks(&mut store, Height(2), Height(9), 1 << 20), &key);
        expect_corrupt(state(&mut bench.redis()), &key);
        bench.server.cli(&["XDEL", "SERVER-BLOCKCHAIN-A", id]);
    }
    assert!(store.read(Stream::Chain, 0, 9, usize::MAX).is_ok(), "and what is put right reads as before");
}

#[test]
fn r13_a_key_of_another_type_is_named_and_nothing_is_written() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    let write = journal.write(log(10));
    for key in ["SERVER-BLOCKCHAIN-A", "SERVER-LOG-A", "SERVER-REFUSED-A", "SERVER-STATE-A", "SERVER-PAXOS-A"] {
        bench.server.cli(&["RENAME", key, "aside"]);
        bench.server.cli(&["SET", key, "text"]);
        let before = image(&bench);
        expect_corrupt(store.write(&write), key);
        expect_corrupt(store.take_epoch(1), key);
        expect_corrupt(state(&mut bench.redis()), key);
        assert_eq!(image(&bench), before);
        bench.server.cli(&["RENAME", "aside", key]);
    }
    store.write(&write).unwrap();
}

#[test]
fn r13_a_server_that_is_emptied_under_a_running_process_is_not_filled_again() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    bench.server.flush_all();
    expect_corrupt(store.write(&journal.write(log(10))), "epoch");
    expect_corrupt(read_blocks(&mut store, Height(1), Height(3), 1 << 20), "chain/1");
    assert_eq!(bench.server.cli(&["DBSIZE"]), "0");
    // While it was stopped: a new store, which its peers know by its incarnation.
    let again = recover(&mut *bench.open().unwrap(), &options()).unwrap();
    assert!(again.fresh && !again.admitted);
}

#[test]
fn r13_a_full_server_writes_nothing_by_half_and_goes_on_when_there_is_room() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let recovered = recover(&mut store, &options()).unwrap();
    let (mut journal, bank) = (recovered.journal, recovered.home.bank);
    let block = block(&bank, &[("B", &[transfer(1, "B", "A")])]);
    let vote = Slot { ballot: ballot(1, "B"), block: block.clone() };
    // One that appends and trims, one that sets fields only, one that only removes.
    let writes = [
        vec![Record::Accepted(vote), log(1).remove(0)],
        vec![Record::Promise(ballot(7, "A"))],
        vec![Record::Block(block)],
        vec![Record::Promise(ballot(8, "A"))],
    ];
    for records in writes {
        let write = journal.write(records);
        let before = image(&bench);
        bench.server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = store.write(&write).unwrap_err();
        assert!(matches!(&error, StoreError::NotWritten(what) if what.contains("OOM")), "{error}");
        let error = store.take_epoch(9).unwrap_err();
        assert!(error.may_be_retried() && error.to_string().contains("OOM"), "{error}");
        assert_eq!(image(&bench), before);
        assert!(store.fields().is_ok(), "reading goes on");
        bench.server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        store.write(&write).unwrap();
    }
}

#[test]
fn r13_a_command_that_the_user_may_not_run_fails_before_anything_is_changed() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let recovered = recover(&mut store, &options()).unwrap();
    let (mut journal, bank) = (recovered.journal, recovered.home.bank);
    let block = block(&bank, &[("A", &[transfer(1, "A", "B")])]);
    let vote = Slot { ballot: ballot(1, "B"), block: block.clone() };
    store.write(&journal.write(vec![log(1).remove(0), Record::Accepted(vote)])).unwrap();
    // It appends a block, trims the log, sets the head, and removes the vote.
    let write = journal.write(vec![Record::Block(block), log(2).remove(0)]);
    let before = image(&bench);
    for command in ["xadd", "xtrim", "hset", "hdel"] {
        bench.server.cli(&["ACL", "SETUSER", "default", &format!("-{command}")]);
        let error = store.write(&write).unwrap_err();
        assert!(error.may_be_retried(), "{error}");
        assert_eq!(image(&bench), before, "{command}");
        bench.server.cli(&["ACL", "SETUSER", "default", &format!("+{command}")]);
    }
    store.write(&write).unwrap();
}

#[test]
fn scripts_that_were_flushed_are_given_again() {
    let bench = RedisBench::new();
    let (mut store, mut journal) = at_end_of_script(&bench);
    bench.server.cli(&["SCRIPT", "FLUSH"]);
    store.write(&journal.write(log(10))).unwrap();
    assert_eq!(store.read(Stream::Log, 10, 10, 0).unwrap().len(), 1);
}
