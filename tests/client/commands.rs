//! The commands as their users run them: a process, its arguments, its stdout and its exit status.

use std::process::{Output, Stdio};
use std::time::Duration;

use paxos_banking::ledger::{Answer, Approval, Reason, Trace, Verdict};
use paxos_banking::types::{Amount, Height, Seq};
use paxos_banking::wire::client::{Ask, Balance, Call, FailureCode, GenesisPage, LogEntry, Told};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::node::{Act, Bank, Node, all, approved, failed, genesis, node, nowhere};
use crate::reads::{chain, operation, page};

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Runs the command in a process of its own, while the nodes of this one answer.
pub async fn paxbank(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(arguments).env_remove("PAXBANK_NODES");
    #[allow(clippy::disallowed_methods, reason = "the thread waits for the process, the nodes go on")]
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Its exit status, and the one JSON value on stdout.
pub async fn json_of(arguments: &[&str]) -> (i32, Value) {
    let output = paxbank(&[arguments, &["--output", "json"]].concat()).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    (output.status.code().unwrap(), value)
}

/// Its exit status, and the text on stdout.
pub async fn text_of(arguments: &[&str]) -> (i32, String) {
    let output = paxbank(arguments).await;
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn wrong_use_is_status_2_and_json_where_json_was_asked_for() {
    let wrong: [(&[&str], &str); 16] = [
        (&["transfer", "A", "B", "5"], "such as --nodes 127.0.0.1:8001"),
        (&["transfer", "A", "B", "5", "--nodes", "localhost"], "give HOST:PORT"),
        (&["status", "--nodes", "a:1 b:2"], "give HOST:PORT, such as 127.0.0.1:8001"),
        (&["status", "--nodes", "http://a:1"], "give HOST:PORT, such as 127.0.0.1:8001"),
        (&["transfer", "A", "B", "-5", "--nodes", "localhost:1"], "is negative"),
        (&["transfer", "A", "B", "1.5", "--nodes", "localhost:1"], "whole number"),
        (&["transfer", "A", "B"], "<AMOUNT>"),
        (&["transfer", "A", "B", "5", "--id", "7"], "is not a transfer id"),
        (&["balance", "A", "--deadline", "10"], "such as 500ms or 10s"),
        (&["chain", "--from", "3", "--to", "1", "--nodes", "localhost:1"], "lower height first"),
        (&["status", "--nodes", ""], "give HOST:PORT"),
        (&["follow", "--from", "0"], "give a whole number, 1 or more"),
        (&["follow", "--every", "0s"], "give 10ms or more"),
        (&["run", "x", "--window", "0"], "give a whole number, 1 or more"),
        (&["run", "x", "--run-id", "abc"], "that is no id of a run"),
        (&["transmogrify"], "unrecognized subcommand"),
    ];
    for (arguments, expected) in wrong {
        let (status, value) = json_of(arguments).await;
        let message = value["error"]["message"].as_str().unwrap();
        assert!(status == 2 && value["error"]["code"] == "usage" && message.contains(expected), "{value}");
        let output = paxbank(arguments).await;
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "stdout is for results");
        assert!(String::from_utf8(output.stderr).unwrap().contains(expected));
    }
    let output = paxbank(&["--output=json", "transfer"]).await;
    assert_eq!(output.status.code(), Some(2));
    serde_json::from_slice::<Value>(&output.stdout).unwrap();
}

/// Runs the command with one variable of the environment and stdout elsewhere: its exit status and stderr.
fn with_variable(arguments: &[&str], (name, value): (&str, &str), stdout: Stdio) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(arguments).env_remove("PAXBANK_NODES").env(name, value).stdout(stdout);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_wrong_value_of_the_environment_is_named_by_its_variable() {
    let variable = ("PAXBANK_NODE_OPENING", "abc");
    let node = ["node", "--id", "A", "--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0"];
    let (status, told) = with_variable(&node, variable, Stdio::null());
    assert!(status == 2 && told.contains("for 'PAXBANK_NODE_OPENING'") && !told.contains("--opening"), "{told}");
    let (status, told) = with_variable(&[&node[..], &["--opening", "x"]].concat(), variable, Stdio::null());
    assert!(status == 2 && told.contains("'--opening <AMOUNT>'"), "{told}");
    let (status, told) = with_variable(&["status"], ("PAXBANK_NODES", ""), Stdio::null());
    assert!(status == 2 && told.contains("no node is given; say where nodes listen"), "{told}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_written_is_status_2_where_a_command_only_tells_and_else_what_was_done() {
    let blocks = chain(2);
    let (mut bank, full) = (Bank::new().await, || Stdio::from(std::fs::File::create("/dev/full").unwrap()));
    let node = bank.start("A", move |call| match &call.ask {
        Ask::Transfers { .. } => vec![all(call, &approved("A", 1, None))],
        Ask::Genesis { after } => vec![Act::Tell(Told::Genesis(GenesisPage::of(&genesis(), *after)))],
        _ => vec![page(&blocks, call)],
    });
    for (arguments, expected) in [
        (&["completions", "bash"][..], 2),
        (&["man"], 2),
        (&["status"], 2),
        (&["chain"], 2),
        (&["transfer", "A", "B", "5"], 0),
    ] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
        command.args(arguments).env("PAXBANK_NODES", &node.address).stdout(full()).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {told}");
        assert!(told.contains("the result cannot be written"), "{told}");
    }
}

/// What a stranger at an address says is told as what it is.
#[tokio::test]
async fn something_that_is_no_node_for_clients_is_told_with_what_it_may_be() {
    for (says, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "something that is no paxbank node answers there"),
        (b"", "is this the port for peers? give that of --client-listen"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // All that was asked is read, or the end would be a reset.
                let mut asked = [0; 1024];
                drop(tokio::io::AsyncReadExt::read(&mut stream, &mut asked).await);
                drop(tokio::io::AsyncWriteExt::write_all(&mut stream, says).await);
            }
        });
        let (status, value) = json_of(&["balance", "A", "--nodes", &address, "--deadline", "500ms"]).await;
        let message = value["error"]["message"].as_str().unwrap();
        assert!(status == 3 && message.contains(expected), "{value}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_before_a_node_was_reached_says_that_nothing_was_sent() {
    // It takes connections, and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(["transfer", "A", "B", "5", "--deadline", "60s", "--nodes", &address]).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    let _stream = listener.accept().await.unwrap();
    let process = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "INT", &process]).status().unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && told.contains("nothing was sent"), "{told}");
}

