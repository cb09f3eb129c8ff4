//! The two ends of a client's socket: calls come off it, replies go onto it.

use std::rc::Rc;
use std::time::Duration;

use actix::dev::RecipientRequest;
use actix::{Message as ActixMessage, Recipient};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::questions::{Answerer, Question};
use super::{
    Connection, Ended, OUTCOMES_MAX, Opened, Pulse, QUESTION, Service, Taken, WINDOW, WITHIN_MAX, Written, failure,
    join,
};
use crate::actors::message::{Answers, Submit, SubmitOpening};
use crate::actors::task::Task;
use crate::ledger::{Opening, Wait};
use crate::wire::client::{
    Ask, CALL_LIMITS, CLIENT_PROTOCOL_VERSION, Call, FailureCode, Reply, TRANSFERS_MAX, Told, Transfer,
};
use crate::wire::frame::{READ_BYTES, frame_of, read_value};
use crate::wire::{FrameError, FrameLimits};

/// A client that takes no byte of a reply for so long is gone, or might as well be.
const STALLED: Duration = Duration::from_secs(30);

/// How long a client may take to say hello: a place that only silence fills is soon free again.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How long a client that asks nothing more has for the answers to its last questions.
const FAREWELL: Duration = Duration::from_secs(5);

/// Puts replies onto the socket until there are no more to come. Outcomes that wait go out together.
pub(super) async fn write(
    mut to: OwnedWriteHalf,
    mut outcomes: mpsc::Receiver<Vec<u8>>,
    mut answers: mpsc::Receiver<Vec<u8>>,
    connection: Connection,
    pulse: Rc<Pulse>,
) {
    let mut frames = Vec::new();
    loop {
        frames.clear();
        let received = tokio::select! {
            biased;
            count = outcomes.recv_many(&mut frames, OUTCOMES_MAX), if !outcomes.is_closed() || !outcomes.is_empty() => count,
            Some(answer) = answers.recv() => {
                frames.push(answer);
                1
            }
            else => break,
        };
        // The outcomes have ended; the answers may not have.
        if received == 0 {
            continue;
        }
        connection.do_send(Written);
        if !matches!(timeout(STALLED, to.write_all(&frames.concat())).await, Ok(Ok(()))) {
            break;
        }
        pulse.beat();
    }
    drop(to.shutdown().await);
    connection.do_send(Ended { writer: true });
}

/// Takes calls off the socket, in order.
pub(super) struct Reader {
    from: BufReader<OwnedReadHalf>,
    service: Service,
    answers: mpsc::Sender<Vec<u8>>,
    connection: Connection,
    pulse: Rc<Pulse>,
    questions: mpsc::Sender<Question>,
    last_slot: u32,
    /// Answers questions for as long as this reads.
    _answerer: Task,
}

