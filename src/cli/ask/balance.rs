//! `paxbank balance`: what an account has.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Balance, Client, Heard, ReadLevel};
use crate::render::{balance_json, balance_text, nodes_text};
use crate::types::AccountId;

const EXAMPLES: &str = "Examples:
  paxbank balance A                   what it can spend now, as its home knows
  paxbank balance A --read settled    what the chain says; any node tells, also while the home is down
  paxbank balance A --read fresh      as its home knows after asking all nodes for what is on its way";

/// Tells what an account has.
#[derive(Args)]
#[command(before_long_help = EXAMPLES)]
pub(in crate::cli) struct ShowBalance {
    /// The account, NAME@NODE; A stands for A@A, node A's own account.
    account: AccountId,
    /// How much the answer may lack.
    #[arg(long, value_enum, default_value_t)]
    read: Read,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Read {
    /// What its home can spend now; credits from other homes come with the next block.
    #[default]
    Local,
    /// What the chain of one node says.
    Settled,
    /// As local, after all nodes that can be reached were asked for what is unsettled.
    Fresh,
}

impl ShowBalance {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let read = match self.read {
            Read::Local => ReadLevel::Local,
            Read::Settled => ReadLevel::Settled,
            Read::Fresh => ReadLevel::Fresh,
        };
        ask(&self.nodes.client()?, self.account, read, self.deadline.deadline).await
    }
}

/// Asks for it.
pub(super) async fn ask(
    client: &Client,
    account: AccountId,
    read: ReadLevel,
    within: Duration,
) -> Result<Finished, Failure> {
    Ok(report(&client.balance(account, read, within).await?, read).into())
}

fn report(Heard { node, told }: &Heard<Balance>, read: ReadLevel) -> Report {
    let Balance { account, spendable, settled, height, not_heard } = told;
    let mut human = match (read, spendable) {
        // What was asked for comes first.
        (ReadLevel::Settled, Some(spendable)) => {
            format!("{account}  settled {settled} at height {height}; can spend {spendable}, says {node}")
        }
        _ => balance_text(*account, *spendable, *settled, *height, *node),
    };
    let mut json = balance_json(*account, *spendable, *settled, *height, *node);
    if read == ReadLevel::Fresh {
        json["not_heard"] = json!(not_heard);
    }
    if !not_heard.is_empty() {
        human.push_str(&format!("; not heard: {}", nodes_text(not_heard)));
    }
    Report { human, json }
}
