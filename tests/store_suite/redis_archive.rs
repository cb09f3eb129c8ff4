//! Blocks that moved out of a Redis into an archive: nobody who reads the chain sees a difference, a crash between any two
//! steps of the move loses nothing, and what does not belong together is named.

use std::path::Path;

use paxos_banking::entropy::Entropy;
use paxos_banking::store::{
    ArchivedRedis, Disk, RedisStore, Store, StoreAddress, StoreError, Stream, audit, read_blocks, recover,
};
use paxos_banking::types::{Amount, Height, Incarnation};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::archived_bench::{ArchivedBench, Growing, tidy};
use crate::proxy::{Mode, Proxy};
use crate::random::Dice;
use crate::redb_file::quiet_contained_panics;
use crate::redis_bench;
use crate::script::*;

const CHAIN: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("chain");

/// What the archive holds under a height, read behind the store's back.
fn archived(bench: &ArchivedBench, height: u64) -> Option<Vec<u8>> {
    let database = Database::open(bench.file()).unwrap();
    let table = database.begin_read().unwrap().open_table(CHAIN).unwrap();
    table.get(height).unwrap().map(|bytes| bytes.value().to_vec())
}

fn put(bench: &ArchivedBench, height: u64, bytes: Option<&[u8]>) {
    let database = Database::open(bench.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(CHAIN).unwrap();
        match bytes {
            Some(bytes) => table.insert(height, bytes).map(drop).unwrap(),
            None => table.remove(height).map(drop).unwrap(),
        }
    }
    transaction.commit().unwrap();
}

/// Eight blocks, a checkpoint behind them, two more, and all moved that may be.
fn moved(bench: &ArchivedBench) -> Growing {
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 2);
    growing.checkpoint(&mut store);
    growing.grow(&mut store, 10, 2);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 9, 10]);
    growing
}

/// What a check says of the store.
fn checked(bench: &ArchivedBench) -> Result<usize, StoreError> {
    audit(&mut ArchivedRedis::look(&bench.address(), node("A"))?).map(|audit| audit.hashes.len())
}

/// What a start says.
fn started(bench: &ArchivedBench) -> Result<State, StoreError> {
    state(&mut bench.open()?)
}

fn whole_chain(store: &mut dyn Store) -> Vec<(u64, Vec<u8>)> {
    store.read(Stream::Chain, 0, u64::MAX, usize::MAX).unwrap()
}

#[test]
fn blocks_up_to_the_checkpoint_move_and_all_who_read_the_chain_see_all_of_it() {
    let bench = ArchivedBench::new();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 5, 1);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 1, 2, 3, 4, 5], "nothing moves before there is a checkpoint");
    growing.checkpoint(&mut store);
    let before = whole_chain(&mut store);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 5], "genesis and the last block stay");
    assert_eq!(whole_chain(&mut store), before, "byte for byte");
    growing.grow(&mut store, 9, 1);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 6, 7, 8, 9], "and so does what is above the checkpoint");
    growing = growing.again(&mut store);
    let blocks = read_blocks(&mut store, Height(1), Height(9), usize::MAX).unwrap();
    assert_eq!(blocks.iter().map(|block| block.height().0).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    drop(store);
    let audited = audit(&mut ArchivedRedis::look(&bench.address(), node("A")).unwrap()).unwrap();
    assert_eq!((audited.hashes.len(), audited.home.bank.clone()), (10, growing.model.bank.clone()));
    let sum = audited.home.bank.balances().values().fold(Amount::ZERO, |sum, one| sum.checked_add(*one).unwrap());
    assert_eq!(sum, genesis().total(), "R12");
    assert_eq!(started(&bench).unwrap(), growing.model.state());
}

#[test]
fn what_moved_stays_moved_through_a_rewrite_of_the_log_and_a_kill_of_the_server() {
    let bench = ArchivedBench::new();
    let growing = moved(&bench);
    bench.server.cli(&["BGREWRITEAOF"]);
    while bench.server.cli(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:1") {
        std::thread::yield_now();
    }
    bench.server.kill();
    bench.server.restart();
    assert_eq!(bench.in_redis(), [0, 9, 10]);
    let mut store = bench.open().unwrap();
    let mut growing = growing.again(&mut store);
    growing.grow(&mut store, 12, 1);
    growing.checkpoint(&mut store);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 12]);
    drop(store);
    assert_eq!(checked(&bench).unwrap(), 13);
}

