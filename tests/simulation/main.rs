//! The real nodes in virtual time: the composition root that the binary uses, on a network, disks and clocks that a
//! seed decides.
//!
//! `SIM_SEEDS=n` runs a campaign of n seeds, `SIM_SEED=s` replays one and prints what it exercised. A failure prints the
//! command that replays it.
#![allow(clippy::unwrap_used)]

mod chaos;
mod disk;
mod exact;
mod network;
mod observer;
mod world;

/// The seeds to run: one that is to be replayed, or as many as the campaign has.
fn seeds(default: u64) -> Vec<u64> {
    let number = |variable: &str| {
        let text = std::env::var(variable).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
    };
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIM_SEEDS").unwrap_or(default)).collect(),
    }
}

/// Runs each seed, and says how to replay the one that fails.
fn campaign<T>(test: &str, seeds: &[u64], run: impl Fn(u64) -> T) -> Vec<T> {
    let one = |seed: &u64| {
        let _guard = Replay { seed: *seed, test };
        run(*seed)
    };
    seeds.iter().map(one).collect()
}

/// Speaks where a panic passes it.
struct Replay<'a> {
    seed: u64,
    test: &'a str,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, test } = self;
            eprintln!("replay with: SIM_SEED={seed} cargo test --test simulation {test} -- --nocapture");
        }
    }
}
