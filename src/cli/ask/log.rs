//! `paxbank log`: what a home has approved, and no block holds yet.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::listing::{Layout, Listing};
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Output};
use crate::client::Client;
use crate::render::{entry_json, log_text};
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
        show(&self.nodes.client()?, self.node, self.deadline.deadline, output.into()).await
    }
}

/// Prints it page by page.
pub(super) async fn show(client: &Client, node: NodeId, within: Duration, layout: Layout) -> Result<Finished, Failure> {
    let mut pages = client.log(node, within);
    // The first page is had before anything is printed: most errors come here, and are told alone.
    let mut page = pages.next().await?;
    let mut listing = Listing::begin(layout, &[("node", json!(node))], "entries");
    while let Some(entries) = page.filter(|_| listing.is_read()) {
        for entry in &entries {
            listing.item(|| log_text(entry), || entry_json(entry));
        }
        page = match pages.next().await {
            Ok(page) => page,
            Err(error) => return listing.fail(error.into()),
        };
    }
    Ok(listing.end("Nothing is unsettled."))
}
