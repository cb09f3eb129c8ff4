//! `paxbank demo`: a bank in one process, which other processes can join in with, and which leaves nothing behind.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use paxos_banking::client::{Client, ClientOptions, Outcome};
use paxos_banking::ledger::{Request, Wait};
use paxos_banking::types::Amount;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::process::PATIENCE;

/// A demo that runs, with a script that goes on as long as its stdin is open.
struct Demo {
    child: Child,
    script: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
    nodes: String,
}

fn command(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary).env_remove("RUST_LOG").env_remove("PAXBANK_NODES");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Demo {
    /// Starts one, and waits until it says where its nodes are.
    async fn start(temporary: &Path, arguments: &[&str]) -> Self {
        let mut child = command(temporary, arguments).spawn().unwrap();
        let (script, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut told = BufReader::new(stdout).lines();
        let nodes = loop {
            let line =
                timeout(PATIENCE, told.next_line()).await.unwrap().unwrap().expect("it says where its nodes are");
            if let Some(nodes) = line.strip_prefix("  export PAXBANK_NODES=") {
                break nodes.to_owned();
            }
        };
        Self { child, script, told, nodes }
    }

    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.told.next_line()).await.unwrap().unwrap().unwrap()
    }

    async fn says(&mut self, line: &str) {
        self.script.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &process]).status().unwrap().success());
    }

    /// Its exit status, and what it printed on stderr.
    async fn ended(self) -> (Option<i32>, String) {
        let Self { child, script, .. } = self;
        let output: Output =
            timeout(PATIENCE, child.wait_with_output()).await.expect("it ends in bounded time").unwrap();
        drop(script);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[tokio::test]
async fn another_process_joins_in_and_a_signal_ends_it_with_nothing_left() {
    for signal in ["TERM", "INT"] {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(temporary.path(), &[]).await;
        assert!(!is_empty(temporary.path()), "its stores are there while it runs");
        let other = Command::new(env!("CARGO_BIN_EXE_paxbank"))
            .args(["transfer", "A", "B", "30", "--wait", "settled", "--output", "json"])
            .env("PAXBANK_NODES", &demo.nodes)
            .output()
            .await
            .unwrap();
        let told: Value = serde_json::from_slice(&other.stdout).unwrap();
        assert_eq!((other.status.code(), &told["outcome"]), (Some(0), &json!("approved")), "{told}");
        demo.says("balance B").await;
        let line = demo.line().await;
        assert!(line.starts_with("B  can spend 130; "), "{line}");
        demo.signal(signal);
        let (status, stderr) = demo.ended().await;
        assert_eq!((status, stderr.as_str()), (Some(0), ""));
        assert!(is_empty(temporary.path()), "nothing is left behind");
    }
}

#[tokio::test]
async fn what_is_kept_is_sound_and_the_next_demo_goes_on_with_it() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = temporary.path().join("bank");
    let keep = ["--keep", kept.to_str().unwrap(), "--output", "json", "-c"];
    let output = command(temporary.path(), &[&keep[..], &["A B 30; B C 120; settle"]].concat()).output().await.unwrap();
    let lines: Vec<Value> =
        output.stdout.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 4), "{lines:?}");
    assert_eq!(lines[0]["directory"], json!(kept.to_str().unwrap()));
    let store = format!("redb:{}", kept.display());
    let check = Command::new(env!("CARGO_BIN_EXE_paxbank")).args(["check", "--store", &store]).output().await.unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    let output = command(temporary.path(), &[&keep[..], &["balance C"]].concat()).output().await.unwrap();
    let balance: Value = serde_json::from_slice(output.stdout.split(|b| *b == b'\n').nth(1).unwrap()).unwrap();
    assert_eq!(balance["spendable"], json!(220), "{balance}");
    let other = [&["--opening", "7"][..], &keep, &["status"]].concat();
    let output = command(temporary.path(), &other).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "another bank's stores are left alone");
    assert!(String::from_utf8(output.stdout).unwrap().contains("this store belongs to node A of bank"));
}

#[tokio::test]
async fn a_script_that_fails_and_a_reader_that_goes_away_leave_nothing_behind_either() {
    let temporary = tempfile::tempdir().unwrap();
    let output = command(temporary.path(), &["-c", "A B 500; nonsense"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut gone = command(temporary.path(), &["-c", "chain; A B 5; chain"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(gone.stdout(writer).status().await.unwrap().code(), Some(0));
    let mut demo = Demo::start(temporary.path(), &[]).await;
    demo.says("A B 5").await;
    assert!(demo.line().await.starts_with("A→B 5  approved"));
    let (_, asked) = (demo.line().await, demo.nodes.clone());
    demo.says("quit").await;
    assert_eq!(demo.ended().await.0, Some(0));
    assert!(is_empty(temporary.path()));
    let client = Client::new(asked.split(','), ClientOptions::default()).unwrap();
    let (id, from, to) = (client.new_id(), "A".parse().unwrap(), "B".parse().unwrap());
    let request = Request { id, from, to, amount: Amount::new(1), wait: Wait::Local };
    let told = client.transfer(request, Duration::from_millis(200)).await;
    assert!(!matches!(told, Ok(Outcome::Approved(_))), "its ports are closed: {told:?}");
}
