//! `paxbank outcome`: what became of a transfer, by its id.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::transfer::{outcome_json, sentence, unknown_json};
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, Outcome, Traced};
use crate::ledger::{Trace, Verdict};
use crate::render::{nodes_text, opening_text, transfer_text};
use crate::types::TransferId;

const EXAMPLES: &str = "Examples:
  paxbank outcome ID                  ID as paxbank transfer told it; paxbank run tells those of unknown outcomes, all as JSON
  paxbank outcome ID --output json";

const NOTES: &str = "\
Exit status: 0 approved, 1 refused, 3 no node reachable, 4 unknown: not decided, or not seen by any node that was
heard.";

/// Tells what became of a transfer, by its id.
///
/// All nodes are asked, and look in their logs and their chains. Nobody is waited for once the answer is certain.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct ShowOutcome {
    /// The transfer's id.
    id: TransferId,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl ShowOutcome {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        ask(&self.nodes.client()?, self.id, self.deadline.deadline).await
    }
}

/// Asks all nodes.
pub(super) async fn ask(client: &Client, id: TransferId, within: Duration) -> Result<Finished, Failure> {
    Ok(finished(id, &client.trace(id, within).await?))
}

fn finished(id: TransferId, traced: &Traced) -> Finished {
    let Some(first) = traced.traces.first() else { return unseen(id, traced) };
    let (mut json, status) = one(first);
    let mut human: Vec<_> = traced.traces.iter().map(line).collect();
    human.push(format!("id {id}"));
    // Nothing forbids two clients to use one id for different accounts: the account is part of the identity.
    if traced.traces.len() > 1 {
        json["others"] = traced.traces[1..].iter().map(|trace| one(trace).0).collect();
    }
    Finished { report: Some(Report { human: human.join("\n"), json }), status }
}

fn one(trace: &Trace) -> (Value, u8) {
    let Trace { id, from, to, amount, .. } = trace;
    let (mut json, status) = match decided(trace) {
        Some(outcome) => {
            let status = u8::from(matches!(outcome, Outcome::Refused(_)));
            (outcome_json(*id, &outcome), status)
        }
        None => (unknown_json(*id, "pending", PENDING), 4),
    };
    match trace.opens() {
        Some(account) => json["open"] = json!(account),
        None => (json["from"], json["to"], json["amount"]) = (json!(from), json!(to), json!(amount)),
    }
    (json, status)
}

const PENDING: &str = "its home has it, and decides with the next settlement";

fn decided(trace: &Trace) -> Option<Outcome> {
    match &trace.verdict {
        Verdict::Approved(approval) => Some(Outcome::Approved(*approval)),
        Verdict::Refused(reason) => Some(Outcome::Refused(reason.clone())),
        Verdict::Pending => None,
    }
}

fn line(trace: &Trace) -> String {
    let told = decided(trace).map_or_else(|| format!("unknown: {PENDING}"), |outcome| sentence(&outcome));
    let asked = match trace.opens() {
        Some(account) => opening_text(account),
        None => transfer_text(trace.from, trace.to, trace.amount),
    };
    format!("{asked}  {told}")
}

/// No node that was heard has seen it. Only where all were heard does that say something.
fn unseen(id: TransferId, traced: &Traced) -> Finished {
    let missing = nodes_text(traced.not_heard.keys());
    let (code, message) = match missing.is_empty() {
        true => ("not_seen", "all nodes were heard, and none has seen this id".to_owned()),
        false => {
            let seen = format!("none of the nodes that were heard has seen this id; not heard: {missing}");
            ("not_all_heard", seen)
        }
    };
    let human = format!("unknown: {message}\nid {id}");
    let mut json = unknown_json(id, code, &message);
    json["reason"]["not_heard"] = traced.not_heard.keys().map(|node| json!(node)).collect();
    Finished { report: Some(Report { human, json }), status: 4 }
}
