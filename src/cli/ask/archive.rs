//! The file of an exported chain: lines of JSON, the genesis first, then a block each (docs/export.md).

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cli::Failure;
use crate::ledger::{Action, Block, Entry, Genesis, Operation, Replay, Run};
use crate::render::entries;
use crate::text::brief;
use crate::types::{AccountId, Amount, Hash, Height, NodeId, Seq};

/// The version of the file's form.
const FORMAT: u32 = 1;
/// What an export begins with.
const HEADER: &[u8] = b"{\"format\":";
/// Longest line: a block of the largest reply, each byte of which takes less than four here.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// What the first line of every format tells.
#[derive(Deserialize)]
struct FormatLine {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenesisLine {
    format: u32,
    cluster: Hash,
    /// How many lines follow: without it, a file whose end is missing would be a shorter chain.
    height: Height,
    nodes: Vec<NodeId>,
    opening: BTreeMap<AccountId, Amount>,
}

/// As `paxbank chain` shows a block, and the state, without which nobody could compute its hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockLine {
    height: Height,
    hash: Hash,
    parent: Hash,
    state: Hash,
    entries: Vec<EntryLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    origin: NodeId,
    seq: Seq,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<AccountId>,
}

/// The first line of a file that holds the chain up to `height`.
pub(super) fn genesis_line(genesis: &Genesis, height: Height) -> Result<String, Failure> {
    let nodes = genesis.nodes().iter().copied().collect();
    text(&GenesisLine { format: FORMAT, cluster: genesis.id(), height, nodes, opening: genesis.opening().clone() })
}

/// The line of a block.
pub(super) fn block_line(block: &Block) -> Result<String, Failure> {
    let entries = entries(block).map(|entry| EntryLine::of(&entry)).collect();
    let (height, hash, parent, state) = (block.height(), block.hash(), block.parent(), block.state());
    text(&BlockLine { height, hash, parent, state, entries })
}

fn text(line: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(line).map_err(|error| Failure::usage(format!("a line cannot be written as JSON: {error}")))
}

impl EntryLine {
    fn of(Entry { origin, seq, operation }: &Entry) -> Self {
        let (from, to, amount, open) = match operation.action {
            Action::Transfer { from, to, amount } => (Some(from), Some(to), Some(amount), None),
            Action::Open { account } => (None, None, None, Some(account)),
        };
        Self { origin: *origin, seq: *seq, id: operation.id.to_string(), from, to, amount, open }
    }

    fn operation(&self) -> Result<Operation, String> {
        let action = match (self.from, self.to, self.amount, self.open) {
            (Some(from), Some(to), Some(amount), None) => Action::Transfer { from, to, amount },
            (None, None, None, Some(account)) => Action::Open { account },
            _ => {
                let Self { origin, seq, .. } = self;
                return Err(format!(
                    "entry {origin}:{seq} is neither a transfer (from, to, amount) nor an opening (open)"
                ));
            }
        };
        Ok(Operation { id: self.id.parse().map_err(|error| format!("{error}"))?, action })
    }
}

impl BlockLine {
    /// The block of which this tells. Its hash is computed of the rest.
    fn block(self) -> Result<Block, String> {
        let mut runs: Vec<Run> = Vec::new();
        for entry in &self.entries {
            let (origin, seq, operation) = (entry.origin, entry.seq, entry.operation()?);
            match runs.last_mut().filter(|run| run.origin == origin) {
                Some(run) if seq.0.checked_sub(run.first.0) == Some(run.operations.len() as u64) => {
                    run.operations.push(operation);
                }
                Some(_) => return Err(format!("entry {origin}:{seq} does not follow on the one before it")),
                None => runs.push(Run { origin, first: seq, operations: vec![operation] }),
            }
        }
        let block = Block::new(self.height, self.parent, self.state, runs).map_err(|error| error.to_string())?;
        if block.hash() != self.hash {
            return Err(format!(
                "block {} carries the hash {}, its content has {}",
                self.height,
                self.hash,
                block.hash()
            ));
        }
        Ok(block)
    }
}

/// A whole file, found intact.
pub(super) struct Archive {
    pub(super) genesis: Genesis,
    /// Its chain.
    pub(super) replay: Replay,
    /// How many entries its blocks hold.
    pub(super) entries: usize,
}

