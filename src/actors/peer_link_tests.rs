use actix::Addr;

use super::super::probe::{Probes, Seen, ballot, chain, genesis, node, prepare};
use super::*;
use crate::effect::Record;
use crate::handshake::Identity;
use crate::paxos::message::PROTOCOL_VERSION;
use crate::paxos::{KnownOfYou, Message, ReconcileRequest};
use crate::types::{Hash, Height, Incarnation};

const HEARTBEAT: Duration = Duration::from_secs(10);
const EPOCH: Epoch = Epoch { number: 3, token: 30 };
const THEIR_EPOCH: Epoch = Epoch { number: 5, token: 50 };

/// A's link to B, of whom nothing is known.
fn link(probes: &Probes) -> Addr<PeerLinkActor> {
    let ports = PeerLinkPorts {
        persistence: probes.role(),
        inboxes: probes.inboxes(),
        hello: vec![probes.role()],
        witness: vec![probes.role()],
        changed: vec![probes.role()],
        network: probes.role(),
        node: probes.role(),
    };
    let own = Identity {
        node: node("A"),
        cluster: genesis().id(),
        nodes: genesis().nodes().clone(),
        incarnation: Incarnation(1),
        epoch: EPOCH,
        client_address: None,
    };
    let core = Link::new(own, node("B"), true, Height(0), None);
    let who = (node("A"), EPOCH, node("B"));
    PeerLinkActor::create(|ctx| PeerLinkActor::new(who, core, ports, ctx.address().recipient(), HEARTBEAT))
}

/// What A says to B once it has heard this of B.
fn own_hello(known: KnownOfYou) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        cluster: genesis().id(),
        node: node("A"),
        to: node("B"),
        incarnation: Incarnation(1),
        epoch: EPOCH,
        votes: true,
        height: Height(0),
        client_address: None,
        known,
    }
}

/// What B says, who has heard A before.
fn their_hello() -> Hello {
    let known = KnownOfYou { incarnation: Some(Incarnation(1)), epoch: Some(EPOCH), ..KnownOfYou::default() };
    Hello {
        node: node("B"),
        to: node("A"),
        incarnation: Incarnation(2),
        epoch: THEIR_EPOCH,
        height: Height(4),
        ..own_hello(known)
    }
}

/// What A knows of B from that.
fn known_of_b() -> KnownOfYou {
    let (incarnation, epoch) = (Some(Incarnation(2)), Some(THEIR_EPOCH));
    KnownOfYou { incarnation, epoch, height: Height(4), ..KnownOfYou::default() }
}

fn outgoing(message: Message) -> Seen {
    Outgoing { from: node("A"), epoch: EPOCH, to: node("B"), message }.into()
}

fn hello(hello: Hello) -> Incoming {
    Incoming(Message::from(hello))
}

fn heard() -> [Seen; 3] {
    [
        HelloHeard { peer: node("B"), knows: Some(Incarnation(1)), height: Height(4), client_address: None }.into(),
        Witness(node("B"), their_hello().known).into(),
        LinkChanged { peer: node("B"), up: true, votes: true }.into(),
    ]
}

fn request() -> Message {
    Message::ReconcileRequest(ReconcileRequest {})
}

/// Brings the link up.
async fn up(probes: &Probes, link: &Addr<PeerLinkActor>) {
    link.do_send(Connected(true));
    link.do_send(hello(their_hello()));
    probes.seen().await;
    probes.durable();
    probes.see(heard()).await;
}

#[actix_rt::test]
async fn hello_is_the_first_message_on_a_link() {
    let probes = Probes::start();
    let link = link(&probes);
    link.do_send(Transmit(request()));
    probes.see_nothing().await;
    link.do_send(Connected(true));
    link.do_send(Transmit(request()));
    probes.see([outgoing(Message::from(own_hello(KnownOfYou::default())))]).await;
}

#[actix_rt::test]
async fn r11_the_peers_incarnation_is_durable_before_anything_of_its_is_let_in() {
    let probes = Probes::start();
    let link = link(&probes);
    link.do_send(Connected(true));
    probes.seen().await;
    link.do_send(hello(their_hello()));
    link.do_send(Incoming(request()));
    link.do_send(Transmit(request()));
    probes.see([Seen::Persist(vec![Record::Peer { node: node("B"), incarnation: Incarnation(2) }])]).await;
    probes.pass(3 * HEARTBEAT).await;
    probes.see_nothing().await;
    probes.durable();
    let seen = probes.seen().await;
    let (first, then) = seen.split_at(3);
    assert_eq!(first, heard());
    assert_eq!(then[..2], [Seen::Delivered(node("B"), request()), outgoing(request())]);
    // Its own HELLOs had to wait as well, because they name that incarnation.
    let greetings = outgoing(Message::from(own_hello(known_of_b())));
    assert!(then[2..].iter().all(|seen| *seen == greetings));
}

