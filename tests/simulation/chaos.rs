//! Everything at once: clients, losses, cuts, crashes and bad disks; then everything heals, and all must come right.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Answer, HomeLimits, Request, Wait};
use paxos_banking::node::{Node, Timing};
use paxos_banking::types::{AccountId, Amount, NodeId};
use tokio::time::{Instant, sleep, timeout};

use crate::disk::{DiskHealth, DiskStats};
use crate::network::{ReadTraffic, SetWeather, Traffic, Weather};
use crate::observer::{Answered, Asked, Known, Observer};
use crate::world::{World, simulate};

const CHAOS: Duration = Duration::from_secs(30);
const CLIENTS: u64 = 6;

/// What one run exercised.
#[derive(Clone, Debug, Default)]
struct Figures {
    traffic: Traffic,
    disk: DiskStats,
    blocks: u64,
    crashes: u64,
    cuts: u64,
    approved: u64,
    refused: u64,
    unknown: u64,
    duplicates: u64,
    virtual_time: Duration,
}

/// What the clients share with the run: which nodes can be reached, and whether to go on.
#[derive(Default)]
struct Directory {
    nodes: std::cell::RefCell<std::collections::BTreeMap<NodeId, Node>>,
    closed: Cell<bool>,
}

async fn client(
    number: u64,
    mut entropy: Entropy,
    nodes: Vec<NodeId>,
    opening: u64,
    directory: Rc<Directory>,
    observer: Addr<Observer>,
) {
    let mut asked: Vec<Request> = Vec::new();
    while !directory.closed.get() {
        sleep(Duration::from_millis(entropy.below(120))).await;
        let pick = |entropy: &mut Entropy| nodes[usize::try_from(entropy.below(nodes.len() as u64)).unwrap()];
        let again = !asked.is_empty() && entropy.below(5) == 0;
        let request = if again {
            asked[usize::try_from(entropy.below(asked.len() as u64)).unwrap()]
        } else {
            let (from, to) = (pick(&mut entropy), pick(&mut entropy));
            if from == to {
                continue;
            }
            let most = if entropy.below(3) == 0 { 2 * opening } else { opening / 4 };
            let amount = 1 + entropy.below(most);
            let wait = if entropy.below(4) == 0 { Wait::Settled } else { Wait::Local };
            let id = (u128::from(number) << 64) | (asked.len() as u128 + 1);
            let (from, to, amount) = (AccountId::of_node(from), AccountId::of_node(to), Amount::new(amount));
            Request { id: id.into(), from, to, amount, wait }
        };
        asked.push(request);
        observer.send(Asked(request)).await.unwrap();
        // A few tries under the same id, then the outcome stays unknown.
        for _ in 0..1 + entropy.below(4) {
            let home = directory.nodes.borrow().get(&request.from.home()).cloned();
            let Some(home) = home else {
                sleep(Duration::from_millis(200)).await;
                continue;
            };
            let patience = Duration::from_millis(100 + entropy.below(3_000));
            if let Ok(Ok(answer)) = timeout(patience, home.transfer(request)).await {
                let decided = !matches!(answer, Answer::Busy | Answer::NotReady);
                observer.send(Answered(request, answer)).await.unwrap();
                if decided {
                    break;
                }
            }
            sleep(Duration::from_millis(50 + entropy.below(200))).await;
        }
    }
}

fn timing() -> Timing {
    let mut timing = Timing { settle_age: Some(Duration::from_millis(1_500)), ..Timing::default() };
    timing.reconcile.give_up = Duration::from_secs(2);
    timing.reconcile.frame_bytes_max = 600;
    timing
}

async fn run(seed: u64) -> Figures {
    let size = if seed % 8 == 7 { 5 } else { 3 };
    let opening = 50 + seed % 100;
    let limits = HomeLimits { settle_at_entries: Some(12), waiting_max: 50, ..HomeLimits::default() };
    let calm = Weather { lost_percent: 0, doubled_percent: 2, delay_max: Duration::from_millis(10) };
    let mut world = World::start(seed, size, opening, calm, timing(), limits).await;
    world.all_ready(Duration::from_secs(30)).await;
    let directory = Rc::new(Directory::default());
    let mut figures = Figures::default();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (entropy, nodes) = (world.entropy.split(), world.nodes());
        let client = client(number + 1, entropy, nodes, opening, directory.clone(), world.observer.clone());
        clients.push(tokio::task::spawn_local(client));
    }
    let began = Instant::now();
    while began.elapsed() < CHAOS {
        publish(&world, &directory);
        sleep(Duration::from_millis(50 + world.entropy.below(600))).await;
        disturb(&mut world, &mut figures).await;
        publish(&world, &directory);
        world.seen().await;
    }
    heal(&mut world).await;
    publish(&world, &directory);
    sleep(Duration::from_secs(5)).await;
    directory.closed.set(true);
    for client in clients {
        client.await.unwrap();
    }
    settle_all(&world).await;
    let seen = world.seen().await;
    if let Err(violation) = seen.check_outcomes() {
        world.fail(&violation).await;
    }
    for (_, known) in &seen.asked {
        match known {
            Known::Approved(_) => figures.approved += 1,
            Known::Refused(_) => figures.refused += 1,
            Known::Unknown => figures.unknown += 1,
        }
    }
    figures.blocks = seen.blocks.len() as u64;
    figures.duplicates = seen.duplicates;
    figures.traffic = world.network.send(ReadTraffic).await.unwrap();
    figures.disk = world.disk_stats();
    figures.virtual_time = began.elapsed();
    figures
}

