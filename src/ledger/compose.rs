//! Which block to propose, out of what a collection brought (R4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::accounts::Place;
use super::bank::{Bank, BlockFault, Delta, EntryFault, Trial};
use super::block::Block;
use super::entry::{LogOffer, OPERATION_BYTES_MAX, Operation, Run};
use crate::types::{Ballot, NodeId, Seq};

/// What one PROMISE brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The block that the acceptor had accepted, and under which ballot.
    pub accepted: Option<(Ballot, Arc<Block>)>,
    /// Its unsettled log.
    pub log: LogOffer,
}

/// The value that the rules give.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A block that may have been chosen already: it is proposed again, as it is.
    Adopted(Arc<Block>),
    /// A new block from the collected logs.
    Built(Arc<Block>),
    /// Nothing is unsettled: nothing is proposed.
    Nothing,
    /// Too few of the PROMISEs count.
    Undecided,
}

/// What came out of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Composition {
    /// What to propose.
    pub value: Value,
    /// Nodes whose accepted block does not fit this node's state: their PROMISE does not count (R5).
    pub excluded: BTreeMap<NodeId, BlockFault>,
    /// Entries that did not pass: with them their origin's run ends, and that origin counts as not heard.
    pub rejected: BTreeMap<NodeId, (Seq, EntryFault)>,
    /// True where entries that were offered had to wait for the next block, so that no refusal may follow (R9).
    pub left_out: bool,
}

/// The log of the node that composes, of which it knows where the accounts are.
#[derive(Clone, Copy, Debug)]
pub struct OwnLog<'a> {
    /// That node.
    pub origin: NodeId,
    /// Of each unsettled transfer, the places of its two accounts among the settled balances.
    pub places: &'a VecDeque<Option<[Place; 2]>>,
}

/// What a log offers that may follow on the chain.
struct Offer<'a> {
    origin: NodeId,
    first: Seq,
    operations: &'a [Operation],
}

/// Chooses the value for the height after `bank`'s, from at least `majority` PROMISEs. Where that is a block, what it
/// changes comes along: it was tried for that.
pub fn compose(
    bank: &Bank,
    candidates: &BTreeMap<NodeId, Arc<Candidate>>,
    own: Option<OwnLog<'_>>,
    majority: usize,
    block_bytes_max: usize,
) -> (Composition, Option<Delta>) {
    let mut excluded = BTreeMap::new();
    let mut highest: Option<(Ballot, &Arc<Block>, Delta)> = None;
    for (node, candidate) in candidates {
        let Some((ballot, block)) = &candidate.accepted else { continue };
        match bank.check(block) {
            Ok(delta) if highest.as_ref().is_none_or(|(best, ..)| ballot > best) => {
                highest = Some((*ballot, block, delta));
            }
            Ok(_) => {}
            Err(fault) => {
                excluded.insert(*node, fault);
            }
        }
    }
    let decided = |value, excluded| Composition { value, excluded, rejected: BTreeMap::new(), left_out: false };
    if candidates.len() - excluded.len() < majority {
        return (decided(Value::Undecided, excluded), None);
    }
    if let Some((_, block, delta)) = highest {
        return (decided(Value::Adopted(block.clone()), excluded), Some(delta));
    }
    let counted = candidates.iter().filter(|(node, _)| !excluded.contains_key(node));
    let logs = counted.map(|(node, candidate)| (*node, &candidate.log));
    let (mut built, delta) = build(bank, logs, own, block_bytes_max);
    built.excluded = excluded;
    (built, delta)
}

