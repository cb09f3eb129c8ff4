//! The flags of `paxbank node`, and the bank that they describe. Each is a key of the configuration file as well.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use crate::cli::Failure;
use crate::cli::redis_login::RedisLogin;
use crate::genesis_file;
use crate::ledger::Genesis;
use crate::store::StoreAddress;
use crate::types::{Amount, NodeId};

pub(in crate::cli) const EXAMPLES: &str = "Examples:
  A node whose flags stand in a file (docs/configuration.md has one):
    paxbank node --config a.toml
  A bank of three nodes on one machine, each line in a terminal of its own:
    paxbank node --id A --peer-listen 127.0.0.1:7001 --client-listen 127.0.0.1:8001 --peer B=127.0.0.1:7002 --peer C=127.0.0.1:7003
    paxbank node --id B --peer-listen 127.0.0.1:7002 --client-listen 127.0.0.1:8002 --peer A=127.0.0.1:7001 --peer C=127.0.0.1:7003
    paxbank node --id C --peer-listen 127.0.0.1:7003 --client-listen 127.0.0.1:8003 --peer A=127.0.0.1:7001 --peer B=127.0.0.1:7002
  With more accounts than those of the nodes, at all nodes the same:
    paxbank node --config a.toml --genesis genesis.toml";

pub(in crate::cli) const NOTES: &str = "\
Each flag has an environment variable, and a key of its name in the file of --config. A flag goes before the
environment, that before the file; `paxbank config` shows what comes of it. SIGTERM or Ctrl-C stops the node in order;
its data stays. RUST_LOG=debug logs each transfer by its id.";

/// What one node is told.
#[derive(Args)]
pub(in crate::cli) struct NodeFlags {
    /// A file in TOML with any of these flags as keys, such as id = "A".
    #[arg(long, value_name = "FILE", env = "PAXBANK_NODE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The node's name.
    #[arg(long, value_name = "NAME", env = "PAXBANK_NODE_ID")]
    pub id: NodeId,
    /// Where it accepts its peers.
    #[arg(long, value_name = "HOST:PORT", env = "PAXBANK_NODE_PEER_LISTEN", value_parser = address)]
    pub peer_listen: String,
    /// Where it accepts its clients.
    #[arg(long, value_name = "HOST:PORT", env = "PAXBANK_NODE_CLIENT_LISTEN", value_parser = address)]
    pub client_listen: String,
    /// Another node of the bank and where it accepts its peers; once for each. Every node must name the same bank: an
    /// odd number of nodes, this one included.
    #[arg(long = "peer", id = "peer", value_name = "NAME=HOST:PORT", env = "PAXBANK_NODE_PEERS", value_delimiter = ',',
          value_parser = peer)]
    pub peers: Vec<(NodeId, String)>,
    /// Where clients reach it, as the other nodes tell them [default: where it accepts them].
    #[arg(long, value_name = "HOST:PORT", env = "PAXBANK_NODE_CLIENT_ADVERTISE", value_parser = address)]
    pub client_advertise: Option<String>,
    /// Where it keeps what must last: redb:DIR, redis://HOST:PORT/DATABASE (rediss:// behind TLS), unix:SOCKET (a Redis
    /// too) or memory [default: redb in a directory named after the node].
    #[arg(long, value_name = "STORE", env = "PAXBANK_NODE_STORE", hide_env_values = true)]
    pub store: Option<StoreAddress>,
    /// Where settled blocks move out of a Redis, which holds everything in memory: a directory, made if it is missing.
    #[arg(long, value_name = "DIR", env = "PAXBANK_NODE_ARCHIVE")]
    pub archive: Option<PathBuf>,
    #[command(flatten)]
    pub redis: RedisLogin,
    /// A file in TOML with the bank's nodes, its accounts, and what is on each in the beginning; the same at all nodes.
    #[arg(long, value_name = "FILE", env = "PAXBANK_NODE_GENESIS", conflicts_with = "opening")]
    pub genesis: Option<PathBuf>,
    /// What is on each node's account in the beginning, in the smallest unit; the same at all nodes.
    #[arg(
        long,
        value_name = "AMOUNT",
        default_value = "100",
        allow_hyphen_values = true,
        env = "PAXBANK_NODE_OPENING"
    )]
    pub opening: Amount,
    /// For the first start of a bank one of whose nodes will never come: do not wait for peers that have not answered
    /// that they know this node.
    #[arg(long, env = "PAXBANK_NODE_FORCE_ADMISSION", value_name = "true|false", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub force_admission: bool,
    /// Take a Redis that would lose acknowledged writes all the same, with a warning instead of a refusal.
    #[arg(long, env = "PAXBANK_NODE_ACCEPT_UNSAFE_STORE", value_name = "true|false", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub accept_unsafe_store: bool,
    /// How to log, on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Human, env = "PAXBANK_NODE_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// How a node logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

