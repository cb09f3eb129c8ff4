//! Blocks in the order of their heights, each once, from whichever node has the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cli::Failure;
use crate::client::{Client, ClientError, NodeError, State};
use crate::ledger::Block;
use crate::types::{Hash, Height, NodeId};

/// How long the node that answered last may take, before any other is asked.
const SAME_WITHIN: Duration = Duration::from_secs(1);
/// How long all of them may take: enough for one that hangs, and another one after it.
const ANY_WITHIN: Duration = Duration::from_secs(10);
/// How often all nodes are asked how far they are. One that was cut off from the others answers, but has nothing new.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// A walk along the chain.
pub(super) struct Feed {
    client: Client,
    next: Height,
    /// The hash of the block before the next, where it is known.
    tip: Option<Hash>,
    /// Who answered last, or has more than that one.
    node: Option<NodeId>,
    longest: watch::Receiver<Option<(NodeId, Height)>>,
    look: JoinHandle<()>,
}

/// Why there are no blocks.
pub(super) enum Trouble {
    /// Nobody could answer; that may pass.
    Passing(ClientError),
    /// Asking again will not help.
    Lasting(Failure),
}

impl Feed {
    /// A walk that begins with the block `next`, the parent of which has the hash `tip`.
    pub(super) fn new(client: Client, next: Height, tip: Option<Hash>) -> Self {
        let (told, longest) = watch::channel(None);
        let look = tokio::spawn(look(client.clone(), told));
        Self { client, next, tip, node: None, longest, look }
    }

    /// The height of the block that comes next.
    pub(super) fn next(&self) -> Height {
        self.next
    }

    /// The next blocks, as many as come at once; none where the node that was asked has none yet.
    pub(super) async fn poll(&mut self, to: Option<Height>) -> Result<Vec<Arc<Block>>, Trouble> {
        if let Some((node, _)) = self.longest.borrow_and_update().filter(|(_, height)| *height >= self.next) {
            self.node = Some(node);
        }
        if let Some(node) = self.node.take() {
            match self.ask(Some(node), to, SAME_WITHIN).await {
                // It may be gone: whoever else is there is asked at once.
                Err(Trouble::Passing(_)) => {}
                told => return told,
            }
        }
        self.ask(None, to, ANY_WITHIN).await
    }

    async fn ask(
        &mut self,
        node: Option<NodeId>,
        to: Option<Height>,
        within: Duration,
    ) -> Result<Vec<Arc<Block>>, Trouble> {
        let mut pages = self.client.chain(node, self.next, to, within);
        let page = pages.next().await.map_err(Trouble::of)?;
        self.node = pages.node();
        Ok(page.unwrap_or_default())
    }

    /// Goes on to `block`, which must be the next: it follows on the one before, or there are two histories.
    pub(super) fn step(&mut self, block: &Block) -> Result<(), Failure> {
        let height = block.height();
        if let Some(tip) = self.tip.filter(|tip| *tip != block.parent()) {
            let node = self.node.map_or_else(|| "a node".to_owned(), |node| format!("node {node}"));
            return Err(Failure::damage(format!(
                "block {height} of {node} does not follow on the one before: its parent is {}, and that one has the \
                 hash {tip}. Compare all chains with paxbank verify",
                block.parent()
            )));
        }
        (self.next, self.tip) = (height.next(), Some(block.hash()));
        Ok(())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.look.abort();
    }
}

/// Tells again and again which node has the longest chain.
async fn look(client: Client, told: watch::Sender<Option<(NodeId, Height)>>) {
    loop {
        sleep(LOOK_EVERY).await;
        // Where no node answers, whoever asks for blocks finds out too.
        let Ok(report) = client.status().await else { continue };
        let ready = report.nodes.values().flatten().filter(|status| status.state == State::Ready);
        told.send_replace(ready.max_by_key(|status| status.height).map(|status| (status.node, status.height)));
    }
}

impl Trouble {
    fn of(error: ClientError) -> Self {
        match error.node_error().as_deref() {
            Some(NodeError::Garbled { node, why }) => {
                Self::Lasting(Failure::damage(format!("the chain of node {node}: {why}")))
            }
            _ if matches!(error, ClientError::NoNode(_) | ClientError::Late(_)) => Self::Passing(error),
            _ => Self::Lasting(error.into()),
        }
    }
}
