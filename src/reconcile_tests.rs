use super::*;
use crate::ledger::{Action, Operation, Run};
use crate::types::{Amount, Seq};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn reconcile(admitted: bool) -> Reconcile {
    let peers = [node("B"), node("C")];
    Reconcile::new(Incarnation(1), peers, 2, admitted, false, (Height(0), Hash::ZERO))
}

/// A zombie with both links up.
fn zombie() -> Reconcile {
    let mut zombie = reconcile(true);
    let _ = zombie.start();
    for peer in ["B", "C"] {
        assert_eq!(zombie.on_link(node(peer), true), [zombie.request(node(peer))]);
    }
    zombie
}

fn ack(height: u64) -> ReconcileAck {
    ReconcileAck { held: vec![(Height(0), Height(height))], tip: Hash::ZERO }
}

fn block(height: u64) -> Arc<Block> {
    let action = Action::Transfer { from: "A".parse().unwrap(), to: "B".parse().unwrap(), amount: Amount::new(height) };
    let operations = vec![Operation { id: 1.into(), action }];
    let runs = vec![Run { origin: node("A"), first: Seq(1), operations }];
    Arc::new(Block::new(Height(height), Hash::ZERO, Hash::ZERO, runs).unwrap())
}

fn request(to: &str, from_height: u64, to_height: u64) -> Effect<ReconcileAction> {
    let request = BlocksRequest { from: Height(from_height), to: Height(to_height) };
    act(ReconcileAction::Send(node(to), Message::BlocksRequest(request)))
}

/// A fetch begins with its first request, and with the timer that mends a loss.
fn fetches(from: &str, from_height: u64, to_height: u64) -> [Effect<ReconcileAction>; 2] {
    [request(from, from_height, to_height), act(ReconcileAction::Start(ReconcileTimer::Retry))]
}

fn blocks(heights: impl IntoIterator<Item = u64>) -> BlocksResponse {
    BlocksResponse { blocks: heights.into_iter().map(block).map(SentBlock::Known).collect() }
}

/// What comes of such a response: its blocks.
fn delivers(response: &BlocksResponse) -> Effect<ReconcileAction> {
    act(ReconcileAction::Deliver(response.blocks.iter().map(|block| block.block().unwrap()).collect()))
}

#[test]
fn r11_a_baby_is_admitted_once_every_peer_knows_it() {
    let mut baby = reconcile(false);
    assert_eq!(baby.start(), [act(ReconcileAction::Start(ReconcileTimer::GiveUp))]);
    assert_eq!(baby.on_hello(node("B"), None, Height(0)), [], "it has not heard of this node, so it says nothing");
    assert_eq!(baby.on_hello(node("C"), Some(Incarnation(1)), Height(0)), []);
    assert_eq!(baby.not_cleared(), BTreeSet::from([node("B")]));
    let effects = baby.on_hello(node("B"), Some(Incarnation(1)), Height(0));
    assert_eq!(effects[..2], [Effect::Persist(Record::Admitted), act(ReconcileAction::Admitted)]);
}

#[test]
fn r11_a_peer_that_knows_another_incarnation_stops_the_node_forced_or_not() {
    for force in [false, true] {
        let mut baby = Reconcile { force, ..reconcile(false) };
        let effects = baby.on_hello(node("B"), Some(Incarnation(9)), Height(0));
        let Effect::Halt(reason) = &effects[0] else { panic!("{effects:?}") };
        assert!(reason.to_string().contains("stop all nodes, wipe their stores"), "{reason}");
    }
}

#[test]
fn r11_forcing_replaces_missing_answers_only_after_the_wait() {
    let mut baby = reconcile(false);
    assert_eq!(baby.on_timer(ReconcileTimer::GiveUp), []);
    let mut forced = Reconcile { force: true, ..reconcile(false) };
    let effects = forced.on_timer(ReconcileTimer::GiveUp);
    assert_eq!(effects[..2], [Effect::Persist(Record::Admitted), act(ReconcileAction::Admitted)]);
    assert_eq!(forced.standing(), Standing::Ready);
}

#[test]
fn a_zombie_fetches_from_the_longest_chain_in_frames_and_is_ready() {
    let mut zombie = zombie();
    assert_eq!(zombie.on_ack(node("C"), &ack(5))[1..], fetches("C", 1, 5));
    assert_eq!(zombie.on_blocks(node("B"), blocks(1..=5)), [], "nobody asked B");
    let effects = zombie.on_blocks(node("C"), blocks(1..=3));
    assert_eq!(effects, [delivers(&blocks(1..=3)), request("C", 4, 5)]);
    assert_eq!(zombie.on_applied(Height(2), Hash::ZERO), []);
    assert_eq!(zombie.on_applied(Height(3), Hash::ZERO), [], "the rest is asked for");
    let _ = zombie.on_blocks(node("C"), blocks(4..=5));
    let _ = zombie.on_applied(Height(4), Hash::ZERO);
    assert_eq!(zombie.on_applied(Height(5), Hash::ZERO), [act(ReconcileAction::Ready)]);
}