impl Archive {
    /// Reads and verifies a file: every hash, every parent, every state, every entry, the sum of all balances, and that
    /// nothing is missing at its end. `name` is what messages call it; they say in which line the first fault is.
    pub(super) fn read(name: &str, input: impl BufRead) -> Result<Self, Failure> {
        Self::read_each(name, input, |_, _| Ok(()))
    }

    /// The same; `each` gets every block once it is verified.
    pub(super) fn read_each(
        name: &str,
        input: impl BufRead,
        mut each: impl FnMut(&Genesis, &Arc<Block>) -> Result<(), String>,
    ) -> Result<Self, Failure> {
        let mut lines = Lines { name, input, number: 0, buffer: Vec::new() };
        if !lines.next()? {
            return Err(Failure::usage(format!("{name} is empty; give a file that paxbank export wrote")));
        }
        lines.is_header()?;
        // Alone, and before the rest: a later format may have other fields.
        let first: FormatLine = lines.parse("the genesis of an exported chain")?;
        if first.format > FORMAT {
            let message =
                format!("{name} has format {}, this program reads up to {FORMAT}; use a newer one", first.format);
            return Err(Failure::usage(message));
        }
        let first: GenesisLine = lines.parse("the genesis of an exported chain")?;
        let genesis = Genesis::new(first.nodes, first.opening).map_err(|error| lines.damage(&error.to_string()))?;
        if genesis.id() != first.cluster {
            let what = format!("it names the bank {}, its nodes and balances make {}", first.cluster, genesis.id());
            return Err(lines.damage(&what));
        }
        let (mut replay, mut entries) = (Replay::new(&genesis), 0);
        while lines.next()? {
            let line: BlockLine = lines.parse("a block")?;
            if replay.height() == first.height {
                return Err(lines.damage(&format!("the first line says that block {} is the last", first.height)));
            }
            let block = Arc::new(line.block().map_err(|what| lines.damage(&what))?);
            replay.apply(&block).map_err(|what| lines.damage(&format!("block {}: {what}", block.height())))?;
            entries += block.entry_count();
            each(&genesis, &block).map_err(|what| lines.damage(&what))?;
        }
        if replay.height() != first.height {
            let (last, here) = (first.height, replay.height());
            return Err(
                lines.damage(&format!("the file ends after block {here}, its first line says {last}: it was cut"))
            );
        }
        Ok(Self { genesis, replay, entries })
    }
}

/// The lines of a file, one of them in memory.
struct Lines<'a, R> {
    name: &'a str,
    input: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<'_, R> {
    /// Goes to the next line; false at the end.
    fn next(&mut self) -> Result<bool, Failure> {
        self.buffer.clear();
        self.number += 1;
        let read = self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer);
        read.map_err(|error| Failure::usage(format!("{}, line {}: cannot be read: {error}", self.name, self.number)))?;
        Ok(!self.buffer.is_empty())
    }

    /// A file whose first line has nothing of a header never was an export: it is the wrong one, not a damaged one.
    fn is_header(&self) -> Result<(), Failure> {
        if self.buffer.starts_with(HEADER) || serde_json::from_slice::<FormatLine>(&self.buffer).is_ok() {
            return Ok(());
        }
        let name = self.name;
        Err(Failure::usage(format!(
            "{name} is no exported chain: its first line does not begin as one; was it exported?"
        )))
    }

    /// The line, which must be `what`.
    fn parse<T: for<'de> Deserialize<'de>>(&self, what: &str) -> Result<T, Failure> {
        let wrong = |error: serde_json::Error| match error.is_eof() && !self.buffer.ends_with(b"\n") {
            true => self.damage("the file ends inside of this line: it was cut"),
            false => self.damage(&format!("this is not {what}: {}", reason(&error))),
        };
        serde_json::from_slice(&self.buffer).map_err(wrong)
    }

    fn damage(&self, what: &str) -> Failure {
        Failure::damage(format!("{}, line {}: {what}", self.name, self.number))
    }
}

/// Longest reason, in characters: it may repeat what stands in the file.
const REASON_MAX: usize = 300;

/// What the parser says, with the column alone: its line is always the first.
fn reason(error: &serde_json::Error) -> String {
    let text = brief(&error.to_string(), REASON_MAX);
    match text.split_once(" at line ") {
        Some((what, _)) => format!("{what}, at column {}", error.column()),
        None => text,
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
