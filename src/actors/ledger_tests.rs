use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Addr, WrapFuture};

use super::super::message::{Examine, StopWaiting, Submit};
use super::super::probe::{Probes, Seen, ballot, bank, block, chain, from, genesis, node, prepare, transfer};
use super::*;
use crate::effect::{HaltReason, Record, Urgency};
use crate::ledger::{
    Approval, Bank, Block, Candidate, EntryFault, Genesis, HomeLimits, HomeStart, LogOffer, Memory, Operation, Reason,
    Refusal, Request, SettledAt, Value, Wait,
};
use crate::paxos::{CollectionOutcome, KnownOfYou, PrepareView};
use crate::types::{Amount, CollectionNumber};

const AGE: Duration = Duration::from_secs(20);
pub(super) const HOURS: Duration = Duration::from_secs(10_000);
const SLACK: Duration = Duration::from_millis(100);

/// The ledger of A at genesis, ready, with two to hear of applied blocks.
fn ledger_with(probes: &Probes, settle_age: Option<Duration>) -> Addr<LedgerActor> {
    ledger_of(probes, &genesis(), settle_age)
}

pub(super) fn ledger_of(probes: &Probes, genesis: &Genesis, settle_age: Option<Duration>) -> Addr<LedgerActor> {
    let ports = LedgerPorts {
        persistence: probes.role(),
        acceptor: probes.role(),
        settle: probes.role(),
        composed: probes.role(),
        applied: vec![probes.peer("B"), probes.peer("C")],
        node: probes.role(),
    };
    let limits = HomeLimits { settle_at_entries: None, ..HomeLimits::default() };
    let memory = Memory::new(limits.ids_remembered_max);
    let start =
        HomeStart { bank: Bank::new(genesis), log: Vec::new(), memory, settled_at: SettledAt::default(), saved: 0 };
    let home = Home::new(node("A"), 2, limits, start).unwrap();
    let ledger =
        LedgerActor::create(|ctx| LedgerActor::new(node("A"), home, ports, ctx.address().recipient(), settle_age));
    ledger.do_send(Ready);
    ledger
}

pub(super) fn ledger(probes: &Probes) -> Addr<LedgerActor> {
    ledger_with(probes, None)
}

/// A batch of transfers from A; each one's tag is ten times its id.
pub(super) fn submit(probes: &Probes, transfers: &[(u128, &str, u64)]) -> Submit {
    let request = |(id, to, amount): &(u128, &str, u64)| {
        let (from, to) = ("A".parse().unwrap(), to.parse().unwrap());
        let amount = Amount::new(*amount);
        (*id as u64 * 10, Request { id: (*id).into(), from, to, amount, wait: Wait::Local })
    };
    Submit { requests: transfers.iter().map(request).collect(), reply_to: probes.role() }
}

/// For the batch that begins with the request of this tag.
pub(super) fn stop_waiting(probes: &Probes, tag: u64) -> StopWaiting {
    StopWaiting { tags: vec![tag], reply_to: probes.role() }
}

pub(super) fn approved(seq: u64) -> Answer {
    Answer::Approved(Approval { origin: node("A"), seq: Seq(seq), height: None })
}

pub(super) fn log(first: u64, operations: Vec<Operation>) -> Seen {
    Seen::Persist(vec![Record::Log { first: Seq(first), operations }])
}

fn refused(id: u128, to: &str, amount: u64, reason: &Reason) -> Seen {
    let (from, to) = ("A".parse().unwrap(), to.parse().unwrap());
    let refusal = Refusal { id: id.into(), from, to, amount: Amount::new(amount), reason: reason.clone() };
    Seen::Persist(vec![Record::Refused { number: 1, refusals: vec![refusal] }])
}

pub(super) fn done(began: u64, not_heard: Option<BTreeSet<NodeId>>) -> CollectionDone {
    CollectionDone(CollectionOutcome { began, not_heard })
}

pub(super) fn everybody_hears_of(block: &Arc<Block>) -> [Seen; 2] {
    [Applied(block.clone()).into(), Applied(block.clone()).into()]
}

