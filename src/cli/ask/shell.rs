//! `paxbank shell`: a prompt against nodes that run, or a script of the same commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::sync::Notify;

use super::chain::Blocks;
use super::listing::Layout;
use super::transfer::Typed;
use super::{Deadline, Nodes, balance, log, open, outcome, settle, status, transfer, verify};
use crate::cli::session::{Executor, KnownNames, Session, SessionArgs, interrupted};
use crate::cli::{Failure, Finished, Output};
use crate::client::{Client, ReadLevel};
use crate::ledger::{Opening, Request, Wait};
use crate::shell::{Command, Grammar, Names};

const EXAMPLES: &str = "Examples:
  export PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  paxbank shell
  paxbank shell -c 'transfer A B 30; balance B'
  paxbank shell --output json < script";

const NOTES: &str = "\
Most of the commands of the command line: transfer A B 30 [settled], or just A B 30, open x@A, balance A, log A,
chain [FROM [TO]], outcome ID, settle, status, verify, help [COMMAND], quit or exit. # begins a comment. At the prompt, Tab completes,
Ctrl-C throws the line away, and Ctrl-D ends; the history is in $XDG_STATE_HOME/paxbank, or ~/.local/state/paxbank.

Where stdin is no terminal it is a script: results are printed without the commands, and it ends at the first error, named
with its line and command; what stood before is done. A refusal by the bank is a result. With --output json every command prints one value, on one line.

Exit status of a script: that of the last command that failed, as the command line would have it; 1 after a refusal.";

/// Asks running nodes, command by command: at a prompt, or from a script.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct RunShell {
    #[command(flatten)]
    session: SessionArgs,
    /// How long to try for each command before giving up: 500ms, 10s, 2m.
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    nodes: Nodes,
}

impl RunShell {
    pub(super) async fn run(self, output: Output) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let status = converse(client, self.deadline.deadline, self.session, output).await?;
        Ok(Finished { report: None, status })
    }
}

/// A session with a bank's nodes; the exit status.
pub(in crate::cli) async fn converse(
    client: Client,
    within: Duration,
    arguments: SessionArgs,
    output: Output,
) -> Result<u8, Failure> {
    let names = KnownNames::default();
    let layout = if output == Output::Json { Layout::JsonLine } else { Layout::Text };
    let mut asker = Asker { client, within, layout, names: names.clone(), learning: Arc::default() };
    let session = Session { program: "paxbank", grammar: Grammar::Bank, output, names, arguments };
    session.run(&mut asker).await
}

/// Asks the nodes with the client library.
struct Asker {
    client: Client,
    within: Duration,
    layout: Layout,
    names: KnownNames,
    learning: Arc<AtomicBool>,
}

impl Executor for Asker {
    async fn execute(&mut self, command: Command, stop: &Notify) -> Result<Finished, Failure> {
        match command {
            Command::Transfer { transfer: asked, settled } => {
                let wait = if settled { Wait::Settled } else { Wait::Local };
                let id = self.client.new_id();
                let request = Request { id, from: asked.from, to: asked.to, amount: asked.amount, wait };
                transfer::ask(&self.client, request, self.within, stop.notified(), Typed::Shell).await
            }
            Command::Open(account) => {
                let opening = Opening { id: self.client.new_id(), account, wait: Wait::Settled };
                open::ask(&self.client, opening, self.within, stop.notified(), Typed::Shell).await
            }
            // These change nothing that anybody would have to ask for again.
            command => tokio::select! {
                biased;
                () = stop.notified() => Err(interrupted()),
                told = self.ask(command) => told,
            },
        }
    }

    /// Asks for the names, beside the prompt: nobody waits for nodes that are down before anything is typed.
    fn prepare(&mut self) {
        if !self.names.lock().nodes.is_empty() || self.learning.swap(true, Ordering::Relaxed) {
            return;
        }
        let (client, within, names) = (self.client.clone(), self.within, self.names.clone());
        let learning = self.learning.clone();
        tokio::spawn(async move {
            if let Ok(heard) = client.genesis(None, within).await {
                let Names { nodes, accounts } = Names::of(&heard.told);
                let mut names = names.lock();
                names.nodes.extend(nodes);
                names.accounts.extend(accounts);
            }
            learning.store(false, Ordering::Relaxed);
        });
    }
}

impl Asker {
    async fn ask(&self, command: Command) -> Result<Finished, Failure> {
        let (client, within, layout) = (&self.client, self.within, self.layout);
        match command {
            Command::Balance(account) => balance::ask(client, account, ReadLevel::Local, within).await,
            Command::Log(node) => log::show(client, node, within, layout).await,
            Command::Chain { from, to } => Blocks { node: None, from, to, within }.show(client, layout).await,
            Command::Outcome(id) => outcome::ask(client, id, within).await,
            Command::Settle => settle::ask(client, None, within).await,
            Command::Status => status::ask(client).await,
            Command::Verify => verify::ask(client, within).await,
            // The grammar of a bank's clients has no others.
            other => Err(Failure::usage(format!("{other:?} cannot be asked of a node of another process"))),
        }
    }
}
