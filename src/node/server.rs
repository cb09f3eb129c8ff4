//! A node as a process of its own: peers over TCP on one port, clients on another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Node, NodeConfig, NotRunning, Seams};
use crate::actors::board::{ReadStatus, Serve, WhenHalted};
use crate::actors::client_connection::Service;
use crate::actors::listener::Drain;
use crate::actors::network::{Attach, NetworkTiming};
use crate::actors::{Board, ListenerActor, TcpNetwork};
use crate::effect::HaltReason;
use crate::entropy::Entropy;
use crate::store::{Store, StoreError, StoreThread};
use crate::types::NodeId;
use crate::wire::client::Status;

/// How many searches of the whole chain run at once: each keeps the store busy.
const SEARCHES_MAX: usize = 2;

/// How long clients have, when the node stops, to hear what was decided.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a node process is made of.
pub struct ServerConfig {
    /// The node. Its client address is set to where its clients' socket listens, where it is `None`.
    pub node: NodeConfig,
    /// Its store, opened.
    pub store: Box<dyn Store>,
    /// Where it accepts its peers.
    pub peer_listener: TcpListener,
    /// Where it accepts its clients.
    pub client_listener: TcpListener,
    /// Host and port of each peer.
    pub peers: BTreeMap<NodeId, String>,
    /// Delays of the network.
    pub network: NetworkTiming,
}

/// A node that runs in this process, with its sockets. It runs on the current `LocalSet`.
pub struct Server {
    node: Node,
    board: Addr<Board>,
    listener: Addr<ListenerActor>,
    peer_address: SocketAddr,
    client_address: SocketAddr,
}

impl Server {
    /// Takes the store over, recovers the node from it, and lets peers and clients in.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Open`] where a socket has no address.
    pub async fn start(config: ServerConfig, mut entropy: Entropy) -> Result<Self, StoreError> {
        let ServerConfig { mut node, store, peer_listener, client_listener, peers, network } = config;
        let no_address =
            |error: std::io::Error| StoreError::Open { path: "a listening socket".to_owned(), what: error.to_string() };
        let peer_address = peer_listener.local_addr().map_err(no_address)?;
        let client_address = client_listener.local_addr().map_err(no_address)?;
        node.client_address.get_or_insert_with(|| client_address.to_string());

        let (id, genesis) = (node.id, Arc::new(node.genesis.clone()));
        info!(node = %id, store = store.describe(), "this is its store");
        let board = Board::new(id, genesis.nodes(), store.describe(), node.client_address.clone()).start();
        let network = TcpNetwork::new(id, peer_listener, peers, network, entropy.split(), board.clone().recipient());
        let network = network.start();
        let seams = Seams {
            store: Box::new(StoreThread::spawn(store)?),
            network: network.clone().recipient(),
            entropy,
            events: board.clone().recipient(),
        };
        let node = Node::start(node, seams).await?;
        network.do_send(Attach(node.links().clone()));
        let ports = node.client_ports(board.clone().recipient());
        let service = Service { node: id, genesis, ports, searches: Arc::new(Semaphore::new(SEARCHES_MAX)) };
        let listener = ListenerActor::new(client_listener, service).start();
        board.do_send(Serve(listener.clone().recipient()));
        info!(node = %id, peers = %peer_address, clients = %client_address, "listening");
        Ok(Self { node, board, listener, peer_address, client_address })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where it accepts peers.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Where it accepts clients.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// How the node is, without its log and ballot.
    ///
    /// # Errors
    /// [`NotRunning`] where the server was dropped.
    pub async fn status(&self) -> Result<Status, NotRunning> {
        self.board.send(ReadStatus).await.map_err(|_| NotRunning(self.node.id()))
    }

    /// Waits until the node stops for good.
    pub async fn halted(&self) -> Option<HaltReason> {
        let (reply_to, halted) = oneshot::channel();
        self.board.do_send(WhenHalted(reply_to));
        halted.await.ok()
    }

    /// Stops in order: takes no more, tells clients what is decided, then lets go of the store. Bounded in time, and as
    /// good as a crash where that runs out: false where the store hangs, so that whoever drops this would hang with it.
    pub async fn stop(self) -> bool {
        let (drained, all_told) = oneshot::channel();
        self.listener.do_send(Drain(drained));
        if timeout(FAREWELL, all_told).await.is_err() {
            warn!("not every client has read its answers; they ask again with the same ids");
        }
        let closed = match timeout(FAREWELL, self.node.close_store()).await {
            // A node that stopped for good has closed it already.
            Ok(Ok(()) | Err(NotRunning(_))) => true,
            Err(_) => {
                warn!("the store does not come to an end; what it was told to write was promised to nobody");
                false
            }
        };
        self.node.stop();
        closed
    }
}
