//! Nodes over TCP, each on a `LocalSet` of its own, and raw connections to their ports.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_banking::actors::network::NetworkTiming;
use paxos_banking::codec;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Answer, Genesis, HomeLimits, Wait};
use paxos_banking::node::NodeConfig;
use paxos_banking::node::server::{Server, ServerConfig};
use paxos_banking::store::{Disk, StoreAddress};
use paxos_banking::types::{AccountId, Amount, NodeId, TransferId};
use paxos_banking::wire::FrameError;
use paxos_banking::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, Reply, State, Status, Told, Transfer};
use paxos_banking::wire::frame::{FrameLimits, frame_of, read_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs};

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

/// Longer than anything here takes; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Sockets {
    peer: TcpListener,
    client: TcpListener,
}

impl Sockets {
    pub async fn new() -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0");
        Self { peer: listen().await.unwrap(), client: listen().await.unwrap() }
    }

    /// With peers at that very address.
    pub async fn at(peer: &str) -> Self {
        Self { peer: TcpListener::bind(peer).await.unwrap(), ..Self::new().await }
    }

    pub fn peer_address(&self) -> String {
        self.peer.local_addr().unwrap().to_string()
    }
}

/// What a test may change of a node before it starts.
pub struct Plan {
    pub name: &'static str,
    pub nodes: Vec<&'static str>,
    pub opening: u64,
    pub store: StoreAddress,
    pub disk: Disk,
    pub limits: HomeLimits,
}

impl Plan {
    pub fn new(name: &'static str, nodes: &[&'static str]) -> Self {
        let (store, disk, limits) = (StoreAddress::Memory, Disk::new(), HomeLimits::default());
        Self { name, nodes: nodes.to_vec(), opening: 100, store, disk, limits }
    }

    pub async fn start(self, sockets: Sockets, peers: &[(&str, String)]) -> Server {
        let genesis =
            Genesis::with_equal_openings(self.nodes.iter().map(|name| node(name)), Amount::new(self.opening)).unwrap();
        let id = node(self.name);
        let config = ServerConfig {
            node: NodeConfig { limits: self.limits, ..NodeConfig::new(id, genesis) },
            store: self.store.open(id, &self.disk).unwrap(),
            peer_listener: sockets.peer,
            client_listener: sockets.client,
            peers: peers.iter().map(|(name, at)| (node(name), at.clone())).collect(),
            network: NetworkTiming::default(),
        };
        Server::start(config, Entropy::from_os()).await.unwrap()
    }
}

/// A bank of one node, which serves clients.
pub async fn alone() -> Server {
    let server = Plan::new("A", &["A"]).start(Sockets::new().await, &[]).await;
    Client::greeted(server.client_address()).await.until_ready().await;
    server
}

/// Three nodes that serve clients.
pub async fn three() -> BTreeMap<&'static str, Server> {
    three_with(100).await
}

/// The same, each with so much in the beginning.
pub async fn three_with(opening: u64) -> BTreeMap<&'static str, Server> {
    three_over(opening, None).await
}

/// The same, where A and B meet over a way that takes so many bytes a second in each direction.
pub async fn three_over(opening: u64, bytes_a_second: Option<usize>) -> BTreeMap<&'static str, Server> {
    let names = ["A", "B", "C"];
    let mut sockets = BTreeMap::new();
    for name in names {
        sockets.insert(name, Sockets::new().await);
    }
    let addresses: BTreeMap<_, _> = sockets.iter().map(|(name, sockets)| (*name, sockets.peer_address())).collect();
    let mut addresses = addresses;
    if let Some(rate) = bytes_a_second {
        // A dials B.
        let narrow = narrow(addresses["B"].clone(), rate).await;
        addresses.insert("B", narrow);
    }
    let mut servers = BTreeMap::new();
    for (name, sockets) in sockets {
        let peers: Vec<_> = names.iter().filter(|peer| **peer != name).map(|p| (*p, addresses[p].clone())).collect();
        servers.insert(name, Plan { opening, ..Plan::new(name, &names) }.start(sockets, &peers).await);
    }
    for server in servers.values() {
        Client::greeted(server.client_address()).await.until_ready().await;
    }
    servers
}

