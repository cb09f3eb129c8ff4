//! Where a node's settings come from: files, the environment, flags; and what is told of wrong ones.

use std::path::Path;
use std::process::Output;

use paxos_banking::ledger::Wait;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::bank::{Bank, NAMES, Stores};
use crate::process::{PATIENCE, fails_to_start};

const GENESIS: &str =
    "nodes = [\"A\", \"B\", \"C\"]\n\n[accounts]\nA = 0\n\"alice@A\" = 250\n\"treasury@B\" = 1_000_000\n";

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The arguments of a node of `bank` as a file.
fn as_file(arguments: &[String]) -> String {
    let mut peers = Vec::new();
    let mut lines = String::new();
    for pair in arguments.chunks(2) {
        match pair[0].as_str() {
            "--peer" => peers.push(pair[1].clone()),
            "--opening" => {}
            flag => lines.push_str(&format!("{} = {:?}\n", flag.trim_start_matches("--"), pair[1])),
        }
    }
    format!("{lines}peer = {peers:?}\n")
}

async fn config(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.arg("config").args(arguments).envs(environment.iter().copied());
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

async fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let output = config(&[arguments, &["--output", "json"]].concat(), environment).await;
    assert!([Some(0), Some(2)].contains(&output.status.code()), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["settings"].clone()
}

#[tokio::test]
async fn a_bank_runs_from_one_file_per_node_and_a_genesis_file() {
    let mut bank = Bank::prepared(Stores::Redb, 100).await;
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, genesis) in NAMES.into_iter().zip([GENESIS, GENESIS, &reordered()]) {
        let genesis = write(directory.path(), &format!("genesis-{name}.toml"), genesis);
        let text = format!("{}genesis = {genesis:?}\n", as_file(&bank.arguments(name)));
        let file = write(directory.path(), &format!("{name}.toml"), &text);
        bank.run_with(name, &["--config".to_owned(), file.clone()]).await;
        files.push((file, genesis));
    }
    bank.all_ready().await;
    let client = bank.client();
    bank.approved(&client, "treasury@B", "alice@A", 1_000, Wait::Settled).await;
    bank.settled().await;
    let (code, told) = bank.json(&["balance", "alice@A"]).await;
    assert_eq!((code, &told["spendable"]), (0, &json!(1_250)), "{told}");
    let (code, told) = bank.json(&["balance", "B"]).await;
    assert_ne!(code, 0, "an account that is not listed is not there: {told}");
    // The stores are those of the genesis, and of no other.
    bank.kill("A").await;
    let store = format!("redb:{}", bank.store_directory("A").display());
    let (code, told) = bank.json(&["check", "--store", &store, "--genesis", &files[1].1]).await;
    assert_eq!(code, 0, "{told}");
    let other = write(directory.path(), "other.toml", &GENESIS.replace("250", "251"));
    let (code, told) = bank.json(&["check", "--store", &store, "--genesis", &other]).await;
    assert_eq!(code, 2, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("describes bank"), "{told}");
    // Nor does a node run on them with another genesis.
    let richer = ["--config", &files[0].0, "--genesis", &other].map(str::to_owned);
    let (code, log) = fails_to_start(&richer).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("this store belongs to node A of bank"), "{log}");
}

fn reordered() -> String {
    "accounts = { \"treasury@B\" = 1000000, \"alice@A\" = 250, \"A@A\" = 0 }\nnodes = [\"C\", \"B\", \"A\"]\n"
        .to_owned()
}

