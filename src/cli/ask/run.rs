//! `paxbank run`: a file of transfers.

use std::io::{IsTerminal as _, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::run_id::transfer_ids;
use super::transfer::{outcome_json, sentence, unknown_json};
use super::{Deadline, Nodes};
use crate::cli::{Failure, Finished, Output, Report, conclude};
use crate::client::{Client, ClientError, Outcome, Transfer};
use crate::ledger::Wait;
use crate::render::{nodes_text, transfer_text};
use crate::triplets::{self, Triplet};
use crate::types::TransferId;

const EXAMPLES: &str = "Examples:
  paxbank run transfers.txt
  printf '(A, B, 4)\\n(B, C, 12)   # comments are allowed\\n' | paxbank run -
  paxbank run transfers.txt --window 10000                          fast: the order between them is not kept
  paxbank run transfers.txt --run-id 01ARZ3NDEKTSV4RRFFQ69G5FAV     a second run sends nothing twice

The whole file is read before anything is sent. Each run has an id, told on stderr; the ids of its transfers are derived from
it and from what each transfer says. After an interruption, run the same file with the same --run-id: what was decided is
told again, the rest is sent. Where an outcome stays unknown, nothing more is sent. A home remembers a million ids: split
files that are longer.

Exit status: 0 all decided (a refusal is a result), 2 wrong use, 3 no node reachable, 4 an outcome is unknown.";

/// Runs a file of transfers, each after the one before.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct RunFile {
    /// One transfer per line, (FROM, TO, AMOUNT); blanks, empty lines and # comments are allowed. - reads stdin.
    file: PathBuf,
    /// How many transfers may be under way at once. With more than one, they are not decided in the order of the file.
    #[arg(long, value_name = "COUNT", default_value = "1")]
    window: NonZeroUsize,
    /// The id of the run to go on with, a ULID [default: a new one].
    #[arg(long, value_name = "ULID")]
    run_id: Option<TransferId>,
    /// How long to try for each transfer before giving up: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

/// One line of the file, and what came of it.
struct Line {
    transfer: Transfer,
    /// `None` where it was not sent, because of one before.
    result: Option<Result<Outcome, ClientError>>,
}

/// What came of all of them.
#[derive(Default)]
struct Summary {
    lines: Vec<Line>,
    approved: usize,
    refused: usize,
    unknown: usize,
}

impl RunFile {
    pub(super) async fn run(self, output: Output) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let text = read(&self.file)?;
        let shown = shown(&self.file);
        let wrong = |error| Failure::usage(format!("{shown}, {error}"));
        triplets::parse(&text, |_| true, "").map_err(wrong)?;
        let nodes = client.nodes(self.deadline.deadline).await?;
        let known = format!("accounts at {}", nodes_text(nodes.keys()));
        let transfers = triplets::parse(&text, |account| nodes.contains_key(&account.home()), &known).map_err(wrong)?;
        let run = self.run_id.unwrap_or_else(|| client.new_id());
        // Before anything is sent, and in every form: without it an interrupted run could only be begun anew.
        eprintln!("paxbank: run {run}; after an interruption, go on with --run-id {run}");
        let began = Instant::now();
        let summary = self.send(&client, &bodies(run, &transfers), output).await;
        let seconds = began.elapsed().as_secs_f64();
        Ok(summary.finished(run, seconds))
    }

    /// Sends them in slices, several of which are under way; tells the results in the order of the file.
    async fn send(&self, client: &Client, transfers: &[Transfer], output: Output) -> Summary {
        let window = self.window.get();
        let slice = (window / 4).max(1);
        let deadline = self.deadline.deadline;
        let bar = progress(transfers.len());
        let mut summary = Summary::default();
        let mut slices = transfers.chunks(slice);
        let mut flying = stream::FuturesOrdered::new();
        loop {
            // Nothing is sent behind one that may still be decided: a refusal for want of its money would be final.
            while flying.len() < window.div_ceil(slice) && summary.unknown == 0 {
                let Some(slice) = slices.next() else { break };
                flying.push_back(async move { (slice, client.transfers(slice, Wait::Local, deadline).await) });
            }
            let Some((slice, results)) = flying.next().await else { break };
            for (transfer, result) in slice.iter().zip(results) {
                let line = Line { transfer: *transfer, result: Some(result) };
                if output == Output::Human {
                    bar.suspend(|| conclude(&line.sentence()));
                }
                summary.add(line);
            }
            bar.set_position(summary.lines.len() as u64);
        }
        bar.finish_and_clear();
        for transfer in &transfers[summary.lines.len()..] {
            summary.add(Line { transfer: *transfer, result: None });
        }
        summary
    }
}

