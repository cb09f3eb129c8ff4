//! What clients ask other than transfers. The questions of one connection are answered one after the other, so that a
//! client holds no more than one large reply of a node's memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::{Service, failure, stopped, within};
use crate::actors::board::ReadStatus;
use crate::actors::message::{
    AccountView, BlocksReader, Collect, Collected, ReadAccount, ReadBlocks, ReadHead, ReadLog, ReadTrace, StoreView,
};
use crate::ledger::{Approval, Block, Entry, Trace, Verdict};
use crate::paxos::BlocksRequest;
use crate::store::Head;
use crate::types::{AccountId, Height, NodeId, Seq, TransferId};
use crate::wire::client::{
    Ask, Balance, CHAIN_PAGE_BYTES, CLIENT_PROTOCOL_VERSION, Failure, FailureCode, GenesisPage, LOG_PAGE_MAX, LogEntry,
    ReadLevel, Reply, State, Status, Told, Welcome,
};
use crate::wire::frame::frame_of;
use crate::wire::wall_clock_ms;

/// One question of a client's.
pub(super) struct Question {
    pub(super) tag: u64,
    pub(super) ask: Ask,
    /// Its part of the connection's window.
    pub(super) _room: OwnedSemaphorePermit,
}

/// How long a role may take to answer a reader, where the store does not keep it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the search of a whole chain may take.
const SEARCH: Duration = Duration::from_secs(60);

/// How many heights a search asks for at once, from the newest down.
const SEARCH_STEP: u64 = 256;

/// Answers the questions of one connection.
pub(super) struct Answerer {
    pub(super) service: Service,
    pub(super) asked: mpsc::Receiver<Question>,
    pub(super) replies: mpsc::Sender<Vec<u8>>,
}

impl Answerer {
    pub(super) async fn run(mut self) {
        while let Some(Question { tag, ask, _room }) = self.asked.recv().await {
            let mut told = self.service.answer(ask).await.unwrap_or_else(Told::Failed);
            if let Told::Status(status) = &mut told {
                status.clock_ms = Some(wall_clock_ms());
            }
            if self.replies.send(frame_of(&Reply { tag, told })).await.is_err() {
                return;
            }
        }
    }
}

impl Service {
    /// Answers a question as a connection would: for whoever is in the same process, and needs no socket.
    ///
    /// # Errors
    /// Why there is no answer; [`FailureCode::BadCall`] to transfers and openings, which go to the Ledger.
    pub async fn answer(&self, ask: Ask) -> Result<Told, Failure> {
        match ask {
            Ask::Hello { .. } => self.welcome().await,
            Ask::Status => self.status().await.map(Told::Status),
            Ask::Genesis { after } => Ok(Told::Genesis(GenesisPage::of(&self.genesis, after))),
            Ask::Log { from } => self.log(from).await,
            Ask::Chain { from, to } => self.chain(from, to).await,
            Ask::Trace { id } => timeout(SEARCH, self.trace(id)).await.unwrap_or_else(|_| Err(timed_out())),
            Ask::Balance { account, read, seen, within_ms } => {
                self.balance(account, read, seen, within(within_ms)).await.map(Told::Balance)
            }
            Ask::Settle { within_ms } => {
                self.ready().await?;
                let Collected { height, not_heard } = self.collect(within(within_ms)).await?;
                Ok(Told::Settled { height, not_heard })
            }
            // The connection keeps these to itself.
            Ask::Transfers { .. } | Ask::Open { .. } => {
                Err(failure(FailureCode::BadCall, "transfers and openings are no questions"))
            }
        }
    }

    async fn welcome(&self) -> Result<Told, Failure> {
        let homes = self.board().await?.homes;
        let (node, cluster) = (self.node, self.genesis.id());
        Ok(Told::Welcome(Welcome { version: CLIENT_PROTOCOL_VERSION, node, cluster, homes }))
    }

    async fn board(&self) -> Result<Status, Failure> {
        self.ports.status.send(ReadStatus).await.map_err(|_| stopped())
    }

