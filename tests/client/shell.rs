//! `paxbank shell` as scripts use it: commands from a pipe or an argument, results on stdout, errors with their line.

use std::process::{Output, Stdio};

use paxos_banking::ledger::{Answer, Reason};
use paxos_banking::types::{Amount, Height, Seq};
use paxos_banking::wire::client::{Ask, Balance, FailureCode, GenesisPage, LogEntry, Told};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::node::{Act, Bank, Node, all, approved, failed, genesis};
use crate::reads::{chain, operation, page};

/// A node that knows a little of everything. To a transfer of 5 it says nothing.
fn a_node(bank: &mut Bank) -> Node {
    let (blocks, genesis) = (chain(2), genesis());
    bank.start("A", move |call| match &call.ask {
        Ask::Transfers { transfers, .. } => match transfers[0].3.units() {
            5 => vec![],
            90 => vec![all(call, &Answer::Refused(refusal()))],
            units => vec![all(call, &approved("A", units, None))],
        },
        Ask::Open { .. } => vec![all(call, &approved("A", 7, Some(2)))],
        Ask::Balance { account, .. } if account.name() == "A" => {
            let (account, settled) = (*account, Amount::new(80));
            let told = Balance { account, spendable: Some(settled), settled, height: Height(2), not_heard: [].into() };
            vec![Act::Tell(Told::Balance(told))]
        }
        Ask::Balance { .. } => vec![failed(FailureCode::UnknownAccount)],
        Ask::Log { from } if *from <= Seq(1) => vec![Act::Tell(Told::Log(vec![LogEntry(Seq(1), operation(1))]))],
        Ask::Log { .. } => vec![Act::Tell(Told::Log(vec![]))],
        Ask::Genesis { after } => vec![Act::Tell(Told::Genesis(GenesisPage::of(&genesis, *after)))],
        Ask::Settle { .. } => vec![Act::Tell(Told::Settled { height: Height(2), not_heard: [].into() })],
        _ => vec![page(&blocks, call)],
    })
}

fn refusal() -> Reason {
    Reason::InsufficientFunds { height: Height(2), spendable: Amount::new(80), not_heard: [].into() }
}

/// Runs `paxbank shell` against a node, with a script on its stdin.
async fn shell(node: &Node, arguments: &[&str], script: &str) -> Output {
    let state = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(["shell", "--nodes", &node.address, "--deadline", "2s"]).args(arguments);
    command.env_remove("PAXBANK_NODES").env("XDG_STATE_HOME", state.path()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A session that ended before its script did has closed the pipe.
    drop(child.stdin.take().unwrap().write_all(script.as_bytes()).await);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "scripts leave no history");
    output
}

/// The exit status, the lines of stdout without ids, and stderr.
fn told(output: &Output) -> (i32, Vec<String>, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let stdout = text(&output.stdout);
    let lines = stdout.lines().filter(|line| !line.starts_with("id ")).map(str::to_owned);
    (output.status.code().unwrap(), lines.collect(), text(&output.stderr))
}

#[tokio::test]
async fn a_script_from_a_pipe_prints_results_and_goes_on_after_a_refusal() {
    let mut bank = Bank::new().await;
    let node = a_node(&mut bank);
    let script = "# a script\n\ntransfer A B 30\n(A, B, 31) # a line of a file\nA B 90\nopen x@A; balance A\n\
                  log A\nsettle\nchain 2\nquit\nthis is not read\n";
    let (status, lines, stderr) = told(&shell(&node, &[], script).await);
    let expected = [
        "A→B 30  approved as entry A:30",
        "A→B 31  approved as entry A:31",
        "A→B 90  refused: 80 can be spent after block 2",
        "open x@A  approved as entry A:7, settled in block 2",
        "A  can spend 80; settled 80 at height 2, says A",
    ];
    assert_eq!((status, &lines[..5], stderr.as_str()), (1, &expected.map(str::to_owned)[..], ""), "{lines:?}");
    assert!(lines[5].starts_with("A:1 A→B 1 "), "{lines:?}");
    assert_eq!(lines[6], "settled up to height 2, says A");
    assert!(lines[7].starts_with("     2  ") && lines.len() == 8, "{lines:?}");
    assert_eq!(node.hellos(), 1, "one connection for the whole session");
}

#[tokio::test]
async fn a_script_ends_at_its_first_error_with_its_line_unless_it_is_to_go_on() {
    let mut bank = Bank::new().await;
    let node = a_node(&mut bank);
    let script = "balance A\n\nbalnce A\nbalance A\n";
    let (status, lines, stderr) = told(&shell(&node, &[], script).await);
    assert_eq!((status, lines.len()), (2, 1), "{lines:?}");
    assert!(stderr.starts_with("paxbank: line 3: \"balnce\" is no command: did you mean balance?; help"), "{stderr}");
    let script = "balnce A\ntransfer A B 90\nbalance nobody@A\nbalance A\n";
    let (status, lines, stderr) = told(&shell(&node, &["--keep-going"], script).await);
    assert_eq!((status, lines.len()), (1, 2), "the last that failed was no error of use: {lines:?}");
    assert!(stderr.contains("line 1: ") && stderr.contains("line 3: "), "{stderr}");
    let (status, lines, stderr) = told(&shell(&node, &[], "balance nobody@A\nA B 30\n").await);
    assert_eq!((status, lines.len()), (1, 0), "an unknown account is an error of whoever asks for its balance");
    assert!(stderr.starts_with("paxbank: line 1: "), "{stderr}");
    let (status, lines, stderr) = told(&shell(&node, &[], "A B 5\nbalance A\n").await);
    assert_eq!(status, 4);
    assert!(
        lines.len() == 2 && lines[0].starts_with("A→B 5  unknown: ") && lines[1].contains("outcome 0"),
        "{lines:?}"
    );
    assert!(stderr.contains("paxbank: line 1: the script ends here; --keep-going goes on"), "{stderr}");
}

