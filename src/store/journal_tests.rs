use super::*;
use crate::ledger::{Action, Bank, Memory, Reason, Run, SettledAt};
use crate::store::record::LogBatch;
use crate::types::Amount;

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn genesis() -> Genesis {
    Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(100)).unwrap()
}

fn journal() -> Journal {
    let head = Head::at_genesis(&genesis());
    Journal::resume(node("A"), Epoch { number: 1, token: 7 }, head, BTreeMap::new(), BTreeMap::new())
}

fn operations(count: usize) -> Vec<Operation> {
    let action = Action::Transfer { from: "A".parse().unwrap(), to: "B".parse().unwrap(), amount: Amount::new(1) };
    vec![Operation { id: 1.into(), action }; count]
}

/// The next block over `bank`, which settles `count` entries of A's log, and `bank` moved on.
fn block(bank: &mut Bank, count: usize) -> Arc<Block> {
    let run = Run { origin: node("A"), first: bank.watermark(node("A")).next(), operations: operations(count) };
    let block = Block::new(bank.height().next(), bank.tip(), bank.state(), vec![run]).unwrap();
    bank.advance(bank.check(&block).unwrap());
    Arc::new(block)
}

fn log(first: u64, count: usize) -> Record {
    Record::Log { first: Seq(first), operations: operations(count) }
}

fn refused(number: u64) -> Record {
    let refusal = Refusal {
        id: 1.into(),
        from: "A".parse().unwrap(),
        to: "B".parse().unwrap(),
        amount: Amount::new(1),
        reason: Reason::AmountZero,
    };
    Record::Refused { number, refusals: vec![refusal] }
}

fn accepted(round: u64, block: &Arc<Block>) -> Record {
    Record::Accepted(Slot { ballot: ballot(round), block: block.clone() })
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, node: node("B") }
}

fn ids(write: &Write) -> Vec<(Stream, Option<u64>, u64)> {
    write.appends.iter().map(|append| (append.stream, append.after, append.id)).collect()
}

#[test]
fn entries_that_wait_together_become_one_record_and_each_group_of_refusals_one_of_its_own() {
    let mut journal = journal();
    let write = journal.write(vec![log(1, 2), refused(1), log(3, 1), refused(2)]);
    assert_eq!(ids(&write), [(Stream::Log, None, 3), (Stream::Refused, None, 1), (Stream::Refused, Some(1), 2)]);
    let batch: LogBatch = record::decode("log/3", Kind::Log, &write.appends[0].bytes).unwrap();
    assert_eq!((batch.first, batch.operations.len()), (Seq(1), 3));
    let write = journal.write(vec![log(4, 1), refused(3)]);
    assert_eq!(ids(&write), [(Stream::Log, Some(3), 4), (Stream::Refused, Some(2), 3)]);
}

#[test]
fn every_write_names_the_head_before_it_and_has_the_next_number() {
    let mut journal = journal();
    let first = journal.write(vec![Record::Admitted]);
    let second = journal.write(Vec::new());
    assert_eq!((first.number, second.number), (2, 3));
    assert_eq!(first.fields[field::HEAD], second.head_before);
    assert!(first.head_before.is_some());
}

#[test]
fn r8_a_block_trims_the_log_and_clears_the_slot_in_the_same_write() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let block = block(&mut bank, 2);
    let before = journal.write(vec![log(1, 3), accepted(1, &block)]);
    assert!(before.fields[field::SLOT].is_some());
    let write = journal.write(vec![Record::Block(block)]);
    assert_eq!(ids(&write), [(Stream::Chain, Some(0), 1)]);
    assert_eq!(write.trims, [(Stream::Log, 3)]);
    assert_eq!(write.fields[field::SLOT], None);
    assert_eq!((journal.head().log_first, journal.head().accepted), (Seq(3), None));
}

