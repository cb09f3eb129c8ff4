//! `paxbank run`: a file of transfers.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::stream;
use futures_util::{FutureExt as _, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::run_id::transfer_ids;
use super::transfer::{interrupted, not_sent_json, outcome_json, sentence, unknown_json};
use super::{Deadline, Nodes};
use crate::cli::signals::Signals;
use crate::cli::{Failure, Finished, Output, Printed, Report, conclude, count};
use crate::client::{Client, ClientError, Outcome, Transfer, outcome_line};
use crate::history;
use crate::ledger::Wait;
use crate::render::{nodes_text, transfer_text};
use crate::triplets::{self, Triplet};
use crate::types::TransferId;

const EXAMPLES: &str = "Examples:
  paxbank run transfers.txt
  printf '(A, B, 4)\\n(B, C, 12)   # comments are allowed\\n' | paxbank run -
  paxbank run transfers.txt --window 10000      fast: the order between them is not kept
  paxbank run transfers.txt --run-id RUN_ID     once more, under the id that the first run told: sends nothing twice
  paxbank run transfers.txt --history run.jsonl && paxbank check-history run.jsonl";

const NOTES: &str = "\
The whole file is read before anything is sent. Each run has an id, told on stderr; the ids of its transfers are
derived from it and from what each transfer says. After an interruption, run the same file with the same --run-id:
what was decided is told again, the rest is sent. Where an outcome stays unknown, or a home is not reached, and
after Ctrl-C, nothing more is sent. A home remembers a million ids: split files that are longer.

Exit status: 0 all decided (a refusal is a result), 2 wrong use, 3 no node reachable, and some were not sent, 4 an
outcome is unknown.";

/// Runs a file of transfers, each after the one before.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct RunFile {
    /// One transfer per line, (FROM, TO, AMOUNT); blanks, empty lines and # comments are allowed. - reads stdin.
    file: PathBuf,
    /// How many transfers may be under way at once. With more than one, they are not decided in the order of the file.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = count::<NonZeroUsize>)]
    window: NonZeroUsize,
    /// The id of the run to go on with, a ULID [default: a new one].
    #[arg(long, value_name = "ULID", value_parser = run_id)]
    run_id: Option<TransferId>,
    /// A new file for what is asked and heard, and when: a history, for paxbank check-history.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How long to try for each transfer before giving up: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

fn run_id(text: &str) -> Result<TransferId, String> {
    let wrong = |_| "that is no id of a run; each run tells its id when it begins, 26 characters".to_owned();
    text.parse().map_err(wrong)
}

/// One line of the file, and what came of it.
struct Line {
    transfer: Transfer,
    result: Result<Outcome, Undecided>,
}

/// Why a line has no outcome of its own.
enum Undecided {
    /// Nobody can tell.
    Failed(ClientError),
    /// No node was reached that could have got it.
    NotReached(ClientError),
    /// It was not its turn yet when the run stopped; why that was.
    Behind(&'static str),
}

/// What came of all of them.
#[derive(Default)]
struct Summary {
    lines: Vec<Line>,
    approved: usize,
    refused: usize,
    unknown: usize,
    not_sent: usize,
}

/// The results of a slice, and when it was called and returned.
type Answered<'a> = (&'a [Transfer], Vec<Result<Outcome, ClientError>>, (u64, u64));

impl RunFile {
    pub(super) async fn run(self, output: Output) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let text = read(&self.file)?;
        let shown = shown(&self.file);
        let wrong = |error| Failure::usage(format!("{shown}, {error}"));
        triplets::parse(&text, |_| true, "").map_err(wrong)?;
        let nodes = client.nodes(self.deadline.deadline).await?;
        let known = format!("the nodes {}", nodes_text(nodes.keys()));
        let transfers = triplets::parse(&text, |account| nodes.contains_key(&account.home()), &known).map_err(wrong)?;
        let mut book = self.history.as_deref().map(|file| Book::new(file, self.run_id.is_some())).transpose()?;
        let run = self.run_id.unwrap_or_else(|| client.new_id());
        // Before anything is sent, and in every form: without it an interrupted run could only be begun anew.
        eprintln!("paxbank: run {run}; after an interruption, go on with --run-id {run}");
        let began = Instant::now();
        let bar = progress(transfers.len());
        let mut printed = Printed::Yes;
        let tell = |line: &Line, times: (u64, u64)| {
            if let Some(book) = &mut book {
                book.write(line, times);
            }
            // Where nothing can be printed that is told once, and the transfers go on.
            if output == Output::Human && printed == Printed::Yes {
                printed = bar.suspend(|| conclude(&line.sentence()));
            }
        };
        let summary = self.send(&client, &bodies(run, &transfers), Signals::new()?, &bar, tell).await;
        bar.finish_and_clear();
        let seconds = began.elapsed().as_secs_f64();
        Ok(summary.finished(run, seconds))
    }

    /// Sends them in slices, several of which are under way; tells the results in the order of the file.
    async fn send(
        &self,
        client: &Client,
        transfers: &[Transfer],
        mut signals: Signals,
        bar: &ProgressBar,
        mut tell: impl FnMut(&Line, (u64, u64)),
    ) -> Summary {
        let window = self.window.get();
        let slice = (window / 4).max(1);
        let deadline = self.deadline.deadline;
        let mut summary = Summary::default();
        let began = Instant::now();
        let now = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut add = |summary: &mut Summary, line: Line, times: (u64, u64)| {
            tell(&line, times);
            summary.add(line);
        };
        let mut take = |summary: &mut Summary, (slice, results, times): Answered<'_>| {
            for (transfer, result) in slice.iter().zip(results) {
                add(summary, Line { transfer: *transfer, result: result.map_err(Undecided::of) }, times);
            }
        };
        // How many were taken out of the file, when each slice of them was, and why it ended there.
        let (mut begun, mut called, mut stop) = (0, Vec::new(), BEHIND_UNDECIDED);
        let mut slices = transfers.chunks(slice);
        let mut flying = stream::FuturesOrdered::new();
        loop {
            // Nothing is sent behind one that may still be decided: a refusal for want of its money would be final.
            while flying.len() < window.div_ceil(slice) && summary.unknown + summary.not_sent == 0 {
                let Some(slice) = slices.next() else { break };
                begun += slice.len();
                let call = now();
                called.push(call);
                flying.push_back(async move {
                    let results = client.transfers(slice, Wait::Local, deadline).await;
                    (slice, results, (call, now()))
                });
            }
            let next = tokio::select! {
                biased;
                // Before all results: those may come without end.
                _ = signals.next() => {
                    stop = BEHIND_INTERRUPT;
                    break;
                }
                next = flying.next() => next,
            };
            let Some(told) = next else { break };
            take(&mut summary, told);
            bar.set_position(summary.lines.len() as u64);
        }
        // What came together with the interrupt is known all the same.
        while let Some(Some(told)) = flying.next().now_or_never() {
            take(&mut summary, told);
        }
        // What is still under way here was cut off: it may be decided, now or later.
        drop(flying);
        for index in summary.lines.len()..begun {
            let transfer = transfers[index];
            let line = Line { transfer, result: Ok(interrupted(transfer.0)) };
            add(&mut summary, line, (called[index / slice], now()));
        }
        for transfer in &transfers[begun..] {
            summary.add(Line { transfer: *transfer, result: Err(Undecided::Behind(stop)) });
        }
        summary
    }
}

