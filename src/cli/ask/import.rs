//! `paxbank import`: what an exported chain holds, and whether the nodes hold the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::archive::Archive;
use super::run::shown;
use super::verify::Fault;
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Report};
use crate::client::{Client, ClientError, ClientOptions};
use crate::render::{balances_json, balances_text};
use crate::types::{Hash, Height, NodeId};

const EXAMPLES: &str = "Examples:
  paxbank import bank.jsonl
  paxbank import bank.jsonl --compare --nodes 127.0.0.1:8001,127.0.0.1:8002
  gunzip -c bank.jsonl.gz | paxbank import -";

const NOTES: &str = "\
The whole file is computed again: the bank's id, every hash, every parent, every state, every entry, and that no
money is made or lost. It writes into no node's store, and nothing does: a node promises more than its chain tells
(its votes, its own log), so that a store put together from elsewhere is a lost disk.

Exit status: 0 intact, and with --compare no node that was heard holds another block; 2 wrong use, or another bank;
3 no node reachable to compare with; 5 the file is damaged (the first fault is named by its line), or a node holds
another block.";

/// Verifies an exported chain and tells what it holds. Writes into no store.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct Import {
    /// A file that paxbank export wrote; - reads stdin.
    file: PathBuf,
    /// Compare it with the chains of all nodes that can be reached.
    #[arg(long)]
    compare: bool,
    /// How long to try to reach the nodes, all at the same time, and then for each page: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

/// How the chain of a node is to that of the file.
enum Relation {
    Equal,
    /// The node has so many blocks more.
    Longer(u64),
    /// The file has so many blocks more.
    Prefix(u64),
    /// They hold different blocks at this height.
    Different(Height),
}

#[derive(Default)]
struct Compared {
    nodes: BTreeMap<NodeId, Relation>,
    not_heard: BTreeMap<NodeId, ClientError>,
}

impl Import {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let name = shown(&self.file);
        let archive = match self.file.as_os_str() == "-" {
            true => Archive::read(&name, stdin().lock())?,
            false => {
                let opened = File::open(&self.file);
                let cannot = |error| Failure::usage(format!("cannot read {name}: {error}; was it exported there?"));
                Archive::read(&name, BufReader::new(opened.map_err(cannot)?))?
            }
        };
        let compared = if self.compare { Some(self.compare(&archive).await?) } else { None };
        Ok(finished(&name, &archive, compared.as_ref()))
    }

    async fn compare(&self, archive: &Archive) -> Result<Compared, Failure> {
        let options = ClientOptions { cluster: Some(archive.genesis.id()), ..ClientOptions::default() };
        let client = self.nodes.client_with(options)?;
        let (geneses, missing) = client.geneses(self.deadline.deadline).await?;
        let mut compared = Compared::default();
        for (node, error) in missing {
            compared.missed(node, error)?;
        }
        for node in geneses.into_keys() {
            match self.relation(&client, node, archive.replay.hashes()).await {
                Ok(relation) => drop(compared.nodes.insert(node, relation)),
                Err(error) => compared.missed(node, error)?,
            }
        }
        match compared.not_heard.values().next() {
            Some(error) if compared.nodes.is_empty() => Err(error.clone().into()),
            _ => Ok(compared),
        }
    }

    async fn relation(&self, client: &Client, node: NodeId, hashes: &[Hash]) -> Result<Relation, ClientError> {
        let last = hashes.len() as u64 - 1;
        // Of a file without blocks, too, a page is asked for: with it comes how far the node is.
        let mut pages = client.chain(Some(node), Height(1), Some(Height(last.max(1))), self.deadline.deadline);
        let mut compared = 1;
        while let Some(page) = pages.next().await? {
            let known = page.iter().filter(|block| block.height().0 <= last);
            let mut pairs = known.zip(&hashes[compared..]);
            if let Some((block, _)) = pairs.find(|(block, hash)| block.hash() != **hash) {
                return Ok(Relation::Different(block.height()));
            }
            compared = (compared + page.len()).min(hashes.len());
        }
        let height = pages.height().unwrap_or_default().0;
        Ok(match height.checked_sub(last) {
            Some(0) => Relation::Equal,
            Some(more) => Relation::Longer(more),
            None => Relation::Prefix(last - height),
        })
    }
}

impl Compared {
    /// Takes over that a node could not be compared with; what it tells may be damage.
    fn missed(&mut self, node: NodeId, error: ClientError) -> Result<(), Failure> {
        match Fault::of(node, error) {
            Fault::Damage(failure) => Err(failure),
            Fault::NotHeard(error) => {
                self.not_heard.insert(node, error);
                Ok(())
            }
        }
    }

    fn is_different(&self) -> bool {
        self.nodes.values().any(|relation| matches!(relation, Relation::Different(_)))
    }
}

impl Relation {
    fn sentence(&self) -> String {
        match self {
            Self::Equal => "holds the same chain".to_owned(),
            Self::Longer(more) => format!("holds the same chain, and {more} blocks more"),
            Self::Prefix(more) => format!("holds the same chain without the last {more} blocks"),
            Self::Different(height) => format!("holds another block at height {height}: two histories"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Equal => json!({ "chain": "equal" }),
            Self::Longer(more) => json!({ "chain": "longer", "blocks": more }),
            Self::Prefix(more) => json!({ "chain": "prefix", "blocks": more }),
            Self::Different(height) => json!({ "chain": "different", "height": height }),
        }
    }
}

fn finished(name: &str, archive: &Archive, compared: Option<&Compared>) -> Finished {
    let Archive { genesis, replay, entries } = archive;
    let bank = replay.bank();
    let (height, tip, id) = (bank.height(), bank.tip(), genesis.id());
    let mut lines = vec![
        format!("{name}: intact, {height} blocks with {entries} entries, tip {}", tip.short()),
        format!("bank {id}"),
        format!("settled: {}; {} in all", balances_text(bank.balances().iter()), genesis.total()),
    ];
    let mut json = json!({
        "file": name, "cluster": id, "height": height, "tip": tip, "entries": entries, "total": genesis.total(),
        "settled": balances_json(bank.balances().iter()),
    });
    let mut status = 0;
    if let Some(compared) = compared {
        lines.extend(compared.nodes.iter().map(|(node, relation)| format!("{node}  {}", relation.sentence())));
        lines.extend(compared.not_heard.iter().map(|(node, error)| format!("{node}  not heard: {error}")));
        let nodes = compared.nodes.iter().map(|(node, relation)| (node.to_string(), relation.json()));
        json["nodes"] = nodes.collect::<serde_json::Map<_, _>>().into();
        let not_heard = compared.not_heard.iter().map(|(node, error)| (node.to_string(), json!(error.to_string())));
        json["not_heard"] = not_heard.collect::<serde_json::Map<_, _>>().into();
        status = if compared.is_different() { 5 } else { 0 };
    }
    Finished { report: Some(Report { human: lines.join("\n"), json }), status }
}
