//! `paxbank log`: what a home has approved, and no block holds yet.

use clap::Args;
use serde_json::json;

use super::listing::Listing;
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Output};
use crate::render::{entry_json, entry_text};
use crate::types::NodeId;

const EXAMPLES: &str = "Examples:
  paxbank log A
  paxbank log A --output json";

/// Shows a node's local log: what it approved, and no block holds yet.
#[derive(Args)]
#[command(before_long_help = EXAMPLES)]
pub(in crate::cli) struct ShowLog {
    /// The node.
    node: NodeId,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl ShowLog {
    pub(super) async fn run(self, output: Output) -> Result<Finished, Failure> {
        let mut pages = self.nodes.client()?.log(self.node, self.deadline.deadline);
        // The first page is had before anything is printed: most errors come here, and are told alone.
        let mut page = pages.next().await?;
        let mut listing = Listing::begin(output, &[("node", json!(self.node))], "entries");
        while let Some(entries) = page {
            for entry in &entries {
                let human = || format!("{:<28}  id {}", entry_text(entry), entry.operation.id);
                listing.item(human, || entry_json(entry));
            }
            page = match pages.next().await {
                Ok(page) => page,
                Err(error) => return listing.fail(error.into()),
            };
        }
        Ok(listing.end("Nothing is unsettled."))
    }
}