#[tokio::test]
async fn a_flag_goes_before_the_environment_that_before_the_file_and_that_before_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(
        directory.path(),
        "a.toml",
        "id = \"A\"\nopening = 7\nforce-admission = true\npeer = [\"B=h:1\", \"C=h:2\"]\nclient-listen = \"h:8\"\n",
    );
    let environment = [("PAXBANK_NODE_ID", "B"), ("PAXBANK_NODE_OPENING", "8"), ("PAXBANK_NODE_CONFIG", file.as_str())];
    let told = settings(&["--opening", "9", "--force-admission=false"], &environment).await;
    assert_eq!(told["opening"], json!({ "value": 9, "source": "flag" }));
    assert_eq!(told["force-admission"], json!({ "value": false, "source": "flag" }));
    assert_eq!(told["id"], json!({ "value": "B", "source": "environment", "variable": "PAXBANK_NODE_ID" }));
    assert_eq!(told["peer"], json!({ "value": ["B=h:1", "C=h:2"], "source": "file" }));
    assert_eq!(told["log-format"], json!({ "value": "human", "source": "default" }));
    assert_eq!(told["store"], json!({ "value": null, "source": "default" }));
    assert_eq!(told["peer-listen"], json!({ "value": null, "source": "missing" }));
    let genesis = write(directory.path(), "genesis.toml", GENESIS);
    let with_bank = ["--genesis", &genesis, "--output", "json"];
    let told: Value = serde_json::from_slice(&config(&with_bank, &[]).await.stdout).unwrap();
    assert_eq!(told["bank"]["total"], json!(1_000_250), "{told}");
    let told = settings(&["--config", &file, "--peer", "D=h:3"], &[]).await;
    assert_eq!(told["peer"], json!({ "value": ["D=h:3"], "source": "flag" }), "a list goes as a whole");
    assert_eq!(told["opening"], json!({ "value": 7, "source": "file" }));
    assert_eq!(told["force-admission"], json!({ "value": true, "source": "file" }));
    let table = config(&["--config", &file], &[("PAXBANK_REDIS_PASSWORD", "hunter2")]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    let row = |name: &str| {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {table}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("id"), "id A file");
    assert_eq!(row("peer"), "peer B=h:1, C=h:2 file");
    assert_eq!(row("redis-password"), "redis-password (hidden) environment PAXBANK_REDIS_PASSWORD");
    assert!(!table.contains("hunter2"), "{table}");
}

#[tokio::test]
async fn what_a_node_would_not_start_with_is_shown_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let genesis = write(directory.path(), "genesis.toml", GENESIS);
    let listens = ["--peer-listen", "h:7", "--client-listen", "h:8"];
    let run = async |arguments: &[&str]| {
        let output = config(&[&listens, arguments, &["--output", "json"]].concat(), &[]).await;
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, told) = run(&["--id", "A", "--peer", "B=h:1", "--peer", "C=h:2", "--genesis", &genesis]).await;
    assert_eq!((code, &told["error"]), (Some(0), &Value::Null), "{told}");
    assert_eq!(told["settings"]["opening"]["source"], "unused, the genesis says it");
    for (arguments, expected) in [
        (&["--id", "A", "--peer", "B=h:1"][..], "an odd number of nodes"),
        (&["--id", "A", "--peer", "B=h:1", "--peer", "D=h:2", "--genesis", &genesis], "nodes are A, B, C, but"),
        (&["--peer", "B=h:1", "--peer", "C=h:2"], "--id must be given"),
        (&["--id", "A", "--client-advertise", "0.0.0.0:8"], "nothing that a client can connect to"),
        (&["--id", "A", "--store", "redis://h:1/0", "--redis-ca", "ca.pem"], "speaks no TLS"),
        (&["--id", "A", "--store", "redis://h:1/0", "--redis-password-file", "gone"], "gone cannot be read"),
    ] {
        let (code, told) = run(arguments).await;
        assert_eq!((code, &told["error"]["code"]), (Some(2), &json!("usage")), "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains(expected), "{expected} is not in {told}");
        assert_eq!(told["settings"]["client-listen"]["value"], "h:8", "the table is there all the same");
        let table = config(&[&listens, arguments].concat(), &[]).await;
        let text = String::from_utf8(table.stdout).unwrap();
        assert!(table.status.code() == Some(2) && text.contains("A node would not start so: "), "{text}");
    }
    let twice = ["--id", "A", "--peer-listen", "h:7", "--client-listen", "h:7"];
    let table = String::from_utf8(config(&twice, &[]).await.stdout).unwrap();
    assert!(table.contains("--peer-listen and --client-listen are both h:7"), "{table}");
    let spaced = [("PAXBANK_NODE_PEERS", "B=h:1, C=h:2")];
    let table = config(&[&listens[..], &["--id", "A"]].concat(), &spaced).await;
    assert_eq!(table.status.code(), Some(0), "{table:?}");
}

