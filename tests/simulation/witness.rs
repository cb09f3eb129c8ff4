//! What only the whole run can show: chain and logs are gone through again, and every answer ever given is compared with
//! them, in the real-time order in which clients asked and heard.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::ledger::{Action, Entry, Reason};
use paxos_banking::store::record::{self, Kind, RefusedBatch};
use paxos_banking::store::{Store, Stream};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};

use crate::answers::{BalanceRead, Content, Identity, Outcome, Story};
use crate::chain::spendable;
use crate::properties as must;
use crate::record::Record;

type Held = Result<(), String>;

/// What became an entry: which one, with which content, and the height where it is settled.
type Executed = (NodeId, Seq, Content, Option<Height>);

/// The whole history, indexed for the questions below.
pub struct Witness<'a> {
    record: &'a Record,
    /// Of each identity what was executed: entry, content, and the height where it is settled.
    executed: BTreeMap<Identity, Vec<Executed>>,
    /// Of each entry when it was first asked for, and when a client first heard that it is approved.
    told: BTreeMap<(NodeId, Seq), (u64, Option<u64>)>,
    /// What is not settled, of each home that runs.
    logs: BTreeMap<NodeId, Vec<Entry>>,
}

impl<'a> Witness<'a> {
    /// The history of a run that is over: its chain goes on in `logs`.
    pub fn new(record: &'a Record, mut logs: BTreeMap<NodeId, Vec<Entry>>) -> Self {
        let tip = record.chain.tip();
        // A node that lags holds in its log what others have settled.
        logs.iter_mut().for_each(|(home, log)| log.retain(|entry| entry.seq > tip.watermark(*home)));
        let mut witness = Self { record, executed: BTreeMap::new(), told: BTreeMap::new(), logs };
        let settled = record.chain.entries().map(|(height, entry)| (Some(*height), entry));
        let unsettled = witness.logs.values().flatten().map(|entry| (None, entry));
        for (height, entry) in settled.chain(unsettled) {
            let (identity, content) = named(entry);
            witness.executed.entry(identity).or_default().push((entry.origin, entry.seq, content, height));
            if let Some(story) = record.answers.stories.get(&identity) {
                let heard = story.outcome.as_ref().map(|(.., heard)| *heard);
                witness.told.insert((entry.origin, entry.seq), (story.first_asked(), heard));
            }
        }
        witness
    }

    /// Everything that this file knows.
    pub fn check(&self) -> Held {
        must::r10_what_is_settled_was_asked_for(self.record)?;
        for (identity, story) in &self.record.answers.stories {
            self.r10_exactly_once(identity, story)?;
            self.r10_what_expired_at_once_is_never_executed(identity, story)?;
            self.r10_what_was_turned_away_is_not_executed(identity, story)?;
            self.r10_what_is_pending_is_not_approved_yet(identity, story)?;
            self.r9_a_refusal_counts_what_was_approved_before(identity, story)?;
            self.a_refusal_tells_what_could_be_spent(identity, story)?;
            self.a_refusal_for_an_account_is_true(identity, story)?;
        }
        self.r10_refusals_are_remembered()?;
        self.r7_entries_are_in_real_time_order()?;
        self.record.answers.reads.iter().try_for_each(|read| self.a_balance_is_that_of_its_height(read))
    }

    /// R7, R10: each approved transfer is there exactly once, as the entry that its client was told; each refused one
    /// never; each of unknown outcome at most once. A home whose store was lost has lost what was not settled.
    fn r10_exactly_once(&self, identity: &Identity, story: &Story) -> Held {
        let times = self.executed.get(identity).map_or(&[][..], Vec::as_slice);
        let destroyed = self.record.destroyed.contains(&identity.0.home());
        let holds = times.len() <= 1
            && match &story.outcome {
                Some((Outcome::Approved(origin, seq), with, _)) => match times {
                    [(found, at, content, _)] => (found, at, content) == (origin, seq, with),
                    _ => destroyed && *seq > self.record.chain.tip().watermark(*origin),
                },
                Some((Outcome::Refused(_), ..)) => times.is_empty() || destroyed,
                None => true,
            };
        if holds {
            return Ok(());
        }
        Err(format!("R7, R10: {identity:?} was {story:?}; in chain and logs it is {times:?}"))
    }

    /// R10: what was answered `expired` the only time that it was asked for is never executed.
    fn r10_what_expired_at_once_is_never_executed(&self, identity: &Identity, story: &Story) -> Held {
        match story.expired {
            Some((_, 1)) if self.executed.contains_key(identity) && story.asked.len() == 1 => {
                Err(format!("R10: {identity:?} had expired, and is executed"))
            }
            _ => Ok(()),
        }
    }

