//! `paxbank export`: the whole chain as a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::archive::{block_line, genesis_line};
use super::feed::{Feed, Trouble};
use super::{Deadline, Nodes};
use crate::cli::signals::Signals;
use crate::cli::{Failure, Finished, Output, Report, say};
use crate::client::{Client, ClientError, State};
use crate::ledger::{Genesis, Replay};
use crate::types::Height;

const EXAMPLES: &str = "Examples:
  paxbank export bank.jsonl
  paxbank export - | gzip > bank.jsonl.gz
  paxbank import bank.jsonl --compare          what it holds, and whether the nodes hold the same";

const NOTES: &str = "\
The file holds the genesis and every block up to the height that the longest chain had at the beginning, a line of
JSON each (docs/export.md). Every block is verified as it is written. The blocks come from any nodes; where one goes
away, another one is asked.

The file gets its name when it is whole, and on the disk: under that name there is never half a chain.

Exit status: 0 written, 2 wrong use, or the file cannot be written, 3 no node reachable that could answer, 5 a node
tells what is no chain, 130 interrupted.";

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Writes the whole chain into a file, verified.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct Export {
    /// The file to write; - is stdout.
    file: PathBuf,
    /// Write over a file that is there already.
    #[arg(long)]
    force: bool,
    /// How long to try for the next blocks before giving up: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

/// What was written.
struct Written {
    replay: Replay,
    genesis: Genesis,
    entries: usize,
}

impl Export {
    pub(super) async fn run(self, output: Output) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let to_stdout = self.file.as_os_str() == "-";
        if to_stdout && output == Output::Json {
            let message =
                "the file would be mixed with the one JSON value on stdout; give a file, or leave --output json away";
            return Err(Failure::usage(message));
        }
        let mut signals = Signals::new()?;
        let written = async {
            if to_stdout {
                let write = |line: &str| {
                    say(line);
                    Ok(())
                };
                return self.write(&client, write).await;
            }
            let mut partial = Partial::new(&self.file, self.force)?;
            let written = self.write(&client, |line| partial.line(line)).await?;
            partial.finish()?;
            Ok(written)
        };
        let written = tokio::select! {
            biased;
            signal = signals.next() => {
                let message = format!("{signal}: the chain was not written to its end");
                return Err(Failure { code: "interrupted", status: 130, message });
            }
            written = written => written?,
        };
        let report = written.report(&self.file);
        if to_stdout {
            eprintln!("paxbank: {}", report.human);
            return Ok(Finished { report: None, status: 0 });
        }
        Ok(report.into())
    }

    /// Has all lines written, in their order.
    async fn write(
        &self,
        client: &Client,
        mut write: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<Written, Failure> {
        let within = self.deadline.deadline;
        let genesis = client.genesis(None, within).await?.told;
        let last = longest(client).await?;
        write(&genesis_line(&genesis, last)?)?;
        let mut feed = Feed::new(client.clone(), Height(1), Some(genesis.id()));
        let (mut replay, mut entries) = (Replay::new(&genesis), 0);
        let (mut heard, mut pause) = (Instant::now(), PAUSE_MIN);
        while replay.height() < last {
            let blocks = match feed.poll(Some(last)).await {
                Ok(blocks) => blocks,
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing(error)) if heard.elapsed() >= within => return Err(error.into()),
                Err(Trouble::Passing(_)) => Vec::new(),
            };
            if blocks.is_empty() {
                if heard.elapsed() >= within {
                    return Err(unheard(feed.next()));
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            (heard, pause) = (Instant::now(), PAUSE_MIN);
            for block in &blocks {
                feed.step(block)?;
                replay.apply(block).map_err(|what| Failure::damage(format!("block {}: {what}", block.height())))?;
                entries += block.entry_count();
                write(&block_line(block)?)?;
            }
        }
        Ok(Written { replay, genesis, entries })
    }
}

/// The height of the longest chain of a node that serves it.
async fn longest(client: &Client) -> Result<Height, ClientError> {
    let report = client.status().await?;
    let ready = report.nodes.values().flatten().filter(|status| status.state == State::Ready);
    Ok(ready.map(|status| status.height).max().unwrap_or_default())
}

fn unheard(height: Height) -> Failure {
    let message = format!("no node that answers has block {height} any more; try again when all nodes are up");
    Failure { code: "no_node", status: 3, message }
}

impl Written {
    fn report(&self, file: &Path) -> Report {
        let Self { replay, genesis, entries } = self;
        let (height, tip) = (replay.height(), replay.tip());
        let human = format!("{}: {height} blocks with {entries} entries, tip {}", file.display(), tip.short());
        let json = json!({
            "file": file.display().to_string(), "cluster": genesis.id(), "height": height, "tip": tip,
            "entries": entries,
        });
        Report { human, json }
    }
}

/// A file that gets its name when it is whole. Where it is not, nothing of it stays.
struct Partial<'a> {
    file: &'a Path,
    force: bool,
    partial: PathBuf,
    writer: BufWriter<File>,
}

impl<'a> Partial<'a> {
    fn new(file: &'a Path, force: bool) -> Result<Self, Failure> {
        let shown = file.display();
        let Some(name) = file.file_name().filter(|_| !file.is_dir()) else {
            return Err(Failure::usage(format!("{shown} is a directory; give the name of a file in it")));
        };
        refuse(file, force)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let partial = file.with_file_name(hidden);
        let created = File::create_new(&partial).map_err(|error| cannot(file, &error))?;
        Ok(Self { file, force, partial, writer: BufWriter::new(created) })
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.writer, "{line}").map_err(|error| cannot(self.file, &error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        // Another process may have written it meanwhile.
        refuse(self.file, self.force)?;
        let on_disk = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        let named = on_disk.and_then(|()| std::fs::rename(&self.partial, self.file)).and_then(|()| sync(self.file));
        named.map_err(|error| cannot(self.file, &error))
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // After the renaming there is nothing to remove.
        drop(std::fs::remove_file(&self.partial));
    }
}

/// Makes the file's new name durable.
fn sync(file: &Path) -> std::io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn refuse(file: &Path, force: bool) -> Result<(), Failure> {
    let Ok(found) = file.symlink_metadata() else { return Ok(()) };
    let shown = file.display();
    if !found.is_file() {
        // The new file would take the place of a device, a pipe or a link, whoever else uses it.
        return Err(Failure::usage(format!(
            "{shown} is no file but something else; give another name, or - for stdout"
        )));
    }
    if force {
        Ok(())
    } else {
        Err(Failure::usage(format!("{shown} is there already; give another name, or --force to write over it")))
    }
}

fn cannot(file: &Path, error: &std::io::Error) -> Failure {
    let message = format!(
        "{} cannot be written: {error}; give a file in a directory that is there, where you may write, with room",
        file.display()
    );
    Failure::usage(message)
}
