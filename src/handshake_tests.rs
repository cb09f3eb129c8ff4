use super::*;
use std::sync::Arc;

use crate::effect::Slot;
use crate::ledger::{Action, Block, LogOffer, Operation, Run};
use crate::paxos::{
    Accept, Accepted, Commit, Idle, Nack, NackKind, Prepare, Promise, ReconcileAck, ReconcileRequest, Refused,
};
use crate::types::{Amount, CollectionNumber};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn link(own: &str, peer: &str, epoch: u64) -> Link {
    let own = Identity {
        node: node(own),
        cluster: Hash::ZERO,
        nodes: ["A", "B", "C"].map(node).into(),
        incarnation: Incarnation(u64::from(own.as_bytes()[0])),
        epoch: Epoch { number: epoch, token: epoch },
        client_address: None,
    };
    Link::new(own, node(peer), true, Height(0), None)
}

fn hello_of(effects: &[Effect<LinkAction>]) -> Hello {
    let hello = effects.iter().find_map(|effect| match effect {
        Effect::Act(LinkAction::Send(Message::Hello(hello))) => Some((**hello).clone()),
        _ => None,
    });
    hello.expect("a HELLO")
}

fn says_hello(effects: &[Effect<LinkAction>]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Act(LinkAction::Send(Message::Hello(_)))))
}

/// The link of A to B, after B's HELLO.
fn up() -> Link {
    let mut a = link("A", "B", 1);
    let _ = a.on_connection(true);
    let _ = a.receive(Message::from(hello_of(&link("B", "A", 1).on_connection(true))));
    a
}

fn ballot(round: u64, name: &str) -> Ballot {
    Ballot { round, node: node(name) }
}

fn block(height: u64) -> Arc<Block> {
    let [from, to] = ["B", "C"].map(|name| name.parse().unwrap());
    let action = Action::Transfer { from, to, amount: Amount::new(1) };
    let run = Run { origin: node("B"), first: Seq(4), operations: vec![Operation { id: 1.into(), action }; 2] };
    Arc::new(Block::new(Height(height), Hash::ZERO, Hash::ZERO, vec![run]).unwrap())
}

/// B's answer to A's PREPARE of height 3, with the entries 4 and 5.
fn promise(ballot: Ballot, accepted: Option<Slot>) -> Message {
    let log = LogOffer { first: Seq(4), operations: block(3).runs()[0].operations.clone(), truncated: false };
    Message::Promise(Promise { ballot, height: Height(3), collection: CollectionNumber(1), accepted, log })
}

fn nack(ballot: Ballot, promised: Option<Ballot>) -> Message {
    refused(NackKind::Outbid { open: true }, ballot, promised)
}

fn refused(kind: NackKind, ballot: Ballot, promised: Option<Ballot>) -> Message {
    Message::Nack(Nack { ballot, asked: Height(3), kind, promised, height: Height(2), state: Hash::ZERO })
}

fn accepted(ballot: Ballot) -> Message {
    Message::Accepted(Accepted { ballot, height: Height(3), hash: Hash::ZERO })
}

#[test]
fn r11_the_peers_incarnation_is_durable_before_the_link_is_used() {
    let (mut a, mut b) = (link("A", "B", 1), link("B", "A", 1));
    let _ = b.on_connection(true);
    let effects = b.receive(Message::from(hello_of(&a.on_connection(true))));
    assert_eq!(effects[0], Effect::Persist(Record::Peer { node: node("A"), incarnation: Incarnation(65) }));
    assert!(effects.contains(&act(LinkAction::Up { votes: true })));
    let answer = hello_of(&effects);
    assert_eq!(answer.known.incarnation, Some(Incarnation(65)));
    let effects = a.receive(Message::from(answer));
    assert!(!says_hello(&effects), "B has heard A already");
}

#[test]
fn r13_what_a_peer_has_seen_of_another_incarnation_is_no_witness() {
    let (mut a, mut b) = (link("A", "B", 1), link("B", "A", 1));
    let (_, hello) = (a.on_connection(true), hello_of(&b.on_connection(true)));
    let witness = |incarnation| {
        let known = KnownOfYou { incarnation, height: Height(9), ..KnownOfYou::default() };
        let effects = a.clone().receive(Message::from(Hello { known: known.clone(), ..hello.clone() }));
        effects.contains(&act(LinkAction::Witness(known)))
    };
    assert!(witness(Some(Incarnation(65))));
    assert!(witness(None));
    assert!(!witness(Some(Incarnation(1))), "that this store was lost is what has to be said");
}

#[test]
fn nothing_passes_before_hello() {
    let mut a = link("A", "B", 1);
    let _ = a.on_connection(true);
    let message = Message::ReconcileRequest(ReconcileRequest {});
    assert_eq!(a.receive(message.clone()), []);
    assert_eq!(a.send(message), []);
}

