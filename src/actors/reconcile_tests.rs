use std::sync::Arc;

use actix::Addr;

use super::super::probe::{Probes, Seen, chain, from, genesis, node, to};
use super::*;
use crate::effect::{HaltReason, Record};
use crate::ledger::Block;
use crate::store::StoreError;
use crate::types::{Hash, Incarnation};

const RETRY: Duration = Duration::from_secs(10);
const GIVE_UP: Duration = Duration::from_secs(100);
const SLACK: Duration = Duration::from_millis(100);
const FRAME: usize = 1_000;

/// The reconciliation of a node at genesis.
fn reconcile(probes: &Probes, admitted: bool) -> Addr<ReconcileActor> {
    let ports = ReconcilePorts {
        persistence: probes.role(),
        blocks: probes.role(),
        fetched: probes.role(),
        compare: probes.role(),
        admitted: vec![probes.role(), probes.role()],
        ready: vec![probes.role()],
        node: probes.role(),
        links: probes.links(),
    };
    let peers = [node("B"), node("C")];
    let core = Reconcile::new(Incarnation(1), peers, 2, admitted, false, (Height(0), genesis().id()));
    let timing = ReconcileTiming { retry: RETRY, give_up: GIVE_UP, frame_bytes_max: FRAME };
    ReconcileActor::create(|ctx| ReconcileActor::new(core, ports, ctx.address().recipient(), timing))
}

fn hello(peer: &str, knows: Option<u64>) -> HelloHeard {
    HelloHeard { peer: node(peer), knows: knows.map(Incarnation), height: Height(0), client_address: None }
}

fn up(peer: &str) -> LinkChanged {
    LinkChanged { peer: node(peer), up: true, votes: true }
}

fn asked(peer: &str) -> Seen {
    to(peer, Message::ReconcileRequest(ReconcileRequest {}))
}

fn ack(height: u64, tip: Hash) -> ReconcileAck {
    ReconcileAck { held: vec![(Height(0), Height(height))], tip }
}

/// As a store holds them.
fn sent(blocks: &[Arc<Block>]) -> Vec<SentBlock> {
    blocks.iter().map(|block| SentBlock::Stored(block.height(), block.bytes().into())).collect()
}

fn blocks(from: u64, to: u64) -> BlocksRequest {
    BlocksRequest { from: Height(from), to: Height(to) }
}

/// A zombie that has asked both peers.
async fn zombie(probes: &Probes) -> Addr<ReconcileActor> {
    let zombie = reconcile(probes, true);
    zombie.do_send(up("B"));
    zombie.do_send(up("C"));
    probes.see([asked("B"), asked("C")]).await;
    zombie
}

#[actix_rt::test]
async fn r11_a_baby_is_admitted_only_after_every_peer_was_heard() {
    let probes = Probes::start();
    let baby = reconcile(&probes, false);
    baby.do_send(hello("B", None));
    baby.do_send(hello("B", Some(1)));
    probes.pass(GIVE_UP * 2).await;
    probes.see_nothing().await;
    baby.do_send(hello("C", Some(1)));
    probes.see([Seen::Persist(vec![Record::Admitted])]).await;
}

#[actix_rt::test]
async fn r11_nobody_hears_of_the_admission_before_its_mark_is_durable() {
    let probes = Probes::start();
    let baby = reconcile(&probes, false);
    for peer in ["B", "C"] {
        baby.do_send(hello(peer, Some(1)));
        baby.do_send(up(peer));
    }
    probes.see([Seen::Persist(vec![Record::Admitted])]).await;
    probes.pass(RETRY).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see([Admitted.into(), Admitted.into(), asked("B"), asked("C")]).await;
}

#[actix_rt::test]
async fn r11_a_peer_that_knows_another_incarnation_halts_the_node() {
    let probes = Probes::start();
    let baby = reconcile(&probes, false);
    baby.do_send(hello("B", Some(9)));
    baby.do_send(hello("C", None));
    let (known, own) = (Incarnation(9), Incarnation(1));
    let reason = HaltReason::LostDisk { peer: node("B"), known, own, nothing_settled: true };
    let seen = probes.seen().await;
    assert_eq!(seen, [Halt(reason).into()]);
}

