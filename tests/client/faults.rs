//! Nodes that are not who they should be, or say what cannot be.

use std::time::Duration;

use paxos_banking::client::{ClientError, NodeError, Outcome};
use paxos_banking::ledger::Answer;
use paxos_banking::text::printable;
use paxos_banking::types::Seq;
use paxos_banking::wire::client::{
    Ask, Call, Failure, FailureCode, Outcome as WireOutcome, REPLY_BYTES_MAX, Status, Told, Welcome,
};
use tokio::time::Instant;

use crate::commands::paxbank;
use crate::node::{Act, Bank, all, approved, client, failed, hasty_client, node, other_cluster, request, status};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_node_under_another_name_is_not_used_and_both_are_named() {
    let mut bank = Bank::new().await;
    bank.close("C");
    let b = bank.start("B", |_| panic!("nothing is sent to it"));
    let stranger = bank.welcome("C");
    let a = bank.start_as("A", stranger, |_| panic!("nothing is sent to it"));
    let client = client([&b.address]);
    let error = client.transfer(request(&client, "A", "B", 1), SHORT).await.unwrap_err();
    let expected = NodeError::WrongNode { address: a.address.clone(), expected: node("A"), found: node("C") };
    assert_eq!(error.node_error().as_deref(), Some(&expected));
    assert!(matches!(error, ClientError::WrongPlace(_)));
    let text = error.to_string();
    assert!(text.contains("node A") && text.contains("node C"), "{text}");
}

#[tokio::test]
async fn a_node_of_another_bank_is_not_used_and_no_time_is_lost_with_it() {
    let mut bank = Bank::new().await;
    let b = bank.start("B", |_| panic!("nothing is sent to it"));
    let stranger = Welcome { cluster: other_cluster(), ..bank.welcome("A") };
    let a = bank.start_as("A", stranger, |_| panic!("nothing is sent to it"));
    let client = client([&b.address]);
    let began = Instant::now();
    let error = client.transfer(request(&client, "A", "B", 1), LONG).await.unwrap_err();
    assert!(began.elapsed() < LONG / 2);
    let (address, expected, found) = (a.address.clone(), bank.genesis.id(), other_cluster());
    let expected = NodeError::WrongCluster { address, expected, found };
    assert_eq!(error.node_error().as_deref(), Some(&expected));
}

#[tokio::test]
async fn a_node_of_another_version_is_not_used_and_says_why() {
    let mut bank = Bank::new().await;
    let home = bank.start_bare("A", |_| vec![failed(FailureCode::Version)]);
    let client = client([&home.address]);
    let error = client.transfer(request(&client, "A", "B", 1), LONG).await.unwrap_err();
    assert_eq!(error.code(), "version");
    assert!(error.to_string().contains("as the script wants it"), "{error}");
}

#[tokio::test]
async fn a_home_that_the_bank_does_not_have_is_named_at_once() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |_| panic!("nothing is sent to it"));
    let client = client([&home.address]);
    let error = client.transfer(request(&client, "alice@Z", "B", 1), LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "this bank has no node Z; it has A, B, C");
}

#[tokio::test]
async fn a_home_that_is_down_is_named_with_its_own_address_and_no_other() {
    let mut bank = Bank::new().await;
    bank.close("B");
    bank.close("C");
    let a = bank.start("A", |_| panic!("nothing is sent to it"));
    for home in ["B", "C"] {
        // All are given: whose address is whose shows only when A answers.
        let client = client([&bank.address("B"), &bank.address("C"), &a.address]);
        let error = client.transfer(request(&client, home, "A", 1), SHORT).await.unwrap_err();
        let why = error.to_string();
        assert!(why.starts_with(&format!("{} cannot be reached", bank.address(home))), "{home}: {why}");
    }
}

#[tokio::test]
async fn a_home_that_moved_is_found_again_through_the_others() {
    let mut bank = Bank::new().await;
    let mut moved = Bank::new().await;
    let approve = |call: &Call| vec![all(call, &approved("A", 1, None))];
    let first = bank.start("A", approve);
    let client = client([&first.address]);
    assert!(matches!(client.transfer(request(&client, "A", "B", 1), LONG).await, Ok(Outcome::Approved(_))));
    // A comes back elsewhere; B, of which the client only heard, knows where.
    let second = moved.start_as("A", bank.welcome("A"), approve);
    let mut welcome = bank.welcome("B");
    welcome.homes.insert(node("A"), Some(second.address.clone()));
    let b = bank.start_as("B", welcome, |_| panic!("nothing is sent to it"));
    drop(first);
    let outcome = client.transfer(request(&client, "A", "B", 1), LONG).await;
    assert!(matches!(outcome, Ok(Outcome::Approved(_))), "{outcome:?}");
    assert_eq!(second.transfers().len(), 1);
    assert!(!b.calls.lock().unwrap().is_empty());
}