/// Reads any ranges under any bounds, from both.
fn reads_alike(dice: &mut Dice, one: &mut dyn Store, other: &mut dyn Store, height: u64) {
    for _ in 0..60 {
        let (from, to) = (dice.roll(height + 3), dice.roll(height + 3));
        let to = if dice.roll(8) == 0 { u64::MAX } else { to };
        let bound = 1 << dice.roll(18);
        let bytes_max = usize::try_from(dice.roll(bound)).unwrap();
        let found = other.read(Stream::Chain, from, to, bytes_max).unwrap();
        assert_eq!(one.read(Stream::Chain, from, to, bytes_max).unwrap(), found, "{from}..={to}, {bytes_max} bytes");
    }
}

#[test]
fn a_store_with_an_archive_reads_as_one_without_whatever_is_asked_and_wherever_the_blocks_are() {
    let bench = ArchivedBench::new();
    let (mut store, mut plain) = (bench.open().unwrap(), Disk::new().open());
    let (mut growing, mut twin) = (Growing::on(&mut store), Growing::on(&mut plain));
    let mut dice = Dice(Entropy::from_seed(9));
    for round in 1..=6 {
        // Parts of a move are bounded by their number as well as by their bytes.
        let (blocks, own) = if round == 3 { (2_500, 0) } else { (5 + dice.roll(20), 1_000 * (round % 2)) };
        let (height, own) = (growing.height() + blocks, usize::try_from(own).unwrap());
        growing.grow(&mut store, height, own);
        twin.grow(&mut plain, height, own);
        growing.checkpoint(&mut store);
        twin.checkpoint(&mut plain);
        let mut parts = 1;
        reads_alike(&mut dice, &mut store, &mut plain, height);
        while store.tidy().unwrap() {
            parts += 1;
            reads_alike(&mut dice, &mut store, &mut plain, height);
        }
        assert!(round != 3 || parts == 3, "{parts} parts");
        reads_alike(&mut dice, &mut store, &mut plain, height);
        assert_eq!(bench.in_redis(), [0, height]);
    }
}

#[test]
fn r13_a_crash_between_the_copy_and_the_removal_leaves_both_and_the_next_process_goes_on() {
    let bench = ArchivedBench::new();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 1);
    growing.checkpoint(&mut store);
    bench.server.cli(&["ACL", "SETUSER", "default", "-xdel"]);
    let error = store.tidy().unwrap_err();
    assert!(error.may_be_retried(), "{error}");
    let copied = whole_chain(&mut store);
    drop(store);
    assert!(archived(&bench, 7).is_some() && archived(&bench, 8).is_none());
    assert_eq!(bench.in_redis(), (0..=8).collect::<Vec<_>>());
    assert_eq!(checked(&bench).unwrap(), 9, "what is in both is there once");
    let mut store = bench.open().unwrap();
    let mut growing = growing.again(&mut store);
    growing.grow(&mut store, 9, 1);
    bench.server.cli(&["ACL", "SETUSER", "default", "+xdel"]);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 9]);
    assert_eq!(whole_chain(&mut store)[..9], copied);
    growing.again(&mut store);
}

#[test]
fn r13_a_removal_whose_answer_was_lost_is_no_fault_to_the_process_nor_to_the_next_one() {
    for restart in [false, true] {
        let bench = ArchivedBench::new();
        let proxy = Proxy::start(bench.server.port());
        let mut store = ArchivedRedis::open(bench.address_by(&proxy.address()), node("A")).unwrap();
        let mut growing = Growing::on(&mut store);
        growing.grow(&mut store, 4, 1);
        growing.checkpoint(&mut store);
        tidy(&mut store);
        growing.grow(&mut store, 8, 1);
        growing.checkpoint(&mut store);
        // It reads a part, and has it removed.
        proxy.set_after(1, Mode::LoseAnswers);
        let error = store.tidy().unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)), "{error}");
        proxy.set(Mode::Pass);
        assert_eq!(bench.in_redis(), [0, 8]);
        if restart {
            drop(store);
            store = bench.open().unwrap();
            growing = growing.again(&mut store);
        }
        tidy(&mut store);
        growing.grow(&mut store, 9, 1);
        growing.checkpoint(&mut store);
        tidy(&mut store);
        assert_eq!(bench.in_redis(), [0, 9]);
        growing.again(&mut store);
    }
}

#[test]
fn r13_a_process_that_lost_the_store_to_another_removes_nothing() {
    let bench = ArchivedBench::new();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 1);
    growing.checkpoint(&mut store);
    redis_bench::open(&bench.server.address_unix()).take_epoch(5).unwrap();
    assert_eq!(store.tidy().unwrap_err(), StoreError::Fenced);
    assert_eq!(bench.in_redis(), (0..=8).collect::<Vec<_>>());
    drop(store);
    // What it had copied by then is no harm to whoever opens the two next.
    let mut store = bench.open().unwrap();
    growing.again(&mut store);
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 8]);
}

