use super::*;
use crate::ledger::{Action, Genesis, Reason, Run, Trace};

pub(super) fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(super) fn start() -> HomeStart {
    let nodes = ["A", "B", "C"].map(|name| name.parse().unwrap());
    let bank = Bank::new(&Genesis::with_equal_openings(nodes, Amount::new(100)).unwrap());
    HomeStart { bank, log: Vec::new(), memory: Memory::new(1_000), settled_at: SettledAt::default(), saved: 0 }
}

pub(super) fn home_with(limits: HomeLimits) -> Home {
    let (mut home, effects) = Home::new(node("A"), 2, limits, start()).unwrap();
    assert_eq!(effects, []);
    home.set_ready();
    home
}

pub(super) fn home() -> Home {
    home_with(HomeLimits { settle_at_entries: None, ..HomeLimits::default() })
}

pub(super) fn request(id: u128, to: &str, amount: u64) -> Request {
    Request {
        id: id.into(),
        from: "A".parse().unwrap(),
        to: to.parse().unwrap(),
        amount: Amount::new(amount),
        wait: Wait::Local,
    }
}

pub(super) fn ticket(index: u32) -> Ticket {
    Ticket { batch: 1, index }
}

pub(super) fn submit(home: &mut Home, request: Request) -> Vec<Effect<HomeAction>> {
    home.submit([(ticket(0), request)])
}

/// All that a home knows of an id.
pub(super) fn traces(home: &Home, id: u128) -> Vec<Trace> {
    let mut tracing = home.trace(id.into());
    std::iter::repeat_with(|| home.go_on_tracing(&mut tracing)).find_map(|found| found).unwrap()
}

pub(super) fn answer(effects: &[Effect<HomeAction>]) -> Option<&Answer> {
    effects.iter().find_map(|effect| match effect {
        Effect::Act(HomeAction::Reply(_, answer)) => Some(answer),
        _ => None,
    })
}

pub(super) fn approved(seq: u64, height: Option<u64>) -> Answer {
    Answer::Approved(Approval { origin: node("A"), seq: Seq(seq), height: height.map(Height) })
}

/// The next block over `home`, of its own log and one transfer from B.
pub(super) fn block(home: &Home, from_b: Option<Operation>) -> Arc<Block> {
    let mut runs = Vec::new();
    if home.log().len() > 0 {
        let operations = home.log().copied().collect();
        runs.push(Run { origin: node("A"), first: home.log_first(), operations });
    }
    if let Some(operation) = from_b {
        let first = home.bank().watermark(node("B")).next();
        runs.push(Run { origin: node("B"), first, operations: vec![operation] });
    }
    let bank = home.bank();
    Arc::new(Block::new(bank.height().next(), bank.tip(), bank.state(), runs).unwrap())
}

pub(super) fn from_b(id: u128, to: &str, amount: u64) -> Operation {
    let action = Action::Transfer { from: "B".parse().unwrap(), to: to.parse().unwrap(), amount: Amount::new(amount) };
    Operation { id: id.into(), action }
}

#[test]
fn r7_the_entry_stands_before_the_answer() {
    let mut home = home();
    let effects = home.submit([(ticket(0), request(1, "B", 60)), (ticket(1), request(2, "C", 40))]);
    let operations = home.log().copied().collect();
    assert_eq!(
        effects,
        [
            Effect::Persist(Record::Log { first: Seq(1), operations }),
            Effect::Act(HomeAction::Reply(ticket(0), approved(1, None))),
            Effect::Act(HomeAction::Reply(ticket(1), approved(2, None))),
        ]
    );
    assert_eq!(home.spendable()[&"A".parse().unwrap()], Amount::ZERO);
}

#[test]
fn a_shortage_is_parked_and_approved_once_a_block_brings_the_money() {
    let mut home = home();
    assert_eq!(submit(&mut home, request(1, "C", 130)), [Effect::Act(HomeAction::Settle(1))]);
    let block = block(&home, Some(from_b(9, "A", 30)));
    let effects = home.apply(&block);
    assert_eq!(effects[0], Effect::Persist(Record::Block(block.clone())));
    assert!(matches!(effects[1], Effect::Persist(Record::Log { first: Seq(1), .. })));
    assert!(matches!(effects[2], Effect::Act(HomeAction::Applied { .. })));
    assert_eq!(effects[3], Effect::Act(HomeAction::Reply(ticket(0), approved(1, None))));
    assert_eq!(home.parked_len(), 0);
}

