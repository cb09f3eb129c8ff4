//! `examples/three_nodes` as its users run it: a process, its arguments, its stdout and its exit status.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

use redis_server::RedisServer;

#[path = "../common/redis.rs"]
mod redis_server;

mod interactive;

/// The example, built from the sources as they are now: this test alone does not make cargo build it. `tests/all.sh` does, and
/// says so: beside other packages, with other features of dependencies, so that to build it here was to build all again.
fn example() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let [profile, target] = [2, 3].map(|up| test.ancestors().nth(up).unwrap());
        let program = profile.join("examples").join("three_nodes");
        if std::env::var_os("EXAMPLES_ARE_BUILT").is_some() {
            return program;
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--example", "three_nodes", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    })
}

fn run(arguments: &[&str]) -> Output {
    Command::new(example()).args(arguments).output().unwrap()
}

fn json_of(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--output", "json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "nothing went wrong, nothing is logged");
    serde_json::from_slice(&output.stdout).expect("exactly one JSON value on stdout")
}

fn file(directory: &Path, text: &str) -> String {
    let path = directory.join("transfers.txt");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What each block settled, as `from>to amount`.
fn blocks(report: &Value) -> Vec<Vec<String>> {
    let entry = |entry: &Value| {
        format!("{}>{} {}", entry["from"].as_str().unwrap(), entry["to"].as_str().unwrap(), entry["amount"])
    };
    let entries = |block: &Value| block["entries"].as_array().unwrap().iter().map(entry).collect();
    report["blocks"].as_array().unwrap().iter().map(entries).collect()
}

/// Hashes link the blocks, and every node that runs has the same tip and adds up to the same sum.
fn assert_sound(report: &Value, sum: u64) {
    let blocks = report["blocks"].as_array().unwrap();
    let mut parent = json!("0".repeat(64));
    for (height, block) in blocks.iter().enumerate() {
        assert_eq!(block["height"], json!(height));
        assert_eq!(block["parent"], parent);
        let hash = block["hash"].as_str().unwrap();
        assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)), "{hash}");
        parent = block["hash"].clone();
    }
    let nodes = report["nodes"].as_object().unwrap();
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["A", "B", "C"]);
    for node in nodes.values() {
        assert_eq!((&node["tip"], &node["height"]), (&parent, &json!(blocks.len() - 1)));
        let settled: BTreeMap<String, u64> = serde_json::from_value(node["settled"].clone()).unwrap();
        assert_eq!(settled.keys().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!(settled.values().sum::<u64>(), sum, "R12");
    }
}

#[test]
fn the_worked_example_ends_as_it_should() {
    let report = json_of(&[]);
    assert_sound(&report, 300);
    let blocks = blocks(&report);
    assert_eq!(blocks[1], ["A>C 20", "A>B 60", "B>A 70", "C>A 50"]);
    assert_eq!(blocks[2], ["A>B 30", "B>C 50", "C>B 60"]);
    assert_eq!(blocks[3], ["B>A 60"]);
    assert_eq!(blocks[4], ["A>B 150"], "the two blocks that were settled without C, which has them too in the end");
    assert_eq!(blocks.len(), 5);
    assert!(report["transfers"].as_array().unwrap().iter().all(|transfer| transfer["outcome"] == "approved"));
    assert_eq!(report["nodes"]["B"]["log"][0]["amount"], json!(200));
}

