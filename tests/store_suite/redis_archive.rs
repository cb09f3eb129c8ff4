//! Blocks that moved out of a Redis into an archive: nobody who reads the chain sees a difference, a crash between any two
//! steps of the move loses nothing.

use paxos_banking::entropy::Entropy;
use paxos_banking::store::{
    ArchivedRedis, Disk, RedisStore, Store, StoreAddress, StoreError, Stream, audit, read_blocks,
};
use paxos_banking::types::{Amount, Height};

use crate::archived_bench::{ArchivedBench, Growing, archived, checked, moved, started, tidy};
use crate::proxy::{Mode, Proxy};
use crate::random::Dice;
use crate::redis_bench;
use crate::script::*;

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
