//! What the doctor finds, with scripted nodes and on this machine.

use paxos_banking::types::{Hash, Height};
use paxos_banking::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Failure, FailureCode, State, Status, Told};
use serde_json::{Value, json};

use crate::commands::{json_of, text_of};
use crate::node::{Act, Bank, Node, node, status};

/// A node that says of itself what `change` makes of a good status whenever it is asked.
fn start(bank: &mut Bank, name: &str, change: impl Fn(&mut Status) + Send + 'static) -> Node {
    let welcome = bank.welcome(name);
    let peers = ["A", "B", "C"].map(node).into_iter().filter(|peer| *peer != welcome.node).collect();
    let mut good = Status { height: Height(3), peers_up: peers, ..status(welcome.node, &welcome) };
    "redb:A/A.redb".clone_into(&mut good.store);
    bank.start_bare(name, move |call| match call.ask {
        Ask::Hello { .. } => vec![Act::Tell(Told::Welcome(welcome.clone()))],
        Ask::Status => {
            let mut status = good.clone();
            change(&mut status);
            vec![Act::Tell(Told::Status(status))]
        }
        _ => panic!("{call:?}"),
    })
}

/// What was found about a subject: its level, and its text with what to do.
fn about<'a>(value: &'a Value, subject: &str) -> Vec<(&'a str, String)> {
    let checks = value["checks"].as_array().unwrap().iter().filter(|check| check["subject"] == subject);
    let text = |check: &Value| format!("{}; {}", check["message"], check["advice"]);
    checks.map(|check| (check["level"].as_str().unwrap(), text(check))).collect()
}

