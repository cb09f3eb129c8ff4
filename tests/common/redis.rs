//! A Redis of a test's own: started from this project's `redis.conf`, in a directory of its own, on a port and a socket of
//! its own, and killed when it is dropped. It never meets one that the machine runs.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a real server starts in real time")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(20);

pub struct RedisServer {
    directory: tempfile::TempDir,
    port: u16,
    /// Whether it listens on its port with TLS alone.
    tls: bool,
    /// Given on the command line, after the configuration.
    overrides: Vec<String>,
    /// What it finds in its environment besides.
    environment: Vec<(String, String)>,
    process: Mutex<Option<Process>>,
}

/// The server, and what kills it should this program end without dropping it: as long as it runs, that one waits for the
/// end of its input.
struct Process {
    server: Child,
    watchdog: Child,
}

/// A port below those that systems give to whoever asks for any: there, somebody else would get it while a server that
/// is killed and started again is away.
fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Test programs that run beside each other begin at different ones.
    let first = std::process::id().wrapping_mul(97);
    let ports = std::iter::repeat_with(|| first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)));
    let mut ports = ports.map(|number| 10_000 + u16::try_from(number % 20_000).unwrap());
    ports.by_ref().take(20_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

impl RedisServer {
    /// A new, empty one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with settings of its own: `["--appendonly", "no"]`.
    pub fn start_with(overrides: &[&str]) -> Self {
        Self::start_as(false, overrides, &[])
    }

    /// One with more in its environment.
    pub fn start_in(environment: &[(String, String)]) -> Self {
        Self::start_as(false, &[], environment)
    }

    /// One that speaks TLS, with settings that say what it shows.
    pub fn start_tls(settings: &[String]) -> Self {
        Self::start_as(true, &settings.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    }

    fn start_as(tls: bool, overrides: &[&str], environment: &[(String, String)]) -> Self {
        // Between finding a port free and listening on it, somebody else may take it.
        for _ in 0..5 {
            let port = free_port();
            let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
            let directory = tempfile::tempdir().unwrap();
            let environment = environment.to_vec();
            let server = Self { directory, port, tls, overrides, environment, process: Mutex::new(None) };
            if server.starts() {
                return server;
            }
        }
        panic!("redis-server does not start; is it installed?");
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn address_tcp(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// `rediss://127.0.0.1:PORT`.
    pub fn address_tls(&self) -> String {
        format!("rediss://127.0.0.1:{}/0", self.port)
    }

    /// `unix:SOCKET`.
    pub fn address_unix(&self) -> String {
        format!("unix:{}", self.socket())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket(&self) -> String {
        self.directory.path().join("redis.sock").to_str().unwrap().to_owned()
    }

    /// Kills it as a loss of power would, the disk left intact.
    pub fn kill(&self) {
        if let Some(Process { mut server, mut watchdog }) = self.process().take() {
            watchdog.kill().unwrap();
            watchdog.wait().unwrap();
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again on what it had written.
    pub fn restart(&self) {
        assert!(self.starts(), "redis-server does not start again: {}", self.log());
    }

    /// The same, where it may refuse what it finds: whether it did start.
    pub fn starts(&self) -> bool {
        self.kill();
        let port = self.port.to_string();
        let ports: &[&str] = if self.tls { &["--port", "0", "--tls-port", &port] } else { &["--port", &port] };
        let server = Command::new("redis-server")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf"))
            .args(ports)
            .args(["--unixsocket", &self.socket(), "--dir"])
            .arg(self.directory.path())
            .args(["--logfile", "redis.log"])
            .args(&self.overrides)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: tests/all.sh sees to it");
        let watchdog = Command::new("sh")
            .args(["-c", &format!("read _; kill -9 {}", server.id())])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        *self.process() = Some(Process { server, watchdog });
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if self.answers() {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.process().as_mut().unwrap().server.try_wait().unwrap().is_some()
    }

    /// Waits until it has, and says whether it did within the time that a start may take.
    pub fn ends(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < START_MAX && !self.has_ended() {
            std::thread::yield_now();
        }
        self.has_ended()
    }

    /// Where it keeps its log of changes.
    pub fn log_directory(&self) -> PathBuf {
        self.directory.path().join("appendonlydir")
    }

    fn answers(&self) -> bool {
        let connection = redis::Client::open(redis::ConnectionAddr::Unix(self.socket().into()))
            .and_then(|client| client.get_connection_with_timeout(START_MAX));
        connection.is_ok_and(|mut connection| match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => true,
            // One that wants a password first is there, too.
            Err(error) => error.code() == Some("NOAUTH"),
        })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }

    /// It stands still, and its connections with it.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// And goes on.
    pub fn cont(&self) {
        self.signal("-CONT");
    }

    /// It is killed also where a test failed while it held this.
    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: &str) {
        let pid = self.process().as_ref().unwrap().server.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill {signal} {pid}")]).status().unwrap().success());
    }

    /// What `redis-cli` prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-s", &self.socket()]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The same where it wants a password.
    pub fn cli_as(&self, password: &str, arguments: &[&str]) -> String {
        self.cli(&[&["--no-auth-warning", "-a", password], arguments].concat())
    }

    /// A connection for what is not text.
    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(redis::ConnectionAddr::Unix(self.socket().into())).unwrap().get_connection().unwrap()
    }

    /// Empties it.
    pub fn flush_all(&self) {
        assert_eq!(self.cli(&["FLUSHALL"]), "OK");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
