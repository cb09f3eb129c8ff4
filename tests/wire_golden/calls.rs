//! What clients and nodes say to each other.

use std::sync::Arc;

use paxos_banking::ledger::{Answer, Approval, Operation, Reason, Trace, Verdict, Wait};
use paxos_banking::types::{Amount, Height, Seq};
use paxos_banking::wire::client::{
    Ask, Balance, CLIENT_PROTOCOL_VERSION, Call, Failure, FailureCode, GenesisPage, LogEntry, Outcome, ReadLevel,
    Reply, State, Status, Told, Transfer, Welcome,
};

use crate::example::{Example, every_variant};
use crate::values::{account, ballot, block_1, genesis, id, node, opening, transfer};

pub fn examples() -> Vec<Example> {
    [asks(), replies(), names(), outcomes(), reasons(), verdicts(), operations()].into_iter().flatten().collect()
}

fn asks() -> Vec<Example> {
    let call = |name, ask| Example::frame(name, Call { tag: 7, ask });
    let transfers = vec![
        Transfer(id('V'), account("A"), account("B"), Amount::new(60)),
        Transfer(id('Z'), account("alice@A"), account("bob@B"), Amount::new(5_000)),
    ];
    every_variant!(call, Ask {
        Hello: "call.hello" => Ask::Hello { version: CLIENT_PROTOCOL_VERSION },
        Transfers: "call.transfers" => Ask::Transfers { wait: Wait::Settled, within_ms: 5_000, transfers },
        Open: "call.open" => Ask::Open {
            id: id('V'), account: account("x@A"), wait: Wait::Settled, within_ms: 5_000,
        },
        Trace: "call.trace" => Ask::Trace { id: id('V') },
        Balance: "call.balance" => Ask::Balance {
            account: account("alice@A"), read: ReadLevel::Fresh, seen: Height(2), within_ms: 5_000,
        },
        Log: "call.log" => Ask::Log { from: Seq(1) },
        Chain: "call.chain" => Ask::Chain { from: Height(1), to: Height(300) },
        Genesis: "call.genesis" => Ask::Genesis { after: Some(account("A")) },
        Settle: "call.settle" => Ask::Settle { within_ms: 10_000 },
        Status: "call.status" => Ask::Status,
    })
}

fn approval(height: Option<u64>) -> Approval {
    Approval { origin: node("A"), seq: Seq(1), height: height.map(Height) }
}

fn funds() -> Reason {
    Reason::InsufficientFunds { height: Height(1), spendable: Amount::new(40), not_heard: [node("C")].into() }
}

fn homes<T: FromIterator<(paxos_banking::types::NodeId, Option<String>)>>() -> T {
    let home = |name: &str, address: Option<&str>| (node(name), address.map(str::to_owned));
    [home("A", Some("10.0.0.1:8001")), home("B", Some("10.0.0.2:8001")), home("C", None)].into_iter().collect()
}

fn status() -> Status {
    Status {
        node: node("A"),
        state: State::Ready,
        reason: None,
        height: Height(1),
        tip: block_1().hash(),
        log: Some(0),
        ballot: Some(ballot()),
        peers_up: [node("B"), node("C")].into(),
        store: "redb:A/A.redb".to_owned(),
        behind: 0,
        homes: homes(),
        program: Some("0.1.0".to_owned()),
        clock_ms: Some(1_735_689_600_000),
        writes: Some(7),
    }
}

fn replies() -> Vec<Example> {
    let reply = |name, told| Example::frame(name, Reply { tag: 7, told });
    let trace = |verdict| Trace { id: id('V'), from: account("A"), to: account("B"), amount: Amount::new(60), verdict };
    let outcomes =
        vec![Outcome::new(0, Answer::Approved(approval(Some(1)))), Outcome::new(1, Answer::Refused(funds()))];
    let welcome =
        Welcome { version: CLIENT_PROTOCOL_VERSION, node: node("A"), cluster: genesis().id(), homes: homes() };
    let balance = Balance {
        account: account("A"),
        spendable: Some(Amount::new(40)),
        settled: Amount::new(40),
        height: Height(1),
        not_heard: [node("C")].into(),
    };
    let not_ready = Failure { code: FailureCode::NotReady, message: "ask again".to_owned() };
    every_variant!(reply, Told {
        Welcome: "reply.welcome" => Told::Welcome(welcome),
        Outcomes: "reply.outcomes" => Told::Outcomes(outcomes),
        Traces: "reply.traces" => Told::Traces {
            height: Height(1), traces: vec![trace(Verdict::Approved(approval(Some(1))))],
        },
        Balance: "reply.balance" => Told::Balance(balance),
        Log: "reply.log" => Told::Log(vec![LogEntry(Seq(1), transfer('V', "A", "B", 60))]),
        Chain: "reply.chain" => Told::Chain { height: Height(1), blocks: vec![Arc::new(block_1())] },
        Genesis: "reply.genesis" => Told::Genesis(GenesisPage::of(&genesis(), Some(account("A")))),
        Settled: "reply.settled" => Told::Settled { height: Height(1), not_heard: [node("B"), node("C")].into() },
        Status: "reply.status" => Told::Status(status()),
        Failed: "reply.failed" => Told::Failed(not_ready),
    })
}

