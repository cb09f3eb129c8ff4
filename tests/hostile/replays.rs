//! What was recorded is sent again, in its order and in another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use paxos_banking::codec;
use paxos_banking::ledger::{Answer, Approval, Wait};
use paxos_banking::paxos::Message;
use paxos_banking::types::{AccountId, Amount, Height};
use paxos_banking::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, FailureCode, ReadLevel, Reply, Told};
use paxos_banking::wire::frame::{FrameLimits, frame_of, read_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bank::{Bank, Stores, account, node};
use crate::node::{ACCOUNTS, Node};
use crate::process::PATIENCE;
use crate::proxy::Way;
use crate::raw::{Client, transfers};

const LIMITS: FrameLimits = FrameLimits { bytes_max: 32 << 20, idle: PATIENCE, finish: PATIENCE };

/// What each tag was answered, once all of `outcomes` transfers and openings have their outcome; whether it is settled by
/// now left out.
async fn replayed(node: &Node, frames: &[Vec<u8>], outcomes: usize) -> BTreeMap<(u64, u32), Answer> {
    let mut client = Client::connect(node.client_address()).await;
    client.raw(&frames.concat()).await;
    let mut told = BTreeMap::new();
    while told.len() < outcomes {
        let Reply { tag, told: answer } = client.reply().await.unwrap();
        match answer {
            Told::Outcomes(some) => {
                for outcome in some {
                    let index = outcome.index();
                    let answer = match outcome.answer(crate::bank::node("A")).unwrap() {
                        Answer::Approved(approval) => Answer::Approved(Approval { height: None, ..approval }),
                        other => other,
                    };
                    assert_eq!(told.insert((tag, index), answer), None, "told once");
                }
            }
            Told::Welcome(_) => {}
            other => panic!("{other:?}"),
        }
    }
    told
}

async fn spendable(node: &Node, account: AccountId) -> Option<Amount> {
    let mut client = Client::greeted(node.client_address()).await;
    let ask = Ask::Balance { account, read: ReadLevel::Local, seen: Height(0), within_ms: 5_000 };
    let Told::Balance(balance) = client.ask(ask).await else { panic!() };
    balance.spendable
}

#[tokio::test]
async fn r10_a_clients_calls_sent_again_in_any_order_execute_nothing_twice() {
    let node = Node::start("info").await;
    Client::greeted(node.client_address()).await.until_ready().await;
    let [x, y] = ACCOUNTS;
    let hello = frame_of(&Call { tag: 1, ask: Ask::Hello { version: CLIENT_PROTOCOL_VERSION } });
    let pay =
        |tag: u64, some: &[(u128, &str, &str, u64)]| frame_of(&Call { tag, ask: transfers(Wait::Local, 5_000, some) });
    let open = Ask::Open { id: 9u128.into(), account: account("z@A"), wait: Wait::Local, within_ms: 5_000 };
    let calls = [
        pay(2, &[(1, x, y, 10), (2, y, x, 3)]),
        pay(3, &[(3, x, y, 5), (4, x, x, 1), (5, x, y, 9_000_000)]),
        frame_of(&Call { tag: 4, ask: open }),
    ];
    let recorded = [&[hello.clone()][..], &calls].concat();
    let first = replayed(&node, &recorded, 6).await;
    let balances = [spendable(&node, account(x)).await, spendable(&node, account(y)).await];
    assert_eq!(balances, [Some(Amount::new(999_988)), Some(Amount::new(1_000_012))]);
    let [two, three, four] = calls.clone();
    let orders = [
        recorded.clone(),
        vec![hello.clone(), four.clone(), three.clone(), two.clone()],
        // Hello again, in the middle.
        vec![hello.clone(), three, hello.clone(), two, hello.clone(), four],
    ];
    for order in orders {
        assert_eq!(replayed(&node, &order, 6).await, first);
    }
    let mut late = Client::connect(node.client_address()).await;
    late.raw(&[&calls[..], &[hello]].concat().concat()).await;
    let replies = late.until_closed().await;
    let Told::Failed(failure) = &replies[0].told else { panic!("{replies:?}") };
    assert_eq!((replies.len(), failure.code), (1, FailureCode::BadCall), "hello comes first");
    let after = [spendable(&node, account(x)).await, spendable(&node, account(y)).await];
    assert_eq!(after, balances);
}

/// Carries connections to `target`, and keeps what their diallers say on the last of them.
async fn recorder(target: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tape) = (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(Vec::new())));
    let recording = tape.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(&target).await else { continue };
            recording.lock().unwrap().clear();
            tokio::spawn(record(near, far, recording.clone()));
        }
    });
    (address, tape)
}

