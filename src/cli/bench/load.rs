//! Callers that ask one node for transfers, as many calls under way at once as they are told, and measure each call.
//! They speak the wire protocol with as little work of their own as they can: they share the machine with the nodes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::Failure;
use crate::codec;
use crate::entropy::Entropy;
use crate::ledger::{Answer, Wait};
use crate::types::{AccountId, Amount, NodeId, TransferId};
use crate::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, REPLY_BYTES_MAX, Reply, TRANSFERS_MAX, Told, Transfer};
use crate::wire::frame::frame_of;

/// How long a node may take for a call before it says what there is so far.
const WITHIN: Duration = Duration::from_secs(60);

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

/// What to ask for.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// Transfers per call.
    pub(super) batch: usize,
    /// Calls under way at once, over all sockets.
    pub(super) callers: usize,
    pub(super) wait: Wait,
    /// Accounts that credits are drawn from; debits from the first `debits` of them, all of the one home.
    pub(super) accounts: Rc<Vec<AccountId>>,
    pub(super) debits: usize,
    /// A few accounts have most of the transfers, instead of all the same.
    pub(super) skewed: bool,
    /// How many more calls to make.
    pub(super) calls_left: Rc<Cell<u64>>,
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

/// Ids that no other run makes. Those of all sockets ascend together, as a clock's would: an account forgets its smallest
/// ids, and what is smaller still has expired.
#[derive(Clone)]
pub(super) struct Ids(Rc<Cell<u128>>);

impl Ids {
    #[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a client's ids carry its wall clock")]
    pub(super) fn new(entropy: &mut Entropy) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let random = u128::from(entropy.below(1 << 30)) << 50;
        Self(Rc::new(Cell::new((now.as_millis() << 80) | random)))
    }

    /// The first of so many.
    fn take(&self, count: usize) -> u128 {
        self.0.replace(self.0.get() + count as u128)
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

/// Makes calls of transfers, byte by byte: all of it but ids, accounts and the tag is the same each time.
struct Frames {
    batch: usize,
    wait: Wait,
    accounts: Rc<Vec<AccountId>>,
    encoded: Vec<Vec<u8>>,
    debits: usize,
    skewed: bool,
    ids: Ids,
    entropy: Entropy,
}

impl Frames {
    fn new(demand: &Demand, ids: Ids, entropy: Entropy) -> Self {
        let encode = |account: &AccountId| {
            let mut bytes = Vec::new();
            codec::encode_into(&mut bytes, account);
            bytes
        };
        Self {
            batch: demand.batch.min(TRANSFERS_MAX),
            wait: demand.wait,
            encoded: demand.accounts.iter().map(encode).collect(),
            accounts: demand.accounts.clone(),
            debits: demand.debits,
            skewed: demand.skewed,
            ids,
            entropy,
        }
    }

    /// Appends one call, and returns the first of its ids.
    fn append(&mut self, tag: u64, out: &mut Vec<u8>) -> u128 {
        let first_id = self.ids.take(self.batch);
        let within_ms = u64::try_from(WITHIN.as_millis()).unwrap_or(u64::MAX);
        let start = out.len();
        out.extend([0; 4]);
        codec::encode_into(
            out,
            &Call { tag, ask: Ask::Transfers { wait: self.wait, within_ms, transfers: Vec::new() } },
        );
        // The list of transfers is the last thing in it: an empty array, in place of which a longer one goes.
        let empty = out.pop();
        debug_assert_eq!(empty, Some(0x90), "the last byte is an array of nothing");
        out.push(0xdd);
        out.extend(u32::try_from(self.batch).unwrap_or(u32::MAX).to_be_bytes());
        let mut one = Vec::new();
        codec::encode_into(&mut one, &Transfer(0.into(), self.accounts[0], self.accounts[0], Amount::new(1)));
        let id_header = &one[..one.len() - 16 - 2 * self.encoded[0].len() - 1];
        for index in 0..self.batch {
            let (from, to) = self.two_accounts();
            out.extend(id_header);
            out.extend(TransferId::from(first_id + index as u128).to_bytes());
            out.extend(&self.encoded[from]);
            out.extend(&self.encoded[to]);
            out.push(1);
        }
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        first_id
    }

    fn two_accounts(&mut self) -> (usize, usize) {
        let count = self.encoded.len();
        let (from, to) = (self.place(self.debits), self.place(count));
        (from, if from == to { (to + 1) % count } else { to })
    }

    /// One of the first `count` accounts.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    fn place(&mut self, count: usize) -> usize {
        if !self.skewed {
            return self.entropy.below(count as u64) as usize;
        }
        // The first hundredth of the accounts has 32 % of the transfers.
        let uniform = self.entropy.below(1 << 52) as f64 / (1u64 << 52) as f64;
        ((uniform.powi(4) * count as f64) as usize).min(count - 1)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_made_by_hand_are_calls_as_the_library_makes_them() {
        let accounts = ["a@A", "b@A", "a-longer-name@B"].map(|name| name.parse().unwrap());
        let demand = Demand {
            batch: 20,
            callers: 1,
            wait: Wait::Settled,
            accounts: Rc::new(accounts.into()),
            debits: 2,
            skewed: true,
            calls_left: Rc::default(),
        };
        let mut frames = Frames::new(&demand, Ids(Rc::new(Cell::new(7 << 80))), Entropy::from_seed(1));
        let mut bytes = Vec::new();
        assert_eq!(frames.append(3, &mut bytes), 7 << 80);
        let call: Call = codec::decode(&bytes[4..]).unwrap();
        let Ask::Transfers { wait: Wait::Settled, within_ms: 60_000, transfers } = call.ask else { panic!() };
        assert_eq!(transfers.len(), 20);
        for (index, Transfer(id, from, to, amount)) in transfers.into_iter().enumerate() {
            assert_eq!((id, amount), (((7 << 80) + index as u128).into(), Amount::new(1)));
            assert!(from != to && demand.accounts[..2].contains(&from) && demand.accounts.contains(&to));
        }
    }
}
