use super::*;
use crate::ledger::{Action, Reason, Request, Wait};
use crate::types::Amount;

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn request(id: u128, from: &str, amount: u64) -> Request {
    Request { id: id.into(), from: account(from), to: account("B"), amount: Amount::new(amount), wait: Wait::Local }
}

/// Of those whose accounts the requests name, some exist and some do not.
fn existing() -> Existing {
    ["A", "B"].map(|name| (account(name), Amount::ZERO)).into_iter().collect()
}

fn approve(memory: &mut Memory, id: u128, from: &str, seq: u64) {
    let Request { id, from, to, amount, .. } = request(id, from, 1);
    memory.approved(&existing(), &Operation { id, action: Action::Transfer { from, to, amount } }, Seq(seq));
}

fn look_up(memory: &Memory, owner: Owner, request: &Request) -> Lookup {
    memory.look_up(&existing(), owner, (request.id, request.from), Content::transfer(request.to, request.amount))
}

fn refusal(id: u128, from: &str) -> Refusal {
    let Request { id, from, to, amount, .. } = request(id, from, 1);
    Refusal { id, from, to, amount, reason: Reason::UnknownAccount { height: Default::default(), account: from } }
}

#[test]
fn r10_the_same_identity_has_one_outcome_and_other_content_is_a_conflict() {
    let mut memory = Memory::new(100);
    assert!(memory.is_empty());
    approve(&mut memory, 7, "A", 1);
    assert!(!memory.is_empty());
    let look_up = |from: &str, amount| look_up(&memory, Some(account(from)), &request(7, from, amount));
    assert_eq!(look_up("A", 1), Lookup::Decided(Outcome::Approved(Seq(1))));
    assert_eq!(look_up("A", 2), Lookup::Conflict);
    assert_eq!(look_up("x@A", 1), Lookup::New, "the debit account is part of the identity");
}

#[test]
fn r10_a_flood_on_one_account_expires_nothing_of_another() {
    let mut memory = Memory::new(100);
    approve(&mut memory, 1, "quiet@A", 1);
    for id in 1_000..2_000 {
        approve(&mut memory, id, "loud@A", id as u64);
        memory.trim(Seq(u64::MAX));
    }
    assert!(memory.len() <= 100);
    let quiet = request(1, "quiet@A", 1);
    assert_eq!(look_up(&memory, Some(quiet.from), &quiet), Lookup::Decided(Outcome::Approved(Seq(1))));
    let forgotten = request(1_000, "loud@A", 1);
    assert_eq!(look_up(&memory, Some(forgotten.from), &forgotten), Lookup::Expired);
    let unknown_but_old = request(3, "quiet@A", 1);
    assert_eq!(look_up(&memory, Some(unknown_but_old.from), &unknown_but_old), Lookup::New);
}

#[test]
fn r10_a_refusal_that_was_forgotten_is_not_remembered_again_by_a_restart() {
    let mut memory = Memory::new(100);
    memory.raise_horizon(Some(account("A")), 5.into());
    memory.load_record(1, &[refusal(5, "A"), refusal(6, "A")], |_| true);
    assert_eq!(look_up(&memory, Some(account("A")), &request(5, "A", 1)), Lookup::Expired);
    assert!(matches!(look_up(&memory, Some(account("A")), &request(6, "A", 1)), Lookup::Decided(_)));
}

#[test]
fn r10_what_is_in_the_local_log_is_never_forgotten() {
    let mut memory = Memory::new(16);
    for id in 1..=40 {
        approve(&mut memory, id, "A", id as u64);
        memory.trim(Seq(0));
    }
    assert_eq!((memory.len(), memory.horizon(Some(account("A")))), (40, None));
    memory.trim(Seq(30));
    assert_eq!((memory.len(), memory.horizon(Some(account("A")))), (16, Some(24.into())));
}

#[test]
fn invented_debit_accounts_share_one_shelf() {
    let mut memory = Memory::new(20);
    approve(&mut memory, 1, "A", 1);
    for number in 1..100u64 {
        let refusal = refusal(u128::from(number), &format!("ghost{number}@A"));
        memory.refused(&refusal, false);
        memory.close_record();
        memory.trim(Seq(9));
        memory.drop_dead_records();
    }
    assert!(memory.len() <= 20 && memory.shelves.len() == 1);
    assert!(memory.records.len() <= 20);
    assert_eq!(memory.horizon(Some(account("A"))), None);
    let ghost = request(1, "ghost1@A", 1);
    assert_eq!(look_up(&memory, None, &ghost), Lookup::Expired);
    let first = request(1, "new@A", 1);
    assert_eq!(look_up(&memory, Some(first.from), &first), Lookup::New, "their horizon is not that of an account");
}

