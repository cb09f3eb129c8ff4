//! The `paxbank` command: parses arguments, runs the command, nothing else.

use std::process::ExitCode;

use clap::Parser;
use paxos_banking::cli::Arguments;

fn main() -> ExitCode {
    paxos_banking::cli::run(Arguments::parse())
}
