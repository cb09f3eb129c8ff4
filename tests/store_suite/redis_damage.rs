//! What a Redis keeps on its disk, damaged while the server is stopped: its log of changes cut anywhere, bits flipped and
//! sectors zeroed in any of its files, older copies of one file or of all. Redis itself drops a tail that is not whole, so
//! a store may go back; then it is exactly as it was after some write, for its peers to find out, and never anything else
//! (R13). `REDIS_DAMAGES` sets how many, `REDIS_SEED` replays one.

use std::collections::BTreeMap;
use std::path::Path;

use paxos_banking::effect::Record;
use paxos_banking::entropy::Entropy;
use paxos_banking::store::{Store, StoreError, audit, recover};
use paxos_banking::types::Seq;

use crate::redis_bench::RedisBench;
use crate::script::*;

/// After this write the log is rewritten, so that it has a base; after that one the server is killed and started again.
const REWRITTEN_AFTER: usize = 7;
const KILLED_AFTER: usize = 11;
const SECTOR: usize = 512;

/// The files of a log by name.
type Files = BTreeMap<String, Vec<u8>>;

fn read(directory: &Path) -> Files {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

fn put(directory: &Path, files: &Files) {
    std::fs::remove_dir_all(directory).unwrap();
    std::fs::create_dir(directory).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(directory.join(name), bytes).unwrap());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Cut,
    Flip,
    Zeroes,
    OlderFile,
    OlderLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Redis refuses to start.
    NotStarted,
    /// The start of the node names the damage, and so does `paxbank check`.
    Named,
    /// The state is as it was, and the next write names the damage.
    NamedByWrite,
    /// As it was after this write.
    As(usize),
    /// As before the first: peers know the store that was there by its incarnation.
    New,
}

/// A store in a Redis, with what its disk held after each write, and what the node would have started from then.
struct Life {
    bench: RedisBench,
    copies: Vec<Files>,
    states: Vec<State>,
}

impl Life {
    fn new() -> Self {
        let bench = RedisBench::new();
        let mut life = Self { bench, copies: Vec::new(), states: Vec::new() };
        let mut model = Model::new();
        let (mut store, mut journal) = life.start();
        life.note(&model);
        for (number, records) in script().into_iter().enumerate() {
            store.write(&journal.write(records.clone())).unwrap();
            records.iter().for_each(|record| model.apply(record));
            life.note(&model);
            match number {
                REWRITTEN_AFTER => life.rewrite_log(),
                KILLED_AFTER => {
                    life.bench.server.kill();
                    life.bench.server.restart();
                    (store, journal) = life.start();
                }
                _ => {}
            }
        }
        life
    }

    fn start(&self) -> (impl Store + use<>, paxos_banking::store::Journal) {
        let mut store = self.bench.redis();
        let journal = recover(&mut store, &options()).unwrap().journal;
        (store, journal)
    }

    fn note(&mut self, model: &Model) {
        self.states.push(model.state());
        self.copies.push(read(&self.bench.server.log_directory()));
    }

