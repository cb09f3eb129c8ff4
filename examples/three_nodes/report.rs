//! What came of the transfers, for people and for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use paxos_banking::actors::message::BankView;
use paxos_banking::cli::say;
use paxos_banking::ledger::{Answer, Approval, Block, Entry, Genesis, Reason};
use paxos_banking::render::{
    balances_json, balances_text, block_json, entries, entry_json, entry_text, genesis_json, reason_text, transfer_text,
};
use paxos_banking::store::StoreAddress;
use paxos_banking::triplets::Triplet;
use paxos_banking::types::{AccountId, Amount, Height, NodeId, TransferId};
use serde_json::{Value, json};

use crate::bank::Bank;

/// A transfer and what the bank decided, with what its home knew then.
pub struct Decided {
    pub transfer: Triplet,
    pub answer: Answer,
    pub height: Height,
    pub spendable: Amount,
}

pub struct Report {
    genesis: Genesis,
    decided: Vec<Decided>,
    nodes: BTreeMap<NodeId, BankView>,
    blocks: Vec<Arc<Block>>,
}

/// Sends each transfer to its home, one after the other.
pub async fn run_all(genesis: Genesis, store: StoreAddress, transfers: &[Triplet], human: bool) -> Result<Report> {
    let mut bank = Bank::start(genesis.clone(), store, transfers.len()).await?;
    let mut decided = Vec::new();
    for transfer in transfers {
        let one = decide(&mut bank, transfer).await?;
        if human {
            say(&one.sentence());
        }
        decided.push(one);
    }
    Report::new(genesis, &bank, decided).await
}

pub async fn decide(bank: &mut Bank, transfer: &Triplet) -> Result<Decided> {
    let request = bank.request(transfer);
    let answer = bank.decide(request).await?;
    let view = bank.view(transfer.from.home()).await?;
    let spendable = view.spendable.get(&transfer.from).copied().unwrap_or_default();
    Ok(Decided { transfer: *transfer, answer, height: view.height, spendable })
}

impl Decided {
    pub fn sentence(&self) -> String {
        let outcome = decision_text(&self.answer, Some((self.transfer.from, self.spendable)));
        format!("{:<10} {outcome}", arrow(&self.transfer))
    }

    fn json(&self) -> Value {
        let reason = match &self.answer {
            Answer::Refused(reason) => {
                let (height, spendable, not_heard) = match reason {
                    Reason::InsufficientFunds { height, spendable, not_heard } => {
                        (*height, *spendable, not_heard.iter().map(NodeId::as_str).collect())
                    }
                    // A refusal by form rests on no state; what the home knew goes along all the same.
                    _ => (self.height, self.spendable, Vec::new()),
                };
                json!({
                    "code": reason.code(),
                    "height": height,
                    "spendable": spendable,
                    "not_heard": not_heard,
                })
            }
            _ => Value::Null,
        };
        let outcome = if reason.is_null() { "approved" } else { "refused" };
        let Triplet { from, to, amount } = self.transfer;
        json!({ "from": from, "to": to, "amount": amount, "outcome": outcome, "reason": reason })
    }
}

impl Report {
    /// Looks at every node that runs, once all have applied the last block.
    pub async fn new(genesis: Genesis, bank: &Bank, decided: Vec<Decided>) -> Result<Self> {
        bank.level().await?;
        let mut nodes = BTreeMap::new();
        for node in bank.cluster.nodes() {
            nodes.insert(node, bank.view(node).await?);
        }
        let blocks = match nodes.keys().next() {
            Some(node) => bank.chain(*node, Height(0)).await?,
            None => Vec::new(),
        };
        Ok(Self { genesis, decided, nodes, blocks })
    }

    pub fn json(&self) -> Value {
        let node = |(node, view): (&NodeId, &BankView)| (node.to_string(), node_json(view));
        let blocks = self.blocks.iter().map(|block| block_json(block));
        json!({
            "transfers": self.decided.iter().map(Decided::json).collect::<Vec<_>>(),
            "nodes": self.nodes.iter().map(node).collect::<serde_json::Map<_, _>>(),
            "blocks": std::iter::once(genesis_json(&self.genesis)).chain(blocks).collect::<Vec<_>>(),
        })
    }

