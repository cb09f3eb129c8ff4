use super::*;
use crate::ledger::{Action, Block, Operation, Run};
use crate::types::{Amount, CollectionNumber, Seq};
use std::sync::Arc;

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn ballot(round: u64, name: &str) -> Ballot {
    Ballot { round, node: node(name) }
}

fn block(height: u64, amount: u64) -> Arc<Block> {
    let action = Action::Transfer { from: "B".parse().unwrap(), to: "C".parse().unwrap(), amount: Amount::new(amount) };
    let operations = vec![Operation { id: 1.into(), action }];
    let runs = vec![Run { origin: node("B"), first: Seq(1), operations }];
    Arc::new(Block::new(Height(height), Hash::ZERO, Hash::ZERO, runs).unwrap())
}

fn slot(ballot: Ballot, block: Arc<Block>) -> Slot {
    Slot { ballot, block }
}

/// Acceptor A, which has promised nothing.
fn acceptor() -> Acceptor {
    Acceptor::new(node("A"), true, None, None)
}

/// An acceptor that has voted for this.
fn voted(slot: Slot) -> Acceptor {
    Acceptor::new(node("A"), true, Some(slot.ballot), Some(slot))
}

/// PREPARE of the ballot's node, at a node whose chain ends at `own`.
fn prepare(acceptor: &mut Acceptor, ballot: Ballot, height: u64, own: u64) -> Effects {
    let prepare = Prepare { ballot, height: Height(height), collection: CollectionNumber(1) };
    let view = PrepareView { height: Height(own), state: Hash::ZERO, log: LogOffer::default() };
    acceptor.on_prepare(ballot.node, prepare, view)
}

/// ACCEPT likewise.
fn accept(acceptor: &mut Acceptor, ballot: Ballot, block: &Arc<Block>, own: u64) -> Effects {
    let verdict = Verdict { height: Height(own), state: Hash::ZERO, fault: None };
    acceptor.on_accept(ballot.node, Accept { ballot, block: block.clone() }, verdict)
}

fn promise(ballot: Ballot, height: u64, accepted: Option<Slot>) -> Effect<AcceptorAction> {
    let (height, collection) = (Height(height), CollectionNumber(1));
    let promise = Promise { ballot, height, collection, accepted, log: LogOffer::default() };
    act(AcceptorAction::Send(ballot.node, Message::Promise(promise)))
}

fn accepted(ballot: Ballot, block: &Block) -> Effect<AcceptorAction> {
    let accepted = Accepted { ballot, height: block.height(), hash: block.hash() };
    act(AcceptorAction::Send(ballot.node, Message::Accepted(accepted)))
}

/// The kind of the one NACK among the effects.
fn nack(effects: &[Effect<AcceptorAction>]) -> Option<NackKind> {
    effects.iter().find_map(|effect| match effect {
        Effect::Act(AcceptorAction::Send(_, Message::Nack(nack))) => Some(nack.kind),
        _ => None,
    })
}

#[test]
fn r3_a_promise_is_written_before_it_is_told_and_under_a_kept_ballot_nothing_is_written() {
    let (mut acceptor, theirs) = (acceptor(), ballot(1, "B"));
    let overtaken = act(AcceptorAction::Overtaken(theirs, Height(1)));
    let written = Effect::Persist(Record::Promise(theirs));
    assert_eq!(prepare(&mut acceptor, theirs, 1, 0), [written, overtaken, promise(theirs, 1, None)]);
    assert_eq!(prepare(&mut acceptor, theirs, 1, 0), [promise(theirs, 1, None)]);
    assert_eq!(acceptor.promise(), Some(theirs));
    let own = ballot(2, "A");
    let written = Effect::Persist(Record::Promise(own));
    assert_eq!(prepare(&mut acceptor, own, 1, 0), [written, promise(own, 1, None)], "nobody overtakes itself");
    assert_eq!(nack(&prepare(&mut acceptor, theirs, 1, 0)), Some(NackKind::Outbid { open: true }));
    assert_eq!(acceptor.promise(), Some(own), "it never falls");
}

