//! What only the whole run can show. What any history can, the library's witness looks for; here is what needs the disks,
//! and the moment in which a client stopped waiting.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::history::{Evidence, Outcome, Witness};
use paxos_banking::ledger::Entry;
use paxos_banking::store::record::{self, Kind, RefusedBatch};
use paxos_banking::store::{Store, Stream};
use paxos_banking::types::{AccountId, NodeId, TransferId};

use crate::properties as must;
use crate::record::Record;

type Held = Result<(), String>;

/// Everything that must hold of a run that is over: its chain goes on in `logs`.
pub fn check(record: &Record, logs: BTreeMap<NodeId, Vec<Entry>>) -> Held {
    // A node that stopped for good holds nothing that nobody else has.
    let evidence = Evidence { chain: &record.chain, logs, not_heard: BTreeSet::new() };
    let witness = Witness::new(&record.answers.history, evidence, &record.exempt);
    if let Some(violation) = witness.judge().violations.first() {
        return Err(format!(
            "{violation}; {:?}",
            violation.about.and_then(|id| record.answers.history.stories.get(&id))
        ));
    }
    r10_what_is_pending_is_not_approved_yet(record, &witness)?;
    r10_refusals_are_remembered(record)
}

/// R10: what is told as pending to a client that waits no longer had not become an entry by then. (Of two processes the
/// older one does not know what the newer one approved.)
fn r10_what_is_pending_is_not_approved_yet(record: &Record, witness: &Witness<'_>) -> Held {
    for (identity, last) in &record.answers.pending {
        let home = identity.0.home();
        let exempt = record.was_doubled(home, 0, u64::MAX) || record.exempt.destroyed.contains(&home);
        let entries = witness.executed(identity);
        if !exempt && entries.iter().any(|(_, seq, ..)| seq <= last) {
            return Err(format!("R10: {identity:?} was pending when {last} was durable; it is {entries:?}"));
        }
    }
    Ok(())
}

/// R10: a refusal that depends on the state is in the store of its home, until it is forgotten under a horizon.
fn r10_refusals_are_remembered(record: &Record) -> Held {
    let mut stored: BTreeSet<(AccountId, TransferId)> = BTreeSet::new();
    for (node, disk) in record.disks.iter().filter(|(node, _)| !record.damaged.contains(*node)) {
        let records = disk.open().read(Stream::Refused, 0, u64::MAX, usize::MAX);
        for (id, bytes) in records.map_err(|error| format!("{node}: {error}"))? {
            let batch = record::decode::<RefusedBatch>(&Stream::Refused.key(id), Kind::Refused, &bytes);
            let refusals = batch.map_err(|error| format!("{node}: {error}"))?.refusals;
            stored.extend(refusals.iter().map(|refusal| (refusal.from, refusal.id)));
        }
    }
    for (identity, story) in &record.answers.history.stories {
        let (account, id) = *identity;
        let home = account.home();
        let refused = matches!(story.outcome, Some((Outcome::Refused(_), ..)));
        let exempt = record.exempt.destroyed.contains(&home) || record.damaged.contains(&home);
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