#[actix_rt::test]
async fn r7_no_approval_leaves_before_its_entry_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    probes.see([log(1, vec![transfer(1, "A", "B", 60)])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see([Answers(vec![(10, approved(1))]).into()]).await;
}

#[actix_rt::test]
async fn one_batch_is_one_record_and_one_message_of_answers() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 60), (2, "C", 30), (3, "B", 10)]));
    let operations = vec![transfer(1, "A", "B", 60), transfer(2, "A", "C", 30), transfer(3, "A", "B", 10)];
    probes.see([log(1, operations)]).await;
    probes.durable();
    probes.see([Answers(vec![(10, approved(1)), (20, approved(2)), (30, approved(3))]).into()]).await;
}

#[actix_rt::test]
async fn r7_a_failed_write_says_nothing_not_even_to_the_same_request_again() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    probes.see([log(1, vec![transfer(1, "A", "B", 60)])]).await;
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    ledger.do_send(submit(&probes, &[(2, "B", 0)]));
    ledger.do_send(submit(&probes, &[(3, "B", 500)]));
    probes.see([Settle(1).into()]).await;
    ledger.do_send(Examine::Prepare(node("B"), prepare(ballot(1, "B"), 1)));
    ledger.do_send(Compose { collection: CollectionNumber(1), candidates: BTreeMap::new() });
    probes.pass(HOURS).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn a_client_that_waits_for_settled_is_answered_once_the_block_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let mut settled = submit(&probes, &[(1, "B", 60), (2, "C", 1)]);
    settled.requests[0].1.wait = Wait::Settled;
    ledger.do_send(settled);
    probes.see([Settle(0).into(), log(1, vec![transfer(1, "A", "B", 60), transfer(2, "A", "C", 1)])]).await;
    probes.durable();
    probes.see([Answers(vec![(20, approved(2))]).into()]).await;
    let block = block(&bank(&[]), "A", vec![transfer(1, "A", "B", 60)]);
    ledger.do_send(Apply(block.clone(), Urgency::Now));
    probes.see([Seen::Persist(vec![Record::Block(block.clone())])]).await;
    probes.durable();
    let answer = Answer::Approved(Approval { origin: node("A"), seq: Seq(1), height: Some(Height(1)) });
    let [first, second] = everybody_hears_of(&block);
    probes.see([Answers(vec![(10, answer)]).into(), first, second]).await;
}

#[actix_rt::test]
async fn r7_a_settlement_is_asked_for_while_the_entry_is_written_and_the_collection_waits_for_that() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let mut settled = submit(&probes, &[(1, "B", 60)]);
    settled.requests[0].1.wait = Wait::Settled;
    ledger.do_send(settled);
    let operations = vec![transfer(1, "A", "B", 60)];
    probes.see([Settle(0).into(), log(1, operations.clone())]).await;
    // The own acceptor asks, as it does for the proposer that was woken just now.
    ledger.do_send(Examine::Prepare(node("A"), prepare(ballot(1, "A"), 1)));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    let log = LogOffer { first: Seq(1), operations, truncated: false };
    let view = PrepareView { height: Height(0), state: genesis().state_hash(), log };
    probes.see([Examined::Prepare(node("A"), prepare(ballot(1, "A"), 1), view).into()]).await;
}

#[actix_rt::test]
async fn a_settlement_waits_for_a_block_that_is_being_written_so_that_it_is_for_the_height_after_it() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let block = chain(1).remove(0);
    ledger.do_send(Apply(block.clone(), Urgency::Now));
    ledger.do_send(submit(&probes, &[(1, "B", 500)]));
    probes.see([Seen::Persist(vec![Record::Block(block.clone())])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    let [first, second] = everybody_hears_of(&block);
    probes.see([Settle(1).into(), first, second]).await;
    ledger.do_send(done(1, None));
    probes.see([Settle(1).into()]).await;
}

#[actix_rt::test]
async fn r10_a_refusal_is_durable_before_it_is_answered() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let reason = Reason::UnknownAccount { height: Height(0), account: "nobody@B".parse().unwrap() };
    ledger.do_send(submit(&probes, &[(1, "nobody@B", 5)]));
    probes.see([refused(1, "nobody@B", 5, &reason)]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see([Answers(vec![(10, Answer::Refused(reason))]).into()]).await;
}

#[actix_rt::test]
async fn r9_a_shortage_is_settled_first_and_refused_durably_after_the_collection() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 130)]));
    probes.see([Settle(1).into()]).await;
    ledger.do_send(done(0, Some(BTreeSet::new())));
    probes.see([Settle(1).into()]).await;
    ledger.do_send(done(1, Some(BTreeSet::from([node("C")]))));
    let not_heard = BTreeSet::from([node("C")]);
    let reason = Reason::InsufficientFunds { height: Height(0), spendable: Amount::new(100), not_heard };
    probes.see([refused(1, "B", 130, &reason)]).await;
    probes.durable();
    probes.see([Answers(vec![(10, Answer::Refused(reason))]).into()]).await;
}

