//! The connection of one client: takes its calls, hands transfers to the Ledger as they came, and sends the outcomes as they
//! are decided. It waits on the Ledger, and on Persistence for blocks.
//!
//! It takes no more calls off its socket at once than the window allows, matches the Ledger's answers with open calls, and
//! puts outcomes onto the socket itself; what a socket does not take at once waits for a writer. A client that does not read
//! its replies is not read from either, and in the end cut off. Questions other than transfers are answered one after the
//! other, past this actor, in `questions.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message as ActixMessage, Recipient, SpawnHandle,
};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
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
use questions::{Answerer, Question};
use socket::{Outcomes, Reader, Writer};

mod calls;
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
pub const WINDOW: usize = 4 * TRANSFERS_MAX;

/// What a call that is no transfer takes of the [`WINDOW`].
pub const QUESTION: usize = WINDOW / 32;

/// The longest that a client may want to wait: less than a connection may be idle.
const WITHIN_MAX: Duration = Duration::from_secs(240);

/// How many frames of outcomes wait for the socket. Outcomes beyond that wait in their calls, and are sent together.
const OUTCOMES_MAX: usize = 64;

/// How many answers to questions wait for it: they are large.
const ANSWERS_MAX: usize = 1;

/// How long a client that asks nothing more has for the answers to its last questions.
const FAREWELL: Duration = Duration::from_secs(5);

/// A call of transfers that is not answered wholly.
struct OpenCall {
    tag: u64,
    open: usize,
    /// Decided and not sent yet.
    decided: Vec<Outcome>,
    /// What is said in place of the outcomes that are still open.
    failure: Option<Failure>,
    /// How long the client waits.
    until: Instant,
    /// Its part of the window, where it could be read.
    _room: Option<OwnedSemaphorePermit>,
}

/// The connection of one client.
pub struct ClientConnection {
    service: Service,
    stream: Option<TcpStream>,
    number: u64,
    listener: Recipient<Gone>,
    pulse: Rc<Pulse>,
    outcomes: Option<Outcomes>,
    calls: BTreeMap<u32, OpenCall>,
    last_slot: u32,
    /// The calls that have something to send, in the order in which they got it.
    ready: VecDeque<u32>,
    /// Of calls whose client still waits, until when.
    deadlines: BTreeSet<(Instant, u32)>,
    /// A timer for the first of them, or for one before.
    alarm: Option<(Instant, SpawnHandle)>,
    closing: bool,
    /// Waits for the next call.
    listening: Option<SpawnHandle>,
    questions: Option<mpsc::Sender<Question>>,
    answerer: Option<Task>,
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

/// The writer has ended: the client is gone, or all is said.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct WriterEnded;

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
            last_slot: 0,
            ready: VecDeque::new(),
            deadlines: BTreeSet::new(),
            alarm: None,
            closing: false,
            listening: None,
            questions: None,
            answerer: None,
            writer: None,
        }
    }

    /// Its signs of life, for the listener.
    pub(crate) fn pulse(&self) -> Rc<Pulse> {
        self.pulse.clone()
    }

    /// Sets the timer for the first call whose client will wait no longer.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        let Some((first, _)) = self.deadlines.first().copied() else { return };
        if self.alarm.is_some_and(|(alarm, _)| alarm <= first) {
            return;
        }
        if let Some((_, later)) = self.alarm.take() {
            ctx.cancel_future(later);
        }
        let timer = ctx.run_later(first - Instant::now(), |actor, ctx| {
            actor.alarm = None;
            let rest = actor.deadlines.split_off(&(Instant::now(), u32::MAX));
            let due = std::mem::replace(&mut actor.deadlines, rest);
            actor.stop_waiting(due.into_iter().map(|(_, slot)| slot), ctx);
            actor.watch(ctx);
        });
        self.alarm = Some((first, timer));
    }

    /// Sends what there is to say, as far as the socket takes it.
    fn flush(&mut self) {
        while let (Some(slot), Some(outcomes)) = (self.ready.front().copied(), &self.outcomes) {
            if !outcomes.has_room() {
                return;
            }
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
            outcomes.send(frame_of(&Reply { tag: call.tag, told }));
            if over {
                self.finish(slot);
            } else if call.failure.is_some() {
                self.ready.push_back(slot);
            }
        }
    }

    fn finish(&mut self, slot: u32) {
        if let Some(call) = self.calls.remove(&slot) {
            self.deadlines.remove(&(call.until, slot));
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
        let slots = std::mem::take(&mut self.calls).into_keys();
        self.stop_waiting(slots, ctx);
        self.listener.do_send(Gone(self.number));
        ctx.stop();
    }

    /// No more calls are taken; those that are open are answered as far as can be said now.
    fn close(&mut self, ctx: &mut Context<Self>) {
        if let Some(listening) = self.listening.take() {
            ctx.cancel_future(listening);
        }
        // What was asked is still answered, if that does not take long.
        if self.questions.take().is_some() {
            ctx.run_later(FAREWELL, |actor, _| actor.answerer = None);
        }
        self.closing = true;
        self.deadlines.clear();
        let slots: Vec<u32> = self.calls.keys().copied().collect();
        self.stop_waiting(slots, ctx);
        self.close_if_done();
    }

    /// The client of these calls waits no longer; what can be said is said now.
    fn stop_waiting(&self, slots: impl IntoIterator<Item = u32>, ctx: &mut Context<Self>) {
        let tags: Vec<u64> = slots.into_iter().map(|slot| join(slot, 0)).collect();
        if !tags.is_empty() {
            self.service.ports.stop_waiting.do_send(StopWaiting { tags, reply_to: ctx.address().recipient() });
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
        let (from, to) = stream.into_split();
        let (replies, answers) = mpsc::channel(ANSWERS_MAX);
        let (writer, outcomes) = Writer::new(to, answers, self.pulse.clone());
        self.writer = Some(Task::spawn(writer.run(ctx.address())));
        self.outcomes = Some(outcomes);
        // As many as the window lets in.
        let (questions, asked) = mpsc::channel(WINDOW / QUESTION);
        self.answerer = Some(Task::spawn(Answerer { service: self.service.clone(), asked, replies }.run()));
        self.questions = Some(questions);
        self.listen(Reader::new(from, self.pulse.clone()), ctx);
    }
}

impl Handler<Answers> for ClientConnection {
    type Result = ();

    fn handle(&mut self, Answers(answers): Answers, _: &mut Context<Self>) {
        // The Ledger puts those of one batch together, and a call is one batch.
        if let Some((slot, _)) = answers.first().map(|(number, _)| split(*number)) {
            self.decided(slot, answers);
        }
        self.flush();
    }
}

impl Handler<Written> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: Written, _: &mut Context<Self>) {
        self.flush();
    }
}

impl Handler<WriterEnded> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: WriterEnded, ctx: &mut Context<Self>) {
        self.end(ctx);
    }
}

impl Handler<Close> for ClientConnection {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) {
        debug!(open = self.calls.len(), "closing a client's connection");
        self.close(ctx);
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

    fn handle(&mut self, _: Halted, _: &mut Context<Self>) {
        let slots: Vec<u32> = self.calls.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.fail(slot, stopped()));
        self.flush();
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

fn within(ms: u64) -> Duration {
    Duration::from_millis(ms).min(WITHIN_MAX)
}

fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into() }
}

fn stopped() -> Failure {
    failure(FailureCode::Stopped, "this node has stopped; ask again when it runs, or ask another")
}

/// Where a connection is reached.
type Connection = Addr<ClientConnection>;
