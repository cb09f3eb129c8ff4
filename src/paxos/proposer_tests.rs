use super::*;
use crate::effect::Slot;
use crate::ledger::{Action, EntryFault, LogOffer, Operation, Run};
use crate::types::{Amount, Seq};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn block(height: u64, amount: u64) -> Arc<Block> {
    let action = Action::Transfer { from: "A".parse().unwrap(), to: "B".parse().unwrap(), amount: Amount::new(amount) };
    let operations = vec![Operation { id: 1.into(), action }];
    let runs = vec![Run { origin: node("A"), first: Seq(1), operations }];
    Arc::new(Block::new(Height(height), Hash::ZERO, Hash::ZERO, runs).unwrap())
}

fn built(block: &Arc<Block>) -> Composition {
    let value = Value::Built(block.clone());
    Composition { value, excluded: BTreeMap::new(), rejected: BTreeMap::new(), left_out: false }
}

/// Proposer A of A, B, C with both links up.
fn proposer() -> Proposer {
    let mut proposer = Proposer::new(node("A"), [node("B"), node("C")], 2, Height(0), None);
    for peer in ["B", "C"] {
        let _ = proposer.on_link(node(peer), true, true);
    }
    proposer
}

fn prepare(round: u64, height: u64, collection: u64) -> Prepare {
    Prepare { ballot: ballot(round, "A"), height: Height(height), collection: CollectionNumber(collection) }
}

fn ballot(round: u64, name: &str) -> Ballot {
    Ballot { round, node: node(name) }
}

fn promise(prepare: Prepare) -> Promise {
    let Prepare { ballot, height, collection } = prepare;
    Promise { ballot, height, collection, accepted: None, log: LogOffer::default() }
}

fn nack(prepare: Prepare, kind: NackKind, promised: Option<Ballot>, height: u64) -> Nack {
    let Prepare { ballot, height: asked, .. } = prepare;
    Nack { ballot, asked, kind, promised, height: Height(height), state: Hash::ZERO }
}

fn sent(actions: &[ProposerAction]) -> Vec<(NodeId, &'static str)> {
    let sent = actions.iter().filter_map(|action| match action {
        ProposerAction::Send(to, message) => Some((*to, message.name())),
        _ => None,
    });
    sent.collect()
}

fn composes(actions: &[ProposerAction]) -> bool {
    actions.iter().any(|action| matches!(action, ProposerAction::Compose(..)))
}

/// Brings the proposer to the point where its block for height 1 is sent.
fn proposing(proposer: &mut Proposer) -> Actions {
    let _ = proposer.on_settle(1);
    for from in ["A", "B", "C"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    proposer.on_composed(CollectionNumber(1), built(&block(1, 1)))
}

#[test]
fn r3_the_own_acceptor_promises_before_anybody_else_hears_of_a_ballot() {
    let mut proposer = proposer();
    assert_eq!(sent(&proposer.on_settle(1)), [(node("A"), "PREPARE")]);
    let actions = proposer.on_promise(node("B"), promise(prepare(1, 1, 1)));
    assert_eq!(actions, [], "nobody else was asked yet");
    let actions = proposer.on_promise(node("A"), promise(prepare(1, 1, 1)));
    assert_eq!(sent(&actions), [(node("B"), "PREPARE"), (node("C"), "PREPARE")]);
}

#[test]
fn r3_a_restarted_proposer_starts_above_what_its_acceptor_promised() {
    let mut proposer = Proposer::new(node("A"), [node("B"), node("C")], 2, Height(0), Some(ballot(7, "B")));
    let actions = proposer.on_settle(1);
    let ProposerAction::Send(_, Message::Prepare(prepare)) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(prepare.ballot, ballot(8, "A"));
}

#[test]
fn r9_beyond_the_majority_every_voting_peer_with_its_link_up_is_waited_for() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    let _ = proposer.on_promise(node("A"), promise(prepare(1, 1, 1)));
    let actions = proposer.on_promise(node("B"), promise(prepare(1, 1, 1)));
    assert_eq!(actions, [ProposerAction::Start(ProposerTimer::Grace)]);
    assert!(proposer.on_nack(node("C"), nack(prepare(1, 1, 1), NackKind::Behind, None, 0)).is_empty());
    let mut link_down = proposer.clone();
    assert!(composes(&link_down.on_link(node("C"), false, true)));
    let mut no_voter = proposer.clone();
    assert!(composes(&no_voter.on_link(node("C"), true, false)));
    let mut patient = proposer.clone();
    assert!(composes(&patient.on_timer(ProposerTimer::Grace)));
    assert!(composes(&proposer.on_promise(node("C"), promise(prepare(1, 1, 1)))));
}