#[test]
fn r8_a_vote_that_comes_after_the_block_of_its_height_is_not_kept_but_its_promise_is() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let (first, second) = (block(&mut bank, 1), block(&mut bank, 1));
    let late = accepted(4, &first);
    let write = journal.write(vec![log(1, 2), Record::Block(first), late]);
    assert_eq!(write.fields.get(field::SLOT), None);
    assert_eq!(journal.head().promise, Some(ballot(4)));
    let third = block(&mut bank, 1);
    let write = journal.write(vec![accepted(5, &third), Record::Block(second)]);
    assert!(write.fields[field::SLOT].is_some(), "a vote for a later height stays");
    assert_eq!(journal.head().accepted.unwrap().height, Height(3));
}

#[test]
fn r3_a_promise_never_falls() {
    let mut journal = journal();
    let _ = journal.write(vec![Record::Promise(ballot(5)), Record::Promise(ballot(3))]);
    let _ = journal.write(vec![Record::Promise(ballot(4))]);
    assert_eq!(journal.head().promise, Some(ballot(5)));
}

#[test]
fn r10_a_horizon_never_falls() {
    let mut journal = journal();
    let horizon = |id: u128| Record::Horizon { owner: None, id: id.into() };
    let write = journal.write(vec![horizon(9), horizon(4)]);
    let stored: Horizon =
        record::decode("horizon/", Kind::Horizon, write.fields["horizon/"].as_ref().unwrap()).unwrap();
    assert_eq!((stored.id, journal.head().horizons), (9.into(), 1));
}

#[test]
fn what_one_write_both_appends_and_trims_is_not_stored() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let records = vec![log(1, 2), Record::Block(block(&mut bank, 2)), refused(1), refused(2)];
    let write = journal.write(records.into_iter().chain([Record::RefusedTrim { first_live: 2 }]).collect());
    assert_eq!(ids(&write), [(Stream::Chain, Some(0), 1), (Stream::Refused, None, 2)]);
    assert_eq!(write.trims, [(Stream::Log, 3), (Stream::Refused, 2)]);
    let write = journal.write(vec![log(3, 1)]);
    assert_eq!(ids(&write), [(Stream::Log, None, 3)], "the log was trimmed empty, its seqs go on");
}

#[test]
fn r11_the_incarnation_of_each_peer_has_a_field_of_its_own() {
    let mut journal = journal();
    let peer = |name, incarnation| Record::Peer { node: node(name), incarnation: Incarnation(incarnation) };
    let write = journal.write(vec![peer("B", 5), peer("C", 6)]);
    for (name, incarnation) in [("peer/B", 5), ("peer/C", 6)] {
        let stored: Peer = record::decode(name, Kind::Peer, write.fields[name].as_ref().unwrap()).unwrap();
        assert_eq!(stored.incarnation, Incarnation(incarnation));
    }
    assert_eq!(journal.head().peers, 2);
}

#[test]
fn several_blocks_may_be_in_one_write() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let blocks = [block(&mut bank, 1), block(&mut bank, 2)].map(Record::Block);
    let write = journal.write([log(1, 4)].into_iter().chain(blocks).collect());
    assert_eq!(ids(&write), [(Stream::Chain, Some(0), 1), (Stream::Chain, Some(1), 2), (Stream::Log, None, 4)]);
    assert_eq!((journal.head().height, journal.head().tip), (bank.height(), bank.tip()));
}

#[test]
#[should_panic(expected = "no seq is used twice")]
fn r7_a_seq_is_never_used_twice() {
    let mut journal = journal();
    let _ = journal.write(vec![log(1, 2), log(2, 1)]);
}

#[test]
#[should_panic(expected = "settles only what the log holds")]
fn r13_a_block_with_more_of_our_entries_than_the_log_holds_is_not_stored() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let _ = journal.write(vec![log(1, 1), Record::Block(block(&mut bank, 2))]);
}

/// A checkpoint of `bank` that needs `parts` writes.
fn checkpoint(bank: &Bank, parts: usize) -> Record {
    let (memory, settled_at) = (Memory::new(100), SettledAt::default());
    let part = Checkpoint::parts(bank, &memory, &settled_at, settled_at.last_up_to(Seq(0)), 100).remove(0);
    Record::Checkpoint { parts: vec![part; parts], complete: true }
}

