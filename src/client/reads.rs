//! Questions that change nothing, and a settlement: asked again until the deadline, here or at another node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::error::{ClientError, NodeError};
use super::{Client, millis, moment_after};
use crate::ledger::{Genesis, Trace, Verdict};
use crate::types::{AccountId, Height, NodeId, TransferId};
use crate::wire::client::{Ask, Balance, ReadLevel, Told};

/// What a node told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard<T> {
    /// The node.
    pub node: NodeId,
    /// What it told.
    pub told: T,
}

/// What all nodes together know of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// One for each debit account that the id was used with, in account order.
    pub traces: Vec<Trace>,
    /// The nodes that answered.
    pub heard: BTreeSet<NodeId>,
    /// Those that did not, and why.
    pub not_heard: BTreeMap<NodeId, Arc<NodeError>>,
}

impl Client {
    /// A balance. What an account can spend only its home tells; what is settled any node does, and the home is asked
    /// first. No answer tells of an earlier state than this client has seen.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Failed`] where there is no such account.
    pub async fn balance(
        &self,
        account: AccountId,
        read: ReadLevel,
        deadline: Duration,
    ) -> Result<Heard<Balance>, ClientError> {
        let ask = |within| Ask::Balance { account, read, seen: self.seen(), within_ms: millis(within) };
        let elsewhere = read == ReadLevel::Settled;
        let (node, told) = self.ask(Some(account.home()), elsewhere, deadline, ask).await?;
        let Told::Balance(told) = told else { return Err(self.no_answer(node, "a balance")) };
        self.saw(told.height);
        Ok(Heard { node, told })
    }

    /// What the bank started from.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn genesis(&self, node: Option<NodeId>, deadline: Duration) -> Result<Heard<Genesis>, ClientError> {
        let (node, told) = self.ask(node, node.is_none(), deadline, |_| Ask::Genesis).await?;
        let Told::Genesis(told) = told else { return Err(self.no_answer(node, "the genesis")) };
        if Some(told.id()) != self.cluster() {
            return Err(self.no_answer(node, "the genesis of its bank"));
        }
        Ok(Heard { node, told })
    }

    /// Settles now what is unsettled. Told are the height after that, and the nodes whose entries were not in it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn settle(
        &self,
        node: Option<NodeId>,
        deadline: Duration,
    ) -> Result<Heard<(Height, BTreeSet<NodeId>)>, ClientError> {
        let ask = |within| Ask::Settle { within_ms: millis(within) };
        let (node, told) = self.ask_slowly(node, node.is_none(), deadline, deadline, ask).await?;
        let Told::Settled { height, not_heard } = told else { return Err(self.no_answer(node, "a height")) };
        self.saw(height);
        Ok(Heard { node, told: (height, not_heard) })
    }

    /// What became of an id: asked of all nodes, and put together. A settled approval tells more than an unsettled one,
    /// a decision more than none.
    ///
    /// # Errors
    /// [`ClientError`] where no node at all could be reached.
    pub async fn trace(&self, id: TransferId, deadline: Duration) -> Result<Traced, ClientError> {
        let until = moment_after(Instant::now(), deadline);
        let nodes = self.nodes(deadline).await?;
        let mut asked: FuturesUnordered<_> = nodes
            .into_keys()
            .map(|node| async move {
                let left = until.saturating_duration_since(Instant::now());
                (node, self.ask(Some(node), false, left, |_| Ask::Trace { id }).await)
            })
            .collect();
        let mut found: BTreeMap<AccountId, Trace> = BTreeMap::new();
        let (mut heard, mut not_heard) = (BTreeSet::new(), BTreeMap::new());
        while let Some((node, told)) = asked.next().await {
            match told {
                Ok((_, Told::Traces { height, traces })) => {
                    self.saw(height);
                    heard.insert(node);
                    for trace in traces {
                        if found.get(&trace.from).is_none_or(|other| weight(other) < weight(&trace)) {
                            found.insert(trace.from, trace);
                        }
                    }
                }
                Ok(_) => {
                    let why = "it is asked for traces, and tells something else".to_owned();
                    not_heard.insert(node, Arc::new(NodeError::Garbled { node, why }));
                }
                Err(error) => {
                    let silent = || Arc::new(NodeError::Silent { node });
                    not_heard.insert(node, error.node_error().unwrap_or_else(silent));
                }
            }
        }
        Ok(Traced { traces: found.into_values().collect(), heard, not_heard })
    }

    /// Asks `node`, and others where it is not there and `elsewhere` allows it.
    pub(super) async fn ask(
        &self,
        node: Option<NodeId>,
        elsewhere: bool,
        deadline: Duration,
        ask: impl Fn(Duration) -> Ask,
    ) -> Result<(NodeId, Told), ClientError> {
        self.ask_slowly(node, elsewhere, deadline, self.options.try_within, ask).await
    }

    /// As [`Client::ask`], with another bound for one try.
    async fn ask_slowly(
        &self,
        node: Option<NodeId>,
        elsewhere: bool,
        deadline: Duration,
        try_within: Duration,
        ask: impl Fn(Duration) -> Ask,
    ) -> Result<(NodeId, Told), ClientError> {
        let until = moment_after(Instant::now(), deadline);
        let mut delays = self.delays();
        let mut wanted = node;
        loop {
            let error = match self.directory.connection(wanted, until).await {
                Ok(connection) => {
                    let soon = until.min(Instant::now() + try_within);
                    match connection.ask(soon, &ask).await {
                        Ok(told) => return Ok((connection.node(), told)),
                        Err(error) => {
                            wanted = wanted.or(Some(connection.node()));
                            error
                        }
                    }
                }
                // Where no address at all leads anywhere, there is nothing to wait for.
                Err(missing) if missing.for_good || self.directory.is_lonely() => {
                    return Err(ClientError::of(missing.error));
                }
                Err(missing) => missing.error,
            };
            let last = ClientError::of(error);
            if matches!(last, ClientError::Failed(_)) {
                return Err(last);
            }
            let resume = Instant::now() + delays.next().unwrap_or(self.options.retry_delay_max);
            if resume >= until {
                return Err(last);
            }
            sleep_until(resume).await;
            if elsewhere {
                wanted = self.directory.after(wanted);
            }
        }
    }

    /// A node tells something else than it was asked for.
    pub(super) fn no_answer(&self, node: NodeId, expected: &str) -> ClientError {
        let why = format!("it was asked for {expected}, and tells something else");
        ClientError::Late(Arc::new(NodeError::Garbled { node, why }))
    }
}

/// Which of two traces of one transfer tells more.
fn weight(trace: &Trace) -> u8 {
    match &trace.verdict {
        Verdict::Approved(approval) if approval.height.is_some() => 3,
        Verdict::Approved(_) => 2,
        Verdict::Refused(_) => 1,
        Verdict::Pending => 0,
    }
}
