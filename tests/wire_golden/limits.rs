//! The tables of limits: what they say of constants that can be seen from here, or are written in plain numbers, is so; the
//! others are where they say, as are the tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use paxos_banking::actors::client_connection::{QUESTION, WINDOW};
use paxos_banking::actors::listener::CLIENTS_MAX;
use paxos_banking::actors::network::{NetworkTiming, PEER_FRAME_BYTES_MAX};
use paxos_banking::handshake::ROUND_MAX;
use paxos_banking::ledger::HomeLimits;
use paxos_banking::ledger::block::NODES_MAX;
use paxos_banking::ledger::entry::OPERATION_BYTES_MAX;
use paxos_banking::node::Timing;
use paxos_banking::types::{ACCOUNT_NAME_BYTES_MAX, NODE_NAME_BYTES_MAX};
use paxos_banking::wire::client::{CALL_LIMITS, CHAIN_PAGE_BYTES, LOG_PAGE_MAX, REPLY_BYTES_MAX, TRANSFERS_MAX};

use crate::document;

/// As the table writes numbers.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.into_iter().map(|group| str::from_utf8(group).unwrap()).collect::<Vec<_>>().join(",")
}

/// As the table writes times.
fn time(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// What can be seen from here.
fn known() -> BTreeMap<&'static str, String> {
    let (home, network, timing) = (HomeLimits::default(), NetworkTiming::default(), Timing::default());
    assert_eq!(ROUND_MAX, 1 << 62);
    [
        ("CALL_LIMITS.bytes_max", count(CALL_LIMITS.bytes_max)),
        ("CALL_LIMITS.idle", time(CALL_LIMITS.idle)),
        ("CALL_LIMITS.finish", time(CALL_LIMITS.finish)),
        ("REPLY_BYTES_MAX", count(REPLY_BYTES_MAX)),
        ("TRANSFERS_MAX", count(TRANSFERS_MAX)),
        ("WINDOW", count(WINDOW)),
        ("QUESTION", count(QUESTION)),
        ("LOG_PAGE_MAX", count(LOG_PAGE_MAX)),
        ("CHAIN_PAGE_BYTES", count(CHAIN_PAGE_BYTES)),
        ("CLIENTS_MAX", count(CLIENTS_MAX)),
        ("HomeLimits::log_entries_max", count(home.log_entries_max)),
        ("HomeLimits::waiting_max", count(home.waiting_max)),
        ("HomeLimits::settling_max", count(home.settling_max)),
        ("HomeLimits::ids_remembered_max", count(home.ids_remembered_max)),
        ("HomeLimits::block_bytes_max", count(home.block_bytes_max)),
        ("HomeLimits::checkpoint_entries", count(home.checkpoint_entries)),
        ("HomeLimits::checkpoint_part_rows", count(home.checkpoint_part_rows)),
        ("NODE_NAME_BYTES_MAX", count(NODE_NAME_BYTES_MAX)),
        ("ACCOUNT_NAME_BYTES_MAX", count(ACCOUNT_NAME_BYTES_MAX)),
        ("NODES_MAX", count(NODES_MAX)),
        ("OPERATION_BYTES_MAX", count(OPERATION_BYTES_MAX)),
        ("PEER_FRAME_BYTES_MAX", count(PEER_FRAME_BYTES_MAX)),
        ("NetworkTiming::connect", time(network.connect)),
        ("NetworkTiming::silence", time(network.silence)),
        ("NetworkTiming::frame", time(network.frame)),
        ("Timing::heartbeat", time(timing.heartbeat)),
        ("ReconcileTiming::frame_bytes_max", count(timing.reconcile.frame_bytes_max)),
        ("ROUND_MAX", "2<sup>62</sup>".to_owned()),
    ]
    .into()
}

/// A constant that cannot be seen from here, where its file says its value in plain numbers.
fn written(source: &str, name: &str) -> Option<String> {
    let (_, definition) = source.split_once(&format!("const {name}: "))?;
    let (_, value) = definition.split_once(';')?.0.split_once(" = ")?;
    let value = value.replace('_', "");
    let within = |call: &str| value.strip_prefix(call)?.strip_suffix(')')?.parse().ok();
    if let Some((one, shift)) = value.split_once(" << ") {
        return Some(count(one.parse::<usize>().ok()? << shift.parse::<u32>().ok()?));
    }
    let duration = within("Duration::fromsecs(").map(Duration::from_secs);
    let duration = duration.or_else(|| within("Duration::frommillis(").map(Duration::from_millis));
    duration.map(time).or_else(|| value.parse().ok().map(count))
}

/// All Rust files there and below, as one text.
fn sources(directory: &Path) -> String {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => std::fs::read_to_string(path).unwrap(),
            _ => String::new(),
        }
    };
    std::fs::read_dir(directory).unwrap().map(read).collect()
}

#[test]
fn the_limits_of_the_document_are_those_of_the_code() {
    let mut known = known();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = ["src", "tests"].map(|directory| sources(&root.join(directory))).concat();
    for [what, limit, constant, file, _, test] in document::limits() {
        assert!(test == "-" || tests.contains(&format!("fn {test}(")), "{what}: there is no test {test}");
        let source = std::fs::read_to_string(root.join(&file));
        let source = source.unwrap_or_else(|error| panic!("{what}: {file}: {error}"));
        let name = constant.rsplit(['.', ':']).next().unwrap();
        assert!(source.contains(&format!("{name}: ")), "{what}: {file} has no {constant}");
        if let Some(expected) = known.remove(constant.as_str()).or_else(|| written(&source, name)) {
            assert_eq!(limit, expected, "{what}");
        }
    }
    assert!(known.is_empty(), "not in the table: {known:?}");
}