fn trim_of_state(write: &Write) -> Option<u64> {
    write.trims.iter().find_map(|(stream, first)| (*stream == Stream::State).then_some(*first))
}

#[test]
fn a_checkpoint_goes_along_part_by_part_and_counts_with_its_last() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let first = block(&mut bank, 1);
    let write = journal.write(vec![log(1, 1), Record::Block(first), checkpoint(&bank, 2)]);
    assert_eq!(ids(&write), [(Stream::Chain, Some(0), 1), (Stream::State, None, 1)]);
    assert_eq!((journal.head().saved, journal.is_saving(), trim_of_state(&write)), (None, true, None));
    // Nobody else has anything to write.
    let write = journal.write(Vec::new());
    assert_eq!(ids(&write), [(Stream::State, Some(1), 2)]);
    let saved = Saved { height: Height(1), first: 1, last: 2 };
    assert_eq!((journal.head().saved, journal.is_saving(), trim_of_state(&write)), (Some(saved), false, Some(1)));
    assert_eq!(ids(&journal.write(vec![Record::Admitted])), []);
}

#[test]
fn a_checkpoint_whose_parts_come_one_by_one_counts_with_the_last_that_will_come() {
    let (mut journal, bank) = (journal(), Bank::new(&genesis()));
    let some = |count, complete| match checkpoint(&bank, count) {
        Record::Checkpoint { parts, .. } => Record::Checkpoint { parts, complete },
        other => panic!("{other:?}"),
    };
    for first in [1, 4] {
        let before = journal.head().saved;
        journal.write(vec![some(1, false)]);
        assert_eq!((journal.head().saved, journal.is_saving()), (before, false), "there is nothing to write by now");
        journal.write(vec![some(1, false), some(1, true)]);
        assert_eq!((journal.head().saved, journal.is_saving()), (before, true));
        let write = journal.write(Vec::new());
        let saved = Saved { height: Height(0), first, last: first + 2 };
        assert_eq!((journal.head().saved, journal.is_saving()), (Some(saved), false));
        assert_eq!(trim_of_state(&write), Some(first), "of the same height or not, the next is another");
    }
}

#[test]
fn a_checkpoint_that_is_overtaken_is_given_up_and_goes_when_the_next_is_complete() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    journal.write(vec![checkpoint(&bank, 1)]);
    let saved = journal.head().saved;
    journal.write(vec![checkpoint(&bank, 3)]);
    let first = block(&mut bank, 1);
    let write = journal.write(vec![log(1, 1), Record::Block(first), checkpoint(&bank, 2)]);
    assert_eq!((journal.head().saved, trim_of_state(&write)), (saved, None), "the one before counts");
    let write = journal.write(Vec::new());
    assert_eq!(ids(&write), [(Stream::State, Some(3), 4)]);
    assert_eq!(journal.head().saved, Some(Saved { height: Height(1), first: 3, last: 4 }));
    assert_eq!(trim_of_state(&write), Some(3), "the one before, and the part of the other");
}

#[test]
fn the_head_of_a_store_without_a_checkpoint_is_what_it_was_before_there_were_any() {
    let (mut journal, mut bank) = (journal(), Bank::new(&genesis()));
    let named = |journal: &Journal| {
        let bytes = rmp_serde::to_vec_named(journal.head()).unwrap();
        ["state_last", "saved"].map(|name| bytes.windows(name.len()).any(|part| part == name.as_bytes()))
    };
    assert_eq!(named(&journal), [false, false]);
    let first = block(&mut bank, 1);
    journal.write(vec![log(1, 1), Record::Block(first), checkpoint(&bank, 1)]);
    assert_eq!(named(&journal), [true, true]);
    let head: Head = record::decode(field::HEAD, Kind::Head, &journal.head_bytes).unwrap();
    assert_eq!(&head, journal.head());
}
