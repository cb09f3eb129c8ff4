//! A bank to measure: nodes as processes of their own, in a directory that goes when the bank does.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use super::Store;
use crate::cli::Failure;
use crate::client::{Client, ClientOptions};
use crate::store::RedisStore;
use crate::types::{AccountId, NodeId};
use crate::wire::client::{State, Status};

/// What is on each account in the beginning: more than any run moves.
const OPENING: u64 = 1_000_000_000_000;

/// How long nodes may take to start, to stop, and to catch up.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often they are asked meanwhile.
const POLL: Duration = Duration::from_millis(2);

/// One node: what it is started with, and its process while it runs.
struct Member {
    id: NodeId,
    client_address: String,
    arguments: Vec<String>,
    process: Option<Child>,
}

/// Nodes that this process started.
pub(super) struct Bank {
    members: Vec<Member>,
    /// Theirs, two of each.
    _ports: Vec<Port>,
    /// A server of its own, where the nodes keep their data in one.
    redis: Option<Redis>,
    /// Last, so that everything in it has ended by the time it goes.
    directory: TempDir,
}

impl Bank {
    /// Starts as many nodes, each with `accounts` funded accounts besides its own, and waits until all are ready.
    pub(super) async fn start(
        processes: usize,
        accounts: usize,
        store: Store,
        parent: Option<&Path>,
    ) -> Result<Self, Failure> {
        let place = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let cannot =
            |error| Failure::usage(format!("no directory can be made for the nodes in {}: {error}", place.display()));
        let directory = tempfile::Builder::new().prefix("paxbank-bench-").tempdir_in(&place).map_err(cannot)?;
        let ids: Vec<NodeId> = ["A", "B", "C"].iter().take(processes).filter_map(|name| name.parse().ok()).collect();
        let genesis = directory.path().join("genesis.toml");
        fs::write(&genesis, genesis_file(&ids, accounts)).map_err(cannot)?;
        let redis = match store {
            Store::Redis | Store::Archive => Some(Redis::start(directory.path()).await?),
            Store::Redb | Store::Memory => None,
        };
        let ports: Vec<_> = (0..2 * ids.len()).map(|_| Port::reserve()).collect::<Result<_, _>>().map_err(no_port)?;
        let addresses: Vec<_> = ports.iter().map(Port::address).collect::<Result<_, _>>().map_err(no_port)?;
        let mut bank = Self { members: Vec::new(), _ports: ports, redis, directory };
        for (index, id) in ids.iter().enumerate() {
            let place = match store {
                Store::Redb => format!("redb:{}", bank.path().join(id.as_str()).display()),
                Store::Memory => "memory".to_owned(),
                Store::Redis | Store::Archive => bank.redis_address().unwrap_or_default(),
            };
            let client_address = addresses[2 * index + 1].clone();
            let mut arguments = vec!["node".to_owned()];
            let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
            flag("id", id.to_string());
            flag("peer-listen", addresses[2 * index].clone());
            flag("client-listen", client_address.clone());
            flag("store", place);
            if store == Store::Archive {
                flag("archive", bank.path().join("archive").display().to_string());
            }
            flag("genesis", genesis.display().to_string());
            for (other, peer) in ids.iter().enumerate().filter(|(other, _)| *other != index) {
                flag("peer", format!("{peer}={}", addresses[2 * other]));
            }
            bank.members.push(Member { id: *id, client_address, arguments, process: None });
        }
        for index in 0..ids.len() {
            bank.launch(index)?;
        }
        bank.until_all(|status| status.state == State::Ready && status.peers_up.len() + 1 == ids.len()).await?;
        Ok(bank)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn redis_address(&self) -> Option<String> {
        self.redis.as_ref().map(|redis| format!("unix:{}", redis.socket.display()))
    }

    /// What the Redis uses now, where there is one.
    pub(super) fn redis_memory(&self) -> Option<u64> {
        RedisStore::memory(&self.redis_address()?.parse().ok()?).ok().map(|memory| memory.used)
    }

    pub(super) fn id(&self, index: usize) -> NodeId {
        self.members[index].id
    }

    pub(super) fn address(&self, index: usize) -> &str {
        &self.members[index].client_address
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Of the nodes that run, and the Redis.
    pub(super) fn processes(&self) -> Vec<u32> {
        let nodes = self.members.iter().filter_map(|member| member.process.as_ref());
        nodes.chain(self.redis.as_ref().map(|redis| &redis.process)).map(Child::id).collect()
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        let addresses = self.members.iter().map(|member| member.client_address.clone());
        Client::new(addresses, ClientOptions::default()).map_err(Failure::from)
    }

    fn client_of(&self, index: usize) -> Result<Client, Failure> {
        Client::new([self.address(index).to_owned()], ClientOptions::default()).map_err(Failure::from)
    }

    /// Starts the process of a node.
    pub(super) fn launch(&mut self, index: usize) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| Failure::usage(format!("a node cannot be started: {error}"));
        let program = std::env::current_exe().map_err(cannot)?;
        let member = &mut self.members[index];
        let log = self.directory.path().join(format!("{}.log", member.id));
        let log = File::options().create(true).append(true).open(log).map_err(cannot)?;
        let mut command = Command::new(program);
        // What is set for the nodes of a user's own is not for these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PAXBANK_") {
                command.env_remove(name);
            }
        }
        command.args(&member.arguments).env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null());
        member.process = Some(command.stderr(log).spawn().map_err(cannot)?);
        Ok(())
    }

    /// Kills a node as a power failure of its process would.
    pub(super) fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            // Where it has ended already there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops a node in order.
    pub(super) async fn stop(&mut self, index: usize) -> Result<(), Failure> {
        let Some(mut process) = self.members[index].process.take() else { return Ok(()) };
        terminate(&process);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Ok(());
            }
            sleep(POLL).await;
        }
        let _ = process.kill();
        Err(self.log_of(index, "does not stop"))
    }

    /// Waits until every node that runs is as wanted.
    pub(super) async fn until_all(&mut self, wanted: impl Fn(&Status) -> bool) -> Result<(), Failure> {
        for index in 0..self.members.len() {
            if self.members[index].process.is_some() {
                self.until(index, &wanted).await?;
            }
        }
        Ok(())
    }

    /// Waits until one node is as wanted.
    pub(super) async fn until(&mut self, index: usize, wanted: impl Fn(&Status) -> bool) -> Result<Status, Failure> {
        let until = Instant::now() + PATIENCE;
        let client = self.client_of(index)?;
        while Instant::now() < until {
            let member = &mut self.members[index];
            if let Some(process) = &mut member.process
                && process.try_wait().is_ok_and(|ended| ended.is_some())
            {
                return Err(self.log_of(index, "ended"));
            }
            if let Some(status) = self.status_by(&client, index).await.filter(&wanted) {
                return Ok(status);
            }
            sleep(POLL).await;
        }
        Err(self.log_of(index, "is not as far as it should be"))
    }

    /// How one node is, if it answers.
    pub(super) async fn status(&self, index: usize) -> Option<Status> {
        self.status_by(&self.client_of(index).ok()?, index).await
    }

    async fn status_by(&self, client: &Client, index: usize) -> Option<Status> {
        client.status().await.ok()?.nodes.remove(&self.members[index].id)?
    }

    fn log_of(&self, index: usize, what: &str) -> Failure {
        let id = self.members[index].id;
        let log = fs::read_to_string(self.path().join(format!("{id}.log"))).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it logged nothing").to_owned();
        Failure::usage(format!("node {id} {what}: {last}"))
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }
}