#[test]
fn r13_a_server_that_is_killed_in_the_middle_of_a_move_holds_nothing_up() {
    let bench = ArchivedBench::new();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 1);
    growing.checkpoint(&mut store);
    bench.server.kill();
    assert!(store.tidy().unwrap_err().may_be_retried());
    bench.server.restart();
    tidy(&mut store);
    assert_eq!(bench.in_redis(), [0, 8]);
    growing.again(&mut store);
}

#[test]
fn two_processes_cannot_have_one_archive() {
    let bench = ArchivedBench::new();
    let _store = bench.open().unwrap();
    let path = bench.file().display().to_string();
    assert_eq!(bench.open().err(), Some(StoreError::Locked { path: path.clone() }));
    assert_eq!(checked(&bench), Err(StoreError::Locked { path }));
}

#[test]
fn r13_an_archive_that_is_not_there_is_named_with_what_is_missing_before_the_store_is_taken() {
    let bench = ArchivedBench::new();
    let growing = moved(&bench);
    let store = bench.server.address_unix();
    let epoch = bench.server.cli(&["HGET", "SERVER-PAXOS-A", "epoch"]);
    let gap = |archive, first| {
        let store = store.clone();
        Some(StoreError::Gap { store, archive, first: Height(first), last: Height(8) })
    };
    // Without it.
    let plain: StoreAddress = store.parse().unwrap();
    let mut opened = plain.open(node("A"), &Disk::new()).unwrap();
    let without = recover(&mut *opened, &options()).err();
    assert_eq!(without, gap(None, 1));
    assert!(without.unwrap().to_string().contains("--archive"));
    assert_eq!(audit(&mut *opened).err(), gap(None, 1));
    assert_eq!(read_blocks(&mut *opened, Height(4), Height(10), 1).err(), gap(None, 4));
    assert_eq!(read_blocks(&mut *opened, Height(9), Height(10), 1 << 20).unwrap().len(), 2);
    // With an older copy, and with none.
    let path = bench.file().display().to_string();
    let newest = std::fs::read(bench.file()).unwrap();
    (6..=8).for_each(|height| put(&bench, height, None));
    assert_eq!(started(&bench).err(), gap(Some(path.clone()), 6));
    assert_eq!(checked(&bench).err(), gap(Some(path.clone()), 6));
    std::fs::remove_file(bench.file()).unwrap();
    assert_eq!(checked(&bench).err(), gap(None, 1));
    assert!(!bench.file().exists(), "a check makes none");
    assert_eq!(started(&bench).err(), gap(Some(path), 1));
    assert_eq!(bench.server.cli(&["HGET", "SERVER-PAXOS-A", "epoch"]), epoch, "nobody took the store");
    std::fs::write(bench.file(), newest).unwrap();
    assert_eq!(started(&bench).unwrap(), growing.model.state());
}

#[test]
fn r13_an_archive_beside_a_new_redis_or_that_of_another_store_is_refused() {
    let (bench, other) = (ArchivedBench::new(), ArchivedBench::new());
    let growing = moved(&bench);
    moved(&other);
    let mine = std::fs::read(bench.file()).unwrap();
    let other_archive = |result: Result<State, StoreError>, expected: &str| match result {
        Err(error @ StoreError::OtherArchive { .. }) => assert!(error.to_string().contains(expected), "{error}"),
        other => panic!("{other:?}"),
    };
    // Of the same node of the same bank, but another life of it.
    let mut flushed = ArchivedBench { server: other.server, directory: bench.directory };
    flushed.server.flush_all();
    other_archive(started(&flushed), "there is no store of this node");
    let mut reborn = redis_bench::open(&flushed.server.address_unix());
    recover(&mut reborn, &paxos_banking::store::RecoverOptions { incarnation: Incarnation(7), ..options() }).unwrap();
    drop(reborn);
    other_archive(started(&flushed), "there is store 0000000000000007 of node A");
    assert!(matches!(checked(&flushed), Err(StoreError::OtherArchive { .. })));
    assert_eq!(std::fs::read(flushed.file()).unwrap().len(), mine.len(), "it was left as it was");
    flushed.server = bench.server;
    assert_eq!(started(&flushed).unwrap(), growing.model.state());
}

