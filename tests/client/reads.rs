//! Questions: where they are asked, and how their answers are put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use paxos_banking::client::{Balance, ClientError, ReadLevel, State};
use paxos_banking::ledger::{Action, Approval, Bank as Ledger, Block, Operation, Reason, Run, Trace, Verdict};
use paxos_banking::types::{Amount, Height, Seq};
use paxos_banking::wire::client::{Ask, Call, FailureCode, GENESIS_PAGE_MAX, GenesisPage, LogEntry, Told};
use tokio::time::Instant;

use crate::node::{Act, Bank, client, failed, genesis, node};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(2);

pub fn operation(n: u64) -> Operation {
    let action = Action::Transfer { from: "A".parse().unwrap(), to: "B".parse().unwrap(), amount: Amount::new(1) };
    Operation { id: u128::from(n).into(), action }
}

/// A chain of so many blocks, each with one transfer of A's.
pub fn chain(blocks: u64) -> Vec<Arc<Block>> {
    chain_from(1, blocks)
}

/// Another history: the ids of its transfers begin elsewhere.
pub fn chain_from(first_id: u64, blocks: u64) -> Vec<Arc<Block>> {
    let mut ledger = Ledger::new(&genesis());
    let block = |n| {
        let run = Run { origin: node("A"), first: Seq(n), operations: vec![operation(first_id + n)] };
        let block = Block::new(Height(n), ledger.tip(), ledger.state(), vec![run]).unwrap();
        let delta = ledger.check(&block).unwrap();
        ledger.advance(delta);
        Arc::new(block)
    };
    (1..=blocks).map(block).collect()
}

/// Two blocks to a page.
pub fn page(chain: &[Arc<Block>], call: &Call) -> Act {
    let Ask::Chain { from, to } = call.ask else { panic!("the chain is expected, not {call:?}") };
    let blocks = chain.iter().filter(|block| block.height() >= from && block.height() <= to).take(2).cloned();
    Act::Tell(Told::Chain { height: Height(chain.len() as u64), blocks: blocks.collect() })
}

fn balance(call: &Call, height: u64) -> Act {
    let Ask::Balance { account, .. } = call.ask else { panic!("a balance is expected, not {call:?}") };
    let (settled, height) = (Amount::new(80), Height(height));
    Act::Tell(Told::Balance(Balance { account, spendable: None, settled, height, not_heard: [].into() }))
}

#[tokio::test]
async fn a_settled_balance_is_asked_elsewhere_where_the_home_is_away_and_no_state_goes_back() {
    let mut bank = Bank::new().await;
    bank.close("A");
    let b = bank.start("B", |call| vec![balance(call, 8)]);
    let mut count = 0;
    let c = bank.start("C", move |call| {
        count += 1;
        if count == 1 { vec![failed(FailureCode::NotReady)] } else { vec![balance(call, 9)] }
    });
    let client = client([&b.address]);
    let account = "A".parse().unwrap();
    let heard = client.balance(account, ReadLevel::Settled, LONG).await.unwrap();
    assert_eq!((heard.node, heard.told.height, client.seen()), (node("B"), Height(8), Height(8)));
    drop(b);
    let heard = client.balance(account, ReadLevel::Settled, LONG).await.unwrap();
    assert_eq!((heard.node, heard.told.height, client.seen()), (node("C"), Height(9), Height(9)));
    let carried = c.calls.lock().unwrap().iter().all(|ask| match ask {
        Ask::Balance { seen, .. } => *seen == Height(8),
        _ => true,
    });
    assert!(carried, "each question carries the greatest height seen");
    let error = client.balance(account, ReadLevel::Local, SHORT).await.unwrap_err();
    assert!(matches!(error, ClientError::NoNode(_)), "only the home knows: {error}");
}

#[tokio::test]
async fn a_chain_is_that_of_a_node_that_has_all_that_the_client_was_told_of_if_there_is_one() {
    let mut bank = Bank::new().await;
    let (short, long) = (chain(1), chain(3));
    let behind = bank.start("A", move |call| vec![page(&short, call)]);
    let ahead = bank.start("B", move |call| {
        let asks_for_balance = matches!(call.ask, Ask::Balance { .. });
        vec![if asks_for_balance { balance(call, 3) } else { page(&long, call) }]
    });
    bank.close("C");
    let client = client([&behind.address]);
    let first = async || {
        let mut pages = client.chain(None, Height(0), None, SHORT);
        let count = pages.next().await.unwrap().unwrap().len();
        (pages.node().unwrap(), count)
    };
    assert_eq!(first().await, (node("A"), 1), "the client was told of nothing else");
    client.balance("B".parse().unwrap(), ReadLevel::Local, LONG).await.unwrap();
    assert_eq!(first().await, (node("B"), 2));
    drop(ahead);
    assert_eq!(first().await, (node("A"), 1), "the others are away");
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_told_at_once() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |_| vec![failed(FailureCode::UnknownAccount)]);
    let client = client([&home.address]);
    let error = client.balance("x@A".parse().unwrap(), ReadLevel::Local, LONG).await.unwrap_err();
    assert_eq!(error.code(), "unknown_account");
    assert!(matches!(error, ClientError::Failed(_)));
}