    /// R10: a refusal that depends on the state is in the store of its home, until it is forgotten under a horizon.
    fn r10_refusals_are_remembered(&self) -> Held {
        let record = self.record;
        let mut stored: BTreeSet<Identity> = BTreeSet::new();
        for (node, disk) in record.disks.iter().filter(|(node, _)| !record.damaged.contains(*node)) {
            let records = disk.open().read(Stream::Refused, 0, u64::MAX, usize::MAX);
            for (id, bytes) in records.map_err(|error| format!("{node}: {error}"))? {
                let batch = record::decode::<RefusedBatch>(&Stream::Refused.key(id), Kind::Refused, &bytes);
                let refusals = batch.map_err(|error| format!("{node}: {error}"))?.refusals;
                stored.extend(refusals.iter().map(|refusal| (refusal.from, refusal.id)));
            }
        }
        for (identity, story) in &record.answers.stories {
            let (account, id) = *identity;
            let home = account.home();
            let refused = matches!(story.outcome, Some((Outcome::Refused(_), ..)));
            let exempt = record.destroyed.contains(&home) || record.damaged.contains(&home);
            if !refused || exempt || stored.contains(identity) {
                continue;
            }
            let horizon = |owner| must::durable_horizon(record, home, owner);
            if horizon(Some(account)).max(horizon(None)) < Some(id) {
                return Err(format!("R10: {identity:?}, {story:?}, is neither in its home's store nor forgotten"));
            }
        }
        Ok(())
    }

    /// R10: `busy` and `not ready` decide nothing.
    fn r10_what_was_turned_away_is_not_executed(&self, identity: &Identity, story: &Story) -> Held {
        let always = !story.asked.is_empty() && story.turned_away == story.asked.len();
        match self.executed.get(identity) {
            Some(entries) if always => Err(format!("R10: {identity:?} was only turned away: {story:?}; {entries:?}")),
            _ => Ok(()),
        }
    }

    /// R10: what is told as pending to a client that waits no longer had not become an entry by then. (Of two processes
    /// the older one does not know what the newer one approved.)
    fn r10_what_is_pending_is_not_approved_yet(&self, identity: &Identity, story: &Story) -> Held {
        let home = identity.0.home();
        let exempt = self.record.was_doubled(home, 0, u64::MAX) || self.record.destroyed.contains(&home);
        let (Some(last), Some(entries)) = (story.pending, self.executed.get(identity)) else { return Ok(()) };
        if exempt || entries.iter().all(|(_, seq, ..)| *seq > last) {
            return Ok(());
        }
        Err(format!("R10: {identity:?} was pending when {last} was durable: {story:?}; it is {entries:?}"))
    }

    /// R9: a refusal for lack of funds counted everything that its account was credited with before it was asked for:
    /// each such entry is settled at or below the refusal's height, unless its origin is named as not heard. (While two
    /// processes of one node run, the older one may still offer the log that it knows.)
    fn r9_a_refusal_counts_what_was_approved_before(&self, identity: &Identity, story: &Story) -> Held {
        let Some((Outcome::Refused(Reason::InsufficientFunds { height, not_heard, .. }), _, returned)) = &story.outcome
        else {
            return Ok(());
        };
        let doubled = |origin| self.record.was_doubled(origin, story.first_asked(), *returned);
        let counted = |origin: NodeId| !not_heard.contains(&origin) && !doubled(origin);
        self.r9_counts(identity.0, story.first_asked(), *height, &counted)
            .map_err(|entry| format!("R9: {identity:?}, {story:?}, does not count {entry:?}, approved before"))
    }

    /// Whether everything that `account` was credited with, and that a client had heard of before `asked`, is settled
    /// at or below `height`, as far as its origin is counted. The entry that is not, where there is one.
    fn r9_counts(
        &self,
        account: AccountId,
        asked: u64,
        height: Height,
        counted: &dyn Fn(NodeId) -> bool,
    ) -> Result<(), (NodeId, Seq)> {
        for ((origin, seq), (_, heard)) in &self.told {
            let before = heard.is_some_and(|heard| heard < asked) && *origin != account.home() && counted(*origin);
            if !before {
                continue;
            }
            let settled = self.record.chain.entry(*origin, *seq);
            let Some(entry) = settled.map(|(_, entry)| entry).or_else(|| self.unsettled(*origin, *seq)) else {
                continue;
            };
            let credits = matches!(entry.operation.action, Action::Transfer { to, .. } if to == account);
            if credits && settled.is_none_or(|(at, _)| *at > height) {
                return Err((*origin, *seq));
            }
        }
        Ok(())
    }

    fn unsettled(&self, origin: NodeId, seq: Seq) -> Option<&Entry> {
        self.logs.get(&origin)?.iter().find(|entry| entry.seq == seq)
    }

    /// A refusal names what its account could spend at that height, at some moment between call and answer; and that
    /// is too little.
    fn a_refusal_tells_what_could_be_spent(&self, identity: &Identity, story: &Story) -> Held {
        let Some((Outcome::Refused(Reason::InsufficientFunds { height, spendable, .. }), content, heard)) =
            &story.outcome
        else {
            return Ok(());
        };
        let possible = self.could_spend(identity.0, *height, *spendable, story.first_asked(), *heard);
        if *spendable < content.1 && possible {
            return Ok(());
        }
        Err(format!("{identity:?}, {story:?}: {spendable} could never be spent at {height}, or covers it"))
    }