pub(in crate::cli) fn address(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    // What is not ASCII, or a space, no peer would pass on.
    match port.filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(_) => Ok(text.to_owned()),
        None => Err("an address is HOST:PORT in ASCII, such as 127.0.0.1:7001".to_owned()),
    }
}

fn peer(text: &str) -> Result<(NodeId, String), String> {
    // A list in the environment may well have spaces behind its commas.
    let (name, at) = text.trim().split_once('=').ok_or("a peer is NAME=HOST:PORT, such as B=127.0.0.1:7002")?;
    Ok((name.parse().map_err(|error| format!("{error}"))?, address(at)?))
}

impl NodeFlags {
    /// Where the node keeps what must last.
    pub(in crate::cli) fn store(&self) -> Result<StoreAddress, Failure> {
        let address = self.store.clone().unwrap_or_else(|| StoreAddress::Redb(PathBuf::from(self.id.as_str())));
        let address = if self.accept_unsafe_store { address.accept_unsafe() } else { address };
        address.with_archive(self.archive.clone()).map_err(|error| Failure::usage(error.to_string()))
    }

    /// What is wrong with the node's own addresses, as far as they tell by themselves.
    pub(in crate::cli) fn check_addresses(&self) -> Result<(), Failure> {
        if self.peer_listen == self.client_listen && !self.peer_listen.ends_with(":0") {
            let message = format!("--peer-listen and --client-listen are both {}; give each its own", self.peer_listen);
            return Err(Failure::usage(message));
        }
        let told = self.client_advertise.as_ref().unwrap_or(&self.client_listen);
        match told.parse::<SocketAddr>() {
            Ok(at) if at.ip().is_unspecified() => Err(not_reachable(at)),
            _ => Ok(()),
        }
    }

    fn peers(&self) -> Result<BTreeMap<NodeId, String>, Failure> {
        let mut peers = BTreeMap::new();
        for (name, at) in &self.peers {
            if *name == self.id {
                return Err(Failure::usage(format!("--peer {name}={at} names this node itself; leave it out")));
            }
            if *at == self.peer_listen {
                return Err(Failure::usage(format!(
                    "--peer {name}={at} is the address of this node's own --peer-listen; give that of {name}"
                )));
            }
            if let Some((other, _)) = peers.iter().find(|(other, there)| *other != name && *there == at) {
                return Err(Failure::usage(format!(
                    "--peer {other} and --peer {name} both have the address {at}; give each its own"
                )));
            }
            if let Some(other) = peers.insert(*name, at.clone()) {
                return Err(Failure::usage(format!("--peer {name} is given twice, with {other} and {at}")));
            }
        }
        Ok(peers)
    }

    /// The bank that the flags describe, and the addresses of the peers.
    pub(in crate::cli) fn bank(&self) -> Result<(Genesis, BTreeMap<NodeId, String>), Failure> {
        let peers = self.peers()?;
        let nodes: BTreeSet<NodeId> = peers.keys().copied().chain([self.id]).collect();
        let genesis = match &self.genesis {
            Some(file) => {
                let genesis = genesis_file::read(file).map_err(|error| Failure::usage(error.to_string()))?;
                if *genesis.nodes() != nodes {
                    return Err(other_nodes(file, &genesis, &nodes));
                }
                genesis
            }
            None => {
                Genesis::with_equal_openings(nodes, self.opening).map_err(|error| Failure::usage(error.to_string()))?
            }
        };
        Ok((genesis, peers))
    }
}

/// Of an address that stands for all of a machine's.
pub(in crate::cli) fn not_reachable(at: SocketAddr) -> Failure {
    Failure::usage(format!("{at} is nothing that a client can connect to; give --client-advertise HOST:PORT"))
}

fn other_nodes(file: &std::path::Path, genesis: &Genesis, told: &BTreeSet<NodeId>) -> Failure {
    let names = |nodes: &BTreeSet<NodeId>| nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ");
    Failure::usage(format!(
        "{}: nodes are {}, but --id and --peer name {}; give --peer for each of the others, and no more",
        file.display(),
        names(genesis.nodes()),
        names(told)
    ))
}
