use std::time::Duration;

use super::super::tests::{approved, ledger, log, stop_waiting, submit};
use super::*;
use crate::actors::ledger::turns::{TURN, UNDECIDED_MAX};
use crate::actors::message::{Examine, Examined, ReadBank};
use crate::actors::probe::{Probes, Seen, ballot, node, prepare};
use crate::effect::Record;
use crate::ledger::{Action, LOOKED_FOR_AT_ONCE, Opening, Operation, Reason, Refusal, Wait};
use crate::types::{AccountId, Amount, Height};

const HOURS: Duration = Duration::from_secs(10_000);

fn account() -> AccountId {
    "new@A".parse().unwrap()
}

fn open(probes: &Probes, id: u128, wait: Wait) -> SubmitOpening {
    let opening = Opening { id: id.into(), account: account(), wait };
    SubmitOpening { tag: id as u64 * 10, opening, reply_to: probes.role() }
}

fn operation(id: u128) -> Operation {
    Operation { id: id.into(), action: Action::Open { account: account() } }
}

#[actix_rt::test]
async fn r7_no_approval_of_an_opening_leaves_before_its_entry_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(open(&probes, 1, Wait::Local));
    probes.see([log(1, vec![operation(1)])]).await;
    let (reply_to, mut view) = tokio::sync::oneshot::channel();
    ledger.do_send(ReadBank(reply_to));
    ledger.do_send(open(&probes, 1, Wait::Local));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    assert!(view.try_recv().is_err(), "nor does anybody see the entry");
    probes.durable();
    let told = || Answers(vec![(10, approved(1))]).into();
    probes.see([told(), told()]).await;
    assert_eq!(view.try_recv().unwrap().log[0].operation, operation(1));
}

#[actix_rt::test]
async fn r10_the_refusal_of_an_opening_is_durable_before_it_is_answered() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(open(&probes, 1, Wait::Local));
    probes.see([log(1, vec![operation(1)])]).await;
    probes.durable();
    probes.see([Answers(vec![(10, approved(1))]).into()]).await;
    ledger.do_send(open(&probes, 2, Wait::Local));
    let reason = Reason::AccountExists { height: Height(0), account: account() };
    let refusal =
        Refusal { id: 2.into(), from: account(), to: account(), amount: Amount::ZERO, reason: reason.clone() };
    let written = Record::Refused { number: 1, refusals: vec![refusal] };
    probes.see([Seen::Persist(vec![written])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see([Answers(vec![(20, Answer::Refused(reason))]).into()]).await;
}

#[actix_rt::test]
async fn who_opens_an_account_may_wait_for_its_settlement_and_stop_waiting() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(open(&probes, 1, Wait::Settled));
    ledger.do_send(submit(&probes, &[(2, "B", 5)]));
    probes.seen().await;
    probes.durable();
    probes.durable();
    let seen = probes.seen().await;
    assert!(!seen.contains(&Answers(vec![(10, approved(1))]).into()), "{seen:?}");
    let of_another = StopWaiting { reply_to: probes.peer("C"), ..stop_waiting(&probes, 10) };
    ledger.do_send(of_another);
    probes.see_nothing().await;
    ledger.do_send(stop_waiting(&probes, 10));
    probes.see([Answers(vec![(10, approved(1))]).into()]).await;
}

#[actix_rt::test]
async fn a_store_that_does_not_answer_makes_everybody_busy_in_the_end() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let many: Vec<_> = (1..=HELD_MAX as u128).map(|id| (id, "nobody@B", 1)).collect();
    ledger.do_send(submit(&probes, &many));
    probes.seen().await;
    ledger.do_send(open(&probes, 200_000, Wait::Local));
    probes.see([Answers(vec![(2_000_000, Answer::Busy)]).into()]).await;
    // So it does transfers, and each call is told by itself.
    ledger.do_send(submit(&probes, &[(200_001, "B", 1), (200_002, "B", 1)]));
    ledger.do_send(submit(&probes, &[(200_003, "B", 1)]));
    let busy = |tags: &[u64]| Answers(tags.iter().map(|tag| (*tag, Answer::Busy)).collect()).into();
    probes.see([busy(&[2_000_010, 2_000_020]), busy(&[2_000_030])]).await;
}

/// Transfers of nothing that anybody has, so that each is refused.
fn many(probes: &Probes, ids: std::ops::Range<u128>) -> Submit {
    submit(probes, &ids.map(|id| (id, "nobody@B", 1)).collect::<Vec<_>>())
}

