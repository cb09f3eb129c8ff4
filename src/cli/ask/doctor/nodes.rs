//! The bank that runs: which nodes answer, how they are, and whether they agree.

use std::collections::BTreeMap;

use super::Findings;
use crate::client::{Client, NodeError, State, Status, StatusReport};
use crate::render::nodes_text;
use crate::types::{Height, NodeId};

const AWAY: &str = "start it, or see whether its client port can be reached from here";
const VERSIONS: &str = "run this program in the version of the nodes";

pub(super) async fn look(client: &Client, findings: &mut Findings) {
    match client.status().await {
        Ok(report) => all(&report, findings),
        Err(error) => match error.node_error().as_deref() {
            Some(NodeError::Nobody { failed }) => failed.iter().for_each(|error| unheard("node", error, findings)),
            Some(error) => unheard("node", error, findings),
            None => findings.problem("nodes", error.to_string(), None),
        },
    }
}

fn all(report: &StatusReport, findings: &mut Findings) {
    let heard: Vec<&Status> = report.nodes.values().flatten().collect();
    let mut failed = report.failed.clone();
    for (node, status) in &report.nodes {
        let subject = format!("node {node}");
        match status {
            Some(status) => one(&subject, status, report.nodes.len(), findings),
            None => match heard.iter().find_map(|status| failed.remove(status.homes.get(node)?.as_ref()?)) {
                Some(error) => unheard(&subject, &error, findings),
                None => findings.problem(&subject, "nobody knows where it listens for clients", AWAY),
            },
        }
    }
    for (address, error) in &failed {
        unheard(address, error, findings);
    }
    let ready = heard.iter().filter(|status| status.state == State::Ready).count();
    let majority = report.nodes.len() / 2 + 1;
    match ready < majority {
        true => {
            let message = format!("{ready} of {} nodes are ready, {majority} are needed", report.nodes.len());
            findings.problem("bank", message, "nothing is settled until more of them are up");
        }
        false => findings.ok("bank", format!("{ready} of {} nodes are ready", report.nodes.len())),
    }
    agreement(&heard, findings);
}

/// A node that gave no answer.
fn unheard(subject: &str, error: &NodeError, findings: &mut Findings) {
    let advice = match error {
        NodeError::Version { .. } => VERSIONS,
        NodeError::WrongCluster { .. } | NodeError::WrongNode { .. } => "mend the addresses in --nodes",
        _ => AWAY,
    };
    findings.problem(subject, error.to_string(), advice);
}

fn one(subject: &str, status: &Status, nodes: usize, findings: &mut Findings) {
    let Status { state, height, behind, reason, .. } = status;
    let reason = reason.as_deref();
    match state {
        State::Stopped => {
            let advice = "look whether it was started with the right store; the others go on without it";
            return findings.problem(subject, format!("stopped for good: {}", reason.unwrap_or("no reason")), advice);
        }
        State::Baby => {
            let message = format!("new, and waits for its peers: {}", reason.unwrap_or("not all know it yet"));
            findings.warning(subject, message, "start all nodes of the bank");
        }
        State::Zombie => {
            let message = format!("catches up from height {height}, {behind} blocks behind");
            findings.warning(subject, message, "wait; if that does not change, look at its links");
        }
        State::Ready => match reason {
            Some(reason) => findings.warning(subject, reason, None),
            None => findings.ok(subject, format!("ready at height {height}, speaks the same version")),
        },
    }
    if *behind > 0 && *state == State::Ready {
        let message = format!("{behind} blocks behind the longest chain");
        findings.warning(subject, message, "wait; if that does not change, look at its links");
    }
    links(subject, status, nodes, findings);
    if status.store == "memory" {
        findings.warning(subject, "keeps everything in memory", "give it a --store, or its end is a lost disk");
    }
}

fn links(subject: &str, status: &Status, nodes: usize, findings: &mut Findings) {
    let missing: Vec<&NodeId> =
        status.homes.keys().filter(|peer| **peer != status.node && !status.peers_up.contains(*peer)).collect();
    if missing.is_empty() {
        return;
    }
    let message = format!("has no link with {}", nodes_text(missing.iter().copied()));
    let advice = "see whether they run; of two nodes, the one with the smaller name must reach the other's peer port";
    match status.peers_up.len() + 1 < nodes / 2 + 1 {
        true => findings.problem(subject, format!("{message}: it is without a majority"), advice),
        false => findings.warning(subject, message, advice),
    }
}

/// Nodes at one height have one tip.
fn agreement(heard: &[&Status], findings: &mut Findings) {
    let mut tips: BTreeMap<Height, &Status> = BTreeMap::new();
    for status in heard {
        let other = tips.entry(status.height).or_insert(status);
        if other.tip != status.tip {
            let message =
                format!("{} and {} hold different blocks at height {}", other.node, status.node, status.height);
            findings.problem("bank", message, "there are two histories: stop the nodes, and see paxbank verify");
        }
    }
}
