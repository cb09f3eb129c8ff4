//! The `paxbank` command, one file per subcommand.

mod check;
mod log;
mod node;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// A replicated bank: every account's home approves transfers alone, Paxos settles them into one chain on every node.
#[derive(Parser)]
#[command(name = "paxbank", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What to print on stdout: text for people, or exactly one JSON value.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    Node(node::RunNode),
    Check(check::Check),
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
struct Failure {
    code: &'static str,
    status: u8,
    message: String,
}

impl Failure {
    /// Wrong use or configuration.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: "usage", status: 2, message: message.into() }
    }

    /// Data that is damaged, lost or contradictory.
    fn damage(message: impl Into<String>) -> Self {
        Self { code: "damaged", status: 5, message: message.into() }
    }
}

/// Prints a line of a result. Where its reader went away, as `head` does, there is nobody to print for: the process ends.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Runs the command. Exit status 0: done, 2: wrong use or configuration, 5: data damaged or contradictory.
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { command, output } = arguments;
    let result = match command {
        Command::Node(node) => node.run(),
        Command::Check(check) => check.run(),
    };
    match (result, output) {
        (Ok(report), Output::Human) if report.human.is_empty() => {}
        (Ok(report), Output::Human) => say(report.human.trim_end()),
        (Ok(report), Output::Json) => say(&report.json.to_string()),
        (Err(failure), output) => {
            let Failure { code, status, message } = failure;
            match output {
                Output::Human => eprintln!("paxbank: {message}"),
                Output::Json => {
                    say(&serde_json::json!({ "error": { "code": code, "message": message } }).to_string());
                }
            }
            return ExitCode::from(status);
        }
    }
    ExitCode::SUCCESS
}

/// The result of a command, in both forms.
struct Report {
    human: String,
    json: serde_json::Value,
}
