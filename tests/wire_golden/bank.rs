//! Three nodes as processes, which serve clients.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

/// One `paxbank node`, killed when this is dropped.
pub struct Node {
    process: Child,
    /// What it logs; it must have somewhere to go.
    log: BufReader<ChildStderr>,
    pub peer_address: String,
    pub client_address: String,
}

impl Node {
    /// Starts one and waits until it listens. The peers are those that it dials.
    fn start(name: &str, peers: [&str; 2]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paxbank"));
        command.args(["node", "--id", name, "--store", "memory", "--log-format", "json"]);
        command.args(["--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0"]);
        command.args(peers.iter().flat_map(|peer| ["--peer", peer]));
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut node = Self { process, log, peer_address: String::new(), client_address: String::new() };
        let mut line = String::new();
        while node.client_address.is_empty() {
            line.clear();
            assert_ne!(node.log.read_line(&mut line).unwrap(), 0, "{name} ended before it listened");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "listening" {
                node.peer_address = event["peers"].as_str().unwrap().to_owned();
                node.client_address = event["clients"].as_str().unwrap().to_owned();
            }
        }
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A bank of A, B and C with 100 each. Of two nodes the one with the smaller name dials: so the last is started first,
/// and no port has to be known before somebody listens on it.
pub fn start() -> [Node; 3] {
    let nowhere = |name: &str| format!("{name}=127.0.0.1:{}", name.as_bytes()[0]);
    let at = |name: &str, node: &Node| format!("{name}={}", node.peer_address);
    let c = Node::start("C", [&nowhere("A"), &nowhere("B")]);
    let b = Node::start("B", [&nowhere("A"), &at("C", &c)]);
    let a = Node::start("A", [&at("B", &b), &at("C", &c)]);
    [a, b, c]
}
