//! `paxbank check-history`: what clients were told, held against what the bank holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::archive::Archive;
use super::run::shown;
use super::verify::Fault;
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, ClientError};
use crate::history::{self, Chain, Evidence, Exempt, History, Judged, Outcome, Violation, Witness};
use crate::ledger::{Entry, Genesis};
use crate::render::nodes_text;
use crate::types::{Height, NodeId};

const EXAMPLES: &str = "Examples:
  paxbank check-history history.jsonl
  paxbank check-history history.jsonl --complete --nodes 127.0.0.1:8001,127.0.0.1:8002
  paxbank check-history history.jsonl --export bank.jsonl      without nodes, against an exported chain
  paxbank run transfers.txt --history run.jsonl && paxbank check-history run.jsonl";

const NOTES: &str = "\
A history has a line of JSON for each call of a client, with the moments of call and return (docs/history.md). The
chains and unsettled logs of all nodes that can be reached are fetched and computed again. Then: each approved
transfer is there once, as it was told; a refused one never; one of unknown outcome at most once; the same id has one
outcome; entries of a home are in the order in which clients heard of them; a refusal, and a fresh read, count what
was approved before; each amount that was told could be spent at that height, between call and return.

What a node that is not reached approved and did not settle is not known: answers that rest on it are counted as not
judged. Check when all clients are through; the bank may be in use.

Exit status: 0 nothing contradicts the bank, 2 wrong use, or the file is no history (the first wrong line is named),
3 no node reachable, 5 violations, or a chain that is damaged.";

/// The most violations that are shown to people.
const SHOWN: usize = 20;

/// Holds what clients were told against what the bank holds.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct CheckHistory {
    /// The history; - reads stdin.
    file: PathBuf,
    /// Nobody else ever asked this bank for anything: what is in the chain must be in the history.
    #[arg(long)]
    complete: bool,
    /// Nodes whose store was lost meanwhile, with commas between them: what they had not settled is gone.
    #[arg(long, value_name = "NODE,...", value_delimiter = ',')]
    lost: Vec<NodeId>,
    /// Compare with a chain that paxbank export wrote, and ask no node, whether or not any are named.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// How long to try to reach the nodes, all at the same time, and then for each page: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

/// What the bank holds, as far as it was heard.
struct Found {
    chain: Chain,
    logs: BTreeMap<NodeId, Vec<Entry>>,
    not_heard: BTreeSet<NodeId>,
}

impl CheckHistory {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let name = shown(&self.file);
        let mut history = History { complete: self.complete, ..History::default() };
        let lines = history::read(opened(&self.file)?, &mut history)
            .map_err(|error| Failure::usage(format!("{name}, {error}")))?;
        if lines == 0 {
            return Err(Failure::usage(format!("{name} is empty: no call, so nothing to check")));
        }
        let found = match &self.export {
            Some(file) => exported(file)?,
            None => gather(&self.nodes.client()?, self.deadline.deadline).await?,
        };
        if let Some(strange) = self.lost.iter().find(|node| !found.chain.tip().watermarks().contains_key(node)) {
            return Err(Failure::usage(format!("--lost: this bank has no node {strange}")));
        }
        let exempt = Exempt { destroyed: self.lost.into_iter().collect(), ..Exempt::default() };
        let (height, not_heard) = (found.chain.height(), found.not_heard.clone());
        let evidence = Evidence { chain: &found.chain, logs: found.logs, not_heard: found.not_heard };
        let witness = Witness::new(&history, evidence, &exempt);
        let summary = Summary::of(lines, &history, &witness, height, not_heard);
        Ok(summary.finished(&witness.judge()))
    }
}

fn opened(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let cannot = |error| Failure::usage(format!("cannot read {}: {error}", file.display()));
    Ok(Box::new(BufReader::new(File::open(file).map_err(cannot)?)))
}

/// A chain out of a file: nobody tells what is in the logs.
fn exported(file: &Path) -> Result<Found, Failure> {
    let mut chain = None;
    let archive = Archive::read_each(&shown(file), opened(file)?, |genesis, block| {
        chain.get_or_insert_with(|| Chain::new(genesis)).append(block).map_err(|fault| fault.to_string())
    })?;
    let chain = chain.unwrap_or_else(|| Chain::new(&archive.genesis));
    Ok(Found { chain, logs: BTreeMap::new(), not_heard: archive.genesis.nodes().clone() })
}