#[test]
fn r9_only_a_collection_that_began_after_the_request_and_left_nothing_out_refuses() {
    let mut home = home();
    submit(&mut home, request(1, "C", 130));
    submit(&mut home, request(2, "C", 140));
    let not_heard = BTreeSet::from([node("C")]);
    let unclean = home.collection_done(2, None);
    assert_eq!(unclean, [Effect::Act(HomeAction::Settle(2))], "no refusal rests on an adopted block");
    let effects = home.collection_done(1, Some(&not_heard));
    let reason =
        Reason::InsufficientFunds { height: Height(0), spendable: Amount::new(100), not_heard: not_heard.clone() };
    assert!(matches!(effects[0], Effect::Persist(Record::Refused { number: 1, .. })));
    assert_eq!(effects[1], Effect::Act(HomeAction::Reply(ticket(0), Answer::Refused(reason))));
    assert_eq!(effects[2], Effect::Act(HomeAction::Settle(2)), "the later request waits for a later collection");
    assert_eq!(home.parked_len(), 1);
}

#[test]
fn r10_a_request_in_flight_is_joined_by_its_twin_and_answered_with_it() {
    let mut home = home();
    submit(&mut home, request(1, "C", 130));
    assert_eq!(home.submit([(ticket(1), request(1, "C", 130))]), []);
    assert_eq!(answer(&submit(&mut home, request(1, "C", 131))), Some(&Answer::Conflict));
    let effects = home.collection_done(1, Some(&BTreeSet::new()));
    let replies = effects.iter().filter(|effect| matches!(effect, Effect::Act(HomeAction::Reply(..)))).count();
    assert_eq!(replies, 2);
    let again = submit(&mut home, request(1, "C", 130));
    assert!(matches!(answer(&again), Some(Answer::Refused(Reason::InsufficientFunds { .. }))));
    assert_eq!(again.len(), 1, "nothing is written for an answer that is remembered");
}

#[test]
fn r10_an_approved_id_is_never_executed_twice() {
    let mut home = home();
    submit(&mut home, request(1, "B", 60));
    assert_eq!(answer(&submit(&mut home, request(1, "B", 60))), Some(&approved(1, None)));
    let next = block(&home, None);
    let _ = home.apply(&next);
    assert_eq!(answer(&submit(&mut home, request(1, "B", 60))), Some(&approved(1, Some(1))));
    assert_eq!(answer(&submit(&mut home, request(1, "B", 61))), Some(&Answer::Conflict));
    assert_eq!(home.last_seq(), Seq(1));
}

#[test]
fn a_client_that_waits_for_settled_is_answered_by_the_block() {
    let mut home = home();
    let effects = submit(&mut home, Request { wait: Wait::Settled, ..request(1, "B", 60) });
    assert_eq!(answer(&effects), None);
    assert_eq!(effects.last(), Some(&Effect::Act(HomeAction::Settle(0))));
    let next = block(&home, None);
    assert_eq!(answer(&home.apply(&next)), Some(&approved(1, Some(1))));
}

#[test]
fn refusals_by_form_need_no_memory_and_no_readiness() {
    let (mut home, _) = Home::new(node("A"), 2, HomeLimits::default(), start()).unwrap();
    let mut refused = |request| match answer(&submit(&mut home, request)) {
        Some(Answer::Refused(reason)) => reason.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(request(1, "B", 0)), "amount_zero");
    assert_eq!(refused(request(1, "A", 5)), "same_account");
    assert_eq!(refused(Request { from: "B".parse().unwrap(), ..request(1, "A", 5) }), "not_home");
    assert_eq!(answer(&submit(&mut home, request(1, "B", 5))), Some(&Answer::NotReady));
}

#[test]
fn an_unknown_account_is_refused_durably() {
    let mut home = home();
    let effects = submit(&mut home, request(1, "nobody@B", 5));
    assert!(matches!(effects[0], Effect::Persist(Record::Refused { .. })));
    assert!(matches!(answer(&effects), Some(Answer::Refused(Reason::UnknownAccount { .. }))));
}

#[test]
fn at_its_bounds_a_home_pushes_back() {
    let limits = HomeLimits { log_entries_max: 2, waiting_max: 1, settle_at_entries: None, ..HomeLimits::default() };
    let mut home = home_with(limits);
    for id in 1..=2 {
        submit(&mut home, request(id, "B", 1));
    }
    let effects = submit(&mut home, request(3, "B", 1));
    assert_eq!(
        effects[..],
        [Effect::Act(HomeAction::Reply(ticket(0), Answer::Busy)), Effect::Act(HomeAction::Settle(0)),]
    );
    let mut home = home_with(limits);
    submit(&mut home, request(1, "B", 500));
    assert_eq!(answer(&submit(&mut home, request(2, "B", 500))), Some(&Answer::Busy));
    assert_eq!(answer(&submit(&mut home, request(1, "B", 500))), Some(&Answer::Busy));
}

