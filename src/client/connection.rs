//! One connection with one node: calls go out through a writer task behind a bounded queue, a reader task brings each
//! reply to the call with its tag. Once anything is wrong with it, all its calls fail, and it is of no more use.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::{Batch, Calls, Ended};
use super::error::NodeError;
use crate::ledger::block::NODES_MAX;
use crate::types::NodeId;
use crate::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, FailureCode, REPLY_BYTES_MAX, Reply, Told, Welcome};
use crate::wire::frame::{FrameError, FrameLimits, frame_of, read_value, write_frame};

/// What this client grants to a node. Silence is not limited here: each call has its own deadline.
const REPLY_LIMITS: FrameLimits =
    FrameLimits { bytes_max: REPLY_BYTES_MAX, idle: Duration::MAX, finish: Duration::from_secs(30) };

/// How many frames wait for the writer; one has at most a megabyte.
const QUEUE_FRAMES: usize = 16;

/// How many calls wait for their answers at once.
const CALLS_MAX: usize = 256;

/// A node that takes no bytes for so long does not read any more.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// A connection whose node has said who it is.
pub(super) struct Connection {
    address: String,
    calls: Arc<Calls>,
    queue: mpsc::Sender<Vec<u8>>,
    permits: Semaphore,
    tasks: [AbortHandle; 2],
}

impl Connection {
    /// Connects, and hears who is there. Its name is resolved now, not when the address was given.
    pub(super) async fn open(address: &str, within: Duration) -> Result<(Self, Welcome), NodeError> {
        let unreachable = |why: String| NodeError::Unreachable { address: address.to_owned(), why };
        let opened = timeout(within, Self::greet(address)).await;
        let (reader, writer, welcome) =
            opened.map_err(|_| unreachable(format!("nobody answered within {within:.1?}")))??;
        if !welcome.homes.contains_key(&welcome.node) || welcome.homes.len() > NODES_MAX {
            return Err(unreachable(format!("it says that it is node {} of a bank that cannot be", welcome.node)));
        }
        let calls = Arc::new(Calls::new(welcome.node));
        let (queue, frames) = mpsc::channel(QUEUE_FRAMES);
        let write = tokio::spawn(write(writer, frames, calls.clone())).abort_handle();
        let read = tokio::spawn(read(reader, calls.clone(), write.clone())).abort_handle();
        let permits = Semaphore::new(CALLS_MAX);
        Ok((Self { address: address.to_owned(), calls, queue, permits, tasks: [read, write] }, welcome))
    }

