//! Any value of each type that is written or sent, for properties that hold for all of them.

mod messages;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use paxos_banking::effect::Slot;
use paxos_banking::ledger::{Action, Block, EntryFault, Genesis, LogOffer, Operation, Reason, Refusal, Run, Wait};
use paxos_banking::store::record::{Horizon, Identity, LogBatch, Peer, RefusedBatch};
use paxos_banking::store::{Accepted, Head, Saved};
use paxos_banking::types::{AccountId, Amount, Ballot, Epoch, Hash, Height, Incarnation, NodeId, Seq, TransferId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

pub use messages::message;
pub use wire::{call, reply};

/// A node's name.
pub fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![
        3 => prop::sample::select(vec!["A", "B", "C", "D", "E"]).prop_map(|name| name.parse().unwrap()),
        1 => "[A-Za-z0-9._-]{1,16}".prop_map(|name| name.parse().unwrap()),
    ]
}

/// An account, mostly a node's own.
pub fn account() -> impl Strategy<Value = AccountId> {
    let other = ("[A-Za-z0-9._-]{1,32}", node()).prop_map(|(name, home)| AccountId::new(&name, home).unwrap());
    prop_oneof![node().prop_map(AccountId::of_node), other]
}

/// A number, often one at which the encoding changes its length.
pub fn number() -> impl Strategy<Value = u64> {
    let edges = vec![0, 1, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX];
    prop_oneof![prop::sample::select(edges), any::<u64>(), 0..1_000u64]
}

/// An amount.
pub fn amount() -> impl Strategy<Value = Amount> {
    number().prop_map(Amount::new)
}

/// A height.
pub fn height() -> impl Strategy<Value = Height> {
    number().prop_map(Height)
}

/// A seq.
pub fn seq() -> impl Strategy<Value = Seq> {
    number().prop_map(Seq)
}

/// A hash.
pub fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

/// A transfer's id.
pub fn id() -> impl Strategy<Value = TransferId> {
    any::<u128>().prop_map(TransferId::from)
}

/// A ballot.
pub fn ballot() -> impl Strategy<Value = Ballot> {
    (number(), node()).prop_map(|(round, node)| Ballot { round, node })
}

/// An incarnation.
pub fn incarnation() -> impl Strategy<Value = Incarnation> {
    number().prop_map(Incarnation)
}

/// An epoch.
pub fn epoch() -> impl Strategy<Value = Epoch> {
    (number(), number()).prop_map(|(number, token)| Epoch { number, token })
}

/// What a client waits for.
pub fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![Just(Wait::Local), Just(Wait::Settled)]
}

/// An operation.
pub fn operation() -> impl Strategy<Value = Operation> {
    let some = (1..=u64::MAX).prop_map(Amount::new);
    let transfer = (account(), account(), some).prop_map(|(from, to, amount)| Action::Transfer { from, to, amount });
    let open = account().prop_map(|account| Action::Open { account });
    (id(), prop_oneof![3 => transfer, 1 => open]).prop_map(|(id, action)| Operation { id, action })
}

/// Operations as a log holds them.
pub fn operations(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), count)
}

/// The runs of a block in its one proper form.
pub fn runs() -> impl Strategy<Value = Vec<Run>> {
    btree_map(node(), (seq(), operations(1..4)), 1..4).prop_map(|runs| {
        let run = |(origin, (first, operations))| Run { origin, first, operations };
        runs.into_iter().map(run).collect()
    })
}

/// A block, which need not fit any chain.
pub fn block() -> impl Strategy<Value = Arc<Block>> {
    (1..=u64::MAX, hash(), hash(), runs())
        .prop_map(|(height, parent, state, runs)| Arc::new(Block::new(Height(height), parent, state, runs).unwrap()))
}

/// A vote.
pub fn slot() -> impl Strategy<Value = Slot> {
    (ballot(), block()).prop_map(|(ballot, block)| Slot { ballot, block })
}

/// The log that a PROMISE offers.
pub fn offer() -> impl Strategy<Value = LogOffer> {
    (seq(), operations(0..4), any::<bool>()).prop_map(|(first, operations, truncated)| LogOffer {
        first,
        operations,
        truncated,
    })
}