impl Reader {
    pub(super) fn new(
        from: OwnedReadHalf,
        service: Service,
        answers: mpsc::Sender<Vec<u8>>,
        connection: Connection,
        pulse: Rc<Pulse>,
    ) -> Self {
        // As many as the window lets in.
        let (questions, asked) = mpsc::channel(WINDOW / QUESTION);
        let answerer = Answerer { service: service.clone(), asked, replies: answers.clone() };
        let answerer = Task::spawn(answerer.run());
        let from = BufReader::with_capacity(READ_BYTES, from);
        Self { from, service, answers, connection, pulse, questions, last_slot: 0, _answerer: answerer }
    }

    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let idle = if self.pulse.greeted() { CALL_LIMITS.idle } else { HELLO_WITHIN };
            let limits = FrameLimits { idle, ..CALL_LIMITS };
            let call = tokio::select! {
                biased;
                _ = &mut stop => break,
                call = read_value::<Call>(&mut self.from, &limits) => call,
            };
            let goes_on = match call {
                Ok(call) => {
                    self.pulse.beat();
                    self.take(call).await
                }
                Err(error) => {
                    debug!(%error, "a client's connection ends");
                    if matches!(error, FrameError::TooLong { .. } | FrameError::Malformed(_)) {
                        self.reply(0, Told::Failed(failure(FailureCode::BadCall, error.to_string()))).await;
                    }
                    false
                }
            };
            if !goes_on {
                break;
            }
        }
        self.connection.do_send(Ended { writer: false });
        // What was asked is still answered, if that does not take long.
        let all = u32::try_from(WINDOW).unwrap_or(u32::MAX);
        drop(timeout(FAREWELL, self.pulse.window.acquire_many(all)).await);
    }

    /// False where the client is not to be listened to any more.
    async fn take(&mut self, Call { tag, ask }: Call) -> bool {
        match ask {
            Ask::Hello { version } if version != CLIENT_PROTOCOL_VERSION => {
                let message = format!("this node speaks version {CLIENT_PROTOCOL_VERSION} of the client protocol");
                self.reply(tag, Told::Failed(failure(FailureCode::Version, message))).await;
                false
            }
            ask if !self.pulse.greeted() && !matches!(ask, Ask::Hello { .. }) => {
                let message = "the first call on a connection is hello";
                self.reply(tag, Told::Failed(failure(FailureCode::BadCall, message))).await;
                false
            }
            Ask::Transfers { wait, within_ms, transfers } => {
                self.transfers(tag, wait, within(within_ms), transfers).await
            }
            Ask::Open { id, account, wait, within_ms } => {
                let opening = Opening { id, account, wait };
                let ports = self.service.ports.clone();
                self.submit(tag, within(within_ms), 1, |slot, reply_to| {
                    ports.open.send(SubmitOpening { tag: join(slot, 0), opening, reply_to })
                })
                .await
            }
            ask => {
                self.pulse.greet();
                let Some(room) = self.room(QUESTION).await else { return false };
                self.questions.send(Question { tag, ask, _room: room }).await.is_ok()
            }
        }
    }

    async fn transfers(&mut self, tag: u64, wait: Wait, within: Duration, transfers: Vec<Transfer>) -> bool {
        let count = transfers.len();
        if count > TRANSFERS_MAX {
            let message = format!("{count} transfers in one call; at most {TRANSFERS_MAX} are taken");
            return self.reply(tag, Told::Failed(failure(FailureCode::BadCall, message))).await;
        }
        if count == 0 {
            return self.reply(tag, Told::Outcomes(Vec::new())).await;
        }
        let ports = self.service.ports.clone();
        self.submit(tag, within, count, |slot, reply_to| {
            let numbered = (0u32..).zip(transfers).map(|(index, transfer)| (join(slot, index), transfer.request(wait)));
            ports.submit.send(Submit { requests: numbered.collect(), reply_to })
        })
        .await
    }

    /// Opens a call of `count` requests, and has the Ledger take them under its slot.
    async fn submit<M: ActixMessage<Result = u64> + Send>(
        &mut self,
        tag: u64,
        within: Duration,
        count: usize,
        send: impl FnOnce(u32, Recipient<Answers>) -> RecipientRequest<M>,
    ) -> bool {
        let Some(room) = self.room(count).await else { return false };
        self.last_slot = self.last_slot.wrapping_add(1);
        let slot = self.last_slot;
        // The call is open before the Ledger can answer it.
        self.connection.do_send(Opened { slot, tag, count, within, room });
        let batch = send(slot, self.connection.clone().recipient()).await.ok();
        self.connection.do_send(Taken { slot, batch });
        true
    }

    async fn room(&self, size: usize) -> Option<OwnedSemaphorePermit> {
        self.pulse.window.clone().acquire_many_owned(u32::try_from(size).ok()?).await.ok()
    }

    async fn reply(&self, tag: u64, told: Told) -> bool {
        self.answers.send(frame_of(&Reply { tag, told })).await.is_ok()
    }
}

pub(super) fn within(ms: u64) -> Duration {
    Duration::from_millis(ms).min(WITHIN_MAX)
}
