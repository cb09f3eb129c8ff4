//! The peer port.

use std::time::Duration;

use paxos_banking::codec;
use paxos_banking::ledger::{Genesis, HomeLimits, Wait};
use paxos_banking::paxos::message::PROTOCOL_VERSION;
use paxos_banking::paxos::{Hello, KnownOfYou, Message, ReconcileRequest};
use paxos_banking::types::{Amount, Epoch, Hash, Height, Incarnation};
use paxos_banking::wire::FrameError;
use paxos_banking::wire::client::{Ask, State, Told};
use paxos_banking::wire::frame::{FrameLimits, frame_of, read_frame};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::bank::{Client, PATIENCE, Plan, Sockets, node, three, three_over, transfers};

/// A stranger at a peer port.
struct Stranger(TcpStream);

impl Stranger {
    async fn at(address: impl tokio::net::ToSocketAddrs) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn say(&mut self, message: &Message) {
        drop(self.0.write_all(&frame_of(message)).await);
    }

    async fn hear(&mut self) -> Option<Message> {
        let limits = FrameLimits { bytes_max: 32 << 20, idle: PATIENCE, finish: PATIENCE };
        match read_frame(&mut self.0, &limits).await {
            Ok(frame) => Some(codec::decode(&frame).unwrap()),
            Err(FrameError::Closed | FrameError::Io(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Why it is refused, after whatever else it is told. A connection that stays open fails the test.
    async fn refusal(&mut self) -> Option<String> {
        let mut reason = None;
        while let Some(message) = self.hear().await {
            if let Message::Refused(refused) = message {
                reason = Some(refused.reason);
            }
        }
        reason
    }
}

fn cluster() -> Hash {
    Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(100)).unwrap().id()
}

fn hello(from: &str, to: &str, incarnation: u64, epoch: u64) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        cluster: cluster(),
        node: node(from),
        to: node(to),
        incarnation: Incarnation(incarnation),
        epoch: Epoch { number: epoch, token: epoch },
        votes: true,
        height: Height(0),
        client_address: None,
        known: KnownOfYou::default(),
    }
}

/// B, whose only peer that ever comes is played by the test.
async fn b() -> (paxos_banking::node::server::Server, String) {
    let sockets = Sockets::new().await;
    let address = sockets.peer_address();
    let nowhere = || "127.0.0.1:1".to_owned();
    (Plan::new("B", &["A", "B", "C"]).start(sockets, &[("A", nowhere()), ("C", nowhere())]).await, address)
}

#[actix_rt::test]
async fn whoever_does_not_belong_is_refused_with_the_reason() {
    let (_server, address) = b().await;
    let good = hello("A", "B", 1, 5);
    let refused = [
        (Hello { cluster: Hash::ZERO, ..good.clone() }, "belongs to bank"),
        (Hello { version: 77, ..good.clone() }, "speaks protocol version 77"),
        (Hello { node: node("Z"), ..good.clone() }, "Z is no peer of this node"),
        (Hello { to: node("C"), ..good.clone() }, "A looks for C at the address of B"),
    ];
    for (hello, expected) in refused {
        let mut stranger = Stranger::at(&address).await;
        stranger.say(&Message::from(hello)).await;
        let reason = stranger.refusal().await.unwrap();
        assert!(reason.contains(expected), "{reason}");
    }
    let mut stranger = Stranger::at(&address).await;
    stranger.say(&Message::ReconcileRequest(ReconcileRequest {})).await;
    let reason = stranger.refusal().await.unwrap();
    assert!(reason.contains("the first message is RECONCILE_REQUEST, not HELLO"), "{reason}");
}

#[actix_rt::test]
async fn another_version_is_named_even_where_nothing_else_of_its_hello_is_understood() {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    enum Later {
        Hello { version: u32, zone: &'static str },
    }
    let (_server, address) = b().await;
    let mut stranger = Stranger::at(&address).await;
    stranger.0.write_all(&frame_of(&Later::Hello { version: 3, zone: "eu" })).await.unwrap();
    let reason = stranger.refusal().await.unwrap();
    assert!(reason.contains("it speaks protocol version 3, this node 2"), "{reason}");
}

#[actix_rt::test]
async fn a_restarted_peer_replaces_its_older_process_at_once_and_not_the_other_way_round() {
    let (server, address) = b().await;
    let mut client = Client::greeted(server.client_address()).await;
    let mut first = Stranger::at(&address).await;
    first.say(&Message::from(hello("A", "B", 1, 5))).await;
    client.until(|status| status.peers_up.contains(&node("A"))).await;

    let mut restarted = Stranger::at(&address).await;
    restarted.say(&Message::from(hello("A", "B", 1, 6))).await;
    assert!(matches!(restarted.hear().await, Some(Message::Hello(_))));
    // The old connection is closed, though nothing was wrong with it.
    assert_eq!(first.refusal().await, None);

    let mut older = Stranger::at(&address).await;
    older.say(&Message::from(hello("A", "B", 1, 5))).await;
    let reason = older.refusal().await.unwrap();
    assert!(reason.contains("epoch 6 of it was heard"), "{reason}");

    let mut lost = Stranger::at(&address).await;
    lost.say(&Message::from(hello("A", "B", 2, 9))).await;
    let Some(Message::Hello(told)) = lost.hear().await else { panic!("B says whom it knows") };
    assert_eq!(told.known.incarnation, Some(Incarnation(1)), "R11: so that a node with a lost disk learns of it");
    let reason = lost.refusal().await.unwrap();
    assert!(reason.contains("its store was lost"), "{reason}");

    restarted.say(&Message::ReconcileRequest(ReconcileRequest {})).await;
    let mut heard = restarted.hear().await;
    while matches!(heard, Some(Message::Hello(_))) {
        heard = restarted.hear().await;
    }
    assert!(matches!(heard, Some(Message::ReconcileAck(_))), "the best connection goes on: {heard:?}");
}

#[actix_rt::test]
async fn a_peer_that_falls_silent_is_noticed_in_seconds() {
    let (server, address) = b().await;
    let mut client = Client::greeted(server.client_address()).await;
    let mut silent = Stranger::at(&address).await;
    silent.say(&Message::from(hello("A", "B", 1, 5))).await;
    client.until(|status| status.peers_up.contains(&node("A"))).await;
    let began = tokio::time::Instant::now();
    client.until(|status| status.peers_up.is_empty()).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(silent.refusal().await, None, "and its connection is closed");
}

#[actix_rt::test]
async fn no_input_at_the_peer_port_brings_a_node_down() {
    let servers = three().await;
    let address = servers["B"].peer_address();
    let mut nested = vec![0x00, 0x00, 0x0f, 0xff];
    nested.resize(4 + 0xfff, 0x91);
    let mut late = frame_of(&Message::from(hello("Z", "B", 1, 1)));
    late.extend([0xff; 32]);
    let wrong: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &nested,
        &[0, 0, 0, 0],
        &late,
        &[0, 0, 0, 5, 0xdd, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in wrong {
        let mut stranger = Stranger::at(address).await;
        drop(stranger.0.write_all(bytes).await);
        stranger.refusal().await;
    }
    let mut stranger = Stranger::at(address).await;
    stranger.0.write_all(&[0, 0, 1, 0, 0x82]).await.unwrap();
    drop(stranger);
    let mut client = Client::greeted(servers["A"].client_address()).await;
    client.ask(transfers(Wait::Settled, 20_000, &[(1, "A", "B", 5)])).await;
    let mut b = Client::greeted(servers["B"].client_address()).await;
    assert_eq!(b.until(|status| status.height == Height(1)).await.state, State::Ready);
}

#[actix_rt::test]
async fn a_mistaken_address_disturbs_no_link_that_works() {
    // C is told that B is where A is.
    let sockets = [Sockets::new().await, Sockets::new().await, Sockets::new().await];
    let [a, b, c] = [0, 1, 2].map(|index| sockets[index].peer_address());
    let [sa, sb, sc] = sockets;
    let names = ["A", "B", "C"];
    let first = Plan::new("A", &names).start(sa, &[("B", b), ("C", c.clone())]).await;
    // B dials C, and is told that C is where A is.
    let second = Plan::new("B", &names).start(sb, &[("A", a.clone()), ("C", a)]).await;
    let third =
        Plan::new("C", &names).start(sc, &[("A", "127.0.0.1:1".to_owned()), ("B", "127.0.0.1:1".to_owned())]).await;
    let mut client = Client::greeted(first.client_address()).await;
    client.until(|status| status.peers_up.len() == 2).await;
    let mut at_b = Client::greeted(second.client_address()).await;
    let mut at_c = Client::greeted(third.client_address()).await;
    // The other end of a link is up a moment later.
    at_b.until(|status| status.peers_up.contains(&node("A"))).await;
    at_c.until(|status| status.peers_up.contains(&node("A"))).await;
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert!(at_b.status().await.peers_up.contains(&node("A")), "the link to A holds while B dials A for C");
        let c = at_c.status().await;
        assert!(c.peers_up.contains(&node("A")));
        assert_eq!(c.state, State::Baby, "B and C have not met, so neither knows the other");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_rt::test]
async fn a_node_that_is_told_where_clients_are_taken_instead_of_peers_says_so() {
    let (b, _) = b().await;
    let peers = [("B", b.client_address().to_string()), ("C", "127.0.0.1:1".to_owned())];
    let server = Plan::new("A", &["A", "B", "C"]).start(Sockets::new().await, &peers).await;
    let mut client = Client::greeted(server.client_address()).await;
    let about_b = |reason: Option<String>| reason.is_some_and(|reason| reason.contains("not its clients"));
    client.until(|status| about_b(status.reason.clone())).await;
}

#[actix_rt::test]
async fn a_port_that_refuses_for_a_while_is_found_again() {
    // Nobody is at B's address until later.
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let b_address = reserved.local_addr().unwrap().to_string();
    drop(reserved);
    let sockets = Sockets::new().await;
    let nowhere = "127.0.0.1:1".to_owned();
    let a_address = sockets.peer_address();
    let a = Plan::new("A", &["A", "B", "C"]).start(sockets, &[("B", b_address.clone()), ("C", nowhere.clone())]).await;
    let mut client = Client::greeted(a.client_address()).await;
    assert_eq!(client.status().await.peers_up.len(), 0);
    let sockets = Sockets::at(&b_address).await;
    let b = Plan::new("B", &["A", "B", "C"]).start(sockets, &[("A", a_address), ("C", nowhere)]).await;
    client.until(|status| status.peers_up.contains(&node("B"))).await;
    drop(b);
}

#[actix_rt::test]
async fn a_message_that_is_long_under_way_on_a_slow_link_is_taken_all_the_same() {
    let mut servers = three_over(1_000_000, Some(6_000)).await;
    servers.remove("C").unwrap().stop().await;
    let mut client = Client::greeted(servers["B"].client_address()).await;
    client.until(|status| status.peers_up.len() == 1).await;
    // So few that B does not settle by itself.
    let few = HomeLimits::default().settle_at_entries.unwrap() as u128 - 1;
    let batch: Vec<_> = (1..=few).map(|number| (number, "B", "A", 1)).collect();
    let tag = client.send(transfers(Wait::Local, 5_000, &batch)).await;
    client.outcomes(tag, batch.len()).await;
    // Its log takes longer than a peer may be silent.
    let settled = client.ask(Ask::Settle { within_ms: 25_000 }).await;
    assert!(matches!(settled, Told::Settled { height: Height(1), .. }), "{settled:?}");
}