/// The history of this run.
struct Book {
    name: String,
    file: File,
    /// Whether an earlier run may have asked for the same: its calls are not in this file.
    again: bool,
    written: bool,
}

impl Book {
    fn new(file: &Path, again: bool) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let created = File::create_new(file).map_err(|error| {
            Failure::usage(format!(
                "{name} cannot be made: {error}; a history is a new file, in a directory that is there"
            ))
        })?;
        Ok(Self { name, file: created, again, written: true })
    }

    /// Writes a line at once: what was asked is known, whatever becomes of this process.
    fn write(&mut self, line: &Line, (call, ret): (u64, u64)) {
        let Transfer(id, from, to, amount) = line.transfer;
        let asked = history::Line { again: self.again, ..history::Line::transfer("run", call, id, from, (to, amount)) };
        let text = match &line.result {
            Err(Undecided::Behind(_)) => return,
            Err(Undecided::Failed(error) | Undecided::NotReached(error)) => {
                outcome_line(asked, ret, &Err(error.clone())).text()
            }
            Ok(outcome) => outcome_line(asked, ret, &Ok(outcome.clone())).text(),
        };
        // The transfers matter more than their history: they go on.
        if self.written
            && let Err(error) = writeln!(self.file, "{text}")
        {
            self.written = false;
            eprintln!("paxbank: {} cannot be written to its end, and must not be used: {error}", self.name);
        }
    }
}

