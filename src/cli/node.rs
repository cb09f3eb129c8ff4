//! `paxbank node`: one node of a bank as a process of its own, until a signal.

pub(super) mod flags;

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tracing::{Level, info, warn};

pub(super) use self::flags::NodeFlags;
use self::flags::{LogFormat, not_reachable};
use super::check::files;
use super::signals::Signals;
use super::{Failure, Report, log};
use crate::actors::network::NetworkTiming;
use crate::entropy::Entropy;
use crate::node::server::{Server, ServerConfig};
use crate::node::{NodeConfig, abort_on_panic};
use crate::render::nodes_text;
use crate::store::{Disk, STORE_WAIT, StoreAddress, StoreError, patiently};
use crate::types::NodeId;
use crate::wire::client::{State, Status};

/// Runs one node: it approves transfers out of its accounts, and settles them with its peers.
#[derive(Args)]
#[command(before_long_help = flags::EXAMPLES, after_long_help = flags::NOTES)]
pub(super) struct RunNode {
    #[command(flatten)]
    flags: NodeFlags,
}

impl RunNode {
    pub(super) fn run(self) -> Result<Report, Failure> {
        abort_on_panic();
        log::to_stderr(self.flags.log_format == LogFormat::Json, Level::INFO)?;
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
        let id = self.flags.id;
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
        let flags = self.flags;
        flags.check_addresses()?;
        let ((genesis, peers), store) = (flags.bank()?, flags.store()?);
        // Taken first: a second process of the same node ends here, before it takes the store from the first.
        let peer_listener = listen(&flags.peer_listen, "--peer-listen").await?;
        let client_listener = listen(&flags.client_listen, "--client-listen").await?;
        let client_address = flags.advertised(&client_listener)?;
        warn_of_strangers(&peer_listener)?;
        warn_of_strangers(&client_listener)?;
        if peers.is_empty() {
            warn!("a bank of one node: nobody holds its chain but itself; name the others with --peer");
        }
        let address = flags.redis.log_in(store).map_err(Failure::usage)?;
        let (id, cluster) = (flags.id, genesis.id());
        let meant = format!("nodes {}, {} in all in the beginning", nodes_text(genesis.nodes()), genesis.total());
        let cannot_start = |error: &StoreError| of_another_bank(cannot_start(error), error, &meant);
        // Whoever opens an embedded store reads all of it: once is enough. Whose it is, is looked at before it is changed.
        if !matches!(address, StoreAddress::Redb(_)) {
            let checked = patiently(STORE_WAIT, || address.check(id, cluster)).await;
            checked.map_err(|error| cannot_start(&error))?;
        }
        warn_of_another_store(&address, id);
        let store = address.open_patiently(id, &Disk::new(), STORE_WAIT).await;
        let config = ServerConfig {
            node: NodeConfig {
                force_admission: flags.force_admission,
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
}

impl NodeFlags {
    fn advertised(&self, listener: &TcpListener) -> Result<String, Failure> {
        if let Some(address) = &self.client_advertise {
            return Ok(address.clone());
        }
        let at = local_address(listener)?;
        if at.ip().is_unspecified() {
            return Err(not_reachable(at));
        }
        // A name stays a name, so that it is resolved where it is used; port 0 becomes the port that was given.
        let host = self.client_listen.rsplit_once(':').map_or(self.client_listen.as_str(), |(host, _)| host);
        Ok(format!("{host}:{}", at.port()))
    }
}

/// The store tells of its bank; this tells of the one that was configured.
fn of_another_bank(failure: Failure, error: &StoreError, meant: &str) -> Failure {
    match error {
        StoreError::OtherBank { .. } => {
            Failure { message: format!("{}. This node was to start with {meant}", failure.message), ..failure }
        }
        _ => failure,
    }
}

/// Whoever mistypes a name gets a new and empty store beside the one that is meant.
fn warn_of_another_store(address: &StoreAddress, id: NodeId) {
    let StoreAddress::Redb(directory) = address else { return };
    let files = files(directory).unwrap_or_default();
    let names: Vec<_> = files.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
    if !names.is_empty() && !names.contains(&id.as_str()) {
        let (directory, others) = (directory.display(), names.join(", "));
        warn!("{directory} holds the store of {others}, and none of {id}: a new, empty one is made there for {id}");
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
    if error.is_damage() { Failure::damage(error.to_string()) } else { Failure::usage(error.to_string()) }
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
