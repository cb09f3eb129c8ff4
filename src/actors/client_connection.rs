//! The connection of one client: reads its calls, hands transfers to the Ledger as they came, and sends the outcomes as
//! they are decided. It waits on the Ledger, and on Persistence for blocks.
//!
//! Three parts: a reader takes calls off the socket, no more at once than the window allows; this actor matches the
//! Ledger's answers with open calls; a writer puts replies on the socket. A client that does not read its replies is
//! not read from either, and in the end cut off. Questions other than transfers are answered one after the other, past
//! this actor, in `questions.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message as ActixMessage, Recipient, SpawnHandle,
};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::debug;

use super::board::{Halted, ReadStatus};
use super::message::{
    Answers, Collect, ReadAccount, ReadBlocks, ReadHead, ReadLog, ReadTrace, StopWaiting, Submit, SubmitOpening,
};
use super::task::Task;
use crate::ledger::{Answer, Genesis};
use crate::types::NodeId;
use crate::wire::client::{Failure, FailureCode, Outcome, Reply, TRANSFERS_MAX, Told};
use crate::wire::frame::frame_of;

mod pulse;
pub(crate) mod questions;
mod socket;

pub(crate) use pulse::Pulse;

/// What a client's connection needs of its node.
#[expect(missing_docs, reason = "each field takes the message of its type")]
pub struct ClientPorts {
    pub submit: Recipient<Submit>,
    pub open: Recipient<SubmitOpening>,
    pub stop_waiting: Recipient<StopWaiting>,
    pub account: Recipient<ReadAccount>,
    pub log: Recipient<ReadLog>,
    pub trace: Recipient<ReadTrace>,
    pub collect: Recipient<Collect>,
    pub blocks: Recipient<ReadBlocks>,
    pub head: Recipient<ReadHead>,
    pub status: Recipient<ReadStatus>,
}

/// What is the same for all connections of a node.
#[derive(Clone)]
pub struct Service {
    /// The node.
    pub node: NodeId,
    /// Its bank.
    pub genesis: Arc<Genesis>,
    /// The way to its roles.
    pub ports: Arc<ClientPorts>,
    /// How many searches of the whole chain may run at once, over all connections.
    pub searches: Arc<Semaphore>,
}

/// How much of one client's may be in the works at once: transfers count as one each, other calls as [`QUESTION`].
const WINDOW: usize = 4 * TRANSFERS_MAX;

/// What a call that is no transfer takes of the [`WINDOW`].
const QUESTION: usize = WINDOW / 32;

/// The longest that a client may want to wait: less than a connection may be idle.
const WITHIN_MAX: Duration = Duration::from_secs(240);

/// How many frames of outcomes wait for the socket. Outcomes beyond that wait in their calls, and are sent together.
const OUTCOMES_MAX: usize = 64;

/// How many answers to questions wait for it: they are large.
const ANSWERS_MAX: usize = 1;

/// A call of transfers that is not answered wholly.
struct OpenCall {
    tag: u64,
    open: usize,
    /// Decided and not sent yet.
    decided: Vec<Outcome>,
    /// What is said in place of the outcomes that are still open.
    failure: Option<Failure>,
    /// The Ledger's number for it, once it is known.
    batch: Option<u64>,
    /// The client waits no longer.
    late: bool,
    timer: Option<SpawnHandle>,
    /// Its part of the window.
    _room: OwnedSemaphorePermit,
}

/// The connection of one client.
pub struct ClientConnection {
    service: Service,
    stream: Option<TcpStream>,
    number: u64,
    listener: Recipient<Gone>,
    pulse: Rc<Pulse>,
    outcomes: Option<mpsc::Sender<Vec<u8>>>,
    calls: BTreeMap<u32, OpenCall>,
    /// The calls that have something to send, in the order in which they got it.
    ready: VecDeque<u32>,
    closing: bool,
    /// Dropping this lets the reader take no more calls.
    reading: Option<oneshot::Sender<()>>,
    reader: Option<Task>,
    writer: Option<Task>,
}

