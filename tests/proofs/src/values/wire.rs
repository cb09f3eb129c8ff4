//! What clients ask and what nodes answer.

use std::collections::BTreeMap;

use paxos_banking::ledger::{Answer, Approval, Trace, Verdict};
use paxos_banking::types::NodeId;
use paxos_banking::wire::client::{
    Ask, Balance, Call, Failure, FailureCode, GenesisPage, LogEntry, Outcome, ReadLevel, Reply, State, Status, Told,
    Transfer, Welcome,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::{
    account, amount, ballot, block, genesis, hash, height, id, node, nodes, number, operation, reason, seq, wait,
};

/// Any call of a client's.
pub fn call() -> impl Strategy<Value = Call> {
    let level = prop::sample::select(vec![ReadLevel::Local, ReadLevel::Settled, ReadLevel::Fresh]);
    let transfer =
        (id(), account(), account(), amount()).prop_map(|(id, from, to, amount)| Transfer(id, from, to, amount));
    let ask = prop_oneof![
        any::<u32>().prop_map(|version| Ask::Hello { version }),
        (wait(), number(), vec(transfer, 0..4)).prop_map(|(wait, within_ms, transfers)| Ask::Transfers {
            wait,
            within_ms,
            transfers
        }),
        (id(), account(), wait(), number()).prop_map(|(id, account, wait, within_ms)| Ask::Open {
            id,
            account,
            wait,
            within_ms
        }),
        id().prop_map(|id| Ask::Trace { id }),
        (account(), level, height(), number()).prop_map(|(account, read, seen, within_ms)| Ask::Balance {
            account,
            read,
            seen,
            within_ms
        }),
        seq().prop_map(|from| Ask::Log { from }),
        (height(), height()).prop_map(|(from, to)| Ask::Chain { from, to }),
        option::of(account()).prop_map(|after| Ask::Genesis { after }),
        number().prop_map(|within_ms| Ask::Settle { within_ms }),
        Just(Ask::Status),
    ];
    (number(), ask).prop_map(|(tag, ask)| Call { tag, ask })
}

/// Any reply of a node's.
pub fn reply() -> impl Strategy<Value = Reply> {
    let outcome = (any::<u32>(), answer()).prop_map(|(index, answer)| Outcome::new(index, answer));
    let entry = (seq(), operation()).prop_map(|(seq, operation)| LogEntry(seq, operation));
    let told = prop_oneof![
        welcome().prop_map(Told::Welcome),
        vec(outcome, 0..4).prop_map(Told::Outcomes),
        (height(), vec(trace(), 0..3)).prop_map(|(height, traces)| Told::Traces { height, traces }),
        balance().prop_map(Told::Balance),
        vec(entry, 0..4).prop_map(Told::Log),
        (height(), vec(block(), 0..3)).prop_map(|(height, blocks)| Told::Chain { height, blocks }),
        (genesis(), option::of(account())).prop_map(|(genesis, after)| Told::Genesis(GenesisPage::of(&genesis, after))),
        (height(), nodes()).prop_map(|(height, not_heard)| Told::Settled { height, not_heard }),
        status().prop_map(Told::Status),
        failure().prop_map(Told::Failed),
    ];
    (number(), told).prop_map(|(tag, told)| Reply { tag, told })
}

fn approval() -> impl Strategy<Value = Approval> {
    (node(), seq(), option::of(height())).prop_map(|(origin, seq, height)| Approval { origin, seq, height })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        approval().prop_map(Answer::Approved),
        reason().prop_map(Answer::Refused),
        prop::sample::select(vec![Answer::Conflict, Answer::Expired, Answer::Busy, Answer::NotReady, Answer::Pending]),
    ]
}

fn trace() -> impl Strategy<Value = Trace> {
    let verdict = prop_oneof![
        approval().prop_map(Verdict::Approved),
        reason().prop_map(Verdict::Refused),
        Just(Verdict::Pending),
    ];
    (id(), account(), account(), amount(), verdict).prop_map(|(id, from, to, amount, verdict)| Trace {
        id,
        from,
        to,
        amount,
        verdict,
    })
}

fn homes() -> impl Strategy<Value = BTreeMap<NodeId, Option<String>>> {
    btree_map(node(), option::of("[ -~]{0,30}"), 0..4)
}

fn welcome() -> impl Strategy<Value = Welcome> {
    (any::<u32>(), node(), hash(), homes()).prop_map(|(version, node, cluster, homes)| Welcome {
        version,
        node,
        cluster,
        homes,
    })
}

fn balance() -> impl Strategy<Value = Balance> {
    (account(), option::of(amount()), amount(), height(), nodes()).prop_map(
        |(account, spendable, settled, height, not_heard)| Balance { account, spendable, settled, height, not_heard },
    )
}

fn status() -> impl Strategy<Value = Status> {
    let state = prop::sample::select(vec![State::Baby, State::Zombie, State::Ready, State::Stopped]);
    let text = || "[ -~]{0,30}";
    let who = (node(), state, option::of(text()), height(), hash(), option::of(number()));
    let how = (option::of(ballot()), nodes(), text(), number(), homes());
    let program = (option::of(text()), option::of(number()), option::of(number()));
    (who, how, program).prop_map(|(who, how, (program, clock_ms, writes))| {
        let (node, state, reason, height, tip, log) = who;
        let (ballot, peers_up, store, behind, homes) = how;
        Status {
            node,
            state,
            reason,
            height,
            tip,
            log,
            ballot,
            peers_up,
            store,
            behind,
            homes,
            program,
            clock_ms,
            writes,
        }
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    use FailureCode::{BadCall, Busy, NotHome, NotReady, Stopped, Store, TimedOut, UnknownAccount, Version};
    let codes = vec![Busy, NotReady, TimedOut, Stopped, BadCall, Version, UnknownAccount, NotHome, Store];
    (prop::sample::select(codes), "[ -~]{0,60}").prop_map(|(code, message)| Failure { code, message })
}
