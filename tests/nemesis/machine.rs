//! What is done to processes, their stores and clocks, and to the proxies between them.

use std::time::Duration;

use paxos_banking::entropy::Entropy;

use crate::bank::{Bank, NAMES};
use crate::faults::{Active, Faults, next, one_of};
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

pub struct Machine {
    pub bank: Bank,
    pub shim: Shim,
    /// Nodes that ended by themselves, because of what was done to their stores.
    pub ended: u64,
}

impl Faults for Machine {
    type Fault = Fault;
    const ALL: &'static [Fault] = &[
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

    fn bank(&self) -> &Bank {
        &self.bank
    }

    /// Nothing is done to a process and its store while something is.
    fn victim(&self, fault: Fault, active: &Active<Fault>, entropy: &mut Entropy) -> Option<&'static str> {
        let touches = |other: &(Fault, &str), name: &str| {
            other.0 == Fault::KillAll || (other.1 == name && touches_process(other.0))
        };
        let idle = |name: &str| !active.iter().any(|other| touches(other, name));
        let on_redis = |name: &str| self.bank.redis.contains_key(name);
        match fault {
            Fault::RedisKill | Fault::RedisPause => one_of(|name| idle(name) && on_redis(name), entropy),
            Fault::DiskFull => one_of(|name| idle(name) && !on_redis(name), entropy),
            Fault::KillAll if !active.is_empty() => None,
            fault if touches_process(fault) => one_of(idle, entropy),
            _ => one_of(|_| true, entropy),
        }
    }

    async fn strike(&mut self, fault: Fault, victim: &'static str, entropy: &mut Entropy) {
        let slow = Way::Slow(Duration::from_millis(5 + entropy.below(60)));
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
                let way = if entropy.below(2) == 0 { Way::HeldThere } else { Way::HeldBack };
                self.bank.way(victim, next(victim)).set(way);
            }
            Fault::SlowPeers => self.bank.set_around(victim, slow),
            Fault::CutClients => self.bank.client_way(victim).set(Way::Cut),
            Fault::DeafClients => self.bank.client_way(victim).set(Way::HeldBack),
            Fault::SlowClients => self.bank.client_way(victim).set(slow),
            Fault::RedisKill => self.bank.redis[victim].kill(),
            Fault::RedisPause => self.bank.redis[victim].stop(),
            Fault::Clock => {
                let years = i64::try_from(entropy.below(21)).unwrap() - 10;
                self.shim.set_clock(victim, years * 365 * 86_400);
            }
            Fault::DiskFull => self.shim.set_full(victim, true),
        }
    }

    async fn mend(&mut self, fault: Fault, victim: &'static str) -> bool {
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
            Fault::DiskFull => self.shim.set_full(victim, false),
        }
        let hit = fault != Fault::DiskFull || self.shim.was_full(victim);
        if matches!(fault, Fault::RedisKill | Fault::RedisPause | Fault::DiskFull)
            && self.bank.nodes.get_mut(victim).unwrap().has_ended()
        {
            self.ended += 1;
            self.bank.run(victim).await;
        }
        hit
    }
}

fn touches_process(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Kill | Fault::KillAll | Fault::Pause | Fault::RedisKill | Fault::RedisPause | Fault::DiskFull
    )
}