#[test]
fn r9_the_outcome_names_who_was_not_heard_and_an_adopted_block_allows_no_refusal() {
    let mut proposer = proposer();
    let _ = proposer.on_link(node("C"), false, true);
    let _ = proposer.on_settle(4);
    for from in ["A", "B"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    let mut adopting = proposer.clone();
    let _ = proposer.on_composed(CollectionNumber(1), built(&block(1, 1)));
    let mut overtaken = proposer.clone();
    let not_heard = Some(BTreeSet::from([node("C")]));
    let done = ProposerAction::Done(CollectionOutcome { began: 4, not_heard });
    assert_eq!(proposer.on_applied(Height(1), block(1, 1).hash()), [done]);
    let done = ProposerAction::Done(CollectionOutcome { began: 4, not_heard: None });
    assert_eq!(overtaken.on_applied(Height(1), block(1, 9).hash()), [done], "a rival's block came instead");
    let adopted = Composition { value: Value::Adopted(block(1, 1)), ..built(&block(1, 1)) };
    let _ = adopting.on_composed(CollectionNumber(1), adopted);
    let done = ProposerAction::Done(CollectionOutcome { began: 4, not_heard: None });
    assert_eq!(adopting.on_applied(Height(1), block(1, 1).hash()), [done]);
}

#[test]
fn r9_a_collection_that_finds_nothing_is_announced_and_answers() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    for from in ["A", "B", "C"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    let nothing = Composition { value: Value::Nothing, ..built(&block(1, 1)) };
    let actions = proposer.on_composed(CollectionNumber(1), nothing);
    assert_eq!(sent(&actions), [(node("B"), "IDLE"), (node("C"), "IDLE"), (node("A"), "IDLE")]);
    let done = CollectionOutcome { began: 1, not_heard: Some(BTreeSet::new()) };
    assert_eq!(actions.last(), Some(&ProposerAction::Done(done)));
}

#[test]
fn r6_one_block_per_ballot_and_height() {
    let mut proposer = proposer();
    let first = proposing(&mut proposer);
    let votes = |actions: &[ProposerAction]| {
        let blocks = actions.iter().filter_map(|action| match action {
            ProposerAction::Send(_, Message::Accept(accept)) => Some((accept.ballot, accept.block.hash())),
            _ => None,
        });
        blocks.collect::<BTreeSet<_>>()
    };
    assert_eq!(votes(&first), BTreeSet::from([(ballot(1, "A"), block(1, 1).hash())]));
    assert_eq!(votes(&proposer.on_timer(ProposerTimer::Repeat)), votes(&first), "it is repeated as it was");
    let late =
        Promise { accepted: Some(Slot { ballot: ballot(1, "C"), block: block(1, 9) }), ..promise(prepare(1, 1, 1)) };
    assert_eq!(proposer.on_promise(node("C"), late), [], "a late PROMISE changes nothing");
    // An acceptor that is ahead ends the round; until that height is here, only a higher ballot may try it again.
    let _ = proposer.on_nack(node("B"), nack(prepare(1, 1, 1), NackKind::Ahead, None, 1));
    let again = proposer.on_timer(ProposerTimer::Wait { attempt: 0 });
    let ProposerAction::Send(_, Message::Prepare(again)) = &again[0] else { panic!("{again:?}") };
    assert_eq!((again.ballot, again.height), (ballot(2, "A"), Height(1)));
}

/// Brings the proposer to height 1, where it keeps its ballot, and begins its second collection.
fn collecting_under_a_kept_ballot(proposer: &mut Proposer) -> Actions {
    let _ = proposing(proposer);
    let _ = proposer.on_applied(Height(1), block(1, 1).hash());
    assert_eq!((proposer.height(), proposer.ballot()), (Height(1), Some(ballot(1, "A"))));
    proposer.on_settle(2)
}

#[test]
fn r6_the_ballot_is_kept_for_the_next_height_and_a_stale_collection_does_not_count() {
    let mut proposer = proposer();
    let actions = collecting_under_a_kept_ballot(&mut proposer);
    let prepares = ["B", "C", "A"].map(|to| ProposerAction::Send(node(to), Message::Prepare(prepare(1, 2, 2))));
    assert_eq!(actions[..3], prepares, "all at once: its own acceptor promised this ballot before");
    assert_eq!(actions[3..], [ProposerAction::Start(ProposerTimer::Repeat)]);
    let _ = proposer.on_promise(node("A"), promise(prepare(1, 2, 2)));
    for stale in [prepare(1, 2, 1), prepare(1, 1, 2), prepare(2, 2, 2)] {
        assert_eq!(proposer.on_promise(node("B"), promise(stale)), []);
    }
}

#[test]
fn r9_a_majority_of_peers_is_not_enough_without_this_nodes_own_log() {
    let mut proposer = proposer();
    let _ = collecting_under_a_kept_ballot(&mut proposer);
    assert_eq!(proposer.on_promise(node("B"), promise(prepare(1, 2, 2))), []);
    let mut without_c = proposer.clone();
    let grace = [ProposerAction::Start(ProposerTimer::Grace)];
    assert_eq!(without_c.on_promise(node("A"), promise(prepare(1, 2, 2))), grace, "the peer has its grace");
    assert_eq!(proposer.on_promise(node("C"), promise(prepare(1, 2, 2))), []);
    assert_eq!(proposer.on_timer(ProposerTimer::Grace), [], "no time-out stands for this node's own log");
    assert_eq!(proposer.on_link(node("C"), false, true), []);
    let again = proposer.on_timer(ProposerTimer::Repeat);
    assert_eq!(sent(&again), [(node("A"), "PREPARE")], "its own acceptor may have been too busy to answer");
    let actions = proposer.on_promise(node("A"), promise(prepare(1, 2, 2)));
    let [ProposerAction::Compose(CollectionNumber(2), candidates)] = &actions[..] else { panic!("{actions:?}") };
    assert!(candidates.keys().eq(&["A", "B", "C"].map(node)));
}

#[test]
fn r9_the_grace_runs_from_the_majority_on_while_this_nodes_disk_works() {
    let peers = ["B", "C", "D", "E"].map(node);
    let mut proposer = Proposer::new(node("A"), peers, 3, Height(0), None);
    for peer in peers {
        let _ = proposer.on_link(peer, true, true);
    }
    let _ = proposer.on_settle(1);
    for from in ["A", "B", "C", "D", "E"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    let _ = proposer.on_composed(CollectionNumber(1), built(&block(1, 1)));
    let _ = proposer.on_applied(Height(1), block(1, 1).hash());
    let _ = proposer.on_settle(2);
    let promises = ["B", "C", "D"].map(|from| proposer.on_promise(node(from), promise(prepare(1, 2, 2))));
    assert_eq!(promises, [vec![], vec![], vec![ProposerAction::Start(ProposerTimer::Grace)]]);
    assert_eq!(proposer.on_timer(ProposerTimer::Grace), []);
    assert!(composes(&proposer.on_promise(node("A"), promise(prepare(1, 2, 2)))));
}

#[test]
fn a_kept_ballot_that_was_outbid_meanwhile_is_given_up_whoever_says_so() {
    let outbid = |open| nack(prepare(1, 2, 2), NackKind::Outbid { open }, Some(ballot(2, "B")), 1);
    for from in ["A", "B"] {
        let mut proposer = proposer();
        let _ = collecting_under_a_kept_ballot(&mut proposer);
        let _ = proposer.on_promise(node("C"), promise(prepare(1, 2, 2)));
        let mut rival_is_done = proposer.clone();
        let wait = [ProposerAction::Start(ProposerTimer::Wait { attempt: 1 })];
        assert_eq!(proposer.on_nack(node(from), outbid(true)), wait);
        let actions = rival_is_done.on_nack(node(from), outbid(false));
        let higher = Message::Prepare(prepare(3, 2, 3));
        assert_eq!(actions[0], ProposerAction::Send(node("A"), higher), "R3: a new ballot, to its own acceptor");
        assert_eq!(sent(&actions).len(), 1);
        assert_eq!(rival_is_done.on_promise(node("B"), promise(prepare(1, 2, 2))), [], "of the ballot that was lost");
    }
}

#[test]
fn a_block_that_its_own_acceptor_knows_already_ends_a_collection_under_a_kept_ballot() {
    let mut proposer = proposer();
    let _ = collecting_under_a_kept_ballot(&mut proposer);
    let mut told_first = proposer.clone();
    let done = [ProposerAction::Done(CollectionOutcome { began: 2, not_heard: None })];
    let ahead = nack(prepare(1, 2, 2), NackKind::Ahead, Some(ballot(1, "A")), 2);
    assert_eq!(told_first.on_applied(Height(2), Hash::ZERO), done);
    assert_eq!(told_first.on_nack(node("A"), ahead), []);
    let wait = [ProposerAction::Start(ProposerTimer::Wait { attempt: 0 })];
    assert_eq!(proposer.on_nack(node("A"), ahead), wait, "there is no gap");
    assert_eq!(proposer.on_applied(Height(2), Hash::ZERO), done);
}

#[test]
fn a_proposer_that_is_outbid_waits_for_the_winners_block() {
    let mut proposer = proposer();
    let _ = proposing(&mut proposer);
    let winner = Some(ballot(2, "B"));
    let actions = proposer.on_nack(node("B"), nack(prepare(1, 1, 1), NackKind::Outbid { open: true }, winner, 0));
    assert_eq!(actions, [ProposerAction::Start(ProposerTimer::Wait { attempt: 1 })]);
    assert_eq!(proposer.on_settle(2), [], "and does not outbid it");
    let mut winner_died = proposer.clone();
    let actions = winner_died.on_timer(ProposerTimer::Wait { attempt: 1 });
    let ProposerAction::Send(_, Message::Prepare(higher)) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(higher.ballot, ballot(3, "A"));
    let mut winner_idle = proposer.clone();
    let done = ProposerAction::Done(CollectionOutcome { began: 1, not_heard: None });
    let idle = Idle { ballot: ballot(2, "B"), height: Height(1) };
    assert_eq!(winner_idle.on_idle(idle), std::slice::from_ref(&done));
    assert_eq!(proposer.on_applied(Height(1), block(1, 9).hash()), [done]);
}

#[test]
fn a_proposer_waits_where_the_rivals_round_is_open_and_where_its_own_block_may_be_what_the_others_finish() {
    let wait = [ProposerAction::Start(ProposerTimer::Wait { attempt: 1 })];
    let outbid = |open| nack(prepare(1, 1, 1), NackKind::Outbid { open }, Some(ballot(2, "B")), 0);
    let mut collecting = proposer();
    let _ = collecting.on_settle(1);
    let _ = collecting.on_promise(node("A"), promise(prepare(1, 1, 1)));
    assert_eq!(collecting.on_nack(node("B"), outbid(true)), wait);
    let mut sent_its_block = proposer();
    let _ = proposing(&mut sent_its_block);
    assert_eq!(sent_its_block.on_nack(node("B"), outbid(false)), wait);
}

#[test]
fn a_ballot_left_over_from_a_finished_round_is_topped_at_once() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    let over = nack(prepare(1, 1, 1), NackKind::Outbid { open: false }, Some(ballot(5, "C")), 0);
    let actions = proposer.on_nack(node("A"), over);
    let ProposerAction::Send(_, Message::Prepare(higher)) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(higher.ballot, ballot(6, "A"));
}

#[test]
fn r2_a_greater_height_is_reconciled_first_and_then_the_ledger_looks_again() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    let _ = proposer.on_promise(node("A"), promise(prepare(1, 1, 1)));
    let actions = proposer.on_nack(node("B"), nack(prepare(1, 1, 1), NackKind::Ahead, None, 3));
    assert_eq!(actions[0], ProposerAction::Gap(node("B"), Height(3)));
    assert_eq!(proposer.on_applied(Height(1), Hash::ZERO), []);
    let done = ProposerAction::Done(CollectionOutcome { began: 1, not_heard: None });
    assert_eq!(proposer.on_applied(Height(3), Hash::ZERO), [done]);
}