#[test]
fn whoever_does_not_belong_is_refused_once_with_the_reason() {
    let mut b = link("B", "A", 1);
    let hello = hello_of(&b.on_connection(true));
    let wrong = [
        Hello { version: 9, ..hello.clone() },
        Hello { cluster: Hash::from_bytes([1; 32]), ..hello.clone() },
        Hello { node: node("C"), ..hello.clone() },
    ];
    for hello in wrong {
        let mut a = link("A", "B", 1);
        let _ = a.on_connection(true);
        let effects = a.receive(Message::from(hello.clone()));
        assert!(matches!(effects[..], [Effect::Act(LinkAction::Refused(_))]), "{effects:?}");
        assert_eq!(a.receive(Message::from(hello)), [], "two that refuse each other do not shout for ever");
        assert!(!a.is_up());
    }
}

#[test]
fn r11_a_peer_with_another_store_is_refused_and_told_what_is_known() {
    let mut a =
        Link { known: KnownOfYou { incarnation: Some(Incarnation(7)), ..Default::default() }, ..link("A", "B", 1) };
    let _ = a.on_connection(true);
    let effects = a.receive(Message::from(hello_of(&link("B", "A", 1).on_connection(true))));
    assert!(matches!(effects[0], Effect::Act(LinkAction::Refused(LinkRefusal::Incarnation { .. }))));
    assert_eq!(hello_of(&a.on_heartbeat()).known.incarnation, Some(Incarnation(7)));
}

#[test]
fn a_restarted_peer_replaces_its_older_process_and_learns_what_was_seen_of_it() {
    let mut a = link("A", "B", 1);
    let _ = a.on_connection(true);
    let hello = |epoch| Message::from(hello_of(&link("B", "A", epoch).on_connection(true)));
    let _ = a.receive(hello(1));
    let ballot = Ballot { round: 4, node: node("A") };
    let vote = Accepted { ballot, height: Height(3), hash: Hash::ZERO };
    let _ = a.receive(Message::Accepted(vote));
    let effects = a.receive(hello(2));
    let (down, up) = (act(LinkAction::Down), act(LinkAction::Up { votes: true }));
    assert_eq!(effects.iter().filter(|effect| [&down, &up].contains(effect)).count(), 2);
    let known = hello_of(&effects).known;
    assert_eq!((known.promised, known.accepted), (Some(ballot), Some((ballot, Height(3)))));
    assert_eq!(a.receive(hello(1)), [], "the older process is not heard any more");
}

#[test]
fn a_message_with_a_ballot_that_cannot_be_is_refused() {
    let prepare = |ballot| Message::Prepare(Prepare { ballot, height: Height(1), collection: CollectionNumber(1) });
    let asks: [fn(Ballot) -> Message; 3] = [
        prepare,
        |ballot| Message::Accept(Accept { ballot, block: block(3) }),
        |ballot| Message::Idle(Idle { ballot, height: Height(3) }),
    ];
    let answers: [fn(Ballot) -> Message; 3] =
        [|ballot| promise(ballot, None), accepted, |ballot| nack(ballot, Some(self::ballot(9, "C")))];
    // Who asks has a ballot of its own, and who answers has that of the node which asked.
    for (messages, owner, other) in [(asks, "B", "A"), (answers, "A", "B")] {
        for message in messages {
            let mut a = up();
            for wrong in [ballot(ROUND_MAX + 1, owner), ballot(1, other), ballot(1, "C"), ballot(1, "Z")] {
                let effects = a.receive(message(wrong));
                assert!(matches!(effects[..], [Effect::Act(LinkAction::Refused(_))]), "{effects:?}");
            }
            assert_eq!(a, up(), "nothing was learnt from them");
            let right = message(ballot(ROUND_MAX, owner));
            assert_eq!(a.receive(right.clone()), [act(LinkAction::Deliver(right))]);
        }
    }
    let outbid_by = |promised| up().receive(nack(ballot(1, "A"), Some(promised)));
    for wrong in [ballot(ROUND_MAX + 1, "C"), ballot(1, "Z")] {
        assert!(matches!(outbid_by(wrong)[..], [Effect::Act(LinkAction::Refused(_))]));
    }
}

