//! What reads bytes of strangers, one function each: no input makes it panic, and what it takes in, it writes and reads
//! again as the same.
#![allow(dead_code)]

use std::fmt::Debug;
use std::time::Duration;

use paxos_banking::codec;
use paxos_banking::effect::Slot;
use paxos_banking::ledger::{Block, Genesis};
use paxos_banking::paxos::Message;
use paxos_banking::store::Head;
use paxos_banking::store::record::{self, Horizon, Identity, Kind, LogBatch, Peer, RefusedBatch};
use paxos_banking::triplets::{self, Triplet};
use paxos_banking::types::Epoch;
use paxos_banking::wire::client::{Call, Reply};
use paxos_banking::wire::frame::{FrameLimits, read_value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Takes any bytes, and does not panic.
type Target = fn(&[u8]);

/// Each of them, by the name of its corpus.
pub const ALL: [(&str, Target); 6] = [
    ("calls", calls),
    ("replies", replies),
    ("messages", messages),
    ("frames", frames),
    ("records", records),
    ("triplets", triplets),
];

fn takes_in<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    let Ok(value) = codec::decode::<T>(data) else { return };
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
    let Ok(read) = triplets::parse(&text, |_| true, "") else { return };
    let written: String =
        read.iter().map(|Triplet { from, to, amount, .. }| format!("({from}, {to}, {amount})\n")).collect();
    assert_eq!(triplets::parse(&written, |_| true, "").ok(), Some(read));
}
