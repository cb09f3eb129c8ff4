//! Logs and chains page by page: never more in memory than one reply holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::error::ClientError;
use crate::ledger::{Block, Entry};
use crate::types::{Height, NodeId, Seq};
use crate::wire::client::{Ask, Told};

/// The unsettled entries of one home, page by page.
pub struct LogPages {
    client: Client,
    node: NodeId,
    next: Option<Seq>,
    page_within: Duration,
}

/// Blocks of one node's chain, page by page.
pub struct ChainPages {
    client: Client,
    /// The first that answers, and from then on only that one.
    node: Option<NodeId>,
    next: Option<Height>,
    last: Option<Height>,
    height: Option<Height>,
    page_within: Duration,
}

impl Client {
    /// The unsettled entries of the home `node`; each page may take `page_within`.
    pub fn log(&self, node: NodeId, page_within: Duration) -> LogPages {
        LogPages { client: self.clone(), node, next: Some(Seq(1)), page_within }
    }

    /// The blocks `from` to `to` of the chain of `node` or of any node, up to its end where no `to` is given; of one that has
    /// all that this client was told of, if there is one that answers. The genesis is no block. Each page may take
    /// `page_within`.
    pub fn chain(&self, node: Option<NodeId>, from: Height, to: Option<Height>, page_within: Duration) -> ChainPages {
        ChainPages { client: self.clone(), node, next: Some(from.max(Height(1))), last: to, height: None, page_within }
    }
}

impl LogPages {
    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// [`ClientError`]; the same page may be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, ClientError> {
        let Some(from) = self.next else { return Ok(None) };
        let ask = |_| Ask::Log { from };
        let (node, told) = self.client.ask(Some(self.node), false, self.page_within, ask).await?;
        let Told::Log(page) = told else { return Err(self.client.no_answer(node, "its log")) };
        // What was settled meanwhile is gone, so that seqs may be left out; none may come twice.
        let first = page.first().map_or(from, |entry| entry.0);
        if first < from || page.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(self.client.no_answer(node, "its log in order"));
        }
        self.next = page.last().map(|entry| entry.0.next());
        let page: Vec<_> = page.into_iter().map(|entry| entry.entry(node)).collect();
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

impl ChainPages {
    /// The node whose chain it is, once it has answered.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// The height of that chain when the last page came, once there was one.
    pub fn height(&self) -> Option<Height> {
        self.height
    }

    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// [`ClientError`]; the same page may be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<Block>>>, ClientError> {
        let Some(from) = self.next else { return Ok(None) };
        let to = self.last.unwrap_or(Height(u64::MAX));
        if from > to {
            return Ok(None);
        }
        let ask = Ask::Chain { from, to };
        let (node, told) = match self.node {
            Some(node) => self.client.ask(Some(node), false, self.page_within, |_| ask.clone()).await?,
            None => self.of_any(ask).await?,
        };
        let Told::Chain { height, blocks } = told else { return Err(self.client.no_answer(node, "its chain")) };
        self.node = Some(node);
        self.height = Some(height);
        self.client.saw(height);
        let mut next = from;
        for block in &blocks {
            if block.height() != next || next > to {
                return Err(self.client.no_answer(node, "blocks in order"));
            }
            next = next.next();
        }
        if blocks.is_empty() && from <= height.min(to) {
            return Err(self.client.no_answer(node, "blocks that it has"));
        }
        self.next = (next <= to && !blocks.is_empty()).then_some(next);
        Ok(Some(blocks).filter(|blocks| !blocks.is_empty()))
    }

    /// Asks any node, and where that one is behind what this client was told of, each other one once.
    async fn of_any(&self, ask: Ask) -> Result<(NodeId, Told), ClientError> {
        let mut found = self.client.ask(None, true, self.page_within, |_| ask.clone()).await?;
        let first = found.0;
        for other in self.client.directory.homes().into_keys().filter(|node| *node != first) {
            if height_of(&found.1) >= Some(self.client.seen()) {
                break;
            }
            let until = Instant::now() + self.client.options.try_within.min(self.page_within);
            if let Ok(told) = self.client.try_once(other, until, ask.clone()).await
                && height_of(&told) > height_of(&found.1)
            {
                found = (other, told);
            }
        }
        Ok(found)
    }
}

/// The height of the chain that a page is of.
fn height_of(told: &Told) -> Option<Height> {
    match told {
        Told::Chain { height, .. } => Some(*height),
        _ => None,
    }
}
