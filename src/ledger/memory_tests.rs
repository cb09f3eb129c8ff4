use super::*;
use crate::ledger::Wait;

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn request(id: u128, from: &str, amount: u64) -> Request {
    Request { id: id.into(), from: account(from), to: account("B"), amount: Amount::new(amount), wait: Wait::Local }
}

fn approve(memory: &mut Memory, id: u128, from: &str, seq: u64) {
    memory.approved(id.into(), account(from), account("B"), Amount::new(1), Seq(seq));
}

fn refusal(id: u128, from: &str) -> Refusal {
    let Request { id, from, to, amount, .. } = request(id, from, 1);
    Refusal { id, from, to, amount, reason: Reason::UnknownAccount { height: Default::default(), account: from } }
}

#[test]
fn r10_the_same_identity_has_one_outcome_and_other_content_is_a_conflict() {
    let mut memory = Memory::new(100);
    approve(&mut memory, 7, "A", 1);
    let look_up = |from: &str, amount| memory.look_up(Some(account(from)), &request(7, from, amount));
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
    assert_eq!(memory.look_up(Some(quiet.from), &quiet), Lookup::Decided(Outcome::Approved(Seq(1))));
    let forgotten = request(1_000, "loud@A", 1);
    assert_eq!(memory.look_up(Some(forgotten.from), &forgotten), Lookup::Expired);
    let unknown_but_old = request(3, "quiet@A", 1);
    assert_eq!(memory.look_up(Some(unknown_but_old.from), &unknown_but_old), Lookup::New);
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
    assert!(memory.len() <= 20 && memory.shelves.len() == 2);
    assert!(memory.records.len() <= 20);
    assert_eq!(memory.horizon(Some(account("A"))), None);
    let ghost = request(1, "ghost1@A", 1);
    assert_eq!(memory.look_up(None, &ghost), Lookup::Expired);
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
    assert!(matches!(memory.look_up(Some(kept.from), &kept), Lookup::Decided(_)));
}