#[tokio::test]
async fn wrong_files_are_named_with_what_to_do_and_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let genesis = write(directory.path(), "genesis.toml", GENESIS);
    let wrong_genesis = write(directory.path(), "wrong.toml", &GENESIS.replace("250", "-250"));
    let even = write(directory.path(), "even.toml", "nodes = [\"A\", \"B\"]\n[accounts]\nA = 1\n");
    let store = format!("store = \"redb:{}\"\n", directory.path().join("store").display());
    let right = format!("id = \"A\"\npeer-listen = \"127.0.0.1:0\"\nclient-listen = \"127.0.0.1:0\"\n{store}");
    let peers = "peer = [\"B=127.0.0.1:1\", \"C=127.0.0.1:2\"]\n";
    let both = ["--opening", "5", "--genesis", &genesis];
    let wrong: Vec<(String, &[&str], &str)> = vec![
        (format!("{right}peers = []"), &[], "line 5: there is no key \"peers\"; did you mean peer?"),
        (right.replace("\"A\"", "5"), &[], "line 1: id must be a text in quotes, such as \"A\", and is a whole number"),
        (right.replace("\"A\"", "A"), &[], "line 1: this is not TOML"),
        (right.replace("\"A\"", "\"A b\""), &[], "line 1: id = \"A b\": the name \"A b\" holds ' '"),
        (format!("{right}peer = [\"B\"]"), &[], "line 5: peer = \"B\": a peer is NAME=HOST:PORT"),
        (format!("{right}opening = -5"), &[], "is negative"),
        (format!("{right}opening = \"5\""), &[], "line 5: opening must be a whole number, such as 100, and is a text"),
        (format!("{right}peer = [\"B=h:1\", \"C=h:1\"]"), &[], "--peer B and --peer C both have the address h:1"),
        (
            format!("{right}peer = [\"B=127.0.0.1:0\"]"),
            &[],
            "--peer B=127.0.0.1:0 is the address of this node's own --peer-listen",
        ),
        (right.replace("redb:", "rediss://me:hunter2@"), &[], "user and password do not belong in the address"),
        (right.replace("redb:", "redis://me:hunter2@"), &[], "user and password do not belong in the address"),
        (right.replace("id = \"A\"", ""), &[], "--id <NAME>"),
        (
            format!("{right}{peers}genesis = {wrong_genesis:?}"),
            &[],
            "accounts.\"alice@A\": the amount \"-250\" is negative",
        ),
        (format!("{right}{peers}genesis = {even:?}"), &[], "nodes: a cluster has an odd number of nodes"),
        (format!("{right}genesis = {genesis:?}"), &[], "nodes are A, B, C, but --id and --peer name A"),
        (format!("{right}genesis = \"/nowhere/g.toml\""), &[], "/nowhere/g.toml cannot be read"),
        (format!("{right}genesis = {genesis:?}"), &["--opening", "5"], "--opening cannot be used together"),
        (right.clone(), &both, "cannot be used with"),
        (
            right.clone(),
            &["--store", "redis://127.0.0.1:1", "--redis-user", "me"],
            "a user for the Redis is given, but no password",
        ),
        (
            right.clone(),
            &["--store", "redis://127.0.0.1:1", "--redis-password-file", "/nowhere/p"],
            "the password file /nowhere/p cannot be read",
        ),
        (right.clone(), &["--redis-password=hunter2"], "unexpected argument '--redis-password'"),
        (right.clone(), &["--store", "redis://me:hunter2@h"], "not repeated here"),
        (right.clone(), &["redis://me:hunter2@h"], "unexpected argument"),
    ];
    for (text, flags, expected) in wrong {
        let file = write(directory.path(), "a.toml", &text);
        let arguments: Vec<String> =
            ["--config", &file].into_iter().chain(flags.iter().copied()).map(str::to_owned).collect();
        let (code, log) = fails_to_start(&arguments).await;
        let log = log.replace("\\\"", "\"");
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains(expected), "{expected:?} is not in {log}");
        assert!(!log.contains("hunter2"), "{log}");
        assert!(!directory.path().join("store").exists(), "nothing was created");
    }
    let file = write(directory.path(), "a.toml", "\nlog-format = \"xml\"");
    let told = config(&["--config", &file], &[]).await;
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("line 2: log-format = \"xml\": give one of human, json"), "{stderr}");
    let (code, log) = fails_to_start(&["--config".to_owned(), "/nowhere/a.toml".to_owned()]).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("/nowhere/a.toml cannot be read"), "{log}");
}
