//! The functions that each transfer passes, one by one, per batch of [`BATCH`] transfers over [`ACCOUNTS`] accounts. What a
//! home does is measured on one that remembers as many ids as it may, and among fewer and more accounts as well.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use paxos_banking::codec;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{
    Action, Bank, Block, Candidate, Genesis, Home, HomeLimits, HomeStart, Memory, Operation, Request, Run, SettledAt,
    Ticket, Value, Wait,
};
use paxos_banking::types::{AccountId, Amount, NodeId, Seq};
use paxos_banking::wire::client::{Ask, Call, Transfer};

const BATCH: u64 = 8_192;
const ACCOUNTS: u64 = 10_000;

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn accounts(count: u64) -> Vec<AccountId> {
    (0..count).map(|number| AccountId::new(&format!("u{number}"), node("A")).expect("a name")).collect()
}

fn genesis(accounts: &[AccountId]) -> Genesis {
    let opening = accounts.iter().map(|account| (*account, Amount::new(1 << 40)));
    Genesis::new([node("A")], opening).expect("a genesis")
}

fn requests(entropy: &mut Entropy, accounts: &[AccountId], first_id: u128) -> Vec<Request> {
    let mut one = || accounts[usize::try_from(entropy.below(accounts.len() as u64)).expect("an index")];
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

fn tickets(requests: Vec<Request>) -> impl Iterator<Item = (Ticket, Request)> {
    (0..).map(|index| Ticket { batch: 1, index }).zip(requests)
}

/// What a home does for a batch, step by step.
#[derive(Clone, Copy)]
enum Step {
    Decide,
    Offer,
    Compose,
    Apply,
}

/// The only home of a bank, at work for so long that it forgets as many ids as it comes to know.
struct Busy {
    home: Home,
    entropy: Entropy,
    accounts: Vec<AccountId>,
    next_id: u128,
}

impl Busy {
    fn new(accounts: Vec<AccountId>) -> Self {
        let limits = HomeLimits::default();
        let (bank, memory) = (Bank::new(&genesis(&accounts)), Memory::new(limits.ids_remembered_max));
        let start = HomeStart { bank, log: Vec::new(), memory, settled_at: SettledAt::default(), saved: 0 };
        let batches = 2 * limits.ids_remembered_max as u64 / BATCH;
        let (mut home, _) = Home::new(node("A"), 1, limits, start).expect("a home");
        home.set_ready();
        let mut busy = Self { home, entropy: Entropy::from_seed(2), accounts, next_id: 1 };
        for _ in 0..batches {
            busy.settle_a_batch();
        }
        busy
    }

    /// How long each step of one batch took.
    fn settle_a_batch(&mut self) -> [Duration; 4] {
        let requests = requests(&mut self.entropy, &self.accounts, self.next_id);
        self.next_id += u128::from(BATCH);
        let mut times = [Duration::ZERO; 4];
        timed(&mut times, Step::Decide, || self.home.submit(tickets(requests)));
        let log = timed(&mut times, Step::Offer, || self.home.offer());
        let candidates = BTreeMap::from([(node("A"), Arc::new(Candidate { accepted: None, log }))]);
        let composed = timed(&mut times, Step::Compose, || self.home.compose(&candidates));
        let Value::Built(block) = composed.value else { panic!("there are entries to settle") };
        timed(&mut times, Step::Apply, || self.home.apply(&block));
        assert_eq!(self.home.log().len(), 0, "all of the batch was approved and settled");
        // A checkpoint goes on in the background, and stands in nobody's way here.
        while self.home.is_saving() {
            drop(self.home.save());
        }
        times
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
fn timed<T>(times: &mut [Duration; 4], step: Step, action: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = action();
    times[step as usize] = began.elapsed();
    result
}

fn hot(criterion: &mut Criterion) {
    let accounts = accounts(ACCOUNTS);
    let genesis = genesis(&accounts);
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
    let settled = block(runs());

    let mut group = criterion.benchmark_group("per batch");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("decode a call", |bench| {
        bench.iter(|| codec::decode::<Call>(black_box(&call_bytes)).expect("a call"));
    });
    for count in [ACCOUNTS / 10, ACCOUNTS, 10 * ACCOUNTS] {
        let mut busy = Busy::new(self::accounts(count));
        for (name, step) in
            [("decide", Step::Decide), ("offer", Step::Offer), ("compose", Step::Compose), ("apply", Step::Apply)]
        {
            group.bench_function(format!("{name} among {count} accounts"), |bench| {
                bench.iter_custom(|times| (0..times).map(|_| busy.settle_a_batch()[step as usize]).sum());
            });
        }
    }
    group.bench_function("hash a block", |bench| bench.iter_batched(runs, block, BatchSize::LargeInput));
    group.bench_function("check a block", |bench| bench.iter(|| bank.check(black_box(&settled)).expect("it passes")));
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