#[test]
fn r13_a_redis_that_went_back_behind_its_archive_is_named() {
    let bench = ArchivedBench::new();
    let copies = tempfile::tempdir().unwrap();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 4, 1);
    drop(store);
    copy(&bench.server.log_directory(), copies.path());
    let mut store = bench.open().unwrap();
    let mut growing = growing.again(&mut store);
    growing.grow(&mut store, 9, 1);
    growing.checkpoint(&mut store);
    tidy(&mut store);
    drop(store);
    bench.server.kill();
    std::fs::remove_dir_all(bench.server.log_directory()).unwrap();
    std::fs::create_dir(bench.server.log_directory()).unwrap();
    copy(copies.path(), &bench.server.log_directory());
    bench.server.restart();
    let expected = StoreError::WentBack {
        store: bench.server.address_unix(),
        height: Height(4),
        archive: bench.file().display().to_string(),
        archived: Height(8),
    };
    assert_eq!(started(&bench).err(), Some(expected.clone()));
    assert_eq!(checked(&bench).err(), Some(expected));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn r13_another_block_in_the_archive_where_one_is_to_move_is_damage_and_nothing_is_removed() {
    let bench = ArchivedBench::new();
    let mut store = bench.open().unwrap();
    let mut growing = Growing::on(&mut store);
    growing.grow(&mut store, 8, 1);
    growing.checkpoint(&mut store);
    bench.server.cli(&["ACL", "SETUSER", "default", "-xdel"]);
    store.tidy().unwrap_err();
    bench.server.cli(&["ACL", "SETUSER", "default", "+xdel"]);
    drop(store);
    put(&bench, 3, archived(&bench, 4).as_deref());
    let mut store = bench.open().unwrap();
    growing.again(&mut store);
    match store.tidy() {
        Err(StoreError::Corrupt { key, what }) if key == "chain/3" => assert!(what.contains("A.archive"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.in_redis(), (0..=8).collect::<Vec<_>>());
}

#[test]
fn damage_in_the_archive_is_found_and_named_when_it_is_read() {
    quiet_contained_panics();
    let bench = ArchivedBench::new();
    let growing = moved(&bench);
    for height in [1, 5, 8] {
        let intact = archived(&bench, height).unwrap();
        let mut forged = intact.clone();
        *forged.last_mut().unwrap() ^= 1;
        put(&bench, height, Some(&forged));
        let key = Stream::Chain.key(height);
        assert!(matches!(checked(&bench), Err(StoreError::Corrupt { key: found, .. }) if found == key));
        put(&bench, height, Some(&intact));
    }
    let intact = archived(&bench, 5).unwrap();
    put(&bench, 5, None);
    assert!(matches!(checked(&bench), Err(StoreError::Corrupt { key, .. }) if key == "chain/5"));
    put(&bench, 5, Some(&intact));
    assert_eq!(checked(&bench).unwrap(), 11);
    // A bit anywhere in the file: it is found, or nothing that is read depends on it.
    let file = std::fs::read(bench.file()).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for position in (0..file.len()).step_by(4_099) {
        let mut damaged = file.clone();
        damaged[position] ^= 0x10;
        std::fs::write(bench.file(), &damaged).unwrap();
        match checked(&bench) {
            Ok(blocks) => {
                assert_eq!(blocks, 11);
                harmless += 1;
            }
            Err(StoreError::Corrupt { .. } | StoreError::Gap { .. } | StoreError::Open { .. }) => found += 1,
            Err(other) => panic!("byte {position}: {other}"),
        }
    }
    assert!(found > 0 && harmless > 0, "{found} found, {harmless} harmless");
    std::fs::write(bench.file(), &file[..file.len() / 2]).unwrap();
    assert!(checked(&bench).is_err());
    std::fs::write(bench.file(), []).unwrap();
    assert!(matches!(checked(&bench), Err(StoreError::Corrupt { .. })));
    std::fs::write(bench.file(), &file).unwrap();
    assert_eq!(started(&bench).unwrap(), growing.model.state());
}

#[test]
fn only_a_redis_has_an_archive() {
    for address in ["memory", "redb:bank"] {
        let address: StoreAddress = address.parse().unwrap();
        let error = address.clone().with_archive(Some("archive".into())).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(address.clone().with_archive(None), Ok(address));
    }
}

#[test]
fn a_store_without_an_archive_moves_nothing() {
    let bench = ArchivedBench::new();
    let address: StoreAddress = bench.server.address_unix().parse().unwrap();
    let mut store = address.open(node("A"), &Disk::new()).unwrap();
    let mut growing = Growing::on(&mut *store);
    growing.grow(&mut *store, 8, 1);
    growing.checkpoint(&mut *store);
    assert_eq!(store.tidy(), Ok(false));
    assert_eq!(bench.in_redis(), (0..=8).collect::<Vec<_>>());
    let mut bare = RedisStore::open(bench.server.address_unix().parse().unwrap(), node("A")).unwrap();
    assert_eq!(state(&mut bare).unwrap(), growing.model.state(), "nor is anything there that an older program minds");
}