fn publish(world: &World, directory: &Directory) {
    let nodes = world.running.iter().map(|(id, running)| (*id, running.node().clone()));
    *directory.nodes.borrow_mut() = nodes.collect();
}

async fn disturb(world: &mut World, figures: &mut Figures) {
    let nodes = world.nodes();
    let pick = |entropy: &mut Entropy| nodes[usize::try_from(entropy.below(nodes.len() as u64)).unwrap()];
    let node = pick(&mut world.entropy);
    match world.entropy.below(10) {
        0..=2 => {
            figures.crashes += u64::from(world.running.contains_key(&node));
            world.kill(node).await;
        }
        3..=5 => world.revive(node).await,
        6 => {
            let weather = Weather {
                lost_percent: world.entropy.below(30),
                doubled_percent: world.entropy.below(20),
                delay_max: Duration::from_millis(1 + world.entropy.below(80)),
            };
            world.network.send(SetWeather(weather)).await.unwrap();
        }
        7 => {
            let other = pick(&mut world.entropy);
            let both = world.entropy.below(3) > 0;
            figures.cuts += u64::from(node != other);
            world.cut(node, other, true).await;
            world.cut(other, node, both).await;
        }
        8 => {
            for a in &nodes {
                for b in &nodes {
                    world.cut(*a, *b, false).await;
                }
            }
        }
        _ => {
            let health = DiskHealth {
                delay_max: Duration::from_millis(1 + world.entropy.below(30)),
                fails_permille: world.entropy.below(60),
                unknown_permille: world.entropy.below(100),
            };
            *world.disks[&node].health.borrow_mut() = health;
        }
    }
}

async fn heal(world: &mut World) {
    let nodes = world.nodes();
    let calm = Weather { lost_percent: 0, doubled_percent: 0, delay_max: Duration::from_millis(5) };
    world.network.send(SetWeather(calm)).await.unwrap();
    for a in &nodes {
        *world.disks[a].health.borrow_mut() = DiskHealth::GOOD;
        for b in &nodes {
            world.cut(*a, *b, false).await;
        }
    }
    for node in nodes {
        world.revive(node).await;
    }
    world.all_ready(Duration::from_secs(30)).await;
}

/// With nothing wrong any more, every log settles and all tips are equal, in bounded virtual time.
async fn settle_all(world: &World) {
    let settled = async {
        loop {
            let views = world.views().await;
            let level = views.windows(2).all(|pair| pair[0].1.tip == pair[1].1.tip);
            if level && views.len() == world.running.len() && views.iter().all(|(_, view)| view.log.is_empty()) {
                return;
            }
            world.seen().await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    if timeout(Duration::from_secs(60), settled).await.is_err() {
        let views = world.views().await;
        let states: Vec<_> = views.iter().map(|(id, view)| (id, view.height, view.tip, view.log.len())).collect();
        world.fail(&format!("liveness: after healing not everything settled: {states:?}")).await;
    }
}

#[test]
fn chaos_breaks_no_promise_and_everything_settles_after_it() {
    let seeds = crate::seeds(24);
    let runs = crate::campaign("chaos", &seeds, |seed| simulate(run(seed)));
    let sum = |of: &dyn Fn(&Figures) -> u64| runs.iter().map(of).sum::<u64>();
    let exercised = [
        ("messages", sum(&|run| run.traffic.messages), 1_000),
        ("messages lost", sum(&|run| run.traffic.lost), 50),
        ("blocks", sum(&|run| run.blocks), 5),
        ("duels (a proposer outbid)", sum(&|run| run.traffic.outbid), 3),
        ("blocks adopted from another proposer", sum(&|run| run.traffic.adopted), 1),
        ("reconciliations (frames of blocks)", sum(&|run| run.traffic.fetched), 3),
        ("collections that found nothing", sum(&|run| run.traffic.idle), 1),
        ("crashes", sum(&|run| run.crashes), 5),
        ("cuts", sum(&|run| run.cuts), 2),
        ("writes", sum(&|run| run.disk.writes), 100),
        ("writes failed", sum(&|run| run.disk.failed), 1),
        ("writes of unknown fate", sum(&|run| run.disk.unknown), 1),
        ("unsynced writes lost", sum(&|run| run.disk.torn), 1),
        ("transfers approved", sum(&|run| run.approved), 50),
        ("transfers refused", sum(&|run| run.refused), 3),
        ("transfers of unknown outcome", sum(&|run| run.unknown), 1),
        ("answers repeated", sum(&|run| run.duplicates), 3),
    ];
    println!(
        "{} seeds, {:.0?} of virtual time:",
        seeds.len(),
        runs.iter().map(|run| run.virtual_time).sum::<Duration>()
    );
    for (what, count, _) in &exercised {
        println!("  {count:>9} {what}");
    }
    if seeds.len() >= 8 {
        for (what, count, least) in exercised {
            let least = least * seeds.len() as u64 / 4;
            assert!(count >= least, "the campaign exercised too little: {count} {what}, expected at least {least}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_trace_again() {
    let trace = || simulate(run(4)).traffic.trace;
    assert_eq!(trace(), trace());
}
