//! The one source of randomness of a node: from the operating system in production, from a seed in the simulation.

use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// A stream of random numbers that the same seed repeats. They tell processes and disks apart and spread attempts; no
/// secret rests on them.
#[derive(Clone, Debug)]
pub struct Entropy(Xoshiro256PlusPlus);

impl Entropy {
    /// Seeded by the operating system.
    ///
    /// # Panics
    /// Where that has no randomness to give: nothing could be told apart then.
    pub fn from_os() -> Self {
        Self::from_seed(getrandom::u64().expect("the operating system gives random numbers"))
    }

    /// The stream of this seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A stream of its own for another user, so that what one draws does not shift what the other gets.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(Xoshiro256PlusPlus::from_rng(&mut self.0))
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A random number below `bound`, which is not zero; its bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A random duration between half of `full` and `full`.
    pub fn upper_half(&mut self, full: Duration) -> Duration {
        let half = full / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX - 1);
        half + Duration::from_micros(self.below(micros + 1))
    }

    /// 80 random bits and more, for a transfer id.
    pub fn wide(&mut self) -> u128 {
        (u128::from(self.number()) << 64) | u128::from(self.number())
    }
}
