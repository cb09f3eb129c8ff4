//! A whole bank of processes: three nodes, a proxy on every way between them and in front of each client port, and stores
//! that outlive them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use paxos_banking::client::{Client, ClientOptions, Outcome, State, Status, StatusReport};
use paxos_banking::ledger::{Approval, Block, Request, Wait};
use paxos_banking::types::{AccountId, Amount, Height, NodeId};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::certificates::Authority;
use crate::process::{NodeProcess, PATIENCE, Place};
use crate::proxy::{Proxy, Way};
use crate::redis::RedisServer;

pub const NAMES: [&str; 3] = ["A", "B", "C"];

/// Where a node listens for its peers, and for clients, on an address that is its own.
const PORTS: [u16; 2] = [7001, 8001];

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

/// What the nodes keep their data in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    Redb,
    /// One server for each node.
    Redis,
    /// The same behind TLS.
    RedisTls,
}

pub struct Bank {
    directory: TempDir,
    opening: u64,
    /// What its nodes log.
    pub level: &'static str,
    /// Where each runs. Those with an address of their own are reached there, and not through a proxy.
    pub places: BTreeMap<&'static str, Place>,
    /// By who dials and who is dialled.
    ways: BTreeMap<(&'static str, &'static str), Proxy>,
    client_ways: BTreeMap<&'static str, Proxy>,
    pub redis: BTreeMap<&'static str, RedisServer>,
    /// Who signed the certificates of the Redis servers.
    authority: Option<Authority>,
    pub nodes: BTreeMap<&'static str, NodeProcess>,
}

impl Bank {
    /// Three nodes that serve clients.
    pub async fn start(stores: Stores, opening: u64) -> Self {
        let mut bank = Self::prepared(stores, opening).await;
        for name in NAMES {
            bank.run(name).await;
        }
        bank.all_ready().await;
        bank
    }

    /// The same, before any node runs.
    pub async fn prepared(stores: Stores, opening: u64) -> Self {
        let on_redis: &[&str] = if stores == Stores::Redb { &[] } else { &NAMES };
        let authority = (stores == Stores::RedisTls).then(Authority::new);
        Self::prepared_with(on_redis, authority, opening).await
    }

    /// The same; those named have a Redis each, the others a file.
    #[allow(dead_code, reason = "tests/nemesis uses it")]
    pub async fn prepared_on(on_redis: &[&str], opening: u64) -> Self {
        Self::prepared_with(on_redis, None, opening).await
    }

    /// The same; with an authority, the servers speak TLS.
    async fn prepared_with(on_redis: &[&str], authority: Option<Authority>, opening: u64) -> Self {
        let mut ways = BTreeMap::new();
        let mut client_ways = BTreeMap::new();
        let mut redis = BTreeMap::new();
        if let Some(authority) = &authority {
            authority.sign("server", "IP:127.0.0.1");
        }
        for name in NAMES {
            client_ways.insert(name, Proxy::new().await);
            if on_redis.contains(&name) {
                let server = authority.as_ref().map_or_else(RedisServer::start, |authority| {
                    RedisServer::start_tls(&authority.of_server("server", "no"))
                });
                redis.insert(name, server);
            }
            for peer in NAMES.into_iter().filter(|peer| *peer != name) {
                ways.insert((name, peer), Proxy::new().await);
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let (places, nodes) = (BTreeMap::new(), BTreeMap::new());
        Self { directory, opening, level: "info", places, ways, client_ways, redis, authority, nodes }
    }

    pub fn arguments(&self, name: &'static str) -> Vec<String> {
        let [peers, clients] = self.own(name).unwrap_or_else(|| ["127.0.0.1:0"; 2].map(str::to_owned));
        let mut arguments: Vec<String> =
            ["--id", name, "--peer-listen", &peers, "--client-listen", &clients].map(str::to_owned).into();
        arguments.extend(["--client-advertise".to_owned(), self.client_address(name)]);
        arguments.extend(["--opening".to_owned(), self.opening.to_string()]);
        let store = match (self.redis.get(name), &self.authority) {
            (Some(redis), Some(authority)) => {
                arguments.extend(["--redis-ca".to_owned(), authority.file("ca.pem")]);
                redis.address_tls()
            }
            (Some(redis), None) => redis.address_tcp(),
            (None, _) => format!("redb:{}", self.store_directory(name).display()),
        };
        arguments.extend(["--store".to_owned(), store]);
        for peer in NAMES.into_iter().filter(|peer| *peer != name) {
            let address = self.own(peer).map_or_else(|| self.ways[&(name, peer)].address(), |[peers, _]| peers);
            arguments.extend(["--peer".to_owned(), format!("{peer}={address}")]);
        }
        arguments
    }

    /// Where a node listens for its peers, and for clients, if it has an address of its own.
    fn own(&self, name: &str) -> Option<[String; 2]> {
        let host = self.places.get(name)?.host.as_ref()?;
        Some(PORTS.map(|port| format!("{host}:{port}")))
    }

    /// Where clients reach a node: it stays, through restarts.
    pub fn client_address(&self, name: &str) -> String {
        self.own(name).map_or_else(|| self.client_ways[name].address(), |[_, clients]| clients)
    }

    /// Who signed what the Redis servers show.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("its stores are behind TLS")
    }

    pub fn store_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts one node on whatever its store holds.
    pub async fn run(&mut self, name: &'static str) {
        self.run_with(name, &self.arguments(name)).await;
    }

    /// The same, with arguments of its own.
    pub async fn run_with(&mut self, name: &'static str, arguments: &[String]) {
        let place = self.places.get(name).cloned().unwrap_or_default();
        let process = NodeProcess::start_in(arguments, self.level, &place).await;
        self.client_ways[name].set_target(&process.client_address);
        for peer in NAMES.into_iter().filter(|peer| *peer != name) {
            self.ways[&(peer, name)].set_target(&process.peer_address);
        }
        self.nodes.insert(name, process);
    }

    pub async fn kill(&mut self, name: &str) {
        self.nodes.remove(name).unwrap().kill().await;
    }

    /// Sets both ways between two nodes.
    pub fn set_between(&self, one: &'static str, other: &'static str, way: Way) {
        self.ways[&(one, other)].set(way);
        self.ways[&(other, one)].set(way);
    }

    /// Sets all ways between one node and the others.
    pub fn set_around(&self, name: &'static str, way: Way) {
        NAMES.into_iter().filter(|peer| *peer != name).for_each(|peer| self.set_between(name, peer, way));
    }

    /// The way on which the two meet: the one with the smaller name dials.
    pub fn way(&self, one: &'static str, other: &'static str) -> &Proxy {
        &self.ways[&(one.min(other), one.max(other))]
    }

    /// The way of all clients to a node.
    #[allow(dead_code, reason = "for tests/nemesis")]
    pub fn client_way(&self, name: &str) -> &Proxy {
        &self.client_ways[name]
    }

    /// The addresses of the nodes' client ports: they stay, through restarts.
    pub fn addresses(&self) -> String {
        NAMES.map(|name| self.client_address(name)).join(",")
    }

    pub fn client(&self) -> Client {
        let options = ClientOptions { try_within: Duration::from_secs(2), ..ClientOptions::default() };
        Client::new(NAMES.map(|name| self.client_address(name)), options).unwrap()
    }

    /// A client that knows this node only.
    pub fn client_of(&self, name: &str) -> Client {
        Client::new([self.client_address(name)], ClientOptions::default()).unwrap()
    }

    /// Asks a node how it is, until it is as wanted.
    pub async fn until(&self, name: &'static str, wanted: impl Fn(&Status) -> bool) -> Status {
        let client = self.client_of(name);
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            if let Ok(report) = client.status().await
                && let Some(Some(status)) = report.nodes.get(&node(name))
            {
                if wanted(status) {
                    return status.clone();
                }
                last = Some(status.clone());
            }
            tokio::task::yield_now().await;
        }
        let log = self.nodes.get(name).map(NodeProcess::log).unwrap_or_default();
        panic!("{name} is still {last:?}; its log:\n{log}");
    }