#[tokio::test]
async fn the_help_of_every_command_begins_with_examples_and_its_short_form_has_none() {
    let (_, whole) = text_of(&["help"]).await;
    let commands = whole.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: Vec<_> =
        named.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help").collect();
    assert!(names.contains(&"transfer") && names.contains(&"follow") && names.len() >= 18, "{names:?}");
    for name in names {
        let (status, help) = text_of(&[name, "--help"]).await;
        assert!(status == 0 && help.starts_with("Examples:\n"), "{help}");
        assert!(help.split("\n\n").next().unwrap().contains(&format!("paxbank {name}")), "{help}");
        let (status, short) = text_of(&[name, "-h"]).await;
        assert!(status == 0 && !short.contains("Examples:") && short.lines().count() < 40, "{short}");
    }
}

#[tokio::test]
async fn a_transfer_tells_its_outcome_in_both_forms_and_by_its_status() {
    let mut bank = Bank::new().await;
    let refusal =
        Reason::InsufficientFunds { height: Height(3), spendable: Amount::new(20), not_heard: [node("C")].into() };
    let home = bank.start("A", move |call| {
        let Ask::Transfers { transfers, .. } = &call.ask else { panic!("transfers") };
        match transfers[0].3.units() {
            1 => vec![all(call, &approved("A", 5, Some(2)))],
            2 => vec![all(call, &Answer::Refused(refusal.clone()))],
            3 => vec![all(call, &Answer::Expired)],
            4 => vec![all(call, &Answer::Conflict)],
            5 => vec![all(call, &approved("A", 6, None))],
            _ => vec![],
        }
    });
    let nodes = home.address.as_str();
    let transfer = |amount| ["transfer", "A", "bob@B", amount, "--id", ID, "--nodes", nodes, "--deadline", "2s"];
    let form = |outcome, origin: Value, seq: Value, height: Value, reason: Value| json!({ "id": ID, "outcome": outcome, "origin": origin, "seq": seq, "height": height, "reason": reason });
    let (status, value) = json_of(&transfer("1")).await;
    assert_eq!((status, value), (0, form("approved", json!("A"), json!(5), json!(2), Value::Null)));
    let (status, value) = json_of(&transfer("2")).await;
    let reason = json!({ "code": "insufficient_funds", "height": 3, "spendable": 20, "not_heard": ["C"] });
    assert_eq!((status, value), (1, form("refused", Value::Null, Value::Null, Value::Null, reason)));
    for (amount, code) in [("3", "expired"), ("6", "deadline")] {
        let (status, value) = json_of(&transfer(amount)).await;
        assert_eq!((status, &value["outcome"], &value["reason"]["code"]), (4, &json!("unknown"), &json!(code)));
        assert_eq!(value["id"], ID, "to ask again with");
    }
    let (status, value) = json_of(&transfer("4")).await;
    assert_eq!((status, &value["error"]["code"]), (2, &json!("conflict")));

    assert_eq!(
        text_of(&transfer("1")).await,
        (0, format!("A→bob@B 1  approved as entry A:5, settled in block 2\nid {ID}\n"))
    );
    let (status, text) = text_of(&transfer("2")).await;
    assert_eq!(
        (status, text),
        (1, format!("A→bob@B 2  refused: 20 can be spent after block 3, not heard: C\nid {ID}\n"))
    );
    let (status, text) = text_of(&transfer("6")).await;
    assert!(
        status == 4 && text.contains("no decision was heard") && text.contains(&format!("paxbank outcome {ID}")),
        "{text}"
    );
    let (status, text) = text_of(&[&transfer("5")[..], &["--wait", "settled"]].concat()).await;
    assert_eq!((status, text), (0, format!("A→bob@B 5  approved as entry A:6, not yet settled\nid {ID}\n")));
}

