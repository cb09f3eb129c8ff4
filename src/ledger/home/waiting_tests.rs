use super::super::tests::{answer, approved, block, from_b, home, home_with, node, request, submit, ticket};
use super::*;
use crate::ledger::home::HomeLimits;
use crate::ledger::{Request, Wait};
use crate::types::Height;

#[test]
fn a_client_that_waits_no_longer_is_told_what_is_so_far() {
    let mut home = home();
    let settled = Request { wait: Wait::Settled, ..request(1, "B", 10) };
    let _ = home.submit([(ticket(0), settled), (ticket(1), request(2, "B", 150))]);
    let other = Ticket { batch: 2, index: 0 };
    let _ = home.submit([(other, settled)]);
    assert_eq!(
        home.stop_waiting(&[1].into()),
        [
            Effect::Act(HomeAction::Reply(ticket(0), approved(1, None))),
            Effect::Act(HomeAction::Reply(ticket(1), Answer::Pending)),
        ]
    );
    assert_eq!(home.stop_waiting(&[1].into()), []);
    assert_eq!(home.parked_len(), 1, "R10: it is in flight, and is decided all the same");
    let block = block(&home, Some(from_b(9, "A", 100)));
    let effects = home.apply(&block);
    let replies: Vec<_> = effects.iter().filter(|e| matches!(e, Effect::Act(HomeAction::Reply(..)))).collect();
    assert_eq!(replies, [&Effect::Act(HomeAction::Reply(other, approved(1, Some(1))))], "nobody else waits");
    assert_eq!(answer(&submit(&mut home, request(2, "B", 150))), Some(&approved(2, None)), "decided meanwhile");
}

#[test]
fn requests_that_clients_left_behind_still_count_against_the_bound() {
    let mut home = home_with(HomeLimits { waiting_max: 3, ..HomeLimits::default() });
    for batch in 1..=3 {
        let _ = home.submit([(Ticket { batch, index: 0 }, request(batch.into(), "B", 500))]);
        let _ = home.stop_waiting(&[batch].into());
    }
    assert_eq!(answer(&submit(&mut home, request(4, "B", 500))), Some(&Answer::Busy));
}

#[test]
fn r9_who_waits_for_a_collection_hears_of_one_that_began_later_and_left_nothing_out() {
    let mut home = home();
    assert_eq!(home.collect(ticket(0)), [Effect::Act(HomeAction::Settle(1))]);
    let nobody = BTreeSet::new();
    assert_eq!(home.collect(ticket(1)), [], "one is under way");
    let effects = home.collection_done(1, Some(&nobody));
    let collected = HomeAction::Collected { ticket: ticket(0), height: Height(0), not_heard: nobody.clone() };
    assert_eq!(effects, [Effect::Act(collected), Effect::Act(HomeAction::Settle(2))], "the second began later");
    assert_eq!(home.collection_done(2, None), [Effect::Act(HomeAction::Settle(2))]);
    home.stop_collecting(ticket(1));
    assert_eq!(home.collection_done(2, Some(&nobody)), []);
}

#[test]
fn the_unsettled_log_is_read_from_any_seq_on() {
    let mut home = home();
    let _ = home.submit((1..=2).map(|id| (ticket(0), request(id, "B", 1))));
    let settled = block(&home, None);
    let _ = home.apply(&settled);
    let _ = home.submit((3..=5).map(|id| (ticket(0), request(id, "C", 1))));
    let read = |from, count| {
        let entries = home.log_from(Seq(from), count);
        assert!(
            entries
                .iter()
                .all(|entry| entry.origin == node("A") && entry.operation.id == u128::from(entry.seq.0).into())
        );
        entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>()
    };
    assert_eq!((read(0, 9), read(3, 9), read(4, 9), read(4, 1)), (vec![3, 4, 5], vec![3, 4, 5], vec![4, 5], vec![4]));
    assert_eq!((read(3, 0), read(6, 9), read(u64::MAX, 9)), (vec![], vec![], vec![]));
    assert_eq!(home.remembered_len(), 5, "settled or not");
}