#[test]
fn r5_a_chosen_block_that_does_not_follow_halts() {
    let mut home = home();
    let bank = home.bank();
    let runs = vec![Run { origin: node("B"), first: Seq(1), operations: vec![from_b(1, "A", 1)] }];
    let foreign = Arc::new(Block::new(Height(1), Hash::ZERO, bank.state(), runs).unwrap());
    let effects = home.apply(&foreign);
    assert!(matches!(effects[..], [Effect::Halt(HaltReason::Diverged(_))]));
    let mut requests = vec![(ticket(0), request(1, "B", 1)); 99].into_iter();
    assert_eq!(home.submit(requests.by_ref()), [], "a halted ledger says nothing");
    assert_eq!(requests.len(), 0, "and leaves nobody with what it does not decide");
}

#[test]
fn r13_an_own_entry_that_the_log_does_not_hold_halts() {
    let mut home = home();
    let operation = Operation { action: from_b(1, "C", 1).action, id: 1.into() };
    let Action::Transfer { to, amount, .. } = operation.action else { unreachable!() };
    let own = Operation { id: 1.into(), action: Action::Transfer { from: "A".parse().unwrap(), to, amount } };
    let runs = vec![Run { origin: node("A"), first: Seq(1), operations: vec![own] }];
    let bank = home.bank();
    let block = Arc::new(Block::new(Height(1), bank.tip(), bank.state(), runs).unwrap());
    assert_eq!(home.apply(&block), [Effect::Halt(HaltReason::ForeignOwnEntry(Seq(1)))]);
}

#[test]
fn r13_a_peer_that_has_seen_more_halts() {
    let mut home = home();
    submit(&mut home, request(1, "B", 1));
    assert_eq!(home.witness(node("B"), Height(0), Seq(1)), []);
    for (height, seq) in [(0, 2), (1, 1), (1, 0)] {
        let effects = home.clone().witness(node("B"), Height(height), Seq(seq));
        let [Effect::Halt(HaltReason::WentBack { known, held, .. })] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!((known.as_str(), held.as_str()), (&*format!("height {height}, seq {seq}"), "height 0, seq 1"));
    }
}

#[test]
fn a_restart_from_the_same_records_gives_the_same_answers() {
    let mut home = home();
    submit(&mut home, request(1, "B", 60));
    let next = block(&home, None);
    let _ = home.apply(&next);
    submit(&mut home, request(2, "C", 30));
    let mut memory = Memory::new(1_000);
    let Request { id, from, to, amount, .. } = request(1, "B", 60);
    let operation = Operation { id, action: Action::Transfer { from, to, amount } };
    memory.approved(home.bank().balances(), &operation, Seq(1));
    let settled_at = SettledAt::from_iter([(Seq(1), Height(1))]);
    let stored =
        HomeStart { bank: home.bank().clone(), log: home.log().copied().collect(), memory, settled_at, saved: 0 };
    let (mut again, _) = Home::new(node("A"), 2, home.limits, stored).unwrap();
    again.set_ready();
    assert_eq!(again.spendable(), home.spendable());
    for (id, to, amount) in [(1, "B", 60), (2, "C", 30), (2, "C", 31), (3, "C", 10)] {
        let request = request(id, to, amount);
        assert_eq!(submit(&mut again, request), submit(&mut home, request));
    }
    let mut damaged = start();
    damaged.log = vec![*home.log().next().unwrap(); 4];
    assert_eq!(Home::new(node("A"), 2, HomeLimits::default(), damaged).unwrap_err(), Seq(4));
}

#[test]
fn r10_what_an_account_was_refused_is_not_forgotten_for_invented_ones() {
    let limits = HomeLimits { settle_at_entries: None, ..HomeLimits::default() };
    let start = HomeStart { memory: Memory::new(16), ..start() };
    let (mut home, _) = Home::new(node("A"), 2, limits, start).unwrap();
    home.set_ready();
    let first = request(1, "nobody@B", 5);
    let Some(refused @ Answer::Refused(_)) = answer(&submit(&mut home, first)).cloned() else { panic!("approved") };
    for id in 2..60 {
        submit(&mut home, Request { from: "ghost@A".parse().unwrap(), ..request(id, "B", 5) });
    }
    let told = [Effect::Act(HomeAction::Reply(ticket(0), refused))];
    assert_eq!(submit(&mut home, first), told, "it is remembered, and not decided again");
}

