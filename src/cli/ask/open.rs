//! `paxbank open`: opens an account, once.

use std::time::Duration;

use clap::Args;

use super::transfer::{Typed, finished, left};
use super::{Deadline, Nodes, Until};
use crate::cli::signals::Signals;
use crate::cli::{Failure, Finished};
use crate::client::Client;
use crate::ledger::Opening;
use crate::render::opening_text;
use crate::types::{AccountId, TransferId};

const EXAMPLES: &str = "Examples:
  export PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  paxbank open alice@A                 at node A, with nothing on it
  paxbank open alice@A --id ID         ask again, under the id that was told: it is opened once
  paxbank transfer A alice@A 250       from then on";

const NOTES: &str = "\
Exit status: 0 opened, 1 refused (it exists), 2 wrong use, 3 no node reachable and nothing sent, 4 outcome unknown,
also after Ctrl-C once a node was reached: ask again under the same id, or with paxbank outcome.";

/// Opens an account at its home, with nothing on it. It can be used once it is settled: all nodes know it then.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct OpenAccount {
    /// The new account, NAME@NODE.
    account: AccountId,
    /// The opening's id, a ULID, to ask again for one that was sent before [default: a new one].
    #[arg(long, value_name = "ULID")]
    id: Option<TransferId>,
    /// What to wait for. Where settled is not reached in time, an approval is told as not yet settled.
    #[arg(long, value_enum, default_value_t = Until::Settled)]
    wait: Until,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl OpenAccount {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let Self { account, .. } = self;
        let id = self.id.unwrap_or_else(|| client.new_id());
        let opening = Opening { id, account, wait: self.wait.into() };
        let mut signals = Signals::new()?;
        ask(&client, opening, self.deadline.deadline, signals.next(), Typed::CommandLine).await
    }
}

/// Asks the home, until `stop`.
pub(super) async fn ask<T>(
    client: &Client,
    opening: Opening,
    within: Duration,
    stop: impl Future<Output = T>,
    typed: Typed,
) -> Result<Finished, Failure> {
    let Opening { id, account, wait } = opening;
    let told = tokio::select! {
        biased;
        told = client.open(opening, within) => told,
        // It may be on its way, or opened: whoever interrupts this must get the id to ask for.
        _ = stop => Ok(left(client, id)?),
    };
    let mut finished = finished(&opening_text(account), id, wait, told, typed)?;
    if let Some(report) = finished.report.as_mut().filter(|report| report.json["outcome"] == "approved")
        && report.json["height"].is_null()
    {
        report.human.push_str("\nIt can be used once a block has settled it.");
    }
    Ok(finished)
}