#[test]
fn the_story_tells_the_figures_and_the_messages_of_each_round() {
    let output = run(&[]);
    assert!(output.status.success());
    let story = String::from_utf8(output.stdout).unwrap();
    let told = [
        "A→C 20     approved as entry A:1, A can still spend 80",
        "A→B 30     A can see only 20: it runs Paxos for block 1",
        "A > B  PREPARE",
        "B > A  PROMISE",
        "A > C  ACCEPT",
        "C > A  ACCEPTED",
        "A > B  COMMIT",
        "Block 1 settles 4 entries: A:1 A→C 20, A:2 A→B 60, B:1 B→A 70, C:1 C→A 50.",
        "Balances: A 140, B 90, C 70. The round took",
        "A→B 30     approved as entry A:3",
        "B→A 60     B can see only 40: it runs Paxos for block 2",
        "Block 2 settles 3 entries: A:3 A→B 30, B:2 B→C 50, C:2 C→B 60.",
        "Balances: A 110, B 130, C 60.",
        "In B's local log: B:3 B→A 60.",
        "C is killed in the middle",
        "C > A  RECONCILE_REQUEST",
        "> C  R_ACK",
        "R_BLOCKS_REQ      3 to 4",
        "R_BLOCKS_RESP",
        "C is ready at height 4",
    ];
    let mut rest = story.as_str();
    for line in told {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line:?} is missing, or too early, in:\n{story}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn a_file_runs_line_by_line_and_refusals_are_results() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), "# opening 10\n(A, B, 4)\n\n ( B , C,12 )\n(C, A, 99)\n(A, A, 1)\n(A, B, 0)\n");
    let report = json_of(&[&file, "--opening", "10"]);
    assert_sound(&report, 30);
    let outcomes: Vec<_> = report["transfers"].as_array().unwrap().iter().map(|t| t["outcome"].clone()).collect();
    assert_eq!(outcomes, ["approved", "approved", "refused", "refused", "refused"]);
    let reason = json!({ "code": "insufficient_funds", "height": 2, "spendable": 22, "not_heard": [] });
    assert_eq!(report["transfers"][2]["reason"], reason);
    assert_eq!(report["transfers"][0]["reason"], Value::Null);
    assert_eq!(report["transfers"][3]["reason"]["code"], "same_account");
    assert_eq!(report["transfers"][4]["reason"]["code"], "amount_zero");
    assert_eq!(blocks(&report)[1..], [vec!["A>B 4".to_owned()], vec!["B>C 12".to_owned()]]);
    assert_eq!(report["nodes"]["C"]["settled"], json!({ "A": 6, "B": 2, "C": 22 }));
    assert_eq!(report["nodes"]["C"]["spendable"], json!({ "C": 22 }));
    let id = report["blocks"][1]["entries"][0]["id"].as_str().unwrap();
    assert_eq!((id.len(), &report["blocks"][1]["entries"][0]["origin"]), (26, &json!("A")));
}

#[test]
fn an_empty_file_leaves_the_bank_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let report = json_of(&[&file(directory.path(), "# nothing\n"), "--store", "memory"]);
    assert_sound(&report, 300);
    assert_eq!(report["transfers"], json!([]));
    assert_eq!(report["blocks"].as_array().unwrap().len(), 1);
}

#[test]
fn a_second_run_on_the_same_stores_goes_on_where_the_first_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("redb:{}", directory.path().join("bank").display());
    let first = json_of(&[&file(directory.path(), "(A, B, 60)\n(B, C, 130)\n"), "--store", &store]);
    let second = json_of(&[&file(directory.path(), "(A, C, 50)\n(C, A, 200)\n"), "--store", &store]);
    assert_sound(&second, 300);
    assert_eq!(second["transfers"][0]["outcome"], "refused", "A spent 60 of its 100 in the first run");
    assert_eq!(second["transfers"][1]["outcome"], "approved", "B's transfer of the first run is settled");
    assert_eq!(second["blocks"][1], first["blocks"][1]);

    let check = Command::new(env!("CARGO_BIN_EXE_paxbank"))
        .args(["check", "--store", &store, "--output", "json"])
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let check: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(check["nodes"]["A"]["tip"], second["nodes"]["A"]["tip"]);
    assert_eq!(check["nodes"]["C"]["unsettled"], json!(1));
}

/// Runs what cannot work, and returns what it says on stderr.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "stdout holds results only");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_half_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("bank");
    let address = format!("redb:{}", store.display());
    let wrong = [
        ("(A, B, 4)\nA to B 4\n", "transfers.txt, line 2: \"A to B 4\" is not a transfer; write one per line as"),
        ("(A, B, 4)\n\n(A, D, 4)\n", "transfers.txt, line 3: there is no account D; this bank has A, B, C"),
        ("(A, B, -4)\n", "line 1: the amount \"-4\" is negative"),
        ("(A, B, 18446744073709551616)\n", "line 1: the amount \"18446744073709551616\" is larger than"),
        ("(A, B, 1.5)\n", "give a whole number of the smallest unit"),
    ];
    for (text, expected) in wrong {
        let stderr = refused(&[&file(directory.path(), text), "--store", &address]);
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!store.exists(), "nothing was started");
    }
    assert!(refused(&["no-such-file"]).contains("cannot read no-such-file"));
    assert!(refused(&["--opening", "-1"]).contains("is negative"));
    assert!(refused(&["--opening", "18446744073709551615"]).contains("add up to more than"));
    assert!(refused(&["--store", "floppy"]).contains("give redb:DIR"));
}

