//! The functions that each transfer passes, one by one, per batch of [`BATCH`] transfers over [`ACCOUNTS`] accounts.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use paxos_banking::codec;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{
    Action, Bank, Block, Genesis, Home, HomeLimits, HomeStart, Memory, Operation, Request, Run, SettledAt, Ticket, Wait,
};
use paxos_banking::types::{AccountId, Amount, NodeId, Seq};
use paxos_banking::wire::client::{Ask, Call, Transfer};

const BATCH: u64 = 8_192;
const ACCOUNTS: u64 = 10_000;

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn accounts() -> Vec<AccountId> {
    (0..ACCOUNTS).map(|number| AccountId::new(&format!("u{number}"), node("A")).expect("a name")).collect()
}

fn genesis() -> Genesis {
    let opening = accounts().into_iter().map(|account| (account, Amount::new(1 << 40)));
    Genesis::new([node("A")], opening).expect("a genesis")
}

fn requests(entropy: &mut Entropy, accounts: &[AccountId], first_id: u128) -> Vec<Request> {
    let mut one = || accounts[usize::try_from(entropy.below(ACCOUNTS)).expect("an index")];
    let request = |id| {
        let (from, to) = loop {
            let (from, to) = (one(), one());
            if from != to {
                break (from, to);
            }
        };
        Request { id: (first_id + u128::from(id)).into(), from, to, amount: Amount::new(1), wait: Wait::Local }
    };
    (0..BATCH).map(request).collect()
}

fn operation(request: &Request) -> Operation {
    let Request { id, from, to, amount, .. } = *request;
    Operation { id, action: Action::Transfer { from, to, amount } }
}

fn home(genesis: &Genesis) -> Home {
    let (bank, memory) = (Bank::new(genesis), Memory::new(1_000_000));
    let start = HomeStart { bank, log: Vec::new(), memory, settled_at: SettledAt::default(), saved: 0 };
    let (mut home, _) = Home::new(node("A"), 1, HomeLimits::default(), start).expect("a home");
    home.set_ready();
    home
}

fn tickets(requests: Vec<Request>) -> impl Iterator<Item = (Ticket, Request)> {
    (0..).map(|index| Ticket { batch: 1, index }).zip(requests)
}

fn hot(criterion: &mut Criterion) {
    let (genesis, accounts) = (genesis(), accounts());
    let mut entropy = Entropy::from_seed(1);
    let requests = requests(&mut entropy, &accounts, 1);
    let operations: Vec<Operation> = requests.iter().map(operation).collect();
    let bank = Bank::new(&genesis);
    let runs = || vec![Run { origin: node("A"), first: Seq(1), operations: operations.clone() }];
    let block = |runs| Block::new(bank.height().next(), bank.tip(), bank.state(), runs).expect("a block");
    let transfers = requests.iter().map(|request| Transfer(request.id, request.from, request.to, request.amount));
    let call =
        Call { tag: 1, ask: Ask::Transfers { wait: Wait::Local, within_ms: 1_000, transfers: transfers.collect() } };
    let encode = |value: &Call| {
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, value);
        bytes
    };
    let call_bytes = encode(&call);
    let settled = Arc::new(block(runs()));
    let ready = home(&genesis);
    let mut approved = ready.clone();
    let _ = approved.submit(tickets(requests.clone()));

    let mut group = criterion.benchmark_group("per batch");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("decode a call", |bench| {
        bench.iter(|| codec::decode::<Call>(black_box(&call_bytes)).expect("a call"));
    });
    group.bench_function("decide", |bench| {
        let input = || (ready.clone(), requests.clone());
        bench.iter_batched(input, |(mut home, requests)| home.submit(tickets(requests)), BatchSize::LargeInput);
    });
    group.bench_function("hash a block", |bench| bench.iter_batched(runs, block, BatchSize::LargeInput));
    group.bench_function("check a block", |bench| bench.iter(|| bank.check(black_box(&settled)).expect("it passes")));
    group.bench_function("apply a block", |bench| {
        bench.iter_batched(|| approved.clone(), |mut home| home.apply(&settled), BatchSize::LargeInput);
    });
    group.bench_function("encode a block", |bench| {
        bench.iter_batched(|| block(runs()), |block| block.bytes().len(), BatchSize::LargeInput);
    });
    group.bench_function("decode a block", |bench| {
        bench.iter(|| Block::from_bytes(black_box(settled.bytes())).expect("a block"));
    });
    group.finish();
}

criterion_group!(benches, hot);
criterion_main!(benches);
