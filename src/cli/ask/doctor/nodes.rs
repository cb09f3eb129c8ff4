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
            let verb = if majority == 1 { "is" } else { "are" };
            let message = format!("{}, {majority} {verb} needed", ready_text(ready, report.nodes.len()));
            findings.problem("bank", message, "nothing is settled until more of them are up");
        }
        false => findings.ok("bank", ready_text(ready, report.nodes.len())),
    }
    agreement(&heard, findings);
    programs(&heard, findings);
    clocks(report, findings);
}

fn ready_text(ready: usize, nodes: usize) -> String {
    match nodes {
        1 => format!("{ready} of 1 node is ready"),
        _ => format!("{ready} of {nodes} nodes are ready"),
    }
}

fn blocks_behind(behind: u64) -> String {
    if behind == 1 { "1 block behind".to_owned() } else { format!("{behind} blocks behind") }
}

/// A node that gave no answer.
fn unheard(subject: &str, error: &NodeError, findings: &mut Findings) {
    let advice = match error {
        NodeError::Version { .. } => VERSIONS,
        NodeError::WrongNode { .. } => "mend the addresses in --nodes",
        NodeError::WrongCluster { .. } => {
            "mend the addresses in --nodes; if it should be the same bank, compare its --genesis, --opening and --peer \
             with the others'"
        }
        _ => AWAY,
    };
    findings.problem(subject, error.to_string(), advice);
}

fn one(subject: &str, status: &Status, nodes: usize, findings: &mut Findings) {
    let Status { state, height, behind, reason, .. } = status;
    let reason = reason.as_deref();
    match state {
        State::Stopped => {
            let advice = "look whether it was started with the right store";
            return findings.problem(subject, format!("stopped for good: {}", reason.unwrap_or("no reason")), advice);
        }
        State::Baby => {
            let message = reason.unwrap_or("it is new, and waits for its peers");
            findings.warning(subject, message, "start all nodes of the bank, and mend what keeps them apart");
        }
        State::Zombie => {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("catches up from height {height}, {}{why}", blocks_behind(*behind));
            findings.warning(subject, message, "wait; if that does not change, look at its links");
        }
        State::Ready => match reason {
            // It tells why it does less than its state promises: its store takes nothing, or no majority is there.
            Some(reason) => findings.problem(subject, reason, None),
            None => findings.ok(subject, format!("ready at height {height}, speaks the same version")),
        },
    }
    if *behind > 0 && *state == State::Ready {
        let message = format!("{} the longest chain", blocks_behind(*behind));
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

/// A version that only some nodes run is an update that was begun. Older programs do not tell theirs.
fn programs(heard: &[&Status], findings: &mut Findings) {
    let mut nodes: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    for status in heard {
        let program = status.program.as_deref().unwrap_or("an older version, which is not told");
        nodes.entry(program).or_default().push(status.node);
    }
    let told = heard.iter().any(|status| status.program.is_some());
    match nodes.len() {
        _ if !told => {}
        1 => findings.ok("bank", "all nodes that answer run the same version"),
        _ => {
            let each = |(program, nodes): (&&str, &Vec<NodeId>)| format!("{}: {program}", nodes_text(nodes));
            let message = format!(
                "not all nodes run the same version; {}",
                nodes.iter().map(each).collect::<Vec<_>>().join("; ")
            );
            let advice = "finish the update: restart the others with the newer program, one after the other";
            findings.warning("bank", message, advice);
        }
    }
}

/// More than the clocks of machines that keep time differ, in milliseconds.
const CLOCKS_APART_MAX: u64 = 5_000;

const CLOCKS: &str =
    "have the machines keep time (NTP); a node's clock only labels the lines of its log, and decides nothing";

fn clocks(report: &StatusReport, findings: &mut Findings) {
    let before = findings.0.len();
    for (node, clock) in &report.clocks {
        if clock.apart_ms() > CLOCKS_APART_MAX {
            let side = if clock.least_ms > 0 { "ahead of" } else { "behind" };
            let message = format!("its clock is {} {side} this machine's", seconds(clock.apart_ms()));
            findings.warning(&format!("node {node}"), message, CLOCKS);
        }
    }
    // Of two nodes, only what both delays leave over is certain.
    let first = report.clocks.iter().min_by_key(|(_, clock)| clock.most_ms);
    let last = report.clocks.iter().max_by_key(|(_, clock)| clock.least_ms);
    let (Some((slow, behind)), Some((fast, ahead))) = (first, last) else { return };
    let apart = ahead.least_ms.saturating_sub(behind.most_ms).max(0).unsigned_abs();
    if apart > CLOCKS_APART_MAX {
        let message = format!("the clock of {fast} is {} ahead of that of {slow}", seconds(apart));
        findings.warning("bank", message, CLOCKS);
    }
    if findings.0.len() == before {
        findings.ok("bank", "the clocks of the nodes that tell them agree with this machine's");
    }
}

/// What is certain of a difference.
fn seconds(ms: u64) -> String {
    format!("at least {} s", ms / 1_000)
}
