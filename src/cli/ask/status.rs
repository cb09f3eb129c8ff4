//! `paxbank status`: how all nodes are.

use clap::Args;
use serde_json::{Value, json};

use super::Nodes;
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, Status, StatusReport};
use crate::render::nodes_text;
use crate::types::NodeId;

const EXAMPLES: &str = "Examples:
  paxbank status --nodes 127.0.0.1:8001,127.0.0.1:8002
  paxbank status --output json";

const NOTES: &str = "\
Each address is asked once, all at the same time, for two seconds at most. A node is a baby until every peer has
said that it knows it, a zombie while it catches up, ready when it serves clients, stopped when it stopped for good.

Exit status: 0 where any node answers, else 3.";

/// Tells how the nodes are.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct ShowStatus {
    #[command(flatten)]
    nodes: Nodes,
}

impl ShowStatus {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        ask(&self.nodes.client()?).await
    }
}

/// Asks all nodes.
pub(super) async fn ask(client: &Client) -> Result<Finished, Failure> {
    Ok(report(&client.status().await?).into())
}

fn report(report: &StatusReport) -> Report {
    let nodes = report.nodes.iter().map(|(node, status)| (node.to_string(), json_of(status.as_ref())));
    let failed = report.failed.iter().map(|(address, error)| (address.clone(), json!(error.to_string())));
    let json = json!({
        "nodes": nodes.collect::<serde_json::Map<_, _>>(),
        "failed": failed.collect::<serde_json::Map<_, _>>(),
    });
    let mut human = table(report);
    for status in report.nodes.values().flatten() {
        if let Some(reason) = &status.reason {
            human.push_str(&format!("\n{}, {}: {reason}", status.node, status.state.name()));
        }
    }
    for error in report.failed.values() {
        human.push_str(&format!("\n{error}"));
    }
    Report { human, json }
}

fn json_of(status: Option<&Status>) -> Value {
    let Some(status) = status else {
        return json!({
            "state": "unreachable", "height": null, "tip": null, "log": null, "ballot": null, "peers_up": null,
            "store": null, "behind": null, "program": null, "clock_ms": null, "writes": null,
        });
    };
    let mut json = json!({
        "state": status.state.name(),
        "height": status.height,
        "tip": status.tip,
        "log": status.log,
        "ballot": status.ballot.map(|ballot| ballot.to_string()),
        "peers_up": status.peers_up,
        "store": status.store,
        "behind": status.behind,
        "program": status.program,
        "clock_ms": status.clock_ms,
        "writes": status.writes,
    });
    if let Some(reason) = &status.reason {
        json["reason"] = json!(reason);
    }
    json
}

/// Aligned columns.
fn table(report: &StatusReport) -> String {
    let head = ["node", "state", "height", "behind", "tip", "log", "ballot", "peers up", "store"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(report.nodes.iter().map(|(node, status)| row(node, status.as_ref())));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 9]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(node: &NodeId, status: Option<&Status>) -> [String; 9] {
    let unknown = || "-".to_owned();
    let Some(status) = status else {
        let mut row = [(); 9].map(|()| unknown());
        (row[0], row[1]) = (node.to_string(), "unreachable".to_owned());
        return row;
    };
    let peers = nodes_text(&status.peers_up);
    [
        node.to_string(),
        status.state.name().to_owned(),
        status.height.to_string(),
        status.behind.to_string(),
        status.tip.short(),
        status.log.map_or_else(unknown, |log| log.to_string()),
        status.ballot.map_or_else(unknown, |ballot| ballot.to_string()),
        if peers.is_empty() { "none".to_owned() } else { peers },
        status.store.clone(),
    ]
}
