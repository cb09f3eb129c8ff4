//! `paxbank node`: one node of a bank as a process of its own, until a signal.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::net::TcpListener;
use tracing::{Level, info, warn};

use super::signals::Signals;
use super::{Failure, Report, log};
use crate::actors::network::NetworkTiming;
use crate::entropy::Entropy;
use crate::ledger::Genesis;
use crate::node::server::{Server, ServerConfig};
use crate::node::{NodeConfig, abort_on_panic};
use crate::store::{Disk, STORE_WAIT, StoreAddress, StoreError, patiently};
use crate::types::{AccountId, Amount, NodeId};
use crate::wire::client::{State, Status};

const EXAMPLES: &str = "Examples:
  A bank of three nodes on one machine, each line in a terminal of its own:
    paxbank node --id A --peer-listen 127.0.0.1:7001 --client-listen 127.0.0.1:8001 --peer B=127.0.0.1:7002 --peer C=127.0.0.1:7003
    paxbank node --id B --peer-listen 127.0.0.1:7002 --client-listen 127.0.0.1:8002 --peer A=127.0.0.1:7001 --peer C=127.0.0.1:7003
    paxbank node --id C --peer-listen 127.0.0.1:7003 --client-listen 127.0.0.1:8003 --peer A=127.0.0.1:7001 --peer B=127.0.0.1:7002";

const NOTES: &str = "\
Each flag has an environment variable. SIGTERM or Ctrl-C stops the node in order; its data stays. RUST_LOG=debug
logs each transfer by its id.";

/// Runs one node: it approves transfers out of its accounts, and settles them with its peers.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(super) struct RunNode {
    /// The node's name.
    #[arg(long, value_name = "NAME", env = "PAXBANK_NODE_ID")]
    id: NodeId,
    /// Where it accepts its peers.
    #[arg(long, value_name = "HOST:PORT", env = "PAXBANK_NODE_PEER_LISTEN", value_parser = address)]
    peer_listen: String,
    /// Where it accepts its clients.
    #[arg(long, value_name = "HOST:PORT", env = "PAXBANK_NODE_CLIENT_LISTEN", value_parser = address)]
    client_listen: String,
    /// Another node of the bank and where it accepts its peers; once for each. Every node must name the same bank: an
    /// odd number of nodes, this one included.
    #[arg(long = "peer", value_name = "NAME=HOST:PORT", env = "PAXBANK_NODE_PEERS", value_delimiter = ',',
          value_parser = peer)]
    peers: Vec<(NodeId, String)>,
    /// Where clients reach it, as the other nodes tell them [default: where it accepts them].
    #[arg(long, value_name = "HOST:PORT", env = "PAXBANK_NODE_CLIENT_ADVERTISE", value_parser = address)]
    client_advertise: Option<String>,
    /// Where it keeps what must last: redb:DIR, redis://HOST:PORT/DATABASE, unix:SOCKET (a Redis too) or memory [default:
    /// redb in a directory named after the node].
    #[arg(long, value_name = "STORE", env = "PAXBANK_NODE_STORE")]
    store: Option<StoreAddress>,
    /// What is on each node's account in the beginning, in the smallest unit; the same at all nodes.
    #[arg(
        long,
        value_name = "AMOUNT",
        default_value = "100",
        allow_hyphen_values = true,
        env = "PAXBANK_NODE_OPENING"
    )]
    opening: Amount,
    /// For the first start of a bank one of whose nodes will never come: do not wait for peers that have not answered
    /// that they know this node.
    #[arg(long, env = "PAXBANK_NODE_FORCE_ADMISSION")]
    force_admission: bool,
    /// Take a Redis that would lose acknowledged writes all the same, with a warning instead of a refusal.
    #[arg(long, env = "PAXBANK_NODE_ACCEPT_UNSAFE_STORE")]
    accept_unsafe_store: bool,
    /// How to log, on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Human, env = "PAXBANK_NODE_LOG_FORMAT")]
    log_format: LogFormat,
}

/// How a node logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

pub(super) fn address(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(text.to_owned()),
        None => Err("an address is HOST:PORT, such as 127.0.0.1:7001".to_owned()),
    }
}

fn peer(text: &str) -> Result<(NodeId, String), String> {
    let (name, at) = text.split_once('=').ok_or("a peer is NAME=HOST:PORT, such as B=127.0.0.1:7002")?;
    Ok((name.parse().map_err(|error| format!("{error}"))?, address(at)?))
}

impl RunNode {
    pub(super) fn run(self) -> Result<Report, Failure> {
        abort_on_panic();
        log::to_stderr(self.log_format == LogFormat::Json, Level::INFO)?;
        let (system, at_once) = (actix_rt::System::new(), Cell::new(false));
        let ended = system.block_on(self.serve(&at_once));
        if at_once.get() {
            // Dropping it would wait for whatever the store is doing.
            std::mem::forget(system);
        }
        ended
    }

