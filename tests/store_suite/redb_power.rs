//! Random lives of the embedded store on a disk whose power is cut anywhere, again and again: what is found each time,
//! and that damage beyond that is named. `REDB_CUTS` sets how often, `REDB_SEED` replays one life.

use indicatif::{ProgressBar, ProgressStyle};
use paxos_banking::effect::Record;
use paxos_banking::entropy::Entropy;
use paxos_banking::store::{RecoverOptions, Recovered, RedbStore, Store, StoreError, recover};
use paxos_banking::types::Incarnation;

use crate::power_disk::{Action, Cut, Damage, Part, PowerDisk, WalOn};
use crate::power_tally::{Fate, Found, Phase, Tally};
use crate::power_truth::{Checked, Point, Start, Truth};
use crate::random::Dice;
use crate::redb_file::quiet_contained_panics;
use crate::script::*;

/// One store, from its creation through many processes that die.
struct Life<'a> {
    chance: Entropy,
    dice: Dice,
    sector_bytes: usize,
    lies: bool,
    /// Its records are so large now and then that the file grows, and shrinks again.
    large: bool,
    disk: PowerDisk,
    /// The last process ended in order.
    closed_in_order: bool,
    truth: Truth,
    /// Operations and syncs of the last run through each phase: the power is cut within as many.
    usual: [(u64, u64); 4],
    tally: &'a mut Tally,
}

impl<'a> Life<'a> {
    fn new(seed: u64, lies: bool, tally: &'a mut Tally) -> Self {
        let mut chance = Entropy::from_seed(seed);
        let dice = Dice(chance.split());
        let sector_bytes = if chance.below(4) == 0 { 4096 } else { 512 };
        let large = chance.below(5) == 0;
        Self {
            chance,
            dice,
            sector_bytes,
            lies,
            large,
            disk: PowerDisk::new(sector_bytes, lies),
            closed_in_order: false,
            truth: Truth::new(),
            usual: [(40, 4); 4],
            tally,
        }
    }

    fn run(mut self) -> Checked {
        self.tally.lives += 1;
        *self.tally.sectors.entry(self.sector_bytes).or_default() += 1;
        let cuts = self.tally.cuts() + 5 + self.chance.below(16);
        while self.tally.cuts() < cuts {
            self.process()?;
            // redb trusts a file that was closed in order more than another, which makes that the harder case.
            let tries = if self.closed_in_order { 2 } else { u64::from(self.chance.below(3) == 0) };
            for _ in 0..if self.truth.identity.is_some() { tries } else { 0 } {
                self.damage()?;
            }
        }
        self.tally.operations += self.disk.operations().0;
        Ok(())
    }

    /// One process from its start to its end, which is a loss of power, or now and then an orderly one.
    fn process(&mut self) -> Checked {
        let planned = match self.chance.below(20) {
            0..=4 => Some(Phase::Opening),
            5..=8 => Some(Phase::Recovering),
            9..=13 => Some(Phase::Writing),
            14..=16 => Some(Phase::Closing),
            17 => Some(Phase::Idle),
            _ => None,
        };
        self.arm(planned, Phase::Opening);
        let before = self.disk.operations();
        let opened = open(&self.disk);
        let off = self.ran(Phase::Opening, before);
        match opened {
            Ok(store) if off => drop(store),
            Ok(mut store) => {
                self.start(&mut store, planned)?;
                self.stop(store, planned);
            }
            Err(error) if off => self.truth.r13_without_power_nothing_is_called_damaged(off, &error)?,
            Err(error) => {
                self.truth.r13_only_an_unfinished_creation_is_refused(&error)?;
                self.begin_again();
            }
        }
        self.closed_in_order = self.disk.off().is_none();
        self.tally.closed += u64::from(self.closed_in_order);
        self.disk.restart(&mut self.chance);
        Ok(())
    }

    /// Orders the loss of power if it is planned for the phase that begins.
    fn arm(&mut self, planned: Option<Phase>, phase: Phase) {
        if planned != Some(phase) {
            return;
        }
        let (operations, syncs) = self.usual[phase as usize];
        // Most is at stake where everything is written and nothing is synced, or where the length changes.
        let (action, count) = match self.chance.below(8) {
            0 if self.large => (Some(Action::Resize), 1),
            0..=3 => (Some(Action::Sync), syncs),
            _ => (None, operations),
        };
        let count = 1 + self.chance.below(count.max(1));
        self.disk.cut(Cut { action, count, after: self.chance.below(2) == 0 });
    }

