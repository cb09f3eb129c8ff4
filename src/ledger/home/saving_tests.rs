use super::super::tests::{block, home_with, node, request, start, submit};
use super::*;
use crate::ledger::home::{HomeLimits, HomeStart};
use crate::ledger::{Checkpoint, Memory};

/// The checkpoint that these effects ask for, and where among them it stands.
fn checkpoint(effects: &[Effect<HomeAction>]) -> Option<(usize, Checkpoint)> {
    effects.iter().enumerate().find_map(|(place, effect)| match effect {
        Effect::Persist(Record::Checkpoint { parts, complete: true }) => {
            Some((place, Checkpoint::joined(parts.clone()).unwrap()))
        }
        _ => None,
    })
}

#[test]
fn a_checkpoint_is_written_behind_the_block_that_makes_it_due() {
    let mut home = home_with(HomeLimits {
        settle_at_entries: None,
        checkpoint_entries: 8,
        ids_remembered_max: 5,
        ..HomeLimits::default()
    });
    let mut due = Vec::new();
    for height in 1..=9_u64 {
        for id in [2 * height, 2 * height + 1] {
            submit(&mut home, request(u128::from(id), "B", 1));
        }
        let next = block(&home, None);
        let effects = home.apply(&next);
        if let Some((place, found)) = checkpoint(&effects) {
            assert!(matches!(&effects[place - 1], Effect::Persist(Record::Block(block)) if block.height().0 == height));
            assert_eq!((found.at.height, found.at.tip), (home.bank().height(), home.bank().tip()));
            due.push((height, found.at.tail.0));
        }
    }
    // Two entries in each block: the last five are left to the last three blocks.
    assert_eq!(due, [(4, 1), (9, 6)]);
}

#[test]
fn a_checkpoint_that_is_large_is_seldom_written() {
    let mut home = home_with(HomeLimits { settle_at_entries: None, checkpoint_entries: 1, ..HomeLimits::default() });
    let mut due = Vec::new();
    for height in 1..=17_u64 {
        submit(&mut home, request(u128::from(height), "B", 1));
        let next = block(&home, None);
        due.extend(checkpoint(&home.apply(&next)).map(|_| height));
    }
    assert_eq!(due, [7, 17], "three accounts count as six entries, four remembered ids as one");
}

#[test]
fn a_checkpoint_is_made_bit_by_bit_and_is_of_its_height_whatever_comes_and_is_forgotten_meanwhile() {
    let limits = HomeLimits {
        settle_at_entries: None,
        checkpoint_entries: 14,
        ids_remembered_max: 4,
        checkpoint_part_rows: 6,
        ..HomeLimits::default()
    };
    let (mut home, _) = Home::new(node("A"), 2, limits, HomeStart { memory: Memory::new(32), ..start() }).unwrap();
    home.set_ready();
    let mut last_id = 0;
    let mut eight_more = |home: &mut Home| {
        for _ in 0..8 {
            last_id += 1;
            submit(home, request(last_id, "B", 1));
        }
        home.apply(&block(home, None))
    };
    let saved = |effects: Vec<Effect<HomeAction>>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Persist(Record::Checkpoint { parts, complete }) => Some((parts, complete)),
            _ => None,
        })
    };
    let mut records = Vec::new();
    // The first are small, since little is remembered by then.
    for height in 1..=6 {
        records = saved(eight_more(&mut home)).into_iter().collect();
        while height < 6 && home.is_saving() {
            let _ = home.save();
        }
    }
    let then = home.clone();
    let mut turns = 0;
    while home.is_saving() {
        // Another is due meanwhile.
        records.extend(saved(eight_more(&mut home)));
        records.extend(saved(home.save()));
        turns += 1;
    }
    assert!(turns >= 3 && records.len() > 3, "{turns} turns, {} records", records.len());
    assert!(records.iter().map(|(_, complete)| *complete).eq((1..=records.len()).map(|n| n == records.len())));
    let parts: Vec<_> = records.into_iter().flat_map(|(parts, _)| parts).collect();
    let tail = (parts[0].at.tail_seq, parts[0].at.tail);
    let mut found = Checkpoint::joined(parts).unwrap();
    let whole = Checkpoint::parts(&then.bank, &then.memory, &then.settled_at, tail, usize::MAX);
    let mut whole = Checkpoint::joined(whole).unwrap();
    assert!(found.approvals.len() < whole.approvals.len(), "some were forgotten before their turn");
    found.tidy(&home.memory);
    whole.tidy(&home.memory);
    assert_eq!(found, whole);
}
