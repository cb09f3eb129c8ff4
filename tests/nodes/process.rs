//! One `paxbank` process, and what it logs.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a process logged so far, one JSON object per line.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<Value>>, Notify)>);

impl Log {
    fn push(&self, line: &str) {
        let event = serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()));
        self.0.0.lock().unwrap().push(event);
        self.0.1.notify_waiters();
    }

    fn find<T>(&self, wanted: impl Fn(&Value) -> Option<T>) -> Option<T> {
        self.0.0.lock().unwrap().iter().find_map(wanted)
    }

    async fn wait<T>(&self, wanted: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let found = async {
            loop {
                // Asked for before looking, or a line in between would be missed.
                let more = self.0.1.notified();
                if let Some(found) = self.find(&wanted) {
                    return found;
                }
                more.await;
            }
        };
        timeout(PATIENCE, found).await.ok()
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().iter().map(|event| format!("{event}\n")).collect()
    }
}

/// Where a process runs, and what it finds there.
#[derive(Clone, Default)]
pub struct Place {
    /// In its environment, beside what is there anyhow.
    pub environment: Vec<(String, String)>,
    /// What goes before its command line, to start it elsewhere: it becomes the process, with the same id.
    pub enter: Vec<String>,
    /// The address that is its own there; without one, it listens on the loopback.
    pub host: Option<String>,
}

/// A `paxbank node` that runs. It is killed when this is dropped.
pub struct NodeProcess {
    child: Child,
    log: Log,
    /// Ends with the process's last line.
    reader: JoinHandle<()>,
    /// Where it accepts peers, and clients.
    pub peer_address: String,
    pub client_address: String,
}

impl NodeProcess {
    /// Starts one that logs from `level` up, and waits until it listens.
    pub async fn start(arguments: &[String], level: &str) -> Self {
        Self::start_in(arguments, level, &Place::default()).await
    }

    /// The same, somewhere else.
    pub async fn start_in(arguments: &[String], level: &str, place: &Place) -> Self {
        let (child, log, reader) = spawn(arguments, level, place);
        let addresses = log.wait(|event| {
            let text = |name: &str| event[name].as_str().map(str::to_owned);
            if event["message"] == "listening" { Some((text("peers")?, text("clients")?)) } else { None }
        });
        let Some((peer_address, client_address)) = addresses.await else { panic!("not listening: {}", log.text()) };
        Self { child, log, reader, peer_address, client_address }
    }

    /// Waits for a log line whose message holds `text`, or says what was logged instead.
    pub async fn logged(&self, text: &str) -> Value {
        let found = self.log.wait(|event| {
            let message = event["message"].as_str().or(event.as_str())?;
            message.contains(text).then(|| event.clone())
        });
        found.await.unwrap_or_else(|| panic!("{text:?} is not in the log:\n{}", self.log.text()))
    }

    /// All that was logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Whether it has ended by itself.
    #[allow(dead_code, reason = "for tests/nemesis")]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(
            std::process::Command::new("sh").args(["-c", &format!("kill {name} {pid}")]).status().unwrap().success()
        );
    }

    /// Waits for the process to end by itself.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends in bounded time").unwrap();
        self.reader.await.unwrap();
        (status, self.log.text())
    }

    pub async fn terminate(self) -> (ExitStatus, String) {
        self.signal("-TERM");
        self.ended().await
    }
}

fn spawn(arguments: &[String], level: &str, place: &Place) -> (Child, Log, JoinHandle<()>) {
    let mut words = place.enter.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_paxbank"), "node"]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    match level {
        // What a node logs when nobody says anything.
        "info" => command.env_remove("RUST_LOG"),
        level => command.env("RUST_LOG", level),
    };
    let mut child = command
        .args(arguments)
        .args(["--log-format", "json"])
        .envs(place.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = Log::default();
    let (stderr, into) = (child.stderr.take().unwrap(), log.clone());
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            into.push(&line);
        }
    });
    (child, log, reader)
}

/// Runs a node that must end by itself: its exit status, and what it logged or printed on stderr.
pub async fn fails_to_start(arguments: &[String]) -> (Option<i32>, String) {
    fails_to_start_with(arguments, "info").await
}

/// The same with another filter of its log.
pub async fn fails_to_start_with(arguments: &[String], level: &str) -> (Option<i32>, String) {
    let (mut child, log, reader) = spawn(arguments, level, &Place::default());
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends in bounded time").unwrap();
    reader.await.unwrap();
    (status.code(), log.text())
}
