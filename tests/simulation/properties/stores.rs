//! What must hold of what a node keeps, and of when it stops.

use super::*;

/// All that a write must keep to once it is durable. `head` says what the store holds after it.
pub fn writes(record: &Record, node: NodeId, head: &Head) -> Held {
    r3_a_disk_never_goes_back(record.heads.get(&node), node, head)?;
    r10_an_opened_account_inherits_the_horizon(record, node, head)?;
    r11_all_peers_know_who_is_admitted(record, node, head)?;
    r11_a_lost_store_is_not_replaced(record, node, head)
}

/// R3, R5, R7: promise, height and seq never fall, and every write is the next.
fn r3_a_disk_never_goes_back(before: Option<&Head>, node: NodeId, head: &Head) -> Held {
    let Some(before) = before else { return Ok(()) };
    let ascends = head.promise >= before.promise
        && head.height >= before.height
        && head.log_last >= before.log_last
        && head.log_first >= before.log_first
        && head.horizons >= before.horizons
        && (head.admitted || !before.admitted);
    hold(ascends, || format!("R3: the store of {node} held {before:?}, then {head:?}"))
}

/// R10: an account whose opening is settled has, in the same write, the horizon that those share which do not exist.
fn r10_an_opened_account_inherits_the_horizon(record: &Record, node: NodeId, head: &Head) -> Held {
    let before = record.heads.get(&node).map_or(Height(0), |before| before.height);
    let shared = record.shared_horizons.get(&node).copied();
    let blocks = (before.0 + 1..=head.height.0).filter_map(|height| record.chain.block(Height(height)));
    for operation in blocks.flat_map(|block| block.runs()).flat_map(|run| &run.operations) {
        let Action::Open { account } = operation.action else { continue };
        let own = durable_horizon(record, node, Some(account));
        // What an older copy shares, it shared then.
        let exempt = account.home() != node || record.gone_back.contains(&node);
        hold(exempt || own >= shared, || {
            format!("R10: {account} is open at {head:?}, with the horizon {own:?}; those of no account have {shared:?}")
        })?;
    }
    Ok(())
}

/// A horizon that a node's disk holds.
pub fn durable_horizon(record: &Record, node: NodeId, owner: Option<AccountId>) -> Option<TransferId> {
    let name = paxos_banking::store::field::HORIZON;
    let name = owner.map_or_else(|| name.to_owned(), |account| format!("{name}{account}"));
    let bytes = record.disks[&node].durable_field(&name)?;
    record::decode::<Horizon>(&name, Kind::Horizon, &bytes).ok().map(|horizon| horizon.id)
}

/// R11: a node is admitted once every peer knows, durably, this very incarnation of it.
fn r11_all_peers_know_who_is_admitted(record: &Record, node: NodeId, head: &Head) -> Held {
    if !head.admitted || record.heads.get(&node).is_some_and(|before| before.admitted) {
        return Ok(());
    }
    let Some(own) = incarnation(record, node) else { return Err(format!("R11: {node} has no identity")) };
    // A peer that has answered, and lost its store since, knows nobody any more.
    let peers = record.genesis.nodes().iter().filter(|peer| **peer != node && !record.emptied.contains(peer));
    for peer in peers {
        let known = known_incarnation(record, *peer, node);
        hold(known == Some(own), || format!("R11: {node} is admitted as {own}; {peer} knows {known:?}"))?;
    }
    Ok(())
}

/// R11: a node that was admitted, and lost its store, is not admitted again while anybody is left who knew it.
fn r11_a_lost_store_is_not_replaced(record: &Record, node: NodeId, head: &Head) -> Held {
    let somebody_knows = record.genesis.nodes().iter().any(|peer| !record.emptied.contains(peer));
    hold(!head.admitted || !record.exempt.destroyed.contains(&node) || !somebody_knows, || {
        format!("R11: {node} had lost its store, and is admitted with a new one")
    })
}

fn incarnation(record: &Record, node: NodeId) -> Option<Incarnation> {
    let name = paxos_banking::store::field::IDENTITY;
    let bytes = record.disks[&node].durable_field(name)?;
    let identity: record::Identity = record::decode(name, Kind::Identity, &bytes).ok()?;
    Some(identity.incarnation)
}

/// R13: only the process that took the store last writes to it.
pub fn r13_only_the_owner_writes(node: NodeId, process: u32, owner: u32) -> Held {
    hold(process == owner, || format!("R13: process {process} of {node} wrote to the store that {owner} has taken"))
}

/// R13: damage that a start meets is named.
pub fn r13_damage_is_named(node: NodeId, key: &str, found: Option<&str>) -> Held {
    let named = found.is_some_and(|error| error.contains(key));
    hold(named, || format!("R13: {key} in the store of {node} is damaged; its start says {found:?}"))
}

/// R13: a node stops that a peer tells of more than its store holds.
pub fn r13_a_store_that_went_back_is_noticed(node: NodeId, witnessed: bool, stopped: bool) -> Held {
    hold(stopped || !witnessed, || format!("R13: the store of {node} went back, a peer told it so, and it goes on"))
}

/// R13: a process stops for good where it must, and nowhere else.
pub fn r13_only_who_must_stops(node: NodeId, excuses: &BTreeSet<Excuse>, reason: &HaltReason) -> Held {
    let fits = excuses.iter().any(|excuse| {
        matches!(
            (excuse, reason),
            (Excuse::Replaced | Excuse::Damaged, HaltReason::Store(_))
                | (Excuse::LostDisk, HaltReason::LostDisk { .. } | HaltReason::WentBack { .. })
                // To the older of two processes it looks the same: others know of what the newer one did.
                | (Excuse::WentBack | Excuse::Replaced, HaltReason::WentBack { .. } | HaltReason::ForeignOwnEntry(_))
                | (Excuse::WentBack | Excuse::Replaced, HaltReason::Overtaken { .. })
        )
    });
    hold(fits, || format!("R5, R13: {node} stopped, though nothing was done to it but {excuses:?}: {reason}"))
}

/// R13: what a start finds is the chain that all agree on.
pub fn r13_a_start_finds_the_chain(chain: &Chain, node: NodeId, height: Height, tip: Hash) -> Held {
    let agrees = chain.at(height).is_none_or(|bank| bank.hashes().0 == tip);
    hold(agrees, || format!("R13: {node} starts at height {height} with {tip}, which is not the chain's"))
}
