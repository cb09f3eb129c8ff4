//! The client port.

use std::io::Write as _;
use std::net::TcpStream;

use paxos_banking::text::printable;
use paxos_banking::wire::client::{Ask, CALL_LIMITS, CLIENT_PROTOCOL_VERSION, Call, Told};
use paxos_banking::wire::frame::{FrameLimits, frame_of, read_frame};
use serde_json::json;

use crate::honest::{Habit, Honest, meanwhile};
use crate::node::{ACCOUNTS, Node, apart, come, crowd};
use crate::process::PATIENCE;
use crate::raw::Client;

const BOTH: [Habit; 2] = [Habit::Steady, Habit::Fresh];

/// What a node may have open, whoever comes: clients, connections of peers in their opening, its own, and those that are
/// just being closed.
const FILES_MAX: usize = 512 + 32 + 64;

/// What a node may hold in memory for clients that ask nothing, in MiB.
const QUIET_MEMORY_MAX: u64 = 128;

fn hello() -> Vec<u8> {
    frame_of(&Call { tag: 1, ask: Ask::Hello { version: CLIENT_PROTOCOL_VERSION } })
}

/// Strangers that take all places, and then some clients more, each of whom must be welcome at its first try.
async fn crowd_of(address: &str, say: &[u8]) -> Vec<TcpStream> {
    let held = come(address, crowd(), say).await;
    for _ in 0..20 {
        Client::greeted(address).await;
    }
    held
}

#[tokio::test]
async fn thousands_who_say_nothing_lock_out_nobody_and_disturb_no_client_that_is_quiet() {
    let node = Node::start("info").await;
    let mut quiet = Client::greeted(node.client_address()).await;
    let address = node.client_address().to_owned();
    let attack = apart(async move || crowd_of(&address, &[]).await);
    let held = meanwhile("silent strangers", &BOTH, node.client_address(), ACCOUNTS, attack).await;
    let (memory, files) = (node.memory(), node.files());
    println!("silent strangers: {} came, {files} files, {memory} MiB", held.len());
    assert!(files <= FILES_MAX && memory <= QUIET_MEMORY_MAX, "{files} files, {memory} MiB");
    assert!(matches!(quiet.ask(Ask::Status).await, Told::Status(_)), "it keeps its place before those who say nothing");
    let log = node.process.log();
    assert!(log.lines().count() < 20, "{log}");
}

#[tokio::test]
async fn thousands_who_say_hello_and_then_nothing_lock_out_nobody() {
    let node = Node::start("info").await;
    let address = node.client_address().to_owned();
    let attack = apart(async move || crowd_of(&address, &hello()).await);
    let held = meanwhile("idle clients", &BOTH, node.client_address(), ACCOUNTS, attack).await;
    let (memory, files) = (node.memory(), node.files());
    println!("idle clients: {} came, {files} files, {memory} MiB", held.len());
    assert!(files <= FILES_MAX && memory <= QUIET_MEMORY_MAX, "{files} files, {memory} MiB");
}

#[tokio::test]
async fn a_flood_of_connections_that_are_closed_at_once_holds_up_nobody() {
    let node = Node::start("info").await;
    let address = node.client_address().to_owned();
    let attack = apart(async move || {
        for _ in 0..4 * crowd() / 100 {
            drop(come(&address, 100, &[0, 0, 1]).await);
        }
    });
    meanwhile("connections opened and closed", &BOTH, node.client_address(), ACCOUNTS, attack).await;
    let log = node.process.log();
    assert!(log.lines().count() < 20, "{log}");
}