/// A connection to the listener: the one with this number is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Gone(pub u64);

/// The listener to a connection: take nothing more, answer what is open, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Close;

/// The listener to a connection in which nothing is in the works: somebody else needs the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct GiveWay;

/// The reader: transfers follow, so many and under this slot.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Opened {
    slot: u32,
    tag: u64,
    count: usize,
    within: Duration,
    room: OwnedSemaphorePermit,
}

/// The reader: the Ledger took them as this batch, or is gone.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Taken {
    slot: u32,
    batch: Option<u64>,
}

/// The reader or the writer: it has ended.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Ended {
    writer: bool,
}

/// The writer: there is room for outcomes again.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Written;

impl ClientConnection {
    /// The connection of a client over `stream`; `listener` hears by its `number` when it is over.
    pub fn new(service: Service, stream: TcpStream, number: u64, listener: Recipient<Gone>) -> Self {
        Self {
            service,
            stream: Some(stream),
            number,
            listener,
            pulse: Rc::new(Pulse::new()),
            outcomes: None,
            calls: BTreeMap::new(),
            ready: VecDeque::new(),
            closing: false,
            reading: None,
            reader: None,
            writer: None,
        }
    }

    /// Its signs of life, for the listener.
    pub(crate) fn pulse(&self) -> Rc<Pulse> {
        self.pulse.clone()
    }

    /// Sends what there is to say, as far as the socket takes it.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        while let (Some(slot), Some(outcomes)) = (self.ready.front().copied(), &self.outcomes) {
            let Ok(room) = outcomes.try_reserve() else { return };
            self.ready.pop_front();
            let Some(call) = self.calls.get_mut(&slot) else { continue };
            let told = match call.failure.take() {
                Some(failure) if call.decided.is_empty() => Told::Failed(failure),
                failure => {
                    call.failure = failure;
                    Told::Outcomes(std::mem::take(&mut call.decided))
                }
            };
            let over = call.open == 0 || matches!(told, Told::Failed(_));
            room.send(frame_of(&Reply { tag: call.tag, told }));
            if over {
                self.finish(slot, ctx);
            } else if call.failure.is_some() {
                self.ready.push_back(slot);
            }
        }
    }

    fn finish(&mut self, slot: u32, ctx: &mut Context<Self>) {
        if let Some(timer) = self.calls.remove(&slot).and_then(|call| call.timer) {
            ctx.cancel_future(timer);
        }
        self.close_if_done();
    }

    /// Answers to requests of one call.
    fn decided(&mut self, slot: u32, answers: Vec<(u64, Answer)>) {
        let Some(call) = self.calls.get_mut(&slot) else { return };
        if call.decided.is_empty() {
            self.ready.push_back(slot);
        }
        call.open = call.open.saturating_sub(answers.len());
        call.decided.extend(answers.into_iter().map(|(number, answer)| Outcome::new(split(number).1, answer)));
    }

    /// A call ends without the outcomes that are still open.
    fn fail(&mut self, slot: u32, failure: Failure) {
        let Some(call) = self.calls.get_mut(&slot) else { return };
        if call.decided.is_empty() && call.failure.is_none() {
            self.ready.push_back(slot);
        }
        call.failure = Some(failure);
    }

    /// The connection is over.
    fn end(&mut self, ctx: &mut Context<Self>) {
        // Nobody reads these answers any more.
        for batch in std::mem::take(&mut self.calls).into_values().filter_map(|call| call.batch) {
            self.service.ports.stop_waiting.do_send(StopWaiting(batch));
        }
        self.listener.do_send(Gone(self.number));
        ctx.stop();
    }

    /// No more calls are taken; those that are open are answered as far as can be said now.
    fn close(&mut self) {
        self.reading = None;
        self.closing = true;
        let slots: Vec<u32> = self.calls.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.expire(slot));
        self.close_if_done();
    }

    /// The client of a call waits no longer; what can be said is said now.
    fn expire(&mut self, slot: u32) {
        let Some(call) = self.calls.get_mut(&slot) else { return };
        call.late = true;
        if let Some(batch) = call.batch {
            self.service.ports.stop_waiting.do_send(StopWaiting(batch));
        }
    }

    /// When all is answered, dropping the queue lets the writer end.
    fn close_if_done(&mut self) {
        if self.closing && self.calls.is_empty() {
            self.outcomes = None;
        }
    }
}