/// A connection on which a test sends what it likes.
pub struct Client {
    pub stream: TcpStream,
    tag: u64,
    /// Who answered a hello.
    home: Option<NodeId>,
}

impl Client {
    pub async fn connect(to: impl ToSocketAddrs) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap(), tag: 0, home: None }
    }

    /// After a hello.
    pub async fn greeted(to: impl ToSocketAddrs) -> Self {
        let mut client = Self::connect(to).await;
        let told = client.ask(Ask::Hello { version: CLIENT_PROTOCOL_VERSION }).await;
        let Told::Welcome(welcome) = told else { panic!("{told:?}") };
        client.home = Some(welcome.node);
        client
    }

    pub async fn send(&mut self, ask: Ask) -> u64 {
        self.tag += 1;
        self.stream.write_all(&frame_of(&Call { tag: self.tag, ask })).await.unwrap();
        self.tag
    }

    pub async fn ask(&mut self, ask: Ask) -> Told {
        let tag = self.send(ask).await;
        let reply = self.reply().await.unwrap();
        assert_eq!(reply.tag, tag);
        reply.told
    }

    /// What came of the transfers of one call, by index, however many replies it took.
    pub async fn outcomes(&mut self, tag: u64, count: usize) -> BTreeMap<u32, Answer> {
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < count {
            let Reply { tag: of, told } = self.reply().await.unwrap();
            let Told::Outcomes(some) = told else { panic!("{told:?}") };
            assert_eq!(of, tag);
            for outcome in some {
                let (index, home) = (outcome.index(), self.home.expect("after a hello"));
                assert_eq!(outcomes.insert(index, outcome.answer(home).unwrap()), None, "told once");
            }
        }
        outcomes
    }

    pub async fn reply(&mut self) -> Result<Reply, FrameError> {
        let limits = FrameLimits { bytes_max: 16 << 20, idle: PATIENCE, finish: PATIENCE };
        Ok(codec::decode(&read_frame(&mut self.stream, &limits).await?)?)
    }

    /// Sends bytes as they are; the other side may close the connection meanwhile.
    pub async fn raw(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Reads until the other side closes; a connection that stays open fails the test.
    pub async fn until_closed(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            match self.reply().await {
                Ok(reply) => replies.push(reply),
                Err(FrameError::Closed | FrameError::Io(_)) => return replies,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub async fn status(&mut self) -> Status {
        match self.ask(Ask::Status).await {
            Told::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Asks until the node serves clients.
    pub async fn until_ready(&mut self) {
        self.until(|status| status.state == State::Ready).await;
    }

    /// Asks until the status is as wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Status) -> bool) -> Status {
        let began = tokio::time::Instant::now();
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "still {status:?}");
            tokio::task::yield_now().await;
        }
    }
}

pub fn id(number: u128) -> TransferId {
    number.into()
}

/// A call of transfers, each with its id's number, debit and credit account, and amount.
pub fn transfers(wait: Wait, within_ms: u64, transfers: &[(u128, &str, &str, u64)]) -> Ask {
    let transfer = |(number, from, to, amount): &(u128, &str, &str, u64)| {
        Transfer(id(*number), account(from), account(to), Amount::new(*amount))
    };
    Ask::Transfers { wait, within_ms, transfers: transfers.iter().map(transfer).collect() }
}

/// The address of a way to `target` that takes so many bytes a second in each direction.
async fn narrow(target: String, bytes_a_second: usize) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1 << 14).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::task::spawn_local(async move {
        while let Ok((near, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(1 << 14).unwrap();
            let Ok(far) = socket.connect(target.parse().unwrap()).await else { continue };
            let ((near_from, near_to), (far_from, far_to)) = (near.into_split(), far.into_split());
            tokio::task::spawn_local(async move {
                tokio::select! {
                    () = drip(near_from, far_to, bytes_a_second) => {}
                    () = drip(far_from, near_to, bytes_a_second) => {}
                }
            });
        }
    });
    address
}

async fn drip(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes_a_second: usize) {
    let mut buffer = vec![0; bytes_a_second / 50];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        let takes = Duration::from_secs_f64(count as f64 / bytes_a_second as f64);
        tokio::time::sleep(takes).await;
    }
}
