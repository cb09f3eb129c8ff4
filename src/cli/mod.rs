//! The `paxbank` command, one file per subcommand.

mod ask;
mod bench;
mod check;
mod config;
mod demo;
mod log;
mod manual;
mod node;
mod redis_login;
pub mod session;
mod signals;

use std::io::{ErrorKind, Write as _};
use std::num::{IntErrorKind, ParseIntError};
use std::process::ExitCode;
use std::str::FromStr;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand, ValueEnum};

pub use config::settings;
pub use redis_login::RedisLogin;

const EXAMPLES: &str = "Examples:
  paxbank node --help                          how to start the nodes of a bank
  export PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  paxbank status
  paxbank transfer A B 20
  paxbank doctor                               what could be wrong, and what to do";

/// A replicated bank: every account's home approves transfers alone, Paxos settles them into one chain on every node.
#[derive(Parser)]
#[command(name = "paxbank", version, arg_required_else_help = true, before_long_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What to print on stdout: text for people, or exactly one JSON value.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    Node(node::RunNode),
    Config(config::ShowConfig),
    #[command(flatten)]
    Ask(ask::Ask),
    Check(check::Check),
    Demo(demo::RunDemo),
    Bench(bench::RunBench),
    Completions(manual::Completions),
    Man(manual::Manual),
}

impl Command {
    /// Whether nothing is done where its result cannot be written.
    fn only_tells(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.only_tells(),
            Self::Man(manual) => manual.only_tells(),
            Self::Node(_) | Self::Demo(_) => false,
            Self::Config(_) | Self::Check(_) | Self::Bench(_) | Self::Completions(_) => true,
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Human,
    /// One JSON value.
    Json,
}

/// Why a command failed: what its exit status says, and a sentence with what to do.
#[derive(Debug)]
pub struct Failure {
    /// What it is, for programs.
    pub code: &'static str,
    /// The exit status of a command that fails so.
    pub status: u8,
    /// What was wrong, and what to do.
    pub message: String,
}

impl Failure {
    /// Wrong use or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: "usage", status: 2, message: message.into() }
    }

    /// Data that is damaged, lost or contradictory.
    pub fn damage(message: impl Into<String>) -> Self {
        Self { code: "damaged", status: 5, message: message.into() }
    }
}

/// A number of things of which there must be one at least, for arguments.
fn count<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "that is too large".to_owned(),
        _ => "give a whole number, 1 or more".to_owned(),
    })
}

/// Prints a line of a result that only tells of something. Where its reader went away, as `head` does, there is nobody to
/// print for: the process ends.
pub fn say(text: &str) {
    match write(text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            unwritten(&error);
            std::process::exit(2);
        }
    }
}

/// What became of something that was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Printed {
    Yes,
    /// Its reader went away.
    Unread,
    /// It could not be written, which was told on stderr.
    Failed,
}

impl From<std::io::Result<()>> for Printed {
    fn from(result: std::io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Yes,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Self::Unread,
            Err(error) => {
                unwritten(&error);
                Self::Failed
            }
        }
    }
}

/// Prints the last line of a result. Whether anybody reads it or not, what was done is done.
fn conclude(text: &str) -> Printed {
    write(text).into()
}

/// Prints a part of a result.
fn print(text: &str) -> Printed {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).into()
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

fn unwritten(error: &std::io::Error) {
    eprintln!("paxbank: the result cannot be written: {error}");
}

/// Reads the arguments of this process and runs the command that they name. Exit status 0: done, 1: refused by the bank,
/// 2: wrong use or configuration, 3: no node reachable, 4: outcome unknown, 5: data damaged, lost or contradictory.
pub fn main() -> ExitCode {
    let wrong = match config::parse(std::env::args_os().collect()) {
        Ok(arguments) => return run(arguments),
        Err(Wrong::Arguments(error)) => without_secrets(config::of_environment(error, std::env::args_os().collect())),
        Err(Wrong::File(failure)) => {
            let json = asks_for_json(std::env::args().skip(1));
            return fail(failure, if json { Output::Json } else { Output::Human });
        }
    };
    // Help and version are no failures. Of a failure, programs get the one JSON value that they asked for.
    if wrong.use_stderr() && asks_for_json(std::env::args().skip(1)) {
        let text = wrong.to_string();
        let message = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        return fail(Failure::usage(message), Output::Json);
    }
    wrong.exit()
}

/// Why there are no arguments to run with.
enum Wrong {
    Arguments(clap::Error),
    File(Failure),
}

impl From<clap::Error> for Wrong {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(error)
    }
}

/// An error about arguments without the arguments that may hold a password: addresses with a user in them. Such
/// addresses are refused, but they were given all the same, and what a program prints is kept in logs.
#[must_use]
pub fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg] {
        if let Some(ContextValue::String(text)) = error.get(kind)
            && text.contains("://")
            && text.contains('@')
        {
            error.insert(kind, ContextValue::String("(an address with a user, not repeated here)".to_owned()));
        }
    }
    error
}

/// Whether arguments that cannot be parsed ask for JSON.
fn asks_for_json(arguments: impl Iterator<Item = String>) -> bool {
    let mut before = String::new();
    for argument in arguments {
        if argument == "--output=json" || (argument == "json" && before == "--output") {
            return true;
        }
        before = argument;
    }
    false
}

/// Runs the command.
fn run(arguments: Arguments) -> ExitCode {
    let Arguments { command, output } = arguments;
    let tells = command.only_tells();
    let result = match command {
        Command::Node(node) => node.run().map(Finished::from),
        Command::Config(config) => config.run(),
        Command::Ask(ask) => ask.run(output),
        Command::Check(check) => check.run().map(Finished::from),
        Command::Demo(demo) => demo.run(output),
        Command::Bench(bench) => bench.run(output),
        Command::Completions(completions) => Ok(completions.run().into()),
        Command::Man(manual) => manual.run().map(Finished::from),
    };
    let Finished { report, status } = match result {
        Ok(finished) => finished,
        Err(failure) => return fail(failure, output),
    };
    let printed = match (report, output) {
        (Some(report), Output::Human) if !report.human.is_empty() => conclude(report.human.trim_end()),
        (Some(report), Output::Json) => conclude(&report.json.to_string()),
        _ => Printed::Yes,
    };
    ExitCode::from(if status == 0 && tells && printed == Printed::Failed { 2 } else { status })
}

fn fail(Failure { code, status, message }: Failure, output: Output) -> ExitCode {
    match output {
        Output::Human => eprintln!("paxbank: {message}"),
        Output::Json => {
            conclude(&serde_json::json!({ "error": { "code": code, "message": message } }).to_string());
        }
    }
    ExitCode::from(status)
}

/// The result of a command, in both forms.
#[derive(Debug)]
pub struct Report {
    /// For people.
    pub human: String,
    /// For programs.
    pub json: serde_json::Value,
}

/// A command that ran to its end: what to print, where that was not printed on the way, and its exit status.
#[derive(Debug)]
pub struct Finished {
    /// What is still to be printed.
    pub report: Option<Report>,
    /// The exit status.
    pub status: u8,
}

impl From<Report> for Finished {
    fn from(report: Report) -> Self {
        Self { report: Some(report), status: 0 }
    }
}