#[test]
fn r13_each_message_that_tells_of_the_peers_store_is_remembered_for_it() {
    let (one, two) = (ballot(1, "A"), ballot(2, "C"));
    let slot = Slot { ballot: two, block: block(3) };
    let of_store = up().hello().known;
    let of_promise = KnownOfYou { promised: Some(one), seq: Seq(5), ..of_store.clone() };
    let of_vote = |vote| KnownOfYou { accepted: Some((vote, Height(3))), height: Height(2), ..of_promise.clone() };
    let of_nack = KnownOfYou { promised: Some(two), ..of_store.clone() };
    let ack = ReconcileAck { held: vec![(Height(0), Height(7))], tip: Hash::ZERO };
    let told = [
        // Whoever is asked for a height may not have written the block below it yet; who voted for it has.
        (promise(one, None), of_promise.clone()),
        (promise(one, Some(slot)), of_vote(two)),
        (accepted(one), KnownOfYou { seq: Seq(0), ..of_vote(one) }),
        (nack(one, Some(two)), of_nack.clone()),
        (refused(NackKind::Behind, one, Some(two)), KnownOfYou { height: Height(2), ..of_nack }),
        (
            Message::Commit(Commit { height: Height(7), hash: Hash::ZERO, block: None }),
            KnownOfYou { height: Height(7), ..of_store.clone() },
        ),
        (Message::ReconcileAck(ack), KnownOfYou { height: Height(7), ..of_store }),
    ];
    for (message, known) in told {
        let mut a = up();
        let _ = a.receive(message);
        assert_eq!(a.hello().known, known);
    }
}

#[test]
fn r13_what_was_seen_of_a_peer_never_falls() {
    let mut a = up();
    let commit = |height| Message::Commit(Commit { height: Height(height), hash: Hash::ZERO, block: None });
    let slot = |round| Some(Slot { ballot: ballot(round, "C"), block: block(3) });
    for message in [promise(ballot(5, "A"), slot(4)), commit(9)] {
        let _ = a.receive(message);
    }
    let seen = a.clone();
    let ack = ReconcileAck { held: vec![(Height(0), Height(1))], tip: Hash::ZERO };
    let late = [commit(1), promise(ballot(4, "A"), slot(2)), nack(ballot(1, "A"), None), accepted(ballot(1, "A"))];
    for message in late.into_iter().chain([Message::ReconcileAck(ack)]) {
        let _ = a.receive(message);
        assert_eq!(a, seen);
    }
}

#[test]
fn r11_a_baby_that_is_admitted_says_so_at_once() {
    let mut baby = Link { votes: false, ..link("A", "B", 1) };
    assert!(!hello_of(&baby.on_connection(true)).votes);
    assert!(hello_of(&baby.admit()).votes);
    assert!(hello_of(&baby.on_heartbeat()).votes);
}

#[test]
fn r11_a_process_votes_from_its_first_word_of_that_on() {
    let mut a = link("A", "B", 1);
    let _ = a.on_connection(true);
    let mut ups = |epoch, votes| {
        let hello = Hello { votes, ..hello_of(&link("B", "A", epoch).on_connection(true)) };
        let effects = a.receive(hello.into()).into_iter();
        let ups = effects.filter(|effect| matches!(effect, Effect::Act(LinkAction::Down | LinkAction::Up { .. })));
        ups.collect::<Vec<_>>()
    };
    let up = |votes| act(LinkAction::Up { votes });
    assert_eq!(ups(1, false), [up(false)], "a baby");
    assert_eq!(ups(1, false), [], "still one");
    assert_eq!(ups(1, true), [up(true)]);
    assert_eq!(ups(1, false), [], "said before, and overtaken on the way");
    assert_eq!(ups(2, false), [act(LinkAction::Down), up(false)], "another process says for itself");
}

#[test]
fn hello_tells_the_height_so_that_a_lost_commit_is_noticed() {
    let mut a = up();
    a.set_height(Height(8));
    let hello = hello_of(&a.on_heartbeat());
    assert_eq!(hello.height, Height(8));
    let mut b = link("B", "A", 1);
    let _ = b.on_connection(true);
    let heard = b.receive(hello.into()).into_iter().find_map(|effect| match effect {
        Effect::Act(LinkAction::Heard { height, .. }) => Some(height),
        _ => None,
    });
    assert_eq!((heard, b.hello().known.height), (Some(Height(8)), Height(8)));
}

#[test]
fn what_is_sent_goes_out_and_a_refusal_goes_to_no_role() {
    let mut a = up();
    let message = Message::ReconcileRequest(ReconcileRequest {});
    assert_eq!(a.send(message.clone()), [act(LinkAction::Send(message))]);
    assert_eq!(a.receive(Message::Refused(Refused { reason: "no".to_owned() })), []);
}

#[test]
fn a_late_hello_does_not_open_a_broken_link() {
    let mut a = link("A", "B", 1);
    let hello = Message::from(hello_of(&link("B", "A", 1).on_connection(true)));
    let _ = a.on_connection(true);
    let _ = a.receive(hello.clone());
    let _ = a.on_connection(false);
    let _ = a.receive(hello);
    assert!(!a.is_up());
}