#[test]
fn r10_busy_decides_nothing_so_an_entry_that_stands_is_told() {
    let mut home = home_with(HomeLimits { settling_max: 1, settle_at_entries: None, ..HomeLimits::default() });
    submit(&mut home, request(1, "B", 500));
    let settled = |id| Request { wait: Wait::Settled, ..request(id, "B", 10) };
    assert_eq!(answer(&submit(&mut home, settled(2))), None, "who waits to be decided takes no place of these");
    assert_eq!(answer(&submit(&mut home, settled(3))), Some(&approved(2, None)), "approved, not yet settled");
    let next = block(&home, None);
    let _ = home.apply(&next);
    assert_eq!(answer(&submit(&mut home, settled(4))), None, "there is room again");
}

#[test]
fn r5_an_own_entry_that_a_peer_cannot_apply_halts_unless_it_is_settled_since() {
    let mut home = home();
    submit(&mut home, request(1, "B", 1));
    let next = block(&home, None);
    let _ = home.apply(&next);
    submit(&mut home, request(2, "B", 1));
    let fault = EntryFault::Overdraft;
    assert_eq!(home.own_entry_failed(Seq(1), fault), [], "a message that came late");
    let halt = Effect::Halt(HaltReason::OwnEntryFailed { seq: Seq(2), fault });
    assert_eq!(home.own_entry_failed(Seq(2), fault), [halt]);
    assert_eq!(home.own_entry_failed(Seq(2), fault), [], "it has stopped");
}

#[test]
fn r5_a_proposed_block_is_tried_and_trying_it_changes_nothing() {
    let mut home = home();
    let before = home.clone();
    let good = block(&home, Some(from_b(1, "A", 100)));
    let overdraft = block(&home, Some(from_b(1, "A", 101)));
    assert_eq!(home.check(&good), Ok(()));
    assert!(matches!(home.check(&overdraft), Err(BlockFault::Entry { fault: EntryFault::Overdraft, .. })));
    assert_eq!(home.check(&good), Ok(()));
    assert_eq!(home, before, "that one was found to pass is no part of the state");
}

#[test]
fn a_promise_offers_as_much_of_the_log_as_a_block_holds_and_says_so() {
    for (room, offered) in
        [(3 * OPERATION_BYTES_MAX, 3), (4 * OPERATION_BYTES_MAX, 4), (9 * OPERATION_BYTES_MAX, 4), (0, 1)]
    {
        let mut home =
            home_with(HomeLimits { block_bytes_max: room, settle_at_entries: None, ..HomeLimits::default() });
        for id in 1..=4 {
            submit(&mut home, request(id, "B", 1));
        }
        let offer = home.offer();
        assert_eq!((offer.first, offer.operations.len(), offer.truncated), (Seq(1), offered, offered < 4), "{room}");
        assert!(offer.operations.iter().eq(home.log().take(offered)));
    }
}

#[test]
fn a_home_settles_once_its_log_has_grown_to_the_limit() {
    let mut home = home_with(HomeLimits { settle_at_entries: Some(2), ..HomeLimits::default() });
    assert_eq!(submit(&mut home, request(1, "B", 1)).len(), 2, "the entry and the answer");
    assert_eq!(submit(&mut home, request(2, "B", 1)).last(), Some(&Effect::Act(HomeAction::Settle(0))));
}

#[test]
fn what_waits_is_neither_approved_over_the_bound_of_the_log_nor_refused_for_it() {
    let mut home = home_with(HomeLimits { log_entries_max: 1, settle_at_entries: None, ..HomeLimits::default() });
    submit(&mut home, request(1, "C", 130));
    submit(&mut home, request(2, "B", 20));
    let bank = home.bank();
    let runs = vec![Run { origin: node("B"), first: Seq(1), operations: vec![from_b(9, "A", 100)] }];
    let of_b_alone = Arc::new(Block::new(Height(1), bank.tip(), bank.state(), runs).unwrap());
    assert_eq!(answer(&home.apply(&of_b_alone)), None, "covered now, but the log is full");
    assert_eq!(answer(&home.collection_done(1, Some(&BTreeSet::new()))), None, "R9: there are the funds");
    let of_its_own = block(&home, None);
    assert_eq!(answer(&home.apply(&of_its_own)), Some(&approved(2, None)));
}

#[test]
fn a_halted_ledger_applies_no_block_and_believes_none_that_it_knows_already() {
    let mut home = home();
    let first = block(&home, Some(from_b(9, "A", 30)));
    let mut halted = home.clone();
    let _ = halted.witness(node("B"), Height(9), Seq(9));
    assert_eq!(halted.apply(&first), []);
    assert_ne!(home.apply(&first), []);
    assert_eq!(home.apply(&first), [], "known already");
}