    async fn status(&self) -> Result<Status, Failure> {
        let status = self.board().await?;
        // A node that stopped has nobody to ask, and the Board knows how it was.
        let Ok(StoreView { head, trouble }) = self.store_view().await else { return Ok(status) };
        let behind = (status.height.0 + status.behind).saturating_sub(head.height.0);
        Ok(Status {
            height: head.height,
            tip: head.tip,
            log: Some((head.log_last.0 + 1).saturating_sub(head.log_first.0)),
            ballot: head.promise,
            behind,
            reason: trouble.or(status.reason),
            writes: Some(head.write),
            ..status
        })
    }

    async fn ready(&self) -> Result<(), Failure> {
        match self.board().await?.state {
            State::Ready => Ok(()),
            State::Stopped => Err(stopped()),
            state => {
                let message = format!("this node is a {}: it has not caught up yet; ask again", state.name());
                Err(failure(FailureCode::NotReady, message))
            }
        }
    }

    async fn store_view(&self) -> Result<StoreView, Failure> {
        let (reply_to, view) = oneshot::channel();
        self.ports.head.send(ReadHead(reply_to)).await.map_err(|_| stopped())?;
        reply(view, PATIENCE).await
    }

    async fn head(&self) -> Result<Head, Failure> {
        Ok(self.store_view().await?.head)
    }

    async fn account(&self, account: AccountId) -> Result<AccountView, Failure> {
        let (reply_to, view) = oneshot::channel();
        self.ports.account.send(ReadAccount { account, reply_to }).await.map_err(|_| stopped())?;
        reply(view, PATIENCE).await
    }

    async fn collect(&self, within: Duration) -> Result<Collected, Failure> {
        let (reply_to, collected) = oneshot::channel();
        self.ports.collect.send(Collect(reply_to)).await.map_err(|_| stopped())?;
        match reply(collected, within).await {
            Err(Failure { code: FailureCode::TimedOut, .. }) => Err(self.unsettled().await?),
            collected => collected,
        }
    }

    /// That no settlement was over in time; and why, as far as can be seen from here.
    async fn unsettled(&self) -> Result<Failure, Failure> {
        let peers_up = self.board().await?.peers_up;
        let (nodes, majority) = (self.genesis.nodes(), self.genesis.majority());
        let gone = nodes.iter().filter(|node| **node != self.node && !peers_up.contains(node));
        let gone: Vec<_> = gone.map(NodeId::as_str).collect();
        let mut why = String::new();
        if nodes.len() - gone.len() < majority {
            let (count, gone) = (nodes.len(), gone.join(", "));
            why = format!(": {majority} of {count} nodes must take part, and this one hears nothing of {gone}");
        }
        Ok(failure(FailureCode::TimedOut, format!("no settlement was over in this time{why}; ask again")))
    }

    async fn balance(
        &self,
        account: AccountId,
        read: ReadLevel,
        seen: Height,
        within: Duration,
    ) -> Result<Balance, Failure> {
        if read != ReadLevel::Settled {
            if account.home() != self.node {
                return Err(not_home(account.home()));
            }
            self.ready().await?;
        }
        let mut not_heard = BTreeSet::new();
        if read == ReadLevel::Fresh {
            not_heard = self.collect(within).await?.not_heard;
        }
        let AccountView { height, settled, spendable } = self.account(account).await?;
        if height < seen {
            let message = format!("this node is at height {height}, the client has seen {seen}; ask again, or another");
            return Err(failure(FailureCode::NotReady, message));
        }
        let Some(settled) = settled else {
            let message = format!("there is no account {account} at height {height}");
            return Err(failure(FailureCode::UnknownAccount, message));
        };
        Ok(Balance { account, spendable, settled, height, not_heard })
    }

    async fn log(&self, from: Seq) -> Result<Told, Failure> {
        let (reply_to, entries) = oneshot::channel();
        let read = ReadLog { from, count: LOG_PAGE_MAX, reply_to };
        self.ports.log.send(read).await.map_err(|_| stopped())?;
        let entries = reply(entries, PATIENCE).await?;
        Ok(Told::Log(entries.into_iter().map(|entry| LogEntry(entry.seq, entry.operation)).collect()))
    }