#[actix_rt::test]
async fn r3_everybody_hears_of_a_block_once_it_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let block = chain(1).remove(0);
    ledger.do_send(Apply(block.clone(), Urgency::Now));
    ledger.do_send(Apply(block.clone(), Urgency::Now));
    probes.see([Seen::Persist(vec![Record::Block(block.clone())])]).await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    probes.durable();
    probes.see(everybody_hears_of(&block)).await;
}

#[actix_rt::test]
async fn what_a_block_makes_possible_is_written_with_it_and_told_behind_it() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(submit(&probes, &[(1, "B", 101)]));
    probes.see([Settle(1).into()]).await;
    let block = chain(1).remove(0);
    ledger.do_send(Apply(block.clone(), Urgency::Now));
    let approval = Record::Log { first: Seq(1), operations: vec![transfer(1, "A", "B", 101)] };
    probes.see([Seen::Persist(vec![Record::Block(block.clone()), approval])]).await;
    probes.durable();
    let [first, second] = everybody_hears_of(&block);
    probes.see([Answers(vec![(10, approved(1))]).into(), first, second]).await;
}

#[actix_rt::test]
async fn a_block_is_composed_from_what_was_collected_on_the_durable_state() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let first = chain(1).remove(0);
    ledger.do_send(Apply(first.clone(), Urgency::Now));
    let operations = vec![transfer(5, "C", "A", 9)];
    let offer = LogOffer { first: Seq(1), operations: operations.clone(), truncated: false };
    let candidate = |log| Arc::new(Candidate { accepted: None, log });
    let candidates = BTreeMap::from([(node("A"), candidate(LogOffer::default())), (node("C"), candidate(offer))]);
    ledger.do_send(Compose { collection: CollectionNumber(3), candidates });
    probes.see([Seen::Persist(vec![Record::Block(first.clone())])]).await;
    probes.durable();
    let seen = probes.seen().await;
    let Seen::Composed(Composed { collection, composition }) = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(*collection, CollectionNumber(3));
    assert_eq!(composition.value, Value::Built(block(&bank(&[first]), "C", operations)));
}

#[actix_rt::test]
async fn an_approval_is_settled_at_the_latest_when_it_has_aged() {
    let probes = Probes::start();
    let ledger = ledger_with(&probes, Some(AGE));
    probes.pass(HOURS).await;
    probes.see_nothing().await;
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    probes.pass(AGE - SLACK).await;
    probes.see_nothing().await;
    probes.pass(SLACK).await;
    probes.see([Settle(0).into()]).await;
    ledger.do_send(Apply(block(&bank(&[]), "A", vec![transfer(1, "A", "B", 60)]), Urgency::Now));
    ledger.do_send(done(0, Some(BTreeSet::new())));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    probes.pass(HOURS).await;
    probes.see_nothing().await;
}

#[actix_rt::test]
async fn an_aged_approval_that_a_collection_did_not_settle_is_asked_for_again() {
    let probes = Probes::start();
    let ledger = ledger_with(&probes, Some(AGE));
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    probes.seen().await;
    probes.durable();
    probes.seen().await;
    probes.pass(AGE).await;
    probes.see([Settle(0).into()]).await;
    ledger.do_send(done(0, None));
    probes.see_nothing().await;
    probes.pass(AGE).await;
    probes.see([Settle(0).into()]).await;
}

#[actix_rt::test]
async fn a_settlement_that_somebody_asks_for_is_passed_on_once_until_it_is_over() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(SettleNow);
    ledger.do_send(SettleNow);
    probes.see([Settle(0).into()]).await;
    ledger.do_send(done(0, Some(BTreeSet::new())));
    ledger.do_send(SettleNow);
    probes.see([Settle(0).into()]).await;
}