#[tokio::test]
async fn an_opening_is_asked_for_until_it_is_settled_under_one_id() {
    let mut bank = Bank::new().await;
    let mut tries = 0;
    let home = bank.start("A", move |call| {
        let Ask::Open { account, id, .. } = &call.ask else { panic!("an opening is expected, not {call:?}") };
        assert_eq!(id.to_string(), ID);
        tries += 1;
        match (account.name(), tries) {
            ("new", 1) => vec![failed(FailureCode::Busy)],
            ("new", 2) => vec![Act::Close],
            ("new", 3) => vec![all(call, &approved("A", 5, None))],
            ("new", _) => vec![all(call, &approved("A", 5, Some(2)))],
            _ => vec![all(call, &Answer::Refused(Reason::AccountExists { height: Height(3), account: *account }))],
        }
    });
    let nodes = home.address.as_str();
    let open = |account| ["open", account, "--id", ID, "--nodes", nodes, "--deadline", "5s"];
    let told = text_of(&open("new@A")).await;
    assert_eq!(told, (0, format!("open new@A  approved as entry A:5, settled in block 2\nid {ID}\n")));
    let told = text_of(&open("old@A")).await;
    assert_eq!(
        told,
        (
            1,
            format!(
                "open old@A  refused: the account old@A exists after block 3, or will as soon as its opening is settled\nid {ID}\n"
            )
        )
    );
    let (status, value) = json_of(&open("old@A")).await;
    let reason = json!({ "code": "account_exists", "height": 3, "account": "old@A" });
    assert_eq!((status, &value["outcome"], &value["reason"]), (1, &json!("refused"), &reason));
}

