//! `paxbank bench`: what a bank does in a second on this machine, and what the machine would allow, from one run.

mod bank;
mod floors;
mod frames;
mod load;
mod report;
mod target;
mod usage;
mod verify;
mod workloads;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::task::LocalSet;

use super::signals::Signals;
use super::{Failure, Finished, Output, count};

const EXAMPLES: &str = "Examples:
  paxbank bench                                          one node, a few seconds for each of four batch sizes
  paxbank bench settled                                  three processes, until a block holds the transfers
  paxbank bench local --batch 100 --connections 16       one of them
  paxbank bench local settled --store redis
  paxbank bench local --beside --batch 8190 --connections 4      does a small call wait behind large ones?
  paxbank bench shortage takeover                        each transfer needs a Paxos run
  paxbank bench restart catch-up growth --transfers 10000000
  paxbank bench growth --store archive                   a Redis that holds only what is not settled for long
  paxbank bench local --nodes 127.0.0.1:8001             nodes that run already; moves real money, a unit each time
  paxbank bench local --verify --kill                    afterwards, is everything there that was acknowledged?";

const NOTES: &str = "\
It starts the nodes that it measures, as processes of this machine with stores in a temporary directory, and removes both
in the end. Nodes, callers and disk share the machine: leave it alone meanwhile. A call is one batch; callers wait for
its last answer before they send the next. `floor` is what the machine alone takes for the same in the same run: a round
trip over loopback, and an append with fdatasync (local: one of each for all callers together; settled: two round trips).
The larger the ratio to it the better; 1 is never reached.";

/// Measures a bank on this machine.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(super) struct RunBench {
    /// What to measure.
    #[arg(value_enum, default_values_t = [Workload::Local])]
    workloads: Vec<Workload>,
    /// Transfers per call, together with --connections [default: a range of both].
    #[arg(long, value_name = "COUNT", requires = "connections", value_parser = count::<NonZeroUsize>)]
    batch: Option<NonZeroUsize>,
    /// Callers, each with one call under way, together with --batch; up to 250 have a connection of their own.
    #[arg(long, value_name = "COUNT", requires = "batch", value_parser = count::<NonZeroUsize>)]
    connections: Option<NonZeroUsize>,
    /// Measure nodes that run already, at the first of these client addresses: local and settled. Real money moves: one
    /// unit with each transfer.
    #[arg(long, value_name = "HOST:PORT,...", conflicts_with_all = ["store", "processes", "accounts", "kill"])]
    nodes: Option<String>,
    /// Where the nodes keep their data.
    #[arg(long, value_enum, default_value_t = Store::Redb)]
    store: Store,
    /// Nodes of the bank, 1 or 3 [default: 1 for local and restart, 3 for the others].
    #[arg(long, value_name = "COUNT", value_parser = processes)]
    processes: Option<usize>,
    /// Funded accounts at each home.
    #[arg(long, value_name = "COUNT", default_value = "10000", value_parser = count::<NonZeroUsize>)]
    accounts: NonZeroUsize,
    /// A hundredth of the accounts has a third of the transfers.
    #[arg(long)]
    skewed: bool,
    /// Beside the callers of local and settled one more, with one transfer at a time until it is durable at its home, in
    /// a line of its own: how long do the others keep it waiting?
    #[arg(long)]
    beside: bool,
    /// How long each measurement takes, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = count::<NonZeroUsize>)]
    seconds: NonZeroUsize,
    /// How many transfers restart and catch-up have behind them, and growth makes; some more where full calls need it,
    /// which is told.
    #[arg(long, value_name = "COUNT", default_value = "1000000", value_parser = count::<NonZeroUsize>)]
    transfers: NonZeroUsize,
    /// Afterwards, compute all chains again, and look for every id that was acknowledged.
    #[arg(long)]
    verify: bool,
    /// End the load by killing all nodes in the middle of it, and start them again.
    #[arg(long, requires = "verify")]
    kill: bool,
    /// Where the nodes' directories are made [default: the directory for temporary files].
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Transfers until they are durable at their home.
    Local,
    /// Transfers until a block that holds them is durable at a majority and applied at their home.
    Settled,
    /// One caller; each transfer needs a Paxos run, by a home that keeps its ballot.
    Shortage,
    /// One caller; each transfer needs a Paxos run, by a home that takes the ballot over.
    Takeover,
    /// A start of one node that has made so many transfers.
    Restart,
    /// A node that was away for so many transfers.
    CatchUp,
    /// One node that makes so many transfers, in ten parts: does one cost more in the last than in the first?
    Growth,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Settled => "settled",
            Self::Shortage => "shortage",
            Self::Takeover => "takeover",
            Self::Restart => "restart",
            Self::CatchUp => "catch-up",
            Self::Growth => "growth",
        }
    }
}

/// Where measured nodes keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// A file for each node.
    Redb,
    /// One `redis-server` for all nodes, started for this.
    Redis,
    /// The same, with archives for settled blocks.
    Archive,
    /// Nowhere: what the rest costs.
    Memory,
}

impl Store {
    fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Redis => "redis",
            Self::Archive => "archive",
            Self::Memory => "memory",
        }
    }
}

fn processes(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("a bank to measure has 1 or 3 nodes".to_owned()),
    }
}

impl RunBench {
    pub(super) fn run(self, output: Output) -> Result<Finished, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::usage(format!("this process has no runtime: {error}")))?;
        LocalSet::new().block_on(&runtime, async {
            let mut signals = Signals::new()?;
            tokio::select! {
                biased;
                // What it started ends with what is dropped here.
                signal = signals.next() => {
                    let message = format!("{signal}: the nodes are stopped, and their directories removed");
                    Err(Failure { code: "interrupted", status: 130, message })
                }
                finished = self.measure(output) => finished,
            }
        })
    }

    async fn measure(self, output: Output) -> Result<Finished, Failure> {
        // Before the head of a table of nothing.
        if let Some(place) = self.directory.as_ref().filter(|place| !place.is_dir()) {
            let shown = place.display();
            return Err(Failure::usage(format!("{shown} is no directory; give --directory one that is there")));
        }
        let mut report = report::Report::begin(output);
        for workload in &self.workloads {
            match workload {
                Workload::Local | Workload::Settled => workloads::load(&self, *workload, &mut report).await?,
                Workload::Shortage | Workload::Takeover => workloads::rounds(&self, *workload, &mut report).await?,
                Workload::Restart => workloads::restart(&self, &mut report).await?,
                Workload::CatchUp => workloads::catch_up(&self, &mut report).await?,
                Workload::Growth => workloads::growth(&self, &mut report).await?,
            }
        }
        Ok(report.end())
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs(self.seconds.get() as u64)
    }

    /// Batch sizes and numbers of callers.
    fn sizes(&self, workload: Workload) -> Vec<(usize, usize)> {
        match (self.batch, self.connections) {
            (Some(batch), Some(connections)) => vec![(batch.get(), connections.get())],
            _ if workload == Workload::Local => vec![(1, 1), (1, 64), (100, 16), (8_190, 4)],
            _ => vec![(1, 1), (1, 1_000), (100, 16), (8_190, 4)],
        }
    }
}
