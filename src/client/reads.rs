//! Questions that change nothing, and a settlement: asked again until the deadline, here or at another node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout_at};

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

/// How long the others may take once an answer is certain: whoever is there may still know the block that holds a
/// transfer, or of another one under the same id.
const REST_WITHIN: Duration = Duration::from_millis(500);

/// Pauses between tries.
type Delays = Box<dyn Iterator<Item = Duration> + Send>;

/// What the answers of other nodes are, after one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    /// Without them, something may be missing.
    Needed,
    /// They may say more, but nothing else.
    Welcome,
}

/// Whether a question is to be asked again.
pub(super) enum Again {
    Later,
    Never,
}

/// Why there was no answer, and whether to ask again.
pub(super) type Missed = (ClientError, Again);

/// An answer that is none will be none again.
impl From<ClientError> for Missed {
    fn from(error: ClientError) -> Self {
        (error, Again::Never)
    }
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
        let until = moment_after(Instant::now(), deadline);
        let (node, told) = self.ask(node, node.is_none(), deadline, |_| Ask::Genesis { after: None }).await?;
        let rest = move |after| async move {
            let left = until.saturating_duration_since(Instant::now());
            self.ask(Some(node), false, left, |_| Ask::Genesis { after }).await.map(|(_, told)| told)
        };
        let told = self.whole_genesis(node, told, rest).await?;
        Ok(Heard { node, told })
    }

    /// The genesis of which a node told the first page; `ask` asks it for what is behind an account.
    async fn whole_genesis<E: From<ClientError>, F: Future<Output = Result<Told, E>>>(
        &self,
        node: NodeId,
        first: Told,
        ask: impl Fn(Option<AccountId>) -> F,
    ) -> Result<Genesis, E> {
        let no_answer = || self.no_answer(node, "the genesis of its bank");
        let Told::Genesis(mut pages) = first else { return Err(no_answer().into()) };
        while !pages.is_whole() {
            let Told::Genesis(next) = ask(pages.last()).await? else { return Err(no_answer().into()) };
            if !pages.add(next) {
                return Err(no_answer().into());
            }
        }
        let genesis = Genesis::new(pages.nodes, pages.opening).ok();
        let genesis = genesis.filter(|genesis| Some(genesis.id()) == self.cluster());
        genesis.ok_or_else(|| no_answer().into())
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

    /// What each node says that the bank started from, and why some say nothing; all are asked at the same time.
    ///
    /// # Errors
    /// [`ClientError`] where no node at all could be reached.
    pub async fn geneses(
        &self,
        deadline: Duration,
    ) -> Result<(BTreeMap<NodeId, Genesis>, BTreeMap<NodeId, ClientError>), ClientError> {
        let until = moment_after(Instant::now(), deadline);
        let nodes = self.nodes(deadline).await?;
        let mut told = BTreeMap::new();
        let ask = move |node| async move {
            let page = move |after| self.try_once(node, until, Ask::Genesis { after });
            self.whole_genesis(node, page(None).await?, page).await
        };
        let not_heard = self.ask_each(nodes.into_keys(), until, ask, |node, genesis| {
            told.insert(node, genesis);
            Ok(More::Needed)
        });
        let not_heard = not_heard.await;
        Ok((told, not_heard))
    }

    /// What became of an id: asked of all nodes, and put together. A settled approval tells more than an unsettled one,
    /// a decision more than none. Once the outcome cannot change any more, those that have not answered yet are waited
    /// for only shortly.
    ///
    /// # Errors
    /// [`ClientError`] where no node at all could be reached.
    pub async fn trace(&self, id: TransferId, deadline: Duration) -> Result<Traced, ClientError> {
        let until = moment_after(Instant::now(), deadline);
        let nodes = self.nodes(deadline).await?;
        let mut found: BTreeMap<AccountId, Trace> = BTreeMap::new();
        let mut heard = BTreeSet::new();
        let ask = move |node| self.try_once(node, until, Ask::Trace { id });
        let take = |node, told| {
            let Told::Traces { height, traces } = told else { return Err(self.no_answer(node, "traces")) };
            self.saw(height);
            heard.insert(node);
            let mut more = More::Needed;
            for trace in traces {
                if is_final(&trace, node) {
                    more = More::Welcome;
                }
                if found.get(&trace.from).is_none_or(|other| weight(other) < weight(&trace)) {
                    found.insert(trace.from, trace);
                }
            }
            Ok(more)
        };
        let not_heard = self.ask_each(nodes.into_keys(), until, ask, take).await;
        let why = |(node, error): (NodeId, ClientError)| {
            (node, error.node_error().unwrap_or_else(|| Arc::new(NodeError::Silent { node })))
        };
        Ok(Traced { traces: found.into_values().collect(), heard, not_heard: not_heard.into_iter().map(why).collect() })
    }

    /// Asks each of `nodes` with `ask` until it answers or `until`; `take` takes an answer over, and says how much the others are
    /// needed then. A node that is not reached is tried again while another one that was reached is waited for, and no
    /// longer: where it is down, nobody wants to wait the whole deadline for it.
    ///
    /// Returns those that gave no answer, and why.
    async fn ask_each<T, F: Future<Output = Result<T, Missed>>>(
        &self,
        nodes: impl Iterator<Item = NodeId>,
        until: Instant,
        ask: impl Fn(NodeId) -> F,
        mut take: impl FnMut(NodeId, T) -> Result<More, ClientError>,
    ) -> BTreeMap<NodeId, ClientError> {
        let mut end = until;
        let ask_at = |node, resume, mut delays: Delays| {
            let ask = &ask;
            async move {
                sleep_until(resume).await;
                let told = ask(node).await;
                let resume = Instant::now() + delays.next().unwrap_or(self.options.retry_delay_max);
                (node, told, resume, delays)
            }
        };
        let nodes: Vec<NodeId> = nodes.collect();
        // Why each of them was not heard so far; at first, because it was not asked yet.
        let silent = |node: &NodeId| (*node, ClientError::Late(Arc::new(NodeError::Silent { node: *node })));
        let mut missing: BTreeMap<NodeId, ClientError> = nodes.iter().map(silent).collect();
        let mut waited_for: BTreeSet<NodeId> = nodes.iter().copied().collect();
        let now = Instant::now();
        let mut asking: FuturesUnordered<_> = nodes.into_iter().map(|node| ask_at(node, now, self.delays())).collect();
        while !waited_for.is_empty() {
            let Ok(Some((node, told, resume, delays))) = timeout_at(end, asking.next()).await else { break };
            let error = match told.and_then(|told| take(node, told).map_err(Missed::from)) {
                Ok(more) => {
                    missing.remove(&node);
                    waited_for.remove(&node);
                    if more == More::Welcome {
                        end = end.min(Instant::now() + REST_WITHIN);
                    }
                    continue;
                }
                Err((error, Again::Never)) => {
                    waited_for.remove(&node);
                    missing.insert(node, error);
                    continue;
                }
                Err((error, Again::Later)) => error,
            };
            match &error {
                ClientError::NoNode(_) => waited_for.remove(&node),
                _ => waited_for.insert(node),
            };
            missing.insert(node, error);
            asking.push(ask_at(node, resume, delays));
        }
        missing
    }

    /// One try to get an answer of `node`; if there is none, whether another try makes sense.
    pub(super) async fn try_once(&self, node: NodeId, until: Instant, ask: Ask) -> Result<Told, Missed> {
        let connection = self.directory.connection(Some(node), until).await.map_err(|missing| {
            let again = if missing.for_good { Again::Never } else { Again::Later };
            (ClientError::of(missing.error), again)
        })?;
        let soon = until.min(Instant::now() + self.options.try_within);
        connection.ask(soon, |_| ask).await.map_err(|error| match ClientError::of(error) {
            error @ ClientError::Failed(_) => (error, Again::Never),
            error => (error, Again::Later),
        })
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

/// Whether no answer of anybody else changes what became of a transfer: a block holds it, or its home has decided it.
fn is_final(trace: &Trace, teller: NodeId) -> bool {
    match &trace.verdict {
        Verdict::Approved(approval) => approval.height.is_some() || teller == trace.from.home(),
        Verdict::Refused(_) => teller == trace.from.home(),
        Verdict::Pending => false,
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
