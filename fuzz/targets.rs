//! What reads bytes of strangers, one function each: no input makes it panic, what it takes in, it writes and reads again
//! as the same, and what it says of the rest has nothing in it that a terminal would obey.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use paxos_banking::cli;
use paxos_banking::codec;
use paxos_banking::effect::Slot;
use paxos_banking::genesis_file;
use paxos_banking::ledger::{Block, Genesis};
use paxos_banking::paxos::Message;
use paxos_banking::store::Head;
use paxos_banking::store::record::{self, Horizon, Identity, Kind, LogBatch, Peer, RefusedBatch};
use paxos_banking::text::printable;
use paxos_banking::triplets::{self, Triplet};
use paxos_banking::types::Epoch;
use paxos_banking::wire::client::{Call, Reply};
use paxos_banking::wire::frame::{FrameLimits, read_value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Takes any bytes, and does not panic.
type Target = fn(&[u8]);

/// Each of them, by the name of its corpus.
pub const ALL: [(&str, Target); 8] = [
    ("calls", calls),
    ("replies", replies),
    ("messages", messages),
    ("frames", frames),
    ("records", records),
    ("triplets", triplets),
    ("config", config),
    ("genesis", genesis),
];

/// What people are told has no line breaks, and nothing that is not seen as itself.
fn is_harmless(told: &str) {
    assert_eq!(printable(told), told);
}

fn takes_in<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    let value = match codec::decode::<T>(data) {
        Ok(value) => value,
        Err(error) => return is_harmless(&error.to_string()),
    };
    let mut bytes = Vec::new();
    codec::encode_into(&mut bytes, &value);
    assert_eq!(codec::decode::<T>(&bytes).ok(), Some(value));
}

/// What a node reads from its client port, without the length.
pub fn calls(data: &[u8]) {
    takes_in::<Call>(data);
}

/// What a client reads from a node, without the length.
pub fn replies(data: &[u8]) {
    takes_in::<Reply>(data);
}

/// What a node reads from its peer port, without the length.
pub fn messages(data: &[u8]) {
    takes_in::<Message>(data);
}

/// A whole connection of a client's, as it comes.
pub fn frames(data: &[u8]) {
    let second = Duration::from_secs(1);
    let limits = FrameLimits { bytes_max: 1 << 16, idle: second, finish: second };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut from = data;
        while read_value::<Call>(&mut from, &limits).await.is_ok() {}
    });
}

/// A stored record, and a payload behind a checksum that fits: its first byte says which kind it is taken for.
pub fn records(data: &[u8]) {
    assert!(record::decode::<Head>("head", Kind::Head, data).is_err() || data.len() > 18, "a record has a header");
    let Some((kind, payload)) = data.split_first() else { return };
    match kind % 10 {
        0 => takes_in::<Genesis>(payload),
        1 => takes_in::<Block>(payload),
        2 => takes_in::<LogBatch>(payload),
        3 => takes_in::<RefusedBatch>(payload),
        4 => takes_in::<Head>(payload),
        5 => takes_in::<Identity>(payload),
        6 => takes_in::<Slot>(payload),
        7 => takes_in::<Peer>(payload),
        8 => takes_in::<Horizon>(payload),
        _ => takes_in::<Epoch>(payload),
    }
}

/// A file of transfers.
pub fn triplets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = match triplets::parse(&text, |_| true, "") {
        Ok(read) => read,
        Err(error) => return is_harmless(&error.to_string()),
    };
    let written: String =
        read.iter().map(|Triplet { from, to, amount, .. }| format!("({from}, {to}, {amount})\n")).collect();
    assert_eq!(triplets::parse(&written, |_| true, "").ok(), Some(read));
}

/// The configuration file of a node. Whether it is one may depend on files that it names; none of these is opened.
pub fn config(data: &[u8]) {
    let read = |text: &str| cli::settings(Path::new("a.toml"), text);
    let settings = match read(&String::from_utf8_lossy(data)) {
        Ok(settings) => settings,
        Err(told) => return is_harmless(&told),
    };
    let written: String = settings.iter().map(|(key, values)| format!("{key} = {}\n", value(key, values))).collect();
    assert_eq!(read(&written).as_ref(), Ok(&settings), "{written}");
}

/// As it stands in the file: a list, a switch, a number or a text.
fn value(key: &str, values: &[String]) -> String {
    let text = |text: &String| toml_text(text);
    match (key, values) {
        ("peer", values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", ")),
        ("force-admission" | "accept-unsafe-store" | "opening", [plain]) => plain.clone(),
        (_, [one]) => text(one),
        _ => panic!("{key} has the values {values:?}"),
    }
}

fn toml_text(text: &str) -> String {
    let escaped = |c: char| format!("\\U{:08X}", u32::from(c));
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let inside: String = text.chars().map(|c| if plain(c) { c.to_string() } else { escaped(c) }).collect();
    format!("\"{inside}\"")
}

/// The file from which a bank starts.
pub fn genesis(data: &[u8]) {
    let read = |text: &str| genesis_file::parse(Path::new("genesis.toml"), text).map_err(|error| error.to_string());
    let genesis = match read(&String::from_utf8_lossy(data)) {
        Ok(genesis) => genesis,
        Err(told) => return is_harmless(&told),
    };
    let nodes: Vec<_> = genesis.nodes().iter().map(|node| format!("{:?}", node.as_str())).collect();
    let accounts: BTreeMap<_, _> =
        genesis.opening().iter().map(|(account, amount)| (account.to_string(), amount)).collect();
    let accounts: String = accounts.iter().map(|(account, amount)| format!("{account:?} = \"{amount}\"\n")).collect();
    let written = format!("nodes = [{}]\n[accounts]\n{accounts}", nodes.join(", "));
    assert_eq!(read(&written), Ok(genesis), "{written}");
}