#[test]
fn a_peer_that_falls_silent_is_taken_for_gone_until_it_speaks_again() {
    let mut a = link("A", "B", 1);
    let hello = Message::from(hello_of(&link("B", "A", 1).on_connection(true)));
    let _ = a.on_connection(true);
    let _ = a.receive(hello.clone());
    for _ in 0..SILENT_MAX {
        assert!(says_hello(&a.on_heartbeat()) && a.is_up());
    }
    assert_eq!(a.on_heartbeat()[0], act(LinkAction::Down));
    assert!(a.receive(hello).contains(&act(LinkAction::Up { votes: true })));
}

#[test]
fn r11_a_new_connection_is_judged_before_anything_is_changed() {
    let mut b = link("B", "A", 1);
    let hello = |epoch| hello_of(&link("A", "B", epoch).on_connection(true));
    let before = b.clone();
    assert_eq!(b.judge(&hello(5)), Ok(()));
    assert_eq!(b, before);
    let _ = b.on_connection(true);
    let _ = b.receive(hello(5).into());
    assert_eq!(b.judge(&hello(5)), Ok(()), "the same process, which lost its connection");
    assert_eq!(b.judge(&hello(6)), Ok(()), "a restart");
    assert_eq!(b.judge(&hello(4)), Err(LinkRefusal::Epoch { peer: node("A"), found: 4, known: 5 }));
    let lost = Hello { incarnation: Incarnation(99), ..hello(9) };
    assert!(matches!(b.judge(&lost), Err(LinkRefusal::Incarnation { .. })));
    let astray = Hello { to: node("C"), ..hello(6) };
    let (peer, wanted, own) = (node("A"), node("C"), node("B"));
    assert_eq!(b.judge(&astray), Err(LinkRefusal::Receiver { peer, wanted, own }));
}

#[test]
fn r13_who_was_overtaken_by_another_process_of_its_name_stops() {
    let known = |incarnation, number, token| {
        let mut a = link("A", "B", 3);
        let _ = a.on_connection(true);
        let epoch = Some(Epoch { number, token });
        let known = KnownOfYou { incarnation: Some(Incarnation(incarnation)), epoch, ..KnownOfYou::default() };
        a.receive(Hello { known, ..hello_of(&link("B", "A", 1).on_connection(true)) }.into())
    };
    let stops = |known, effects: Vec<Effect<LinkAction>>| {
        let reason = HaltReason::Overtaken { peer: node("B"), known, own: 3 };
        effects.contains(&Effect::Halt(reason))
    };
    assert!(!stops(2, known(65, 2, 2)), "the process before this one");
    assert!(!stops(3, known(65, 3, 3)), "this one");
    assert!(stops(3, known(65, 3, 9)), "the store went back to where it was before that one took it");
    assert!(stops(4, known(65, 4, 4)), "further, or that one took it from this one");
    assert!(!stops(4, known(1, 4, 4)), "of another store");
}

#[test]
fn a_peer_that_was_only_slow_is_heard_at_once() {
    let mut a = link("A", "B", 1);
    let _ = a.on_connection(true);
    let _ = a.receive(Message::from(hello_of(&link("B", "A", 1).on_connection(true))));
    let down = (0..=SILENT_MAX).flat_map(|_| a.on_heartbeat()).any(|effect| effect == act(LinkAction::Down));
    assert!(down && !a.is_up());
    let message = Message::ReconcileRequest(ReconcileRequest {});
    assert_eq!(a.send(message.clone()), [], "it is not there, as far as can be seen");
    let heard = a.receive(message.clone());
    assert_eq!(heard, [act(LinkAction::Up { votes: true }), act(LinkAction::Deliver(message))]);
    let _ = a.on_connection(false);
    assert!(!a.is_up());
}

#[test]
fn an_address_that_no_name_has_is_not_passed_on() {
    let (mut a, mut b) = (link("A", "B", 1), link("B", "A", 1));
    let (_, hello) = (a.on_connection(true), hello_of(&b.on_connection(true)));
    let mut heard = |address: &str| {
        let hello = Hello { client_address: Some(address.to_owned()), ..hello.clone() };
        let effects = a.receive(Message::from(hello));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Act(LinkAction::Heard { client_address, .. }) => Some(client_address),
            _ => None,
        })
    };
    assert_eq!(heard("b.example:8001"), Some(Some("b.example:8001".to_owned())));
    let long = "b".repeat(ADDRESS_BYTES_MAX + 1);
    for address in ["\u{1b}[2J:1", "b:1\nb:2", "b :1", "\u{202e}b:1", &long] {
        assert_eq!(heard(address), Some(None), "{address:?}");
    }
}
