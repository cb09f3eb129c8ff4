//! What goes wrong, in an order that a seed decides.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use paxos_banking::entropy::Entropy;
use tokio::time::{Instant, sleep};

use crate::bank::{Bank, NAMES};

/// What can be done to a bank.
pub trait Faults {
    type Fault: Copy + Debug + Ord + 'static;
    const ALL: &'static [Self::Fault];

    fn bank(&self) -> &Bank;

    /// To whom it can be done, beside what is wrong already; to nobody, until something is mended.
    fn victim(&self, fault: Self::Fault, active: &Active<Self::Fault>, entropy: &mut Entropy) -> Option<&'static str>;

    async fn strike(&mut self, fault: Self::Fault, victim: &'static str, entropy: &mut Entropy);

    /// Ends it, and says whether it had its effect.
    async fn mend(&mut self, fault: Self::Fault, victim: &'static str) -> bool;
}

/// What is wrong now, and with whom; the first is mended first.
pub type Active<F> = Vec<(F, &'static str)>;

pub struct Nemesis<F: Faults> {
    pub faults: F,
    entropy: Entropy,
    active: Active<F::Fault>,
    /// How often each had its effect.
    pub counts: BTreeMap<F::Fault, u64>,
}

impl<F: Faults> Nemesis<F> {
    pub fn new(faults: F, entropy: Entropy) -> Self {
        Self { faults, entropy, active: Vec::new(), counts: BTreeMap::new() }
    }

    /// For so long, and until each fault had its turn; then all is mended.
    pub async fn rage(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut deck = F::ALL.to_vec();
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

    async fn strike(&mut self, fault: F::Fault) {
        let victim = loop {
            match self.faults.victim(fault, &self.active, &mut self.entropy) {
                Some(victim) => break victim,
                None => self.mend().await,
            }
        };
        self.faults.strike(fault, victim, &mut self.entropy).await;
        self.active.push((fault, victim));
    }

    /// Mends what has been wrong for longest.
    async fn mend(&mut self) {
        let (fault, victim) = self.active.remove(0);
        *self.counts.entry(fault).or_default() += u64::from(self.faults.mend(fault, victim).await);
    }
}

/// One of the nodes, if there is one that is free.
pub fn one_of(free: impl Fn(&str) -> bool, entropy: &mut Entropy) -> Option<&'static str> {
    let free: Vec<_> = NAMES.into_iter().filter(|name| free(name)).collect();
    let index = entropy.below(free.len().max(1) as u64);
    free.get(usize::try_from(index).unwrap()).copied()
}

/// The other one of a link that a fault is about.
pub fn next(name: &str) -> &'static str {
    let index = NAMES.iter().position(|other| *other == name).unwrap();
    NAMES[(index + 1) % NAMES.len()]
}
