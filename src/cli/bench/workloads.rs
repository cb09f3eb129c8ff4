//! The workloads, each from a fresh bank to its line in the report.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::bank::Bank;
use super::floors::Floors;
use super::frames::{Demand, Ids};
use super::load::{self, Phase, Tally};
use super::report::{Measured, Report, grouped, micros, time};
use super::target::Target;
use super::usage::{Usage, own_cpu};
use super::{RunBench, Workload, verify};
use crate::cli::Failure;
use crate::client::{Client, Outcome};
use crate::entropy::Entropy;
use crate::ledger::{Request, Wait};
use crate::types::{AccountId, Amount};
use crate::wire::client::State;

/// How long calls run before they count.
const WARM_UP: Duration = Duration::from_secs(1);

/// About what a transfer takes in a log: for the size of the append that is the floor.
const ENTRY_BYTES: usize = 40;

/// How long one transfer of a workload with a single caller may take.
const WITHIN: Duration = Duration::from_secs(30);

/// How many transfers a call has at most, and how many callers there are, where only their number matters.
const BULK: (usize, usize) = (4_096, 4);

impl RunBench {
    async fn target(&self, processes: usize) -> Result<Target, Failure> {
        match &self.nodes {
            Some(nodes) => Target::of_nodes(nodes).await,
            None => Target::own(self.bank(processes).await?, self.accounts.get().max(2)),
        }
    }

    /// The calls, and the transfers in each, that make a part of what restart, catch-up and growth need, or a few more.
    fn calls_to_fill(&self, parts: usize) -> (usize, usize) {
        let wanted = self.transfers.get().div_ceil(parts);
        let calls = wanted.div_ceil(BULK.0);
        let batch = wanted.div_ceil(calls);
        if calls * batch > wanted {
            eprintln!("paxbank: {} transfers are made, {calls} calls of {batch} each", calls * batch);
        }
        (calls, batch)
    }

    async fn bank(&self, processes: usize) -> Result<Bank, Failure> {
        let processes = self.processes.unwrap_or(processes);
        Bank::start(processes, self.accounts.get().max(2), self.store, self.directory.as_deref()).await
    }

    async fn bank_of_one(&self, workload: Workload) -> Result<Bank, Failure> {
        match self.nodes {
            None => self.bank(1).await,
            Some(_) => Err(Failure::usage(format!("{} starts a node of its own; leave out --nodes", workload.name()))),
        }
    }

    async fn bank_of_three(&self, workload: Workload) -> Result<Bank, Failure> {
        match self.processes {
            Some(1) => Err(Failure::usage(format!("{} needs --processes 3", workload.name()))),
            _ if self.nodes.is_some() => {
                Err(Failure::usage(format!("{} starts nodes of its own; leave out --nodes", workload.name())))
            }
            _ => self.bank(3).await,
        }
    }
}

/// Many callers at the first home.
pub(super) async fn load(bench: &RunBench, workload: Workload, report: &mut Report) -> Result<(), Failure> {
    let (processes, wait) = match workload {
        Workload::Settled => (3, Wait::Settled),
        _ => (1, Wait::Local),
    };
    for (batch, callers) in bench.sizes(workload) {
        let mut target = bench.target(processes).await?;
        let bytes = batch * callers * ENTRY_BYTES;
        let floors = Floors::measure(&target.directory(), bytes, bytes).await?;
        let demand = target.demand(bench, wait, (batch, callers));
        let (mut entropy, phase) = (Entropy::from_os(), Rc::new(Cell::new(Phase::WarmUp)));
        let ids = Ids::new(&mut entropy);
        let mut call = |demand: Demand| {
            let (address, ids, phase) = (target.address.clone(), ids.clone(), phase.clone());
            let mut entropy = entropy.split();
            tokio::task::spawn_local(async move { load::run(&address, &demand, &ids, &mut entropy, &phase).await })
        };
        let calls = call(demand);
        let beside = bench.beside.then(|| call(target.demand(bench, Wait::Local, (1, 1))));
        sleep(WARM_UP).await;
        let processes = target.processes();
        let before = Usage::of(&processes).with_writes(&target.client).await;
        let (own, began) = (own_cpu(), Instant::now());
        phase.set(Phase::Measured);
        sleep(bench.seconds()).await;
        let (nodes, own, during) = (Usage::of(&processes), own_cpu() - own, began.elapsed());
        let nodes = nodes.with_writes(&target.client).await.since(&before);
        if let Some(bank) = target.bank.as_mut().filter(|_| bench.kill) {
            (0..bank.len()).for_each(|index| bank.kill(index));
        }
        phase.set(Phase::Over);
        let mut tally = ended(calls).await?;
        let round_trips = if workload == Workload::Settled { 2 } else { 1 };
        report.load(&Measured {
            workload: workload.name(),
            store: if target.bank.is_some() { bench.store.name() } else { "theirs" },
            processes: target.nodes,
            batch,
            callers,
            transfers: tally.approved,
            during,
            calls: &tally.calls,
            nodes,
            own_cpu: own,
            pushed_back: tally.pushed_back,
            floors,
            floor: floors.round_trip * round_trips + floors.sync,
        });
        if let Some(beside) = beside {
            let beside = ended(beside).await?;
            report.beside(workload.name(), &beside.calls, during);
            tally.add(beside);
        }
        if let Some(bank) = target.bank.as_mut().filter(|_| bench.verify) {
            verify::verify(bank, &tally, bench.kill, report).await?;
        }
    }
    Ok(())
}

