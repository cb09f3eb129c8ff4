//! Callers that ask one node for transfers, as many calls under way at once as they are told, and measure each call.
//! They speak the wire protocol with as little work of their own as they can: they share the machine with the nodes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::frames::{Demand, Frames, Ids};
use crate::cli::Failure;
use crate::codec;
use crate::entropy::Entropy;
use crate::ledger::Answer;
use crate::types::NodeId;
use crate::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, REPLY_BYTES_MAX, Reply, Told};
use crate::wire::frame::frame_of;

/// How long a caller waits before it asks a node again that was too busy.
const PUSHED_BACK: Duration = Duration::from_millis(1);

/// How many sockets callers share at most; one node takes 512.
const SOCKETS_MAX: usize = 250;

/// Whether what is answered counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first calls; caches and connections fill.
    WarmUp,
    /// Calls that begin and end in this are measured.
    Measured,
    /// No new calls.
    Over,
}

/// What came of a load.
pub(super) struct Tally {
    /// Of each measured call how long it took, in nanoseconds.
    pub(super) calls: Histogram<u64>,
    /// Transfers of measured calls.
    pub(super) approved: u64,
    /// Transfers that were not approved, of any call.
    pub(super) not_approved: u64,
    /// Calls that were sent again, because the node was too busy for some of it.
    pub(super) pushed_back: u64,
    /// Why one of those that were not approved was not.
    pub(super) why: Option<Answer>,
    /// Ids of all that was approved, as the first of each call and how many; calls in which anything was not approved
    /// are left out.
    pub(super) approved_ids: Vec<(u128, u64)>,
    /// Ids of which nothing is known, in the same form.
    pub(super) unknown_ids: Vec<(u128, u64)>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let calls = Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds are good");
        let (approved_ids, unknown_ids) = (Vec::new(), Vec::new());
        Self { calls, approved: 0, not_approved: 0, pushed_back: 0, why: None, approved_ids, unknown_ids }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.calls.add(other.calls).expect("both have the same bounds");
        self.approved += other.approved;
        self.not_approved += other.not_approved;
        self.pushed_back += other.pushed_back;
        self.why = self.why.take().or(other.why);
        self.approved_ids.extend(other.approved_ids);
        self.unknown_ids.extend(other.unknown_ids);
    }
}

/// Runs the demand at one node until the phase is over, and every call has its answers or its connection broke.
pub(super) async fn run(
    address: &str,
    demand: &Demand,
    ids: &Ids,
    entropy: &mut Entropy,
    phase: &Rc<Cell<Phase>>,
) -> Result<Tally, Failure> {
    let sockets = demand.callers.min(SOCKETS_MAX);
    let mut tasks = Vec::new();
    for socket in 0..sockets {
        let callers = demand.callers / sockets + usize::from(socket < demand.callers % sockets);
        let frames = Frames::new(demand, ids.clone(), entropy.split());
        let (stream, home) = greet(address).await.map_err(|error| unreachable(address, &error))?;
        let (phase, calls_left, batch) = (phase.clone(), demand.calls_left.clone(), demand.batch);
        tasks.push(tokio::task::spawn_local(async move {
            let (calls, tally) = ((0..callers).map(|_| None).collect(), Tally::new());
            Socket { stream, home, frames, batch, calls, tally, phase, calls_left }.drive().await
        }));
    }
    let mut tally = Tally::new();
    for task in tasks {
        tally.add(task.await.map_err(|error| Failure::usage(format!("a caller ended badly: {error}")))?);
    }
    Ok(tally)
}

fn unreachable(address: &str, error: &std::io::Error) -> Failure {
    Failure { code: "no_node", status: 3, message: format!("{address} cannot be used: {error}") }
}

/// Connects, and hears who is there.
async fn greet(address: &str) -> std::io::Result<(TcpStream, NodeId)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&frame_of(&Call { tag: 0, ask: Ask::Hello { version: CLIENT_PROTOCOL_VERSION } })).await?;
    let mut replies = Replies::default();
    loop {
        replies.fill(&mut stream).await?;
        match replies.next()? {
            Some(Reply { told: Told::Welcome(welcome), .. }) => return Ok((stream, welcome.node)),
            Some(other) => return Err(std::io::Error::other(format!("it does not say who it is: {other:?}"))),
            None => {}
        }
    }
}

/// A call under way.
struct Asked {
    first_id: u128,
    /// To be sent again where the node was too busy for some of it: what it has decided it tells once more.
    frame: Vec<u8>,
    began: Instant,
    phase: Phase,
    open: usize,
    busy: bool,
    all_approved: bool,
}