    /// Whether `account` could spend exactly `amount` at `height`, once its home had approved all that clients had heard
    /// of by the call, and nothing that was asked for only after the answer.
    fn could_spend(&self, account: AccountId, height: Height, amount: Amount, called: u64, returned: u64) -> bool {
        let home = account.home();
        let Some(bank) = self.record.chain.at(height) else { return false };
        // Its unsettled entries went with its store.
        if self.record.destroyed.contains(&home) {
            return true;
        }
        let settled = bank.watermark(home);
        let of_home = self.told.range((home, Seq(0))..).take_while(|((origin, _), _)| *origin == home);
        let (mut least, mut most) = (settled, Seq(u64::MAX));
        for ((_, seq), (asked, heard)) in of_home {
            if heard.is_some_and(|heard| heard < called) {
                least = least.max(*seq);
            }
            if *asked > returned {
                most = most.min(Seq(seq.0 - 1));
            }
        }
        let in_log = self.logs.get(&home).into_iter().flatten();
        let mut entries = Vec::new();
        let mut reached = settled;
        for entry in self.record.chain.entries_of(home, settled).chain(in_log).map(Some).chain([None]) {
            if reached >= least && spendable(bank, account, entries.iter().copied()) == Some(amount) {
                return true;
            }
            match entry {
                Some(entry) if entry.seq <= most => {
                    reached = entry.seq;
                    entries.push(entry);
                }
                _ => break,
            }
        }
        false
    }

    /// An account that is said not to exist does not at that height; one that is said to exist was opened.
    fn a_refusal_for_an_account_is_true(&self, identity: &Identity, story: &Story) -> Held {
        let true_word = match &story.outcome {
            Some((Outcome::Refused(Reason::UnknownAccount { height, account }), ..)) => {
                self.record.chain.at(*height).is_none_or(|bank| bank.balance(*account).is_none())
            }
            Some((Outcome::Refused(Reason::AccountExists { account, .. }), ..)) => {
                let opens =
                    |entry: &Entry| matches!(entry.operation.action, Action::Open { account: new } if new == *account);
                self.record.genesis.opening().contains_key(account)
                    || self.record.destroyed.contains(&account.home())
                    || self.record.chain.entries().any(|(_, entry)| opens(entry))
                    || self.logs.values().flatten().any(opens)
            }
            _ => true,
        };
        if true_word { Ok(()) } else { Err(format!("{identity:?}: {story:?} is not true")) }
    }

    /// R7: what was asked for after a client had heard of an approval has a higher seq at that home.
    fn r7_entries_are_in_real_time_order(&self) -> Held {
        let mut latest: BTreeMap<NodeId, (u64, Seq)> = BTreeMap::new();
        for ((origin, seq), (asked, heard)) in &self.told {
            if let (Some(heard), Some((after, earlier))) = (heard, latest.get(origin))
                && heard < after
            {
                return Err(format!("R7: {origin}:{seq} was told before {origin}:{earlier} was asked for"));
            }
            let latest = latest.entry(*origin).or_insert((*asked, *seq));
            if *asked > latest.0 {
                *latest = (*asked, *seq);
            }
        }
        Ok(())
    }

    /// A balance is the settled one of its height, and what could be spent there at some moment of the read. A fresh one
    /// counts what was approved before it, as a refusal does (R9).
    fn a_balance_is_that_of_its_height(&self, read: &BalanceRead) -> Held {
        let BalanceRead { called, returned, fresh, balance } = read;
        let settled = self.record.chain.at(balance.height).and_then(|bank| bank.balance(balance.account));
        // The older of two processes goes on telling what it knows, until it notices.
        let possible = self.record.was_doubled(balance.account.home(), *called, *returned)
            || balance
                .spendable
                .is_none_or(|amount| self.could_spend(balance.account, balance.height, amount, *called, *returned));
        if settled != Some(balance.settled) || !possible {
            return Err(format!("{read:?} was never so; settled there is {settled:?}"));
        }
        if *fresh {
            let heard = |origin: NodeId| {
                !balance.not_heard.contains(&origin)
                    && !self.record.was_doubled(origin, *called, *returned)
                    && !self.record.destroyed.contains(&origin)
            };
            self.r9_counts(balance.account, *called, balance.height, &heard)
                .map_err(|entry| format!("R9: {read:?} does not count {entry:?}, approved before"))?;
        }
        Ok(())
    }
}

/// Under which identity, and with which content, an entry was asked for.
fn named(entry: &Entry) -> (Identity, Content) {
    let id: TransferId = entry.operation.id;
    match entry.operation.action {
        Action::Transfer { from, to, amount } => ((from, id), (to, amount)),
        Action::Open { account } => ((account, id), (account, Amount::ZERO)),
    }
}