#[test]
fn a_directory_that_holds_another_bank_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let bank = directory.path().join("bank");
    let store = format!("redb:{}", bank.display());
    let file = file(directory.path(), "(A, B, 4)\n");
    json_of(&[&file, "--store", &store]);
    let before = json_of(&[&file, "--store", &store]);
    let stderr = refused(&[&file, "--opening", "10", "--store", &store]);
    assert!(stderr.contains("this store belongs to node A of bank"), "{stderr}");
    let after = json_of(&[&file, "--store", &store]);
    assert_eq!(before["blocks"], after["blocks"]);
    assert_eq!(after["nodes"]["A"]["log"].as_array().unwrap().len(), 3);
}

#[test]
fn a_damaged_store_is_named_and_nothing_is_served_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let bank = directory.path().join("bank");
    let store = format!("redb:{}", bank.display());
    let file = file(directory.path(), "(A, B, 60)\n(A, B, 60)\n");
    json_of(&[&file, "--store", &store]);
    let damaged = bank.join("B.redb");
    let length = std::fs::metadata(&damaged).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&damaged).unwrap().set_len(length / 2).unwrap();
    let stderr = refused(&[&file, "--store", &store]);
    assert_eq!(stderr.matches("B.redb").count(), 1, "named once: {stderr}");
    let check = Command::new(env!("CARGO_BIN_EXE_paxbank")).args(["check", "--store", &store]).output().unwrap();
    assert_eq!(check.status.code(), Some(5), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn a_process_that_is_killed_at_any_moment_loses_no_approval_that_it_told() {
    let directory = tempfile::tempdir().unwrap();
    kill_at_any_moment(&format!("redb:{}", directory.path().join("bank").display()));
}

#[test]
fn a_process_that_is_killed_at_any_moment_loses_no_approval_in_a_redis() {
    let server = RedisServer::start();
    kill_at_any_moment(&server.address_tcp());
}

fn kill_at_any_moment(store: &str) {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..2_000).map(|n| ["(A, B, 3)\n", "(B, C, 5)\n", "(C, A, 4)\n"][n % 3]).collect();
    let transfers = file(directory.path(), &lines);
    let mut told = 0;
    for round in 1..=3u32 {
        let mut running = Command::new(example())
            .args([&transfers, "--store", store])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed as soon as it has told so many outcomes, wherever it is by then.
        let stdout = std::io::BufReader::new(running.stdout.take().unwrap());
        let outcomes = std::io::BufRead::lines(stdout).map(Result::unwrap);
        for outcome in outcomes.take(40 * round as usize + 7) {
            told += usize::from(outcome.contains("approved"));
        }
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let after = json_of(&[&file(directory.path(), "(A, B, 1)\n"), "--store", store]);
    assert_sound(&after, 300);
    let settled: usize = blocks(&after).iter().map(Vec::len).sum();
    let logs: usize =
        after["nodes"].as_object().unwrap().values().map(|node| node["log"].as_array().unwrap().len()).sum();
    assert!(settled + logs > told, "{told} approvals were told, {settled} are settled and {logs} are not");
}

fn check(store: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_paxbank")).args(["check", "--store", store, "--output", "json"]).output().unwrap()
}

#[test]
fn a_bank_in_a_redis_goes_on_where_it_ended_and_can_be_checked() {
    let server = RedisServer::start();
    let directory = tempfile::tempdir().unwrap();
    // One server, two databases, two ways to reach it.
    for store in [server.address_tcp(), format!("{}?db=1", server.address_unix())] {
        let first = json_of(&[&file(directory.path(), "(A, B, 60)\n(B, C, 130)\n"), "--store", &store]);
        // Also where the server was lost in between, and started again on what it had written.
        server.kill();
        server.restart();
        let second = json_of(&[&file(directory.path(), "(A, C, 50)\n(C, A, 200)\n"), "--store", &store]);
        assert_sound(&second, 300);
        assert_eq!(second["transfers"][0]["outcome"], "refused", "A spent 60 of its 100 in the first run");
        assert_eq!(second["transfers"][1]["outcome"], "approved", "B's transfer of the first run is settled");
        assert_eq!(second["blocks"][1], first["blocks"][1]);
        let checked = check(&store);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(checked["nodes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!(checked["nodes"]["A"]["tip"], second["nodes"]["A"]["tip"]);
        assert_eq!(checked["nodes"]["C"]["unsettled"], json!(1));
        let stderr = refused(&["--opening", "10", "--store", &store]);
        assert!(stderr.contains("this store belongs to node A of bank"), "{stderr}");
    }
    // A block of B is another one: found, named, and left.
    server.cli(&["XDEL", "SERVER-BLOCKCHAIN-B", "1-0"]);
    let damaged = check(&server.address_tcp());
    assert_eq!(damaged.status.code(), Some(5));
    let error = String::from_utf8(damaged.stdout).unwrap();
    assert!(error.contains("node B") && error.contains("chain/1"), "{error}");
    let stderr = refused(&["--store", &server.address_tcp()]);
    assert!(stderr.contains("chain/1"), "{stderr}");
    assert!(check(&format!("{}?db=1", server.address_unix())).status.success(), "the other bank is none the worse");
}

#[test]
fn the_worked_example_ends_in_a_redis_as_it_should() {
    let server = RedisServer::start();
    let report = json_of(&["--store", &server.address_unix()]);
    assert_sound(&report, 300);
    assert_eq!(report["nodes"]["B"]["log"][0]["amount"], json!(200));
    assert_eq!(server.cli(&["XLEN", "SERVER-BLOCKCHAIN-C"]), "5");
}

#[test]
fn a_redis_that_dies_under_a_running_bank_is_waited_for() {
    let server = RedisServer::start();
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..600).map(|n| ["(A, B, 3)\n", "(B, C, 5)\n", "(C, A, 4)\n"][n % 3]).collect();
    let mut running = Command::new(example())
        .args([&file(directory.path(), &lines), "--store", &server.address_tcp()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(running.stdout.take().unwrap());
    let mut approved = 0;
    for (number, line) in std::io::BufRead::lines(stdout).map(Result::unwrap).enumerate() {
        approved += usize::from(line.contains("approved"));
        if number % 100 == 70 {
            server.kill();
            server.restart();
        }
    }
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = json_of(&[&file(directory.path(), "# nothing\n"), "--store", &server.address_tcp()]);
    assert_sound(&after, 300);
    let settled: usize = blocks(&after).iter().map(Vec::len).sum();
    let logs = after["nodes"].as_object().unwrap().values().map(|node| node["log"].as_array().unwrap().len());
    assert_eq!(settled + logs.sum::<usize>(), approved, "each approval once");
}

#[test]
fn a_redis_that_is_unsafe_or_not_there_is_refused_with_what_to_do() {
    let server = RedisServer::start_with(&["--appendfsync", "everysec"]);
    let address = server.address_tcp();
    let stderr = refused(&["--store", &address]);
    assert!(
        stderr.contains("appendfsync is everysec, and must be always") && stderr.contains("redis.conf"),
        "{stderr}"
    );
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    assert!(run(&["--store", &address, "--accept-unsafe-store", "--output", "json"]).status.success());
    let empty = check(&format!("{}?db=3", server.address_unix()));
    assert_eq!(empty.status.code(), Some(2), "there is no store in that database");
    server.kill();
    let stderr = refused(&["--store", &address]);
    assert!(stderr.contains(&address) && stderr.contains("redis-server redis.conf"), "{stderr}");
    assert_eq!(stderr.matches(&address).count(), 1, "named once: {stderr}");
    let stderr = refused(&["--store", "redis://me:secret@127.0.0.1"]);
    assert!(stderr.contains("user and password do not belong in the address"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut running = Command::new(example())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(running.stdout.take());
    let output = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}
