//! `paxbank chain`: the blocks of a node.

use std::time::Duration;

use clap::Args;

use super::listing::{Layout, Listing};
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Output};
use crate::client::Client;
use crate::render::{block_json, block_text, genesis_json, genesis_text};
use crate::types::{Height, NodeId};

const EXAMPLES: &str = "Examples:
  paxbank chain                        the whole chain of the first node that answers
  paxbank chain B --from 3 --to 5      blocks 3 to 5 as node B holds them
  paxbank chain --output json";

const NOTES: &str = "\
Blocks are fetched and printed page by page, however long the chain is. As JSON they come as one value all the same,
a block to a line; where a page cannot be had, the last field is \"error\", and the exit status says the rest.";

/// Shows the blocks of a node's chain.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct ShowChain {
    /// The node [default: the first that answers].
    node: Option<NodeId>,
    /// The first block; 0 is the genesis.
    #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
    from: u64,
    /// The last [default: the end of the chain].
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// How long to try for each page before giving up: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl ShowChain {
    pub(super) async fn run(self, output: Output) -> Result<Finished, Failure> {
        let Self { node, from, to, .. } = self;
        if let Some(to) = to.filter(|to| *to < from) {
            return Err(Failure::usage(format!("--from {from} lies behind --to {to}; give the lower height first")));
        }
        let blocks = Blocks { node, from: Height(from), to: to.map(Height), within: self.deadline.deadline };
        blocks.show(&self.nodes.client()?, output.into()).await
    }
}

/// Which blocks, of whom, and how long to try for each page.
pub(super) struct Blocks {
    pub(super) node: Option<NodeId>,
    pub(super) from: Height,
    pub(super) to: Option<Height>,
    pub(super) within: Duration,
}

impl Blocks {
    /// Prints them page by page.
    pub(super) async fn show(self, client: &Client, layout: Layout) -> Result<Finished, Failure> {
        let Self { node, from, to, within } = self;
        let mut pages = client.chain(node, from, to, within);
        let mut page = pages.next().await?;
        // From the node that tells the blocks comes the genesis too.
        let teller = pages.node().or(node);
        let genesis = if from == Height(0) { Some(client.genesis(teller, within).await?) } else { None };
        let mut listing = Listing::begin(layout, &[], "blocks");
        if let Some(genesis) = genesis {
            listing.item(|| genesis_text(&genesis.told), || genesis_json(&genesis.told));
        }
        while let Some(blocks) = page.filter(|_| listing.is_read()) {
            for block in &blocks {
                listing.item(|| block_text(block), || block_json(block));
            }
            page = match pages.next().await {
                Ok(page) => page,
                Err(error) => return listing.fail(error.into()),
            };
        }
        let nothing = match (pages.node(), pages.height()) {
            (Some(node), Some(height)) => {
                format!("There is no block {from}: the chain of {node} has the height {height}.")
            }
            _ => "There is no such block.".to_owned(),
        };
        Ok(listing.end(&nothing))
    }
}
