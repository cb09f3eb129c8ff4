//! Everything at once: clients, losses, cuts, crashes and bad disks; then everything heals, and all must come right.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use paxos_banking::actors::message::BankView;
use paxos_banking::ledger::{Answer, Approval, Reason, Request, Wait};
use paxos_banking::types::{AccountId, Amount, NodeId, TransferId};
use tokio::time::{Instant, sleep, timeout};

use crate::clients::{Client, Town};
use crate::faults::Nemesis;
use crate::network::Weather;
use crate::plan::Plan;
use crate::properties as must;
use crate::record::Process;
use crate::summary::{self, Counts};
use crate::witness;
use crate::world::{Setup, World, simulate};

/// What one run exercised, and the hash over all of it.
pub struct Ran {
    pub counts: Counts,
    pub virtual_time: Duration,
    pub trace: u64,
}

/// How long a view may take in the midst of chaos, and after it.
const GLANCE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(seed: u64) -> Ran {
    simulate(live(Plan::of(seed), seed))
}

async fn live(plan: Plan, seed: u64) -> Ran {
    let began = Instant::now();
    let Plan { size, opening, more_accounts, limits, timing, .. } = plan;
    let calm = Weather { lost_percent: 0, doubled_percent: 2, delay_max: Duration::from_millis(10) };
    let mut world = World::start(Setup { seed, size, opening, more_accounts, weather: calm, timing, limits }).await;
    world.note(format!("{plan:?}"));
    if !plan.from_the_cradle {
        world.all_ready(Duration::from_secs(30)).await;
    }
    let town = Rc::new(Town::new(&world, plan.workload, opening));
    let mut clients = Vec::new();
    for _ in 0..plan.workload.clients {
        let client = Client::new(town.clone(), world.entropy.split());
        clients.push(tokio::task::spawn_local(client.run()));
    }
    let mut nemesis = Nemesis::new(&mut world, &plan, &town);
    chaos(&mut nemesis, &town, &plan).await;
    nemesis.heal().await;
    recover(&mut nemesis, &town, clients).await;
    drop(nemesis);
    let logs = world.views(PATIENCE).await.into_iter().map(|(id, view)| (id, view.log)).collect();
    world.judge();
    {
        let mut record = world.record.borrow_mut();
        let held = witness::check(&record, logs);
        record.hold(held);
        for node in world.genesis.nodes() {
            let held = must::stores_are_bounded(&record, *node);
            record.hold(held);
        }
        let blocks = record.chain.height().0;
        record.counts.add_many("blocks", blocks);
    }
    world.judge();
    let record = world.record.borrow();
    Ran { counts: record.counts.clone(), virtual_time: began.elapsed(), trace: record.trace() }
}

async fn chaos(nemesis: &mut Nemesis<'_>, town: &Town, plan: &Plan) {
    let began = Instant::now();
    let mut disaster_is_due = plan.disaster;
    while began.elapsed() < plan.chaos {
        town.publish(nemesis.world);
        let pause = Duration::from_millis(nemesis.world.entropy.below(plan.fault_ms_max));
        nemesis.wait(pause).await;
        if disaster_is_due && began.elapsed() > plan.chaos / 2 {
            disaster_is_due = false;
            nemesis.disaster().await;
        } else {
            nemesis.strike().await;
        }
        nemesis.world.views(GLANCE).await;
        nemesis.world.judge();
    }
}

/// With nothing wrong any more, and a majority of stores left: all nodes serve, every client is answered, every log
/// settles, and all tips are equal, in bounded virtual time.
async fn recover(nemesis: &mut Nemesis<'_>, town: &Rc<Town>, clients: Vec<tokio::task::JoinHandle<Client>>) {
    let goes_on = can_go_on(nemesis.world);
    // Nodes that may stop, because their store was lost, have done so by then.
    nemesis.wait(Duration::from_secs(3)).await;
    if goes_on {
        nemesis.world.all_ready(Duration::from_secs(30)).await;
    }
    town.closed.set(true);
    let mut waiting = Vec::new();
    for client in clients {
        waiting.push(client.await.unwrap());
    }
    if !goes_on {
        return;
    }
    for client in &mut waiting {
        client.ask_for_the_unknown().await;
    }
    settle_all(nemesis.world).await;
    everything_is_decided(nemesis.world, &mut waiting).await;
    every_request_has_an_answer(nemesis.world);
    what_was_decided_outlives_a_restart(nemesis, town, &mut waiting).await;
    a_transfer_between_any_two_homes_settles(nemesis.world).await;
    a_refusal_names_who_is_away_and_nobody_else(nemesis.world).await;
}