#[test]
fn r5_a_majority_that_calls_the_block_invalid_halts_the_proposer() {
    let mut proposer = proposer();
    let _ = proposing(&mut proposer);
    let invalid = nack(prepare(1, 1, 1), NackKind::Invalid, None, 0);
    assert_eq!(proposer.on_nack(node("B"), invalid), []);
    let actions = proposer.on_nack(node("C"), invalid);
    assert_eq!(actions, [ProposerAction::Halt(HaltReason::InvalidForMajority(Height(1)))]);
}

#[test]
fn r5_promises_that_do_not_fit_are_replaced_by_another_majority() {
    let mut proposer = proposer();
    let _ = proposer.on_link(node("C"), false, true);
    let _ = proposer.on_settle(1);
    for from in ["A", "B"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    let fault = crate::ledger::BlockFault::Height { found: Height(1), next: Height(1) };
    let undecided =
        Composition { value: Value::Undecided, excluded: BTreeMap::from([(node("B"), fault)]), ..built(&block(1, 1)) };
    assert_eq!(proposer.on_composed(CollectionNumber(1), undecided), []);
    assert_eq!(proposer.on_promise(node("B"), promise(prepare(1, 1, 1))), [], "excluded for this collection");
    assert_eq!(sent(&proposer.on_link(node("C"), true, true)), [(node("C"), "PREPARE")]);
    let actions = proposer.on_promise(node("C"), promise(prepare(1, 1, 1)));
    let [ProposerAction::Compose(_, candidates)] = &actions[..] else { panic!("{actions:?}") };
    assert!(candidates.keys().eq(&[node("A"), node("C")]), "the one that does not fit is out");
}

#[test]
fn a_rivals_round_at_this_height_is_waited_for_and_a_finished_one_is_not() {
    let mut proposer = proposer();
    proposer.on_overtaken(ballot(3, "B"), Height(1));
    assert_eq!(proposer.on_settle(1), [ProposerAction::Start(ProposerTimer::Wait { attempt: 0 })]);
    let _ = proposer.on_applied(Height(1), Hash::ZERO);
    let actions = proposer.on_settle(2);
    let ProposerAction::Send(_, Message::Prepare(higher)) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((higher.ballot, higher.height), (ballot(4, "A"), Height(2)));
}

#[test]
fn r9_a_promise_that_does_not_count_is_not_heard() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    for name in ["A", "B", "C"] {
        let _ = proposer.on_promise(node(name), promise(prepare(1, 1, 1)));
    }
    let fault = crate::ledger::BlockFault::UnknownOrigin { origin: node("Z") };
    let composition = Composition {
        value: Value::Nothing,
        excluded: BTreeMap::from([(node("C"), fault)]),
        rejected: BTreeMap::new(),
        left_out: false,
    };
    let actions = proposer.on_composed(CollectionNumber(1), composition);
    let done = actions.iter().find_map(|action| match action {
        ProposerAction::Done(done) => Some(done.clone()),
        _ => None,
    });
    assert_eq!(done.unwrap().not_heard, Some(BTreeSet::from([node("C")])));
}

