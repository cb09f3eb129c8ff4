//! Transfers, and openings of accounts: grouped by home, many in one call, several calls in flight, each retried under its
//! id until it is decided or the deadline passes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::calls::Batch;
use super::connection::Connection;
use super::error::{ClientError, NodeError, Outcome, Unknown, Why};
use super::{Client, millis, moment_after};
use crate::ledger::{Answer, Approval, Opening, Reason, Request, Wait};
use crate::types::{AccountId, NodeId, TransferId};
use crate::wire::client::{Ask, FailureCode, TRANSFERS_MAX, Transfer};

/// What a home is asked to approve.
trait Order: Copy {
    /// The most of them in one call.
    const PER_CALL_MAX: usize;

    fn id(&self) -> TransferId;

    /// The home that decides.
    fn home(&self) -> NodeId;

    /// The call for some of them, at least one.
    fn ask(orders: &[Self], wait: Wait, within_ms: u64) -> Ask;
}

impl Order for Transfer {
    const PER_CALL_MAX: usize = TRANSFERS_MAX;

    fn id(&self) -> TransferId {
        self.0
    }

    fn home(&self) -> NodeId {
        self.1.home()
    }

    fn ask(orders: &[Self], wait: Wait, within_ms: u64) -> Ask {
        Ask::Transfers { wait, within_ms, transfers: orders.to_vec() }
    }
}

/// An account to open.
#[derive(Clone, Copy)]
struct NewAccount(TransferId, AccountId);

impl Order for NewAccount {
    const PER_CALL_MAX: usize = 1;

    fn id(&self) -> TransferId {
        self.0
    }

    fn home(&self) -> NodeId {
        self.1.home()
    }

    fn ask(orders: &[Self], wait: Wait, within_ms: u64) -> Ask {
        let Self(id, account) = orders[0];
        Ask::Open { id, account, wait, within_ms }
    }
}

/// What is known of one order while it is not decided.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Whether any try may have been taken in.
    sent: bool,
    /// Whether the home answered a try that it was not ready, and so took nothing of it in.
    turned_away: bool,
    /// Approved, and not settled yet as far as is known.
    approved: Option<Approval>,
}

/// What a home that is not ready yet says.
const NOT_READY: &str = "it has not caught up yet, nothing is decided";

/// The orders of one home.
struct Queue<'a, T> {
    client: &'a Client,
    home: NodeId,
    wait: Wait,
    orders: &'a [T],
    deadline: Duration,
    until: Instant,
    /// Indexes of those to send, in the order in which to send them.
    waiting: VecDeque<usize>,
    open: BTreeMap<usize, Open>,
    decided: Vec<(usize, Result<Outcome, ClientError>)>,
    /// Nothing is sent before that.
    resume: Instant,
    delays: Box<dyn Iterator<Item = Duration> + Send>,
    last: Option<Arc<NodeError>>,
}

impl Client {
    /// Transfers money: asks the home of the debit account until it decides, under the one id of the request, for no
    /// longer than `deadline`.
    ///
    /// To wait for [`Wait::Settled`] means: until the block that holds it is applied at home. Where the deadline passes
    /// first, the outcome is approved and without a height.
    ///
    /// # Errors
    /// All of them say that this call executed nothing: [`ClientError::NoNode`], [`ClientError::WrongPlace`] and
    /// [`ClientError::UnknownNode`] that nothing was sent, [`ClientError::NotReady`] that its home took nothing in,
    /// [`ClientError::Conflict`] that the id was used before.
    pub async fn transfer(&self, request: Request, deadline: Duration) -> Result<Outcome, ClientError> {
        let Request { id, from, to, amount, wait } = request;
        let mut outcomes = self.orders(&[Transfer(id, from, to, amount)], wait, deadline).await;
        outcomes.pop().unwrap_or_else(|| Ok(unknown(id, deadline, None)))
    }

    /// Opens an account, with nothing on it, at the home that its name says; as [`Client::transfer`] in all else. It can
    /// be used once it is settled.
    ///
    /// # Errors
    /// As [`Client::transfer`].
    pub async fn open(&self, opening: Opening, deadline: Duration) -> Result<Outcome, ClientError> {
        let Opening { id, account, wait } = opening;
        let mut outcomes = self.orders(&[NewAccount(id, account)], wait, deadline).await;
        outcomes.pop().unwrap_or_else(|| Ok(unknown(id, deadline, None)))
    }

