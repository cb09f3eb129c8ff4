use super::*;
use crate::ledger::{Action, Request, Wait};

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn request(id: u128, from: &str, amount: u64) -> Request {
    Request { id: id.into(), from: account(from), to: account("B"), amount: Amount::new(amount), wait: Wait::Local }
}

fn approve(memory: &mut Memory, id: u128, from: &str, seq: u64) {
    let Request { id, from, to, amount, .. } = request(id, from, 1);
    memory.approved(&Operation { id, action: Action::Transfer { from, to, amount } }, Seq(seq), true);
}

fn look_up(memory: &Memory, owner: Owner, request: &Request) -> Lookup {
    memory.look_up(owner, (request.id, request.from), Content::transfer(request.to, request.amount))
}

fn refusal(id: u128, from: &str) -> Refusal {
    let Request { id, from, to, amount, .. } = request(id, from, 1);
    Refusal { id, from, to, amount, reason: Reason::UnknownAccount { height: Default::default(), account: from } }
}

#[test]
fn r10_the_same_identity_has_one_outcome_and_other_content_is_a_conflict() {
    let mut memory = Memory::new(100);
    approve(&mut memory, 7, "A", 1);
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
    assert_eq!((memory.len(), memory.horizon(Some(account("A")))), (15, Some(25.into())));
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
    memory.approved(&opening, Seq(1), false);
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
    assert_eq!(memory.look_up(Some(opened), (5.into(), opened), content), Lookup::Decided(Outcome::Approved(Seq(1))));
    let refused = look_up(&memory, Some(opened), &request(3, "new@A", 1));
    assert!(matches!(refused, Lookup::Decided(Outcome::Refused(_, 1))));
    assert_eq!(look_up(&memory, None, &request(4, "ghost@A", 1)), Lookup::Expired);
    assert_eq!(memory.records.keys().next(), Some(&1), "the record of the refusal that moved is live");
}

#[test]
fn r10_an_opening_in_the_local_log_is_not_forgotten_with_the_accounts_that_do_not_exist() {
    let mut memory = Memory::new(16);
    let opening = Operation { id: 1.into(), action: Action::Open { account: account("new@A") } };
    memory.approved(&opening, Seq(1), false);
    for id in 100..200 {
        memory.refused(&refusal(id, &format!("ghost{id}@A")), false);
        memory.close_record();
        memory.trim(Seq(0));
    }
    let look_up = |memory: &Memory| memory.look_up(None, (1.into(), account("new@A")), Content::of(&opening));
    assert_eq!(look_up(&memory), Lookup::Decided(Outcome::Approved(Seq(1))));
    assert!(memory.len() <= 16);
}
