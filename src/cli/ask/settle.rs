//! `paxbank settle`: a round now.

use clap::Args;
use serde_json::json;

use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::render::nodes_text;
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
        let heard = self.nodes.client()?.settle(self.node, self.deadline.deadline).await?;
        let (height, not_heard) = &heard.told;
        let mut human = format!("settled up to height {height}, says {}", heard.node);
        if !not_heard.is_empty() {
            human.push_str(&format!("; not heard: {}", nodes_text(not_heard)));
        }
        Ok(Report { human, json: json!({ "height": height, "not_heard": not_heard, "node": heard.node }) }.into())
    }
}