#[tokio::test]
async fn a_chain_comes_page_by_page_from_one_node() {
    let mut bank = Bank::new().await;
    let blocks = chain(5);
    let served = blocks.clone();
    let home = bank.start("A", move |call| vec![page(&served, call)]);
    let client = client([&home.address]);
    let mut pages = client.chain(None, Height(2), None, LONG);
    let mut heard = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        assert!(page.len() <= 2);
        heard.extend(page);
    }
    assert_eq!(heard, blocks[1..]);
    assert_eq!((pages.node(), client.seen()), (Some(node("A")), Height(5)));
    let mut pages = client.chain(Some(node("A")), Height(0), Some(Height(1)), LONG);
    assert_eq!(pages.next().await.unwrap().unwrap(), blocks[..1]);
    assert_eq!(pages.next().await, Ok(None));
}

#[tokio::test]
async fn blocks_out_of_order_are_no_chain() {
    let mut bank = Bank::new().await;
    let blocks = vec![chain(3)[2].clone()];
    let home = bank.start("A", move |_| vec![Act::Tell(Told::Chain { height: Height(3), blocks: blocks.clone() })]);
    let client = client([&home.address]);
    let error = client.chain(None, Height(0), None, SHORT).next().await.unwrap_err();
    assert_eq!(error.code(), "garbled");
}

#[tokio::test]
async fn a_log_comes_page_by_page_and_may_lose_what_is_settled_meanwhile() {
    let mut bank = Bank::new().await;
    let home = bank.start("A", |call| {
        let Ask::Log { from } = call.ask else { panic!("the log is expected, not {call:?}") };
        let seqs = [3, 4, 7, 8].into_iter().map(Seq).filter(|seq| *seq >= from).take(2);
        vec![Act::Tell(Told::Log(seqs.map(|seq| LogEntry(seq, operation(seq.0))).collect()))]
    });
    let client = client([&home.address]);
    let mut pages = client.log(node("A"), LONG);
    let mut seqs = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        seqs.extend(page.iter().map(|entry| (entry.origin, entry.seq.0)));
    }
    assert_eq!(seqs, [3, 4, 7, 8].map(|seq| (node("A"), seq)));
}

#[tokio::test]
async fn a_settled_trace_beats_an_unsettled_one_and_who_was_not_heard_is_named() {
    let mut bank = Bank::new().await;
    let tell = |height: Option<u64>| {
        move |call: &Call| {
            let Ask::Trace { id } = call.ask else { panic!("a trace is expected, not {call:?}") };
            let approval = Approval { origin: node("A"), seq: Seq(2), height: height.map(Height) };
            let (from, to, amount) = ("A".parse().unwrap(), "B".parse().unwrap(), Amount::new(5));
            let trace = Trace { id, from, to, amount, verdict: Verdict::Approved(approval) };
            vec![Act::Tell(Told::Traces { height: Height(4), traces: vec![trace] })]
        }
    };
    let (a, _b) = (bank.start("A", tell(None)), bank.start("B", tell(Some(4))));
    bank.close("C");
    let client = client([&a.address]);
    let traced = client.trace(client.new_id(), SHORT).await.unwrap();
    let [trace] = &traced.traces[..] else { panic!("{traced:?}") };
    assert!(matches!(trace.verdict, Verdict::Approved(approval) if approval.height == Some(Height(4))));
    assert_eq!(traced.heard, [node("A"), node("B")].into());
    assert_eq!(traced.not_heard.keys().collect::<Vec<_>>(), [&node("C")]);
}

