//! Nodes whose settled blocks move out of their Redis while they run, with checkpoints that come soon.

use std::collections::BTreeMap;

use paxos_banking::ledger::{HomeLimits, Wait};
use paxos_banking::node::server::Server;
use paxos_banking::store::{ArchivedRedis, StoreAddress, audit};
use paxos_banking::types::{Amount, Height};
use paxos_banking::wire::client::{Ask, Told};

use crate::bank::{Client, PATIENCE, Plan, Sockets, id, node, transfers};
use crate::redis::RedisServer;

const NAMES: [&str; 3] = ["A", "B", "C"];

struct Stores {
    redis: BTreeMap<&'static str, RedisServer>,
    directory: tempfile::TempDir,
}

impl Stores {
    fn address(&self, name: &str) -> StoreAddress {
        let address: StoreAddress = self.redis[name].address_unix().parse().unwrap();
        address.with_archive(Some(self.directory.path().to_owned())).unwrap()
    }

    async fn start(&self, name: &'static str, sockets: Sockets, addresses: &BTreeMap<&str, String>) -> Server {
        let limits = HomeLimits { checkpoint_entries: 20, ..HomeLimits::default() };
        let plan = Plan { store: self.address(name), limits, opening: 1_000, ..Plan::new(name, &NAMES) };
        let peers: Vec<_> = NAMES.into_iter().filter(|peer| *peer != name).collect();
        plan.start(sockets, &peers.iter().map(|peer| (*peer, addresses[peer].clone())).collect::<Vec<_>>()).await
    }

    /// Waits until so many blocks, and more, are no longer in the Redis.
    async fn moved(&self, name: &str, blocks: u64) {
        let began = tokio::time::Instant::now();
        let key = format!("SERVER-BLOCKCHAIN-{name}");
        loop {
            // What stands there behind genesis.
            let first = self.redis[name].cli(&["--raw", "XRANGE", &key, "1-0", "+", "COUNT", "1"]);
            let first = first.lines().next().unwrap_or_default().split('-').next().unwrap().to_owned();
            if first.parse::<u64>().is_ok_and(|first| first > blocks) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{name} begins with {first}");
            tokio::task::yield_now().await;
        }
    }
}

#[actix_rt::test]
async fn a_peer_that_was_away_gets_the_blocks_that_the_others_moved_and_all_chains_are_whole() {
    let redis = NAMES.into_iter().map(|name| (name, RedisServer::start())).collect();
    let stores = Stores { redis, directory: tempfile::tempdir().unwrap() };
    let (mut sockets, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for name in NAMES {
        let own = Sockets::new().await;
        addresses.insert(name, own.peer_address());
        sockets.insert(name, own);
    }
    let mut servers = BTreeMap::new();
    for (name, sockets) in sockets {
        servers.insert(name, stores.start(name, sockets, &addresses).await);
    }
    for server in servers.values() {
        Client::greeted(server.client_address()).await.until_ready().await;
    }
    // It dials the others, so that it may come back at another port.
    assert!(servers.remove("A").unwrap().stop().await);
    let mut b = Client::greeted(servers["B"].client_address()).await;
    for block in 0..40 {
        let ids = [3 * block + 1, 3 * block + 2, 3 * block + 3];
        match b.ask(transfers(Wait::Settled, 20_000, &ids.map(|id| (id, "B", "C", 1)))).await {
            Told::Outcomes(outcomes) => assert!(!outcomes.is_empty()),
            other => panic!("{other:?}"),
        }
        b.until(|status| status.log == Some(0)).await;
    }
    let height = b.status().await.height;
    for name in ["B", "C"] {
        stores.moved(name, 10).await;
    }
    // Whoever asks for blocks, or for an id in them, gets them as ever.
    let Told::Chain { blocks, .. } = b.ask(Ask::Chain { from: Height(1), to: height }).await else { panic!() };
    assert_eq!(blocks.len() as u64, height.0);
    let Told::Traces { traces, .. } = b.ask(Ask::Trace { id: id(1) }).await else { panic!() };
    assert_eq!(traces.len(), 1);

    servers.insert("A", stores.start("A", Sockets::new().await, &addresses).await);
    let mut a = Client::greeted(servers["A"].client_address()).await;
    a.until(|status| status.height >= height).await;
    a.until_ready().await;
    let Told::Chain { blocks: of_a, .. } = a.ask(Ask::Chain { from: Height(1), to: height }).await else { panic!() };
    assert_eq!(of_a, blocks);
    stores.moved("A", 10).await;
    for (_, server) in servers {
        assert!(server.stop().await);
    }
    let mut hashes = Vec::new();
    for name in NAMES {
        let StoreAddress::Redis(address) = stores.address(name) else { panic!() };
        let found = audit(&mut ArchivedRedis::look(&address, node(name)).unwrap()).unwrap();
        let sum = found.home.bank.balances().values().fold(Amount::ZERO, |sum, one| sum.checked_add(*one).unwrap());
        assert_eq!(sum, found.genesis.total(), "R12");
        hashes.push(found.hashes);
    }
    assert!(hashes[0].len() as u64 == height.0 + 1 && hashes.windows(2).all(|pair| pair[0] == pair[1]));
}
