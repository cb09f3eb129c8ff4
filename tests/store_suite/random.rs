//! Random lives of a node, with failing writes and crashes: all stores give back the same, and what a model says.

use paxos_banking::effect::{Record, Slot};
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::Operation;
use paxos_banking::store::{Disk, Fault, Journal, Store, recover};
use paxos_banking::types::{Incarnation, Seq};

use crate::archived_bench::ArchivedBench;
use crate::bench::{Bench, RedbBench, dump};
use crate::redis_bench::RedisBench;
use crate::script::*;

/// Names the seed if the test fails, however it does.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "failed with seed {}; to replay: STORE_SEED={} cargo test --test store_suite random",
                self.0, self.0
            );
        }
    }
}

pub struct Dice(pub Entropy);

impl Dice {
    /// Below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0.below(sides)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.roll(choices.len() as u64)).unwrap()]
    }

    fn operations(&mut self, from: &str, to: &[&str]) -> Vec<Operation> {
        (0..=self.roll(3)).map(|_| transfer(self.roll(1 << 40).into(), from, self.pick(to))).collect()
    }

    /// A record that may follow on what the model holds.
    pub fn record(&mut self, model: &Model) -> Record {
        let any_ballot = |dice: &mut Self| ballot(dice.roll(50), dice.pick(&["A", "B", "C"]));
        match self.roll(17) {
            0..=3 => {
                let first = Seq(model.entries.len() as u64 + 1);
                Record::Log { first, operations: self.operations("A", &["B", "C"]) }
            }
            4..=6 => Record::Block(self.block(model)),
            7 => Record::Promise(any_ballot(self)),
            8..=9 => Record::Accepted(Slot { ballot: any_ballot(self), block: self.block(model) }),
            10..=11 => {
                let ids: Vec<_> = (0..=self.roll(2)).map(|_| self.roll(1 << 40)).collect();
                let refusals = ids.into_iter().map(|id| refusal(id.into(), self.pick(&["A", "ghost@A"])));
                Record::Refused { number: model.refused_next, refusals: refusals.collect() }
            }
            12 => {
                let first = model.refusals.keys().next().copied().unwrap_or(model.refused_next);
                Record::RefusedTrim { first_live: first + self.roll(model.refused_next - first + 1) }
            }
            13 => {
                let owner = self.pick(&[None, Some(account("A")), Some(account("old@A"))]);
                Record::Horizon { owner, id: u128::from(self.roll(1 << 38)).into() }
            }
            14 => Record::Peer { node: node(self.pick(&["B", "C"])), incarnation: Incarnation(self.roll(u64::MAX)) },
            15 => model.checkpoint(Seq(self.roll(model.watermark() as u64 + 1)), 2),
            _ => Record::Admitted,
        }
    }

    /// The vote that stands, or a new block of a part of what is unsettled.
    fn block(&mut self, model: &Model) -> std::sync::Arc<paxos_banking::ledger::Block> {
        if let Some(slot) = model.slot.as_ref().filter(|_| self.roll(2) == 0) {
            return slot.block.clone();
        }
        let unsettled = model.unsettled();
        let own = usize::try_from(self.roll(unsettled.len() as u64 + 1)).unwrap();
        let from_b = self.operations("B", &["A", "C"]);
        block(&model.bank, &[("A", &unsettled[..own]), ("B", &from_b)])
    }
}

/// All stores of one life, each with the journal of the process that runs on it.
struct Life {
    disk: Disk,
    benches: (RedbBench, RedisBench, ArchivedBench),
    stores: [Box<dyn Store>; 4],
    journals: [Journal; 4],
}

impl Life {
    fn new() -> Self {
        let (disk, benches) = (Disk::new(), (RedbBench::new(), RedisBench::new(), ArchivedBench::new()));
        let mut stores = Self::open(&disk, &benches);
        let journals = [0, 1, 2, 3].map(|index| recover(&mut *stores[index], &options()).unwrap().journal);
        Self { disk, benches, stores, journals }
    }

    fn open(disk: &Disk, benches: &(RedbBench, RedisBench, ArchivedBench)) -> [Box<dyn Store>; 4] {
        let (redb, redis) = (benches.0.open().unwrap(), benches.1.open().unwrap());
        [Box::new(disk.open()), redb, redis, benches.2.open_tidied()]
    }

    fn restart_and_compare(mut self, model: &Model) -> Self {
        drop(self.stores);
        self.stores = Self::open(&self.disk, &self.benches);
        let expected = model.state();
        self.journals = [0, 1, 2, 3].map(|index| {
            let recovered = recover(&mut *self.stores[index], &options()).unwrap();
            assert_eq!(State::of(&recovered), expected, "{}", self.stores[index].describe());
            recovered.journal
        });
        let [memory, redb, redis, archived] = &mut self.stores;
        assert_eq!(dump(&mut **memory), dump(&mut **redb), "byte for byte");
        assert_eq!(dump(&mut **memory), dump(&mut **redis), "byte for byte");
        assert_eq!(dump(&mut **memory), dump(&mut **archived), "byte for byte");
        self
    }
}

/// Gives how many blocks moved into the archive.
fn run(seed: u64, writes: usize) -> u64 {
    let _named = Seed(seed);
    let mut dice = Dice(Entropy::from_seed(seed));
    let (mut life, mut model) = (Life::new(), Model::new());
    for _ in 0..writes {
        let mut next = model.clone();
        let records: Vec<Record> = (0..dice.roll(5))
            .map(|_| {
                let record = dice.record(&next);
                next.apply(&record);
                record
            })
            .collect();
        let [in_memory, in_redb, in_redis, in_both] =
            [0, 1, 2, 3].map(|index| life.journals[index].write(records.clone()));
        let fault =
            dice.pick(&[None, None, Some(Fault::NotWritten), Some(Fault::UnknownDone), Some(Fault::UnknownLost)]);
        if let Some(fault) = fault {
            life.disk.fail_next(fault);
            assert!(life.stores[0].write(&in_memory).unwrap_err().may_be_retried());
        }
        let crash = dice.roll(6) == 0;
        if crash && matches!(fault, Some(Fault::NotWritten | Fault::UnknownLost)) {
            // The process dies before it repeats the write: what it was about to write is not there.
            life.disk.crash(dice.roll(2) == 0);
        } else if crash && fault.is_none() {
            // It dies before the disk has synced, and by luck the write is there, or it is not.
            let keep_unsynced = dice.roll(2) == 0;
            life.disk.apply(&in_memory).unwrap();
            life.disk.crash(keep_unsynced);
            if keep_unsynced {
                life.stores[1].write(&in_redb).unwrap();
                life.stores[2].write(&in_redis).unwrap();
                life.stores[3].write(&in_both).unwrap();
                model = next;
            }
        } else {
            life.stores[0].write(&in_memory).unwrap();
            life.stores[1].write(&in_redb).unwrap();
            life.stores[2].write(&in_redis).unwrap();
            life.stores[3].write(&in_both).unwrap();
            model = next;
        }
        if crash {
            life = life.restart_and_compare(&model);
        }
    }
    let life = life.restart_and_compare(&model);
    life.benches.2.in_redis().get(1).map_or(0, |first| first - 1)
}

#[test]
fn r13_random_lives_come_back_from_every_store_as_they_were() {
    match std::env::var("STORE_SEED") {
        Ok(seed) => drop(run(seed.parse().unwrap(), 120)),
        Err(_) => {
            let moved: Vec<u64> = (0..12).map(|seed| run(seed, 120)).collect();
            assert!(moved.iter().all(|moved| *moved > 0), "{moved:?}");
        }
    }
}
