//! `paxbank verify`: every node's chain, checked by someone who trusts none of them.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, ClientError, NodeError};
use crate::ledger::{Genesis, Replay};
use crate::render::{replays_json, replays_text, two_histories};
use crate::types::{Height, NodeId};

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

impl Verify {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        ask(&self.nodes.client()?, self.deadline.deadline).await
    }
}

/// Fetches all chains, and verifies them.
pub(super) async fn ask(client: &Client, within: Duration) -> Result<Finished, Failure> {
    let (geneses, missing) = client.geneses(within).await?;
    let (mut verified, mut not_heard) = (BTreeMap::new(), BTreeMap::new());
    for (node, error) in missing {
        match Fault::of(node, error) {
            Fault::Damage(failure) => return Err(failure),
            Fault::NotHeard(error) => drop(not_heard.insert(node, error)),
        }
    }
    for (node, genesis) in geneses {
        match verify(client, within, node, &genesis).await {
            Ok(replay) => {
                if let Some(different) = two_histories(node, &replay, &verified) {
                    return Err(Failure::damage(different));
                }
                verified.insert(node, replay);
            }
            Err(Fault::Damage(failure)) => return Err(failure),
            Err(Fault::NotHeard(error)) => drop(not_heard.insert(node, error)),
        }
    }
    match not_heard.values().next() {
        Some(error) if verified.is_empty() => Err(error.clone().into()),
        _ => Ok(report(client, &verified, &not_heard).into()),
    }
}

/// Computes one node's chain again.
async fn verify(client: &Client, within: Duration, node: NodeId, genesis: &Genesis) -> Result<Replay, Fault> {
    let mut replay = Replay::new(genesis);
    let mut pages = client.chain(Some(node), Height(1), None, within);
    while let Some(page) = pages.next().await.map_err(|error| Fault::of(node, error))? {
        for block in page {
            let fault = |what| Fault::damage(format!("block {} of node {node}: {what}", block.height()));
            replay.apply(&block).map_err(fault)?;
        }
    }
    Ok(replay)
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

    /// Why the node was not heard.
    ///
    /// # Errors
    /// Damage, which ends the command.
    pub(super) fn or_not_heard(self) -> Result<ClientError, Failure> {
        match self {
            Self::Damage(failure) => Err(failure),
            Self::NotHeard(error) => Ok(error),
        }
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

fn report(client: &Client, verified: &BTreeMap<NodeId, Replay>, not_heard: &BTreeMap<NodeId, ClientError>) -> Report {
    let (mut human, mut json) = (replays_text(verified), replays_json(verified));
    for (node, error) in not_heard {
        human.push_str(&format!("\n{node}  not heard: {error}"));
    }
    let not_heard = not_heard.iter().map(|(node, error)| (node.to_string(), json!(error.to_string())));
    json["cluster"] = json!(client.cluster());
    json["not_heard"] = not_heard.collect::<serde_json::Map<_, _>>().into();
    Report { human, json }
}