#[test]
fn r9_entries_left_out_allow_no_refusal_and_a_rejected_entry_is_told_and_not_heard() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    for from in ["A", "B", "C"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    let (mut left_out, stale) =
        (proposer.clone(), proposer.clone().on_composed(CollectionNumber(0), built(&block(1, 1))));
    assert_eq!(stale, [], "the answer to an older collection");
    let fault = EntryFault::Overdraft;
    let rejected = Composition { rejected: BTreeMap::from([(node("B"), (Seq(4), fault))]), ..built(&block(1, 1)) };
    let actions = proposer.on_composed(CollectionNumber(1), rejected);
    let failed = Message::EntryFailed(EntryFailed { seq: Seq(4), fault });
    assert_eq!(actions[0], ProposerAction::Send(node("B"), failed));
    let done = CollectionOutcome { began: 1, not_heard: Some(BTreeSet::from([node("B")])) };
    assert_eq!(proposer.on_applied(Height(1), block(1, 1).hash()), [ProposerAction::Done(done)]);
    let _ = left_out.on_composed(CollectionNumber(1), Composition { left_out: true, ..built(&block(1, 1)) });
    let done = CollectionOutcome { began: 1, not_heard: None };
    assert_eq!(left_out.on_applied(Height(1), block(1, 1).hash()), [ProposerAction::Done(done)]);
}

