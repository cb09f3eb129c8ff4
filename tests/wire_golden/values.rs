//! What the examples are about: a small bank whose blocks really follow on each other.

use std::sync::Arc;

use paxos_banking::ledger::{Action, Bank, Block, Genesis, Operation, Run};
use paxos_banking::types::{AccountId, Amount, Ballot, Epoch, Height, NodeId, Seq, TransferId};

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

/// The id with that last letter.
pub fn id(last: char) -> TransferId {
    format!("01ARZ3NDEKTSV4RRFFQ69G5FA{last}").parse().unwrap()
}

pub fn transfer(last: char, from: &str, to: &str, amount: u64) -> Operation {
    let action = Action::Transfer { from: account(from), to: account(to), amount: Amount::new(amount) };
    Operation { id: id(last), action }
}

pub fn opening(last: char, name: &str) -> Operation {
    Operation { id: id(last), action: Action::Open { account: account(name) } }
}

pub fn genesis() -> Genesis {
    Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(100)).unwrap()
}

pub fn block_1() -> Block {
    let run = |origin: &str, operations| Run { origin: node(origin), first: Seq(1), operations };
    let a = run("A", vec![transfer('V', "A", "B", 60)]);
    let b = run("B", vec![opening('W', "bob@B"), transfer('X', "B", "bob@B", 30)]);
    Block::new(Height(1), genesis().id(), genesis().state_hash(), vec![a, b]).unwrap()
}

/// The bank after block 1.
pub fn bank_1() -> Bank {
    let mut bank = Bank::new(&genesis());
    bank.advance(bank.check(&block_1()).unwrap());
    bank
}

pub fn block_2() -> Arc<Block> {
    let bank = bank_1();
    let run = Run { origin: node("C"), first: Seq(1), operations: vec![transfer('Y', "C", "A", 10)] };
    let block = Block::new(Height(2), bank.tip(), bank.state(), vec![run]).unwrap();
    bank.check(&block).unwrap();
    Arc::new(block)
}

pub fn ballot() -> Ballot {
    Ballot { round: 3, node: node("B") }
}

pub fn epoch() -> Epoch {
    Epoch { number: 3, token: 70_000 }
}