#[actix_rt::test]
async fn r3_a_reader_waits_until_what_it_is_shown_is_durable() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let (reply_to, mut view) = oneshot::channel();
    ledger.send(submit(&probes, &[(1, "B", 60)])).await.unwrap();
    ledger.do_send(ReadBank(reply_to));
    probes.seen().await;
    probes.pass(HOURS).await;
    assert!(view.try_recv().is_err());
    probes.durable();
    probes.seen().await;
    let view = view.try_recv().unwrap();
    let account = "A".parse().unwrap();
    assert_eq!((view.settled[&account], view.spendable[&account]), (Amount::new(100), Amount::new(40)));
    let operation = transfer(1, "A", "B", 60);
    assert_eq!(view.log, [Entry { origin: node("A"), seq: Seq(1), operation }]);
    assert_eq!((view.height, view.tip, view.state), (Height(0), genesis().id(), genesis().state_hash()));
    assert_eq!((view.waiting, view.remembered), (0, 1));
}

#[actix_rt::test]
async fn a_view_counts_those_that_wait_whether_their_client_does_or_not() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let view = async |counts: (usize, usize)| {
        let (reply_to, view) = oneshot::channel();
        ledger.do_send(ReadBank(reply_to));
        let view = view.await.unwrap();
        assert_eq!((view.waiting, view.remembered), counts);
    };
    ledger.send(submit(&probes, &[(1, "B", 130), (1, "B", 130), (2, "B", 140)])).await.unwrap();
    view((3, 0)).await;
    ledger.do_send(stop_waiting(&probes, 10));
    view((2, 0)).await;
}

#[actix_rt::test]
async fn r13_a_peer_that_has_seen_more_halts_the_ledger_and_it_approves_nothing_afterwards() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    ledger.do_send(Witness(node("B"), KnownOfYou { seq: Seq(1), ..KnownOfYou::default() }));
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    let seen = probes.seen().await;
    assert!(matches!(&seen[..], [Seen::Halt(Halt(HaltReason::WentBack { .. }))]), "{seen:?}");
}

#[actix_rt::test]
async fn r5_an_own_entry_that_fails_elsewhere_halts_the_ledger() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let fault = EntryFault::Overdraft;
    ledger.do_send(from("B", EntryFailed { seq: Seq(1), fault }));
    probes.see([Halt(HaltReason::OwnEntryFailed { seq: Seq(1), fault }).into()]).await;
}

#[actix_rt::test]
async fn a_ledger_that_is_not_ready_decides_nothing() {
    let probes = Probes::start();
    let ports = LedgerPorts {
        persistence: probes.role(),
        acceptor: probes.role(),
        settle: probes.role(),
        composed: probes.role(),
        applied: Vec::new(),
        node: probes.role(),
    };
    let memory = Memory::new(100);
    let start =
        HomeStart { bank: Bank::new(&genesis()), log: Vec::new(), memory, settled_at: SettledAt::default(), saved: 0 };
    let home = Home::new(node("A"), 2, HomeLimits::default(), start).unwrap();
    let ledger = LedgerActor::create(|ctx| LedgerActor::new(node("A"), home, ports, ctx.address().recipient(), None));
    ledger.do_send(submit(&probes, &[(1, "B", 60)]));
    probes.see([Answers(vec![(10, Answer::NotReady)]).into()]).await;
}

/// A client with a small mailbox, which is busy for a while after the first answers.
struct SlowClient(Rc<RefCell<Vec<u64>>>);

impl Actor for SlowClient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<Answers> for SlowClient {
    type Result = ();

    fn handle(&mut self, Answers(answers): Answers, ctx: &mut Context<Self>) {
        if self.0.borrow().is_empty() {
            ctx.wait(tokio::time::sleep(AGE).into_actor(self));
        }
        self.0.borrow_mut().extend(answers.iter().map(|(tag, _)| *tag));
    }
}

#[actix_rt::test]
async fn a_client_that_is_behind_gets_all_its_answers() {
    let probes = Probes::start();
    let ledger = ledger(&probes);
    let told = Rc::new(RefCell::new(Vec::new()));
    let reply_to = SlowClient(told.clone()).start().recipient();
    let short = [(1, "B", 500), (2, "B", 600), (3, "B", 700), (4, "B", 800)];
    ledger.send(Submit { reply_to, ..submit(&probes, &short) }).await.unwrap();
    for mark in 1..=4 {
        ledger.do_send(done(mark, Some(BTreeSet::new())));
        drop(probes.seen().await);
        probes.durable();
        drop(probes.seen().await);
    }
    probes.pass(AGE * 2).await;
    assert_eq!(*told.borrow(), [10, 20, 30, 40]);
}
