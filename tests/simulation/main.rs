//! The real nodes in virtual time: the composition root that the binary uses, on a network, disks and clocks that a
//! seed decides.
//!
//! `SIM_SEEDS=n` runs a campaign of n seeds, `SIM_SEED=s` replays one and prints what it exercised. A failure prints the
//! command that replays it, and what happened around it.
//!
//! In reading order: `plan` (what a seed decides), `chaos` (a run from its start to its end), `clients` and `faults`
//! (what happens in it), `world`, `network` and `disk` (where it happens), `record` (what is seen of it), `properties`,
//! `shown` and `witness` (what must hold of that, each citing its rule), `summary` (what was exercised).
#![allow(clippy::unwrap_used)]

mod answers;
mod chaos;
mod clients;
mod disk;
mod exact;
mod faults;
mod network;
mod plan;
mod properties;
mod record;
mod shown;
mod summary;
mod witness;
mod world;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use indicatif::{ProgressBar, ProgressStyle};

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

/// The time that passes outside.
#[expect(clippy::disallowed_methods, reason = "how fast the simulation is, which decides nothing in it")]
fn real_time() -> std::time::Instant {
    std::time::Instant::now()
}

/// Runs each seed, on as many threads as there are cores, and says how to replay the one that fails. `SIM_JOBS` sets
/// the number of threads.
///
/// # Panics
/// Where a run did.
fn campaign<T: Send>(test: &str, seeds: &[u64], run: impl Fn(u64) -> T + Sync, mut take: impl FnMut(T)) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = std::env::var("SIM_JOBS").ok().and_then(|text| text.parse().ok()).unwrap_or(cores).clamp(1, 64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left").unwrap();
    let bar = ProgressBar::new(seeds.len() as u64).with_style(style);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (results, ran) = mpsc::channel();
    let results = Mutex::new(results);
    std::thread::scope(|threads| {
        for _ in 0..jobs.min(seeds.len()) {
            threads.spawn(|| {
                let results = results.lock().unwrap().clone();
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let _guard = Replay { seed: *seed, test, failed: &failed };
                    drop(results.send(run(*seed)));
                }
            });
        }
        // The threads have clones; this one would keep the channel open.
        for _ in 0..seeds.len() {
            let mut result = ran.recv_timeout(std::time::Duration::from_millis(200));
            while result.is_err() && !failed.load(Ordering::Relaxed) {
                result = ran.recv_timeout(std::time::Duration::from_millis(200));
            }
            let Ok(result) = result else { break };
            take(result);
            bar.inc(1);
        }
    });
    bar.finish_and_clear();
}

/// Speaks where a panic passes it.
struct Replay<'a> {
    seed: u64,
    test: &'a str,
    failed: &'a AtomicBool,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, test, failed } = self;
            failed.store(true, Ordering::Relaxed);
            eprintln!("replay with: SIM_SEED={seed} cargo test --test simulation {test} -- --nocapture");
        }
    }
}