#[tokio::test]
async fn a_mistyped_command_that_reads_as_a_transfer_is_told_with_the_command_that_was_meant() {
    let mut bank = Bank::new().await;
    let node = a_node(&mut bank);
    for (line, expected) in [
        ("chian 3 5", "this bank has no node chian; it has A, B, C; did you mean the command chain?"),
        ("blance A 5 3", "or did you mean the command balance?"),
        ("blance A", "did you mean balance?"),
    ] {
        let (status, lines, stderr) = told(&shell(&node, &["-c", line], "").await);
        assert_eq!((status, lines.len()), (2, 0), "{lines:?}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    let (_, _, stderr) = told(&shell(&node, &["-c", "Zurich B 5"], "").await);
    assert_eq!(stderr.trim_end(), "paxbank: this bank has no node Zurich; it has A, B, C");
}

#[tokio::test]
async fn commands_of_an_argument_are_run_in_order() {
    let mut bank = Bank::new().await;
    let node = a_node(&mut bank);
    let (status, lines, stderr) = told(&shell(&node, &["-c", "transfer A B 30; balance A"], "status\n").await);
    assert_eq!((status, lines.len(), stderr.as_str()), (0, 2, ""), "{lines:?}");
    let (status, lines, stderr) = told(&shell(&node, &["-c", "balance A; kill A"], "").await);
    assert_eq!((status, lines.len()), (2, 1), "what stands before the wrong command is run");
    assert!(
        stderr.starts_with("paxbank: line 1, command 2: kill is only for nodes that are all in this process"),
        "{stderr}"
    );
    let (status, lines, _) = told(&shell(&node, &["-c", "A B 1; foo; A B 2", "--keep-going"], "").await);
    assert_eq!((status, lines.len()), (2, 2), "each command counts for itself: {lines:?}");
    let (_, lines, _) = told(&shell(&node, &["-c", "settle; foo", "--output", "json"], "").await);
    let error = &serde_json::from_str::<Value>(&lines[1]).unwrap()["error"];
    assert_eq!((&error["line"], &error["command"]), (&json!(1), &json!(2)));
    let (status, lines, stderr) = told(&shell(&node, &["-c", "balance A\nfoo"], "").await);
    assert!(status == 2 && lines.len() == 1 && stderr.starts_with("paxbank: line 2: "), "{stderr}");
    let (status, lines, _) = told(&shell(&node, &["-c", "help transfer"], "").await);
    assert!(status == 0 && lines[0].starts_with("transfer FROM TO AMOUNT [settled]: "), "{lines:?}");
}

#[tokio::test]
async fn as_json_each_command_is_one_value_on_one_line() {
    let mut bank = Bank::new().await;
    let node = a_node(&mut bank);
    let script = "A B 30\nA B 90\nbalance A\nlog A\nchain\nsettle\nstatus\nverify\nhelp\nlog\n";
    let output = shell(&node, &["--output", "json"], script).await;
    let (status, lines, stderr) = told(&output);
    let values: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, values.len(), stderr.as_str()), (2, 10, ""), "{lines:?}");
    assert_eq!((&values[0]["outcome"], &values[1]["outcome"]), (&json!("approved"), &json!("refused")));
    assert_eq!((&values[2]["spendable"], &values[3]["entries"][0]["seq"]), (&json!(80), &json!(1)));
    assert_eq!(values[4]["blocks"].as_array().unwrap().len(), 3);
    assert_eq!((&values[5]["height"], &values[6]["nodes"]["A"]["state"]), (&json!(2), &json!("ready")));
    assert_eq!(values[7]["nodes"]["A"]["height"], json!(2));
    assert!(values[8]["help"].as_str().unwrap().contains("transfer FROM TO AMOUNT"));
    assert_eq!((&values[9]["error"]["code"], &values[9]["error"]["line"]), (&json!("usage"), &json!(10)));
}

#[tokio::test]
async fn without_nodes_no_session_begins() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    let output = command.args(["shell", "-c", "status"]).env_remove("PAXBANK_NODES").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no node is given"));
}

/// Sends a signal once the node has got a transfer, and tells how the session ended.
#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_a_script_and_the_id_under_way_is_told() {
    let mut bank = Bank::new().await;
    let node = a_node(&mut bank);
    for signal in ["INT", "TERM"] {
        let before = node.transfers().len();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
        command.args(["shell", "--nodes", &node.address, "--deadline", "60s", "--keep-going"]);
        command.args(["-c", "A B 5; balance A"]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        while node.transfers().len() == before {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let process = child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &process]).status().unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let id = node.transfers().last().unwrap()[0].0;
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains(&format!("outcome {id}")) && !text.contains("can spend"), "{text}");
    }
}
