//! What must hold of what readers are shown.

use super::*;

/// R3: what a node told of its height, it never tells less of.
pub fn r3_heights_never_go_back(node: NodeId, floor: Height, height: Height) -> Held {
    hold(height >= floor, || format!("R3: {node} told of height {floor}, and then of {height}"))
}

/// R3: a balance is told at a height that is durable.
pub fn r3_a_balance_is_durable(record: &Record, node: NodeId, balance: &Balance) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    hold(balance.height <= reached.height || record.exempt.destroyed.contains(&node), || {
        format!("R3: {node} tells {balance:?}; its disk never held more than {reached:?}")
    })
}

/// R3: what a node tells of itself is durable, and the chain's.
pub fn r3_a_status_tells_what_is_durable(record: &Record, node: NodeId, status: &Status) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    let durable = status.height <= reached.height && status.ballot <= reached.promise;
    let of_chain = record.chain.at(status.height).is_none_or(|bank| bank.hashes().0 == status.tip);
    hold((durable || record.exempt.destroyed.contains(&node)) && of_chain, || {
        format!("R3: {node} is as {status:?}; its disk never held more than {reached:?}")
    })
}

/// R3, R5: the blocks that a node shows are the chain's, from the first one on that was asked for.
pub fn r5_blocks_shown_are_the_chain(record: &Record, node: NodeId, from: Height, blocks: &[Arc<Block>]) -> Held {
    for (block, height) in blocks.iter().zip(from.0..) {
        let known = record.chain.block(Height(height)).map(|block| block.hash());
        hold(known == Some(block.hash()), || format!("R5: {node} shows {block:?} at {height}, of {known:?}"))?;
    }
    Ok(())
}

/// R3, R7: the log that a home shows is durable, in order, and what the chain holds of it.
pub fn r7_entries_shown_are_the_log(record: &Record, node: NodeId, from: Seq, log: &[LogEntry]) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    let first = log.first().map_or(from, |entry| entry.0);
    for (entry, seq) in log.iter().zip(first.0..) {
        let settled = record.chain.entry(node, entry.0);
        let same = settled.as_ref().is_none_or(|(_, known)| known.operation == entry.1);
        let exempt = record.exempt.destroyed.contains(&node);
        hold(exempt || (entry.0 == Seq(seq) && first >= from && entry.0 <= reached.seq && same), || {
            format!("R3, R7: {node} shows {entry:?} from {from} on; its disk holds {reached:?}, the chain {settled:?}")
        })?;
    }
    Ok(())
}

/// R10: the home finds what a client heard that it approved.
pub fn r10_what_was_approved_is_found(
    record: &Record,
    request: &Request,
    (called, returned): (u64, u64),
    found: &[Trace],
) -> Held {
    let home = request.from.home();
    let exempt = record.was_doubled(home, called, returned) || record.exempt.destroyed.contains(&home);
    let approved = |trace: &Trace| trace.from == request.from && matches!(trace.verdict, Verdict::Approved(_));
    let due = !exempt && record.answers.heard_approved(request, called).is_some();
    hold(!due || found.iter().any(approved), || format!("R10: {request:?} was approved; its home finds {found:?}"))
}