#[test]
fn one_old_refusal_does_not_keep_a_long_tail_of_records() {
    let mut memory = Memory::new(16);
    memory.load_record(1, &[refusal(u128::MAX, "quiet@A")], |_| true);
    let mut longest = 0;
    for id in 2..1_000u64 {
        let mut refusals = memory.carry_over();
        refusals.push(refusal(id.into(), "loud@A"));
        refusals.iter().for_each(|refusal| memory.refused(refusal, true));
        memory.close_record();
        memory.trim(Seq(0));
        memory.drop_dead_records();
        longest = longest.max(memory.records.len());
    }
    assert!(longest <= 70, "{longest} records for {} refusals", memory.len());
    let kept = request(u128::MAX, "quiet@A", 1);
    assert!(matches!(look_up(&memory, Some(kept.from), &kept), Lookup::Decided(_)));
}

#[test]
fn r10_what_the_shared_shelf_knows_of_an_account_moves_when_it_is_opened() {
    let mut memory = Memory::new(16);
    let opened = account("new@A");
    let opening = Operation { id: 5.into(), action: Action::Open { account: opened } };
    memory.opening_approved(&opening, Seq(1));
    for (id, from) in [(3, "new@A"), (4, "ghost@A")] {
        memory.refused(&refusal(id, from), false);
        memory.close_record();
    }
    memory.give_shelves(&BTreeSet::from([opened]));
    for id in 100..200 {
        memory.refused(&refusal(id, &format!("ghost{id}@A")), false);
        memory.close_record();
        memory.trim(Seq(1));
        memory.drop_dead_records();
    }
    assert!(memory.horizon(None) >= Some(100.into()) && memory.horizon(Some(opened)).is_none());
    let content = Content::of(&opening);
    assert_eq!(
        memory.look_up(&existing(), Some(opened), (5.into(), opened), content),
        Lookup::Decided(Outcome::Approved(Seq(1)))
    );
    let refused = look_up(&memory, Some(opened), &request(3, "new@A", 1));
    assert!(matches!(refused, Lookup::Decided(Outcome::Refused(_, 1))));
    assert_eq!(look_up(&memory, None, &request(4, "ghost@A", 1)), Lookup::Expired);
    assert_eq!(memory.records.keys().next(), Some(&1), "the record of the refusal that moved is live");
}

#[test]
fn r10_an_opening_in_the_local_log_is_not_forgotten_with_the_accounts_that_do_not_exist() {
    let mut memory = Memory::new(16);
    let opening = Operation { id: 1.into(), action: Action::Open { account: account("new@A") } };
    memory.opening_approved(&opening, Seq(1));
    for id in 100..200 {
        memory.refused(&refusal(id, &format!("ghost{id}@A")), false);
        memory.close_record();
        memory.trim(Seq(0));
    }
    let look_up =
        |memory: &Memory| memory.look_up(&existing(), None, (1.into(), account("new@A")), Content::of(&opening));
    assert_eq!(look_up(&memory), Lookup::Decided(Outcome::Approved(Seq(1))));
    assert!(memory.len() <= 16);
}

/// What is counted is there, and each record names as live the refusals that rest on it, and no other.
fn assert_consistent(memory: &Memory) {
    let shelves = memory.shelves.iter().map(|(_, shelf)| shelf.len()).sum::<usize>() + memory.shared.len();
    assert_eq!(memory.len(), shelves);
    for (number, record) in &memory.records {
        let is_live = |(exists, key): &&(bool, Identity)| {
            let known = memory.shelf(exists.then_some(key.1)).and_then(|shelf| shelf.get(key, &existing()));
            known.is_some_and(|(_, outcome)| outcome.record() == Some(*number))
        };
        assert_eq!(record.all.0.iter().filter(is_live).collect::<BTreeSet<_>>().len(), record.live, "in {number}");
    }
    let existing = existing();
    let found = |id: u128| {
        let own = memory.find_among(&existing, id.into(), 0..memory.accounts_len());
        memory.find_shared(id.into()).chain(own).collect::<Vec<_>>()
    };
    let refused = (0..100).flat_map(found).filter(|(_, _, outcome)| matches!(outcome, Outcome::Refused(..))).count();
    let live: usize = memory.records.values().map(|record| record.live).sum();
    assert_eq!((refused, refused), (live, memory.refused), "each refusal is live in one record");
}