#[test]
fn what_is_unanswered_is_repeated_to_whom_it_concerns() {
    let mut proposer = proposer();
    let repeat = |proposer: &Proposer| sent(&proposer.clone().on_timer(ProposerTimer::Repeat));
    let of_link = |proposer: &Proposer, peer: &str| sent(&proposer.clone().on_link(node(peer), true, true));
    assert_eq!(proposer.clone().on_timer(ProposerTimer::Repeat), [], "nothing is under way, and the timer ends");
    let _ = proposer.on_settle(1);
    assert_eq!(repeat(&proposer), [(node("A"), "PREPARE")]);
    assert_eq!(of_link(&proposer, "B"), [], "R3: nobody else is asked yet");
    let _ = proposer.on_promise(node("A"), promise(prepare(1, 1, 1)));
    assert_eq!(repeat(&proposer), [(node("B"), "PREPARE"), (node("C"), "PREPARE")]);
    assert_eq!(of_link(&proposer, "B"), [(node("B"), "PREPARE")]);
    let _ = proposer.on_promise(node("B"), promise(prepare(1, 1, 1)));
    assert_eq!(repeat(&proposer), [(node("C"), "PREPARE")]);
    let again = proposer.on_timer(ProposerTimer::Repeat);
    assert_eq!(again.last(), Some(&ProposerAction::Start(ProposerTimer::Repeat)));
    let mut alone = proposer.clone();
    let _ = alone.on_link(node("C"), false, true);
    assert_eq!(repeat(&alone), [], "who is away is asked when it is back");
    let _ = proposer.on_promise(node("C"), promise(prepare(1, 1, 1)));
    let _ = proposer.on_composed(CollectionNumber(1), built(&block(1, 1)));
    assert_eq!(repeat(&proposer), [(node("B"), "ACCEPT"), (node("C"), "ACCEPT"), (node("A"), "ACCEPT")]);
    assert_eq!(of_link(&proposer, "B"), [(node("B"), "ACCEPT")]);
}