    fn rewrite_log(&self) {
        let before: Vec<_> = self.copies[self.copies.len() - 1].keys().collect();
        self.bench.server.cli(&["BGREWRITEAOF"]);
        let begun_anew = || {
            let entries = std::fs::read_dir(self.bench.server.log_directory()).unwrap();
            let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            // The manifest keeps its name. What went before is deleted last.
            names.len() == 3 && names.iter().filter(|name| before.contains(name)).count() == 1
        };
        while !begun_anew() {
            std::thread::yield_now();
        }
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    /// After which write the state was this one; the last such, since a checkpoint changes nothing of it.
    fn number_of(&self, state: &State) -> usize {
        let number = self.states.iter().rposition(|known| known == state);
        number.unwrap_or_else(|| panic!("a state that never was: {state:#?}"))
    }

    /// The file to which the server appends.
    fn tail(&self) -> (String, usize) {
        let files = &self.copies[self.last()];
        let (name, bytes) = files.iter().find(|(name, _)| name.ends_with(".incr.aof")).unwrap();
        (name.clone(), bytes.len())
    }

    /// The last write of which all is there when the tail ends at `length`.
    fn whole_at(&self, length: usize) -> usize {
        let (name, _) = self.tail();
        let holds = |files: &Files| files.get(&name).is_some_and(|bytes| bytes.len() <= length);
        // What is in the base is there whatever happens to the tail.
        self.copies.iter().rposition(holds).unwrap_or(0).max(REWRITTEN_AFTER + 1)
    }

    /// Damages the files as these random numbers say: how, with which of them, and the only fate there may be, if there
    /// is but one.
    fn damage(&self, entropy: &mut Entropy) -> (Damage, Files, Option<usize>) {
        let mut below = |bound: usize| usize::try_from(entropy.below(bound as u64)).unwrap();
        let mut files = self.copies[self.last()].clone();
        let any = files.keys().nth(below(files.len())).unwrap().clone();
        let (tail, length) = self.tail();
        match below(10) {
            0..3 => {
                let mut at = below(length);
                if below(2) == 0 {
                    // To where some command ends.
                    at = files[&tail][..at].windows(3).rposition(|bytes| bytes == b"\r\n*").map_or(0, |end| end + 2);
                }
                files.get_mut(&tail).unwrap().truncate(at);
                (Damage::Cut, files, Some(self.whole_at(at)))
            }
            3..7 => {
                // The tail is the larger target, and the one without a checksum of its own.
                let bytes = files.get_mut(if below(3) == 0 { &any } else { &tail }).unwrap();
                let at = below(bytes.len());
                bytes[at] ^= 1 << below(8);
                (Damage::Flip, files, None)
            }
            7 => {
                let bytes = files.get_mut(&any).unwrap();
                let from = below(bytes.len()) / SECTOR * SECTOR;
                let to = bytes.len().min(from + SECTOR);
                bytes[from..to].fill(0);
                (Damage::Zeroes, files, None)
            }
            8 => {
                let older = &self.copies[below(self.last())];
                if let Some(bytes) = older.get(&any) {
                    files.insert(any, bytes.clone());
                }
                (Damage::OlderFile, files, None)
            }
            _ => {
                let number = below(self.last());
                (Damage::OlderLog, self.copies[number].clone(), Some(number))
            }
        }
    }

    /// What becomes of a node that starts on these files.
    fn fate(&self, files: &Files) -> Fate {
        let server = &self.bench.server;
        server.kill();
        put(&server.log_directory(), files);
        if !server.starts() {
            return Fate::NotStarted;
        }
        let mut store = self.bench.redis();
        let audited = audit(&mut store);
        let recovered = match recover(&mut store, &options()) {
            Ok(recovered) => recovered,
            Err(StoreError::Corrupt { .. }) => {
                assert!(matches!(audited, Err(StoreError::Corrupt { .. })), "a check finds it, too: {audited:?}");
                return Fate::Named;
            }
            Err(other) => panic!("{other}"),
        };
        let found = State::of(&recovered);
        if recovered.fresh {
            return Fate::New;
        }
        assert!(audited.is_ok(), "a check finds what no start does: {audited:?}");
        let number = self.number_of(&found);
        let mut journal = recovered.journal;
        let first = Seq(journal.head().log_last.0 + 1);
        let write = journal.write(vec![Record::Log { first, operations: vec![transfer(99, "A", "B")] }]);
        match store.write(&write) {
            Ok(()) => Fate::As(number),
            Err(StoreError::Conflict { .. }) => Fate::NamedByWrite,
            Err(other) => panic!("{other}"),
        }
    }
}

fn number_from(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn r13_whatever_happens_to_the_files_of_a_redis_is_named_or_is_a_state_that_was() {
    let (seed, damages) = match number_from("REDIS_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number_from("REDIS_DAMAGES").unwrap_or(60)),
    };
    let life = Life::new();
    assert_eq!(life.fate(&life.copies[life.last()]), Fate::As(life.last()), "without damage");
    let mut tally: BTreeMap<(Damage, &str), u64> = BTreeMap::new();
    for seed in seed..seed + damages {
        let (damage, files, expected) = life.damage(&mut Entropy::from_seed(seed));
        println!("REDIS_SEED={seed}: {damage:?}");
        let fate = life.fate(&files);
        if let Some(number) = expected {
            assert_eq!(fate, Fate::As(life.number_of(&life.states[number])), "REDIS_SEED={seed}: {damage:?}");
        }
        let shown = match fate {
            Fate::NotStarted => "Redis does not start",
            Fate::Named => "named by the start",
            Fate::NamedByWrite => "named by the next write",
            Fate::As(number) if number == life.last() => "as written",
            // As if the server had been killed in the middle of the last write.
            Fate::As(number) if number + 1 == life.last() && damage == Damage::Cut => "as acknowledged",
            Fate::As(_) => "went back",
            Fate::New => "empty",
        };
        *tally.entry((damage, shown)).or_default() += 1;
    }
    tally.iter().for_each(|((damage, fate), count)| println!("{damage:?}: {count} {fate}"));
    if damages >= 50 {
        let met = |wanted| tally.keys().any(|(_, fate)| *fate == wanted);
        let all = ["Redis does not start", "named by the start", "as written", "went back"];
        all.iter().for_each(|fate| assert!(met(*fate), "no damage was met of which this is the fate: {fate}"));
    }
}
