//! What the bank holds and says, in the two forms that commands and examples print: JSON for programs, text for people.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::ledger::{Action, Block, Entry, Genesis, Reason, Replay};
use crate::types::{AccountId, Amount, Hash, Height, NodeId};

/// An entry of a log or a block.
pub fn entry_json(entry: &Entry) -> Value {
    let Entry { origin, seq, operation } = entry;
    match operation.action {
        Action::Transfer { from, to, amount } => {
            json!({ "origin": origin, "seq": seq, "id": operation.id, "from": from, "to": to, "amount": amount })
        }
        Action::Open { account } => json!({ "origin": origin, "seq": seq, "id": operation.id, "open": account }),
    }
}

/// A block with all its entries.
pub fn block_json(block: &Block) -> Value {
    let entries: Vec<_> = entries(block).map(|entry| entry_json(&entry)).collect();
    json!({ "height": block.height(), "hash": block.hash(), "parent": block.parent(), "entries": entries })
}

/// The genesis, as the block 0 that it stands for.
pub fn genesis_json(genesis: &Genesis) -> Value {
    json!({ "height": 0, "hash": genesis.id(), "parent": Hash::ZERO, "entries": [] })
}

/// The genesis, on one line.
pub fn genesis_text(genesis: &Genesis) -> String {
    format!("{:>6}  {}  genesis: {}", 0, genesis.id().short(), balances_text(genesis.opening()))
}

/// How many entries of a block people are shown.
const ENTRIES_SHOWN: usize = 20;

/// A block, on one line.
pub fn block_text(block: &Block) -> String {
    let count: usize = block.runs().iter().map(|run| run.operations.len()).sum();
    let mut shown: Vec<_> = entries(block).take(ENTRIES_SHOWN).map(|entry| entry_text(&entry)).collect();
    if count > ENTRIES_SHOWN {
        shown.push(format!("and {} more", count - ENTRIES_SHOWN));
    }
    format!("{:>6}  {}  {}", block.height(), block.hash().short(), shown.join(", "))
}

/// An entry of a local log with its id, on one line.
pub fn log_text(entry: &Entry) -> String {
    format!("{:<28}  id {}", entry_text(entry), entry.operation.id)
}

/// What an account has, as a node tells it.
pub fn balance_json(
    account: AccountId,
    spendable: Option<Amount>,
    settled: Amount,
    height: Height,
    node: NodeId,
) -> Value {
    json!({ "account": account, "spendable": spendable, "settled": settled, "height": height, "node": node })
}

/// The same for people. What can be spent only the account's home tells.
pub fn balance_text(
    account: AccountId,
    spendable: Option<Amount>,
    settled: Amount,
    height: Height,
    node: NodeId,
) -> String {
    let spendable = spendable.map_or_else(String::new, |spendable| format!("can spend {spendable}; "));
    format!("{account}  {spendable}settled {settled} at height {height}, says {node}")
}

/// Up to which height all is settled, as a node tells it.
pub fn settled_json(height: Height, not_heard: &BTreeSet<NodeId>, node: NodeId) -> Value {
    json!({ "height": height, "not_heard": not_heard, "node": node })
}

/// The same for people.
pub fn settled_text(height: Height, not_heard: &BTreeSet<NodeId>, node: NodeId) -> String {
    let mut text = format!("settled up to height {height}, says {node}");
    if !not_heard.is_empty() {
        text.push_str(&format!("; not heard: {}", nodes_text(not_heard)));
    }
    text
}

/// Balances by account.
pub fn balances_json<'a>(balances: impl IntoIterator<Item = (&'a AccountId, &'a Amount)>) -> Value {
    balances.into_iter().map(|(account, amount)| (account.to_string(), json!(amount))).collect()
}

/// Chains that were computed again, by node.
pub fn replays_json(replays: &BTreeMap<NodeId, Replay>) -> Value {
    let json = |replay: &Replay| json!({ "height": replay.height(), "tip": replay.tip(), "total": replay.total() });
    let nodes = replays.iter().map(|(node, replay)| (node.to_string(), json(replay)));
    let nodes: serde_json::Map<String, Value> = nodes.collect();
    json!({ "nodes": nodes, "height": common_height(replays) })
}

/// The same for people.
pub fn replays_text(replays: &BTreeMap<NodeId, Replay>) -> String {
    let line = |(node, replay): (&NodeId, &Replay)| {
        let (height, tip, total) = (replay.height(), replay.tip().short(), replay.total());
        format!("{node}  sound up to height {height}, tip {tip}, {total} in all")
    };
    let mut lines: Vec<_> = replays.iter().map(line).collect();
    lines.push(match replays.keys().next() {
        Some(node) if replays.len() == 1 => {
            format!("Only {node} was heard: there is no other chain to compare this one with.")
        }
        _ => {
            let common = common_height(replays);
            format!("The chains agree: each two as far as both go, all of these up to height {common}.")
        }
    });
    lines.join("\n")
}

fn common_height(replays: &BTreeMap<NodeId, Replay>) -> Height {
    replays.values().map(Replay::height).min().unwrap_or_default()
}

/// Where a node's chain holds another block than one of the others, in words.
pub fn two_histories(node: NodeId, replay: &Replay, others: &BTreeMap<NodeId, Replay>) -> Option<String> {
    others.iter().find_map(|(other, known)| {
        let height = known.differs_from(replay)?;
        Some(format!("{other} and {node} hold different blocks at height {height}: two histories"))
    })
}

/// All entries of a block, in its order.
pub fn entries(block: &Block) -> impl Iterator<Item = Entry> {
    block.runs().iter().flat_map(|run| run.entries())
}

/// A transfer: `A→B 20`.
pub fn transfer_text(from: AccountId, to: AccountId, amount: Amount) -> String {
    format!("{from}→{to} {amount}")
}

/// An opening: `open alice@A`.
pub fn opening_text(account: AccountId) -> String {
    format!("open {account}")
}

/// What an entry does: `A→C 20`.
pub fn action_text(entry: &Entry) -> String {
    match entry.operation.action {
        Action::Transfer { from, to, amount } => transfer_text(from, to, amount),
        Action::Open { account } => opening_text(account),
    }
}

/// An entry with its identity: `A:1 A→C 20`.
pub fn entry_text(entry: &Entry) -> String {
    format!("{}:{} {}", entry.origin, entry.seq, action_text(entry))
}

/// Balances by account: `A 80, B 100`.
pub fn balances_text<'a>(balances: impl IntoIterator<Item = (&'a AccountId, &'a Amount)>) -> String {
    balances.into_iter().map(|(account, amount)| format!("{account} {amount}")).collect::<Vec<_>>().join(", ")
}

/// Names of nodes: `A, B`.
pub fn nodes_text<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}

/// Why a transfer or an opening is refused.
pub fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::InsufficientFunds { height, spendable, not_heard } => {
            let not_heard = match not_heard.is_empty() {
                true => String::new(),
                false => format!(", not heard: {}", nodes_text(not_heard)),
            };
            format!("{spendable} can be spent after block {height}{not_heard}")
        }
        Reason::UnknownAccount { height, account } => format!("there is no account {account} after block {height}"),
        Reason::AccountExists { height, account } => {
            format!("the account {account} exists after block {height}, or will as soon as its opening is settled")
        }
        Reason::AmountZero => "a transfer moves at least 1".to_owned(),
        Reason::SameAccount => "both accounts are the same".to_owned(),
        Reason::NotHome { home } => format!("node {home} decides about this account"),
    }
}