    /// Transfers money, many at once; the results stand in the order of `transfers`. Those of one home go there in
    /// thousands to a call and several calls at a time. They are decided in this order as long as none has to be retried.
    ///
    /// Only what is undecided is retried, under its id, for no longer than `deadline` in all.
    pub async fn transfers(
        &self,
        transfers: &[Transfer],
        wait: Wait,
        deadline: Duration,
    ) -> Vec<Result<Outcome, ClientError>> {
        self.orders(transfers, wait, deadline).await
    }

    async fn orders<T: Order>(
        &self,
        orders: &[T],
        wait: Wait,
        deadline: Duration,
    ) -> Vec<Result<Outcome, ClientError>> {
        let began = Instant::now();
        let mut homes: BTreeMap<NodeId, VecDeque<usize>> = BTreeMap::new();
        for (index, order) in orders.iter().enumerate() {
            homes.entry(order.home()).or_default().push_back(index);
        }
        let queues = homes.into_iter().map(|(home, waiting)| {
            let open = waiting.iter().map(|index| (*index, Open::default())).collect();
            let (until, delays) = (moment_after(began, deadline), self.delays());
            let (decided, last) = (Vec::with_capacity(waiting.len()), None);
            let queue = Queue {
                client: self,
                home,
                wait,
                orders,
                deadline,
                until,
                waiting,
                open,
                decided,
                resume: began,
                delays,
                last,
            };
            queue.run()
        });
        let mut queues: FuturesUnordered<_> = queues.collect();
        let mut results: Vec<Option<Result<Outcome, ClientError>>> = vec![None; orders.len()];
        while let Some(decided) = queues.next().await {
            for (index, result) in decided {
                results[index] = Some(result);
            }
        }
        let settle =
            |(result, order): (Option<_>, &T)| result.unwrap_or_else(|| Ok(unknown(order.id(), deadline, None)));
        results.into_iter().zip(orders).map(settle).collect()
    }
}

