use std::collections::BTreeMap;

use super::super::tests::{answer, approved, block, home, home_with, node, request, start, submit, ticket, traces};
use super::*;
use crate::ledger::{Approval, Genesis, HomeLimits, Request, Run, Verdict, Wait};
use crate::store::{Disk, Journal, MemoryStore, RecoverOptions, Recovered, Store, recover};
use crate::types::{Hash, Height, Incarnation, Seq};

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn opening(id: u128, name: &str) -> Opening {
    Opening { id: id.into(), account: account(name), wait: Wait::Local }
}

fn open(home: &mut Home, opening: Opening) -> Vec<Effect<HomeAction>> {
    home.open(ticket(0), opening)
}

fn operation(id: u128, name: &str) -> Operation {
    Operation { id: id.into(), action: Action::Open { account: account(name) } }
}

fn exists(height: u64, name: &str) -> Answer {
    Answer::Refused(Reason::AccountExists { height: Height(height), account: account(name) })
}

fn unknown(height: u64, name: &str) -> Answer {
    Answer::Refused(Reason::UnknownAccount { height: Height(height), account: account(name) })
}

/// A home with its store, so that it can be started again from what it wrote.
struct Desk {
    store: MemoryStore,
    journal: Journal,
    home: Home,
    ids_max: usize,
}

impl Desk {
    fn new(ids_max: usize) -> Self {
        Self::on(Disk::new().open(), ids_max)
    }

    fn on(mut store: MemoryStore, ids_max: usize) -> Self {
        let nodes = ["A", "B", "C"].map(|name| name.parse().unwrap());
        let options = RecoverOptions {
            me: node("A"),
            genesis: Genesis::with_equal_openings(nodes, Amount::new(100)).unwrap(),
            token: 1,
            incarnation: Incarnation(1),
            ids_remembered_max: ids_max,
        };
        let Recovered { home, journal, .. } = recover(&mut store, &options).unwrap();
        let limits = HomeLimits { settle_at_entries: None, ..HomeLimits::default() };
        let (home, effects) = Home::new(node("A"), 2, limits, home).unwrap();
        let mut desk = Self { store, journal, home, ids_max };
        desk.home.set_ready();
        assert_eq!(desk.run(effects), None);
        desk
    }

    fn restart(&mut self) {
        *self = Self::on(self.store.clone(), self.ids_max);
    }

    /// Writes what one step asks for as one write, and returns what it answers.
    fn run(&mut self, effects: Vec<Effect<HomeAction>>) -> Option<Answer> {
        let records = effects.iter().filter_map(|effect| match effect {
            Effect::Persist(record) => Some(record.clone()),
            _ => None,
        });
        let records: Vec<_> = records.collect();
        if !records.is_empty() {
            self.store.write(&self.journal.write(records)).unwrap();
        }
        answer(&effects).cloned()
    }

    fn open(&mut self, id: u128, name: &str) -> Answer {
        let effects = open(&mut self.home, opening(id, name));
        self.run(effects).unwrap()
    }

    fn transfer(&mut self, id: u128, from: &str, to: &str, amount: u64) -> Answer {
        let effects = submit(&mut self.home, Request { from: account(from), ..request(id, to, amount) });
        self.run(effects).unwrap()
    }

    /// Settles the whole log.
    fn settle(&mut self) {
        let block = block(&self.home, None);
        let effects = self.home.apply(&block);
        self.run(effects);
    }

    /// Fills the shelf of the accounts that do not exist: each name is used once, with these ids.
    fn ghosts(&mut self, ids: std::ops::Range<u128>) {
        for id in ids {
            let refused = self.transfer(id, &format!("ghost{id}@A"), "B", 1);
            assert!(matches!(refused, Answer::Refused(Reason::UnknownAccount { .. })), "{refused:?}");
        }
    }
}

