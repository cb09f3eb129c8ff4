//! `paxbank demo`: a whole bank in this process, with real sockets between its nodes and a prompt in front of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tracing::Level;

use super::ask::converse;
use super::node::{cannot_start, local_address};
use super::session::SessionArgs;
use super::signals::Signals;
use super::{Failure, Finished, Output, conclude, log};
use crate::actors::network::NetworkTiming;
use crate::client::{Client, ClientOptions};
use crate::entropy::Entropy;
use crate::ledger::Genesis;
use crate::node::server::{Server, ServerConfig};
use crate::node::{NodeConfig, abort_on_panic};
use crate::store::{Disk, STORE_WAIT, StoreAddress, patiently};
use crate::types::{Amount, NodeId};
use crate::wire::client::State;

const EXAMPLES: &str = "Examples:
  paxbank demo
  paxbank demo --opening 1000 --keep bank       the stores stay in the directory bank; a second demo goes on with them
  paxbank demo -c 'A B 30; B C 120; settle; chain'";

const NOTES: &str = "\
The nodes A, B and C listen for clients on ports of this machine; other terminals join in with the line that is printed. The
commands are those of paxbank shell. quit, Ctrl-D and SIGTERM stop the nodes in order, and the end of a script does.

Exit status: 0, or that of the last command of a script that failed.";

/// Starts a bank of three nodes in this process, and asks it, command by command.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(super) struct RunDemo {
    /// What is on each node's account in the beginning, in the smallest unit.
    #[arg(long, value_name = "AMOUNT", default_value = "100", allow_hyphen_values = true)]
    opening: Amount,
    /// Keep the stores in this directory, and go on where they are there already [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    session: SessionArgs,
}

/// The names of the nodes.
const NODES: [&str; 3] = ["A", "B", "C"];

/// How long the nodes may take to meet; on a machine that is not overloaded it takes a moment.
const MEET_WITHIN: Duration = Duration::from_secs(60);

/// How often they are asked meanwhile whether they have.
const MEET_POLL: Duration = Duration::from_millis(10);

/// How long each command tries.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

impl RunDemo {
    pub(super) fn run(self, output: Output) -> Result<Finished, Failure> {
        abort_on_panic();
        log::to_stderr(false, Level::ERROR)?;
        let temporary = match &self.keep {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("paxbank-demo-").tempdir().map_err(|error| {
                Failure::usage(format!("no temporary directory can be made: {error}; give one with --keep DIR"))
            })?),
        };
        let directory = self.keep.clone().or_else(|| temporary.as_ref().map(|made| made.path().to_owned()));
        let (system, at_once) = (actix_rt::System::new(), Cell::new(false));
        let ended = system.block_on(self.serve(&directory.unwrap_or_default(), output, &at_once));
        if at_once.get() {
            // Dropping it would wait for whatever a store is doing.
            std::mem::forget(system);
        } else {
            drop(system);
        }
        temporary.map_or(Ok(()), remove)?;
        Ok(Finished { report: None, status: ended? })
    }

    /// Until the session ends. Sets `at_once` where nothing that is under way is to be waited for.
    async fn serve(self, directory: &Path, output: Output, at_once: &Cell<bool>) -> Result<u8, Failure> {
        // A signal during the start is one too.
        let mut signals = Signals::new()?;
        let mut servers = Vec::new();
        let started = tokio::select! {
            biased;
            _ = signals.next() => None,
            started = start(self.opening, directory, &mut servers) => Some(started),
        };
        let told = match started {
            Some(Ok(())) => {
                drop(signals);
                self.converse(directory, output, &servers).await
            }
            Some(Err(failure)) => Err(failure),
            None => Ok(0),
        };
        for server in servers {
            if !server.stop().await {
                at_once.set(true);
            }
        }
        told
    }

    async fn converse(self, directory: &Path, output: Output, servers: &[Server]) -> Result<u8, Failure> {
        let addresses: Vec<String> = servers.iter().map(|server| server.client_address().to_string()).collect();
        let nodes = addresses.join(",");
        let place = match self.keep {
            Some(_) => format!("in {}", directory.display()),
            None => "in a temporary directory, which is removed in the end".to_owned(),
        };
        conclude(&match output {
            Output::Human => format!(
                "Three nodes, {}, with their stores {place}.\nFor other terminals:\n  export PAXBANK_NODES={nodes}",
                NODES.join(", ")
            ),
            Output::Json => json!({ "nodes": nodes, "directory": directory.display().to_string() }).to_string(),
        });
        let client = Client::new(addresses, ClientOptions::default())?;
        converse(client, COMMAND_WITHIN, self.session, output).await
    }
}

/// Starts the nodes, and waits until each serves clients and hears the others.
async fn start(opening: Amount, directory: &Path, servers: &mut Vec<Server>) -> Result<(), Failure> {
    let nodes: Vec<NodeId> = NODES.iter().filter_map(|name| name.parse().ok()).collect();
    let genesis = Genesis::with_equal_openings(nodes.clone(), opening);
    let genesis = genesis.map_err(|error| Failure::usage(error.to_string()))?;
    let address = StoreAddress::Redb(directory.to_owned());
    // Before any is started: a directory of another bank is left as it is.
    for node in &nodes {
        let checked = patiently(STORE_WAIT, || address.check(*node, genesis.id())).await;
        checked.map_err(|error| cannot_start(&error))?;
    }
    let mut listeners = Vec::new();
    let mut at = BTreeMap::new();
    for node in nodes {
        let (peers, clients) = (listen().await?, listen().await?);
        at.insert(node, local_address(&peers)?.to_string());
        listeners.push((node, peers, clients));
    }
    for (node, peer_listener, client_listener) in listeners {
        let store = address.open_patiently(node, &Disk::new(), STORE_WAIT).await;
        let config = ServerConfig {
            node: NodeConfig::new(node, genesis.clone()),
            store: store.map_err(|error| cannot_start(&error))?,
            peer_listener,
            client_listener,
            peers: at.iter().filter(|(peer, _)| **peer != node).map(|(peer, at)| (*peer, at.clone())).collect(),
            network: NetworkTiming::default(),
        };
        servers.push(Server::start(config, Entropy::from_os()).await.map_err(|error| cannot_start(&error))?);
    }
    let met = tokio::time::timeout(MEET_WITHIN, all_ready(servers)).await;
    met.unwrap_or_else(|_| Err(Failure::usage("the nodes did not meet in time; is this machine overloaded?")))
}

async fn all_ready(servers: &[Server]) -> Result<(), Failure> {
    for server in servers {
        loop {
            let gone = |_| Failure::damage("a node is gone without having said why");
            let status = server.status().await.map_err(gone)?;
            match status.state {
                State::Stopped => return Err(Failure::damage(status.reason.unwrap_or_default())),
                State::Ready if status.peers_up.len() + 1 == servers.len() => break,
                _ => tokio::time::sleep(MEET_POLL).await,
            }
        }
    }
    Ok(())
}

async fn listen() -> Result<TcpListener, Failure> {
    let cannot = |error| Failure::usage(format!("no port of 127.0.0.1 can be listened on: {error}"));
    TcpListener::bind("127.0.0.1:0").await.map_err(cannot)
}

fn remove(directory: TempDir) -> Result<(), Failure> {
    let shown = directory.path().display().to_string();
    let cannot = |error| Failure::usage(format!("{shown} cannot be removed: {error}; remove it yourself"));
    directory.close().map_err(cannot)
}