impl<T: Order> Queue<'_, T> {
    /// Until all are decided, or the deadline.
    async fn run(mut self) -> Vec<(usize, Result<Outcome, ClientError>)> {
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < self.client.options.calls_in_flight && self.may_send() {
                let Some(connection) = self.connection().await else { break };
                let per_call = self.client.options.transfers_per_call.min(T::PER_CALL_MAX);
                let count = self.waiting.len().min(per_call);
                let chunk: Vec<usize> = self.waiting.drain(..count).collect();
                flying.push(self.submit(connection, chunk));
            }
            let over = Instant::now() >= self.until;
            if flying.is_empty() && (over || self.waiting.is_empty()) {
                break;
            }
            let room = flying.len() < self.client.options.calls_in_flight;
            let resume = self.resume.min(self.until);
            tokio::select! {
                biased;
                Some((chunk, batch)) = flying.next() => self.note(chunk, batch),
                () = sleep_until(resume), if room && !over && !self.waiting.is_empty() => {}
            }
        }
        drop(flying);
        self.finish()
    }

    fn may_send(&self) -> bool {
        let now = Instant::now();
        !self.waiting.is_empty() && now >= self.resume && now < self.until
    }

    /// A connection with the home; `None` where there is none now.
    async fn connection(&mut self) -> Option<Arc<Connection>> {
        match self.client.directory.connection(Some(self.home), self.until).await {
            Ok(connection) => Some(connection),
            Err(missing) => {
                if missing.for_good {
                    self.give_up(missing.error);
                } else {
                    self.last = Some(missing.error);
                    self.pause();
                }
                None
            }
        }
    }

    /// Sends some of them as one call.
    fn submit(
        &self,
        connection: Arc<Connection>,
        chunk: Vec<usize>,
    ) -> impl Future<Output = (Vec<usize>, Batch)> + use<T> {
        let orders: Vec<T> = chunk.iter().map(|index| self.orders[*index]).collect();
        let until = self.until.min(Instant::now() + self.client.options.try_within);
        let wait = self.wait;
        async move {
            let batch = connection.submit(until, orders.len(), |within| T::ask(&orders, wait, millis(within))).await;
            (chunk, batch)
        }
    }

    /// Takes over what came of one call.
    fn note(&mut self, chunk: Vec<usize>, batch: Batch) {
        let Batch { answers, sent, error } = batch;
        let final_failure = error.as_ref().filter(|error| match &***error {
            NodeError::Failed { failure, .. } => !failure.code.may_be_retried(),
            _ => false,
        });
        let mut again = Vec::new();
        let mut pauses = None;
        for (index, answer) in chunk.into_iter().zip(answers) {
            match (answer, final_failure) {
                (Some(answer), _) => match self.decide(index, answer) {
                    Ok(()) => continue,
                    Err(why) => pauses = Some(why),
                },
                // The node refused this call as a whole; an earlier one may have been taken.
                (None, Some(error)) if !self.open[&index].sent => {
                    self.put(index, Err(ClientError::of(error.clone())));
                    continue;
                }
                (None, _) => {
                    if let Some(open) = self.open.get_mut(&index) {
                        open.sent |= sent;
                    }
                }
            }
            again.push(index);
        }
        self.last =
            error.or_else(|| pauses.map(|(code, why)| NodeError::undecided(self.home, code, why))).or(self.last.take());
        if again.is_empty() {
            self.delays = self.client.delays();
        } else {
            self.pause();
            // Those that were first stay first.
            again.into_iter().rev().for_each(|index| self.waiting.push_front(index));
        }
    }

    /// Takes over one answer; why it is none yet, where it decides nothing.
    fn decide(&mut self, index: usize, answer: Answer) -> Result<(), (FailureCode, &'static str)> {
        let id = self.orders[index].id();
        let result = match answer {
            Answer::Approved(approval) if approval.height.is_none() && self.wait == Wait::Settled => {
                self.open.insert(index, Open { sent: true, approved: Some(approval), ..Open::default() });
                return Err((FailureCode::TimedOut, "it is approved, and not settled yet"));
            }
            Answer::Approved(approval) => {
                self.client.saw(approval.height.unwrap_or_default());
                Ok(Outcome::Approved(approval))
            }
            Answer::Refused(reason) => {
                if let Reason::InsufficientFunds { height, .. }
                | Reason::UnknownAccount { height, .. }
                | Reason::AccountExists { height, .. } = &reason
                {
                    self.client.saw(*height);
                }
                Ok(Outcome::Refused(reason))
            }
            Answer::Conflict => Err(ClientError::Conflict(id)),
            Answer::Expired => Ok(match self.open.get(&index).and_then(|open| open.approved) {
                Some(approval) => Outcome::Approved(approval),
                None => Outcome::Unknown(Unknown { id, why: Why::Expired }),
            }),
            Answer::Busy => {
                return self.undecided(index, FailureCode::Busy, "too much is waiting there, nothing is decided");
            }
            Answer::NotReady => {
                // A home that is ready stays so until its process ends: nothing of this id is under way there.
                if let Some(open) = self.open.get_mut(&index) {
                    open.turned_away = true;
                }
                return Err((FailureCode::NotReady, NOT_READY));
            }
            Answer::Pending => {
                return self.undecided(index, FailureCode::TimedOut, "a settlement must decide, and is not over yet");
            }
        };
        self.put(index, result);
        Ok(())
    }

    fn undecided<U>(
        &mut self,
        index: usize,
        code: FailureCode,
        why: &'static str,
    ) -> Result<U, (FailureCode, &'static str)> {
        if let Some(open) = self.open.get_mut(&index) {
            open.sent = true;
        }
        Err((code, why))
    }

    fn put(&mut self, index: usize, result: Result<Outcome, ClientError>) {
        self.open.remove(&index);
        self.decided.push((index, result));
    }

    fn pause(&mut self) {
        let delay = self.delays.next().unwrap_or(self.client.options.retry_delay_max);
        self.resume = Instant::now() + delay;
    }

    /// Ends what waits, because of an error that no waiting mends.
    fn give_up(&mut self, error: Arc<NodeError>) {
        self.last = Some(error);
        self.until = Instant::now();
    }

    /// What can be said of those that are left.
    fn finish(mut self) -> Vec<(usize, Result<Outcome, ClientError>)> {
        let within = self.deadline;
        for (index, Open { sent, turned_away, approved }) in std::mem::take(&mut self.open) {
            let result = match (approved, &self.last) {
                (Some(approval), _) => Ok(Outcome::Approved(approval)),
                // What came after that, as a home that went away, is no reason to fear for what never was taken in.
                (None, _) if turned_away && !sent => {
                    Err(ClientError::NotReady(NodeError::undecided(self.home, FailureCode::NotReady, NOT_READY)))
                }
                (None, Some(error)) if !sent => match ClientError::of(error.clone()) {
                    // Others of this home were answered: this one's turn never came, which is for the deadline to tell.
                    ClientError::Late(_) | ClientError::Failed(_) => {
                        Ok(unknown(self.orders[index].id(), within, Some(error.clone())))
                    }
                    error => Err(error),
                },
                (None, last) => Ok(unknown(self.orders[index].id(), within, last.clone())),
            };
            self.decided.push((index, result));
        }
        self.decided
    }
}

fn unknown(id: TransferId, within: Duration, last: Option<Arc<NodeError>>) -> Outcome {
    Outcome::Unknown(Unknown { id, why: Why::Deadline { within, last } })
}