#[test]
fn r10_counts_and_records_stay_true_whatever_is_decided_opened_and_forgotten() {
    for seed in 0..20 {
        let mut entropy = crate::entropy::Entropy::from_seed(seed);
        let (mut memory, mut open) = (Memory::new(30), BTreeSet::new());
        for step in 0..400 {
            let name = ["A", "x@A", "y@A", "z@A"][usize::try_from(entropy.below(4)).unwrap()];
            let (id, from) = (u128::from(entropy.below(100)), account(name));
            let exists = name == "A" || open.contains(&from);
            match entropy.below(16) {
                0..=5 => memory.refused(&refusal(id, name), exists),
                6..=11 if exists => approve(&mut memory, id, name, step),
                12 if open.insert(from) => memory.give_shelves(&BTreeSet::from([from])),
                13 => {
                    let carried = memory.carry_over();
                    carried.iter().for_each(|refusal| memory.refused(refusal, open.contains(&refusal.from)));
                }
                14 => {
                    let _ = memory.drop_dead_records();
                    assert!(memory.records.first_key_value().is_none_or(|(_, record)| record.live > 0));
                }
                _ => {
                    memory.close_record();
                    let raised = memory.trim(Seq(u64::MAX));
                    assert!(memory.len() <= 30, "all can be forgotten");
                    assert!(raised.iter().all(|(owner, id)| memory.horizon(*owner) == Some(*id)));
                }
            }
            if step % 8 == 0 {
                assert_consistent(&memory);
            }
        }
    }
}

#[test]
fn r10_the_accounts_with_the_most_ids_forget_and_only_as_much_as_is_needed() {
    let left = |capacity, ids: [u128; 3]| {
        let mut memory = Memory::new(capacity);
        for (name, ids) in ["A", "x@A", "y@A"].into_iter().zip(ids) {
            (1..=ids).for_each(|id| approve(&mut memory, id, name, id as u64));
        }
        memory.trim(Seq(u64::MAX));
        ["A", "x@A", "y@A"].map(|name| memory.shelves[&account(name)].len())
    };
    assert_eq!(left(70, [60, 10, 10]), [50, 10, 10], "only as much as is needed");
    let [most, next, least] = left(100, [60, 50, 5]);
    assert_eq!((most + next, least), (95, 5));
    assert!(most.abs_diff(next) <= next / 4, "the fullest, until another is nearly as full: {most} and {next}");
    assert_eq!(left(20, [8, 8, 8]).iter().sum::<usize>(), 20, "small ones give too");
    assert_eq!(
        left(2_048, [2_000, 40, 40]),
        [1_966, 40, 40],
        "of many a little more, so that this is not due at once again"
    );
    assert_eq!(left(24, [8, 8, 8]), [8, 8, 8], "as many as fit stay");
}

#[test]
fn the_numbers_of_records_go_on_where_they_were() {
    let mut memory = Memory::new(16);
    assert_eq!([memory.close_record(), memory.close_record()], [1, 2]);
    memory.load_record(7, &[refusal(1, "A")], |_| true);
    assert_eq!(memory.close_record(), 8);
    memory.continue_records_at(20);
    memory.continue_records_at(3);
    assert_eq!([memory.close_record(), memory.close_record()], [20, 21]);
}

#[test]
fn leading_records_without_a_live_refusal_are_dropped_and_the_first_that_stays_is_named() {
    let mut memory = Memory::new(16);
    assert_eq!(memory.drop_dead_records(), None);
    for id in [1, 2, 1] {
        memory.refused(&refusal(id, "A"), true);
        memory.close_record();
    }
    assert_eq!((memory.drop_dead_records(), memory.drop_dead_records()), (Some(2), None), "the first came again in 3");
    for id in [1, 2] {
        approve(&mut memory, id, "A", 1);
    }
    assert_eq!(memory.drop_dead_records(), Some(4), "none is live: the next number");
}

#[test]
fn no_refusal_is_carried_over_while_the_records_are_few_for_what_they_hold() {
    let mut memory = Memory::new(1_000);
    let mut refuse = |id: u64| {
        memory.refused(&refusal(id.into(), "A"), true);
        memory.close_record();
        memory.carry_over().len()
    };
    // Ids 2 to 41 are refused a second time, so that 40 records are dead behind the first one.
    let carried: usize = (1..=60).chain(2..=41).map(&mut refuse).sum();
    assert_eq!(carried, 0, "100 records for 60 refusals");
    assert_eq!((2..=41).map(&mut refuse).max(), Some(1), "140 records: the oldest holds them all back");
}