#[tokio::test]
async fn where_no_node_is_reached_the_status_is_3() {
    let nodes = [nowhere().await, nowhere().await].join(",");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transfers.txt");
    std::fs::write(&file, "(A, B, 4)\n").unwrap();
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 11] = [
        &["transfer", "A", "B", "1", "--deadline", "100ms"],
        &["outcome", ID],
        &["balance", "A"],
        &["log", "A"],
        &["chain"],
        &["settle"],
        &["run", file],
        &["verify"],
        &["follow"],
        &["follow", "--from", "1"],
        &["export", file, "--force"],
    ];
    for command in commands {
        let (status, value) = json_of(&[command, &["--nodes", &nodes]].concat()).await;
        assert_eq!((status, &value["error"]["code"]), (3, &json!("no_node")), "{command:?}");
    }
    let (status, value) = json_of(&["status", "--nodes", &nodes]).await;
    assert_eq!((status, &value["error"]["code"]), (3, &json!("no_node")));
    let output = paxbank(&["status", "--nodes", &nodes]).await;
    let lines = String::from_utf8(output.stderr).unwrap();
    for address in nodes.split(',') {
        assert!(lines.contains(&format!("{address} cannot be reached")), "{lines}");
    }
}

/// Runs the command, sends it a signal once `home` has got transfers, and tells its exit status, stdout and stderr.
async fn interrupted(arguments: &[&str], signal: &str, home: &Node) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(arguments).env_remove("PAXBANK_NODES").kill_on_drop(true);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let before = home.transfers().len();
    while home.transfers().len() == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let process = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-s", signal, &process]).status().await.unwrap().success());
    let began = Instant::now();
    let output = child.wait_with_output().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "it ends at once, not with its deadline");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_a_transfer_at_once_and_its_id_is_told() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |_| vec![]);
    let transfer = ["transfer", "A", "B", "5", "--nodes", &home.address, "--deadline", "60s"];
    for signal in ["INT", "TERM"] {
        let (status, text, _) = interrupted(&transfer, signal, &home).await;
        let id = home.transfers().last().unwrap()[0].0;
        assert!(status == 4 && text.contains("unknown: ") && text.contains(&format!("\nid {id}\n")), "{text}");
        assert!(text.contains(&format!("paxbank outcome {id}")), "{text}");
    }
    let (status, text, _) = interrupted(&[&transfer[..], &["--output", "json"]].concat(), "INT", &home).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &value["outcome"], &value["reason"]["code"]), (4, &json!("unknown"), &json!("interrupted")));
    assert_eq!(value["id"], json!(home.transfers().last().unwrap()[0].0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_stops_a_run_which_tells_what_it_knows_and_how_to_go_on() {
    let mut bank = Bank::new().await;
    let home = bank.start("B", |call| {
        let Ask::Transfers { transfers, .. } = &call.ask else { panic!("transfers") };
        match transfers[0].3.units() {
            1 => vec![all(call, &approved("B", 1, None))],
            _ => vec![],
        }
    });
    let first = bank.start("A", |call| vec![all(call, &approved("A", 1, None))]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transfers.txt");
    std::fs::write(&file, "(A, B, 1)\n(B, C, 3)\n(A, B, 4)\n").unwrap();
    let run = ["run", file.to_str().unwrap(), "--nodes", &first.address, "--deadline", "60s", "--run-id", ID];
    let (status, text, _) = interrupted(&[&run[..], &["--output", "json"]].concat(), "TERM", &home).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    let outcomes: Vec<_> = value["transfers"].as_array().unwrap().iter().map(|t| t["outcome"].clone()).collect();
    assert_eq!((status, outcomes), (4, ["approved", "unknown", "not_sent"].map(Value::from).to_vec()));
    assert_eq!(value["transfers"][1]["reason"]["code"], "interrupted");
    assert_eq!((&value["unknown"], &value["not_sent"], &value["run_id"]), (&json!(1), &json!(1), &json!(ID)));
    let (status, text, _) = interrupted(&run, "INT", &home).await;
    assert!(status == 4 && text.contains("1 approved, 0 refused, 1 unknown, 1 not sent in "), "{text}");
    assert!(text.contains(&format!("To go on, run the same file with --run-id {ID}")), "{text}");
}

#[tokio::test]
async fn lines_whose_home_is_not_reached_were_not_sent() {
    let mut bank = Bank::new().await;
    bank.close("A");
    let other = bank.start("B", |call| vec![all(call, &approved("B", 1, None))]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transfers.txt");
    std::fs::write(&file, "(B, A, 1)\n(A, B, 4)\n(B, A, 2)\n").unwrap();
    let run = ["run", file.to_str().unwrap(), "--nodes", &other.address, "--deadline", "1s"];
    let (status, value) = json_of(&run).await;
    let told: Vec<_> = value["transfers"].as_array().unwrap().iter().map(|t| (&t["outcome"], &t["reason"])).collect();
    assert_eq!(
        (status, told[0].0, told[1].0, told[2].0),
        (3, &json!("approved"), &json!("not_sent"), &json!("not_sent"))
    );
    assert_eq!((&told[1].1["code"], &told[2].1["code"]), (&json!("no_node"), &json!("not_sent")));
    assert_eq!((&value["approved"], &value["unknown"], &value["not_sent"]), (&json!(1), &json!(0), &json!(2)));
    assert_eq!(other.transfers().len(), 1);
}

fn trace(call: &Call, verdict: Option<Verdict>) -> Act {
    let Ask::Trace { id } = call.ask else { panic!("a trace is expected, not {call:?}") };
    let (from, to, amount) = ("A".parse().unwrap(), "B".parse().unwrap(), Amount::new(5));
    let traces = verdict.map(|verdict| Trace { id, from, to, amount, verdict });
    Act::Tell(Told::Traces { height: Height(4), traces: traces.into_iter().collect() })
}

#[tokio::test]
async fn an_outcome_is_put_together_from_all_nodes_and_says_who_was_not_heard() {
    let mut bank = Bank::new().await;
    let approval = Approval { origin: node("A"), seq: Seq(2), height: Some(Height(4)) };
    let (a, _b) = (
        bank.start("A", |call| vec![trace(call, None)]),
        bank.start("B", move |call| {
            let seen = matches!(call.ask, Ask::Trace { id } if id.to_string() == ID);
            vec![trace(call, seen.then_some(Verdict::Approved(approval)))]
        }),
    );
    bank.close("C");
    let ask = |id| ["outcome", id, "--nodes", &a.address, "--deadline", "2s"];
    let (status, value) = json_of(&ask(ID)).await;
    let expected = json!({
        "id": ID, "outcome": "approved", "origin": "A", "seq": 2, "height": 4, "reason": null,
        "from": "A", "to": "B", "amount": 5,
    });
    assert_eq!((status, value), (0, expected));
    let (status, value) = json_of(&ask("01ARZ3NDEKTSV4RRFFQ69G5FAW")).await;
    assert_eq!((status, &value["outcome"], &value["reason"]["code"]), (4, &json!("unknown"), &json!("not_all_heard")));
    assert_eq!(value["reason"]["not_heard"], json!(["C"]));
}

#[tokio::test]
async fn the_outcome_of_an_opening_is_told_as_one() {
    let mut bank = Bank::new().await;
    let exists = || Reason::AccountExists { height: Height(4), account: "A".parse().unwrap() };
    let tell = move |call: &Call| {
        let Ask::Trace { id } = call.ask else { panic!("a trace is expected, not {call:?}") };
        let (account, amount, verdict) = ("A".parse().unwrap(), Amount::ZERO, Verdict::Refused(exists()));
        let traces = vec![Trace { id, from: account, to: account, amount, verdict }];
        vec![Act::Tell(Told::Traces { height: Height(4), traces })]
    };
    let a = bank.start("A", tell);
    let ask = ["outcome", ID, "--nodes", &a.address, "--deadline", "2s"];
    let (status, value) = json_of(&ask).await;
    let reason = json!({ "code": "account_exists", "height": 4, "account": "A" });
    let expected = json!({
        "id": ID, "outcome": "refused", "origin": null, "seq": null, "height": null, "reason": reason, "open": "A",
    });
    assert_eq!((status, value), (1, expected));
}

#[tokio::test]
async fn balances_settlements_and_the_state_of_nodes_are_told_in_both_forms() {
    let mut bank = Bank::new().await;
    let a = bank.start("A", |call| match &call.ask {
        Ask::Balance { account, .. } if account.name() == "x" => vec![failed(FailureCode::UnknownAccount)],
        Ask::Balance { account, .. } => {
            let (spendable, settled) = (Some(Amount::new(70)), Amount::new(80));
            let not_heard = [node("C")].into();
            vec![Act::Tell(Told::Balance(Balance {
                account: *account,
                spendable,
                settled,
                height: Height(2),
                not_heard,
            }))]
        }
        _ => vec![Act::Tell(Told::Settled { height: Height(3), not_heard: [node("C")].into() })],
    });
    bank.close("B");
    bank.close("C");
    let nodes = ["--nodes", a.address.as_str()];
    let (status, value) = json_of(&[&["balance", "A", "--read", "fresh"][..], &nodes].concat()).await;
    let expected =
        json!({ "account": "A", "spendable": 70, "settled": 80, "height": 2, "node": "A", "not_heard": ["C"] });
    assert_eq!((status, value), (0, expected));
    let (status, text) = text_of(&[&["balance", "A"][..], &nodes].concat()).await;
    assert_eq!((status, text.as_str()), (0, "A  can spend 70; settled 80 at height 2, says A; not heard: C\n"));
    let (status, value) = json_of(&[&["balance", "x@A"][..], &nodes].concat()).await;
    assert_eq!((status, &value["error"]["code"]), (1, &json!("unknown_account")));
    let (status, value) = json_of(&[&["settle"][..], &nodes].concat()).await;
    assert_eq!((status, value), (0, json!({ "height": 3, "not_heard": ["C"], "node": "A" })));
    let (status, value) = json_of(&[&["status"][..], &nodes].concat()).await;
    assert_eq!((status, &value["nodes"]["A"]["state"]), (0, &json!("ready")));
    let unreachable = json!({
        "state": "unreachable", "height": null, "tip": null, "log": null, "ballot": null, "peers_up": null,
        "store": null, "behind": null, "program": null, "clock_ms": null, "writes": null,
    });
    assert_eq!((&value["nodes"]["B"], &value["nodes"]["C"]), (&unreachable, &unreachable));
    assert_eq!(value["failed"].as_object().unwrap().len(), 2);
    let (_, text) = text_of(&[&["status"][..], &nodes].concat()).await;
    assert!(text.starts_with("node  state        height  behind  tip"), "{text}");
}

#[tokio::test]
async fn chains_and_logs_of_many_pages_are_one_json_value_also_where_a_page_is_missing() {
    let mut bank = Bank::new().await;
    let blocks = chain(5);
    let genesis = bank.genesis.clone();
    let served = blocks.clone();
    let script = move |broken: bool| {
        let (served, genesis) = (served.clone(), genesis.clone());
        move |call: &Call| match call.ask {
            Ask::Genesis { after } => vec![Act::Tell(Told::Genesis(GenesisPage::of(&genesis, after)))],
            Ask::Log { from } => {
                let seqs = [3, 4, 7].into_iter().map(Seq).filter(|seq| *seq >= from).take(2);
                vec![Act::Tell(Told::Log(seqs.map(|seq| LogEntry(seq, operation(seq.0))).collect()))]
            }
            Ask::Chain { from, .. } if broken && from > Height(2) => vec![failed(FailureCode::Store)],
            _ => vec![page(&served, call)],
        }
    };
    let (a, b) = (bank.start("A", script(false)), bank.start("B", script(true)));
    let (status, value) = json_of(&["chain", "--nodes", &a.address]).await;
    let heights: Vec<_> = value["blocks"].as_array().unwrap().iter().map(|block| block["height"].clone()).collect();
    assert_eq!((status, heights), (0, vec![json!(0), json!(1), json!(2), json!(3), json!(4), json!(5)]));
    assert_eq!(value["blocks"][5]["hash"], json!(blocks[4].hash()));
    assert_eq!(value["blocks"][1]["parent"], value["blocks"][0]["hash"]);
    let (status, text) = text_of(&["chain", "A", "--from", "5", "--nodes", &a.address]).await;
    assert_eq!((status, text), (0, format!("     5  {}  A:5 A→B 1\n", blocks[4].hash().short())));
    let (status, text) = text_of(&["chain", "--from", "9", "--nodes", &a.address]).await;
    assert_eq!((status, text.as_str()), (0, "There is no block 9: the chain of A has the height 5.\n"));
    let (status, value) = json_of(&["log", "A", "--nodes", &a.address]).await;
    let seqs: Vec<_> = value["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].clone()).collect();
    assert_eq!((status, seqs, &value["node"]), (0, vec![json!(3), json!(4), json!(7)], &json!("A")));
    let (status, value) = json_of(&["chain", "B", "--nodes", &b.address, "--deadline", "2s"]).await;
    assert_eq!((status, value["blocks"].as_array().unwrap().len(), &value["error"]["code"]), (3, 3, &json!("store")));
}

#[tokio::test]
async fn a_file_runs_in_order_goes_on_under_its_run_id_and_stops_at_what_is_unknown() {
    let mut bank = Bank::new().await;
    let (silent, told) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    let quiet = silent.clone();
    let home = bank.start("A", move |call| {
        let Ask::Transfers { transfers, .. } = &call.ask else { panic!("transfers") };
        match transfers[0].3.units() {
            99 => vec![all(call, &Answer::Refused(Reason::AmountZero))],
            3 if quiet.load(std::sync::atomic::Ordering::Relaxed) => vec![],
            units => vec![all(call, &approved("A", units, None))],
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transfers.txt");
    let nodes = ["--nodes", home.address.as_str(), "--deadline", "2s", "--run-id", told];
    let run = [&["run", file.to_str().unwrap()][..], &nodes].concat();
    std::fs::write(&file, "(A, B, 1)\n(A, B, -1)\n").unwrap();
    assert_eq!(json_of(&run).await.0, 2);
    std::fs::write(&file, "(A, B, 1)\n(A, Z, 1)\n").unwrap();
    let (status, value) = json_of(&run).await;
    let message = value["error"]["message"].as_str().unwrap();
    assert!(
        status == 2 && message.contains("line 2: there is no account Z; this bank has the nodes A, B, C"),
        "{message}"
    );
    assert!(home.transfers().is_empty(), "a file with a wrong line is not begun");

    std::fs::write(&file, "(A, B, 1)\n(A, C, 99)\n(A, B, 3)\n(A, B, 4)\n").unwrap();
    let (status, value) = json_of(&run).await;
    let outcomes: Vec<_> = value["transfers"].as_array().unwrap().iter().map(|t| t["outcome"].clone()).collect();
    assert_eq!((status, outcomes), (4, ["approved", "refused", "unknown", "not_sent"].map(Value::from).to_vec()));
    assert_eq!((&value["approved"], &value["refused"], &value["unknown"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(value["not_sent"], 1);
    assert_eq!(value["transfers"][1]["reason"], json!({ "code": "amount_zero" }));
    assert_eq!(value["transfers"][3]["reason"]["code"], "not_sent");
    assert!(home.transfers().concat().iter().all(|transfer| transfer.3.units() != 4));

    silent.store(false, std::sync::atomic::Ordering::Relaxed);
    let (status, again) = json_of(&[&run[..], &["--window", "4"]].concat()).await;
    assert_eq!((status, &again["approved"], &again["unknown"]), (0, &json!(3), &json!(0)));
    for index in 0..4 {
        assert_eq!(again["transfers"][index]["id"], value["transfers"][index]["id"], "nothing is paid twice");
    }
    let (status, text) = text_of(&run).await;
    assert!(status == 0 && text.contains("3 approved, 1 refused, 0 unknown in "), "{text}");
}

#[tokio::test]
async fn verify_waits_once_for_all_silent_nodes_and_names_where_each_may_be() {
    let blocks = chain(2);
    let mut bank = Bank::new().await;
    let genesis = bank.genesis.clone();
    // A knows not where the others are. They are given, and take connections, but say nothing.
    let (b, c) = (bank.address("B"), bank.address("C"));
    let mut welcome = bank.welcome("A");
    welcome.homes.insert(node("B"), None);
    welcome.homes.insert(node("C"), None);
    let a = bank.start_as("A", welcome, move |call| match call.ask {
        Ask::Genesis { after } => vec![Act::Tell(Told::Genesis(GenesisPage::of(&genesis, after)))],
        _ => vec![page(&blocks, call)],
    });
    let nodes = [a.address.as_str(), &b, &c].join(",");
    let began = Instant::now();
    let (status, value) = json_of(&["verify", "--nodes", &nodes, "--deadline", "4s"]).await;
    assert!(began.elapsed() < Duration::from_secs(7), "one wait for all, not one for each");
    assert_eq!((status, &value["nodes"]["A"]["height"]), (0, &json!(2)));
    for name in ["B", "C"] {
        let why = value["not_heard"][name].as_str().unwrap();
        assert!(why.contains(&b) == why.contains(&c), "which of them it is nobody knows: {why}");
    }
}

#[tokio::test]
async fn verify_finds_two_histories_and_damage_and_names_who_was_not_heard() {
    let blocks = chain(5);
    let serve = |genesis: &paxos_banking::ledger::Genesis, blocks: &[std::sync::Arc<paxos_banking::ledger::Block>]| {
        let (genesis, blocks) = (genesis.clone(), blocks.to_vec());
        move |call: &Call| match call.ask {
            Ask::Genesis { after } => vec![Act::Tell(Told::Genesis(GenesisPage::of(&genesis, after)))],
            _ => vec![page(&blocks, call)],
        }
    };
    let mut bank = Bank::new().await;
    let genesis = bank.genesis.clone();
    let (a, b) = (bank.start("A", serve(&genesis, &blocks)), bank.start("B", serve(&genesis, &blocks[..3])));
    bank.close("C");
    let verify = ["verify", "--nodes", &a.address, "--deadline", "2s"];
    let (status, value) = json_of(&verify).await;
    assert_eq!((status, &value["nodes"]["A"]["height"], &value["nodes"]["B"]["height"]), (0, &json!(5), &json!(3)));
    assert_eq!((&value["height"], value["not_heard"].as_object().unwrap().len()), (&json!(3), 1));
    let (status, text) = text_of(&verify).await;
    assert!(status == 0 && text.contains("B  sound up to height 3") && text.contains("The chains agree"), "{text}");
    assert!(text.contains(&format!("C  not heard: {} cannot be reached", bank.address("C"))), "{text}");
    drop(b);
    let (status, text) = text_of(&verify).await;
    assert!(status == 0 && text.contains("Only A was heard") && !text.contains("agree"), "{text}");
    drop(a);

    let other = crate::reads::chain_from(2, 5);
    let mut bank = Bank::new().await;
    let (a, _b) = (bank.start("A", serve(&genesis, &blocks)), bank.start("B", serve(&genesis, &other)));
    bank.close("C");
    let verify = ["verify", "--nodes", &a.address, "--deadline", "2s"];
    let (status, value) = json_of(&verify).await;
    let message = value["error"]["message"].as_str().unwrap();
    assert_eq!((status, message), (5, "A and B hold different blocks at height 1: two histories"));

    let mut bank = Bank::new().await;
    let forged = [&blocks[..2], &other[2..]].concat();
    let a = bank.start("A", serve(&genesis, &forged));
    let verify = ["verify", "--nodes", &a.address, "--deadline", "2s"];
    let (status, value) = json_of(&verify).await;
    let message = value["error"]["message"].as_str().unwrap();
    assert!(status == 5 && message.starts_with("block 3 of node A: its parent is"), "{message}");
}
