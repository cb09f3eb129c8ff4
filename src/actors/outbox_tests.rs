use std::sync::Arc;

use super::super::probe::{Probes, Seen, ballot, chain};
use super::*;
use crate::effect::HaltReason;
use crate::ledger::Block;

fn outbox(probes: &Probes) -> Outbox<u8> {
    Outbox::new(probes.role(), probes.role(), probes.role())
}

fn promise() -> Record {
    Record::Promise(ballot(1, "B"))
}

fn block() -> (Arc<Block>, Record) {
    let block = chain(1).remove(0);
    (block.clone(), Record::Block(block))
}

#[actix_rt::test]
async fn what_stands_behind_a_write_comes_out_with_it_and_what_stands_behind_none_at_once() {
    let probes = Probes::start();
    let mut outbox = outbox(&probes);
    assert_eq!(outbox.push([Effect::Act(1)]), [1]);
    let effects = [Effect::Act(2), Effect::Persist(promise()), Effect::Act(3), Effect::Persist(promise())];
    assert_eq!(outbox.push(effects), [2]);
    assert_eq!(outbox.push([Effect::Act(4)]), [0; 0]);
    probes.see([1, 2].map(|_| Seen::Persist(vec![promise()]))).await;
    assert_eq!((outbox.on_durable(Durable(1)), outbox.len()), (vec![3], 1));
    assert_eq!((outbox.on_durable(Durable(2)), outbox.is_empty()), (vec![4], true));
}

#[actix_rt::test]
async fn a_block_that_nobody_waits_for_is_put_off_until_something_stands_behind_it() {
    let probes = Probes::start();
    let mut outbox = outbox(&probes);
    let (_, block) = block();
    assert_eq!(outbox.put_off([Effect::Persist(block.clone()), Effect::Act(1)]), [0; 0]);
    probes.see([Seen::PutOff(vec![block])]).await;
    assert_eq!(outbox.push([Effect::Act(2)]), [0; 0]);
    assert_eq!(outbox.push([Effect::Act(3)]), [0; 0]);
    probes.see([Seen::Persist(vec![])]).await;
    assert_eq!(outbox.on_durable(Durable(1)), [1, 2, 3]);
    // To hear of it twice means nothing, and nothing is held up by that.
    assert_eq!(outbox.push([Effect::Act(4)]), [4]);
    assert_eq!(outbox.on_durable(Durable(1)), [0; 0]);
}

#[actix_rt::test]
async fn a_write_that_somebody_waits_for_takes_along_what_was_put_off() {
    let probes = Probes::start();
    let mut outbox = outbox(&probes);
    let (_, block) = block();
    assert_eq!(outbox.put_off([Effect::Persist(block.clone())]), [0; 0]);
    assert_eq!(outbox.push([Effect::Persist(promise()), Effect::Act(1)]), [0; 0]);
    assert_eq!(outbox.push([Effect::Act(2)]), [0; 0]);
    probes.see([Seen::PutOff(vec![block.clone()]), Seen::Persist(vec![promise()])]).await;
    assert_eq!(outbox.on_durable(Durable(2)), [1, 2]);
    // One that was written meanwhile holds nothing back.
    assert_eq!(outbox.put_off([Effect::Persist(block.clone())]), [0; 0]);
    assert_eq!(outbox.on_durable(Durable(3)), [0; 0]);
    assert_eq!(outbox.push([Effect::Act(3)]), [3]);
    probes.see([Seen::PutOff(vec![block])]).await;
}

#[actix_rt::test]
async fn r3_r7_what_overtakes_a_block_overtakes_nothing_else() {
    let probes = Probes::start();
    let mut outbox = outbox(&probes);
    let (_, block) = block();
    assert_eq!(outbox.put_off([Effect::Persist(block.clone()), Effect::Act(1)]), [0; 0]);
    assert_eq!(outbox.push_past_blocks(2), Some(2));
    assert_eq!(outbox.push([Effect::Persist(promise())]), [0; 0]);
    assert_eq!(outbox.push_past_blocks(3), None);
    assert_eq!(outbox.put_off([Effect::Persist(block.clone()), Effect::Act(4)]), [0; 0]);
    assert_eq!(outbox.push_past_blocks(5), None);
    probes.see([Seen::PutOff(vec![block.clone()]), Seen::Persist(vec![promise()]), Seen::PutOff(vec![block])]).await;
    assert_eq!((outbox.on_durable(Durable(1)), outbox.len()), (vec![1], 3));
    assert_eq!(outbox.on_durable(Durable(2)), [3, 5]);
    assert_eq!(outbox.push_past_blocks(6), Some(6));
    assert_eq!(outbox.on_durable(Durable(3)), [4]);
}

#[actix_rt::test]
async fn a_record_that_is_put_off_with_a_block_is_not_overtaken_and_waits_no_longer() {
    let probes = Probes::start();
    let mut outbox = outbox(&probes);
    let (_, block) = block();
    let records = [block.clone(), promise()];
    assert_eq!(outbox.put_off(records.clone().map(Effect::Persist)), [0; 0]);
    assert_eq!(outbox.put_off([Effect::Persist(block.clone())]), [0; 0]);
    assert_eq!(outbox.push_past_blocks(1), None);
    probes.see([Seen::PutOff(records.to_vec()), Seen::PutOff(vec![block]), Seen::Persist(vec![])]).await;
    assert_eq!(outbox.on_durable(Durable(1)), [1]);
}

#[actix_rt::test]
async fn r13_behind_a_halt_nothing_comes_out() {
    let probes = Probes::start();
    let mut outbox = outbox(&probes);
    assert_eq!(outbox.push([Effect::Persist(promise()), Effect::Act(1)]), [0; 0]);
    assert_eq!(outbox.push_past_blocks(2), None);
    let reason = HaltReason::Store("it is full".to_owned());
    assert_eq!(outbox.push([Effect::Halt(reason.clone()), Effect::Act(3)]), [0; 0]);
    assert_eq!((outbox.push_past_blocks(4), outbox.on_durable(Durable(1))), (None, vec![]));
    probes.see([Seen::Persist(vec![promise()]), Halt(reason).into()]).await;
}
