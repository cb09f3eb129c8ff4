use super::*;
use crate::ledger::{Action, Block, Run};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn account(number: usize) -> AccountId {
    format!("a{number}@A").parse().unwrap()
}

fn genesis(accounts: usize) -> Genesis {
    let opening = (0..accounts).map(|number| (account(number), Amount::new(10)));
    Genesis::new(["A", "B", "C"].map(node), opening).unwrap()
}

fn transfer(id: u64) -> Operation {
    let action = Action::Transfer { from: account(0), to: account(1), amount: Amount::new(1) };
    Operation { id: u128::from(id).into(), action }
}

/// A home's state after `blocks` blocks of two entries each.
fn state(genesis: &Genesis, blocks: u64) -> (Bank, Memory, SettledAt) {
    let (mut bank, mut memory, mut settled_at) = (Bank::new(genesis), Memory::new(1_000), SettledAt::default());
    for number in 0..blocks {
        let first = bank.watermark(node("A")).next();
        let run = Run { origin: node("A"), first, operations: vec![transfer(first.0), transfer(first.0 + 1)] };
        run.entries().for_each(|entry| memory.approved(bank.balances(), &entry.operation, entry.seq));
        let block = Block::new(Height(number + 1), bank.tip(), bank.state(), vec![run]).unwrap();
        bank.advance(bank.check(&block).unwrap());
        settled_at.note(bank.watermark(node("A")), block.height());
    }
    (bank, memory, settled_at)
}

fn whole(genesis: &Genesis, blocks: u64, after: u64) -> Checkpoint {
    let (bank, memory, settled_at) = state(genesis, blocks);
    let tail = settled_at.last_up_to(Seq(after));
    Checkpoint::joined(Checkpoint::parts(&bank, &memory, &settled_at, tail, 3)).unwrap()
}

#[test]
fn what_it_tells_is_the_state_less_the_entries_that_the_blocks_tell() {
    let genesis = genesis(3);
    let (bank, memory, _) = state(&genesis, 5);
    let mut checkpoint = whole(&genesis, 5, 5);
    checkpoint.tidy(&memory);
    assert_eq!(checkpoint.bank(&genesis).unwrap(), bank);
    // Seq 5 is in the third block, so that the second is the last below it.
    assert_eq!((checkpoint.at.tail_seq, checkpoint.at.tail), (Seq(4), Height(2)));
    assert_eq!(checkpoint.approvals, [1, 2, 3, 4].map(|seq| (Seq(seq), transfer(seq))));
    assert_eq!(checkpoint.settled, [(Seq(2), Height(1)), (Seq(4), Height(2))]);
    assert_eq!(checkpoint.settled_at().height_of(Seq(3)), Some(Height(2)));
}

#[test]
fn what_it_tells_of_an_opening_is_an_opening() {
    let (genesis, opened) = (genesis(2), account(7));
    let (bank, mut memory, settled_at) = state(&genesis, 1);
    let opening = Operation { id: 9.into(), action: Action::Open { account: opened } };
    memory.approved(bank.balances(), &opening, Seq(3));
    let parts = Checkpoint::parts(&bank, &memory, &settled_at, (Seq(3), Height(1)), 100);
    assert!(parts[0].approvals.contains(&(Seq(3), opening)) && parts[0].approvals.contains(&(Seq(1), transfer(1))));
}

#[test]
fn what_was_forgotten_since_is_not_remembered_again() {
    let genesis = genesis(2);
    let mut checkpoint = whole(&genesis, 2, 4);
    let mut memory = Memory::new(100);
    memory.raise_horizon(Some(account(0)), 3.into());
    checkpoint.tidy(&memory);
    assert_eq!(checkpoint.approvals, [(Seq(4), transfer(4))]);
}

#[test]
fn a_large_one_comes_in_parts_of_bounded_size_and_only_those_of_one_fit_together() {
    let genesis = genesis(27);
    let (bank, memory, settled_at) = state(&genesis, 2);
    let parts = Checkpoint::parts(&bank, &memory, &settled_at, settled_at.last_up_to(Seq(4)), 10);
    let rows = |part: &Checkpoint| part.balances.len() + part.approvals.len() + part.settled.len();
    assert_eq!(parts.iter().map(rows).collect::<Vec<_>>(), [10, 10, 10, 3]);
    let mut joined = Checkpoint::joined(parts.clone()).unwrap();
    assert_eq!(joined.bank(&genesis).unwrap(), bank);
    let other = whole(&genesis, 3, 0);
    assert!(joined.join(other).unwrap_err().contains("height 3, not 2"));
    assert!(Checkpoint::joined(parts[1..].to_vec()).unwrap().bank(&genesis).is_err(), "without its beginning");
}

#[test]
fn r12_one_that_tells_of_more_or_less_money_or_of_another_bank_is_refused() {
    let genesis = genesis(3);
    let changed = |change: fn(&mut Checkpoint)| {
        let mut checkpoint = whole(&genesis, 2, 0);
        change(&mut checkpoint);
        checkpoint.bank(&genesis).unwrap_err()
    };
    assert!(changed(|found| found.balances[0].1 = Amount::new(11)).contains("do not add up to the bank's 30"));
    assert!(changed(|found| found.balances.truncate(2)).contains("do not add up"));
    assert!(changed(|found| found.balances[0].1 = Amount::new(u64::MAX)).contains("do not add up"));
    assert!(changed(|found| found.balances.push((account(0), Amount::ZERO))).contains("twice"));
    assert!(changed(|found| found.balances.push(("x@Z".parse().unwrap(), Amount::ZERO))).contains("x@Z"));
    assert!(changed(|found| found.at.watermarks.retain(|name, _| *name != node("A"))).contains("other nodes"));
}
