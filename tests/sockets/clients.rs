//! The client port.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::codec;
use paxos_banking::ledger::{Answer, Approval, Reason, Verdict, Wait};
use paxos_banking::types::{Amount, Height, Seq};
use paxos_banking::wire::client::{Ask, Call, FailureCode, ReadLevel, Reply, State, TRANSFERS_MAX, Told};
use paxos_banking::wire::frame::{FrameLimits, frame_of, read_frame};
use tokio::io::AsyncWriteExt;
use tokio::task::LocalSet;

use crate::bank::{Client, PATIENCE, Plan, Sockets, account, alone, id, node, three, three_with, transfers};

fn approved(seq: u64, height: Option<u64>) -> Answer {
    Answer::Approved(Approval { origin: node("A"), seq: Seq(seq), height: height.map(Height) })
}

fn code_of(told: &Told) -> FailureCode {
    let Told::Failed(failure) = told else { panic!("{told:?}") };
    failure.code
}

fn balance(name: &str, read: ReadLevel, seen: u64) -> Ask {
    Ask::Balance { account: account(name), read, seen: Height(seen), within_ms: 5_000 }
}

#[actix_rt::test]
async fn a_batch_is_decided_in_its_order_and_each_outcome_is_told_once() {
    let server = alone().await;
    let mut client = Client::greeted(server.client_address()).await;
    let batch = [(1, "A", "x@A", 1), (2, "A", "A", 1), (3, "A", "B", 0), (4, "B", "A", 1)];
    let tag = client.send(transfers(Wait::Local, 5_000, &batch)).await;
    let outcomes = client.outcomes(tag, 4).await;
    let unknown = Reason::UnknownAccount { height: Height(0), account: account("x@A") };
    assert_eq!(outcomes[&0], Answer::Refused(unknown));
    assert_eq!(outcomes[&1], Answer::Refused(Reason::SameAccount));
    assert_eq!(outcomes[&2], Answer::Refused(Reason::AmountZero));
    assert_eq!(outcomes[&3], Answer::Refused(Reason::NotHome { home: node("B") }));
}

#[actix_rt::test]
async fn calls_are_pipelined_and_a_slow_one_does_not_hold_up_the_next() {
    let servers = three().await;
    let mut client = Client::greeted(servers["A"].client_address()).await;
    let slow = client.send(transfers(Wait::Settled, 20_000, &[(1, "A", "B", 5)])).await;
    let quick = client.send(transfers(Wait::Local, 5_000, &[(2, "A", "B", 5)])).await;
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let Reply { tag, told: Told::Outcomes(mut outcomes) } = client.reply().await.unwrap() else { panic!() };
        told.insert(tag, outcomes.remove(0).answer(node("A")).unwrap());
    }
    assert_eq!((told[&slow].clone(), told[&quick].clone()), (approved(1, Some(1)), approved(2, None)));
}

#[actix_rt::test]
async fn r10_the_same_id_has_the_same_outcome_over_any_connection() {
    let server = alone().await;
    let refused = [(7, "A", "A", 0)];
    for _ in 0..2 {
        let mut client = Client::greeted(server.client_address()).await;
        let tag = client.send(transfers(Wait::Local, 5_000, &refused)).await;
        assert_eq!(client.outcomes(tag, 1).await[&0], Answer::Refused(Reason::AmountZero));
    }
}