#[test]
fn r7_the_entry_of_an_opening_stands_before_the_answer() {
    let mut home = home();
    assert_eq!(
        open(&mut home, opening(1, "new@A")),
        [
            Effect::Persist(Record::Log { first: Seq(1), operations: vec![operation(1, "new@A")] }),
            Effect::Act(HomeAction::Reply(ticket(0), approved(1, None))),
        ]
    );
    assert_eq!(home.spendable().get(&account("new@A")), None, "it does not exist yet");
}

#[test]
fn r10_an_opening_is_approved_once_wherever_the_node_is_restarted() {
    let mut desk = Desk::new(1_000);
    assert_eq!(desk.open(1, "new@A"), approved(1, None));
    for height in [None, Some(1)] {
        if height.is_some() {
            desk.settle();
        }
        assert_eq!(desk.open(1, "new@A"), approved(1, height));
        desk.restart();
        assert_eq!(desk.open(1, "new@A"), approved(1, height));
        assert_eq!(desk.home.last_seq(), Seq(1));
    }
    assert_eq!(desk.home.bank().balance(account("new@A")), Some(Amount::ZERO));
}

#[test]
fn an_account_is_used_once_its_opening_is_settled_and_not_before() {
    let mut desk = Desk::new(1_000);
    desk.open(1, "new@A");
    assert_eq!(desk.transfer(2, "A", "new@A", 30), unknown(0, "new@A"));
    assert_eq!(desk.transfer(3, "new@A", "B", 1), unknown(0, "new@A"));
    desk.settle();
    assert_eq!(desk.transfer(2, "A", "new@A", 30), unknown(0, "new@A"), "R10: a refusal is final");
    assert_eq!(desk.transfer(3, "new@A", "B", 1), unknown(0, "new@A"), "R10: of the new account's as well");
    assert_eq!(desk.transfer(4, "A", "new@A", 30), approved(2, None));
    assert_eq!(desk.transfer(5, "new@A", "B", 10), approved(3, None));
    desk.restart();
    desk.settle();
    assert_eq!(desk.home.bank().balance(account("new@A")), Some(Amount::new(20)));
    assert_eq!(desk.home.spendable()[&account("new@A")], Amount::new(20));
    assert_eq!(desk.transfer(3, "new@A", "B", 1), unknown(0, "new@A"));
}

#[test]
fn r10_an_opening_and_a_transfer_of_the_same_identity_are_a_conflict_both_ways() {
    let mut desk = Desk::new(1_000);
    assert_eq!(desk.transfer(1, "new@A", "B", 5), unknown(0, "new@A"));
    assert_eq!(desk.open(2, "new@A"), approved(1, None));
    for settle in [false, true] {
        if settle {
            desk.settle();
        }
        for _ in 0..2 {
            assert_eq!(desk.open(1, "new@A"), Answer::Conflict);
            assert_eq!(desk.transfer(2, "new@A", "B", 5), Answer::Conflict);
            desk.restart();
        }
    }
    assert_eq!(desk.open(2, "other@A"), approved(2, None), "the account is part of the identity");
}

#[test]
fn r10_an_opening_with_the_identity_of_a_parked_transfer_is_a_conflict() {
    let mut home = home();
    submit(&mut home, request(1, "B", 130));
    assert_eq!(answer(&open(&mut home, opening(1, "A"))), Some(&Answer::Conflict));
    assert_eq!(answer(&open(&mut home, opening(2, "A"))), Some(&exists(0, "A")));
}

#[test]
fn r10_an_account_that_exists_or_is_being_opened_is_refused_durably() {
    let mut home = home();
    let refusal = |id: u128, name: &str| {
        let reason = Reason::AccountExists { height: Height(0), account: account(name) };
        Refusal { id: id.into(), from: account(name), to: account(name), amount: Amount::ZERO, reason }
    };
    open(&mut home, opening(1, "new@A"));
    for (number, name) in [(1, "A"), (2, "new@A")] {
        assert_eq!(
            open(&mut home, opening(9, name)),
            [
                Effect::Persist(Record::Refused { number, refusals: vec![refusal(9, name)] }),
                Effect::Act(HomeAction::Reply(ticket(0), exists(0, name))),
            ]
        );
    }
    let mut desk = Desk::new(1_000);
    assert_eq!(desk.open(1, "new@A"), approved(1, None));
    desk.restart();
    assert_eq!(desk.open(2, "new@A"), exists(0, "new@A"), "the log says so");
    desk.restart();
    desk.settle();
    desk.restart();
    assert_eq!(desk.open(2, "new@A"), exists(0, "new@A"), "the same answer for ever");
    assert_eq!(desk.open(3, "new@A"), exists(1, "new@A"), "the chain says so");
    assert_eq!(desk.open(1, "new@A"), approved(1, Some(1)), "it was this one");
}

