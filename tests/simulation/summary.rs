//! What a campaign really exercised. Too little of anything fails it: a fault that never happens proves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_banking::ledger::{Answer, Reason};
use paxos_banking::paxos::{Message, NackKind};

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub fn add(&mut self, what: &'static str) {
        self.add_many(what, 1);
    }

    pub fn add_many(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| self.add_many(what, *count));
    }

    pub fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    pub fn message(&mut self, message: &Message) {
        self.add("messages");
        match message {
            Message::Prepare(_) => self.add("PREPAREs"),
            Message::Nack(nack) => match nack.kind {
                NackKind::Outbid { .. } => self.add("duels (a proposer outbid)"),
                NackKind::Behind => self.add("acceptors behind"),
                NackKind::Ahead => self.add("acceptors ahead"),
                NackKind::Invalid => self.add("blocks refused as invalid"),
            },
            Message::BlocksResponse(_) => self.add("reconciliations (frames of blocks)"),
            Message::Idle(_) => self.add("collections that found nothing"),
            _ => {}
        }
    }

    pub fn answer(&mut self, answer: &Answer) {
        self.add(match answer {
            Answer::Approved(approval) if approval.height.is_some() => "approvals told as settled",
            Answer::Approved(_) => "approvals told",
            Answer::Refused(Reason::InsufficientFunds { not_heard, .. }) if !not_heard.is_empty() => {
                "refusals for lack of funds, somebody not heard"
            }
            Answer::Refused(Reason::InsufficientFunds { .. }) => "refusals for lack of funds, all heard",
            Answer::Refused(Reason::UnknownAccount { .. }) => "refusals: no such account",
            Answer::Refused(Reason::AccountExists { .. }) => "refusals: account exists",
            Answer::Refused(_) => "refusals by form",
            Answer::Conflict => "ids used again for something else",
            Answer::Expired => "ids expired",
            Answer::Busy => "turned away: busy",
            Answer::NotReady => "turned away: not ready",
            Answer::Pending => "told as pending",
        });
    }
}

/// What must happen at least so often in a thousand seeds; a smaller campaign may have proportionally less.
const LEAST: &[(&str, u64)] = &[
    ("messages", 500_000),
    ("messages lost", 50_000),
    ("messages flushed from clogged links", 5_000),
    ("writes", 300_000),
    ("writes failed", 500),
    ("writes of unknown fate, done", 400),
    ("writes of unknown fate, not done", 400),
    ("writes torn", 40),
    ("torn writes named by a start", 40),
    ("writes of another process that landed in a take-over", 20),
    ("crashes", 8_000),
    ("crashes just before a write", 150),
    ("crashes between a write and its sync", 150),
    ("crashes just after a write", 150),
    ("crashes of all nodes at once", 1_000),
    ("rolling restarts", 1_000),
    ("processes paused", 300),
    ("processes continued", 100),
    ("second processes of a node", 500),
    ("partitions: in two", 800),
    ("partitions: one way", 800),
    ("partitions: bridged", 800),
    ("partitions: ring", 800),
    ("links clogged", 800),
    ("bytes flipped", 800),
    ("flipped bytes named by a start", 800),
    ("flipped bytes named by a check", 4),
    ("starts from a checkpoint", 1_000),
    ("starts beside a checkpoint that is not complete", 10),
    ("stores gone back, noticed", 100),
    ("stores lost", 200),
    ("majorities of stores lost", 20),
    ("stops for good, each as it must", 1_500),
    ("jumps of the clients' clocks", 1_000),
    ("blocks", 25_000),
    ("PREPAREs", 100_000),
    ("PROMISEs that overtook a block", 2_000),
    ("duels (a proposer outbid)", 10_000),
    ("acceptors behind", 5_000),
    ("acceptors ahead", 5_000),
    ("blocks adopted from another proposer", 4_000),
    ("collections that found nothing", 10_000),
    ("reconciliations (frames of blocks)", 5_000),
    ("approvals told", 80_000),
    ("approvals told as settled", 20_000),
    ("refusals for lack of funds, all heard", 15_000),
    ("refusals for lack of funds, somebody not heard", 15_000),
    ("refusals: no such account", 10_000),
    ("refusals: account exists", 1_000),
    ("answers repeated", 10_000),
    ("ids used again for something else", 100),
    ("ids expired", 10_000),
    ("told as pending", 1_000),
    ("turned away: busy", 10_000),
    ("outcomes traced", 5_000),
    ("nodes asked how they are", 3_000),
    ("chains read", 3_000),
    ("logs read", 3_000),
    ("balances read: local", 5_000),
    ("balances read: settled", 5_000),
    ("balances read: fresh", 4_000),
];

/// Fewer than this a virtual second would leave the nodes idle most of the time.
const TRANSFERS_PER_SECOND: f64 = 10.0;
const FAULTS_PER_SECOND: f64 = 1.0;

/// Prints what was exercised.
///
/// # Panics
/// Where that was too little, in a campaign that is large enough to tell.
pub fn report(counts: &Counts, seeds: u64, virtual_time: Duration, real_time: Duration) {
    let rate = |count: f64| count / real_time.as_secs_f64();
    println!(
        "{seeds} seeds, {:.0} s of virtual time in {:.1} s: {:.0} virtual seconds, {:.0} messages, {:.0} writes a second; \
         {:.1} transfers and {:.1} faults a virtual second",
        virtual_time.as_secs_f64(),
        real_time.as_secs_f64(),
        rate(virtual_time.as_secs_f64()),
        rate(counts.get("messages") as f64),
        rate(counts.get("writes") as f64),
        counts.get("transfers and openings asked for") as f64 / virtual_time.as_secs_f64(),
        counts.get("faults") as f64 / virtual_time.as_secs_f64(),
    );
    for (what, count) in &counts.0 {
        println!("  {count:>11} {what}");
    }
    // A few seeds have a few of the faults only.
    if seeds < 90 {
        return;
    }
    let seconds = virtual_time.as_secs_f64();
    let transfers = counts.get("transfers and openings asked for") as f64 / seconds;
    let faults = counts.get("faults") as f64 / seconds;
    assert!(
        transfers >= TRANSFERS_PER_SECOND && faults >= FAULTS_PER_SECOND,
        "too little happens in a virtual second: {transfers:.1} transfers, {faults:.1} faults"
    );
    for (what, least) in LEAST {
        // The fewer seeds, the more of it is luck.
        let slack = if seeds < 500 { 2 } else { 1 };
        let (count, least) = (counts.get(what), least * seeds / (1_000 * slack));
        assert!(count >= least, "the campaign exercised too little: {count} {what}, expected at least {least}");
    }
}