#[actix_rt::test]
async fn who_waits_for_a_settlement_that_does_not_come_is_told_what_is_so_far() {
    // A alone of three: it cannot be admitted without the others, unless it is forced and its stored mark says so.
    let servers = three().await;
    let mut servers = servers;
    for gone in ["B", "C"] {
        servers.remove(gone).unwrap().stop().await;
    }
    let mut client = Client::greeted(servers["A"].client_address()).await;
    client.until(|status| status.peers_up.is_empty()).await;
    let tag = client.send(transfers(Wait::Settled, 300, &[(1, "A", "B", 5), (2, "A", "B", 500)])).await;
    let outcomes = client.outcomes(tag, 2).await;
    assert_eq!(outcomes[&0], approved(1, None), "approved, not yet settled");
    assert_eq!(outcomes[&1], Answer::Pending, "no majority says what could be spent");
    let Told::Traces { traces, .. } = client.ask(Ask::Trace { id: id(2) }).await else { panic!() };
    assert_eq!(traces[0].verdict, Verdict::Pending);
    // Each call has its own time, whichever came first.
    let patient = client.send(transfers(Wait::Settled, 3_000, &[(3, "A", "B", 500)])).await;
    let hasty = client.send(transfers(Wait::Settled, 100, &[(4, "A", "B", 500)])).await;
    for tag in [hasty, patient] {
        assert_eq!(client.outcomes(tag, 1).await[&0], Answer::Pending);
    }
    assert_eq!(code_of(&client.ask(balance("A", ReadLevel::Fresh, 0)).await), FailureCode::TimedOut);
    let Told::Failed(failure) = client.ask(Ask::Settle { within_ms: 100 }).await else { panic!() };
    assert_eq!(failure.code, FailureCode::TimedOut);
    assert!(failure.message.contains("2 of 3 nodes must take part, and this one hears nothing of B, C"), "{failure}");
    let Told::Balance(local) = client.ask(balance("A", ReadLevel::Local, 0)).await else { panic!() };
    assert_eq!(local.spendable, Some(Amount::new(95)), "R7: what is cut off goes on approving");
}

#[actix_rt::test]
async fn an_account_is_opened_once_and_known_to_all_once_it_is_settled() {
    let servers = three().await;
    let mut a = Client::greeted(servers["A"].client_address()).await;
    let mut b = Client::greeted(servers["B"].client_address()).await;
    let open = |number: u128, name: &str| {
        let (id, account, wait) = (number.into(), account(name), Wait::Settled);
        Ask::Open { id, account, wait, within_ms: 10_000 }
    };
    for _ in 0..2 {
        let tag = a.send(open(1, "new@A")).await;
        assert_eq!(a.outcomes(tag, 1).await[&0], approved(1, Some(1)), "R10: the same id, the same outcome");
    }
    let tag = a.send(open(2, "new@A")).await;
    let exists = Reason::AccountExists { height: Height(1), account: account("new@A") };
    assert_eq!(a.outcomes(tag, 1).await[&0], Answer::Refused(exists));
    let tag = a.send(open(3, "new@B")).await;
    assert_eq!(a.outcomes(tag, 1).await[&0], Answer::Refused(Reason::NotHome { home: node("B") }));
    b.until(|status| status.height == Height(1)).await;
    let tag = b.send(transfers(Wait::Settled, 10_000, &[(4, "B", "new@A", 7)])).await;
    assert!(matches!(b.outcomes(tag, 1).await[&0], Answer::Approved(_)));
    a.until(|status| status.height == Height(2)).await;
    let Told::Balance(told) = a.ask(balance("new@A", ReadLevel::Local, 2)).await else { panic!() };
    assert_eq!((told.spendable, told.settled), (Some(Amount::new(7)), Amount::new(7)));
}