#[test]
fn a_grace_that_ran_out_before_the_majority_was_there_ends_nothing() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    let _ = proposer.on_promise(node("A"), promise(prepare(1, 1, 1)));
    assert_eq!(proposer.on_timer(ProposerTimer::Grace), [], "that of an earlier collection");
    assert_eq!(
        proposer.on_promise(node("B"), promise(prepare(1, 1, 1))),
        [ProposerAction::Start(ProposerTimer::Grace)]
    );
    assert_eq!(proposer.on_promise(node("B"), promise(prepare(1, 1, 1))), [], "it runs already");
}

#[test]
fn a_rivals_round_at_another_height_is_not_waited_for() {
    let mut proposer = proposer();
    proposer.on_overtaken(ballot(3, "B"), Height(2));
    assert_eq!(sent(&proposer.clone().on_settle(1)), [(node("A"), "PREPARE")]);
    let _ = proposer.on_applied(Height(1), Hash::ZERO);
    assert_eq!(proposer.on_settle(1), [ProposerAction::Start(ProposerTimer::Wait { attempt: 0 })]);
}

#[test]
fn an_idle_ends_the_wait_for_its_own_round_only() {
    let mut proposer = proposer();
    proposer.on_overtaken(ballot(3, "B"), Height(1));
    let idle = |round, height| Idle { ballot: ballot(round, "B"), height: Height(height) };
    let mut older = proposer.clone();
    assert_eq!(older.on_idle(idle(2, 1)), []);
    assert_eq!(older.on_settle(1), [ProposerAction::Start(ProposerTimer::Wait { attempt: 0 })]);
    assert_eq!(older.on_idle(idle(3, 2)), [], "at another height");
    assert_eq!(older.ballot(), None);
    assert_eq!(proposer.on_idle(idle(3, 1)), []);
    assert_eq!(sent(&proposer.on_settle(1)), [(node("A"), "PREPARE")], "nobody is at work any more");
}

