//! `paxbank transfer`: moves money, once.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Deadline, Nodes, Until};
use crate::cli::signals::Signals;
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, ClientError, Outcome, Unknown, Why};
use crate::ledger::{Approval, Reason, Request, Wait};
use crate::render::{reason_text, transfer_text};
use crate::types::{AccountId, Amount, TransferId};

const EXAMPLES: &str = "Examples:
  export PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  paxbank transfer A B 250
  paxbank transfer A B 20 --wait settled --deadline 30s
  paxbank transfer A B 20 --id ID      ask again, under the id that was told: it is executed once";

const NOTES: &str = "\
Exit status: 0 approved, 1 refused, 2 wrong use, 3 no node reachable and nothing sent, 4 outcome unknown, also after
Ctrl-C once a node was reached: ask again under the same id, or with paxbank outcome.";

/// Transfers money from one account to another; the home of the first decides.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct MakeTransfer {
    /// The account to debit, NAME@NODE; A stands for A@A, node A's own account.
    from: AccountId,
    /// The account to credit.
    to: AccountId,
    /// How much, a whole number of the smallest unit.
    #[arg(allow_negative_numbers = true)]
    amount: Amount,
    /// The transfer's id, a ULID, to ask again for one that was sent before [default: a new one].
    #[arg(long, value_name = "ULID")]
    id: Option<TransferId>,
    /// What to wait for. Where settled is not reached in time, an approval is told as not yet settled.
    #[arg(long, value_enum, default_value_t)]
    wait: Until,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl MakeTransfer {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let Self { from, to, amount, wait, .. } = self;
        let id = self.id.unwrap_or_else(|| client.new_id());
        let request = Request { id, from, to, amount, wait: wait.into() };
        let mut signals = Signals::new()?;
        ask(&client, request, self.deadline.deadline, signals.next(), Typed::CommandLine).await
    }
}

/// Where commands are typed: how to ask again differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    CommandLine,
    Shell,
}

/// Asks the home, until `stop`.
pub(super) async fn ask<T>(
    client: &Client,
    request: Request,
    within: Duration,
    stop: impl Future<Output = T>,
    typed: Typed,
) -> Result<Finished, Failure> {
    let Request { id, from, to, amount, wait } = request;
    let told = tokio::select! {
        biased;
        told = client.transfer(request, within) => told,
        // It may be on its way, or executed: whoever interrupts this must get the id to ask for.
        _ = stop => Ok(left(client, id)?),
    };
    finished(&transfer_text(from, to, amount), id, wait, told, typed)
}

/// What to tell of something that is waited for no longer: without a node there was nowhere to send it.
pub(super) fn left(client: &Client, id: TransferId) -> Result<Outcome, Failure> {
    if client.cluster().is_some() {
        return Ok(interrupted(id));
    }
    let message = "interrupted before a node was reached; nothing was sent".to_owned();
    Err(Failure { code: "interrupted", status: 3, message })
}

/// The outcome of a transfer that is waited for no longer.
pub(super) fn interrupted(id: TransferId) -> Outcome {
    Outcome::Unknown(Unknown { id, why: Why::Interrupted })
}

/// What came of one transfer, or of one opening, in both forms, and the exit status for it.
pub(super) fn finished(
    what: &str,
    id: TransferId,
    wait: Wait,
    told: Result<Outcome, ClientError>,
    typed: Typed,
) -> Result<Finished, Failure> {
    let outcome = &told.map_err(|error| match error {
        ClientError::NoNode(_) => {
            let failure = Failure::from(error);
            Failure { message: format!("{}; nothing was sent", failure.message), ..failure }
        }
        error => error.into(),
    })?;
    let mut told = sentence(outcome);
    if let Outcome::Approved(Approval { height: None, .. }) = outcome
        && wait == Wait::Settled
    {
        told.push_str(", not yet settled");
    }
    let mut human = format!("{what}  {told}\nid {id}");
    let status = match outcome {
        Outcome::Approved(_) => 0,
        Outcome::Refused(reason) => {
            if let Reason::UnknownAccount { account, .. } = reason {
                let program = if typed == Typed::CommandLine { "paxbank " } else { "" };
                human.push_str(&format!(
                    "\nTo open that account: {program}open {account} (one that was opened can be used once a block has \
                     settled it)"
                ));
            }
            1
        }
        Outcome::Unknown(_) => {
            human.push_str(&match typed {
                Typed::CommandLine => {
                    format!("\nAsk again with the same command and --id {id}, or with: paxbank outcome {id}")
                }
                Typed::Shell => format!("\nAsk what became of it with: outcome {id}"),
            });
            4
        }
    };
    Ok(Finished { report: Some(Report { human, json: outcome_json(id, outcome) }), status })
}

/// What came of a transfer, for people.
pub(super) fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Approved(Approval { origin, seq, height: None }) => format!("approved as entry {origin}:{seq}"),
        Outcome::Approved(Approval { origin, seq, height: Some(height) }) => {
            format!("approved as entry {origin}:{seq}, settled in block {height}")
        }
        Outcome::Refused(reason) => format!("refused: {}", reason_text(reason)),
        Outcome::Unknown(unknown) => format!("unknown: {}", unknown.why),
    }
}

/// What came of a transfer, for programs.
pub(super) fn outcome_json(id: TransferId, outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Approved(Approval { origin, seq, height }) => {
            json!({
                "id": id, "outcome": "approved", "origin": origin, "seq": seq, "height": height, "reason": null,
            })
        }
        Outcome::Refused(reason) => no_entry(id, "refused", json!(reason)),
        Outcome::Unknown(unknown) => unknown_json(id, unknown.why.code(), &unknown.why.to_string()),
    }
}

/// A transfer of which nobody can tell what became, or will, for programs.
pub(super) fn unknown_json(id: TransferId, code: &str, message: &str) -> Value {
    no_entry(id, "unknown", json!({ "code": code, "message": message }))
}

/// A transfer that no node can have got, for programs.
pub(super) fn not_sent_json(id: TransferId, code: &str, message: &str) -> Value {
    no_entry(id, "not_sent", json!({ "code": code, "message": message }))
}

fn no_entry(id: TransferId, outcome: &str, reason: Value) -> Value {
    json!({ "id": id, "outcome": outcome, "origin": null, "seq": null, "height": null, "reason": reason })
}
