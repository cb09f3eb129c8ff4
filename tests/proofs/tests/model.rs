//! The core in every order of events within bounds: every state of each scope is looked at, and how many there are is known.
//!
//! `MODEL_SIZE=large` adds the scopes that take minutes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use paxos_banking::paxos::Message;
use paxos_banking::types::Height;
use paxos_banking_proofs::model::{Ask, Before, Flaw, Model, ONE_BLOCK_PER_HEIGHT, Reached, Scope};
use stateright::{Checker, HasDiscoveries, Model as _};

const ALL: &[&str] = &["A", "B", "C"];

/// Reconciliation has a scope of its own; in the others it would multiply the states.
fn reconciliation(message: &Message) -> bool {
    matches!(message, Message::ReconcileRequest(_) | Message::ReconcileAck(_))
}

/// A and B have an entry each, and settle at the same time; any node crashes once.
fn two_proposers() -> Scope {
    Scope {
        before: &[Before::Ask("A", Ask::Transfer("B", 30)), Before::Ask("B", Ask::Transfer("C", 20))],
        asks: &[("A", Ask::Settle), ("B", Ask::Settle)],
        crashing: ALL,
        crashes: 1,
        timers: 0,
        rounds: 1,
        slow: &[],
        loses: reconciliation,
        last_height: Height(1),
        reaches: &[Reached::BlockOfA, Reached::BlockOfB, Reached::Adopted, Reached::AppliedAfterCrash],
        reduced: true,
        collects: false,
        flaw: None,
    }
}

/// The same, where whoever is outbid, or has a vote without an outcome, tries again with a higher ballot.
fn tries_again() -> Scope {
    Scope {
        crashes: 0,
        timers: 1,
        rounds: 2,
        reaches: &[Reached::BlockOfA, Reached::BlockOfB, Reached::Adopted],
        ..two_proposers()
    }
}

/// A settles, approves another entry, and settles again; any node crashes once.
fn two_heights() -> Scope {
    Scope {
        before: &[Before::Ask("A", Ask::Transfer("B", 30))],
        asks: &[("A", Ask::Settle), ("A", Ask::Transfer("C", 5)), ("A", Ask::Settle)],
        rounds: 2,
        last_height: Height(2),
        reaches: &[Reached::BlockOfA, Reached::AppliedAfterCrash, Reached::AllAtLastHeight],
        ..two_proposers()
    }
}

/// C missed three blocks, and comes back; A has all of them, B misses the last. C crashes again.
fn lagging_peer() -> Scope {
    Scope {
        before: &[
            Before::Without("C"),
            Before::Ask("A", Ask::Transfer("B", 1)),
            Before::Ask("A", Ask::Settle),
            Before::Ask("A", Ask::Transfer("B", 2)),
            Before::Ask("A", Ask::Settle),
            Before::Ask("A", Ask::Transfer("B", 3)),
            Before::Ask("A", Ask::Settle),
            Before::Crash("C"),
        ],
        asks: &[("A", Ask::Greet)],
        crashing: &["C"],
        timers: 1,
        loses: |_| false,
        last_height: Height(3),
        reaches: &[Reached::AppliedAfterCrash, Reached::AllAtLastHeight],
        ..two_proposers()
    }
}

/// A write and its flush are two steps: A settles while B approves; A crashes at any point.
fn slow_disks() -> Scope {
    Scope {
        asks: &[("A", Ask::Settle), ("B", Ask::Transfer("C", 1))],
        crashing: &["A"],
        slow: ALL,
        reaches: &[Reached::BlockOfA, Reached::AppliedAfterCrash],
        ..two_proposers()
    }
}

/// A settles two blocks under one ballot; between its rounds, or in them, B approves an entry, and B is a rival too.
fn kept_ballot() -> Scope {
    Scope {
        before: &[Before::Ask("A", Ask::Transfer("B", 30))],
        asks: &[("A", Ask::Settle), ("A", Ask::Settle), ("B", Ask::Transfer("C", 20)), ("B", Ask::Settle)],
        crashes: 0,
        last_height: Height(2),
        reaches: &[Reached::BlockOfA, Reached::BallotKept, Reached::AllAtLastHeight],
        ..two_proposers()
    }
}

/// A has a ballot from before, approves, and asks the others for their logs while its own entry is being written.
fn slow_log() -> Scope {
    Scope {
        before: &[Before::Ask("A", Ask::Transfer("B", 30)), Before::Ask("A", Ask::Settle)],
        asks: &[("A", Ask::Transfer("C", 5)), ("A", Ask::Settle)],
        crashing: &["A"],
        rounds: 2,
        slow: ALL,
        last_height: Height(2),
        reaches: &[Reached::BallotKept, Reached::AppliedAfterCrash, Reached::AllAtLastHeight],
        ..two_proposers()
    }
}

/// A settles, and collects again under the ballot that it keeps. B answers with the block not written, and crashes at any
/// point.
fn slow_blocks() -> Scope {
    Scope {
        before: &[Before::Ask("A", Ask::Transfer("B", 30))],
        asks: &[("A", Ask::Settle), ("A", Ask::Settle)],
        crashing: &["B"],
        slow: &["B"],
        reaches: &[Reached::PromiseBeforeBlock, Reached::AppliedAfterCrash, Reached::AllAtLastHeight],
        ..two_proposers()
    }
}

