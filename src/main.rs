//! The `paxbank` command: parses arguments, runs the command, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    paxos_banking::cli::main()
}