#[test]
fn r1_a_vote_is_for_the_own_height_and_one_and_for_nothing_else() {
    let theirs = ballot(1, "B");
    for (height, kind) in [(1, NackKind::Ahead), (2, NackKind::Ahead), (4, NackKind::Behind), (9, NackKind::Behind)] {
        let mut acceptor = acceptor();
        for effects in [prepare(&mut acceptor, theirs, height, 2), accept(&mut acceptor, theirs, &block(height, 1), 2)]
        {
            let gap = effects.contains(&act(AcceptorAction::Gap(theirs.node, Height(height - 1))));
            assert_eq!((nack(&effects), gap), (Some(kind), kind == NackKind::Behind), "height {height}");
        }
        assert_eq!((acceptor.promise(), acceptor.slot()), (None, None));
        let again = acceptor.on_applied(Height(3));
        let asks = matches!(again[..], [Effect::Act(AcceptorAction::AskAgain(_, Message::Accept(_)))]);
        assert_eq!(asks, kind == NackKind::Behind, "the last message is answered once the node has caught up");
        assert_eq!(acceptor.on_applied(Height(4)), [], "and once");
    }
}

#[test]
fn r6_one_vote_per_ballot_and_height_which_is_told_again() {
    let (mut acceptor, theirs, first) = (acceptor(), ballot(1, "B"), block(1, 1));
    let vote = slot(theirs, first.clone());
    assert_eq!(
        accept(&mut acceptor, theirs, &first, 0),
        [
            Effect::Persist(Record::Accepted(vote.clone())),
            act(AcceptorAction::Overtaken(theirs, Height(1))),
            act(AcceptorAction::Voted(vote.clone())),
            act(AcceptorAction::Watch(theirs, Height(1))),
            accepted(theirs, &first),
        ]
    );
    assert_eq!(acceptor.start(), [act(AcceptorAction::Watch(theirs, Height(1)))]);
    assert_eq!(accept(&mut acceptor, theirs, &first, 0), [accepted(theirs, &first)]);
    assert_eq!(accept(&mut acceptor, theirs, &block(1, 2), 0), [], "a second block under the ballot");
    assert_eq!(acceptor.slot(), Some(&vote));
    let higher = ballot(2, "C");
    assert_eq!(accept(&mut acceptor, higher, &block(1, 2), 0).last(), Some(&accepted(higher, &block(1, 2))));
    assert_eq!(nack(&accept(&mut acceptor, theirs, &first, 0)), Some(NackKind::Outbid { open: true }));
    assert_eq!(acceptor.slot(), Some(&slot(higher, block(1, 2))));
}

#[test]
fn r6_a_kept_ballot_has_a_vote_of_its_own_at_the_next_height() {
    // The Ledger has applied block 1; that has not come here yet.
    let (theirs, second) = (ballot(1, "B"), block(2, 2));
    let mut acceptor = voted(slot(theirs, block(1, 1)));
    assert_eq!(prepare(&mut acceptor, theirs, 2, 1), [promise(theirs, 2, None)], "R4: a vote of another height");
    let effects = accept(&mut acceptor, theirs, &second, 1);
    let vote = slot(theirs, second.clone());
    assert_eq!(effects.first(), Some(&Effect::Persist(Record::Accepted(vote.clone()))));
    assert!(!effects.contains(&act(AcceptorAction::Overtaken(theirs, Height(2)))), "it was told with the promise");
    let _ = acceptor.on_applied(Height(1));
    assert_eq!(acceptor.slot(), Some(&vote), "only the vote of the applied height is over");
    assert_eq!(prepare(&mut acceptor, theirs, 2, 1), [promise(theirs, 2, Some(vote))]);
    let _ = acceptor.on_applied(Height(2));
    assert_eq!(acceptor.slot(), None);
}

#[test]
fn r5_a_block_that_does_not_pass_here_gets_no_vote() {
    let (mut acceptor, theirs) = (acceptor(), ballot(1, "B"));
    let fault = Some(BlockFault::UnknownOrigin { origin: node("Z") });
    let verdict = Verdict { height: Height(0), state: Hash::ZERO, fault };
    let effects = acceptor.on_accept(node("B"), Accept { ballot: theirs, block: block(1, 1) }, verdict);
    assert_eq!((effects.len(), nack(&effects)), (1, Some(NackKind::Invalid)));
    assert_eq!((acceptor.promise(), acceptor.slot()), (None, None));
}

