//! A bank of one node, as a process, and what that takes of its machine.

use std::path::PathBuf;
use std::sync::Once;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::process::NodeProcess;

/// Two accounts of the node, with enough on each.
pub const ACCOUNTS: [&str; 2] = ["x@A", "y@A"];

/// How many strangers come.
pub fn crowd() -> usize {
    let given = std::env::var("HOSTILE_CLIENTS").ok().map(|count| count.parse().unwrap());
    let wanted = given.unwrap_or(2_000);
    let files = usize::try_from(files_of_this_process()).unwrap_or(usize::MAX);
    // Four tests may run at once.
    assert!(
        given.is_none() || files > wanted + 1_000,
        "{wanted} strangers need more than {files} files; see ulimit -n"
    );
    wanted.min(files / 5)
}

/// As many as the system lets it have.
fn files_of_this_process() -> u64 {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    });
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().0
}

pub struct Node {
    pub process: NodeProcess,
    _directory: TempDir,
}

impl Node {
    pub async fn start(level: &str) -> Self {
        files_of_this_process();
        let directory = tempfile::tempdir().unwrap();
        let genesis = directory.path().join("genesis.toml");
        let [x, y] = ACCOUNTS;
        std::fs::write(&genesis, format!("nodes = [\"A\"]\n[accounts]\n\"{x}\" = 1000000\n\"{y}\" = 1000000\n"))
            .unwrap();
        let store = format!("redb:{}", directory.path().join("A").display());
        let arguments = ["--id", "A", "--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--genesis".to_owned(), genesis.display().to_string(), "--store".to_owned(), store]);
        Self { process: NodeProcess::start(&arguments, level).await, _directory: directory }
    }

    pub fn client_address(&self) -> &str {
        &self.process.client_address
    }

    pub fn peer_address(&self) -> &str {
        &self.process.peer_address
    }

    /// Resident memory, in MiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    }

    /// How many files and sockets it has open.
    pub fn files(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// From now on it may not have more than this open.
    pub fn limit_files(&self, files: usize) {
        let pid = self.process.pid().to_string();
        let limit = format!("--nofile={files}:{files}");
        assert!(std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    }

    fn proc(&self, what: &str) -> PathBuf {
        format!("/proc/{}/{what}", self.process.pid()).into()
    }
}

/// Runs an attack on a thread of its own, so that what honest clients measure is not how busy their attackers are.
pub async fn apart<T: Send + 'static, F: Future<Output = T>>(attack: impl FnOnce() -> F + Send + 'static) -> T {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(attack())
    };
    #[allow(clippy::disallowed_methods, reason = "the nodes are processes of their own")]
    let held = tokio::task::spawn_blocking(run).await;
    held.unwrap()
}

/// Connects so often, and says this each time.
pub async fn come(address: &str, count: usize, say: &[u8]) -> Vec<std::net::TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        drop(stream.write_all(say).await);
        held.push(stream.into_std().unwrap());
    }
    held
}