/// What all nodes hold that can be reached. The logs come first: an entry that is settled meanwhile is then in both, where
/// it would be in neither the other way round.
async fn gather(client: &Client, within: Duration) -> Result<Found, Failure> {
    let (geneses, missing) = client.geneses(within).await?;
    let mut last = None;
    for (node, error) in missing {
        last = Some(not_heard(node, error)?);
    }
    let mut logs = BTreeMap::new();
    for node in geneses.keys() {
        match log(client, *node, within).await {
            Ok(log) => drop(logs.insert(*node, log)),
            Err(error) => last = Some(not_heard(*node, error)?),
        }
    }
    let mut found: Option<(Genesis, Chain)> = None;
    for (node, genesis) in geneses {
        let (_, chain) = found.get_or_insert_with(|| (genesis.clone(), Chain::new(&genesis)));
        if let Err(fault) = extend(client, chain, node, within).await {
            last = Some(fault.or_not_heard()?);
            logs.remove(&node);
        }
    }
    match (found, last) {
        (Some((genesis, chain)), _) if !logs.is_empty() => {
            let not_heard = genesis.nodes().iter().filter(|node| !logs.contains_key(node)).copied().collect();
            Ok(Found { chain, logs, not_heard })
        }
        (_, Some(error)) => Err(error.into()),
        (_, None) => Err(Failure::usage("no node has told anything; are these addresses of a bank?")),
    }
}

fn not_heard(node: NodeId, error: ClientError) -> Result<ClientError, Failure> {
    Fault::of(node, error).or_not_heard()
}

async fn log(client: &Client, node: NodeId, within: Duration) -> Result<Vec<Entry>, ClientError> {
    let (mut pages, mut log) = (client.log(node, within), Vec::new());
    while let Some(page) = pages.next().await? {
        log.extend(page);
    }
    Ok(log)
}

/// Compares a node's chain with what is known, and takes over what it has more.
async fn extend(client: &Client, chain: &mut Chain, node: NodeId, within: Duration) -> Result<(), Fault> {
    let damage = |what: String| Fault::Damage(Failure::damage(what));
    let mut pages = client.chain(Some(node), Height(1), None, within);
    while let Some(page) = pages.next().await.map_err(|error| Fault::of(node, error))? {
        for block in page {
            let height = block.height();
            match chain.block(height) {
                Some(known) if known.hash() == block.hash() => {}
                Some(_) => {
                    return Err(damage(format!(
                        "{node} holds another block at height {height} than a node before: two histories"
                    )));
                }
                None => {
                    let fault = |fault| damage(format!("block {height} of node {node}: {fault}"));
                    chain.append(&block).map_err(fault)?;
                    if !chain.is_conserved() {
                        return Err(damage(format!(
                            "after block {height} the balances do not add up to the genesis sum"
                        )));
                    }
                }
            }
        }
    }
    Ok(())
}

/// What was checked.
#[derive(Default)]
struct Summary {
    lines: u64,
    approved: usize,
    settled: usize,
    refused: usize,
    /// Requests without an outcome, and how many of these were executed.
    unknown: usize,
    executed: usize,
    reads: usize,
    height: Height,
    not_heard: BTreeSet<NodeId>,
}

impl Summary {
    fn of(lines: u64, history: &History, witness: &Witness<'_>, height: Height, not_heard: BTreeSet<NodeId>) -> Self {
        let mut summary = Self { lines, reads: history.reads.len(), height, not_heard, ..Self::default() };
        for (identity, story) in &history.stories {
            let executed = witness.executed(identity);
            match &story.outcome {
                Some((Outcome::Approved(..), ..)) => {
                    summary.approved += 1;
                    summary.settled += usize::from(executed.iter().any(|(.., height)| height.is_some()));
                }
                Some((Outcome::Refused(_), ..)) => summary.refused += 1,
                None => {
                    summary.unknown += 1;
                    summary.executed += usize::from(!executed.is_empty());
                }
            }
        }
        summary
    }

    fn finished(self, judged: &Judged) -> Finished {
        let Judged { violations, open } = judged;
        let Self { lines, approved, settled, refused, unknown, executed, reads, height, not_heard } = self;
        let mut human = format!(
            "{lines} calls held against {height} blocks: {approved} approved ({settled} of them settled), {refused} refused, \
             {unknown} without an outcome ({executed} of them executed), {reads} balances read"
        );
        if !not_heard.is_empty() {
            human
                .push_str(&format!("\nlogs not known: {}; {open} answers could not be judged", nodes_text(&not_heard)));
        }
        human.push_str(&match violations.len() {
            0 => "\nNothing contradicts the bank.".to_owned(),
            count => format!("\n{count} violations:"),
        });
        violations.iter().take(SHOWN).for_each(|violation| human.push_str(&format!("\n  {violation}")));
        if violations.len() > SHOWN {
            human.push_str(&format!("\n  and {} more; --output json shows all", violations.len() - SHOWN));
        }
        let json = json!({
            "calls": lines, "height": height, "approved": approved, "settled": settled, "refused": refused,
            "unknown": unknown, "executed": executed, "reads": reads, "not_heard": not_heard, "not_judged": open,
            "violations": violations.iter().map(violation_json).collect::<Vec<_>>(),
        });
        let status = if violations.is_empty() { 0 } else { 5 };
        Finished { report: Some(Report { human, json }), status }
    }
}

fn violation_json(violation: &Violation) -> Value {
    let (account, id) = violation.about.unzip();
    let Violation { rule, what, .. } = violation;
    json!({ "code": rule.code(), "rules": rule.cites(), "account": account, "id": id, "what": what })
}