#[actix_rt::test]
async fn a_zombie_fetches_what_it_missed_from_the_longest_chain_and_is_ready_once_it_is_applied() {
    let probes = Probes::start();
    let (zombie, chain) = (zombie(&probes).await, chain(3));
    let (short, long) = (chain[1].hash(), chain[2].hash());
    zombie.do_send(from("C", ack(3, long)));
    probes.see([CompareTip(node("C"), Height(3), long).into(), to("C", Message::BlocksRequest(blocks(1, 3)))]).await;
    zombie.do_send(from("B", ack(2, short)));
    probes.see([CompareTip(node("B"), Height(2), short).into()]).await;
    zombie.do_send(from("C", BlocksResponse { blocks: sent(&chain[..2]) }));
    let more = to("C", Message::BlocksRequest(blocks(3, 3)));
    probes.see([Fetched(chain[..2].to_vec()).into(), more]).await;
    zombie.do_send(Applied(chain[0].clone()));
    zombie.do_send(Applied(chain[1].clone()));
    probes.see_nothing().await;
    zombie.do_send(from("C", BlocksResponse { blocks: sent(&chain[2..]) }));
    probes.see([Fetched(chain[2..].to_vec()).into()]).await;
    zombie.do_send(Applied(chain[2].clone()));
    probes.see([Ready.into()]).await;
}

#[actix_rt::test]
async fn a_zombie_that_missed_nothing_is_ready_with_a_majority_of_answers() {
    let probes = Probes::start();
    let zombie = zombie(&probes).await;
    zombie.do_send(from("B", ack(0, genesis().id())));
    probes.see([CompareTip(node("B"), Height(0), genesis().id()).into(), Ready.into()]).await;
}