/// The first call gets what cannot be an answer, the second, which is on a new connection, a proper one.
async fn is_dropped_and_retried(nonsense: impl Fn(&Call) -> Act + Send + 'static) {
    let mut bank = Bank::new().await;
    let mut first = true;
    let home = bank.start("A", move |call| match std::mem::take(&mut first) {
        true => vec![nonsense(call)],
        false => vec![all(call, &approved("A", 9, None))],
    });
    let client = client([&home.address]);
    let outcome = client.transfer(request(&client, "A", "B", 1), LONG).await.unwrap();
    assert!(matches!(outcome, Outcome::Approved(approval) if approval.seq == Seq(9)), "{outcome:?}");
    assert_eq!((home.hellos(), home.transfers().len()), (2, 2), "one call on each of two connections");
}

#[tokio::test]
async fn what_cannot_be_an_answer_ends_the_connection_and_the_transfer_is_retried() {
    let outcome = || WireOutcome::new(0, Answer::Busy);
    is_dropped_and_retried(|call| Act::TellTo(call.tag + 1, Told::Outcomes(Vec::new()))).await;
    is_dropped_and_retried(|_| Act::TellTo(0, Told::Outcomes(Vec::new()))).await;
    is_dropped_and_retried(|_| Act::Raw(b"\x00\x00\x00\x05hello".to_vec())).await;
    is_dropped_and_retried(|_| Act::Raw(u32::try_from(REPLY_BYTES_MAX + 1).unwrap().to_be_bytes().to_vec())).await;
    is_dropped_and_retried(|_| Act::Tell(Told::Outcomes(vec![WireOutcome::new(1, Answer::Busy)]))).await;
    is_dropped_and_retried(move |_| Act::Tell(Told::Outcomes(vec![outcome(), outcome()]))).await;
    is_dropped_and_retried(|_| Act::Tell(Told::Log(Vec::new()))).await;
}

#[tokio::test]
async fn an_answer_that_comes_too_late_harms_nobody() {
    let mut bank = Bank::new().await;
    let mut late = None;
    let home = bank.start("A", move |call| {
        let busy = |tag| Act::TellTo(tag, Told::Outcomes(vec![WireOutcome::new(0, Answer::Busy)]));
        match late.take() {
            // Something is heard, so that the connection is not given up: an answer to none of the transfers.
            None => {
                late = Some(call.tag);
                vec![Act::Tell(Told::Outcomes(Vec::new()))]
            }
            Some(tag) => vec![busy(tag), all(call, &approved("A", 1, None))],
        }
    });
    let client = hasty_client([&home.address]);
    let outcome = client.transfer(request(&client, "A", "B", 1), LONG).await.unwrap();
    assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
    assert_eq!((home.hellos(), home.transfers().len()), (1, 2));
}

#[tokio::test]
async fn what_a_node_says_in_words_is_shown_without_what_a_terminal_would_obey() {
    let mut bank = Bank::new().await;
    let words = "\u{1b}[2J\u{9b}31m\r\nB  ready\u{202e}";
    let mut welcome = bank.welcome("A");
    welcome.homes.insert(node("B"), Some(format!("{words}:1")));
    let status = Status { reason: Some(words.to_owned()), store: words.to_owned(), ..status(node("A"), &welcome) };
    let a = bank.start_bare("A", move |call| match &call.ask {
        Ask::Hello { .. } => vec![Act::Tell(Told::Welcome(welcome.clone()))],
        Ask::Status => vec![Act::Tell(Told::Status(status.clone()))],
        _ => vec![Act::Tell(Told::Failed(Failure { code: FailureCode::BadCall, message: words.to_owned() }))],
    });
    for command in [&["status"][..], &["transfer", "A", "B", "1"], &["log", "A"]] {
        let output = paxbank(&[command, &["--nodes", &a.address]].concat()).await;
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(shown.contains("\\u{1b}[2J\\u{9b}31m\\r\\nB  ready\\u{202e}"), "{command:?}: {shown}");
        assert!(shown.lines().all(|line| printable(line) == line), "{command:?}: {shown:?}");
    }
}