#[test]
fn each_wait_in_a_row_is_longer_until_a_block_comes() {
    let mut proposer = proposer();
    proposer.on_overtaken(ballot(3, "B"), Height(1));
    let wait = |attempt| [ProposerAction::Start(ProposerTimer::Wait { attempt })];
    assert_eq!(proposer.on_settle(1), wait(0));
    for attempt in 0..3 {
        let outdated = ProposerTimer::Wait { attempt: attempt + 7 };
        assert_eq!(proposer.on_timer(outdated), [], "the timer of another wait");
        let actions = proposer.on_timer(ProposerTimer::Wait { attempt });
        let ProposerAction::Send(_, Message::Prepare(lost)) = actions[0] else { panic!("{actions:?}") };
        let actions = proposer.on_nack(node("A"), nack(lost, NackKind::Ahead, None, 1));
        assert_eq!(actions, wait(attempt + 1), "that its own acceptor is ahead is no gap");
    }
    let _ = proposer.on_applied(Height(1), Hash::ZERO);
    proposer.on_overtaken(ballot(9, "B"), Height(2));
    assert_eq!(proposer.on_settle(1), wait(0));
}

#[test]
fn a_block_of_another_at_the_height_of_a_collection_ends_it_and_allows_no_refusal() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(4);
    let done = ProposerAction::Done(CollectionOutcome { began: 4, not_heard: None });
    for from in ["A", "B", "C"] {
        assert_eq!(proposer.clone().on_applied(Height(1), Hash::ZERO), std::slice::from_ref(&done));
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    assert_eq!(proposer.on_applied(Height(1), Hash::ZERO), [done]);
    assert_eq!(proposer.on_composed(CollectionNumber(1), built(&block(1, 1))), [], "what is composed comes too late");
}

#[test]
fn a_block_below_the_height_of_a_round_does_not_end_it() {
    let mut proposer = proposer();
    let _ = proposer.on_settle(1);
    assert_eq!(proposer.on_applied(Height(0), Hash::ZERO), [], "while it collects");
    for from in ["A", "B", "C"] {
        let _ = proposer.on_promise(node(from), promise(prepare(1, 1, 1)));
    }
    let _ = proposer.on_composed(CollectionNumber(1), built(&block(1, 1)));
    assert_eq!(proposer.on_applied(Height(0), Hash::ZERO), [], "while it proposes");
    assert_eq!(proposer.on_applied(Height(1), block(1, 1).hash()).len(), 1);
}
