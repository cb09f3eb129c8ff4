//! What must hold of blocks, and of what a node knows of the bank.

use super::*;

/// All that a block must keep to when a node has applied it.
pub fn blocks(record: &mut Record, node: NodeId, before: Height, block: &Arc<Block>) -> Held {
    r5_in_order_of_heights(node, before, block)?;
    let reached = record.reached.get(&node).map(|reached| reached.height);
    hold(reached >= Some(block.height()), || format!("R3: {node} tells of {block:?} before it is durable"))?;
    r1_r6_one_block_per_height(&mut record.chain, node, block)?;
    r12_money_is_conserved(record)
}

/// R5: each node applies every height once, in order.
fn r5_in_order_of_heights(node: NodeId, before: Height, block: &Block) -> Held {
    hold(block.height() == before.next(), || format!("R5: {node} applied {} after {before}", block.height()))
}

/// Whoever applies a block first does so once a majority has voted for it, durably, under one ballot.
pub fn a_block_is_applied_once_a_majority_has_chosen_it(record: &Record, node: NodeId, block: &Arc<Block>) -> Held {
    let votes = record.votes.get(&(block.height(), block.hash()));
    let majority = record.genesis.majority();
    let chosen = votes.is_some_and(|votes| votes.values().any(|voters| voters.len() >= majority));
    hold(chosen, || format!("R3, R6: {node} has applied {block:?}, which has no majority under one ballot: {votes:?}"))
}

/// R1, R5, R6: no two nodes apply different blocks at one height, and each block follows on the chain.
pub fn r1_r6_one_block_per_height(chain: &mut Chain, node: NodeId, block: &Arc<Block>) -> Held {
    match chain.block(block.height()) {
        Some(known) => hold(known.hash() == block.hash(), || {
            format!("R1, R6: {node} applied {block:?} where another node has {known:?}")
        }),
        None => chain.append(block).map_err(|fault| format!("R5: {node} applied {block:?}: {fault}")),
    }
}

/// R12: the settled balances add up to what the bank began with. (That none is below zero, their type says.)
pub fn r12_money_is_conserved(record: &Record) -> Held {
    hold(record.chain.is_conserved(), || format!("R12: the balances are {:?}", record.chain.tip().balances()))
}

// ---- Views

/// All that a node's view of the bank must keep to.
pub fn views(record: &Record, node: NodeId, view: &BankView) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    let last = Seq(view.log.last().map_or(0, |entry| entry.seq.0));
    hold(view.height <= reached.height && last <= reached.seq, || {
        format!("R3: {node} shows height {}, seq {last}; its disk holds {reached:?}", view.height)
    })?;
    bounds_are_kept(record, node, view)?;
    let Some(bank) = record.chain.at(view.height) else { return Ok(()) };
    r5_equal_heights_have_equal_states(node, view, bank)?;
    r7_a_log_is_contiguous(node, view, bank)?;
    r12_no_overdraft_at_home(node, view, bank)
}

/// R5: whoever is at a height has the same block there, and the same state.
fn r5_equal_heights_have_equal_states(node: NodeId, view: &BankView, bank: Settled<'_>) -> Held {
    let equal = (view.tip, view.state) == bank.hashes() && view.settled == bank.balances();
    hold(equal, || format!("R5: {node} at height {} differs from the others there", view.height))
}

/// R7: a log begins at the watermark + 1 and has no gap.
fn r7_a_log_is_contiguous(node: NodeId, view: &BankView, bank: Settled<'_>) -> Held {
    let first = bank.watermark(node).next();
    let in_order = view.log.iter().zip(first.0..).all(|(entry, seq)| entry.seq == Seq(seq) && entry.origin == node);
    hold(in_order, || format!("R7: the log of {node} does not go on at {first}: {:?}", view.log))
}

/// R12: what can be spent at home is what is settled, less own debits, plus credits from the same home; never below
/// zero, and nothing that is not settled yet from elsewhere.
fn r12_no_overdraft_at_home(node: NodeId, view: &BankView, bank: Settled<'_>) -> Held {
    for (account, shown) in &view.spendable {
        let computed = bank.spendable(*account, view.log.iter().copied());
        hold(computed == Some(*shown), || {
            format!("R12: {account} can spend {shown} at {node}, of {computed:?} by chain and log at {}", view.height)
        })?;
    }
    Ok(())
}

/// Everything that a node keeps is within its bounds.
fn bounds_are_kept(record: &Record, node: NodeId, view: &BankView) -> Held {
    let limits = &record.limits;
    let ids_max = limits.ids_remembered_max.max(16) + limits.log_entries_max;
    let waiting_max = limits.waiting_max + limits.settling_max;
    let within = view.log.len() <= limits.log_entries_max && view.waiting <= waiting_max && view.remembered <= ids_max;
    hold(within, || {
        let (log, waiting, remembered) = (view.log.len(), view.waiting, view.remembered);
        format!("bounds: {node} has a log of {log}, {waiting} waiting, {remembered} ids remembered; {limits:?}")
    })
}

/// What a node keeps on its disk is bounded as what it keeps in memory is: records of refusals that are still needed
/// keep no long tail of others.
pub fn stores_are_bounded(record: &Record, node: NodeId) -> Held {
    let image = record.disks[&node].durable();
    let count = |stream| image.streams.get(&stream).map_or(0, |records| records.len());
    let (log, refused) = (count(Stream::Log), count(Stream::Refused));
    let limits = &record.limits;
    let within = log <= limits.log_entries_max && refused <= 64.max(2 * limits.ids_remembered_max) + 1;
    hold(within, || format!("bounds: the store of {node} holds {log} records of its log, {refused} of refusals"))
}
