//! A replicated bank of three nodes in one process.
//!
//! Without arguments it plays a worked example and tells what happens, message by message. With a file of triplets it
//! runs those. See `three_nodes --help`.

mod bank;
mod interactive;
mod reads;
mod report;
mod story;
mod wire;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use paxos_banking::cli::session::SessionArgs;
use paxos_banking::cli::{Output, RedisLogin, say, without_secrets};
use paxos_banking::ledger::Genesis;
use paxos_banking::store::StoreAddress;
use paxos_banking::triplets;
use paxos_banking::types::{AccountId, Amount, NodeId};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Three nodes of a replicated bank in one process: A, B and C, each home of one account of its own name.
///
/// Without FILE: a worked example with 100 on each account, told step by step; in the end a node is killed in the middle
/// of a round, and comes back.
#[derive(Parser)]
#[command(version, before_long_help = EXAMPLES, after_long_help = NOTES)]
struct Arguments {
    /// Transfers to run, one triplet per line: (A, B, 4). Blanks, empty lines and # comments are allowed.
    #[arg(conflicts_with_all = ["interactive", "commands", "keep_going"])]
    file: Option<PathBuf>,
    /// What is on each account in the beginning, in the smallest unit.
    #[arg(long, default_value = "100", allow_hyphen_values = true, value_name = "AMOUNT")]
    opening: Amount,
    /// Where the nodes keep what must last: redb:DIR, redis://HOST:PORT/DATABASE (rediss:// behind TLS), unix:SOCKET (a
    /// Redis too) or memory [default: redb in a temporary directory].
    #[arg(long, value_name = "STORE")]
    store: Option<StoreAddress>,
    #[command(flatten)]
    redis: RedisLogin,
    /// Use a Redis even if it may lose what it acknowledged; without this, such a one is refused.
    #[arg(long)]
    accept_unsafe_store: bool,
    /// Do what is typed, or what stdin says where it is no terminal: transfers and questions as in paxbank shell, and
    /// kill C, revive C, partition A | B C, heal.
    #[arg(long)]
    interactive: bool,
    #[command(flatten)]
    session: SessionArgs,
    /// What to print: the story or a table for people, or one JSON object at the end; with --interactive one for each
    /// command.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

const EXAMPLES: &str = "Examples:
  three_nodes                                    the worked example
  three_nodes transfers.txt --opening 10         a file of transfers, 10 on each account
  three_nodes transfers.txt --store redb:bank    the same, kept in the directory bank: a second run goes on there
  three_nodes --store redis://127.0.0.1:6379/0   kept in the Redis that `redis-server redis.conf` starts
  three_nodes --output json                      one JSON object for programs
  three_nodes --interactive                      a prompt: help lists what can be said to it
  three_nodes --interactive -c 'kill C; A B 150; A B 30; revive C; status'";

const NOTES: &str = "\
RUST_LOG=info shows what the nodes log, on stderr.";

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| without_secrets(error).exit());
    paxos_banking::node::abort_on_panic();
    let filter = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(Level::ERROR));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    tracing_subscriber::registry().with(layer).with(filter).init();
    match actix_rt::System::new().block_on(run(arguments)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("three_nodes: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The exit status, where it came to its end.
async fn run(arguments: Arguments) -> Result<u8> {
    let nodes: Vec<NodeId> = ["A", "B", "C"].iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let genesis = Genesis::with_equal_openings(nodes, arguments.opening)?;
    // The whole file is read and checked before anything is started, so that nothing is ever half done.
    let transfers = arguments.file.as_deref().map(|file| read(file, &genesis)).transpose()?;
    let temporary = match arguments.store {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary directory for the stores")?),
    };
    let store = match (arguments.store, &temporary) {
        (Some(store), _) if arguments.accept_unsafe_store => store.accept_unsafe(),
        (Some(store), _) => store,
        (None, Some(directory)) => StoreAddress::Redb(directory.path().to_owned()),
        (None, None) => StoreAddress::Memory,
    };
    let store = arguments.redis.log_in(store).map_err(anyhow::Error::msg)?;
    if arguments.interactive || arguments.session.commands.is_some() {
        return interactive::converse(genesis, store, arguments.session, arguments.output).await;
    }
    let human = arguments.output == Output::Human;
    let report = match transfers {
        None => story::play(genesis, store, human).await?,
        Some(transfers) => report::run_all(genesis, store, &transfers, human).await?,
    };
    match arguments.output {
        Output::Human => report.print_human(),
        Output::Json => say(&report.json().to_string()),
    }
    Ok(0)
}

fn read(file: &std::path::Path, genesis: &Genesis) -> Result<Vec<triplets::Triplet>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}; is it a text file?"))?;
    let known: Vec<_> = genesis.opening().keys().map(AccountId::to_string).collect();
    let exists = |account: AccountId| genesis.opening().contains_key(&account);
    triplets::parse(&text, exists, &known.join(", ")).map_err(|error| anyhow::anyhow!("{shown}, {error}"))
}