/// What came of callers, once they end.
async fn ended(calls: JoinHandle<Result<Tally, Failure>>) -> Result<Tally, Failure> {
    let tally = calls.await.map_err(|error| Failure::usage(format!("the callers ended badly: {error}")))??;
    check(&tally)?;
    Ok(tally)
}

fn check(tally: &Tally) -> Result<(), Failure> {
    match &tally.why {
        Some(answer) => {
            let count = tally.not_approved;
            Err(Failure::usage(format!("{count} transfers were not approved, one of them: {answer:?}")))
        }
        None if tally.approved == 0 => Err(Failure::usage("no call was answered in the time measured")),
        None => Ok(()),
    }
}

/// One coin that goes to and fro, so that whoever has it next sees it only once a block holds it.
pub(super) async fn rounds(bench: &RunBench, workload: Workload, report: &mut Report) -> Result<(), Failure> {
    let bank = bench.bank_of_three(workload).await?;
    let floors = Floors::measure(bank.path(), ENTRY_BYTES, ENTRY_BYTES).await?;
    let client = bank.client()?;
    let empty =
        |index: usize| AccountId::new("empty", bank.id(index)).map_err(|error| Failure::usage(error.to_string()));
    let (here, there, rich) = (empty(0)?, empty(1)?, AccountId::of_node(bank.id(1)));
    let mut calls = Histogram::<u64>::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds are good");
    transfer(&client, rich, here).await?;
    let mut began = Instant::now();
    let mut before = Usage::default();
    let mut own = own_cpu();
    let (mut warm, start) = (false, Instant::now());
    while start.elapsed() < WARM_UP + bench.seconds() {
        if !warm && start.elapsed() > WARM_UP {
            before = Usage::of(&bank.processes()).with_writes(&client).await;
            (warm, began, own) = (true, Instant::now(), own_cpu());
            calls.reset();
        }
        let taken = transfer(&client, here, there).await?;
        calls.saturating_record(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        match workload {
            // The coin comes back from an account that has enough, so that no other home needs a round.
            Workload::Shortage => drop(transfer(&client, rich, here).await?),
            _ => {
                let taken = transfer(&client, there, here).await?;
                calls.saturating_record(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }
    let (nodes, own, during) = (Usage::of(&bank.processes()), own_cpu() - own, began.elapsed());
    let nodes = nodes.with_writes(&client).await.since(&before);
    let (round_trips, syncs) = if workload == Workload::Shortage { (2, 1) } else { (3, 3) };
    report.load(&Measured {
        workload: workload.name(),
        store: bench.store.name(),
        processes: bank.len(),
        batch: 1,
        callers: 1,
        transfers: calls.len(),
        during,
        calls: &calls,
        nodes,
        own_cpu: own,
        pushed_back: 0,
        floors,
        floor: floors.round_trip * round_trips + floors.sync * syncs,
    });
    Ok(())
}

/// One unit from an account to another, and how long that took.
async fn transfer(client: &Client, from: AccountId, to: AccountId) -> Result<Duration, Failure> {
    let request = Request { id: client.new_id(), from, to, amount: Amount::new(1), wait: Wait::Local };
    let began = Instant::now();
    match client.transfer(request, WITHIN).await? {
        Outcome::Approved(_) => Ok(began.elapsed()),
        other => Err(Failure::usage(format!("a transfer was not approved: {other:?}"))),
    }
}

/// Makes so many calls, of so many transfers each, at the first home: all of them settled in the end.
async fn fill(bench: &RunBench, bank: &Bank, (calls, batch): (usize, usize)) -> Result<Tally, Failure> {
    let (mut entropy, phase) = (Entropy::from_os(), Rc::new(Cell::new(Phase::Measured)));
    let ids = Ids::new(&mut entropy);
    let accounts = Rc::new(super::bank::accounts(bank.id(0), bench.accounts.get().max(2)));
    let (wait, debits, callers) = (Wait::Settled, accounts.len(), BULK.1);
    let calls_left = Rc::new(Cell::new(calls as u64));
    let demand = Demand { batch, callers, wait, accounts, debits, skewed: bench.skewed, calls_left };
    let tally = load::run(bank.address(0), &demand, &ids, &mut entropy, &phase).await?;
    check(&tally)?;
    Ok(tally)
}

/// One node that starts with so many transfers behind it.
pub(super) async fn restart(bench: &RunBench, report: &mut Report) -> Result<(), Failure> {
    let mut bank = bench.bank_of_one(Workload::Restart).await?;
    let tally = fill(bench, &bank, bench.calls_to_fill(1)).await?;
    let redis = bank.redis_memory();
    bank.stop(0).await?;
    let disk = directory_bytes(bank.path());
    let began = Instant::now();
    bank.launch(0)?;
    bank.until(0, |status| status.state == State::Ready).await?;
    let (took, transfers) = (began.elapsed(), tally.approved);
    let memory = Usage::of(&bank.processes()).memory_bytes;
    report.tell(
        &format!(
            "restart   {:<7} ready {} after its start, with {} transfers behind it; {} MB of memory{}, {} MB of disk",
            bench.store.name(),
            time(took),
            grouped(transfers),
            memory >> 20,
            of_redis(redis),
            disk >> 20
        ),
        json!({
            "workload": "restart", "store": bench.store.name(), "transfers": transfers, "ready_us": micros(took),
            "memory_bytes": memory, "redis_bytes": redis, "disk_bytes": disk,
        }),
    );
    if bench.verify {
        verify::verify(&mut bank, &tally, false, report).await?;
    }
    Ok(())
}

/// One of three nodes that was away for so many transfers.
pub(super) async fn catch_up(bench: &RunBench, report: &mut Report) -> Result<(), Failure> {
    let mut bank = bench.bank_of_three(Workload::CatchUp).await?;
    bank.stop(2).await?;
    let tally = fill(bench, &bank, bench.calls_to_fill(1)).await?;
    let Some(ahead) = bank.status(0).await else { return Err(Failure::usage("a node does not answer")) };
    bank.launch(2)?;
    // Until a peer dials it there is nobody to catch up from.
    bank.until(2, |status| !status.peers_up.is_empty()).await?;
    let began = Instant::now();
    bank.until(2, |status| status.height >= ahead.height).await?;
    let (took, transfers) = (began.elapsed(), tally.approved);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure")]
    let rate = (transfers as f64 / took.as_secs_f64()) as u64;
    report.tell(
        &format!(
            "catch-up  {:<7} {} transfers in {} blocks, in {}: {} transfers/s",
            bench.store.name(),
            grouped(transfers),
            ahead.height,
            time(took),
            grouped(rate)
        ),
        json!({
            "workload": "catch-up", "store": bench.store.name(), "transfers": transfers, "blocks": ahead.height,
            "seconds": took.as_secs_f64(), "transfers_per_second": rate,
        }),
    );
    if bench.verify {
        verify::verify(&mut bank, &tally, false, report).await?;
    }
    Ok(())
}

/// How many parts growth makes its transfers in.
const PARTS: usize = 10;

/// One node whose history grows.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) async fn growth(bench: &RunBench, report: &mut Report) -> Result<(), Failure> {
    let mut bank = bench.bank_of_one(Workload::Growth).await?;
    let (mut all, mut cpu) = (Tally::new(), Vec::new());
    let calls = bench.calls_to_fill(PARTS);
    for _ in 0..PARTS {
        let before = Usage::of(&bank.processes());
        let tally = fill(bench, &bank, calls).await?;
        let used = Usage::of(&bank.processes()).since(&before).cpu;
        cpu.push(used.as_secs_f64() * 1e6 / tally.approved as f64);
        all.add(tally);
    }
    let (memory, redis) = (Usage::of(&bank.processes()).memory_bytes, bank.redis_memory());
    let (part, disk) = (all.approved / PARTS as u64, directory_bytes(bank.path()));
    let each: Vec<String> = cpu.iter().map(|micros| format!("{micros:.2}")).collect();
    report.tell(
        &format!(
            "growth    {:<7} µs of CPU for a transfer, in parts of {}: {}; {} MB of memory{}, {} MB of disk ({} bytes each)",
            bench.store.name(),
            grouped(part),
            each.join(" "),
            memory >> 20,
            of_redis(redis),
            disk >> 20,
            disk / all.approved,
        ),
        json!({
            "workload": "growth", "store": bench.store.name(), "transfers": all.approved, "cpu_us_each": cpu,
            "memory_bytes": memory, "redis_bytes": redis, "disk_bytes": disk,
        }),
    );
    if bench.verify {
        verify::verify(&mut bank, &all, false, report).await?;
    }
    Ok(())
}

/// What the data takes that is in the memory of a Redis.
fn of_redis(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" (the Redis holds {} MB)", bytes >> 20))
}

/// What the files below a directory hold.
fn directory_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => directory_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
