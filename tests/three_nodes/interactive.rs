//! `three_nodes --interactive` as scripts use it: what is asked, and what happens to nodes, in the order of the script.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::example;

/// Runs `--interactive` with a script on stdin: its exit status, stdout and stderr.
fn interactive(arguments: &[&str], script: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(example());
    command.arg("--interactive").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A session that ended before its script did has closed the pipe.
    drop(child.stdin.take().unwrap().write_all(script.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The messages between nodes, without their contents, and everything else. Hashes of blocks with ids in them differ from
/// run to run, and which of two nodes answers first does too.
fn messages_and_rest(stdout: &str) -> (Vec<String>, Vec<String>) {
    let is_message = |line: &&str| line.starts_with("    ") && line.as_bytes().get(6) == Some(&b'>');
    let (messages, rest): (Vec<&str>, Vec<&str>) = stdout.lines().partition(is_message);
    let names = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    (messages.into_iter().map(names).collect(), rest.into_iter().map(str::to_owned).collect())
}

#[test]
fn nodes_are_killed_revived_cut_off_and_heard_again_as_a_script_says() {
    let script = "# what can happen to nodes\nA C 20\n(C, A, 50)\nA B 90; balance A\nkill C\nA B 40\nB A 150\n\
                  revive C\npartition C\nC A 40\nC B 200\nB C 200\nheal\nverify\n";
    let (status, stdout, stderr) = interactive(&[], script);
    assert_eq!(
        (status, stderr.as_str()),
        (Some(4), "three_nodes: line 11: the script ends here; --keep-going goes on\n")
    );
    assert!(
        stdout.ends_with('\n') && stdout.contains("unknown: no decision was heard; ask what became of it"),
        "{stdout}"
    );
    let (status, stdout, stderr) = interactive(&["--keep-going"], script);
    assert_eq!((status, stderr.as_str()), (Some(1), ""));
    let (messages, mut rest) = messages_and_rest(&stdout);
    rest.retain(|line| !line.contains("unknown: no decision was heard") && !line.contains(", tip "));
    let expected = [
        "  A→C 20     approved as entry A:1, A can still spend 80",
        "  C→A 50     approved as entry C:1, C can still spend 50",
        "  A→B 90     A can see only 80: it runs Paxos for block 1",
        "  Block 1 settles 2 entries: A:1 A→C 20, C:1 C→A 50.",
        "  Balances: A 130, B 100, C 70.",
        "  A→B 90     approved as entry A:2, A can still spend 40",
        "  A  can spend 40; settled 130 at height 1, says A",
        "  C is killed: only its store is left.",
        "  A→B 40     approved as entry A:3, A can still spend 0",
        "  B→A 150    B can see only 100: it runs Paxos for block 2",
        "  Block 2 settles 2 entries: A:2 A→B 90, A:3 A→B 40.",
        "  Balances: A 0, B 230, C 70.",
        "  B→A 150    approved as entry B:1, B can still spend 80",
        "  C comes back, a zombie: it asks for what it missed",
        "  C is ready at height 2.",
        "  The network is cut: C | A, B.",
        "  C→A 40     approved as entry C:2, C can still spend 30",
        "  C→B 200    C can see only 30: it runs Paxos for block 3",
        "  B→C 200    B can see only 80: it runs Paxos for block 3",
        "  Block 3 settles 1 entry: B:1 B→A 150.",
        "  Balances: A 150, B 80, C 70.",
        "  B→C 200    refused: 80 can be spent after block 3, not heard: C",
        "  C→B 200    refused: 30 can be spent after block 4",
        "  The cut is healed: all nodes hear each other.",
        "  The chains agree: each two as far as both go, all of these up to height 4.",
    ];
    assert_eq!(rest, expected, "{stdout}");
    let first_round = [
        "A > B ACCEPT",
        "A > B COMMIT",
        "A > B PREPARE",
        "A > C ACCEPT",
        "A > C COMMIT",
        "A > C PREPARE",
        "B > A ACCEPTED",
        "B > A PROMISE",
        "C > A ACCEPTED",
        "C > A PROMISE",
    ];
    let mut round = messages[..10].to_vec();
    round.sort();
    assert_eq!(round, first_round, "{stdout}");
    assert!(messages.iter().any(|message| message == "C > A RECONCILE_REQUEST"), "{stdout}");
    assert!(messages.iter().any(|message| message.ends_with("> C R_BLOCKS_RESP")), "{stdout}");
}

#[test]
fn what_cannot_be_done_to_nodes_is_told_with_what_to_do() {
    let script = "kill D\nkill C\nkill C\nrevive A\npartition A B C\nbalance C\nC A 5\nbalance x@A\nlog B\nsettle\n\
                  outcome 01ARZ3NDEKTSV4RRFFQ69G5FAV\nstatus\nkill B\nsettle\n";
    let (status, stdout, stderr) = interactive(&["--keep-going"], script);
    let expected = [
        "line 1: there is no node D; this bank has A, B, C",
        "line 3: node C is not running; revive C starts it",
        "line 4: A is running already; kill A crashes it",
        "line 5: all nodes are in one group",
        "line 6: node C is not running",
        "line 7: node C is not running",
        "line 8: there is no account x@A after block 0",
        "line 14: A hears no majority: nothing was settled",
    ];
    let told: Vec<_> = stderr.lines().map(|line| line.trim_start_matches("three_nodes: ")).collect();
    assert_eq!(told.len(), expected.len(), "{stderr}");
    for (line, expected) in told.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?} is not {expected:?}");
    }
    assert_eq!(status, Some(4));
    for line in
        ["  Nothing is unsettled.", "  settled up to height 0, says A; not heard: C", "  C  killed; revive C starts it"]
    {
        assert!(stdout.lines().any(|one| one == line), "{line:?} is not in {stdout}");
    }
}

#[test]
fn as_json_each_command_of_a_session_is_one_value_with_the_messages_that_passed() {
    let commands = "A B 60; A B 60; B A 150 settled; open x@C; log A; chain 1 1; status; partition A; heal; nonsense";
    let (status, stdout, stderr) = interactive(&["--output", "json", "-c", &commands.replace(';', "\n")], "");
    let values: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, values.len(), stderr.as_str()), (Some(2), 10, ""), "{stdout}");
    let outcomes: Vec<_> = values[..4].iter().map(|value| value["outcome"].clone()).collect();
    assert_eq!(outcomes, ["approved", "refused", "approved", "approved"]);
    assert_eq!((&values[0]["messages"], &values[1]["reason"]["spendable"]), (&json!([]), &json!(40)));
    let first = json!({ "from": "A", "to": "B", "message": "PREPARE", "contents": "ballot 1.A, height 1" });
    assert_eq!(values[1]["messages"][0], first);
    assert!(values[2]["height"].is_u64() && values[3]["height"].is_u64(), "both waited for their blocks: {stdout}");
    assert_eq!((&values[4]["node"], &values[5]["blocks"][0]["height"]), (&json!("A"), &json!(1)));
    assert_eq!((&values[6]["partition"], &values[7]["partition"]), (&Value::Null, &json!([["A"], ["B", "C"]])));
    assert_eq!((&values[8]["partition"], &values[9]["error"]["line"]), (&Value::Null, &json!(10)));
}
