//! The `paxbank` command: parses arguments, runs the command, nothing else.

use std::process::ExitCode;

/// A node allocates for each call and entry, and remembers most of them for a while: the system's allocator took a fifth of
/// its time with that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    paxos_banking::cli::main()
}