#[test]
fn one_frame_is_on_its_way_while_the_one_before_is_applied_and_no_more_than_two_wait() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(9));
    let delivers = |range| delivers(&blocks(range));
    assert_eq!(zombie.on_blocks(node("C"), blocks(1..=2)), [delivers(1..=2), request("C", 3, 9)]);
    assert_eq!(zombie.on_blocks(node("C"), blocks(3..=4)), [delivers(3..=4)], "two are to be applied");
    assert_eq!(zombie.on_blocks(node("C"), blocks(5..=6)), [], "nobody asked for these");
    assert_eq!(zombie.on_applied(Height(1), Hash::ZERO), []);
    assert_eq!(zombie.on_applied(Height(2), Hash::ZERO), [request("C", 5, 9)]);
    assert_eq!(zombie.on_applied(Height(4), Hash::ZERO), [], "it is asked for");
    assert_eq!(zombie.on_blocks(node("C"), blocks(5..=9)), [delivers(5..=9)]);
    assert_eq!(zombie.on_applied(Height(9), Hash::ZERO), [act(ReconcileAction::Ready)]);
}

#[test]
fn a_frame_that_does_not_go_on_where_the_one_before_ended_is_rubbish() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(9));
    let _ = zombie.on_ack(node("B"), &ack(8));
    let _ = zombie.on_blocks(node("C"), blocks(1..=2));
    assert_eq!(zombie.on_blocks(node("C"), blocks(4..=5)), fetches("B", 1, 8));
}

#[test]
fn a_peer_that_dies_or_delivers_rubbish_is_replaced_by_the_next_longest() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(5));
    let _ = zombie.on_ack(node("B"), &ack(4));
    let mut rubbish = zombie.clone();
    assert_eq!(rubbish.on_blocks(node("C"), blocks([2, 1])), fetches("B", 1, 4));
    let mut empty = zombie.clone();
    assert_eq!(empty.on_blocks(node("C"), blocks([])), fetches("B", 1, 4));
    // What its sender had not looked into: no block, and one of another height than was said.
    for (height, bytes) in [(2, &block(2).bytes()[1..]), (2, block(3).bytes())] {
        let mut response = blocks([1]);
        response.blocks.push(SentBlock::Stored(Height(height), bytes.into()));
        assert_eq!(zombie.clone().on_blocks(node("C"), response), fetches("B", 1, 4));
    }
    let mut stored = blocks([]);
    stored.blocks.extend([1, 2].map(|height| SentBlock::Stored(Height(height), block(height).bytes().into())));
    let delivered = delivers(&blocks(1..=2));
    assert_eq!(zombie.clone().on_blocks(node("C"), stored), [delivered, request("C", 3, 5)]);
    assert_eq!(zombie.on_link(node("C"), false), fetches("B", 1, 4));
    let mut silent = rubbish;
    assert_eq!(silent.on_timer(ReconcileTimer::Retry).len(), 3, "a new round of asking");
}

#[test]
fn a_node_alone_serves_on_what_it_has_after_a_while() {
    let mut zombie = reconcile(true);
    let _ = zombie.start();
    assert_eq!(zombie.on_timer(ReconcileTimer::GiveUp), [act(ReconcileAction::Ready)]);
    let mut single = Reconcile::new(Incarnation(1), [], 1, false, false, (Height(0), Hash::ZERO));
    let effects = single.start();
    assert!(effects.contains(&Effect::Persist(Record::Admitted)));
    assert_eq!(single.standing(), Standing::Ready);
}

#[test]
fn any_gap_starts_the_same_once() {
    let mut node_a = zombie();
    let _ = node_a.on_ack(node("B"), &ack(0));
    assert_eq!(node_a.standing(), Standing::Ready);
    assert_eq!(node_a.on_gap(Height(2)).len(), 3, "two requests and a timer");
    assert_eq!(node_a.on_gap(Height(3)), []);
    assert_eq!(node_a.on_ack(node("C"), &ack(3))[1..], fetches("C", 1, 3));
}

#[test]
fn only_blocks_that_are_here_are_served() {
    let mut node_a = zombie();
    let _ = node_a.on_applied(Height(4), Hash::ZERO);
    let ask = |from, to| node_a.on_blocks_request(node("B"), BlocksRequest { from: Height(from), to: Height(to) });
    let served = BlocksRequest { from: Height(2), to: Height(4) };
    assert_eq!(ask(2, 9), [act(ReconcileAction::Serve(node("B"), served))]);
    assert_eq!(ask(5, 9), []);
    assert_eq!(ask(0, 4), []);
}

#[test]
fn a_fetch_that_a_late_answer_starts_is_retried_too() {
    let mut node_a = zombie();
    let effects = node_a.on_ack(node("B"), &ack(0));
    assert!(effects.contains(&act(ReconcileAction::Ready)));
    assert_eq!(node_a.on_timer(ReconcileTimer::Retry), [], "not asking: the timer ends");
    // C's answer was late, and C has more.
    let effects = node_a.on_ack(node("C"), &ack(3));
    assert!(effects.contains(&request("C", 1, 3)));
    assert!(effects.contains(&act(ReconcileAction::Start(ReconcileTimer::Retry))), "or a loss would end it");
}

