//! Nodes that say what their script wants, over real sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_banking::client::{Client, ClientOptions};
use paxos_banking::ledger::{Answer, Approval, Genesis, Request, Wait};
use paxos_banking::types::{Amount, Hash, Height, NodeId, Seq};
use paxos_banking::wire::client::{
    Ask, CALL_LIMITS, CLIENT_PROTOCOL_VERSION, Call, Failure, FailureCode, Outcome, Reply, State, Status, Told,
    Transfer, Welcome,
};
use paxos_banking::wire::frame::{read_value, write_frame};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// What a node does about a call.
pub enum Act {
    /// Answers it.
    Tell(Told),
    /// Answers another one.
    TellTo(u64, Told),
    /// Sends bytes.
    Raw(Vec<u8>),
    /// Closes the connection.
    Close,
}

type Script = Arc<Mutex<dyn FnMut(&Call) -> Vec<Act> + Send>>;

/// A bank whose nodes all have a port, and follow scripts once they are started.
pub struct Bank {
    pub genesis: Genesis,
    pub homes: BTreeMap<NodeId, Option<String>>,
    listeners: BTreeMap<NodeId, TcpListener>,
}

/// A node that runs until it is dropped.
pub struct Node {
    pub address: String,
    pub calls: Arc<Mutex<Vec<Ask>>>,
    task: AbortHandle,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// How many connections there were so far.
    pub fn hellos(&self) -> usize {
        self.calls.lock().unwrap().iter().filter(|ask| matches!(ask, Ask::Hello { .. })).count()
    }

    /// The transfers of each call so far.
    pub fn transfers(&self) -> Vec<Vec<Transfer>> {
        let calls = self.calls.lock().unwrap();
        let of = |ask: &Ask| match ask {
            Ask::Transfers { transfers, .. } => Some(transfers.clone()),
            _ => None,
        };
        calls.iter().filter_map(of).collect()
    }
}

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub fn genesis() -> Genesis {
    Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(100)).unwrap()
}

/// An address where nobody listens.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

impl Bank {
    /// Ports for A, B and C; nobody answers there before [`Bank::start`].
    pub async fn new() -> Self {
        let (mut homes, mut listeners) = (BTreeMap::new(), BTreeMap::new());
        for name in ["A", "B", "C"].map(node) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            homes.insert(name, Some(listener.local_addr().unwrap().to_string()));
            listeners.insert(name, listener);
        }
        Self { genesis: genesis(), homes, listeners }
    }

    pub fn address(&self, name: &str) -> String {
        self.homes[&node(name)].clone().unwrap()
    }

    /// Nobody listens there any more.
    pub fn close(&mut self, name: &str) {
        self.listeners.remove(&node(name));
    }

    pub fn welcome(&self, name: &str) -> Welcome {
        let cluster = self.genesis.id();
        Welcome { version: CLIENT_PROTOCOL_VERSION, node: node(name), cluster, homes: self.homes.clone() }
    }

    /// Starts a node that says who it is and how it is, and does what `script` says to everything else.
    pub fn start(&mut self, name: &str, script: impl FnMut(&Call) -> Vec<Act> + Send + 'static) -> Node {
        let welcome = self.welcome(name);
        self.start_as(name, welcome, script)
    }

    /// As [`Bank::start`], with another greeting.
    pub fn start_as(
        &mut self,
        name: &str,
        welcome: Welcome,
        mut script: impl FnMut(&Call) -> Vec<Act> + Send + 'static,
    ) -> Node {
        let listener = self.listeners.remove(&node(name)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let status = status(welcome.node, &welcome);
        let whole = move |call: &Call| match &call.ask {
            Ask::Hello { .. } => vec![Act::Tell(Told::Welcome(welcome.clone()))],
            Ask::Status => vec![Act::Tell(Told::Status(status.clone()))],
            _ => script(call),
        };
        run(listener, address, Arc::new(Mutex::new(whole)))
    }

    /// A node that does only what `script` says, greeting included.
    pub fn start_bare(&mut self, name: &str, script: impl FnMut(&Call) -> Vec<Act> + Send + 'static) -> Node {
        let listener = self.listeners.remove(&node(name)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        run(listener, address, Arc::new(Mutex::new(script)))
    }
}

pub fn status(node: NodeId, welcome: &Welcome) -> Status {
    Status {
        node,
        state: State::Ready,
        reason: None,
        height: Height(0),
        tip: welcome.cluster,
        log: Some(0),
        ballot: None,
        peers_up: [].into(),
        store: "memory".to_owned(),
        behind: 0,
        homes: welcome.homes.clone(),
        program: None,
        clock_ms: None,
        writes: None,
    }
}

fn run(listener: TcpListener, address: String, script: Script) -> Node {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = calls.clone();
    let task = tokio::spawn(async move {
        // Dropped with this task: then all connections end too.
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream, script.clone(), heard.clone()));
        }
    });
    Node { address, calls, task: task.abort_handle() }
}

async fn serve(mut stream: TcpStream, script: Script, calls: Arc<Mutex<Vec<Ask>>>) {
    while let Ok(call) = read_value::<Call>(&mut stream, &CALL_LIMITS).await {
        calls.lock().unwrap().push(call.ask.clone());
        let acts = (script.lock().unwrap())(&call);
        for act in acts {
            let sent = match act {
                Act::Tell(told) => write_frame(&mut stream, &Reply { tag: call.tag, told }).await,
                Act::TellTo(tag, told) => write_frame(&mut stream, &Reply { tag, told }).await,
                Act::Raw(bytes) => stream.write_all(&bytes).await,
                Act::Close => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// A client that waits for each answer, as long as a busy machine may take for it.
pub fn client<const N: usize>(addresses: [&String; N]) -> Client {
    client_with(addresses, Duration::from_secs(30))
}

/// A client that soon tries again: for nodes that do not answer.
pub fn hasty_client<const N: usize>(addresses: [&String; N]) -> Client {
    client_with(addresses, Duration::from_secs(1))
}

fn client_with<const N: usize>(addresses: [&String; N], try_within: Duration) -> Client {
    let options = ClientOptions {
        connect_within: Duration::from_secs(10),
        try_within,
        retry_delay_min: Duration::from_millis(2),
        retry_delay_max: Duration::from_millis(20),
        ..ClientOptions::default()
    };
    Client::new(addresses, options).unwrap()
}

pub fn request(client: &Client, from: &str, to: &str, amount: u64) -> Request {
    let (from, to, amount) = (from.parse().unwrap(), to.parse().unwrap(), Amount::new(amount));
    Request { id: client.new_id(), from, to, amount, wait: Wait::Local }
}

pub fn approved(origin: &str, seq: u64, height: Option<u64>) -> Answer {
    Answer::Approved(Approval { origin: node(origin), seq: Seq(seq), height: height.map(Height) })
}

/// The same answer to all transfers of a call, or to its opening.
pub fn all(call: &Call, answer: &Answer) -> Act {
    let count = match &call.ask {
        Ask::Transfers { transfers, .. } => transfers.len(),
        Ask::Open { .. } => 1,
        _ => panic!("transfers or an opening are expected, not {call:?}"),
    };
    Act::Tell(Told::Outcomes((0..count).map(|n| Outcome::new(n.try_into().unwrap(), answer.clone())).collect()))
}

pub fn failed(code: FailureCode) -> Act {
    Act::Tell(Told::Failed(Failure { code, message: "as the script wants it".to_owned() }))
}

/// Another bank.
pub fn other_cluster() -> Hash {
    Hash::from_bytes([7; 32])
}
