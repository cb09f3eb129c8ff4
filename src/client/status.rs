//! How all nodes are, in two seconds at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::error::{ClientError, NodeError};
use crate::types::NodeId;
use crate::wire::client::{Ask, Status, Told};

/// How long all nodes together may take to say how they are.
pub const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// How the nodes of a bank are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StatusReport {
    /// All nodes that are known of; `None` where it was not heard.
    pub nodes: BTreeMap<NodeId, Option<Status>>,
    /// Addresses that led nowhere, and why.
    pub failed: BTreeMap<String, NodeError>,
}

impl Client {
    /// Asks each address once, all at the same time: those given, and those that the nodes name.
    ///
    /// # Errors
    /// [`ClientError`] where no node answers.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        let until = Instant::now() + STATUS_WITHIN;
        let mut report = StatusReport::default();
        let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
        let mut asking = FuturesUnordered::new();
        let ask = |address: String, expected| async move {
            let told = self.status_at(&address, expected, until).await;
            (address, told)
        };
        for address in self.directory.given() {
            if asked.insert(address.clone()) {
                asking.push(ask(address.clone(), None));
            }
        }
        while let Ok(Some((address, told))) = timeout_at(until, asking.next()).await {
            answered.insert(address.clone());
            let status = match told {
                Ok(status) => status,
                Err(error) => {
                    report.failed.insert(address, error);
                    continue;
                }
            };
            self.saw(status.height);
            for (node, address) in &status.homes {
                let heard = report.nodes.entry(*node).or_default().is_some();
                let Some(address) = address.clone().filter(|_| !heard && *node != status.node) else { continue };
                if asked.insert(address.clone()) {
                    asking.push(ask(address, Some(*node)));
                }
            }
            report.nodes.insert(status.node, Some(status));
        }
        drop(asking);
        for address in asked.difference(&answered) {
            let why = format!("nobody answered within {STATUS_WITHIN:.1?}");
            let error = NodeError::Unreachable { address: address.clone(), why };
            report.failed.insert(address.clone(), error);
        }
        if report.nodes.is_empty() {
            let mut failed: Vec<_> = report.failed.into_values().collect();
            let one = if failed.len() == 1 { failed.pop() } else { None };
            return Err(ClientError::of(one.unwrap_or(NodeError::Nobody { failed }).into()));
        }
        Ok(report)
    }

    async fn status_at(&self, address: &str, expected: Option<NodeId>, until: Instant) -> Result<Status, NodeError> {
        let connection = self.directory.open(address, expected, until).await?;
        let node = connection.node();
        match connection.ask(until, |_| Ask::Status).await {
            Ok(Told::Status(status)) if status.node == node => Ok(status),
            Ok(_) => Err(NodeError::Garbled { node, why: "it does not say how it is".to_owned() }),
            Err(error) => Err((*error).clone()),
        }
    }
}
