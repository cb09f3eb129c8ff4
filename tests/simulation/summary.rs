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
const LEAST: &[(&str, u64)] =
    &[("messages", 500_000), ("writes", 100_000), ("transfers and openings asked for", 100_000), ("faults", 20_000)];

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
    // One seed has a few of the faults only.
    if seeds < 48 {
        return;
    }
    for (what, least) in LEAST {
        let (count, least) = (counts.get(what), least * seeds / 1_000);
        assert!(count >= least, "the campaign exercised too little: {count} {what}, expected at least {least}");
    }
}