#[actix_rt::test]
async fn r11_a_new_connection_is_told_no_incarnation_that_is_not_durable() {
    let probes = Probes::start();
    let link = link(&probes);
    link.do_send(Connected(true));
    link.do_send(hello(their_hello()));
    probes.seen().await;
    let not_durable = own_hello(KnownOfYou { incarnation: None, ..known_of_b() });
    assert_eq!(link.send(Introduce).await.unwrap().hello, not_durable);
    assert_eq!(link.send(Introduced(their_hello())).await.unwrap().hello, not_durable);
    probes.durable();
    probes.see(heard()).await;
    assert_eq!(link.send(Introduce).await.unwrap().hello, own_hello(known_of_b()));
    assert_eq!(link.send(Introduced(their_hello())).await.unwrap().hello, own_hello(known_of_b()));
}

#[actix_rt::test]
async fn a_peer_that_has_not_heard_this_process_is_greeted_back() {
    let probes = Probes::start();
    let link = link(&probes);
    link.do_send(Connected(true));
    probes.seen().await;
    link.do_send(hello(Hello { known: KnownOfYou::default(), ..their_hello() }));
    probes.seen().await;
    probes.durable();
    let seen = probes.seen().await;
    assert_eq!(seen.last(), Some(&outgoing(Message::from(own_hello(known_of_b())))));
}

#[actix_rt::test]
async fn a_link_that_is_up_carries_messages_both_ways() {
    let probes = Probes::start();
    let link = link(&probes);
    up(&probes, &link).await;
    link.do_send(Incoming(request()));
    link.do_send(Transmit(request()));
    probes.see([Seen::Delivered(node("B"), request()), outgoing(request())]).await;
}

#[actix_rt::test]
async fn what_comes_before_hello_is_dropped() {
    let probes = Probes::start();
    let link = link(&probes);
    link.do_send(Connected(true));
    probes.seen().await;
    link.do_send(Incoming(request()));
    probes.see_nothing().await;
    link.do_send(hello(their_hello()));
    probes.seen().await;
    probes.durable();
    probes.see(heard()).await;
}

#[actix_rt::test]
async fn a_node_of_another_cluster_is_refused() {
    let probes = Probes::start();
    let link = link(&probes);
    link.do_send(Connected(true));
    probes.seen().await;
    link.do_send(hello(Hello { cluster: Hash::ZERO, known: KnownOfYou::default(), ..their_hello() }));
    link.do_send(Incoming(request()));
    link.do_send(Transmit(request()));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn r11_a_peer_with_another_store_is_refused() {
    let probes = Probes::start();
    let link = link(&probes);
    up(&probes, &link).await;
    link.do_send(Connected(false));
    link.do_send(Connected(true));
    let down = LinkChanged { peer: node("B"), up: false, votes: false };
    probes.see([down.into(), outgoing(Message::from(own_hello(known_of_b())))]).await;
    link.do_send(hello(Hello { incarnation: Incarnation(9), ..their_hello() }));
    link.do_send(Incoming(request()));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_link_that_went_down_carries_nothing_until_the_next_hello() {
    let probes = Probes::start();
    let link = link(&probes);
    up(&probes, &link).await;
    link.do_send(Connected(false));
    link.do_send(Transmit(request()));
    link.do_send(Incoming(request()));
    probes.see([LinkChanged { peer: node("B"), up: false, votes: false }.into()]).await;
    link.do_send(Connected(true));
    link.do_send(hello(their_hello()));
    let seen = probes.seen().await;
    // The incarnation is known already: nothing is written, nothing waits.
    assert_eq!(seen[1..], heard());
}

#[actix_rt::test]
async fn each_heartbeat_says_hello_again_with_the_durable_height() {
    let probes = Probes::start();
    let link = link(&probes);
    up(&probes, &link).await;
    link.do_send(Applied(chain(1).remove(0)));
    probes.see_nothing().await;
    for _ in 0..3 {
        probes.pass(HEARTBEAT).await;
        let hello = Hello { height: Height(1), ..own_hello(known_of_b()) };
        probes.see([outgoing(Message::from(hello))]).await;
    }
}

#[actix_rt::test]
async fn without_a_connection_no_heartbeat_is_sent() {
    let probes = Probes::start();
    let _link = link(&probes);
    probes.pass(HEARTBEAT * 3).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_message_that_no_honest_peer_sends_reaches_no_role() {
    let probes = Probes::start();
    let link = link(&probes);
    up(&probes, &link).await;
    let of_another = Message::Prepare(prepare(ballot(1, "C"), 1));
    link.do_send(Incoming(of_another));
    probes.see_nothing().await;
}