    pub fn print_human(&self) {
        say("\nThe nodes:");
        for (node, view) in &self.nodes {
            node_lines(*node, view).iter().for_each(|line| say(line));
        }
        say("\nThe chain, the same on every node that runs:");
        say(&format!("  0  {}  genesis: {} each", self.genesis.id().short(), opening(&self.genesis)));
        for block in &self.blocks {
            let entries: Vec<_> = entries(block).collect();
            say(&format!("  {}  {}  {}", block.height(), block.hash().short(), list(entries.iter())));
        }
    }
}

/// What a node knows, for people.
pub fn node_lines(node: NodeId, view: &BankView) -> [String; 4] {
    [
        format!("  {node}  height {}, tip {}", view.height, view.tip.short()),
        format!("     settled    {}", balances_text(&view.settled)),
        format!("     spendable  {}", balances_text(&view.spendable)),
        format!("     log        {}", list(view.log.iter())),
    ]
}

/// The same for programs.
pub fn node_json(view: &BankView) -> Value {
    json!({
        "height": view.height,
        "tip": view.tip,
        "settled": balances_json(&view.settled),
        "spendable": balances_json(&view.spendable),
        "log": view.log.iter().map(entry_json).collect::<Vec<_>>(),
    })
}

/// What the blocks of a node after one height settle, and what they lead to.
pub async fn settled_lines(bank: &Bank, node: NodeId, after: Height, view: &BankView) -> Result<Vec<String>> {
    let blocks = bank.chain(node, after).await?;
    let line = |block: &Arc<Block>| {
        let entries: Vec<_> = entries(block).collect();
        let (height, count) = (block.height(), crate::wire::entries_text(entries.len()));
        format!("Block {height} settles {count}: {}.", list(entries.iter()))
    };
    let mut lines: Vec<_> = blocks.iter().map(line).collect();
    if !blocks.is_empty() {
        lines.push(format!("Balances: {}.", balances_text(&view.settled)));
    }
    Ok(lines)
}

/// What a home decided, and what the account can spend after it.
fn decision_text(answer: &Answer, spendable: Option<(AccountId, Amount)>) -> String {
    match answer {
        Answer::Approved(Approval { origin, seq, height }) => {
            let settled = height.map_or_else(String::new, |height| format!(", settled in block {height}"));
            let can = spendable.map(|(account, amount)| format!(", {account} can still spend {amount}"));
            format!("approved as entry {origin}:{seq}{settled}{}", can.unwrap_or_default())
        }
        Answer::Refused(reason) => format!("refused: {}", reason_text(reason)),
        Answer::Conflict => "not done: the id was used before for something else".to_owned(),
        Answer::Expired => "unknown: the id is older than what its home remembers".to_owned(),
        Answer::Busy | Answer::NotReady => "not decided: the home is not ready; say it again later".to_owned(),
        Answer::Pending => "not decided yet".to_owned(),
    }
}

/// What came of a transfer or an opening, for people, and how to ask again where nothing was heard.
pub fn outcome_text(answer: Option<&Answer>, id: TransferId, spendable: Option<(AccountId, Amount)>) -> String {
    match answer {
        Some(answer) => decision_text(answer, spendable),
        None => format!("unknown: no decision was heard; ask what became of it with: outcome {id}"),
    }
}

/// The same for programs, in the form of `paxbank transfer`.
pub fn outcome_json(id: TransferId, what: &str, answer: Option<&Answer>) -> Value {
    let (outcome, approval, reason) = match answer {
        Some(Answer::Approved(approval)) => ("approved", Some(approval), Value::Null),
        Some(Answer::Refused(reason)) => ("refused", None, json!(reason)),
        _ => ("unknown", None, json!({ "code": "pending", "message": "no decision was heard" })),
    };
    let (origin, seq) = (approval.map(|approval| approval.origin), approval.map(|approval| approval.seq));
    let height = approval.and_then(|approval| approval.height);
    json!({
        "id": id, "what": what, "outcome": outcome, "origin": origin, "seq": seq, "height": height, "reason": reason,
    })
}

fn opening(genesis: &Genesis) -> Amount {
    genesis.opening().values().next().copied().unwrap_or_default()
}

pub fn arrow(Triplet { from, to, amount }: &Triplet) -> String {
    transfer_text(*from, *to, *amount)
}

/// Entries with their identity: `A:1 A→C 20, ...`.
pub fn list<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let shown: Vec<_> = entries.map(entry_text).collect();
    if shown.is_empty() { "empty".to_owned() } else { shown.join(", ") }
}