struct Socket {
    stream: TcpStream,
    home: NodeId,
    frames: Frames,
    batch: usize,
    /// By tag.
    calls: Vec<Option<Asked>>,
    tally: Tally,
    phase: Rc<Cell<Phase>>,
    calls_left: Rc<Cell<u64>>,
}

impl Socket {
    async fn drive(mut self) -> Tally {
        // What breaks here breaks every call that is still open, and nothing else.
        let _ = self.exchange().await;
        for asked in self.calls.into_iter().flatten() {
            self.tally.unknown_ids.push((asked.first_id, self.batch as u64));
        }
        self.tally
    }

    async fn exchange(&mut self) -> std::io::Result<()> {
        let (mut replies, mut out, mut open) = (Replies::default(), Vec::new(), 0);
        for tag in 0..self.calls.len() {
            open += usize::from(self.ask(tag, &mut out));
        }
        while open > 0 {
            self.stream.write_all(&out).await?;
            out.clear();
            replies.fill(&mut self.stream).await?;
            let mut busy = false;
            while let Some(Reply { tag, told }) = replies.next()? {
                let tag = usize::try_from(tag).unwrap_or(usize::MAX);
                match self.take(tag, told)? {
                    Taken::Part => {}
                    Taken::All => open -= usize::from(!self.ask(tag, &mut out)),
                    Taken::Busy(frame) => {
                        busy = true;
                        out.extend(frame);
                    }
                }
            }
            if busy {
                tokio::time::sleep(PUSHED_BACK).await;
            }
        }
        Ok(())
    }

    /// Makes another call, if there is to be one.
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn ask(&mut self, tag: usize, out: &mut Vec<u8>) -> bool {
        if self.phase.get() == Phase::Over || self.calls_left.get() == 0 {
            return false;
        }
        self.calls_left.set(self.calls_left.get() - 1);
        let mut frame = Vec::new();
        let first_id = self.frames.append(tag as u64, &mut frame);
        out.extend(&frame);
        let (began, phase, open) = (Instant::now(), self.phase.get(), self.batch);
        let asked = Asked { first_id, frame, began, phase, open, busy: false, all_approved: true };
        self.calls[tag] = Some(asked);
        true
    }

    fn take(&mut self, tag: usize, told: Told) -> std::io::Result<Taken<'_>> {
        let outcomes = match told {
            Told::Outcomes(outcomes) => outcomes,
            other => return Err(std::io::Error::other(format!("not outcomes: {other:?}"))),
        };
        let Some(asked) = self.calls.get_mut(tag).and_then(Option::as_mut) else {
            return Err(std::io::Error::other("an answer to no call"));
        };
        asked.open = asked.open.saturating_sub(outcomes.len());
        let wait = self.frames.wait;
        for outcome in outcomes.into_iter().filter(|outcome| !outcome.is_done(wait)) {
            match outcome.answer(self.home) {
                // Approved and not settled: too many wait for that.
                Some(Answer::Busy | Answer::Approved(_)) => asked.busy = true,
                answer => {
                    asked.all_approved = false;
                    self.tally.not_approved += 1;
                    self.tally.why = self.tally.why.take().or(answer);
                }
            }
        }
        if asked.open > 0 {
            return Ok(Taken::Part);
        }
        if asked.busy {
            (asked.open, asked.busy) = (self.batch, false);
            self.tally.pushed_back += 1;
            return Ok(match &self.calls[tag] {
                Some(asked) => Taken::Busy(&asked.frame),
                None => Taken::Part,
            });
        }
        if let Some(asked) = self.calls[tag].take().filter(|asked| asked.all_approved) {
            self.tally.approved_ids.push((asked.first_id, self.batch as u64));
            if asked.phase == Phase::Measured && self.phase.get() == Phase::Measured {
                self.tally.approved += self.batch as u64;
                let nanoseconds = u64::try_from(asked.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.tally.calls.saturating_record(nanoseconds);
            }
        }
        Ok(Taken::All)
    }
}

/// How much of a call was answered.
enum Taken<'a> {
    Part,
    All,
    /// All, and some of it is to be asked for again.
    Busy(&'a [u8]),
}

/// Takes replies off a socket.
#[derive(Default)]
struct Replies {
    buffer: Vec<u8>,
    taken: usize,
}

impl Replies {
    async fn fill(&mut self, from: &mut TcpStream) -> std::io::Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(1 << 18);
        match from.read_buf(&mut self.buffer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> std::io::Result<Option<Reply>> {
        let rest = &self.buffer[self.taken..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > REPLY_BYTES_MAX {
            return Err(std::io::Error::other("a reply that is too long"));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let reply = codec::decode(frame).map_err(std::io::Error::other)?;
        self.taken += 4 + length;
        Ok(Some(reply))
    }
}