#[tokio::test]
async fn a_trace_waits_for_no_node_that_cannot_change_it() {
    let tell = |verdict: Option<Verdict>| {
        move |call: &Call| {
            let Ask::Trace { id } = call.ask else { panic!("a trace is expected, not {call:?}") };
            let (from, to, amount) = ("A".parse().unwrap(), "B".parse().unwrap(), Amount::new(5));
            let traces = verdict.iter().map(|verdict| Trace { id, from, to, amount, verdict: verdict.clone() });
            vec![Act::Tell(Told::Traces { height: Height(4), traces: traces.collect() })]
        }
    };
    let approval = |height| Verdict::Approved(Approval { origin: node("A"), seq: Seq(2), height });
    let began = Instant::now();
    // C says nothing; what B found in the chain stands.
    let mut bank = Bank::new().await;
    let b = bank.start("B", tell(Some(approval(Some(Height(4))))));
    let (_a, _c) = (bank.start("A", |_| vec![]), bank.start("C", |_| vec![]));
    let client_b = client([&b.address]);
    let traced = client_b.trace(client_b.new_id(), LONG).await.unwrap();
    assert!(traced.traces.len() == 1 && traced.heard == [node("B")].into(), "{traced:?}");
    assert_eq!(traced.not_heard.keys().copied().collect::<Vec<_>>(), ["A", "C"].map(node));
    // The home has decided; the others say nothing.
    let mut bank = Bank::new().await;
    let a = bank.start("A", tell(Some(Verdict::Refused(Reason::AmountZero))));
    let (_b, _c) = (bank.start("B", |_| vec![]), bank.start("C", |_| vec![]));
    let client_a = client([&a.address]);
    let traced = client_a.trace(client_a.new_id(), LONG).await.unwrap();
    assert!(traced.traces.len() == 1 && traced.heard == [node("A")].into(), "{traced:?}");
    // Nobody has seen it, and the home is down.
    let mut bank = Bank::new().await;
    bank.close("A");
    let (b, _c) = (bank.start("B", tell(None)), bank.start("C", tell(None)));
    let client_b = client([&b.address]);
    let traced = client_b.trace(client_b.new_id(), LONG).await.unwrap();
    assert!(traced.traces.is_empty() && traced.heard == ["B", "C"].map(node).into(), "{traced:?}");
    assert_eq!(traced.not_heard.keys().collect::<Vec<_>>(), [&node("A")]);
    assert!(began.elapsed() < LONG / 2);
}

#[tokio::test]
async fn the_status_of_all_nodes_comes_from_any_address_and_names_the_dead() {
    let mut bank = Bank::new().await;
    let (a, b) = (bank.start("A", |_| vec![]), bank.start("B", |_| vec![]));
    bank.close("C");
    let client = client([&a.address]);
    let report = client.status().await.unwrap();
    assert_eq!(report.nodes.keys().copied().collect::<Vec<_>>(), ["A", "B", "C"].map(node));
    assert_eq!(report.nodes[&node("B")].as_ref().unwrap().state, State::Ready);
    assert_eq!(report.nodes[&node("C")], None);
    assert_eq!(report.failed.keys().collect::<Vec<_>>(), [&bank.address("C")]);
    drop((a, b));
    assert!(matches!(client.status().await, Err(ClientError::NoNode(_))));
}

#[tokio::test]
async fn a_genesis_that_is_not_that_of_the_bank_is_no_answer() {
    let mut bank = Bank::new().await;
    let other = paxos_banking::ledger::Genesis::with_equal_openings([node("A")], Amount::new(1)).unwrap();
    let mut own = Some(bank.genesis.clone());
    let home = bank.start("A", move |_| {
        let told = own.take().unwrap_or(other.clone());
        vec![Act::Tell(Told::Genesis(GenesisPage::of(&told, None)))]
    });
    let client = client([&home.address]);
    assert_eq!(client.genesis(None, LONG).await.unwrap().told, genesis());
    assert_eq!(client.genesis(None, LONG).await.unwrap_err().code(), "garbled");
}

#[tokio::test]
async fn a_genesis_with_more_accounts_than_a_reply_holds_is_put_together_and_one_that_has_no_end_is_no_answer() {
    let names = (0..2 * GENESIS_PAGE_MAX + 5).map(|number| (format!("c{number}@A").parse().unwrap(), Amount::new(1)));
    let genesis = paxos_banking::ledger::Genesis::new(["A", "B", "C"].map(node), names).unwrap();
    let mut bank = Bank::new().await;
    bank.genesis = genesis.clone();
    let (told, pages) = (genesis.clone(), Arc::new(AtomicUsize::new(0)));
    let asked = pages.clone();
    let whole = bank.start("A", move |call| {
        asked.fetch_add(1, Ordering::Relaxed);
        let Ask::Genesis { after } = call.ask else { panic!("{call:?}") };
        vec![Act::Tell(Told::Genesis(GenesisPage::of(&told, after)))]
    });
    let client_a = client([&whole.address]);
    assert_eq!(client_a.genesis(None, LONG).await.unwrap().told, genesis);
    assert_eq!(pages.load(Ordering::Relaxed), 3);
    // One that never answers takes nothing of the others' time.
    let silent = bank.start("C", |_| Vec::new());
    let (told, not_heard) = client([&whole.address, &silent.address]).geneses(SHORT).await.unwrap();
    assert_eq!(told, [(node("A"), genesis.clone())].into());
    assert_eq!(not_heard.into_keys().collect::<Vec<_>>(), ["B", "C"].map(node));
    // It has one account more than it ever tells, and begins again and again.
    let endless = bank.start("B", move |_| {
        let page = GenesisPage { accounts: u64::MAX, ..GenesisPage::of(&genesis, None) };
        vec![Act::Tell(Told::Genesis(page))]
    });
    assert_eq!(client([&endless.address]).genesis(None, LONG).await.unwrap_err().code(), "garbled");
}
