//! `paxbank verify`: every node's chain, checked by someone who trusts none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, ClientError, NodeError};
use crate::ledger::{Bank, Block, Genesis};
use crate::types::{Amount, Hash, Height, NodeId};

const EXAMPLES: &str = "Examples:
  paxbank verify
  paxbank verify --output json";

const NOTES: &str = "\
Of each node the whole chain is fetched, page by page, and computed again: every hash, every parent, every entry,
every balance, and that no money is made or lost. Then the chains are compared as far as each two go.

Exit status: 0 all that was heard is sound (nodes that were not heard are named), 3 no node reachable, 5 a chain is
damaged, or two differ.";

/// Verifies the chains of all nodes, and compares them.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct Verify {
    /// How long to try to reach the nodes, all at the same time, and then for each page: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

/// Where a chain came to.
struct Verified {
    height: Height,
    tip: Hash,
    /// The sum of all settled balances.
    total: Amount,
}

/// The hashes of the longest chain so far, and whose it is: what the others are compared with.
struct Reference {
    node: NodeId,
    hashes: Vec<Hash>,
}

impl Verify {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let (geneses, missing) = client.geneses(self.deadline.deadline).await?;
        let mut reference = None;
        let (mut verified, mut not_heard) = (BTreeMap::new(), BTreeMap::new());
        for (node, error) in missing {
            match Fault::of(node, error) {
                Fault::Damage(failure) => return Err(failure),
                Fault::NotHeard(error) => drop(not_heard.insert(node, error)),
            }
        }
        for (node, genesis) in geneses {
            match self.verify(&client, node, &genesis, &mut reference).await {
                Ok(end) => drop(verified.insert(node, end)),
                Err(Fault::Damage(failure)) => return Err(failure),
                Err(Fault::NotHeard(error)) => drop(not_heard.insert(node, error)),
            }
        }
        match not_heard.values().next() {
            Some(error) if verified.is_empty() => Err(error.clone().into()),
            _ => Ok(report(&client, &verified, &not_heard).into()),
        }
    }

    /// Computes one node's chain again.
    async fn verify(
        &self,
        client: &Client,
        node: NodeId,
        genesis: &Genesis,
        reference: &mut Option<Reference>,
    ) -> Result<Verified, Fault> {
        let within = self.deadline.deadline;
        let fault = |error| Fault::of(node, error);
        let mut bank = Bank::new(genesis);
        let mut hashes = vec![genesis.id()];
        let mut pages = client.chain(Some(node), Height(1), None, within);
        while let Some(page) = pages.next().await.map_err(fault)? {
            for block in page {
                step(&mut bank, genesis, &block)
                    .map_err(|what| Fault::damage(format!("block {} of node {node}: {what}", block.height())))?;
                hashes.push(block.hash());
            }
        }
        let end = Verified { height: bank.height(), tip: bank.tip(), total: genesis.total() };
        compare(node, hashes, reference)?;
        Ok(end)
    }
}

/// Applies a block as a node must: hash, parent, state, seqs, every entry; then the sum of all balances (R12).
pub(super) fn step(bank: &mut Bank, genesis: &Genesis, block: &Arc<Block>) -> Result<(), String> {
    let delta = bank.check(block).map_err(|fault| fault.to_string())?;
    bank.advance(delta);
    let sum = bank.balances().values().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount));
    if sum != Some(genesis.total()) {
        return Err("after it the balances do not add up to the genesis sum".to_owned());
    }
    Ok(())
}

fn compare(node: NodeId, hashes: Vec<Hash>, reference: &mut Option<Reference>) -> Result<(), Fault> {
    let Some(known) = reference else {
        *reference = Some(Reference { node, hashes });
        return Ok(());
    };
    if let Some(height) = known.hashes.iter().zip(&hashes).position(|(ours, theirs)| ours != theirs) {
        let message = format!("{} and {node} hold different blocks at height {height}: two histories", known.node);
        return Err(Fault::damage(message));
    }
    if hashes.len() > known.hashes.len() {
        *known = Reference { node, hashes };
    }
    Ok(())
}

/// Why a chain is not verified.
pub(super) enum Fault {
    Damage(Failure),
    NotHeard(ClientError),
}

impl Fault {
    fn damage(message: String) -> Self {
        Self::Damage(Failure::damage(message))
    }

    /// A node that cannot read its store, or tells what does not decode, is damaged; any other was not heard.
    pub(super) fn of(node: NodeId, error: ClientError) -> Self {
        match error.node_error().as_deref() {
            Some(NodeError::Garbled { why, .. }) => Self::damage(format!("the chain of node {node}: {why}")),
            Some(NodeError::Failed { failure, .. }) if error.code() == "store" => {
                Self::damage(format!("the chain of node {node}: {failure}"))
            }
            _ => Self::NotHeard(error),
        }
    }
}

fn report(client: &Client, verified: &BTreeMap<NodeId, Verified>, not_heard: &BTreeMap<NodeId, ClientError>) -> Report {
    let mut lines = Vec::new();
    let mut nodes = serde_json::Map::new();
    for (node, Verified { height, tip, total }) in verified {
        lines.push(format!("{node}  sound up to height {height}, tip {}, {total} in all", tip.short()));
        nodes.insert(node.to_string(), json!({ "height": height, "tip": tip, "total": total }));
    }
    let common = verified.values().map(|end| end.height).min().unwrap_or_default();
    lines.push(match verified.keys().next() {
        Some(node) if verified.len() == 1 => {
            format!("Only {node} was heard: there is no other chain to compare this one with.")
        }
        _ => format!("The chains agree: each two as far as both go, all of these up to height {common}."),
    });
    lines.extend(not_heard.iter().map(|(node, error)| format!("{node}  not heard: {error}")));
    let not_heard = not_heard.iter().map(|(node, error)| (node.to_string(), json!(error.to_string())));
    let not_heard: Value = not_heard.collect::<serde_json::Map<_, _>>().into();
    let json = json!({ "cluster": client.cluster(), "nodes": nodes, "height": common, "not_heard": not_heard });
    Report { human: lines.join("\n"), json }
}