#[test]
fn openings_are_refused_by_form_and_pushed_back_as_transfers_are() {
    let limits = HomeLimits { log_entries_max: 1, settle_at_entries: None, ..HomeLimits::default() };
    let (mut early, _) = Home::new(node("A"), 2, limits, start()).unwrap();
    let not_home = Answer::Refused(Reason::NotHome { home: node("B") });
    assert_eq!(answer(&open(&mut early, opening(1, "new@B"))), Some(&not_home));
    assert_eq!(answer(&open(&mut early, opening(1, "new@A"))), Some(&Answer::NotReady));
    let mut home = home_with(limits);
    open(&mut home, opening(1, "new@A"));
    let effects = open(&mut home, opening(2, "more@A"));
    let busy = Effect::Act(HomeAction::Reply(ticket(0), Answer::Busy));
    assert_eq!(effects, [busy, Effect::Act(HomeAction::Settle(0))]);
    assert_eq!(answer(&open(&mut home, opening(1, "new@A"))), Some(&approved(1, None)), "R10: looked up before");
    assert_eq!(answer(&open(&mut home, opening(3, "new@A"))), Some(&exists(0, "new@A")));
    let foreign = Run { origin: node("B"), first: Seq(1), operations: vec![operation(1, "x@B")] };
    let foreign = Block::new(Height(1), Hash::ZERO, Hash::ZERO, vec![foreign]).unwrap();
    let _ = home.apply(&foreign.into());
    assert_eq!(open(&mut home, opening(1, "new@A")), [], "a halted ledger says nothing");
}

#[test]
fn an_opening_that_is_waited_for_is_answered_by_the_block_or_as_approved_so_far() {
    let mut home = home();
    let settled = Opening { wait: Wait::Settled, ..opening(1, "new@A") };
    let effects = open(&mut home, settled);
    assert_eq!((answer(&effects), home.waiting_len()), (None, 1));
    assert_eq!(effects.last(), Some(&Effect::Act(HomeAction::Settle(0))));
    assert_eq!(answer(&home.stop_waiting(&[1].into())), Some(&approved(1, None)));
    open(&mut home, settled);
    let next = block(&home, None);
    assert_eq!(answer(&home.apply(&next)), Some(&approved(1, Some(1))));
    assert_eq!(answer(&open(&mut home, settled)), Some(&approved(1, Some(1))), "at once, now");
}

#[test]
fn r10_what_was_decided_about_a_new_account_outlasts_the_ids_of_accounts_that_do_not_exist() {
    let mut desk = Desk::new(16);
    assert_eq!(desk.transfer(1, "new@A", "B", 5), unknown(0, "new@A"));
    assert_eq!(desk.open(2, "new@A"), approved(1, None));
    assert_eq!(desk.open(3, "new@A"), exists(0, "new@A"));
    desk.settle();
    desk.ghosts(100..200);
    assert!(desk.home.memory.horizon(None) >= Some(100.into()));
    for _ in 0..2 {
        assert_eq!(desk.transfer(1, "new@A", "B", 5), unknown(0, "new@A"));
        assert_eq!(desk.open(2, "new@A"), approved(1, Some(1)));
        assert_eq!(desk.open(3, "new@A"), exists(0, "new@A"));
        desk.restart();
    }
    desk.ghosts(200..300);
    assert_eq!(desk.open(2, "new@A"), approved(1, Some(1)));
    assert_eq!(desk.home.memory.horizon(Some(account("new@A"))), None);
}