impl Line {
    fn sentence(&self) -> String {
        let Transfer(id, from, to, amount) = self.transfer;
        let told = match &self.result {
            Some(Ok(outcome @ Outcome::Unknown(_))) => format!("{}; id {id}", sentence(outcome)),
            Some(Ok(outcome)) => sentence(outcome),
            Some(Err(error)) => format!("unknown: {error}; id {id}"),
            None => "not sent".to_owned(),
        };
        format!("{:<16}  {told}", transfer_text(from, to, amount))
    }

    fn json(&self) -> Value {
        let Transfer(id, from, to, amount) = self.transfer;
        let mut json = match &self.result {
            Some(Ok(outcome)) => outcome_json(id, outcome),
            Some(Err(error)) => unknown_json(id, error.code(), &error.to_string()),
            None => unknown_json(id, "not_sent", "it was not sent, because the outcome of one before is unknown"),
        };
        (json["from"], json["to"], json["amount"]) = (json!(from), json!(to), json!(amount));
        json
    }

    /// Whether a node may have got it.
    fn may_have_arrived(&self) -> bool {
        !matches!(&self.result, None | Some(Err(ClientError::NoNode(_))))
    }
}

impl Summary {
    fn add(&mut self, line: Line) {
        match &line.result {
            Some(Ok(Outcome::Approved(_))) => self.approved += 1,
            Some(Ok(Outcome::Refused(_))) => self.refused += 1,
            _ => self.unknown += 1,
        }
        self.lines.push(line);
    }

    fn finished(self, run: TransferId, seconds: f64) -> Finished {
        let Self { lines, approved, refused, unknown } = self;
        let status = match unknown {
            0 => 0,
            _ if lines.iter().any(Line::may_have_arrived) => 4,
            _ => 3,
        };
        let unsent = lines.iter().filter(|line| line.result.is_none()).count();
        let unsent = if unsent == 0 { String::new() } else { format!(" ({unsent} of them not sent)") };
        let mut human = format!("{approved} approved, {refused} refused, {unknown} unknown{unsent} in {seconds:.3} s");
        if unknown > 0 {
            human.push_str(&format!("\nTo go on, run the same file with --run-id {run}: nothing is sent twice."));
        }
        let json = json!({
            "run_id": run,
            "transfers": lines.iter().map(Line::json).collect::<Vec<_>>(),
            "approved": approved,
            "refused": refused,
            "unknown": unknown,
            "seconds": seconds,
        });
        Finished { report: Some(Report { human, json }), status }
    }
}

fn bodies(run: TransferId, transfers: &[Triplet]) -> Vec<Transfer> {
    let ids = transfer_ids(run, transfers);
    let body = |(id, Triplet { from, to, amount }): (TransferId, &Triplet)| Transfer(id, *from, *to, *amount);
    ids.into_iter().zip(transfers).map(body).collect()
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(file).map(|whole| text = whole),
    };
    let shown = shown(file);
    read.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}; is it a text file?")))?;
    Ok(text)
}

fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" { "stdin".to_owned() } else { file.display().to_string() }
}

/// A bar on stderr, where that is a terminal.
fn progress(transfers: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} transfers, {elapsed}");
    ProgressBar::new(transfers as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