#[test]
fn a_node_admitted_late_gives_up_as_well() {
    let mut baby = reconcile(false);
    let _ = baby.start();
    assert_eq!(baby.on_timer(ReconcileTimer::GiveUp), []);
    let _ = baby.on_hello(node("B"), Some(Incarnation(1)), Height(0));
    let effects = baby.on_hello(node("C"), Some(Incarnation(1)), Height(0));
    assert!(effects.contains(&act(ReconcileAction::Start(ReconcileTimer::GiveUp))));
}

#[test]
fn blocks_that_come_later_than_the_patience_for_them_are_used() {
    let mut slow = zombie();
    let _ = slow.on_ack(node("C"), &ack(5));
    // On a slow link a frame of blocks takes longer than that, and each new one would.
    assert_eq!(slow.on_timer(ReconcileTimer::Retry).len(), 3, "a new round of asking");
    let late = blocks(1..=3);
    assert_eq!(slow.on_blocks(node("B"), late.clone()), [], "nobody asked B");
    assert_eq!(slow.on_blocks(node("C"), late.clone()), [delivers(&late)]);
    assert_eq!(slow.on_blocks(node("C"), late), [], "they were asked for once");
    let _ = slow.on_ack(node("C"), &ack(5));
    let _ = slow.on_applied(Height(1), Hash::ZERO);
    let _ = slow.on_applied(Height(2), Hash::ZERO);
    assert_eq!(slow.on_applied(Height(3), Hash::ZERO), fetches("C", 4, 5));
}

#[test]
fn blocks_that_come_late_while_another_is_asked_are_used_too() {
    let mut slow = zombie();
    let _ = slow.on_ack(node("C"), &ack(5));
    let _ = slow.on_timer(ReconcileTimer::Retry);
    assert_eq!(slow.on_ack(node("B"), &ack(5))[1..], fetches("B", 1, 5));
    let late = blocks(1..=3);
    assert_eq!(slow.on_blocks(node("C"), late.clone()), [delivers(&late)]);
    assert_eq!(slow.on_blocks(node("B"), blocks(1..=5)).len(), 1, "B's are still awaited");
}

#[test]
fn r11_to_wipe_all_stores_is_advised_only_where_no_block_is_known_here_or_there() {
    for (own, theirs) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut baby = Reconcile { height: Height(own), ..reconcile(false) };
        let effects = baby.on_hello(node("B"), Some(Incarnation(9)), Height(theirs));
        let [Effect::Halt(HaltReason::LostDisk { nothing_settled, .. })] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(*nothing_settled, (own, theirs) == (0, 0), "heights {own} and {theirs}");
    }
}

#[test]
fn blocks_that_were_learnt_meanwhile_are_no_fault_of_those_that_follow() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(5));
    let _ = zombie.on_applied(Height(2), Hash::ZERO);
    let effects = zombie.on_blocks(node("C"), blocks(1..=4));
    assert_eq!(effects, [delivers(&blocks(3..=4)), request("C", 5, 5)]);
}

#[test]
fn a_late_answer_without_use_says_nothing_against_the_one_that_its_sender_gave_since() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(5));
    let _ = zombie.on_timer(ReconcileTimer::Retry);
    let _ = zombie.on_ack(node("B"), &ack(5));
    let _ = zombie.on_ack(node("C"), &ack(5));
    assert_eq!(zombie.on_blocks(node("C"), blocks([])), []);
    assert_eq!(zombie.on_link(node("B"), false), fetches("C", 1, 5));
}

#[test]
fn a_fetch_that_goes_on_is_not_begun_anew_and_one_that_is_over_needs_no_timer() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(5));
    let _ = zombie.on_blocks(node("C"), blocks(1..=3));
    let goes_on = act(ReconcileAction::Start(ReconcileTimer::Retry));
    assert_eq!(zombie.on_timer(ReconcileTimer::Retry), [goes_on], "blocks came since the last time");
    assert_eq!(zombie.clone().on_timer(ReconcileTimer::Retry).len(), 3, "none came: a new round of asking");
    let _ = zombie.on_applied(Height(3), Hash::ZERO);
    let _ = zombie.on_blocks(node("C"), blocks(4..=5));
    assert_eq!(zombie.on_applied(Height(5), Hash::ZERO), [act(ReconcileAction::Ready)]);
    assert_eq!(zombie.on_timer(ReconcileTimer::Retry), []);
}

#[test]
fn a_node_does_not_serve_while_blocks_that_a_peer_named_are_missing() {
    let mut zombie = zombie();
    let _ = zombie.on_ack(node("C"), &ack(5));
    let _ = zombie.on_ack(node("B"), &ack(0));
    assert_eq!(zombie.on_blocks(node("C"), blocks([])), [], "nobody else has them: the next round asks again");
    assert_eq!(zombie.standing(), Standing::Zombie);
}