impl Actor for ClientConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(super::message::ROLE_MAILBOX);
        let Some(stream) = self.stream.take() else { return };
        let (outcomes, waiting_outcomes) = mpsc::channel(OUTCOMES_MAX);
        let (answers, waiting_answers) = mpsc::channel(ANSWERS_MAX);
        let (from, to) = stream.into_split();
        let connection = ctx.address();
        self.writer = Some(Task::spawn(socket::write(
            to,
            waiting_outcomes,
            waiting_answers,
            connection.clone(),
            self.pulse.clone(),
        )));
        let reader = socket::Reader::new(from, self.service.clone(), answers, connection, self.pulse.clone());
        let (reading, stop) = oneshot::channel();
        self.reader = Some(Task::spawn(reader.run(stop)));
        self.reading = Some(reading);
        self.outcomes = Some(outcomes);
    }
}

impl Handler<Opened> for ClientConnection {
    type Result = ();

    fn handle(&mut self, Opened { slot, tag, count, within, room }: Opened, ctx: &mut Context<Self>) {
        let timer = Some(ctx.run_later(within, move |connection, _| connection.expire(slot)));
        let call = OpenCall {
            tag,
            open: count,
            decided: Vec::new(),
            failure: None,
            batch: None,
            late: false,
            timer,
            _room: room,
        };
        self.calls.insert(slot, call);
    }
}

impl Handler<Taken> for ClientConnection {
    type Result = ();

    fn handle(&mut self, Taken { slot, batch }: Taken, ctx: &mut Context<Self>) {
        let Some(call) = self.calls.get_mut(&slot) else { return };
        match batch {
            Some(_) => {
                call.batch = batch;
                if call.late || self.closing {
                    self.expire(slot);
                }
            }
            None => {
                self.fail(slot, stopped());
                self.flush(ctx);
            }
        }
    }
}

impl Handler<Answers> for ClientConnection {
    type Result = ();

    fn handle(&mut self, Answers(answers): Answers, ctx: &mut Context<Self>) {
        // The Ledger puts those of one batch together, and a call is one batch.
        if let Some((slot, _)) = answers.first().map(|(number, _)| split(*number)) {
            self.decided(slot, answers);
        }
        self.flush(ctx);
    }
}

impl Handler<Written> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: Written, ctx: &mut Context<Self>) {
        self.flush(ctx);
    }
}

impl Handler<Ended> for ClientConnection {
    type Result = ();

    fn handle(&mut self, Ended { writer }: Ended, ctx: &mut Context<Self>) {
        // A client that says nothing more may still read.
        if writer { self.end(ctx) } else { self.close() }
    }
}

impl Handler<Close> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: Close, _: &mut Context<Self>) {
        debug!(open = self.calls.len(), "closing a client's connection");
        self.close();
    }
}

impl Handler<GiveWay> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: GiveWay, ctx: &mut Context<Self>) {
        debug!("a quiet client's connection gives way to another");
        // A call that comes just now is lost with it, as with any connection that breaks: its id makes that harmless.
        self.end(ctx);
    }
}

impl Handler<Halted> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: Halted, ctx: &mut Context<Self>) {
        let slots: Vec<u32> = self.calls.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.fail(slot, stopped()));
        self.flush(ctx);
    }
}

/// A transfer's number at the Ledger: its call's slot, and its index in the call.
fn join(slot: u32, index: u32) -> u64 {
    (u64::from(slot) << 32) | u64::from(index)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn split(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into() }
}

fn stopped() -> Failure {
    failure(FailureCode::Stopped, "this node has stopped; ask again when it runs, or ask another")
}

/// Where a connection is reached.
type Connection = Addr<ClientConnection>;
