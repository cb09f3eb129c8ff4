//! Redis servers that ask who is there: with one password for all, or with users who may do some things only.

use std::path::Path;
use std::process::Output;

use paxos_banking::client::State;
use paxos_banking::ledger::Wait;
use tokio::process::Command;
use tokio::time::timeout;

use crate::bank::{Bank, Stores};
use crate::process::{NodeProcess, PATIENCE, fails_to_start};
use crate::redis::RedisServer;

/// It must occur in nothing that is ever printed.
pub const PASSWORD: &str = "hunter2-correct-horse";
const WRONG: &str = "hunter2-wrong-battery";

fn with_users() -> RedisServer {
    // The commands that docs/configuration.md names.
    let needed =
        "~SERVER-* nocommands +auth +info +config|get +select +script|load +evalsha +scan +type +@hash +@stream";
    let documents = include_str!("../../docs/configuration.md");
    assert!(documents.contains(needed), "the documents say the same");
    let (bank, poor) = (format!("bank on >{PASSWORD} {needed}"), format!("poor on >{PASSWORD} +auth +ping"));
    let mut overrides = vec!["--requirepass", WRONG, "--user"];
    overrides.extend(bank.split(' '));
    overrides.push("--user");
    overrides.extend(poor.split(' '));
    RedisServer::start_with(&overrides)
}

pub fn alone(store: &str, more: &[&str]) -> Vec<String> {
    let base = ["--id", "A", "--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0", "--store", store];
    base.iter().chain(more).map(|text| (*text).to_owned()).collect()
}

pub fn password_file(directory: &Path, password: &str) -> String {
    let path = directory.join(format!("{}.password", password.len()));
    std::fs::write(&path, format!("{password}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn silent(text: &str) {
    assert!(!text.contains(PASSWORD) && !text.contains(WRONG), "a password is shown: {text}");
}

pub async fn paxbank(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(arguments).envs(environment.iter().copied());
    let Output { status, stdout, stderr } = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat())
}

/// A node that logs all there is serves, and says its password nowhere.
pub async fn serves(arguments: &[String]) {
    let node = NodeProcess::start(arguments, "trace").await;
    node.logged("ready").await;
    let (code, status) = paxbank(&["status", "--nodes", &node.client_address, "--output", "json"], &[]).await;
    assert_eq!(code, Some(0), "{status}");
    silent(&status);
    let (status, log) = node.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    silent(&log);
}

#[tokio::test]
async fn a_node_logs_in_with_a_password_from_a_file() {
    let redis = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let directory = tempfile::tempdir().unwrap();
    let (right, wrong) = (password_file(directory.path(), PASSWORD), password_file(directory.path(), "wrong"));
    for address in [redis.address_tcp(), redis.address_unix()] {
        serves(&alone(&address, &["--redis-password-file", &right])).await;
    }
    let address = redis.address_tcp();
    for (more, expected) in [
        (vec![], "it wants a password and none is given; name a file with it in --redis-password-file"),
        (vec!["--redis-password-file", wrong.as_str()], "WRONGPASS"),
        (vec!["--redis-password-file", right.as_str(), "--redis-user", "nobody"], "check the user (--redis-user"),
    ] {
        let (code, log) = fails_to_start(&alone(&address, &more)).await;
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains("does not let this node in") && log.contains(expected), "{expected:?} is not in {log}");
        silent(&log);
    }
    let check = ["check", "--store", &address];
    let (code, told) = paxbank(&check, &[("PAXBANK_REDIS_PASSWORD", PASSWORD)]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("A: intact"), "{told}");
    silent(&told);
    let (code, told) = paxbank(&check, &[("PAXBANK_REDIS_PASSWORD", WRONG)]).await;
    assert_eq!(code, Some(2), "{told}");
    silent(&told);
    let both = [&check[..], &["--redis-password-file", &right]].concat();
    let (code, told) = paxbank(&both, &[("PAXBANK_REDIS_PASSWORD", PASSWORD)]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("there are two passwords"), "{told}");
    silent(&told);
}

#[tokio::test]
async fn a_user_needs_no_more_than_the_documents_say() {
    let redis = with_users();
    let directory = tempfile::tempdir().unwrap();
    let file = password_file(directory.path(), PASSWORD);
    let login = |user: &'static str| ["--redis-user", user, "--redis-password-file"].map(str::to_owned);
    let arguments = |user| {
        let mut all = alone(&redis.address_tcp().replace("/0", "/3"), &[]);
        all.extend(login(user));
        all.push(file.clone());
        all
    };
    serves(&arguments("bank")).await;
    // Again, on what it wrote.
    serves(&arguments("bank")).await;
    let (code, log) = fails_to_start(&arguments("poor")).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("NOPERM") && log.contains("docs/configuration.md"), "{log}");
    silent(&log);
    let environment = [("PAXBANK_REDIS_USER", "bank"), ("PAXBANK_REDIS_PASSWORD", PASSWORD)];
    let (code, told) = paxbank(&["check", "--store", &redis.address_tcp().replace("/0", "/3")], &environment).await;
    assert_eq!(code, Some(0), "{told}");
    silent(&told);
}

#[tokio::test]
async fn a_password_for_a_server_that_needs_none_is_an_error_and_says_so() {
    let redis = RedisServer::start();
    let directory = tempfile::tempdir().unwrap();
    let file = password_file(directory.path(), PASSWORD);
    let (code, log) = fails_to_start(&alone(&redis.address_tcp(), &["--redis-password-file", &file])).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("does it need a password at all?"), "{log}");
    silent(&log);
}

#[tokio::test]
async fn a_password_that_is_changed_stops_a_node_that_must_log_in_again_and_its_status_does_not_tell_it() {
    let mut bank = Bank::start(Stores::Redis, 100).await;
    bank.redis["A"].cli(&["CONFIG", "SET", "requirepass", PASSWORD]);
    // Whoever was let in stays.
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
    bank.redis["A"].cli_as(PASSWORD, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let client = bank.client();
    drop(client.settle(None, std::time::Duration::from_secs(1)).await);
    let stopped = bank.until("A", |status| status.state == State::Stopped).await;
    let reason = stopped.reason.unwrap();
    assert!(reason.contains("it wants a password and none is given"), "{reason}");
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = bank.arguments("A");
    bank.kill("A").await;
    arguments.extend(["--redis-password-file".to_owned(), password_file(directory.path(), PASSWORD)]);
    bank.run_with("A", &arguments).await;
    bank.all_ready().await;
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
    silent(&bank.nodes["A"].log());
}
