//! Nodes that are killed, and come back.

use paxos_banking::client::Outcome;
use paxos_banking::ledger::Wait;
use paxos_banking::types::{Amount, Height};
use paxos_banking::wire::client::Transfer;
use tokio::time::timeout;

use crate::bank::{Bank, NAMES, Stores, account};
use crate::load::Load;
use crate::process::PATIENCE;

#[tokio::test]
async fn each_node_is_killed_in_turn_under_load_and_every_acknowledged_transfer_is_there_once() {
    for stores in [Stores::Redb, Stores::Redis] {
        let mut bank = Bank::start(stores, 1_000).await;
        let load = Load::start(&bank);
        load.goes_on(&NAMES, 5).await;
        for victim in NAMES {
            bank.kill(victim).await;
            let others: Vec<_> = NAMES.into_iter().filter(|name| *name != victim).collect();
            load.goes_on(&others, 10).await;
            bank.run(victim).await;
            bank.ready(victim).await;
            load.goes_on(&NAMES, 5).await;
        }
        load.check(&bank, 1_000).await;
    }
}

#[tokio::test]
async fn all_three_are_killed_at_once_under_load_and_restarted() {
    let mut bank = Bank::start(Stores::Redb, 1_000).await;
    let load = Load::start(&bank);
    for _ in 0..2 {
        load.goes_on(&NAMES, 10).await;
        for name in NAMES {
            bank.nodes[name].signal("-KILL");
        }
        for name in NAMES {
            bank.kill(name).await;
        }
        for name in NAMES {
            bank.run(name).await;
        }
        bank.all_ready().await;
    }
    load.goes_on(&NAMES, 10).await;
    load.check(&bank, 1_000).await;
}

/// So many transfers out of A, in batches, all approved.
pub async fn many(bank: &Bank, count: usize) {
    let client = bank.client();
    let transfer = |_| Transfer(client.new_id(), account("A"), account("B"), Amount::new(1));
    let transfers: Vec<_> = (0..count).map(transfer).collect();
    for outcome in client.transfers(&transfers, Wait::Local, PATIENCE).await {
        assert!(matches!(outcome, Ok(Outcome::Approved(_))), "{outcome:?}");
    }
    client.settle(None, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_away_for_many_blocks_catches_up_in_bounded_frames() {
    let mut bank = Bank::start(Stores::Redb, 1_000_000).await;
    bank.kill("C").await;
    // Blocks of more bytes than one frame takes.
    many(&bank, 260_000).await;
    let height = bank.until("A", |status| status.log == Some(0)).await.height;
    assert!(height >= Height(2), "{height}");
    bank.run("C").await;
    bank.until("C", |status| status.height >= height).await;
    bank.ready("C").await;
    let frames = [bank.way("A", "C").passed("R_BLOCKS_RESP"), bank.way("B", "C").passed("R_BLOCKS_RESP")];
    let count: usize = frames.iter().map(|(count, _)| count).sum();
    assert!(count >= 2, "{frames:?}");
    // A frame ends with the block that passes the bound.
    assert!(frames.iter().all(|(_, longest)| *longest <= (4 << 20) + (8 << 20)), "{frames:?}");
    assert_eq!(bank.chain("C").await, bank.chain("A").await);
}

#[tokio::test]
async fn a_peer_dies_in_the_middle_of_r_blocks_resp_and_the_next_one_delivers() {
    let mut bank = Bank::start(Stores::Redb, 1_000).await;
    bank.kill("C").await;
    let client = bank.client();
    for _ in 0..5 {
        bank.approved(&client, "A", "B", 1, Wait::Settled).await;
    }
    // Whoever answers first is asked for the blocks.
    let (from_a, from_b) = (bank.way("A", "C").catch("R_BLOCKS_RESP"), bank.way("B", "C").catch("R_BLOCKS_RESP"));
    bank.run("C").await;
    let first = async {
        tokio::select! {
            caught = from_a => caught.map(|()| "A"),
            caught = from_b => caught.map(|()| "B"),
        }
    };
    let dying = timeout(PATIENCE, first).await.expect("C asks for blocks").unwrap();
    let other = if dying == "A" { "B" } else { "A" };
    bank.way(other, "C").release();
    bank.kill(dying).await;
    bank.until("C", |status| status.height >= Height(5)).await;
    assert_eq!(bank.chain("C").await, bank.chain(other).await);
    bank.approved(&client, "C", other, 1, Wait::Settled).await;
    bank.run(dying).await;
    bank.all_ready().await;
    bank.settled().await;
}
