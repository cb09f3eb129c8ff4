//! What nodes say to each other.

use std::sync::Arc;

use paxos_banking::effect::Slot;
use paxos_banking::ledger::{EntryFault, LogOffer};
use paxos_banking::paxos::message::PROTOCOL_VERSION;
use paxos_banking::paxos::{
    Accept, Accepted, BlocksRequest, BlocksResponse, Commit, EntryFailed, Hello, Idle, KnownOfYou, Message, Nack,
    NackKind, Prepare, Promise, ReconcileAck, ReconcileRequest, Refused, SentBlock,
};
use paxos_banking::types::{CollectionNumber, Epoch, Height, Incarnation, Seq};

use crate::example::{Example, every_variant};
use crate::values::{ballot, bank_1, block_1, block_2, epoch, genesis, node, transfer};

pub fn examples() -> Vec<Example> {
    let mut examples = messages();
    examples.extend(every_variant!(Example::value, NackKind {
        Outbid: "nack.outbid" => NackKind::Outbid { open: true },
        Behind: "nack.behind" => NackKind::Behind,
        Ahead: "nack.ahead" => NackKind::Ahead,
        Invalid: "nack.invalid" => NackKind::Invalid,
    }));
    examples.extend(every_variant!(Example::value, EntryFault {
        NotHome: "fault.not_home" => EntryFault::NotHome,
        UnknownAccount: "fault.unknown_account" => EntryFault::UnknownAccount,
        AlreadyOpen: "fault.already_open" => EntryFault::AlreadyOpen,
        Overdraft: "fault.overdraft" => EntryFault::Overdraft,
        Nothing: "fault.nothing" => EntryFault::Nothing,
        Overflow: "fault.overflow" => EntryFault::Overflow,
    }));
    examples
}

fn hello() -> Hello {
    let known = KnownOfYou {
        incarnation: Some(Incarnation(0xfeed)),
        epoch: Some(Epoch { number: 2, token: 9 }),
        height: Height(1),
        seq: Seq(1),
        promised: Some(ballot()),
        accepted: Some((ballot(), Height(1))),
    };
    Hello {
        version: PROTOCOL_VERSION,
        cluster: genesis().id(),
        node: node("A"),
        to: node("B"),
        incarnation: Incarnation(u64::MAX),
        epoch: epoch(),
        votes: true,
        height: Height(1),
        client_address: Some("10.0.0.1:8001".to_owned()),
        known,
    }
}

fn promise() -> Promise {
    let log = LogOffer { first: Seq(2), operations: vec![transfer('Z', "A", "C", 5)], truncated: false };
    let accepted = Some(Slot { ballot: ballot(), block: block_2() });
    Promise { ballot: ballot(), height: Height(2), collection: CollectionNumber(9), accepted, log }
}

fn nack() -> Nack {
    let kind = NackKind::Outbid { open: true };
    let promised = Some(ballot());
    Nack { ballot: ballot(), asked: Height(2), kind, promised, height: Height(1), state: bank_1().state() }
}

fn messages() -> Vec<Example> {
    let (ballot, height) = (ballot(), Height(2));
    let (block, hash) = (block_2(), block_2().hash());
    let held = vec![(Height(0), height)];
    every_variant!(Example::frame, Message {
        Hello: "peer.hello" => Message::from(hello()),
        Refused: "peer.refused" => Message::Refused(Refused { reason: "C is no peer of this node".to_owned() }),
        Prepare: "peer.prepare" => Message::Prepare(Prepare { ballot, height, collection: CollectionNumber(9) }),
        Promise: "peer.promise" => Message::Promise(promise()),
        Accept: "peer.accept" => Message::Accept(Accept { ballot, block: block.clone() }),
        Accepted: "peer.accepted" => Message::Accepted(Accepted { ballot, height, hash }),
        Commit: "peer.commit" => Message::Commit(Commit { height, hash, block: None }),
        Nack: "peer.nack" => Message::Nack(nack()),
        Idle: "peer.idle" => Message::Idle(Idle { ballot, height }),
        EntryFailed: "peer.entry_failed" => Message::EntryFailed(EntryFailed {
            seq: Seq(2), fault: EntryFault::Overdraft,
        }),
        ReconcileRequest: "peer.reconcile_request" => Message::ReconcileRequest(ReconcileRequest {}),
        ReconcileAck: "peer.r_ack" => Message::ReconcileAck(ReconcileAck { held, tip: hash }),
        BlocksRequest: "peer.r_blocks_req" => Message::BlocksRequest(BlocksRequest { from: Height(1), to: height }),
        BlocksResponse: "peer.r_blocks_resp" => Message::BlocksResponse(BlocksResponse {
            blocks: vec![SentBlock::Known(Arc::new(block_1())), SentBlock::Known(block)],
        }),
    })
}