#[tokio::test]
async fn one_byte_a_second_holds_up_nobody() {
    let node = Node::start("info").await;
    let address = node.client_address().to_owned();
    let attack = apart(async move || {
        // The length of a call, and of that call one byte now and then: before and after hello.
        let mut held = come(&address, crowd() / 8, &[0, 0, 1, 0]).await;
        held.extend(come(&address, crowd() / 8, &[hello(), vec![0, 0, 1, 0]].concat()).await);
        for _ in 0..3 {
            held.iter_mut().for_each(|stream| drop(stream.write(&[0x82])));
            // The pace of the attack.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        held
    });
    meanwhile("one byte a second", &BOTH, node.client_address(), ACCOUNTS, attack).await;
}

#[tokio::test]
async fn the_longest_calls_left_unfinished_take_no_more_memory_than_was_sent() {
    let node = Node::start("info").await;
    let address = node.client_address().to_owned();
    let before = node.memory();
    let count = (crowd() / 8).min(480);
    let attack = apart(async move || {
        let length = u32::try_from(CALL_LIMITS.bytes_max).unwrap().to_be_bytes();
        let call = [hello(), length.to_vec(), vec![0x91; CALL_LIMITS.bytes_max - 1]].concat();
        come(&address, count, &call).await
    });
    let held = meanwhile("calls of 1 MiB, unfinished", &BOTH, node.client_address(), ACCOUNTS, attack).await;
    let memory = node.memory();
    println!("calls of 1 MiB, unfinished: {} of them, {before} MiB before, {memory} MiB", held.len());
    assert!(memory <= QUIET_MEMORY_MAX + 2 * count as u64, "{memory} MiB");
}

#[tokio::test]
async fn a_node_out_of_files_serves_whom_it_has_and_then_others_again() {
    let node = Node::start("info").await;
    let steady = Honest::start(Habit::Steady, node.client_address(), ACCOUNTS).await;
    node.limit_files(node.files() + 20);
    let mut strangers = come(node.client_address(), 100, &[]).await;
    strangers.extend(come(node.peer_address(), 100, &[]).await);
    node.process.logged("cannot be accepted").await;
    steady.makes(100).await;
    steady.end("no files left").await;
    drop(strangers);
    let fresh = Honest::start(Habit::Fresh, node.client_address(), ACCOUNTS).await;
    fresh.makes(20).await;
    fresh.end("files again").await;
    let log = node.process.log();
    assert!(!log.contains("panicked") && log.lines().count() < 50, "{log}");
    let pauses = log.lines().filter(|line| line.contains("cannot be accepted")).all(|line| !line.contains("unsaid"));
    assert!(pauses, "{log}");
}

#[tokio::test]
async fn a_name_that_a_terminal_would_obey_is_escaped_in_the_reply_and_in_the_log() {
    let node = Node::start("debug").await;
    let mut rude = Client::greeted(node.client_address()).await;
    let balance = |name: &str| json!({ "balance": { "account": name, "read": "local", "seen": 0, "within_ms": 1 } });
    let names = ["\u{1b}[2J\u{1b}[31m@A", "x@A\n2026-01-01 INFO all is well", "\u{202e}ecila@A", "\u{9b}2J@A"];
    for ask in names.map(balance).into_iter().chain([json!("\u{1b}[2J\nINFO all is well")]) {
        let mut client = Client::greeted(node.client_address()).await;
        client.raw(&frame_of(&json!({ "tag": 2, "ask": ask }))).await;
        let limits = FrameLimits { bytes_max: 1 << 20, idle: PATIENCE, finish: PATIENCE };
        let frame = read_frame(&mut client.stream, &limits).await.unwrap();
        let text = String::from_utf8_lossy(&frame);
        let message = &text[text.find("message").unwrap() + "message".len()..];
        // Behind the header of the text.
        let message = &message[message.find("a frame").unwrap()..];
        assert_eq!(printable(message), message);
    }
    let ended = node.process.logged("a client's connection ends").await;
    let error = ended["error"].as_str().unwrap();
    assert_eq!(printable(error), error);
    let log = node.process.log();
    assert!(!log.contains("\\u001b") && !log.contains('\u{202e}') && !log.contains('\u{9b}'), "{log}");
    assert!(matches!(rude.ask(Ask::Status).await, Told::Status(_)));
}