/// The same without a crash, and there is something to settle the second time: B votes, too, with the block not written.
fn slow_blocks_in_a_row() -> Scope {
    Scope {
        asks: &[("A", Ask::Settle), ("A", Ask::Transfer("C", 5)), ("A", Ask::Settle)],
        crashes: 0,
        last_height: Height(2),
        reaches: &[Reached::PromiseBeforeBlock, Reached::AllAtLastHeight],
        ..slow_blocks()
    }
}

/// Looks at every state of a scope, of which there are so many.
fn explore(name: &str, scope: Scope, states: usize) {
    let model = Model::new(scope);
    let seen = model.seen();
    let checker = model.checker().threads(2).spawn_bfs().join();
    // Before the ways to what was reached are walked again.
    let expanded = seen.expanded.load(Ordering::Relaxed);
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {unique} states, {} steps, depth about {depth}", checker.state_count());
    checker.assert_properties();
    assert!(checker.is_done(), "{name}: it ended too early");
    assert_eq!(expanded, unique, "{name}: states were found and not looked at");
    assert_eq!(unique, states, "{name}: the core, or the model, does something else than before");
}

fn large() -> bool {
    match std::env::var("MODEL_SIZE") {
        Err(_) => false,
        Ok(size) if size == "large" => true,
        Ok(other) => panic!("MODEL_SIZE={other}: large, or nothing"),
    }
}

#[test]
fn two_proposers_and_a_crash_settle_one_block() {
    explore("two proposers", two_proposers(), 107_639);
}

#[test]
fn proposers_that_try_again_settle_one_block() {
    explore("tries again", tries_again(), 262_357);
}

#[test]
fn one_proposer_settles_two_heights_across_a_crash() {
    explore("two heights", two_heights(), 472_659);
}

#[test]
fn a_node_that_comes_back_gets_the_chain_though_the_peer_that_answers_first_lags() {
    explore("lagging peer", lagging_peer(), 67_134);
    if large() {
        explore("lagging peer, anybody crashes", Scope { crashing: ALL, ..lagging_peer() }, 1_164_896);
    }
}

#[test]
fn nothing_is_said_between_a_write_and_its_flush() {
    explore("slow disks", slow_disks(), 203_777);
    if large() {
        explore("slow disks, anybody crashes", Scope { crashing: ALL, ..slow_disks() }, 686_226);
    }
}

#[test]
fn a_collection_under_a_kept_ballot_overtakes_the_write_of_the_entry_it_is_for() {
    explore("slow log", slow_log(), 21_935);
}

#[test]
fn an_answer_for_the_next_height_overtakes_the_write_of_the_block_below() {
    explore("slow blocks", slow_blocks(), 240_745);
    if large() {
        explore("slow blocks in a row", slow_blocks_in_a_row(), 1_983_553);
    }
}

#[test]
fn a_kept_ballot_settles_what_is_approved_between_its_rounds() {
    explore("kept ballot", kept_ballot(), 312_171);
}

/// Leaving out spent messages and idle timers makes the other scopes small enough. Here the nodes come to the same with and
/// without it.
#[test]
fn what_is_left_out_of_a_state_changes_nothing_for_the_nodes() {
    let mut scopes = vec![Scope { asks: &[("A", Ask::Settle)], reaches: &[], ..two_proposers() }];
    if large() {
        scopes.push(Scope { crashes: 0, reaches: &[], ..two_proposers() });
    }
    for scope in scopes {
        let [reduced, whole] = [true, false].map(|reduced| {
            let model = Model::new(Scope { reduced, collects: true, ..scope.clone() });
            let seen = model.seen();
            let checker = model.checker().threads(2).spawn_bfs().join();
            checker.assert_properties();
            (checker.unique_state_count(), std::mem::take(&mut *seen.nodes.lock().unwrap()))
        });
        println!("{} states stand for {}", reduced.0, whole.0);
        assert!(reduced.0 * 5 < whole.0);
        assert_eq!(reduced.1.len(), whole.1.len());
        assert!(reduced.1 == whole.1, "the nodes come to something else");
    }
}

/// Runs until two nodes hold different blocks at one height, and tells the shortest way there.
fn finds_two_histories(flaw: Flaw, scope: Scope) {
    let model = Model::new(Scope { flaw: Some(flaw), ..scope });
    let two_histories = HasDiscoveries::AnyOf(BTreeSet::from([ONE_BLOCK_PER_HEIGHT]));
    let checker = model.checker().finish_when(two_histories).spawn_bfs().join();
    let steps = checker.assert_any_discovery(ONE_BLOCK_PER_HEIGHT).into_actions();
    println!("{flaw:?}: two histories after {} steps, {} states", steps.len(), checker.unique_state_count());
    for step in &steps {
        println!("    {}", checker.model().format_action(step));
    }
}

#[test]
fn a_disk_that_forgets_its_promise_is_found() {
    finds_two_histories(Flaw::ForgetsPromise, two_proposers());
}

#[test]
fn a_disk_that_forgets_its_vote_is_found() {
    finds_two_histories(Flaw::ForgetsVote, two_proposers());
}

#[test]
fn a_reply_before_its_write_is_found() {
    // Who crashes, and what is lost, only makes the search shorter.
    let loses = |message: &Message| reconciliation(message) || matches!(message, Message::Commit(_) | Message::Nack(_));
    let scope = Scope { slow: ALL, crashing: &["B"], loses, ..two_proposers() };
    finds_two_histories(Flaw::SaysBeforeItWrites, scope);
}