#[test]
fn r11_a_baby_is_silent_until_it_is_admitted() {
    let mut baby = Acceptor::new(node("A"), false, None, None);
    assert_eq!(prepare(&mut baby, ballot(1, "B"), 1, 0), []);
    assert_eq!(accept(&mut baby, ballot(1, "B"), &block(1, 1), 0), []);
    baby.admit();
    assert_eq!(accept(&mut baby, ballot(1, "B"), &block(1, 1), 0).len(), 5);
}

#[test]
fn whoever_is_outbid_hears_whether_the_rivals_round_is_open() {
    let (low, rival) = (ballot(1, "B"), ballot(5, "C"));
    let mut after_promise = acceptor();
    let _ = prepare(&mut after_promise, rival, 1, 0);
    let open = |acceptor: &Acceptor, own: u64| match nack(&prepare(&mut acceptor.clone(), low, own + 1, own)) {
        Some(NackKind::Outbid { open }) => open,
        other => panic!("{other:?}"),
    };
    assert!(open(&after_promise, 0));
    after_promise.on_idle(ballot(4, "C"));
    assert!(open(&after_promise, 0), "an older round is over");
    after_promise.on_idle(rival);
    assert!(!open(&after_promise, 0), "it found nothing");
    let mut after_vote = voted(slot(rival, block(1, 1)));
    assert!(open(&after_vote, 0), "also after a restart");
    after_vote.on_idle(rival);
    assert!(open(&after_vote, 0), "a vote is resolved by its block alone");
    let _ = after_vote.on_applied(Height(0));
    assert!(open(&after_vote, 0));
    let _ = after_vote.on_applied(Height(1));
    assert!(!open(&after_vote, 0) && !open(&after_vote, 1));
    // Its block is known, and not durable yet, when the next round begins, and finds nothing.
    let mut below = voted(slot(rival, block(1, 1)));
    let _ = prepare(&mut below, rival, 2, 1);
    assert!(open(&below, 1));
    below.on_idle(rival);
    assert!(!open(&below, 1));
}

#[test]
fn a_vote_is_unresolved_until_its_height_is_applied() {
    let mut acceptor = voted(slot(ballot(1, "B"), block(1, 1)));
    assert!(acceptor.unresolved(ballot(1, "B"), Height(1)));
    assert!(!acceptor.unresolved(ballot(2, "B"), Height(1)), "another vote is watched by itself");
    assert!(!acceptor.unresolved(ballot(1, "B"), Height(2)));
    let _ = acceptor.on_applied(Height(1));
    assert!(!acceptor.unresolved(ballot(1, "B"), Height(1)));
}

#[test]
fn r13_a_peer_that_has_seen_a_later_promise_or_vote_stops_the_acceptor_for_good() {
    let held = ballot(3, "B");
    let fine = |acceptor: &Acceptor, vote: Option<(u64, u64)>, own: u64| {
        let vote = vote.map(|(round, height)| (ballot(round, "B"), Height(height)));
        acceptor.clone().witness(node("C"), Some(held), vote, Height(own)).is_empty()
    };
    let voted = voted(slot(held, block(1, 1)));
    assert!(fine(&voted, None, 0) && fine(&voted, Some((3, 1)), 0) && fine(&voted, Some((2, 1)), 0));
    assert!(!fine(&voted, Some((2, 2)), 0), "a vote at a height that neither chain nor slot has");
    let promised = Acceptor::new(node("A"), true, Some(held), None);
    assert!(!fine(&promised, Some((3, 1)), 0), "the promise is here, the vote is not");
    assert!(fine(&promised, Some((3, 1)), 1) && fine(&promised, Some((3, 1)), 2), "its block is applied");

    let mut went_back = promised;
    let effects = went_back.witness(node("C"), Some(ballot(4, "B")), None, Height(0));
    let [Effect::Halt(HaltReason::WentBack { peer, known, held: store })] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*peer, node("C"));
    assert_eq!(*known, format!("a promise of {}, a vote of none", ballot(4, "B")));
    assert_eq!(*store, format!("a promise of {held}, a vote of none"));
    assert_eq!(prepare(&mut went_back, ballot(9, "B"), 1, 0), [], "not one message more");
}