    async fn chain(&self, from: Height, to: Height) -> Result<Told, Failure> {
        let height = self.head().await?.height;
        let (from, to) = (from.max(Height(1)), to.min(height));
        let blocks = if from > to { Vec::new() } else { self.blocks(from, to).await? };
        Ok(Told::Chain { height, blocks })
    }

    /// Blocks that the chain has: about a page of them, from the first on.
    async fn blocks(&self, from: Height, to: Height) -> Result<Vec<Arc<Block>>, Failure> {
        let (reply_to, blocks) = oneshot::channel();
        let (request, reader) = (BlocksRequest { from, to }, BlocksReader::Blocks(reply_to));
        let read = ReadBlocks { request, bytes_max: CHAIN_PAGE_BYTES, reader };
        self.ports.blocks.send(read).await.map_err(|_| stopped())?;
        reply(blocks, PATIENCE).await?.map_err(|error| failure(FailureCode::Store, error.to_string()))
    }

    /// What this home remembers of the id; and of all homes, what the chain holds.
    async fn trace(&self, id: TransferId) -> Result<Told, Failure> {
        let (reply_to, traces) = oneshot::channel();
        self.ports.trace.send(ReadTrace { id, reply_to }).await.map_err(|_| stopped())?;
        let mut traces = reply(traces, PATIENCE).await?;
        let Head { height, log_first, .. } = self.head().await?;
        // One identity is approved once: what is unsettled, or known with its height, need not be searched for.
        let settled_somewhere = |trace: &Trace| match trace.verdict {
            Verdict::Approved(Approval { seq, height: None, .. }) => seq < log_first,
            _ => false,
        };
        if traces.is_empty() || traces.iter().any(settled_somewhere) {
            let found = self.search(id, height).await?;
            traces.retain(|trace| found.iter().all(|settled| settled.from != trace.from));
            traces.extend(found);
        }
        Ok(Told::Traces { height, traces })
    }

    /// Searches the chain from the newest block down, and ends at the first that holds the id.
    async fn search(&self, id: TransferId, height: Height) -> Result<Vec<Trace>, Failure> {
        let Ok(_permit) = self.searches.try_acquire() else {
            return Err(failure(FailureCode::Busy, "other searches of the chain are under way; ask again"));
        };
        let mut end = height;
        while end > Height(0) {
            let start = Height(end.0.saturating_sub(SEARCH_STEP - 1).max(1));
            let mut from = start;
            let mut found = Vec::new();
            while from <= end {
                let blocks = self.blocks(from, end).await?;
                let Some(last) = blocks.last() else { break };
                from = last.height().next();
                found.extend(blocks.iter().flat_map(|block| traces_in(block, id)));
            }
            if !found.is_empty() {
                return Ok(found);
            }
            end = Height(start.0 - 1);
        }
        Ok(Vec::new())
    }
}

fn traces_in(block: &Block, id: TransferId) -> impl Iterator<Item = Trace> {
    let height = Some(block.height());
    let entries = block.runs().iter().flat_map(|run| run.entries());
    entries.filter(move |entry| entry.operation.id == id).map(move |Entry { origin, seq, operation }| {
        let (from, to, amount) = operation.parts();
        Trace { id, from, to, amount, verdict: Verdict::Approved(Approval { origin, seq, height }) }
    })
}

/// What a role answers. One that drops the question has too much to do.
async fn reply<T>(answer: oneshot::Receiver<T>, within: Duration) -> Result<T, Failure> {
    match timeout(within, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(failure(FailureCode::Busy, "this node has too much to do; ask again later")),
        Err(_) => Err(timed_out()),
    }
}

fn timed_out() -> Failure {
    failure(FailureCode::TimedOut, "this took too long; ask again")
}

fn not_home(home: NodeId) -> Failure {
    failure(FailureCode::NotHome, format!("{home} is the home of this account; ask it"))
}