async fn record(near: TcpStream, far: TcpStream, tape: Arc<Mutex<Vec<u8>>>) {
    let ((mut near_from, mut near_to), (mut far_from, mut far_to)) = (near.into_split(), far.into_split());
    let there = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = near_from.read(&mut buffer).await {
            tape.lock().unwrap().extend(&buffer[..count]);
            if far_to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut far_from, &mut near_to) => {}
    }
}

/// The messages on a tape; the last may not be whole.
async fn messages(mut tape: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Ok(frame) = read_frame(&mut tape, &LIMITS).await {
        messages.push(codec::decode(&frame).unwrap());
    }
    messages
}

/// Says this at a peer port, and listens until the other side closes: why it refuses, if it says so.
pub async fn say(address: &str, messages: &[Message]) -> Option<String> {
    let mut stranger = TcpStream::connect(address).await.unwrap();
    let frames: Vec<u8> = messages.iter().flat_map(frame_of).collect();
    drop(stranger.write_all(&frames).await);
    let mut reason = None;
    while let Ok(frame) = read_frame(&mut stranger, &LIMITS).await {
        if let Message::Refused(refused) = codec::decode(&frame).unwrap() {
            reason = Some(refused.reason);
        }
    }
    reason
}

#[tokio::test]
async fn what_a_peer_said_sent_again_in_any_order_changes_no_balance_and_no_chain() {
    let mut bank = Bank::start(Stores::Redb, 1_000).await;
    let target = bank.nodes["B"].peer_address.clone();
    let (through, tape) = recorder(target.clone()).await;
    bank.way("A", "B").set_target(&through);
    bank.set_between("A", "B", Way::Cut);
    bank.until("A", |status| !status.peers_up.contains(&node("B"))).await;
    bank.set_between("A", "B", Way::Open);
    bank.all_ready().await;
    let client = bank.client();
    for _ in 0..3 {
        bank.approved(&client, "A", "B", 5, Wait::Settled).await;
        bank.approved(&client, "B", "C", 5, Wait::Settled).await;
    }
    let tape = tape.lock().unwrap().clone();
    let said = messages(&tape).await;
    let count = |name: &str| said.iter().filter(|message| message.name() == name).count();
    assert!(count("PREPARE") > 0 && count("ACCEPT") > 0 && count("PROMISE") > 0, "{} messages", said.len());

    let mut backwards = said.clone();
    backwards[1..].reverse();
    for order in [&said, &backwards, &said] {
        // It is A, as far as B can tell, until A itself comes again; and nothing of it counts twice.
        assert_eq!(say(&target, order).await, None);
        bank.approved(&client, "A", "B", 5, Wait::Settled).await;
        bank.approved(&client, "B", "C", 5, Wait::Settled).await;
    }
    let without_hello: Vec<_> = said.iter().filter(|message| message.name() != "HELLO").cloned().collect();
    let reason = say(&target, &without_hello).await.unwrap();
    assert!(reason.contains("not HELLO"), "{reason}");

    bank.kill("A").await;
    bank.run("A").await;
    bank.all_ready().await;
    let reason = say(&target, &said).await.unwrap();
    assert!(reason.contains("epoch"), "an older process's connection is none any more: {reason}");
    bank.settled().await;
    let chain = bank.chain("A").await;
    assert_eq!((bank.chain("B").await, bank.chain("C").await), (chain.clone(), chain));
    let (status, verified) = bank.json(&["verify"]).await;
    assert_eq!(status, 0, "{verified}");
    for (name, spendable) in [("A", 1_000 - 6 * 5), ("B", 1_000), ("C", 1_000 + 6 * 5)] {
        let (_, balance) = bank.json(&["balance", name]).await;
        assert_eq!(balance["spendable"], spendable, "{balance}");
    }
}