/// R11: a majority of stores is left; and nobody waits to be admitted for one that is lost, which only an operator ends.
fn can_go_on(world: &World) -> bool {
    let record = world.record.borrow();
    let left: Vec<_> = world.genesis.nodes().difference(&record.exempt.destroyed).collect();
    let admitted = |node: &NodeId| record.heads.get(node).is_some_and(|head| head.admitted);
    left.len() >= world.genesis.majority()
        && (record.exempt.destroyed.is_empty() || left.iter().all(|node| admitted(node)))
}

async fn settle_all(world: &World) {
    let settled = |views: &BTreeMap<NodeId, BankView>| {
        let tip = views.values().next().map(|view| view.tip);
        views.len() == world.alive().len() && views.values().all(|view| Some(view.tip) == tip && view.log.is_empty())
    };
    let all = async {
        loop {
            let views = world.views(PATIENCE).await;
            world.judge();
            if settled(&views) {
                return;
            }
            // Where nothing settles by itself, somebody asks for it.
            if let Some(node) = views.iter().find(|(_, view)| !view.log.is_empty()).and_then(|(id, _)| world.node(*id))
            {
                let _ = node.settle().await;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    if timeout(Duration::from_secs(60), all).await.is_err() {
        let views = world.views(PATIENCE).await;
        let states: Vec<_> = views.iter().map(|(id, view)| (id, view.height, view.tip, view.log.len())).collect();
        world.fail(&format!("liveness: after healing not everything settled: {states:?}"));
    }
}

/// No request is left open: whoever asks again is told.
async fn everything_is_decided(world: &World, clients: &mut [Client]) {
    let alive = world.alive();
    let is_open = |request: &Request| alive.contains(&request.from.home());
    let decided = async {
        loop {
            world.judge();
            let waits = world.views(PATIENCE).await.values().any(|view| view.waiting > 0);
            if !waits && !clients.iter().any(|client| client.unknown().iter().any(is_open)) {
                return;
            }
            for client in clients.iter_mut().filter(|_| !waits) {
                client.ask_for_the_unknown().await;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    if timeout(Duration::from_secs(60), decided).await.is_err() {
        let open: Vec<_> = clients.iter().flat_map(Client::unknown).filter(is_open).collect();
        world.fail(&format!("liveness: after healing some requests wait for ever, or are never decided: {open:?}"));
    }
    settle_all(world).await;
}

/// R10: after a restart of all nodes each request is told what it was told before.
async fn what_was_decided_outlives_a_restart(nemesis: &mut Nemesis<'_>, town: &Town, clients: &mut [Client]) {
    for node in nemesis.world.alive() {
        nemesis.world.kill(node).await;
        nemesis.world.revive(node).await;
    }
    nemesis.world.all_ready(Duration::from_secs(30)).await;
    town.publish(nemesis.world);
    for client in clients {
        client.ask_for_everything().await;
    }
    // The answers are held against the earlier ones as they come.
    nemesis.wait(Duration::from_secs(1)).await;
    nemesis.world.judge();
    every_request_has_an_answer(nemesis.world);
    settle_all(nemesis.world).await;
}

/// Whoever asked a process that still runs has heard from it by now: no ticket is lost on the way.
fn every_request_has_an_answer(world: &World) {
    let record = world.record.borrow();
    let runs = |process: Process| record.processes.get(&process).is_some_and(|seen| seen.ready && !seen.halted);
    let open = record.answers.unanswered.iter().find(|(_, process)| runs(**process));
    let open = open.map(|(number, process)| (record.answers.request(*number), *process));
    drop(record);
    if let Some((request, process)) = open {
        world.fail(&format!("liveness: process {process} has never answered {request:?}"));
    }
}

/// R9 and the liveness rules: what any home approves now is settled everywhere soon.
async fn a_transfer_between_any_two_homes_settles(world: &World) {
    let alive = world.alive();
    let homes: Vec<_> = alive.iter().copied().collect();
    for (index, home) in homes.iter().enumerate() {
        let (from, to) = (*home, homes[(index + 1) % homes.len()]);
        let account = AccountId::of_node(from);
        let view = world.views(PATIENCE).await.remove(&from);
        let rich = view.is_some_and(|view| view.spendable.get(&account).is_some_and(|amount| amount.units() > 0));
        if from == to || !rich {
            continue;
        }
        let request = Request {
            id: TransferId::from_parts((1 << 48) - 1, index as u128),
            from: account,
            to: AccountId::of_node(to),
            amount: Amount::new(1),
            wait: Wait::Settled,
        };
        let number = world.record.borrow_mut().asked_aside(request);
        let answer = world.node(from).expect("it is alive").transfer(request);
        match timeout(Duration::from_secs(20), answer).await {
            // Who waits for the block is told of it.
            Ok(Ok(answer @ Answer::Approved(Approval { height: Some(_), .. }))) => {
                world.record.borrow_mut().answered(number, answer)
            }
            other => world.fail(&format!("liveness: after healing {request:?} got {other:?}")),
        }
    }
    settle_all(world).await;
}

/// R9: a proposer waits for every voting peer whose link is up, so that where all that run hear each other a refusal
/// names those that do not run, and nobody else.
async fn a_refusal_names_who_is_away_and_nobody_else(world: &World) {
    let alive = world.alive();
    let away: BTreeSet<_> = world.nodes().into_iter().filter(|node| !alive.contains(node)).collect();
    for home in &alive {
        let Some(to) = world.genesis.opening().keys().find(|account| account.home() != *home) else { continue };
        let request = Request {
            id: TransferId::from_parts((1 << 48) - 1, 1 << 16),
            from: AccountId::of_node(*home),
            to: *to,
            amount: world.genesis.total().checked_add(Amount::new(1)).unwrap(),
            wait: Wait::Local,
        };
        let number = world.record.borrow_mut().asked_aside(request);
        let answer = timeout(Duration::from_secs(20), world.node(*home).expect("it is alive").transfer(request)).await;
        match answer {
            Ok(Ok(answer @ Answer::Refused(Reason::InsufficientFunds { .. }))) => {
                world.record.borrow_mut().answered(number, answer.clone());
                let Answer::Refused(Reason::InsufficientFunds { not_heard, .. }) = answer else { continue };
                if not_heard != away {
                    world.fail(&format!("R9: {home} names {not_heard:?} as not heard; away are {away:?}"));
                }
            }
            other => world.fail(&format!("liveness: after healing {request:?} got {other:?}")),
        }
    }
    world.judge();
}

#[test]
fn chaos_breaks_no_promise_and_everything_settles_after_it() {
    let seeds = crate::seeds(200);
    let began = crate::real_time();
    let mut counts = Counts::default();
    let mut virtual_time = Duration::ZERO;
    crate::campaign("chaos", &seeds, run, |ran| {
        counts.merge(&ran.counts);
        virtual_time += ran.virtual_time;
    });
    summary::report(&counts, seeds.len() as u64, virtual_time, began.elapsed());
}

/// The variable that makes the test below print one trace, as a process of its own.
const TRACE_OF: &str = "SIM_TRACE_OF";

#[test]
fn a_seed_gives_the_same_trace_in_another_process() {
    if let Ok(seed) = std::env::var(TRACE_OF) {
        return println!("trace {:016x}", run(seed.parse().unwrap()).trace);
    }
    for seed in [4, 7] {
        let name = "chaos::a_seed_gives_the_same_trace_in_another_process";
        let other = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(TRACE_OF, seed.to_string())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&other.stdout).into_owned();
        let trace = format!("trace {:016x}", run(seed).trace);
        assert!(printed.contains(&trace), "seed {seed}: here {trace}, there: {printed}");
    }
}
