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
use crate::world::{Setup, World, simulate};

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
    expired: u64,
    duplicates: u64,
    virtual_time: Duration,
}

/// What the clients share with the run: which nodes can be reached, and whether to go on.
#[derive(Default)]
struct Directory {
    nodes: std::cell::RefCell<std::collections::BTreeMap<NodeId, Node>>,
    closed: Cell<bool>,
}

/// The accounts that clients use.
struct Accounts {
    real: Vec<AccountId>,
    ghosts: bool,
    opening: u64,
}

impl Accounts {
    fn pick(&self, entropy: &mut Entropy) -> AccountId {
        self.real[usize::try_from(entropy.below(self.real.len() as u64)).unwrap()]
    }

    /// A new request, or `None` where both ends came out the same.
    fn request(&self, id: u128, entropy: &mut Entropy) -> Option<Request> {
        let (mut from, to) = (self.pick(entropy), self.pick(entropy));
        if self.ghosts && entropy.below(12) == 0 {
            from = AccountId::new(&format!("ghost{}", entropy.below(50)), from.home()).unwrap();
        }
        let most = if entropy.below(3) == 0 { 2 * self.opening } else { self.opening / 4 };
        let amount = Amount::new(1 + entropy.below(most));
        let wait = if entropy.below(4) == 0 { Wait::Settled } else { Wait::Local };
        (from != to).then_some(Request { id: id.into(), from, to, amount, wait })
    }
}

async fn client(
    number: u64,
    mut entropy: Entropy,
    accounts: Rc<Accounts>,
    directory: Rc<Directory>,
    observer: Addr<Observer>,
) {
    let mut asked: Vec<Request> = Vec::new();
    while !directory.closed.get() {
        sleep(Duration::from_millis(entropy.below(120))).await;
        let again = !asked.is_empty() && entropy.below(5) == 0;
        let request = if again {
            asked[usize::try_from(entropy.below(asked.len() as u64)).unwrap()]
        } else {
            let id = ((asked.len() as u128 + 1) << 8) | u128::from(number);
            let Some(request) = accounts.request(id, &mut entropy) else { continue };
            request
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
                let decided = !matches!(answer, Answer::Busy | Answer::NotReady | Answer::Pending);
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

/// What a seed plays with: mostly three nodes and room enough, sometimes five, or bounds so tight that everything is
/// forgotten, pushed back and left out, or messages so late that they cross the restarts of either side.
struct Profile {
    size: usize,
    opening: u64,
    more_accounts: &'static [&'static str],
    /// Clients name debit accounts that do not exist.
    ghosts: bool,
    limits: HomeLimits,
    delay_ms_max: u64,
}

fn profile(seed: u64) -> Profile {
    let roomy = HomeLimits { settle_at_entries: Some(12), waiting_max: 50, ..HomeLimits::default() };
    let tight = HomeLimits {
        log_entries_max: 12,
        waiting_max: 4,
        ids_remembered_max: 40,
        block_bytes_max: 9 * 140,
        settle_at_entries: Some(6),
    };
    let usual = Profile {
        size: 3,
        opening: 50 + seed % 100,
        more_accounts: &[],
        ghosts: false,
        limits: roomy,
        delay_ms_max: 80,
    };
    match seed % 8 {
        7 => Profile { size: 5, ..usual },
        3 | 6 => Profile { more_accounts: &["x"], ghosts: true, limits: tight, ..usual },
        5 => Profile { delay_ms_max: 3_000, ..usual },
        _ => usual,
    }
}

async fn run(seed: u64) -> Figures {
    let profile = profile(seed);
    let Profile { size, opening, more_accounts, limits, .. } = profile;
    let calm = Weather { lost_percent: 0, doubled_percent: 2, delay_max: Duration::from_millis(10) };
    let setup = Setup { seed, size, opening, more_accounts, weather: calm, timing: timing(), limits };
    let mut world = World::start(setup).await;
    world.all_ready(Duration::from_secs(30)).await;
    let directory = Rc::new(Directory::default());
    let mut figures = Figures::default();
    let mut clients = Vec::new();
    let real = world.genesis.opening().keys().copied().collect();
    let accounts = Rc::new(Accounts { real, ghosts: profile.ghosts, opening });
    for number in 0..CLIENTS {
        let entropy = world.entropy.split();
        let client = client(number + 1, entropy, accounts.clone(), directory.clone(), world.observer.clone());
        clients.push(tokio::task::spawn_local(client));
    }
    let began = Instant::now();
    while began.elapsed() < CHAOS {
        publish(&world, &directory);
        sleep(Duration::from_millis(50 + world.entropy.below(600))).await;
        disturb(&mut world, &profile, &mut figures).await;
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
    if let Err(violation) = seen.check_outcomes().and_then(|()| seen.check_refusals()) {
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
    figures.expired = seen.expired;
    figures.traffic = world.network.send(ReadTraffic).await.unwrap();
    figures.disk = world.disk_stats();
    figures.virtual_time = began.elapsed();
    figures
}

fn publish(world: &World, directory: &Directory) {
    let nodes = world.running.iter().map(|(id, running)| (*id, running.node().clone()));
    *directory.nodes.borrow_mut() = nodes.collect();
}

async fn disturb(world: &mut World, profile: &Profile, figures: &mut Figures) {
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
                delay_max: Duration::from_millis(1 + world.entropy.below(profile.delay_ms_max)),
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
        ("ids expired", sum(&|run| run.expired), 1),
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