/// Variants that are nothing but names.
fn names() -> Vec<Example> {
    let mut examples = every_variant!(Example::value, FailureCode {
        Busy: "code.busy" => FailureCode::Busy,
        NotReady: "code.not_ready" => FailureCode::NotReady,
        TimedOut: "code.timed_out" => FailureCode::TimedOut,
        Stopped: "code.stopped" => FailureCode::Stopped,
        BadCall: "code.bad_call" => FailureCode::BadCall,
        Version: "code.version" => FailureCode::Version,
        UnknownAccount: "code.unknown_account" => FailureCode::UnknownAccount,
        NotHome: "code.not_home" => FailureCode::NotHome,
        Store: "code.store" => FailureCode::Store,
    });
    examples.extend(every_variant!(Example::value, State {
        Baby: "state.baby" => State::Baby,
        Zombie: "state.zombie" => State::Zombie,
        Ready: "state.ready" => State::Ready,
        Stopped: "state.stopped" => State::Stopped,
    }));
    examples.extend(every_variant!(Example::value, Wait {
        Local: "wait.local" => Wait::Local,
        Settled: "wait.settled" => Wait::Settled,
    }));
    examples.extend(every_variant!(Example::value, ReadLevel {
        Local: "read.local" => ReadLevel::Local,
        Settled: "read.settled" => ReadLevel::Settled,
        Fresh: "read.fresh" => ReadLevel::Fresh,
    }));
    examples
}

fn outcomes() -> Vec<Example> {
    let outcome = |name, answer| Example::value(name, Outcome::new(300, answer));
    let mut examples = every_variant!(outcome, Answer {
        Approved: "outcome.approved" => Answer::Approved(approval(None)),
        Refused: "outcome.refused" => Answer::Refused(Reason::AmountZero),
        Conflict: "outcome.conflict" => Answer::Conflict,
        Expired: "outcome.expired" => Answer::Expired,
        Busy: "outcome.busy" => Answer::Busy,
        NotReady: "outcome.not_ready" => Answer::NotReady,
        Pending: "outcome.pending" => Answer::Pending,
    });
    examples.push(outcome("outcome.settled", Answer::Approved(approval(Some(1)))));
    examples
}

fn reasons() -> Vec<Example> {
    every_variant!(Example::value, Reason {
        InsufficientFunds: "reason.insufficient_funds" => funds(),
        UnknownAccount: "reason.unknown_account" => Reason::UnknownAccount {
            height: Height(1), account: account("x@A"),
        },
        AccountExists: "reason.account_exists" => Reason::AccountExists { height: Height(1), account: account("x@A") },
        AmountZero: "reason.amount_zero" => Reason::AmountZero,
        SameAccount: "reason.same_account" => Reason::SameAccount,
        NotHome: "reason.not_home" => Reason::NotHome { home: node("B") },
    })
}

fn verdicts() -> Vec<Example> {
    every_variant!(Example::value, Verdict {
        Approved: "verdict.approved" => Verdict::Approved(approval(Some(1))),
        Refused: "verdict.refused" => Verdict::Refused(Reason::SameAccount),
        Pending: "verdict.pending" => Verdict::Pending,
    })
}

fn operations() -> Vec<Example> {
    use paxos_banking::ledger::Action;
    let operation = |name, action| Example::value(name, Operation { id: id('V'), action });
    every_variant!(operation, Action {
        Transfer: "operation.transfer" => transfer('V', "A", "B", 60).action,
        Open: "operation.open" => opening('V', "bob@B").action,
    })
}
