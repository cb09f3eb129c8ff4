//! The client library: finds the nodes of a bank, asks each account's home, retries, and executes nothing twice.
//!
//! A [`Client`] is given the client addresses of any nodes, and learns from them who is where. It keeps one connection
//! for each node that it talks to, over which many calls are under way at once; it can be cloned, and all clones share
//! these. It needs a tokio runtime of any kind.
//!
//! A transfer has an id, drawn once with [`Client::new_id`]. Whatever goes wrong on the way, the client asks again under
//! that id, so that the transfer is executed once or not at all; when it must give up, the outcome is
//! [`Outcome::Unknown`], and the same id, now or after a restart of the client, finds out:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use paxos_banking::client::{Client, ClientOptions, Outcome, ReadLevel};
//! use paxos_banking::ledger::{Request, Wait};
//! use paxos_banking::types::Amount;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let bank = Client::new(["127.0.0.1:7101", "127.0.0.1:7102"], ClientOptions::default())?;
//!     let (from, to, amount) = ("A".parse()?, "B".parse()?, Amount::new(250));
//!     let request = Request { id: bank.new_id(), from, to, amount, wait: Wait::Local };
//!     match bank.transfer(request, Duration::from_secs(10)).await? {
//!         Outcome::Approved(approval) => println!("approved as entry {}:{}", approval.origin, approval.seq),
//!         Outcome::Refused(reason) => println!("refused: {}", reason.code()),
//!         Outcome::Unknown(unknown) => println!("ask again for {}: {}", unknown.id, unknown.why),
//!     }
//!     let balance = bank.balance(from, ReadLevel::Settled, Duration::from_secs(5)).await?;
//!     println!("{from} has {}, says node {} at height {}", balance.told.settled, balance.node, balance.told.height);
//!     Ok(())
//! }
//! ```

mod calls;
mod connection;
mod directory;
mod error;
mod pages;
mod reads;
mod recorded;
mod status;
mod transfers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use connection::locked;
use directory::Directory;
pub use error::{ClientError, NodeError, Outcome, Unknown, Why};
pub use pages::{ChainPages, LogPages};
pub use reads::{Heard, Traced};
pub use recorded::{balance_line, outcome_line};
pub use status::{ClockLead, STATUS_WITHIN, StatusReport};

pub use crate::wire::client::{Balance, ReadLevel, State, Status, Transfer};

use crate::entropy::Entropy;
use crate::types::{Hash, Height, NodeId, TransferId};
use crate::wire::client::TRANSFERS_MAX;
use crate::wire::wall_clock_ms;

/// The most addresses that a client can be given.
pub const ADDRESSES_MAX: usize = 64;

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The bank to talk to; without it, the bank of the first node that answers.
    pub cluster: Option<Hash>,
    /// How long a node may take to be connected with and to say who it is.
    pub connect_within: Duration,
    /// How long one try may take; then the same question is asked again.
    pub try_within: Duration,
    /// The first pause between two tries; each one is up to twice as long as the one before.
    pub retry_delay_min: Duration,
    /// The longest.
    pub retry_delay_max: Duration,
    /// How many calls of transfers are under way at once, for each home.
    pub calls_in_flight: usize,
    /// How many transfers go into one call, at most [`TRANSFERS_MAX`].
    pub transfers_per_call: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            cluster: None,
            connect_within: Duration::from_secs(2),
            try_within: Duration::from_secs(3),
            retry_delay_min: Duration::from_millis(20),
            retry_delay_max: Duration::from_secs(1),
            calls_in_flight: 4,
            transfers_per_call: 1_024,
        }
    }
}

/// A client of one bank. Clones share connections and what is known of the bank.
#[derive(Clone)]
pub struct Client {
    directory: Arc<Directory>,
    options: Arc<ClientOptions>,
    entropy: Arc<Mutex<Entropy>>,
    /// The greatest height seen in any answer: no read may tell of less (`not_ready`).
    seen: Arc<AtomicU64>,
}

impl Client {
    /// A client that begins at these addresses, `HOST:PORT` each, of any nodes of one bank. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::NoAddress`].
    pub fn new(
        addresses: impl IntoIterator<Item = impl Into<String>>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).take(ADDRESSES_MAX).collect();
        if addresses.is_empty() {
            return Err(ClientError::NoAddress);
        }
        let transfers_per_call = options.transfers_per_call.clamp(1, TRANSFERS_MAX);
        let options = ClientOptions { transfers_per_call, calls_in_flight: options.calls_in_flight.max(1), ..options };
        Ok(Self {
            directory: Arc::new(Directory::new(addresses, options.cluster, options.connect_within)),
            options: Arc::new(options),
            entropy: Arc::new(Mutex::new(Entropy::from_os())),
            seen: Arc::default(),
        })
    }

    /// An id for a new transfer.
    pub fn new_id(&self) -> TransferId {
        TransferId::from_parts(wall_clock_ms(), locked(&self.entropy).wide())
    }

    /// The greatest height in any answer so far. Balances that are read never tell of an earlier state.
    pub fn seen(&self) -> Height {
        Height(self.seen.load(Ordering::Relaxed))
    }

    /// The bank's id, once a node was reached.
    pub fn cluster(&self) -> Option<Hash> {
        self.directory.cluster()
    }

    /// All nodes of the bank, each with its client address as far as it is known; asks for them where none was reached
    /// yet.
    ///
    /// # Errors
    /// [`ClientError::NoNode`] and [`ClientError::WrongPlace`].
    pub async fn nodes(&self, deadline: Duration) -> Result<BTreeMap<NodeId, Option<String>>, ClientError> {
        let until = moment_after(Instant::now(), deadline);
        self.directory.connection(None, until).await.map_err(|missing| ClientError::of(missing.error))?;
        Ok(self.directory.homes())
    }

    fn saw(&self, height: Height) {
        self.seen.fetch_max(height.0, Ordering::Relaxed);
    }

    /// Pauses between tries: each up to twice the one before, and at random between one and two times that, so that
    /// clients that were turned away together do not come back together.
    fn delays(&self) -> Box<dyn Iterator<Item = Duration> + Send> {
        let ClientOptions { retry_delay_min, retry_delay_max, .. } = *self.options;
        let seed = locked(&self.entropy).number();
        let builder = ExponentialBuilder::new().with_min_delay(retry_delay_min).with_max_delay(retry_delay_max);
        Box::new(builder.without_max_times().with_jitter().with_jitter_seed(seed).build())
    }
}

/// As the protocol counts time.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The moment so long after another; one that no clock can show is never, which is years away.
fn moment_after(moment: Instant, wait: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);
    moment.checked_add(wait.min(NEVER)).unwrap_or(moment)
}
