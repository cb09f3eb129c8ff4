//! What is done to the nodes, in an order that a seed decides.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_banking::entropy::Entropy;
use tokio::time::{Instant, sleep};

use crate::bank::{Bank, NAMES};
use crate::proxy::Way;
use crate::shim::Shim;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and started again after a while.
    Kill,
    /// SIGKILL to all of them at once.
    KillAll,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// Every connection between one node and the others is closed, and each new one.
    CutPeers,
    /// They stand still, and nobody is told.
    FreezePeers,
    /// One of two nodes does not hear the other.
    OneWay,
    SlowPeers,
    CutClients,
    /// Clients send, and hear nothing.
    DeafClients,
    SlowClients,
    RedisKill,
    RedisPause,
    /// The wall clock goes forth or back, up to ten years.
    Clock,
    DiskFull,
}

pub const ALL: [Fault; 14] = [
    Fault::Kill,
    Fault::KillAll,
    Fault::Pause,
    Fault::CutPeers,
    Fault::FreezePeers,
    Fault::OneWay,
    Fault::SlowPeers,
    Fault::CutClients,
    Fault::DeafClients,
    Fault::SlowClients,
    Fault::RedisKill,
    Fault::RedisPause,
    Fault::Clock,
    Fault::DiskFull,
];

pub struct Nemesis<'a> {
    pub bank: &'a mut Bank,
    shim: &'a Shim,
    entropy: Entropy,
    /// What is wrong now, and with whom; the first is mended first.
    active: Vec<(Fault, &'static str)>,
    /// How often each had its effect.
    pub counts: BTreeMap<Fault, u64>,
    /// Nodes that ended by themselves, because of what was done to their stores.
    pub ended: u64,
}

impl<'a> Nemesis<'a> {
    pub fn new(bank: &'a mut Bank, shim: &'a Shim, entropy: Entropy) -> Self {
        Self { bank, shim, entropy, active: Vec::new(), counts: BTreeMap::new(), ended: 0 }
    }

    /// For so long, and until each fault had its turn; then all is mended.
    pub async fn rage(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut deck = ALL.to_vec();
            while !deck.is_empty() {
                let index = self.entropy.below(deck.len() as u64);
                self.strike(deck.swap_remove(usize::try_from(index).unwrap())).await;
                self.wait().await;
                // Often two things are wrong at once.
                while self.active.len() > 1 || (!self.active.is_empty() && self.entropy.below(2) == 0) {
                    self.mend().await;
                    self.wait().await;
                }
            }
        }
        while !self.active.is_empty() {
            self.mend().await;
        }
    }

    async fn wait(&mut self) {
        sleep(Duration::from_millis(100 + self.entropy.below(600))).await;
    }

    /// One of those whose process and store nothing is done to now.
    fn victim(&mut self, of: impl Fn(&str) -> bool) -> Option<&'static str> {
        let touches = |fault: Fault, other: &str, name: &str| {
            fault == Fault::KillAll || (other == name && touches_process(fault))
        };
        let busy = |name: &str| self.active.iter().any(|(fault, other)| touches(*fault, other, name));
        let free: Vec<_> = NAMES.into_iter().filter(|name| !busy(name) && of(name)).collect();
        let index = self.entropy.below(free.len().max(1) as u64);
        free.get(usize::try_from(index).unwrap()).copied()
    }

    async fn strike(&mut self, fault: Fault) {
        let redis = |bank: &Bank, name: &str| bank.redis.contains_key(name);
        let (has_redis, on_file): (Vec<_>, Vec<_>) = NAMES.into_iter().partition(|name| redis(self.bank, name));
        let victim = loop {
            let victim = match fault {
                Fault::RedisKill | Fault::RedisPause => self.victim(|name| has_redis.contains(&name)),
                Fault::DiskFull => self.victim(|name| on_file.contains(&name)),
                Fault::KillAll if !self.active.is_empty() => None,
                fault if touches_process(fault) => self.victim(|_| true),
                _ => Some(NAMES[usize::try_from(self.entropy.below(3)).unwrap()]),
            };
            match victim {
                Some(victim) => break victim,
                None => self.mend().await,
            }
        };
        let slow = Way::Slow(Duration::from_millis(5 + self.entropy.below(60)));
        match fault {
            Fault::Kill => self.bank.kill(victim).await,
            Fault::KillAll => {
                NAMES.iter().for_each(|name| self.bank.nodes[name].signal("-KILL"));
                for name in NAMES {
                    self.bank.kill(name).await;
                }
            }
            Fault::Pause => self.bank.nodes[victim].signal("-STOP"),
            Fault::CutPeers => self.bank.set_around(victim, Way::Cut),
            Fault::FreezePeers => self.bank.set_around(victim, Way::Frozen),
            Fault::OneWay => {
                let way = if self.entropy.below(2) == 0 { Way::HeldThere } else { Way::HeldBack };
                self.bank.way(victim, next(victim)).set(way);
            }
            Fault::SlowPeers => self.bank.set_around(victim, slow),
            Fault::CutClients => self.bank.client_way(victim).set(Way::Cut),
            Fault::DeafClients => self.bank.client_way(victim).set(Way::HeldBack),
            Fault::SlowClients => self.bank.client_way(victim).set(slow),
            Fault::RedisKill => self.bank.redis[victim].kill(),
            Fault::RedisPause => self.bank.redis[victim].stop(),
            Fault::Clock => {
                let years = i64::try_from(self.entropy.below(21)).unwrap() - 10;
                self.shim.set_clock(victim, years * 365 * 86_400);
            }
            Fault::DiskFull => self.shim.set_full(victim, true),
        }
        if fault != Fault::DiskFull {
            *self.counts.entry(fault).or_default() += 1;
        }
        self.active.push((fault, victim));
    }

    /// Mends what has been wrong for longest.
    async fn mend(&mut self) {
        let (fault, victim) = self.active.remove(0);
        match fault {
            Fault::Kill => self.bank.run(victim).await,
            Fault::KillAll => {
                for name in NAMES {
                    self.bank.run(name).await;
                }
            }
            Fault::Pause => self.bank.nodes[victim].signal("-CONT"),
            Fault::CutPeers | Fault::FreezePeers | Fault::SlowPeers => self.bank.set_around(victim, Way::Open),
            Fault::OneWay => self.bank.way(victim, next(victim)).set(Way::Open),
            Fault::CutClients | Fault::DeafClients | Fault::SlowClients => {
                self.bank.client_way(victim).set(Way::Open);
            }
            Fault::RedisKill => self.bank.redis[victim].restart(),
            Fault::RedisPause => self.bank.redis[victim].cont(),
            // It stays off; the next jump begins there.
            Fault::Clock => {}
            Fault::DiskFull => {
                self.shim.set_full(victim, false);
                *self.counts.entry(fault).or_default() += u64::from(self.shim.was_full(victim));
            }
        }
        if matches!(fault, Fault::RedisKill | Fault::RedisPause | Fault::DiskFull)
            && self.bank.nodes.get_mut(victim).unwrap().has_ended()
        {
            self.ended += 1;
            self.bank.run(victim).await;
        }
    }
}

fn touches_process(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Kill | Fault::KillAll | Fault::Pause | Fault::RedisKill | Fault::RedisPause | Fault::DiskFull
    )
}

fn next(name: &str) -> &'static str {
    let index = NAMES.iter().position(|other| *other == name).unwrap();
    NAMES[(index + 1) % NAMES.len()]
}
