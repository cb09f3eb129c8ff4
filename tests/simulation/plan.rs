//! What a seed plays with. Not every run has everything: a fault hides another, and a bank that is always in trouble
//! never grows a long history.

use std::time::Duration;

use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::HomeLimits;
use paxos_banking::node::Timing;

use crate::faults::Fault;

/// How much clients move.
#[derive(Clone, Copy, Debug)]
pub enum Amounts {
    /// Any up to this many hundredths of an account's opening balance.
    Uniform(u64),
    /// Mostly very little, now and then nearly everything.
    Skewed,
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub clients: u64,
    /// The longest pause of a client between two things that it does.
    pub pause_ms_max: u64,
    /// The most transfers in one call.
    pub batch_max: u64,
    pub amounts: Amounts,
    /// Of a hundred transfers, how many pay into, or out of, one account of all.
    pub hot_percent: u64,
    pub settled_percent: u64,
    pub again_percent: u64,
    pub other_content_percent: u64,
    /// Debit and credit accounts that do not exist.
    pub ghost_percent: u64,
    pub opening_percent: u64,
    /// Clients whose clocks are years off, and jump.
    pub wild_clocks: bool,
}

/// All that a seed decides before anything happens.
#[derive(Debug)]
pub struct Plan {
    pub size: usize,
    pub opening: u64,
    pub more_accounts: &'static [&'static str],
    pub limits: HomeLimits,
    pub timing: Timing,
    pub workload: Workload,
    /// The longest delay of a message in the worst weather.
    pub delay_ms_max: u64,
    pub chaos: Duration,
    /// The longest pause between two faults.
    pub fault_ms_max: u64,
    /// The faults of this run, each as often as the others.
    pub faults: Vec<Fault>,
    /// Faults come before all nodes have met.
    pub from_the_cradle: bool,
    /// Most of the stores are lost at once, while the other nodes are away.
    pub disaster: bool,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        // Apart from the stream that the run draws from, so that a change here does not shift everything there.
        let mut entropy = Entropy::from_seed(seed ^ 0x5eed_0f9a_17c0_de55);
        let mut one_in = |n: u64| entropy.below(n) == 0;
        let size = if one_in(8) {
            1
        } else if one_in(4) {
            5
        } else {
            3
        };
        let tight = one_in(3);
        let disaster = size > 1 && one_in(12);
        let from_the_cradle = one_in(6);
        let mut faults: Vec<Fault> = Fault::ALL.iter().copied().filter(|_| !one_in(3)).collect();
        if faults.is_empty() || size == 1 {
            faults = Fault::ALL.to_vec();
        }
        if size == 1 {
            faults.retain(|fault| fault.fits_one_node());
        }
        // A bank of one account has nobody to pay.
        let more_accounts: [&[_]; 3] =
            if size == 1 { [&["x"], &["x"], &["x", "y"]] } else { [&[], &["x"], &["x", "y"]] };
        Self {
            size,
            opening: 40 + entropy.below(160),
            more_accounts: more_accounts[usize::try_from(entropy.below(3)).unwrap()],
            limits: limits(tight, &mut entropy),
            timing: timing(&mut entropy),
            workload: workload(tight, &mut entropy),
            delay_ms_max: [20, 80, 80, 3_000][usize::try_from(entropy.below(4)).unwrap()],
            chaos: Duration::from_secs(20 + entropy.below(20)),
            fault_ms_max: 600 + entropy.below(1_000),
            faults,
            from_the_cradle,
            disaster,
        }
    }
}

/// Room enough; or bounds so tight that everything is forgotten, pushed back and left out.
fn limits(tight: bool, entropy: &mut Entropy) -> HomeLimits {
    if tight {
        HomeLimits {
            log_entries_max: 8 + usize::try_from(entropy.below(10)).unwrap(),
            waiting_max: 4,
            settling_max: 3,
            ids_remembered_max: 20 + usize::try_from(entropy.below(40)).unwrap(),
            // Of three entries: no PROMISE can offer a longer log.
            block_bytes_max: if entropy.below(2) == 0 { 9 * 140 } else { 3 * 140 },
            // What others had chosen while a block is being written is left with them, and fetched.
            unapplied_max: 1,
            settle_at_entries: Some(6),
            // As often as its size allows.
            checkpoint_entries: 1,
            checkpoint_part_rows: 3,
        }
    } else {
        let settle_at_entries = if entropy.below(4) == 0 { None } else { Some(12) };
        HomeLimits {
            settle_at_entries,
            waiting_max: 50,
            settling_max: 50,
            log_entries_max: 300,
            checkpoint_entries: 40,
            checkpoint_part_rows: 10,
            ..HomeLimits::default()
        }
    }
}

fn timing(entropy: &mut Entropy) -> Timing {
    let age = [Some(700), Some(1_500), Some(4_000), None][usize::try_from(entropy.below(4)).unwrap()];
    let mut timing = Timing { settle_age: age.map(Duration::from_millis), ..Timing::default() };
    timing.reconcile.give_up = Duration::from_secs(2);
    timing.reconcile.frame_bytes_max = 600;
    timing
}

/// So many refusals that their records outgrow a small memory.
const MANY_GHOSTS: u64 = 60;

fn workload(tight: bool, entropy: &mut Entropy) -> Workload {
    let amounts = match entropy.below(3) {
        // Shortages are rare.
        0 => Amounts::Uniform(4),
        // And frequent.
        1 => Amounts::Uniform(120),
        _ => Amounts::Skewed,
    };
    let mut percent = |of: &[u64]| of[usize::try_from(entropy.below(of.len() as u64)).unwrap()];
    let ghost_percent = percent(if tight { &[0, 8, MANY_GHOSTS] } else { &[0, 8] });
    Workload {
        clients: percent(&[4, 6, 8]),
        pause_ms_max: if ghost_percent == MANY_GHOSTS { 300 } else { 900 },
        batch_max: percent(&[1, 2, 4]),
        amounts,
        hot_percent: percent(&[0, 0, 60]),
        settled_percent: percent(&[0, 10, 50]),
        again_percent: percent(&[5, 20]),
        other_content_percent: percent(&[0, 3]),
        ghost_percent,
        opening_percent: percent(&[0, 5]),
        wild_clocks: percent(&[0, 0, 1]) == 1,
    }
}