/// The accounts of the home `home` that a load uses.
pub(super) fn accounts(home: NodeId, count: usize) -> Vec<AccountId> {
    (0..count).filter_map(|number| AccountId::new(&format!("u{number}"), home).ok()).collect()
}

/// Besides those, every home has two accounts with nothing on them.
fn genesis_file(nodes: &[NodeId], count: usize) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
    let mut text = format!("nodes = [{}]\n\n[accounts]\n", names.join(", "));
    for node in nodes {
        text.push_str(&format!("{node} = {OPENING}\n\"empty@{node}\" = 0\n"));
        for account in accounts(*node, count) {
            text.push_str(&format!("\"{account}\" = {OPENING}\n"));
        }
    }
    text
}

/// A port of this machine that nobody is given who asks for any, also while its node is away. The node can listen on
/// it all the same: both ask for the address to be used again, and only one of them listens.
struct Port(TcpSocket);

impl Port {
    fn reserve() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self(socket))
    }

    fn address(&self) -> std::io::Result<String> {
        Ok(self.0.local_addr()?.to_string())
    }
}

fn no_port(error: std::io::Error) -> Failure {
    Failure::usage(format!("no port of {} is free: {error}", Ipv4Addr::LOCALHOST))
}

#[cfg(unix)]
fn terminate(process: &Child) {
    let pid = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // Where it has ended already there is nothing to tell.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// A `redis-server` of this process, set as nodes ask for it.
struct Redis {
    process: Child,
    socket: PathBuf,
}

impl Redis {
    async fn start(directory: &Path) -> Result<Self, Failure> {
        let socket = directory.join("redis.sock");
        let settings = [
            ["--port", "0"],
            ["--save", ""],
            ["--appendonly", "yes"],
            ["--appendfsync", "always"],
            ["--no-appendfsync-on-rewrite", "no"],
            ["--maxmemory-policy", "noeviction"],
        ];
        let mut command = Command::new("redis-server");
        command.args(settings.as_flattened()).arg("--dir").arg(directory).arg("--unixsocket").arg(&socket);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.map_err(|error| {
            Failure::usage(format!(
                "redis-server cannot be started: {error}; install it (Debian: apt install redis-server)"
            ))
        })?;
        let redis = Self { process, socket };
        let until = Instant::now() + Duration::from_secs(10);
        while tokio::net::UnixStream::connect(&redis.socket).await.is_err() {
            if Instant::now() > until {
                return Err(Failure::usage("redis-server does not listen; is its directory writable?"));
            }
            sleep(POLL).await;
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_reserved_port_is_its_nodes_alone_through_restarts() {
        let port = Port::reserve().unwrap();
        let address = port.address().unwrap();
        for _ in 0..2 {
            let node = tokio::net::TcpListener::bind(&address).await.unwrap();
            TcpStream::connect(&address).unwrap();
            let second = tokio::net::TcpListener::bind(&address).await.unwrap_err();
            assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
            drop(node);
        }
        let others: Vec<_> = (0..500).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        assert!(others.iter().all(|other| other.local_addr().unwrap().to_string() != address));
    }
}