    /// Counts what a phase took, and whether the power went in it.
    fn ran(&mut self, phase: Phase, (operations, syncs): (u64, u64)) -> bool {
        let now = self.disk.operations();
        match self.disk.off() {
            Some(action) => self.tally.cut(phase, action),
            None => self.usual[phase as usize] = (now.0 - operations, now.1 - syncs),
        }
        self.disk.off().is_some()
    }

    /// Recovers, and goes on writing on what is found.
    fn start(&mut self, store: &mut RedbStore, planned: Option<Phase>) -> Checked {
        let incarnation = Incarnation(self.chance.number());
        let token = self.chance.number();
        if self.truth.identity.is_none() {
            self.truth.drawn.insert(incarnation);
        }
        self.truth.attempts += 1;
        self.arm(planned, Phase::Recovering);
        let before = self.disk.operations();
        let recovered = recover(store, &RecoverOptions { token, incarnation, ..options() });
        let off = self.ran(Phase::Recovering, before);
        match recovered {
            Ok(recovered) => {
                let found = self.truth.judge(&Start::of(&recovered))?;
                self.tally.found(found);
                if off { Ok(()) } else { self.write(store, recovered, planned) }
            }
            Err(error) if off => self.truth.r13_without_power_nothing_is_called_damaged(off, &error),
            Err(error) => Err(format!("R3, R13: an undamaged store was refused: {error}")),
        }
    }

    fn write(&mut self, store: &mut RedbStore, recovered: Recovered, planned: Option<Phase>) -> Checked {
        let mut journal = recovered.journal;
        self.arm(planned, Phase::Writing);
        let before = self.disk.operations();
        for _ in 0..self.chance.below(10) {
            let (records, next) = self.next_write(self.truth.newest.clone());
            match store.write(&journal.write(records)) {
                Ok(()) => {
                    self.truth.acknowledge(next);
                    // As an idle node does.
                    if self.chance.below(3) == 0 {
                        store.check_epoch(recovered.epoch).map_err(|error| error.to_string())?;
                        self.truth.sealed = self.disk.off().is_none();
                    }
                }
                Err(error) => {
                    let off = self.ran(Phase::Writing, before);
                    self.truth.r13_without_power_nothing_is_called_damaged(off, &error)?;
                    // What certainly did not happen must not be there, so that it is not under way.
                    self.truth.under_way = matches!(error, StoreError::Unknown(_)).then_some(next);
                    return Ok(());
                }
            }
        }
        self.ran(Phase::Writing, before);
        Ok(())
    }

    /// The records of a write that may follow on `last`, and what is there with them.
    fn next_write(&mut self, last: Point) -> (Vec<Record>, Point) {
        let mut next = Point { number: last.number + 1, ..last };
        let records = (0..self.dice.roll(5)).map(|_| self.record(&mut next.model)).collect();
        (records, next)
    }

    fn record(&mut self, model: &mut Model) -> Record {
        let record = match self.large && self.dice.roll(6) == 0 {
            true if self.dice.roll(2) == 0 => Record::RefusedTrim { first_live: model.refused_next },
            true => {
                let refusals = (0..2_000 + self.dice.roll(6_000)).map(|id| refusal(id.into(), "A"));
                Record::Refused { number: model.refused_next, refusals: refusals.collect() }
            }
            false => self.dice.record(model),
        };
        model.apply(&record);
        record
    }

    /// Lets the process go. One that lost power has no time to close its store, whatever its destructor tries.
    fn stop(&mut self, store: RedbStore, planned: Option<Phase>) {
        if self.disk.off().is_some() {
            return drop(store);
        }
        if planned == Some(Phase::Idle) {
            self.disk.cut_now();
            self.ran(Phase::Idle, self.disk.operations());
            return drop(store);
        }
        self.arm(planned, Phase::Closing);
        let before = self.disk.operations();
        drop(store);
        self.ran(Phase::Closing, before);
    }

    /// What an operator does with what is left of a creation that never ended.
    fn begin_again(&mut self) {
        self.tally.found(Found::RefusedNew);
        self.tally.operations += self.disk.operations().0;
        self.disk = PowerDisk::new(self.sector_bytes, self.lies);
        self.truth = Truth::new();
    }