/// Nodes that were not heard.
pub fn nodes() -> impl Strategy<Value = BTreeSet<NodeId>> {
    btree_set(node(), 0..4)
}

/// Why a transfer or an opening is refused.
pub fn reason() -> impl Strategy<Value = Reason> {
    let funds = (height(), amount(), nodes()).prop_map(|(height, spendable, not_heard)| Reason::InsufficientFunds {
        height,
        spendable,
        not_heard,
    });
    prop_oneof![
        funds,
        (height(), account()).prop_map(|(height, account)| Reason::UnknownAccount { height, account }),
        (height(), account()).prop_map(|(height, account)| Reason::AccountExists { height, account }),
        Just(Reason::AmountZero),
        Just(Reason::SameAccount),
        node().prop_map(|home| Reason::NotHome { home }),
    ]
}

/// What is wrong with an entry.
pub fn entry_fault() -> impl Strategy<Value = EntryFault> {
    use EntryFault::{AlreadyOpen, NotHome, Nothing, Overdraft, Overflow, UnknownAccount};
    prop::sample::select(vec![NotHome, UnknownAccount, AlreadyOpen, Overdraft, Nothing, Overflow])
}

/// A bank's beginning, whose balances fit.
pub fn genesis() -> impl Strategy<Value = Genesis> {
    let nodes = btree_set(node(), 1..6).prop_filter("an odd number", |nodes| nodes.len() % 2 == 1);
    let accounts = vec((any::<prop::sample::Index>(), "[a-z]{1,32}", 0..u64::from(u32::MAX)), 0..6);
    (nodes, accounts).prop_map(|(nodes, accounts)| {
        let all: Vec<_> = nodes.iter().copied().collect();
        let opening: BTreeMap<_, _> = accounts
            .into_iter()
            .map(|(home, name, units)| (AccountId::new(&name, *home.get(&all)).unwrap(), Amount::new(units)))
            .collect();
        Genesis::new(nodes, opening).unwrap()
    })
}

/// A refusal.
pub fn refusal() -> impl Strategy<Value = Refusal> {
    (id(), account(), account(), amount(), reason()).prop_map(|(id, from, to, amount, reason)| Refusal {
        id,
        from,
        to,
        amount,
        reason,
    })
}

/// A stored batch of entries.
pub fn log_batch() -> impl Strategy<Value = LogBatch> {
    (seq(), operations(1..5)).prop_map(|(first, operations)| LogBatch { first, operations })
}

/// A stored batch of refusals.
pub fn refused_batch() -> impl Strategy<Value = RefusedBatch> {
    vec(refusal(), 1..4).prop_map(|refusals| RefusedBatch { refusals })
}

/// A stored identity.
pub fn identity() -> impl Strategy<Value = Identity> {
    (hash(), node(), incarnation()).prop_map(|(bank, node, incarnation)| Identity { bank, node, incarnation })
}

/// A stored peer.
pub fn peer() -> impl Strategy<Value = Peer> {
    incarnation().prop_map(|incarnation| Peer { incarnation })
}

/// A stored horizon.
pub fn horizon() -> impl Strategy<Value = Horizon> {
    id().prop_map(|id| Horizon { id })
}

/// A stored head.
pub fn head() -> impl Strategy<Value = Head> {
    let vote = (ballot(), height(), hash()).prop_map(|(ballot, height, hash)| Accepted { ballot, height, hash });
    let chain = (number(), height(), hash(), seq(), seq());
    let rest = (number(), number(), option::of(ballot()), option::of(vote), any::<bool>(), number(), number());
    let saved = (height(), number(), number()).prop_map(|(height, first, last)| Saved { height, first, last });
    let state = (number(), option::of(saved));
    (chain, rest, state).prop_map(|((write, height, tip, log_first, log_last), rest, (state_last, saved))| {
        let (refused_first, refused_last, promise, accepted, admitted, horizons, peers) = rest;
        Head {
            write,
            height,
            tip,
            log_first,
            log_last,
            refused_first,
            refused_last,
            promise,
            accepted,
            admitted,
            horizons,
            peers,
            state_last,
            saved,
        }
    })
}