fn build<'a>(
    bank: &Bank,
    logs: impl Iterator<Item = (NodeId, &'a LogOffer)>,
    own: Option<OwnLog<'_>>,
    block_bytes_max: usize,
) -> (Composition, Option<Delta>) {
    let mut left_out = false;
    let mut offers: Vec<Offer<'_>> = Vec::new();
    for (origin, log) in logs {
        let next = bank.watermark(origin).next();
        // An offer may begin below the watermark: its sender has not applied the tip yet. One that begins above it
        // comes from a node that is ahead, and nothing of it fits here.
        let settled = next.0.checked_sub(log.first.0).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let operations = settled.and_then(|settled| log.operations.get(settled..)).unwrap_or_default();
        left_out |= log.truncated || (settled.is_none() && !log.operations.is_empty());
        offers.push(Offer { origin, first: next, operations });
    }
    let shares = shares(bank, &offers, block_bytes_max);
    let (mut trial, mut rejected, mut runs) = (Trial::new(bank, shares.iter().sum()), BTreeMap::new(), Vec::new());
    for (Offer { origin, first, operations }, share) in offers.into_iter().zip(shares) {
        left_out |= share < operations.len();
        let mut operations = &operations[..share];
        let places = own.filter(|own| own.origin == origin).into_iter().flat_map(|own| own.places).copied();
        if let Err((passed, fault)) = trial.operations(origin, operations, places) {
            operations = &operations[..passed];
            rejected.insert(origin, (first.plus(passed as u64), fault));
        }
        if !operations.is_empty() {
            let run = Run { origin, first, operations: operations.to_vec() };
            trial.settle(&run);
            runs.push(run);
        }
    }
    let (value, delta) = match Block::new(bank.height().next(), bank.tip(), bank.state(), runs) {
        Ok(block) => {
            let delta = trial.finish(&block);
            (Value::Built(Arc::new(block)), Some(delta))
        }
        Err(_) => (Value::Nothing, None),
    };
    (Composition { value, excluded: BTreeMap::new(), rejected, left_out }, delta)
}

