//! The hash of a block covers all of it, and the blocks of a chain hold together.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use paxos_banking::ledger::{Action, Bank, Block, Genesis, Operation, Replay, Run};
use paxos_banking::types::{AccountId, Amount, Hash, Height, NodeId, Seq, TransferId};
use paxos_banking_proofs::values;
use proptest::prelude::*;
use proptest::sample::Index;

/// The parts that a block is made of.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    height: Height,
    parent: Hash,
    state: Hash,
    runs: Vec<Run>,
}

impl Parts {
    fn block(&self) -> Option<Block> {
        let Self { height, parent, state, runs } = self.clone();
        Block::new(height, parent, state, runs).ok()
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    (1..=u64::MAX, values::hash(), values::hash(), values::runs()).prop_map(|(height, parent, state, runs)| Parts {
        height: Height(height),
        parent,
        state,
        runs,
    })
}

/// What is put in the place of something.
#[derive(Clone, Debug)]
struct Other {
    number: u64,
    hash: Hash,
    node: NodeId,
    account: AccountId,
    operation: Operation,
    run: Index,
    place: Index,
}

fn other() -> impl Strategy<Value = Other> {
    let places = (any::<Index>(), any::<Index>());
    (values::number(), values::hash(), values::node(), values::account(), values::operation(), places).prop_map(
        |(number, hash, node, account, operation, (run, place))| Other {
            number,
            hash,
            node,
            account,
            operation,
            run,
            place,
        },
    )
}

/// Each way to change one thing of a block.
fn changes(parts: &Parts, other: &Other) -> Vec<Parts> {
    let mut changed = vec![
        Parts { height: Height(other.number), ..parts.clone() },
        Parts { parent: other.hash, ..parts.clone() },
        Parts { state: other.hash, ..parts.clone() },
        Parts { parent: parts.state, state: parts.parent, ..parts.clone() },
    ];
    let run = other.run.index(parts.runs.len());
    let mut in_run = |change: &dyn Fn(&mut Run)| {
        let mut parts = parts.clone();
        change(&mut parts.runs[run]);
        changed.push(parts);
    };
    let place = other.place.index(parts.runs[run].operations.len());
    in_run(&|run| run.origin = other.node);
    in_run(&|run| run.first = Seq(other.number));
    in_run(&|run| run.operations.push(other.operation));
    in_run(&|run| run.operations.insert(place, other.operation));
    in_run(&|run| run.operations[place] = other.operation);
    in_run(&|run| {
        run.operations.remove(place);
    });
    in_run(&|run| run.operations.rotate_left(1));
    in_run(&|run| run.operations[place].id = TransferId::from(u128::from(other.number)));
    in_run(&|run| match &mut run.operations[place].action {
        Action::Transfer { from, .. } => *from = other.account,
        Action::Open { account } => *account = other.account,
    });
    in_run(&|run| match &mut run.operations[place].action {
        Action::Transfer { to, .. } => *to = other.account,
        Action::Open { account } => {
            let (from, to, amount) = (*account, *account, Amount::new(other.number));
            run.operations[place].action = Action::Transfer { from, to, amount };
        }
    });
    in_run(&|run| match &mut run.operations[place].action {
        Action::Transfer { amount, .. } => *amount = Amount::new(other.number),
        Action::Open { .. } => {}
    });
    in_run(&|run| match &mut run.operations[place].action {
        Action::Transfer { from, to, .. } => std::mem::swap(from, to),
        Action::Open { .. } => {}
    });
    // The same operations, distributed over the runs in another way.
    if let [one, two, ..] = &parts.runs[..] {
        let (mut one, mut two) = (one.clone(), two.clone());
        two.operations.insert(0, one.operations.pop().unwrap());
        let runs = [one, two].into_iter().chain(parts.runs[2..].iter().cloned()).collect();
        changed.push(Parts { runs, ..parts.clone() });
    }
    changed.push(Parts { runs: parts.runs[1..].to_vec(), ..parts.clone() });
    changed
}

/// A chain of blocks that follow on each other, out of transfers between the accounts of three nodes.
fn chain() -> impl Strategy<Value = (Genesis, Vec<Arc<Block>>)> {
    let names = ["A", "B", "C"].map(|name| name.parse::<NodeId>().unwrap());
    let transfers = prop::collection::vec((0..3usize, 0..2usize, 1..20u64, any::<u128>()), 1..5);
    prop::collection::vec(transfers, 2..8).prop_map(move |blocks| {
        let genesis = Genesis::with_equal_openings(names, Amount::new(1_000)).unwrap();
        let (mut bank, mut chain) = (Bank::new(&genesis), Vec::new());
        for transfers in blocks {
            let run = |origin: usize| {
                let of_origin = transfers.iter().filter(|(from, ..)| *from == origin);
                let operations = of_origin.map(|(from, step, amount, id)| {
                    let (from, to) = (names[*from], names[(from + 1 + step) % 3]);
                    let (from, to) = (AccountId::of_node(from), AccountId::of_node(to));
                    let action = Action::Transfer { from, to, amount: Amount::new(*amount) };
                    Operation { id: TransferId::from(*id), action }
                });
                let first = bank.watermark(names[origin]).next();
                Run { origin: names[origin], first, operations: operations.collect() }
            };
            let runs = (0..3).map(run).filter(|run| !run.operations.is_empty()).collect();
            let block = Block::new(bank.height().next(), bank.tip(), bank.state(), runs).unwrap();
            bank.advance(bank.check(&block).unwrap());
            chain.push(Arc::new(block));
        }
        (genesis, chain)
    })
}

proptest! {
    #[test]
    fn a_change_of_anything_in_a_block_changes_its_hash(parts in parts(), other in other()) {
        let block = parts.block().unwrap();
        prop_assert_eq!(block.hash(), parts.block().unwrap().hash());
        let mut differed = 0;
        for changed in changes(&parts, &other) {
            // What is left may be no block, or the change may have changed nothing.
            let Some(changed_block) = changed.block() else { continue };
            prop_assert_eq!(changed_block.hash() == block.hash(), changed == parts, "{:?}", changed);
            differed += usize::from(changed != parts);
        }
        prop_assert!(differed >= 4, "only {} changes", differed);
    }

    #[test]
    fn a_chain_computed_again_comes_to_its_tip((genesis, chain) in chain()) {
        let mut replay = Replay::new(&genesis);
        for block in &chain {
            prop_assert_eq!(block.parent(), replay.tip());
            prop_assert_eq!(block.state(), replay.bank().state());
            prop_assert_eq!(replay.apply(block), Ok(()));
        }
        prop_assert_eq!(replay.tip(), chain.last().unwrap().hash());
    }

    #[test]
    fn a_block_that_is_altered_is_refused_or_cuts_off_all_that_follow(
        (genesis, chain) in chain(), at in any::<Index>(), other in other(),
    ) {
        let at = at.index(chain.len() - 1);
        let block = &chain[at];
        let (height, parent, state, runs) = (block.height(), block.parent(), block.state(), block.runs().to_vec());
        let parts = Parts { height, parent, state, runs };
        for changed in changes(&parts, &other).into_iter().filter(|changed| *changed != parts) {
            let Some(altered) = changed.block() else { continue };
            let mut replay = Replay::new(&genesis);
            for block in &chain[..at] {
                prop_assert_eq!(replay.apply(block), Ok(()));
            }
            if replay.apply(&Arc::new(altered)).is_ok() {
                prop_assert!(replay.apply(&chain[at + 1]).is_err(), "{:?}", changed);
            } else {
                prop_assert_eq!(replay.height(), Height(at as u64), "what is refused changes nothing");
                prop_assert_eq!(replay.apply(block), Ok(()));
            }
        }
    }

    #[test]
    fn no_block_can_be_left_out_doubled_or_put_before_another((genesis, chain) in chain(), at in any::<Index>()) {
        let at = at.index(chain.len() - 1);
        let mut replay = Replay::new(&genesis);
        for block in &chain[..at] {
            prop_assert_eq!(replay.apply(block), Ok(()));
        }
        prop_assert!(replay.apply(&chain[at + 1]).is_err());
        prop_assert_eq!(replay.apply(&chain[at]), Ok(()));
        prop_assert!(replay.apply(&chain[at]).is_err());
    }
}
