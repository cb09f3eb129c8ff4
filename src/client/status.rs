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
use crate::wire::wall_clock_ms;

/// How long all nodes together may take to say how they are.
pub const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// How the nodes of a bank are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StatusReport {
    /// All nodes that are known of; `None` where it was not heard.
    pub nodes: BTreeMap<NodeId, Option<Status>>,
    /// Addresses that led nowhere, and why.
    pub failed: BTreeMap<String, NodeError>,
    /// The clocks of the nodes that tell them.
    pub clocks: BTreeMap<NodeId, ClockLead>,
}

/// How far a node's clock is ahead of this machine's. It was read at some moment between question and answer, so that
/// only these bounds are known; they are negative where it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockLead {
    /// At least, in milliseconds.
    pub least_ms: i64,
    /// At most.
    pub most_ms: i64,
}

impl ClockLead {
    /// By what a node told that was asked at `asked_ms` and answered by `answered_ms`, as this machine's clock has it.
    fn new(told_ms: u64, asked_ms: u64, answered_ms: u64) -> Self {
        let [told, asked, answered] = [told_ms, asked_ms, answered_ms].map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let (one, other) = (told.saturating_sub(asked), told.saturating_sub(answered));
        // A clock that was set back meanwhile turns them round.
        Self { least_ms: one.min(other), most_ms: one.max(other) }
    }

    /// How far it is away from this machine's clock at the least.
    pub fn apart_ms(self) -> u64 {
        self.least_ms.max(self.most_ms.saturating_neg()).max(0).unsigned_abs()
    }
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
            let (status, clock) = match told {
                Ok(told) => told,
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
            report.clocks.extend(clock.map(|clock| (status.node, clock)));
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

    async fn status_at(
        &self,
        address: &str,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<(Status, Option<ClockLead>), NodeError> {
        let connection = self.directory.open(address, expected, until).await?;
        let node = connection.node();
        let asked_ms = wall_clock_ms();
        match connection.ask(until, |_| Ask::Status).await {
            Ok(Told::Status(status)) if status.node == node => {
                let clock = status.clock_ms.map(|told_ms| ClockLead::new(told_ms, asked_ms, wall_clock_ms()));
                Ok((status, clock))
            }
            Ok(_) => Err(NodeError::Garbled { node, why: "it does not say how it is".to_owned() }),
            Err(error) => Err((*error).clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_apart_only_by_what_no_delay_explains() {
        // Told, asked, answered: the node's clock and this one's are read somewhere within.
        for (told, asked, answered, least_ms, most_ms, apart_ms) in [
            (1_000, 1_000, 1_000, 0, 0, 0),
            (1_400, 1_000, 2_000, -600, 400, 0),
            (9_000, 1_000, 2_000, 7_000, 8_000, 7_000),
            (1_000, 9_000, 9_500, -8_500, -8_000, 8_000),
            (1_000, 2_000, 500, -1_000, 500, 0),
            (u64::MAX, 0, 0, i64::MAX, i64::MAX, i64::MAX.unsigned_abs()),
        ] {
            let lead = ClockLead::new(told, asked, answered);
            assert_eq!(
                (lead, lead.apart_ms()),
                (ClockLead { least_ms, most_ms }, apart_ms),
                "{told} {asked} {answered}"
            );
        }
    }
}
