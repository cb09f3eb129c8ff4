//! The two ends of a client's socket: calls come off it, replies go onto it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::{Connection, OUTCOMES_MAX, Pulse, QUESTION, WriterEnded, Written};
use crate::wire::client::{Ask, CALL_LIMITS, Call, TRANSFERS_MAX};
use crate::wire::frame::{READ_BYTES, read_value};
use crate::wire::{FrameError, FrameLimits};

/// A client that takes no byte of a reply for so long is gone, or might as well be.
const STALLED: Duration = Duration::from_secs(30);

/// How long a client may take to say hello: a place that only silence fills is soon free again.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// A call as it came off the socket, and its part of the window.
pub(super) type Heard = Result<(Call, OwnedSemaphorePermit), FrameError>;

/// Takes calls off the socket, in order, and no more of them than the window lets in.
pub(super) struct Reader {
    from: BufReader<OwnedReadHalf>,
    pulse: Rc<Pulse>,
}

impl Reader {
    pub(super) fn new(from: OwnedReadHalf, pulse: Rc<Pulse>) -> Self {
        Self { from: BufReader::with_capacity(READ_BYTES, from), pulse }
    }

    /// The next call.
    pub(super) async fn next(mut self) -> (Self, Heard) {
        let heard = self.read().await;
        (self, heard)
    }

    async fn read(&mut self) -> Heard {
        let idle = if self.pulse.greeted() { CALL_LIMITS.idle } else { HELLO_WITHIN };
        let call: Call = read_value(&mut self.from, &FrameLimits { idle, ..CALL_LIMITS }).await?;
        self.pulse.beat();
        let size = match &call.ask {
            Ask::Transfers { transfers, .. } => transfers.len().clamp(1, TRANSFERS_MAX),
            Ask::Open { .. } => 1,
            _ => QUESTION,
        };
        let room = self.pulse.window.clone().acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX));
        Ok((call, room.await.expect("nobody closes the window")))
    }
}

/// The way of outcomes onto the socket.
pub(super) struct Outcomes {
    socket: Rc<OwnedWriteHalf>,
    waiting: mpsc::Sender<Vec<u8>>,
    queue: Rc<Queue>,
    pulse: Rc<Pulse>,
}

/// What the writer and those who send outcomes know of each other.
#[derive(Default)]
struct Queue {
    /// The writer has something to write: everything else goes behind that.
    busy: Cell<bool>,
    /// Outcomes wait in their calls until the writer took some.
    full: Cell<bool>,
}

impl Outcomes {
    /// Whether another frame may be sent. Where it may not, [`Written`] says when.
    pub(super) fn has_room(&self) -> bool {
        let has_room = !self.queue.busy.get() || self.waiting.capacity() > 0;
        self.queue.full.set(!has_room);
        has_room
    }

    /// Sends a frame: most are on the socket then, and the writer never hears of them.
    pub(super) fn send(&self, mut frame: Vec<u8>) {
        if !self.queue.busy.get() {
            // What fails here fails once more for the writer, which ends with it.
            let written = self.socket.try_write(&frame).unwrap_or(0);
            if written == frame.len() {
                return self.pulse.beat();
            }
            frame.drain(..written);
            self.queue.busy.set(true);
        }
        // There was room, or else the connection is over.
        drop(self.waiting.try_send(frame));
    }
}

/// Puts replies onto the socket that it did not take at once, and answers to questions, until there are no more to come.
pub(super) struct Writer {
    socket: Rc<OwnedWriteHalf>,
    outcomes: mpsc::Receiver<Vec<u8>>,
    answers: mpsc::Receiver<Vec<u8>>,
    queue: Rc<Queue>,
    pulse: Rc<Pulse>,
}

impl Writer {
    /// With the way for outcomes; answers to questions have their own.
    pub(super) fn new(to: OwnedWriteHalf, answers: mpsc::Receiver<Vec<u8>>, pulse: Rc<Pulse>) -> (Self, Outcomes) {
        let (socket, queue) = (Rc::new(to), Rc::<Queue>::default());
        let (waiting, outcomes) = mpsc::channel(OUTCOMES_MAX);
        let way = Outcomes { socket: socket.clone(), waiting, queue: queue.clone(), pulse: pulse.clone() };
        (Self { socket, outcomes, answers, queue, pulse }, way)
    }

    pub(super) async fn run(mut self, connection: Connection) {
        self.write(&connection).await;
        connection.do_send(WriterEnded);
    }

    /// Outcomes that wait go out together.
    async fn write(&mut self, connection: &Connection) {
        let Self { socket, outcomes, answers, queue, pulse } = self;
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
                else => return,
            };
            // The outcomes have ended; the answers may not have.
            if received == 0 {
                continue;
            }
            queue.busy.set(true);
            if queue.full.take() {
                connection.do_send(Written);
            }
            if !matches!(timeout(STALLED, write_all(socket, &frames.concat())).await, Ok(Ok(()))) {
                return;
            }
            pulse.beat();
            queue.busy.set(!outcomes.is_empty());
        }
    }
}

async fn write_all(to: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
