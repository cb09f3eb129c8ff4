//! `paxbank settle`: a round now.

use std::time::Duration;

use clap::Args;

use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, Heard};
use crate::render::{settled_json, settled_text};
use crate::types::NodeId;

const EXAMPLES: &str = "Examples:
  paxbank settle
  paxbank settle B --deadline 30s";

/// Settles now what is unsettled.
///
/// The unsettled logs of all nodes that can be reached become one block. Where nothing is unsettled, no block is made.
#[derive(Args)]
#[command(before_long_help = EXAMPLES)]
pub(in crate::cli) struct Settle {
    /// The node that does it [default: the first that answers].
    node: Option<NodeId>,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl Settle {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        ask(&self.nodes.client()?, self.node, self.deadline.deadline).await
    }
}

/// Asks a node for it, or the first that answers.
pub(super) async fn ask(client: &Client, node: Option<NodeId>, within: Duration) -> Result<Finished, Failure> {
    let Heard { node, told: (height, not_heard) } = client.settle(node, within).await?;
    let human = settled_text(height, &not_heard, node);
    Ok(Report { human, json: settled_json(height, &not_heard, node) }.into())
}