    /// Damages a copy of what is on the disk, and looks what a start makes of that.
    fn damage(&mut self) -> Checked {
        let kind = Damage::ALL[usize::try_from(self.chance.below(4)).unwrap()];
        let disk = self.disk.copy();
        let Some(site) = disk.damage(kind, &mut self.chance) else { return Ok(()) };
        let loaded = load(&disk);
        let start = loaded.as_ref().map(|(_, recovered)| Start::of(recovered));
        let fate =
            self.truth.r13_damage_is_named_or_changes_nothing(kind, site, start.as_ref().map_err(|error| *error))?;
        self.tally.damaged(kind, fate);
        match (fate, loaded) {
            (Fate::Harmless, Ok((store, recovered))) => self
                .r13_harmless_damage_stays_harmless(store, recovered, &disk)
                .map_err(|what| format!("{what}, {kind:?} at {site:?}")),
            _ => Ok(()),
        }
    }

    /// What was not found at a start must not grow into damage of what is written from then on.
    fn r13_harmless_damage_stays_harmless(
        &mut self,
        mut store: RedbStore,
        recovered: Recovered,
        disk: &PowerDisk,
    ) -> Checked {
        let failed = |error: StoreError| format!("R13: a store with harmless damage: {error}");
        let mut point = self.truth.allowed(&Start::of(&recovered)).unwrap().clone();
        let mut journal = recovered.journal;
        for _ in 0..self.chance.below(5) {
            let (records, next) = self.next_write(point);
            store.write(&journal.write(records)).map_err(failed)?;
            point = next;
        }
        drop(store);
        let (_store, recovered) = load(disk).map_err(failed)?;
        if Start::of(&recovered).is(&point) { Ok(()) } else { Err("R13: harmless damage was not".to_owned()) }
    }
}

/// Some writes fill half of the log, and some do not fit in it.
const HALF_PAGES: u64 = 4;

fn open(disk: &PowerDisk) -> Result<RedbStore, StoreError> {
    let database = disk.file(Part::Database);
    RedbStore::on_backends("disk", move || database.clone(), WalOn(disk.file(Part::Wal)), HALF_PAGES)
}

fn load(disk: &PowerDisk) -> Result<(RedbStore, Recovered), StoreError> {
    let mut store = open(disk)?;
    let recovered = recover(&mut store, &options())?;
    Ok((store, recovered))
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

fn live(seed: u64, lies: bool, tally: &mut Tally) -> Checked {
    let replay = format!("REDB_SEED={seed} cargo test --test store_suite redb_power -- --nocapture");
    let _named = Replay(replay.clone());
    Life::new(seed, lies, tally).run().map_err(|what| format!("{what}\nto replay: {replay}"))
}

/// Says how to replay a life that ends in a panic.
struct Replay(String);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("to replay: {}", self.0);
        }
    }
}

fn progress(cuts: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} losses of power, {elapsed}");
    ProgressBar::new(cuts).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[test]
fn r13_any_subset_of_unsynced_sectors_may_be_lost_and_nothing_acknowledged_is() {
    quiet_contained_panics();
    let mut tally = Tally::default();
    if let Some(seed) = number_from("REDB_SEED") {
        live(seed, false, &mut tally).unwrap_or_else(|what| panic!("{what}"));
        return println!("{tally}");
    }
    let cuts = number_from("REDB_CUTS").unwrap_or(2_000);
    let bar = progress(cuts);
    for seed in 0.. {
        live(seed, false, &mut tally).unwrap_or_else(|what| panic!("after {} cuts: {what}", tally.cuts()));
        bar.set_position(tally.cuts());
        if tally.cuts() >= cuts {
            break;
        }
    }
    bar.finish_and_clear();
    println!("{tally}");
    tally.assert_enough();
}

#[test]
fn r13_a_disk_that_acknowledges_a_sync_and_does_not_do_it_is_noticed() {
    quiet_contained_panics();
    let mut tally = Tally::default();
    let noticed = (0..20).find_map(|seed| live(seed, true, &mut tally).err());
    assert!(noticed.is_some(), "{tally}");
}

#[test]
fn a_seed_repeats_its_life() {
    quiet_contained_panics();
    let [first, second] = [0, 1].map(|_| {
        let mut tally = Tally::default();
        live(3, false, &mut tally).unwrap();
        tally
    });
    assert_eq!(first, second);
}