/// How many refusals each write holds.
fn writes(seen: &[Seen]) -> Vec<usize> {
    let refusals = |seen: &Seen| match seen {
        Seen::Persist(records) => match &records[..] {
            [Record::Refused { refusals, .. }] => refusals.len(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    seen.iter().map(refusals).collect()
}

/// How many answers each message holds, and the first tag of it; other messages are left out.
fn answers(seen: &[Seen]) -> Vec<(usize, u64)> {
    let answers = seen.iter().filter_map(|seen| match seen {
        Seen::Answers(Answers(answers)) => Some((answers.len(), answers[0].0)),
        _ => None,
    });
    answers.collect()
}

#[actix_rt::test]
async fn a_peer_is_heard_between_two_turns_of_a_large_batch() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let batch = TURN as u128 * 2 + 10;
    ledger.do_send(many(&probes, 1..batch + 1));
    ledger.do_send(Examine::Prepare(node("B"), prepare(ballot(1, "B"), 1)));
    assert_eq!(writes(&probes.seen().await), [TURN, TURN, 10]);
    probes.durable();
    let seen = probes.seen().await;
    assert!(matches!(seen[..], [_, Seen::Examined(Examined::Prepare(..))]), "it waited for one turn only: {seen:?}");
    assert_eq!(answers(&seen), [(TURN, 10)]);
    probes.durable();
    probes.durable();
    assert_eq!(answers(&probes.seen().await), [(TURN, 10 + TURN as u64 * 10), (10, 10 + TURN as u64 * 20)]);
}

#[actix_rt::test]
async fn who_asks_for_little_is_not_behind_those_who_ask_for_much_and_each_ones_calls_stay_in_order() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let of_c = |ids| Submit { reply_to: probes.peer("C"), ..many(&probes, ids) };
    ledger.do_send(many(&probes, 1..2_001));
    ledger.do_send(many(&probes, 2_001..2_004));
    ledger.do_send(of_c(5_001..5_004));
    ledger.do_send(of_c(5_004..6_001));
    let written = probes.seen().await;
    let ids = written.iter().flat_map(|seen| match seen {
        Seen::Persist(records) => match &records[..] {
            [Record::Refused { refusals, .. }] => refusals.iter().map(|refusal| refusal.id),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    // The first turn was over when the others came. The second began with as much of C's as is little, and C goes behind.
    // So does the other, once a call of its own is decided.
    let order = [1..513, 5_001..5_129, 513..2_001, 5_129..6_001, 2_001..2_004];
    assert!(ids.eq(order.into_iter().flatten().map(|id: u128| id.into())), "{written:?}");
}

#[actix_rt::test]
async fn who_waits_no_longer_is_told_of_all_that_was_asked_for() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(many(&probes, 1..TURN as u128 + 1));
    ledger.do_send(many(&probes, 1_000..1_100));
    ledger.do_send(stop_waiting(&probes, 10_000));
    assert_eq!(writes(&probes.seen().await), [TURN, 100]);
    probes.durable();
    probes.durable();
    assert_eq!(answers(&probes.seen().await), [(TURN, 10), (100, 10_000)]);
}

#[actix_rt::test]
async fn more_than_may_wait_take_longer_turns() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(many(&probes, 1..UNDECIDED_MAX as u128 + 1_001));
    let writes = writes(&probes.seen().await);
    assert_eq!((writes[0], writes.iter().sum::<usize>()), (1_000, UNDECIDED_MAX + 1_000));
}

#[actix_rt::test]
async fn small_calls_that_come_together_share_a_write_and_each_has_its_own_answer() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let few = LOOKED_FOR_AT_ONCE as u128 - 1;
    for id in 1..=few {
        ledger.do_send(many(&probes, id..id + 1));
    }
    assert_eq!(writes(&probes.seen().await), [LOOKED_FOR_AT_ONCE - 1]);
    probes.durable();
    assert_eq!(answers(&probes.seen().await), (1..=few as u64).map(|id| (1, id * 10)).collect::<Vec<_>>());
    // Many do not wait for others.
    ledger.do_send(many(&probes, 1_000..1_000 + few + 1));
    ledger.do_send(many(&probes, 2_000..2_000 + few + 1));
    assert_eq!(writes(&probes.seen().await), [LOOKED_FOR_AT_ONCE; 2]);
}
