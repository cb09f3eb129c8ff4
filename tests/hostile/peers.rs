//! The peer port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use paxos_banking::ledger::{Genesis, Wait};
use paxos_banking::paxos::message::PROTOCOL_VERSION;
use paxos_banking::paxos::{Hello, KnownOfYou, Message};
use paxos_banking::types::{Amount, Epoch, Hash, Height, Incarnation};
use paxos_banking::wire::frame::frame_of;

use crate::bank::{Bank, NAMES, Stores, node};
use crate::honest::{Habit, meanwhile};
use crate::node::{apart, come, crowd};
use crate::replays::say;

const OPENING: u64 = 1_000_000;

/// A HELLO of A to B, as whoever can ask a node who it is can make one.
fn hello(incarnation: u64, cluster: Hash) -> Message {
    Message::from(Hello {
        version: PROTOCOL_VERSION,
        cluster,
        node: node("A"),
        to: node("B"),
        incarnation: Incarnation(incarnation),
        epoch: Epoch { number: 1, token: 1 },
        votes: true,
        height: Height(0),
        client_address: None,
        known: KnownOfYou::default(),
    })
}

#[tokio::test]
async fn whoever_says_hello_is_answered_however_many_strangers_are_silent() {
    let bank = Bank::start(Stores::Redb, OPENING).await;
    let address = &bank.nodes["B"].peer_address;
    // Twice as many as there are places.
    let held = come(address, 64, &[]).await;
    let reason = say(address, &[hello(1, Hash::ZERO)]).await.unwrap();
    assert!(reason.contains("belongs to bank"), "{reason}");
    drop(held);
}

#[tokio::test]
async fn strangers_that_come_all_the_time_lock_out_no_peer() {
    let mut bank = Bank::start(Stores::Redb, OPENING).await;
    let over = Arc::new(AtomicBool::new(false));
    let floods = ["B", "C"].map(|name| {
        let (address, over) = (bank.nodes[name].peer_address.clone(), over.clone());
        tokio::spawn(apart(async move || {
            let mut came = 0;
            let mut held = Vec::new();
            while !over.load(Ordering::Relaxed) {
                // The ones before go when these are there.
                held = come(&address, 200, &[]).await;
                came += held.len();
            }
            drop(held);
            came
        }))
    });
    // A dials both.
    bank.kill("A").await;
    bank.run("A").await;
    bank.all_ready().await;
    let address = bank.nodes["A"].client_address.clone();
    let habits = [Habit::Steady, Habit::Settled];
    meanwhile("silent strangers at the peer ports", &habits, &address, ["A", "B"], async {}).await;
    over.store(true, Ordering::Relaxed);
    for flood in floods {
        println!("silent strangers at a peer port: {} came", flood.await.unwrap());
    }
    bank.settled().await;
}

#[tokio::test]
async fn strangers_with_ever_new_faults_do_not_fill_the_log_and_disturb_no_link() {
    let bank = Bank::start(Stores::Redb, OPENING).await;
    let address = bank.nodes["B"].peer_address.clone();
    let cluster = Genesis::with_equal_openings(NAMES.map(node), Amount::new(OPENING)).unwrap().id();
    let before = bank.nodes["B"].log().lines().count();
    let attack = apart(async move || {
        for number in 0..u64::try_from(crowd() / 4).unwrap() {
            // Each is refused in other words.
            drop(come(&address, 1, &frame_of(&hello(number, cluster))).await);
            drop(come(&address, 1, &frame_of(&hello(number, Hash::ZERO))).await);
            drop(come(&address, 1, b"GET / HTTP/1.1\r\n\r\n").await);
            drop(come(&address, 1, &frame_of(&format!("\u{1b}[2J{number}"))).await);
        }
    });
    let client = bank.nodes["B"].client_address.clone();
    let habits = [Habit::Steady, Habit::Fresh];
    meanwhile("faults at the peer port", &habits, &client, ["B", "A"], attack).await;
    let log = bank.nodes["B"].log();
    let lines = log.lines().count() - before;
    println!("faults at the peer port: {lines} lines in the log");
    assert!(lines < 50 && !log.contains("\\u001b"), "{log}");
    assert_eq!(bank.until("B", |_| true).await.peers_up.len(), 2, "the links hold");
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
}
