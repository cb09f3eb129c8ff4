//! The `paxbank` command.

fn main() {}