    pub async fn ready(&self, name: &'static str) {
        self.until(name, |status| status.state == State::Ready).await;
    }

    /// Waits until every node serves clients and hears every other.
    pub async fn all_ready(&self) {
        for name in NAMES {
            self.until(name, |status| status.state == State::Ready && status.peers_up.len() == 2).await;
        }
    }

    /// Transfers that must be approved, one after the other.
    pub async fn approved(&self, client: &Client, from: &str, to: &str, amount: u64, wait: Wait) -> Approval {
        match self.transfer(client, from, to, amount, wait).await {
            Outcome::Approved(approval) => approval,
            other => panic!("{other:?}"),
        }
    }

    pub async fn transfer(&self, client: &Client, from: &str, to: &str, amount: u64, wait: Wait) -> Outcome {
        let amount = Amount::new(amount);
        let request = Request { id: client.new_id(), from: account(from), to: account(to), amount, wait };
        client.transfer(request, PATIENCE).await.unwrap()
    }

    /// Has everything settled, and waits until all nodes are at the same tip with nothing in their logs.
    pub async fn settled(&self) -> Height {
        let client = self.client();
        let began = Instant::now();
        loop {
            let settled = client.settle(None, PATIENCE).await;
            let report = client.status().await.unwrap();
            let statuses: Vec<&Status> = report.nodes.values().flatten().collect();
            let level = statuses.windows(2).all(|pair| pair[0].tip == pair[1].tip);
            if settled.is_ok() && statuses.len() == 3 && level && statuses.iter().all(|status| status.log == Some(0)) {
                return statuses[0].height;
            }
            assert!(began.elapsed() < PATIENCE, "never settled, {settled:?}:{}", told(&report));
        }
    }

    /// A node's whole chain.
    pub async fn chain(&self, name: &str) -> Vec<Block> {
        let mut pages = self.client_of(name).chain(Some(node(name)), Height(1), None, PATIENCE);
        let mut blocks = Vec::new();
        while let Some(page) = pages.next().await.unwrap() {
            blocks.extend(page.iter().map(|block| (**block).clone()));
        }
        blocks
    }

    /// Runs the command line against this bank.
    pub async fn paxbank(&self, arguments: &[&str]) -> Output {
        let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"))
            .args(arguments)
            .env("PAXBANK_NODES", self.addresses())
            .output();
        tokio::time::timeout(PATIENCE, run).await.expect("it ends in bounded time").unwrap()
    }

    /// The same with `--output json`: the exit status and the one value on stdout.
    pub async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.paxbank(&[arguments, &["--output", "json"]].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text:?}"));
        (output.status.code().unwrap(), value)
    }
}

/// What keeps a bank from being settled, a node to a line.
fn told(report: &StatusReport) -> String {
    let line = |(node, status): (&NodeId, &Option<Status>)| match status {
        None => format!("\n  {node}: not heard"),
        Some(Status { state, height, log, reason, .. }) => {
            let unsettled = log.map_or("unknown".to_owned(), |log| log.to_string());
            let reason = reason.as_deref().unwrap_or("says nothing is wrong");
            format!("\n  {node}: {state:?} at height {height}, unsettled {unsettled}, {reason}")
        }
    };
    report.nodes.iter().map(line).collect()
}