#[test]
fn r10_an_opening_that_its_account_has_forgotten_is_expired_and_no_news() {
    let mut desk = Desk::new(16);
    desk.open(1, "new@A");
    desk.settle();
    desk.transfer(2, "A", "new@A", 50);
    desk.settle();
    for id in 10..40 {
        assert!(matches!(desk.transfer(id, "new@A", "B", 1), Answer::Approved(_)));
        desk.settle();
    }
    for _ in 0..2 {
        assert_eq!(desk.open(1, "new@A"), Answer::Expired);
        assert_eq!(desk.open(2, "new@A"), Answer::Expired, "at or below the horizon");
        desk.restart();
    }
    assert_eq!(desk.open(50, "new@A"), exists(32, "new@A"));
}

#[test]
fn r10_a_new_account_inherits_the_horizon_of_those_that_do_not_exist() {
    let mut desk = Desk::new(16);
    desk.ghosts(100..200);
    assert_eq!(desk.open(50, "new@A"), Answer::Expired);
    assert_eq!(desk.open(300, "new@A"), approved(1, None));
    let horizon = desk.home.memory.horizon(None).unwrap();
    desk.settle();
    for _ in 0..2 {
        assert_eq!(desk.home.memory.horizon(Some(account("new@A"))), Some(horizon));
        assert_eq!(desk.open(50, "new@A"), Answer::Expired);
        assert_eq!(desk.transfer(100, "new@A", "B", 1), Answer::Expired);
        assert_eq!(desk.open(300, "new@A"), approved(1, Some(1)));
        desk.restart();
    }
}

#[test]
fn r10_an_opening_in_the_log_is_known_however_much_is_forgotten_around_it() {
    let mut desk = Desk::new(16);
    desk.open(50, "new@A");
    desk.ghosts(100..200);
    for _ in 0..2 {
        assert_eq!(desk.open(50, "new@A"), approved(1, None));
        assert_eq!(desk.open(51, "new@A"), Answer::Expired);
        desk.restart();
    }
    desk.settle();
    assert_eq!(desk.open(50, "new@A"), approved(1, Some(1)));
    desk.restart();
    assert_eq!(desk.open(50, "new@A"), Answer::Expired, "below the horizon that its account inherited, and no news");
}

#[test]
fn r13_a_log_that_opens_what_exists_is_damaged() {
    for log in [vec![operation(1, "A")], vec![operation(1, "new@B")]] {
        let damaged = crate::ledger::HomeStart { log, ..start() };
        assert_eq!(Home::new(node("A"), 2, HomeLimits::default(), damaged).unwrap_err(), Seq(1));
    }
    let twice = vec![operation(1, "new@A"), operation(2, "new@A")];
    let damaged = crate::ledger::HomeStart { log: twice, ..start() };
    assert_eq!(Home::new(node("A"), 2, HomeLimits::default(), damaged).unwrap_err(), Seq(2));
}

#[test]
fn an_opening_is_traced_as_what_it_is() {
    let mut home = home();
    open(&mut home, opening(1, "new@A"));
    open(&mut home, opening(2, "A"));
    submit(&mut home, request(1, "B", 5));
    let by_account: BTreeMap<_, _> = traces(&home, 1).into_iter().map(|trace| (trace.from, trace)).collect();
    let new = &by_account[&account("new@A")];
    assert_eq!((new.to, new.amount, new.opens()), (account("new@A"), Amount::ZERO, Some(account("new@A"))));
    assert_eq!(new.verdict, Verdict::Approved(Approval { origin: node("A"), seq: Seq(1), height: None }));
    assert_eq!(by_account[&account("A")].opens(), None);
    let refused = &traces(&home, 2)[0];
    assert_eq!(refused.opens(), Some(account("A")));
    assert!(matches!(refused.verdict, Verdict::Refused(Reason::AccountExists { .. })));
}