#[actix_rt::test]
async fn balances_logs_chains_and_ids_can_be_asked_for() {
    let servers = three().await;
    let mut a = Client::greeted(servers["A"].client_address()).await;
    let mut b = Client::greeted(servers["B"].client_address()).await;
    let tag = a.send(transfers(Wait::Local, 5_000, &[(1, "A", "B", 60)])).await;
    assert_eq!(a.outcomes(tag, 1).await[&0], approved(1, None));
    let Told::Log(log) = a.ask(Ask::Log { from: Seq(0) }).await else { panic!() };
    assert_eq!(log[0].0, Seq(1));
    let Told::Settled { height, not_heard } = a.ask(Ask::Settle { within_ms: 10_000 }).await else { panic!() };
    assert_eq!((height, not_heard.len()), (Height(1), 0));
    b.until(|status| status.height == Height(1)).await;
    let Told::Balance(at_b) = b.ask(balance("B", ReadLevel::Local, 1)).await else { panic!() };
    assert_eq!((at_b.spendable, at_b.settled), (Some(Amount::new(160)), Amount::new(160)));
    let Told::Balance(of_a) = b.ask(balance("A", ReadLevel::Settled, 1)).await else { panic!() };
    assert_eq!((of_a.spendable, of_a.settled), (None, Amount::new(40)), "only its home knows what it can spend");
    assert_eq!(code_of(&b.ask(balance("A", ReadLevel::Local, 1)).await), FailureCode::NotHome);
    assert_eq!(code_of(&b.ask(balance("x@B", ReadLevel::Settled, 1)).await), FailureCode::UnknownAccount);
    assert_eq!(code_of(&b.ask(balance("B", ReadLevel::Settled, 2)).await), FailureCode::NotReady, "seen more already");
    let Told::Chain { blocks, .. } = b.ask(Ask::Chain { from: Height(0), to: Height(9) }).await else { panic!() };
    assert_eq!(blocks.len(), 1);
    // B never decided that id; its chain knows.
    let Told::Traces { height, traces } = b.ask(Ask::Trace { id: id(1) }).await else { panic!() };
    let approval = Approval { origin: node("A"), seq: Seq(1), height: Some(Height(1)) };
    assert_eq!((height, &traces[0].verdict), (Height(1), &Verdict::Approved(approval)));
    let Told::Traces { traces, .. } = b.ask(Ask::Trace { id: id(99) }).await else { panic!() };
    assert_eq!(traces, []);
}