    async fn greet(address: &str) -> Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf, Welcome), NodeError> {
        let unreachable = |why: String| NodeError::Unreachable { address: address.to_owned(), why };
        let version = |why| NodeError::Version { address: address.to_owned(), why };
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let hello = Call { tag: 0, ask: Ask::Hello { version: CLIENT_PROTOCOL_VERSION } };
        write_frame(&mut writer, &hello).await.map_err(|error| unreachable(error.to_string()))?;
        let reply: Reply =
            read_value(&mut reader, &REPLY_LIMITS).await.map_err(|error| unreachable(stranger(&error)))?;
        match reply.told {
            Told::Welcome(welcome) if welcome.version == CLIENT_PROTOCOL_VERSION => Ok((reader, writer, welcome)),
            Told::Welcome(Welcome { version: theirs, .. }) => {
                Err(version(format!("it speaks version {theirs}, the client {CLIENT_PROTOCOL_VERSION}")))
            }
            Told::Failed(failure) if failure.code == FailureCode::Version => Err(version(failure.message)),
            Told::Failed(failure) => Err(unreachable(failure.message)),
            _ => Err(unreachable("it does not say who it is".to_owned())),
        }
    }

    /// Who is at the other end.
    pub(super) fn node(&self) -> NodeId {
        self.calls.node()
    }

    /// Where that is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// False once something was wrong with it.
    pub(super) fn is_live(&self) -> bool {
        self.calls.broken().is_none()
    }

    /// Asks what has one answer; `ask` is told how long the node may take for it.
    pub(super) async fn ask(&self, until: Instant, ask: impl FnOnce(Duration) -> Ask) -> Result<Told, Arc<NodeError>> {
        let began = Instant::now();
        let Some((_permit, place)) = self.place(until).await else { return Err(self.why()) };
        let (tag, answer) = self.calls.wait_for_one()?;
        place.send(frame_of(&Call { tag: tag.number(), ask: ask(within(until)) }));
        match timeout_at(until, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.why()),
            Err(_) => Err(self.give_up(began)),
        }
    }

    /// Submits what a home has to approve, `count` of it in one call, and waits until all have their answers, or for as
    /// long as that makes sense.
    pub(super) async fn submit(&self, until: Instant, count: usize, ask: impl FnOnce(Duration) -> Ask) -> Batch {
        let began = Instant::now();
        let Some((_permit, place)) = self.place(until).await else {
            return Batch::unsent(count, self.why());
        };
        let (tag, ended) = match self.calls.wait_for_batch(count) {
            Ok(waiting) => waiting,
            Err(error) => return Batch::unsent(count, error),
        };
        place.send(frame_of(&Call { tag: tag.number(), ask: ask(within(until)) }));
        match timeout_at(until, ended).await {
            Ok(Ok(Ended(batch))) => batch,
            Ok(Err(_)) => Batch::lost(count, self.why()),
            Err(_) => {
                let partial = tag.take_batch().unwrap_or_else(|| Batch::lost(count, self.why()));
                Batch { error: Some(self.give_up(began)), ..partial }
            }
        }
    }

    /// A place among the calls that wait, and one in the writer's queue.
    async fn place(&self, until: Instant) -> Option<(SemaphorePermit<'_>, mpsc::Permit<'_, Vec<u8>>)> {
        let permit = timeout_at(until, self.permits.acquire()).await.ok()?.ok()?;
        let place = timeout_at(until, self.queue.reserve()).await.ok()?.ok()?;
        Some((permit, place))
    }

    fn why(&self) -> Arc<NodeError> {
        self.calls.broken().unwrap_or_else(|| Arc::new(NodeError::Silent { node: self.node() }))
    }

    /// The node did not answer in time. Where it said nothing at all since then, it will not be waited for again on this
    /// connection: its machine may be gone without a word.
    fn give_up(&self, began: Instant) -> Arc<NodeError> {
        let silent = Arc::new(NodeError::Silent { node: self.node() });
        if self.calls.heard_since(began) {
            return silent;
        }
        self.close(silent)
    }

    /// Closes it, because of `why`. Returns why it was closed first.
    pub(super) fn close(&self, why: Arc<NodeError>) -> Arc<NodeError> {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.calls.fail(why)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Why there is no first answer, and what may be there instead of a node that serves clients.
fn stranger(error: &FrameError) -> String {
    match error {
        FrameError::TooLong { .. } | FrameError::Malformed(_) => {
            format!("something that is no paxbank node answers there ({error})")
        }
        FrameError::Closed => format!("{error}; is this the port for peers? give that of --client-listen"),
        _ => error.to_string(),
    }
}

/// How long a node may take so that its answer is here in time.
fn within(until: Instant) -> Duration {
    let left = until.saturating_duration_since(Instant::now());
    left.saturating_sub((left / 10).min(Duration::from_millis(500)))
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>, calls: Arc<Calls>) {
    let node = calls.node();
    while let Some(frame) = frames.recv().await {
        let why = match timeout(WRITE_MAX, to.write_all(&frame)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took no bytes for {WRITE_MAX:?}"),
        };
        calls.fail(Arc::new(NodeError::Broken { node, why }));
        return;
    }
}

async fn read(mut from: BufReader<OwnedReadHalf>, calls: Arc<Calls>, writer: AbortHandle) {
    let node = calls.node();
    let why = loop {
        match read_value::<Reply>(&mut from, &REPLY_LIMITS).await {
            Ok(reply) => {
                if let Err(why) = calls.take(reply) {
                    break NodeError::Garbled { node, why };
                }
            }
            Err(error @ (FrameError::Malformed(_) | FrameError::TooLong { .. })) => {
                break NodeError::Garbled { node, why: error.to_string() };
            }
            Err(FrameError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                break NodeError::Broken { node, why: "it ended inside of an answer".to_owned() };
            }
            Err(error) => break NodeError::Broken { node, why: error.to_string() },
        }
    };
    calls.fail(Arc::new(why));
    writer.abort();
}

/// Nothing is left half done where a holder of the lock panics: all changes under it are single steps.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