#[tokio::test]
async fn a_bank_in_order_is_ok_line_by_line() {
    let mut bank = Bank::new().await;
    let nodes = ["A", "B", "C"].map(|name| start(&mut bank, name, |_| {}));
    let (status, text) = text_of(&["doctor", "--nodes", &nodes[0].address]).await;
    assert_eq!(status, 0, "{text}");
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "ok       paxbank: version {version}, speaks version {CLIENT_PROTOCOL_VERSION} with nodes\n\
         ok       node A: ready at height 3, speaks the same version\n\
         ok       node B: ready at height 3, speaks the same version\n\
         ok       node C: ready at height 3, speaks the same version\n\
         ok       bank: 3 of 3 nodes are ready\n\
         problems: 0, warnings: 0\n"
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn what_is_wrong_with_nodes_is_told_with_what_to_do() {
    let mut bank = Bank::new().await;
    bank.close("C");
    let c = bank.address("C");
    let a = start(&mut bank, "A", |status| {
        status.behind = 4;
        status.peers_up = [node("B")].into();
    });
    let b = start(&mut bank, "B", |status| {
        status.tip = Hash::from_bytes([9; 32]);
        status.peers_up = [].into();
        "memory".clone_into(&mut status.store);
    });
    let (status, value) = json_of(&["doctor", "--nodes", &a.address]).await;
    assert_eq!(status, 1, "{value}");
    let of_a = about(&value, "node A");
    assert_eq!(of_a.iter().map(|(level, _)| *level).collect::<Vec<_>>(), ["ok", "warning", "warning"]);
    assert!(of_a[1].1.contains("4 blocks behind") && of_a[2].1.contains("no link with C"), "{of_a:?}");
    let of_b = about(&value, "node B");
    assert_eq!(of_b.iter().map(|(level, _)| *level).collect::<Vec<_>>(), ["ok", "problem", "warning"]);
    assert!(of_b[1].1.contains("without a majority") && of_b[2].1.contains("in memory"), "{of_b:?}");
    let of_c = about(&value, "node C");
    assert!(of_c.len() == 1 && of_c[0].0 == "problem" && of_c[0].1.contains(&c), "{of_c:?}");
    assert!(of_c[0].1.contains("start it"), "{of_c:?}");
    let of_bank = about(&value, "bank");
    assert!(of_bank[0].1.contains("2 of 3 nodes are ready"), "{of_bank:?}");
    assert!(of_bank[1].0 == "problem" && of_bank[1].1.contains("A and B hold different blocks at height 3"));
    drop((a, b));

    let mut bank = Bank::new().await;
    let stopped = start(&mut bank, "A", |status| {
        (status.state, status.reason) = (State::Stopped, Some("the store went back".to_owned()));
    });
    let failing = start(&mut bank, "C", |status| {
        status.behind = 1;
        status.reason = Some("this node cannot write to its store (full): it approves nothing".to_owned());
    });
    let other = bank.start_bare("B", |_| {
        let message = "this node speaks 7".to_owned();
        vec![Act::Tell(Told::Failed(Failure { code: FailureCode::Version, message }))]
    });
    let nodes = format!("{},{},{}", stopped.address, other.address, failing.address);
    let (status, value) = json_of(&["doctor", "--nodes", &nodes]).await;
    assert_eq!(status, 1, "{value}");
    let found = about(&value, "node A").remove(0);
    assert!(found.0 == "problem" && found.1.contains("the store went back"), "{found:?}");
    let found = about(&value, "node B").remove(0);
    assert!(found.0 == "problem" && found.1.contains("in the version of the nodes"), "{found:?}");
    let of_c = about(&value, "node C");
    assert!(of_c[0].0 == "problem" && of_c[0].1.contains("cannot write to its store (full)"), "{of_c:?}");
    assert!(of_c[1].0 == "warning" && of_c[1].1.contains("1 block behind"), "{of_c:?}");
    drop((stopped, other, failing));
    let (status, value) = json_of(&["doctor", "--nodes", &nodes]).await;
    assert_eq!((status, &value["problems"]), (1, &json!(3)), "{value}");
}

fn now_ms() -> u64 {
    paxos_banking::wire::wall_clock_ms()
}

#[tokio::test]
async fn nodes_of_different_versions_and_clocks_that_are_apart_are_warned_of() {
    let tells = |program: &str, ahead_ms: i64| {
        let program = program.to_owned();
        move |status: &mut Status| {
            status.program = Some(program.clone());
            status.clock_ms = Some(now_ms().saturating_add_signed(ahead_ms));
        }
    };
    let mut bank = Bank::new().await;
    let nodes = [start(&mut bank, "A", tells("0.1.0", 0)), start(&mut bank, "B", tells("0.1.0", 0))];
    // An older program tells neither, and is not warned of for its clock.
    let old = start(&mut bank, "C", |_| {});
    let (status, value) = json_of(&["doctor", "--nodes", &nodes[0].address]).await;
    assert_eq!((status, &value["warnings"]), (0, &json!(1)), "{value}");
    let of_bank = about(&value, "bank");
    assert!(of_bank[1].0 == "warning", "{of_bank:?}");
    assert!(of_bank[1].1.contains("A, B: 0.1.0; C: an older version, which is not told"), "{of_bank:?}");
    assert!(of_bank[1].1.contains("restart the others with the newer program, one after the other"), "{of_bank:?}");
    assert!(of_bank[2].0 == "ok" && of_bank[2].1.contains("clocks"), "{of_bank:?}");
    drop((nodes, old));

    let mut bank = Bank::new().await;
    let nodes = [
        start(&mut bank, "A", tells("0.1.0", 100_000)),
        start(&mut bank, "B", tells("0.1.0", -50_000)),
        start(&mut bank, "C", tells("0.1.0", 0)),
    ];
    let (status, value) = json_of(&["doctor", "--nodes", &nodes[0].address]).await;
    assert_eq!((status, &value["warnings"]), (0, &json!(3)), "{value}");
    let of_a = about(&value, "node A").remove(1);
    assert!(of_a.0 == "warning" && of_a.1.contains("s ahead of this machine's"), "{of_a:?}");
    assert!(of_a.1.contains("only labels the lines of its log, and decides nothing"), "{of_a:?}");
    let of_b = about(&value, "node B").remove(1);
    assert!(of_b.0 == "warning" && of_b.1.contains("s behind this machine's"), "{of_b:?}");
    let of_bank = about(&value, "bank");
    assert!(of_bank[1].0 == "ok" && of_bank[1].1.contains("run the same version"), "{of_bank:?}");
    assert!(of_bank[2].0 == "warning" && of_bank[2].1.contains("the clock of A is at least"), "{of_bank:?}");
    assert!(of_bank[2].1.contains("s ahead of that of B"), "{of_bank:?}");
}

#[tokio::test]
async fn ports_and_stores_are_looked_at_without_a_bank() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let (status, value) = json_of(&["doctor", "--listen", &address]).await;
    let found = about(&value, &address).remove(0);
    assert!(status == 1 && found.0 == "problem" && found.1.contains("is another process using it"), "{found:?}");
    drop(busy);
    let (status, value) = json_of(&["doctor", "--listen", &address, "--store", "memory"]).await;
    assert_eq!((status, about(&value, &address).remove(0).0), (0, "ok"));
    assert_eq!((about(&value, "memory").remove(0).0, &value["warnings"]), ("warning", &json!(1)));
    let (status, value) = json_of(&["doctor", "--store", "redb:/nowhere/at/all"]).await;
    assert_eq!((status, about(&value, "redb:/nowhere/at/all").remove(0).0), (1, "problem"));
    let (status, value) = json_of(&["doctor"]).await;
    assert!(status == 0 && value["warnings"] == 1, "{value}");
    assert_eq!(json_of(&["doctor", "--store", "floppy"]).await.0, 2);
}