#[actix_rt::test]
async fn a_baby_tells_its_status_and_decides_nothing() {
    let sockets = Sockets::new().await;
    let peers = [("B", "127.0.0.1:1".to_owned()), ("C", "127.0.0.1:1".to_owned())];
    let server = Plan::new("A", &["A", "B", "C"]).start(sockets, &peers).await;
    let mut client = Client::greeted(server.client_address()).await;
    let status = client.status().await;
    assert_eq!((status.state, status.height, status.log), (State::Baby, Height(0), Some(0)));
    assert_eq!(status.homes.keys().map(|node| node.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
    let tag = client.send(transfers(Wait::Local, 5_000, &[(1, "A", "B", 5)])).await;
    assert_eq!(client.outcomes(tag, 1).await[&0], Answer::NotReady);
    assert_eq!(code_of(&client.ask(balance("A", ReadLevel::Local, 0)).await), FailureCode::NotReady);
    assert!(matches!(client.ask(balance("A", ReadLevel::Settled, 0)).await, Told::Balance(_)));
}

#[actix_rt::test]
async fn a_node_that_stops_tells_what_it_decided_and_then_closes() {
    let local = LocalSet::new();
    local
        .run_until(async {
            let server = alone().await;
            let mut client = Client::greeted(server.client_address()).await;
            // Nothing will settle this one: A has nobody to pay.
            let tag = client.send(transfers(Wait::Local, 60_000, &[(1, "A", "A", 5)])).await;
            assert_eq!(client.outcomes(tag, 1).await.len(), 1);
            server.stop().await;
            assert_eq!(client.until_closed().await, []);
        })
        .await;
}

#[actix_rt::test]
async fn whoever_does_not_say_hello_first_or_in_another_version_is_told_and_closed() {
    let server = alone().await;
    let mut rude = Client::connect(server.client_address()).await;
    rude.send(Ask::Status).await;
    let replies = rude.until_closed().await;
    assert_eq!((replies.len(), replies[0].tag, code_of(&replies[0].told)), (1, 1, FailureCode::BadCall));
    let mut later = Client::connect(server.client_address()).await;
    later.send(Ask::Hello { version: 99 }).await;
    let replies = later.until_closed().await;
    assert_eq!((replies.len(), code_of(&replies[0].told)), (1, FailureCode::Version));
}

#[actix_rt::test]
async fn no_input_brings_a_node_down_and_honest_clients_go_on() {
    let server = alone().await;
    let mut honest = Client::greeted(server.client_address()).await;
    let mut nested = vec![0x00, 0x01, 0x00, 0x00];
    nested.resize(4 + (1 << 16), 0x91);
    let long = [0xff; 64];
    let wrong: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: bank\r\n\r\n",
        &long,
        &nested,
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 0xc1, 0xc1, 0xc1],
        &[0, 0, 0, 5, 0xdd, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in wrong {
        let mut stranger = Client::connect(server.client_address()).await;
        stranger.raw(bytes).await;
        let replies = stranger.until_closed().await;
        assert!(replies.iter().all(|reply| code_of(&reply.told) == FailureCode::BadCall), "{bytes:?}: {replies:?}");
    }
    // Cut off in the middle of a frame.
    let mut stranger = Client::connect(server.client_address()).await;
    stranger.raw(&[0, 0, 1, 0, 0x82]).await;
    drop(stranger);
    let too_many = vec![(1u128, "A", "B", 1u64); TRANSFERS_MAX + 1];
    assert_eq!(code_of(&honest.ask(transfers(Wait::Local, 1, &too_many)).await), FailureCode::BadCall);
    assert_eq!(honest.ask(transfers(Wait::Local, 1, &[])).await, Told::Outcomes(Vec::new()));
    assert_eq!(honest.status().await.state, State::Ready);
}

#[actix_rt::test]
async fn a_place_that_silence_fills_is_soon_free_again() {
    let server = alone().await;
    let mut mute = Client::connect(server.client_address()).await;
    // A frame that is begun and not finished.
    let mut slow = Client::greeted(server.client_address()).await;
    slow.raw(&[0, 0, 1, 0, 0x82]).await;
    assert_eq!(mute.until_closed().await, [], "it said no hello");
    assert_eq!(slow.until_closed().await, []);
}

#[actix_rt::test]
async fn a_client_that_reads_nothing_is_not_read_from_either_holds_up_nobody_and_misses_nothing_once_it_reads() {
    let server = alone().await;
    let mut deaf = Client::greeted(server.client_address()).await;
    let batch: Vec<_> = (0..TRANSFERS_MAX as u128).map(|number| (number, "A", "x@A", 1)).collect();
    let ask = transfers(Wait::Local, 5_000, &batch);
    // It sends until the node takes no more: its own window, and the buffers between them, are full.
    let mut sent = 0;
    let refused = loop {
        let write = deaf.send(ask.clone());
        match tokio::time::timeout(std::time::Duration::from_secs(1), write).await {
            Ok(_) if sent < 500 => sent += 1,
            Ok(_) => break false,
            Err(_) => break true,
        }
    };
    assert!(refused, "{sent} calls were taken of a client that reads nothing");
    let mut honest = Client::greeted(server.client_address()).await;
    assert_eq!(honest.status().await.state, State::Ready);
    // Some of it went past the writer, some was cut in two, and some waited in its call.
    let mut told = BTreeMap::new();
    while told.values().map(BTreeSet::len).sum::<usize>() < sent * batch.len() {
        let Reply { tag, told: Told::Outcomes(outcomes) } = deaf.reply().await.unwrap() else { panic!() };
        for outcome in outcomes {
            assert!(told.entry(tag).or_insert_with(BTreeSet::new).insert(outcome.index()), "told once");
        }
    }
    assert!(told.values().all(|indices| indices.len() == batch.len()));
}

#[actix_rt::test]
async fn thousands_of_small_calls_at_once_are_all_answered() {
    let servers = three_with(1_000_000).await;
    let mut first = 0u64;
    for wait in [Wait::Local, Wait::Settled] {
        let client = Client::greeted(servers["A"].client_address()).await;
        let (mut from, mut to) = client.stream.into_split();
        let tags = first + 1..=first + 8_000;
        let mut bytes = Vec::new();
        for tag in tags.clone() {
            let ask = transfers(wait, 20_000, &[(u128::from(tag), "A", "B", 1)]);
            bytes.extend(frame_of(&Call { tag, ask }));
        }
        let sender = tokio::task::spawn_local(async move {
            to.write_all(&bytes).await.unwrap();
            to
        });
        let limits = FrameLimits { bytes_max: 16 << 20, idle: PATIENCE, finish: PATIENCE };
        let mut answered = BTreeSet::new();
        while answered.len() < 8_000 {
            let reply: Reply = codec::decode(&read_frame(&mut from, &limits).await.unwrap()).unwrap();
            assert!(tags.contains(&reply.tag) && answered.insert(reply.tag), "one reply for each call");
        }
        drop(sender.await.unwrap());
        first += 8_000;
    }
}