    /// Until a signal. Sets `at_once` where nothing that is under way is to be waited for.
    async fn serve(self, at_once: &Cell<bool>) -> Result<Report, Failure> {
        // A signal during the start is one too.
        let mut signals = Signals::new()?;
        let id = self.id;
        let mut start = Box::pin(self.start());
        let server = tokio::select! {
            biased;
            signal = signals.next() => {
                info!("{signal}: stopped before the start was over");
                at_once.set(true);
                // It may be in the middle of a long chain, and nothing depends on its end.
                std::mem::forget(start);
                return Ok(Report { human: String::new(), json: json!({ "node": id, "state": null }) });
            }
            server = &mut start => server?,
        };
        until_signal(server, signals, at_once).await
    }

    async fn start(self) -> Result<Server, Failure> {
        let (genesis, peers) = self.bank()?;
        // Taken first: a second process of the same node ends here, before it takes the store from the first.
        let peer_listener = listen(&self.peer_listen, "--peer-listen").await?;
        let client_listener = listen(&self.client_listen, "--client-listen").await?;
        let client_address = self.advertised(&client_listener)?;
        warn_of_strangers(&peer_listener)?;
        warn_of_strangers(&client_listener)?;
        if peers.is_empty() {
            warn!("a bank of one node: nobody holds its chain but itself; name the others with --peer");
        }
        let mut address = self.store.unwrap_or_else(|| StoreAddress::Redb(PathBuf::from(self.id.as_str())));
        if self.accept_unsafe_store {
            address = address.accept_unsafe();
        }
        let (id, cluster) = (self.id, genesis.id());
        patiently(STORE_WAIT, || address.check(id, cluster)).await.map_err(|error| cannot_start(&error))?;
        let store = address.open_patiently(id, &Disk::new(), STORE_WAIT).await;
        let config = ServerConfig {
            node: NodeConfig {
                force_admission: self.force_admission,
                client_address: Some(client_address),
                ..NodeConfig::new(id, genesis)
            },
            store: store.map_err(|error| cannot_start(&error))?,
            peer_listener,
            client_listener,
            peers,
            network: NetworkTiming::default(),
        };
        Server::start(config, Entropy::from_os()).await.map_err(|error| cannot_start(&error))
    }

    /// The bank that the flags describe, and the addresses of the peers.
    fn bank(&self) -> Result<(Genesis, BTreeMap<NodeId, String>), Failure> {
        let mut peers = BTreeMap::new();
        for (name, at) in &self.peers {
            if *name == self.id {
                return Err(Failure::usage(format!("--peer {name}={at} names this node itself; leave it out")));
            }
            if let Some(other) = peers.insert(*name, at.clone()) {
                return Err(Failure::usage(format!("--peer {name} is given twice, with {other} and {at}")));
            }
        }
        let nodes = peers.keys().copied().chain([self.id]);
        let opening: Vec<_> = nodes.clone().map(|node| (AccountId::of_node(node), self.opening)).collect();
        let genesis = Genesis::new(nodes, opening).map_err(|error| Failure::usage(error.to_string()))?;
        Ok((genesis, peers))
    }

    fn advertised(&self, listener: &TcpListener) -> Result<String, Failure> {
        if let Some(address) = &self.client_advertise {
            return Ok(address.clone());
        }
        let at = local_address(listener)?;
        if at.ip().is_unspecified() {
            let message = format!("{at} is nothing that a client can connect to; give --client-advertise HOST:PORT");
            return Err(Failure::usage(message));
        }
        // A name stays a name, so that it is resolved where it is used; port 0 becomes the port that was given.
        let host = self.client_listen.rsplit_once(':').map_or(self.client_listen.as_str(), |(host, _)| host);
        Ok(format!("{host}:{}", at.port()))
    }
}

pub(super) async fn listen(at: &str, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(at).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "is another process using it, perhaps this very node?",
            _ => "it has to be an address of this machine",
        };
        Failure::usage(format!("{flag} {at}: cannot listen there: {error}; {hint}"))
    })
}

fn warn_of_strangers(listener: &TcpListener) -> Result<(), Failure> {
    let at = local_address(listener)?;
    if !at.ip().is_loopback() {
        warn!(%at, "whoever can reach this port is trusted: connections are neither encrypted nor authenticated");
    }
    Ok(())
}

pub(super) fn local_address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::usage(format!("a listening socket has no address: {error}")))
}

pub(super) fn cannot_start(error: &StoreError) -> Failure {
    match error {
        StoreError::Corrupt { .. } | StoreError::Conflict { .. } => Failure::damage(error.to_string()),
        _ => Failure::usage(error.to_string()),
    }
}

/// Serves until a signal comes. A node that stopped for good tells its status until then, and is a failure after it.
async fn until_signal(server: Server, mut signals: Signals, at_once: &Cell<bool>) -> Result<Report, Failure> {
    let signal = signals.next().await;
    let Ok(status) = server.status().await else {
        return Err(Failure::damage("the node is gone without having said why"));
    };
    let Status { node, state, height, tip, reason, .. } = status;
    info!("{signal}: stopping; once more ends this process at once");
    tokio::select! {
        biased;
        closed = server.stop() => at_once.set(!closed),
        _ = signals.next() => {
            warn!("ended at once");
            at_once.set(true);
        }
    }
    if state == State::Stopped {
        return Err(Failure::damage(reason.unwrap_or_default()));
    }
    info!(%height, "stopped");
    let json = json!({ "node": node, "state": state.name(), "height": height, "tip": tip });
    Ok(Report { human: String::new(), json })
}
