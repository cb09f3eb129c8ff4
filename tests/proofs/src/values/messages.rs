//! Messages between nodes.

use paxos_banking::paxos::{
    Accept, Accepted, BlocksRequest, BlocksResponse, Commit, EntryFailed, Hello, Idle, KnownOfYou, Message, Nack,
    NackKind, Prepare, Promise, ReconcileAck, ReconcileRequest, Refused, SentBlock,
};
use paxos_banking::types::CollectionNumber;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{ballot, block, entry_fault, epoch, hash, height, incarnation, node, number, offer, seq, slot};

/// Any message between nodes.
pub fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::from),
        ".{0,40}".prop_map(|reason| Message::Refused(Refused { reason })),
        prepare().prop_map(Message::Prepare),
        promise().prop_map(Message::Promise),
        (ballot(), block()).prop_map(|(ballot, block)| Message::Accept(Accept { ballot, block })),
        (ballot(), height(), hash()).prop_map(|(ballot, height, hash)| Message::Accepted(Accepted {
            ballot,
            height,
            hash
        })),
        (height(), hash(), option::of(block())).prop_map(|(height, hash, block)| Message::Commit(Commit {
            height,
            hash,
            block
        })),
        nack().prop_map(Message::Nack),
        (ballot(), height()).prop_map(|(ballot, height)| Message::Idle(Idle { ballot, height })),
        (seq(), entry_fault()).prop_map(|(seq, fault)| Message::EntryFailed(EntryFailed { seq, fault })),
        Just(Message::ReconcileRequest(ReconcileRequest {})),
        (vec((height(), height()), 0..4), hash())
            .prop_map(|(held, tip)| Message::ReconcileAck(ReconcileAck { held, tip })),
        (height(), height()).prop_map(|(from, to)| Message::BlocksRequest(BlocksRequest { from, to })),
        vec(block(), 0..3).prop_map(|blocks| {
            Message::BlocksResponse(BlocksResponse { blocks: blocks.into_iter().map(SentBlock::Known).collect() })
        }),
    ]
}

fn prepare() -> impl Strategy<Value = Prepare> {
    (ballot(), height(), number()).prop_map(|(ballot, height, collection)| Prepare {
        ballot,
        height,
        collection: CollectionNumber(collection),
    })
}

fn promise() -> impl Strategy<Value = Promise> {
    (prepare(), option::of(slot()), offer()).prop_map(|(prepare, accepted, log)| {
        let Prepare { ballot, height, collection } = prepare;
        Promise { ballot, height, collection, accepted, log }
    })
}

fn nack() -> impl Strategy<Value = Nack> {
    let kind = prop_oneof![
        any::<bool>().prop_map(|open| NackKind::Outbid { open }),
        Just(NackKind::Behind),
        Just(NackKind::Ahead),
        Just(NackKind::Invalid),
    ];
    (ballot(), height(), kind, option::of(ballot()), height(), hash()).prop_map(
        |(ballot, asked, kind, promised, height, state)| Nack { ballot, asked, kind, promised, height, state },
    )
}

fn hello() -> impl Strategy<Value = Hello> {
    let known = (
        option::of(incarnation()),
        option::of(epoch()),
        height(),
        seq(),
        option::of(ballot()),
        option::of((ballot(), height())),
    );
    let known = known.prop_map(|(incarnation, epoch, height, seq, promised, accepted)| KnownOfYou {
        incarnation,
        epoch,
        height,
        seq,
        promised,
        accepted,
    });
    let who = (any::<u32>(), hash(), node(), node(), incarnation(), epoch());
    let how = (any::<bool>(), height(), option::of(".{0,30}"), known);
    (who, how).prop_map(|((version, cluster, node, to, incarnation, epoch), (votes, height, client_address, known))| {
        Hello { version, cluster, node, to, incarnation, epoch, votes, height, client_address, known }
    })
}