#[actix_rt::test]
async fn a_zombie_that_nobody_answers_is_ready_after_a_while() {
    let probes = Probes::start();
    let _zombie = reconcile(&probes, true);
    probes.pass(GIVE_UP - SLACK).await;
    probes.see_nothing().await;
    probes.pass(SLACK).await;
    probes.see([Ready.into()]).await;
    probes.pass(GIVE_UP * 2).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_peer_that_stops_delivering_is_asked_again_after_the_retry_time() {
    let probes = Probes::start();
    let (zombie, tip) = (zombie(&probes).await, chain(1)[0].hash());
    zombie.do_send(from("B", ack(1, tip)));
    probes.seen().await;
    probes.pass(RETRY).await;
    probes.see([asked("B"), asked("C")]).await;
}

#[actix_rt::test]
async fn a_peer_that_goes_down_while_it_delivers_is_replaced_by_the_next_longest() {
    let probes = Probes::start();
    let (zombie, chain) = (zombie(&probes).await, chain(3));
    zombie.do_send(from("C", ack(3, chain[2].hash())));
    zombie.do_send(from("B", ack(2, chain[1].hash())));
    probes.seen().await;
    zombie.do_send(LinkChanged { peer: node("C"), up: false, votes: false });
    probes.see([to("B", Message::BlocksRequest(blocks(1, 2)))]).await;
}

#[actix_rt::test]
async fn a_gap_that_any_role_finds_starts_the_same_reconciliation() {
    let probes = Probes::start();
    let reconcile = zombie(&probes).await;
    reconcile.do_send(from("B", ack(0, genesis().id())));
    probes.seen().await;
    reconcile.do_send(Gap(Height(2)));
    reconcile.do_send(Gap(Height(1)));
    probes.see([asked("B"), asked("C")]).await;
}

#[actix_rt::test]
async fn a_request_is_answered_with_what_is_applied_here_whatever_the_standing() {
    let probes = Probes::start();
    let baby = reconcile(&probes, false);
    let block = chain(1).remove(0);
    baby.do_send(from("B", ReconcileRequest {}));
    probes.see([to("B", Message::ReconcileAck(ack(0, genesis().id())))]).await;
    baby.do_send(Applied(block.clone()));
    baby.do_send(from("B", ReconcileRequest {}));
    probes.see([to("B", Message::ReconcileAck(ack(1, block.hash())))]).await;
}

#[actix_rt::test]
async fn blocks_are_served_from_the_store_up_to_the_own_height() {
    let probes = Probes::start();
    let (reconcile, chain) = (reconcile(&probes, true), chain(2));
    chain.iter().for_each(|block| reconcile.do_send(Applied(block.clone())));
    reconcile.do_send(from("B", blocks(1, 9)));
    probes.see([Seen::ReadBlocks(blocks(1, 2), FRAME)]).await;
    // Whatever else is going on, a read that takes its time holds up nothing.
    reconcile.do_send(from("C", ReconcileRequest {}));
    probes.see([to("C", Message::ReconcileAck(ack(2, chain[1].hash())))]).await;
    probes.answer_read(Ok(sent(&chain)));
    probes.see([to("B", Message::BlocksResponse(BlocksResponse { blocks: sent(&chain) }))]).await;
}

#[actix_rt::test]
async fn blocks_that_cannot_be_read_or_are_not_here_are_not_answered() {
    let probes = Probes::start();
    let (reconcile, chain) = (reconcile(&probes, true), chain(1));
    reconcile.do_send(Applied(chain[0].clone()));
    reconcile.do_send(from("B", blocks(2, 9)));
    probes.see_nothing().await;
    reconcile.do_send(from("B", blocks(1, 1)));
    probes.see([Seen::ReadBlocks(blocks(1, 1), FRAME)]).await;
    probes.answer_read(Err(StoreError::Unread("busy".to_owned())));
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn the_next_blocks_are_read_while_a_peer_has_those_before() {
    let probes = Probes::start();
    let (reconcile, chain) = (reconcile(&probes, true), chain(5));
    chain.iter().for_each(|block| reconcile.do_send(Applied(block.clone())));
    let response = |blocks: &[Arc<Block>]| Message::BlocksResponse(BlocksResponse { blocks: sent(blocks) });
    reconcile.do_send(from("B", blocks(1, 4)));
    probes.see([Seen::ReadBlocks(blocks(1, 4), FRAME)]).await;
    probes.answer_read(Ok(sent(&chain[..2])));
    probes.see([Seen::ReadBlocks(blocks(3, 4), FRAME), to("B", response(&chain[..2]))]).await;
    // What another peer asks for, and what this one asks for again, is read for it.
    reconcile.do_send(from("C", blocks(3, 4)));
    probes.see([Seen::ReadBlocks(blocks(3, 4), FRAME)]).await;
    reconcile.do_send(from("B", blocks(1, 1)));
    probes.see([Seen::ReadBlocks(blocks(1, 1), FRAME)]).await;
    // It may be asked for before it is read, and for less of it than was read.
    reconcile.do_send(from("B", blocks(3, 3)));
    probes.see_nothing().await;
    probes.answer_read(Ok(sent(&chain[2..4])));
    probes.see([to("B", response(&chain[2..3]))]).await;
    probes.answer_read(Ok(sent(&chain[2..4])));
    probes.see([to("C", response(&chain[2..4]))]).await;
    probes.answer_read(Ok(sent(&chain[..1])));
    probes.see([to("B", response(&chain[..1]))]).await;
    // It is used once.
    reconcile.do_send(from("B", blocks(3, 4)));
    probes.see([Seen::ReadBlocks(blocks(3, 4), FRAME)]).await;
}

#[actix_rt::test]
async fn what_was_read_for_a_peer_whose_link_broke_is_let_go() {
    let probes = Probes::start();
    let (reconcile, chain) = (reconcile(&probes, true), chain(2));
    chain.iter().for_each(|block| reconcile.do_send(Applied(block.clone())));
    reconcile.do_send(from("B", blocks(1, 2)));
    probes.see([Seen::ReadBlocks(blocks(1, 2), FRAME)]).await;
    probes.answer_read(Ok(sent(&chain[..1])));
    probes.seen().await;
    reconcile.do_send(LinkChanged { peer: node("B"), up: false, votes: false });
    reconcile.do_send(from("B", blocks(2, 2)));
    probes.see([Seen::ReadBlocks(blocks(2, 2), FRAME)]).await;
}