/// How many operations of each offer the block takes: an equal share each, and what remains goes round from the
/// origin at `height mod n` on, so that no origin comes last for ever.
fn shares(bank: &Bank, offers: &[Offer<'_>], block_bytes_max: usize) -> Vec<usize> {
    let nodes: BTreeSet<_> = bank.watermarks().keys().collect();
    let capacity = (block_bytes_max / OPERATION_BYTES_MAX).max(nodes.len());
    let share = capacity / nodes.len();
    let mut shares: Vec<_> = offers.iter().map(|offer| offer.operations.len().min(share)).collect();
    let mut room = capacity - shares.iter().sum::<usize>();
    let start = usize::try_from(bank.height().next().0 % nodes.len() as u64).unwrap_or(0);
    for index in (0..offers.len()).cycle().skip(start).take(offers.len()) {
        let more = room.min(offers[index].operations.len() - shares[index]);
        shares[index] += more;
        room -= more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Action, Genesis};
    use crate::types::{Amount, Height};

    fn bank() -> Bank {
        let nodes = ["A", "B", "C"].map(|name| name.parse().unwrap());
        Bank::new(&Genesis::with_equal_openings(nodes, Amount::new(100)).unwrap())
    }

    fn candidate(from: &str, amounts: &[u64]) -> (NodeId, Arc<Candidate>) {
        let origin: NodeId = from.parse().unwrap();
        let to = if from == "A" { "B" } else { "A" };
        let operations = amounts.iter().map(|amount| Operation {
            id: 1.into(),
            action: Action::Transfer {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                amount: Amount::new(*amount),
            },
        });
        let log = LogOffer { first: Seq(1), operations: operations.collect(), truncated: false };
        (origin, Arc::new(Candidate { accepted: None, log }))
    }

    /// The same, with a vote.
    fn voted(
        (node, candidate): (NodeId, Arc<Candidate>),
        accepted: Option<(Ballot, Arc<Block>)>,
    ) -> (NodeId, Arc<Candidate>) {
        (node, Arc::new(Candidate { accepted, log: candidate.log.clone() }))
    }

    fn built(bank: &Bank, candidates: &[(NodeId, Arc<Candidate>)]) -> Arc<Block> {
        match compose(bank, &candidates.iter().cloned().collect(), None, 2, 1 << 20).0.value {
            Value::Built(block) => block,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn r4_the_accepted_block_with_the_highest_ballot_is_proposed_again_as_it_is() {
        let bank = bank();
        let older = built(&bank, &[candidate("A", &[1]), candidate("B", &[])]);
        let newer = built(&bank, &[candidate("A", &[]), candidate("B", &[2])]);
        let vote = |round, block: &Arc<Block>| Some((Ballot { round, node: "C".parse().unwrap() }, block.clone()));
        for [of_a, of_b] in [[vote(1, &older), vote(2, &newer)], [vote(2, &newer), vote(1, &older)]] {
            let (of_a, of_b) = (voted(candidate("A", &[5]), of_a), voted(candidate("B", &[6]), of_b));
            let candidates = BTreeMap::from([of_a, of_b, candidate("C", &[7])]);
            assert_eq!(compose(&bank, &candidates, None, 2, 1 << 20).0.value, Value::Adopted(newer.clone()));
        }
    }

    #[test]
    fn r5_a_promise_whose_block_does_not_fit_is_not_counted() {
        let bank = bank();
        let foreign = Block::new(
            Height(1),
            bank.state(),
            bank.state(),
            built(&bank, &[candidate("A", &[1]), candidate("B", &[])]).runs().to_vec(),
        );
        let ballot = Ballot { round: 1, node: "C".parse().unwrap() };
        let of_a = voted(candidate("A", &[5]), Some((ballot, Arc::new(foreign.unwrap()))));
        let candidates = BTreeMap::from([of_a, candidate("B", &[6])]);
        let (composition, _) = compose(&bank, &candidates, None, 2, 1 << 20);
        assert_eq!(composition.value, Value::Undecided);
        assert!(composition.excluded.contains_key(&"A".parse().unwrap()));
    }

    #[test]
    fn r4_each_origin_gets_its_share_and_the_rest_goes_round() {
        let counts = |[a, b, c]: [usize; 3]| {
            let candidates = [candidate("A", &vec![1; a]), candidate("B", &vec![1; b]), candidate("C", &vec![1; c])];
            let (composition, _) = compose(&bank(), &candidates.into(), None, 2, 12 * OPERATION_BYTES_MAX);
            let Value::Built(block) = composition.value else { panic!("{composition:?}") };
            (block.runs().iter().map(|run| run.operations.len()).collect::<Vec<_>>(), composition.left_out)
        };
        assert_eq!(counts([9, 9, 1]), (vec![4, 7, 1], true), "at height 1 B is the first to get what C leaves");
        assert_eq!(counts([9, 1, 9]), (vec![4, 1, 7], true), "B has no more, so that C is next");
        assert_eq!(counts([6, 5, 1]), (vec![6, 5, 1], false), "all of it");
    }

    #[test]
    fn an_entry_that_does_not_pass_ends_its_origins_run_only() {
        let candidates = BTreeMap::from([candidate("A", &[60, 50, 1]), candidate("B", &[5])]);
        let (composition, _) = compose(&bank(), &candidates, None, 2, 1 << 20);
        let Value::Built(block) = composition.value else { panic!("{composition:?}") };
        assert_eq!(block.entry_count(), 2);
        assert_eq!(composition.rejected[&"A".parse().unwrap()], (Seq(2), EntryFault::Overdraft));
        assert!(!composition.left_out);
    }

    #[test]
    fn r5_what_comes_along_is_what_a_check_of_the_block_finds() {
        let bank = bank();
        let mut candidates = BTreeMap::from([candidate("A", &[60, 50, 1]), candidate("B", &[5]), candidate("C", &[])]);
        let (composition, delta) = compose(&bank, &candidates, None, 2, 1 << 20);
        let Value::Built(block) = composition.value else { panic!("{composition:?}") };
        assert_eq!(delta, Some(bank.check(&block).unwrap()));
        let ballot = Ballot { round: 1, node: "C".parse().unwrap() };
        let other = built(&bank, &[candidate("A", &[]), candidate("B", &[9])]);
        candidates.extend([voted(candidate("C", &[]), Some((ballot, other)))]);
        let (composition, delta) = compose(&bank, &candidates, None, 2, 1 << 20);
        let Value::Adopted(block) = composition.value else { panic!("{composition:?}") };
        assert_eq!(delta, Some(bank.check(&block).unwrap()));
    }

    #[test]
    fn r9_no_empty_block_is_proposed() {
        let candidates = BTreeMap::from([candidate("A", &[]), candidate("B", &[])]);
        assert_eq!(compose(&bank(), &candidates, None, 2, 1 << 20).0.value, Value::Nothing);
    }

    #[test]
    fn an_offer_of_a_node_that_is_ahead_is_left_out_and_one_of_a_node_behind_is_cut() {
        let (node, mut ahead) = candidate("A", &[1]);
        Arc::make_mut(&mut ahead).log.first = Seq(3);
        let candidates = BTreeMap::from([(node, ahead), candidate("B", &[])]);
        let (composition, _) = compose(&bank(), &candidates, None, 2, 1 << 20);
        assert_eq!((composition.value, composition.left_out), (Value::Nothing, true));
        let mut bank = bank();
        let first = built(&bank, &[candidate("A", &[1]), candidate("B", &[])]);
        bank.advance(bank.check(&first).unwrap());
        let second = built(&bank, &[candidate("A", &[1, 2]), candidate("B", &[])]);
        assert_eq!((second.runs()[0].first, second.entry_count()), (Seq(2), 1));
    }
}