const BEHIND_UNDECIDED: &str = "it was not sent, because one before is not decided";
const BEHIND_INTERRUPT: &str = "it was not sent, because the run was interrupted before";

impl Undecided {
    fn of(error: ClientError) -> Self {
        match error {
            error if !error.may_have_been_sent() => Self::NotReached(error),
            error => Self::Failed(error),
        }
    }
}

impl Line {
    fn sentence(&self) -> String {
        let Transfer(id, from, to, amount) = self.transfer;
        let told = match &self.result {
            Ok(outcome @ Outcome::Unknown(_)) => format!("{}; id {id}", sentence(outcome)),
            Ok(outcome) => sentence(outcome),
            Err(Undecided::Failed(error)) => format!("unknown: {error}; id {id}"),
            Err(Undecided::NotReached(error)) => format!("not sent: {error}"),
            Err(Undecided::Behind(_)) => "not sent".to_owned(),
        };
        format!("{:<16}  {told}", transfer_text(from, to, amount))
    }

    fn json(&self) -> Value {
        let Transfer(id, from, to, amount) = self.transfer;
        let mut json = match &self.result {
            Ok(outcome) => outcome_json(id, outcome),
            Err(Undecided::Failed(error)) => unknown_json(id, error.code(), &error.to_string()),
            Err(Undecided::NotReached(error)) => not_sent_json(id, error.code(), &error.to_string()),
            Err(Undecided::Behind(why)) => not_sent_json(id, "not_sent", why),
        };
        (json["from"], json["to"], json["amount"]) = (json!(from), json!(to), json!(amount));
        json
    }
}

impl Summary {
    fn add(&mut self, line: Line) {
        match &line.result {
            Ok(Outcome::Approved(_)) => self.approved += 1,
            Ok(Outcome::Refused(_)) => self.refused += 1,
            Ok(Outcome::Unknown(_)) | Err(Undecided::Failed(_)) => self.unknown += 1,
            Err(Undecided::NotReached(_) | Undecided::Behind(_)) => self.not_sent += 1,
        }
        self.lines.push(line);
    }

    fn finished(self, run: TransferId, seconds: f64) -> Finished {
        let Self { lines, approved, refused, unknown, not_sent } = self;
        let status = match (unknown, not_sent) {
            (0, 0) => 0,
            (0, _) => 3,
            _ => 4,
        };
        let unsent = if not_sent == 0 { String::new() } else { format!(", {not_sent} not sent") };
        let mut human = format!("{approved} approved, {refused} refused, {unknown} unknown{unsent} in {seconds:.3} s");
        if unknown + not_sent > 0 {
            human.push_str(&format!("\nTo go on, run the same file with --run-id {run}: nothing is sent twice."));
        }
        let json = json!({
            "run_id": run,
            "transfers": lines.iter().map(Line::json).collect::<Vec<_>>(),
            "approved": approved,
            "refused": refused,
            "unknown": unknown,
            "not_sent": not_sent,
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

/// What messages call a file.
pub(super) fn shown(file: &Path) -> String {
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
