//! A session with the nodes of this process: what clients can ask, and what can happen to nodes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use paxos_banking::actors::message::{BankView, Collected};
use paxos_banking::cli::session::{Executor, KnownNames, Session, SessionArgs, interrupted};
use paxos_banking::cli::{Failure, Finished, Output, Report, say};
use paxos_banking::cluster::ClusterError;
use paxos_banking::ledger::{Answer, Genesis, Opening, Wait};
use paxos_banking::node::{Node, NotRunning};
use paxos_banking::render::{nodes_text, opening_text, settled_json, settled_text};
use paxos_banking::shell::{Command, Grammar, Names};
use paxos_banking::store::StoreAddress;
use paxos_banking::triplets::Triplet;
use paxos_banking::types::{AccountId, Height, NodeId, TransferId};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::bank::Bank;
use crate::report::{arrow, node_json, node_lines, outcome_json, outcome_text, settled_lines};
use crate::wire::message_json;

/// How long a command waits for a decision. In one process it takes a moment, or a majority is missing.
const DECIDED_WITHIN: Duration = Duration::from_secs(3);

/// How long the nodes may take to notice what happened to others, and to catch up.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

/// How long a node may take that comes back: one that hears nobody gives up asking after five seconds, and then serves.
const READY_WITHIN: Duration = Duration::from_secs(7);

/// What was asked for under an id, and what was heard of it.
#[derive(Clone)]
pub struct Asked {
    pub what: String,
    pub account: AccountId,
    pub answer: Option<Answer>,
    /// Whether its home has it and may still decide.
    pub waiting: bool,
}

/// What was asked for in this session, by id.
pub type AskedFor = Rc<RefCell<BTreeMap<TransferId, Asked>>>;

pub struct Interactive {
    pub bank: Bank,
    pub genesis: Genesis,
    pub asked: AskedFor,
    /// Notified whenever something was decided.
    decided: Rc<Notify>,
    output: Output,
    cut: Option<Vec<Vec<NodeId>>>,
}

/// Runs the session; its exit status.
pub async fn converse(genesis: Genesis, store: StoreAddress, arguments: SessionArgs, output: Output) -> Result<u8> {
    let bank = Bank::start(genesis.clone(), store, 100).await?;
    let names = KnownNames::default();
    *names.lock() = Names::of(&genesis);
    let session = Session { program: "three_nodes", grammar: Grammar::Cluster, output, names, arguments };
    if session.at_terminal() {
        say("Three nodes in one process: A, B and C. help lists what can be said, Ctrl-D ends.");
    }
    bank.show_messages(output == Output::Human);
    let (asked, decided) = (AskedFor::default(), Rc::new(Notify::new()));
    let mut nodes = Interactive { bank, genesis, asked, decided, output, cut: None };
    session.run(&mut nodes).await.map_err(|failure| anyhow::anyhow!(failure.message))
}

impl Executor for Interactive {
    async fn execute(&mut self, command: Command, stop: &Notify) -> Result<Finished, Failure> {
        let told = tokio::select! {
            biased;
            () = stop.notified() => Err(interrupted()),
            told = self.obey(command) => told,
        };
        // People saw them as they passed.
        let messages = self.bank.take_messages();
        if self.output == Output::Human {
            return told;
        }
        told.map(|Finished { report, status }| {
            let with_messages = |mut report: Report| {
                report.json["messages"] = messages.iter().map(message_json).collect();
                report
            };
            Finished { report: report.map(with_messages), status }
        })
    }
}

impl Interactive {
    async fn obey(&mut self, command: Command) -> Result<Finished, Failure> {
        match command {
            Command::Transfer { transfer, settled } => self.transfer(&transfer, settled).await,
            Command::Open(account) => self.open(account).await,
            Command::Balance(account) => self.balance(account).await,
            Command::Log(node) => self.log(node).await,
            Command::Chain { from, to } => self.chain(from, to).await,
            Command::Outcome(id) => self.outcome(id).await,
            Command::Settle => self.settle().await,
            Command::Status => self.status().await,
            Command::Verify => self.verify().await,
            Command::Kill(node) => self.kill(node).await,
            Command::Revive(node) => self.revive(node).await,
            Command::Partition(groups) => self.partition(groups).await,
            Command::Heal => self.heal().await,
            Command::Help(_) | Command::Quit => Ok(Finished { report: None, status: 0 }),
        }
    }

    fn say(&self, text: &str) {
        if self.output == Output::Human {
            say(text);
        }
    }

    async fn transfer(&mut self, transfer: &Triplet, settled: bool) -> Result<Finished, Failure> {
        let home = self.running(transfer.from.home())?;
        let view = self.view(home).await?;
        let spendable = view.spendable.get(&transfer.from).copied().unwrap_or_default();
        let (what, block) = (arrow(transfer), view.height.next());
        if spendable < transfer.amount && view.spendable.contains_key(&transfer.from) {
            self.say(&format!("  {what:<10} {home} can see only {spendable}: it runs Paxos for block {block}"));
        } else if settled {
            self.say(&format!("  {what:<10} {home} runs Paxos for block {block}, which is to hold it"));
        }
        let mut request = self.bank.request(transfer);
        request.wait = if settled { Wait::Settled } else { Wait::Local };
        let answer = self.bank.cluster.transfer(request);
        self.decide(request.id, what, transfer.from, view.height, answer).await
    }

    async fn open(&mut self, account: AccountId) -> Result<Finished, Failure> {
        let home = self.running(account.home())?;
        let view = self.view(home).await?;
        let (what, id) = (opening_text(account), self.bank.new_id());
        let answer = self.bank.cluster.open(Opening { id, account, wait: Wait::Settled });
        self.decide(id, what, account, view.height, answer).await
    }

    /// Waits for the home's decision, and tells it with the blocks that it took.
    async fn decide(
        &self,
        id: TransferId,
        what: String,
        account: AccountId,
        before: Height,
        answer: impl Future<Output = Result<Answer, NotRunning>> + 'static,
    ) -> Result<Finished, Failure> {
        self.asked.borrow_mut().insert(id, Asked { what: what.clone(), account, answer: None, waiting: true });
        let (asked, decided) = (self.asked.clone(), self.decided.clone());
        // Beside this: a decision that comes after the cut is healed is heard too.
        let mut heard = tokio::task::spawn_local(async move {
            let answer = answer.await.ok();
            if let Some(asked) = asked.borrow_mut().get_mut(&id) {
                asked.answer.clone_from(&answer);
                asked.waiting = false;
            }
            decided.notify_waiters();
            answer
        });
        let answer = timeout(DECIDED_WITHIN, &mut heard).await.ok().and_then(Result::ok).flatten();
        self.level(account.home()).await;
        let view = self.view(account.home()).await?;
        for line in settled_lines(&self.bank, account.home(), before, &view).await.map_err(broken)? {
            self.say(&format!("  {line}"));
        }
        let spendable = view.spendable.get(&account).copied().unwrap_or_default();
        let human = format!("  {what:<10} {}", outcome_text(answer.as_ref(), id, Some((account, spendable))));
        let status = status_of(answer.as_ref());
        Ok(Finished { report: Some(Report { human, json: outcome_json(id, &what, answer.as_ref()) }), status })
    }

    async fn settle(&self) -> Result<Finished, Failure> {
        let Some(node) = self.bank.cluster.nodes().first().copied() else { return Err(none_runs()) };
        let before = self.view(node).await?.height;
        let collected = timeout(DECIDED_WITHIN, self.node(node)?.collect()).await;
        let Ok(collected) = collected else { return Err(self.no_majority(node)) };
        let Collected { height, not_heard } = collected.map_err(|error| not_running(&error))?;
        self.level(node).await;
        let view = self.view(node).await?;
        for line in settled_lines(&self.bank, node, before, &view).await.map_err(broken)? {
            self.say(&format!("  {line}"));
        }
        let human = format!("  {}", settled_text(height, &not_heard, node));
        Ok(Report { human, json: settled_json(height, &not_heard, node) }.into())
    }

    async fn kill(&mut self, node: NodeId) -> Result<Finished, Failure> {
        self.running(node)?;
        self.bank.cluster.kill(node).await;
        self.noticed().await;
        Ok(done(format!("{node} is killed: only its store is left."), json!({ "killed": node })))
    }

    async fn revive(&mut self, node: NodeId) -> Result<Finished, Failure> {
        self.known(node)?;
        if self.bank.cluster.nodes().contains(&node) {
            return Err(Failure::usage(format!("{node} is running already; kill {node} crashes it")));
        }
        self.say(&format!("  {node} comes back, a zombie: it asks for what it missed"));
        self.bank.cluster.revive(node).await.map_err(|error| of_cluster(&error))?;
        let ready = timeout(READY_WITHIN, self.bank.cluster.ready(node)).await;
        let state = match ready {
            Err(_) => "not ready yet: it hears too few of the others".to_owned(),
            Ok(ready) => {
                ready.map_err(|error| of_cluster(&error))?;
                self.noticed().await;
                self.late(node).await?;
                format!("ready at height {}", self.view(node).await?.height)
            }
        };
        let (height, ready) = (self.view(node).await?.height, state.starts_with("ready"));
        Ok(done(format!("{node} is {state}."), json!({ "revived": node, "ready": ready, "height": height })))
    }

    async fn partition(&mut self, mut groups: Vec<Vec<NodeId>>) -> Result<Finished, Failure> {
        for node in groups.iter().flatten() {
            self.known(*node)?;
        }
        let named: BTreeSet<_> = groups.iter().flatten().copied().collect();
        let rest: Vec<_> = self.genesis.nodes().difference(&named).copied().collect();
        if !rest.is_empty() {
            groups.push(rest);
        }
        if groups.len() < 2 {
            return Err(Failure::usage("all nodes are in one group: nothing would be cut; heal ends a cut"));
        }
        self.bank.cluster.partition(&groups);
        self.noticed().await;
        let human = format!("The network is cut: {}.", groups_text(&groups));
        let json = json!({ "partition": groups });
        self.cut = Some(groups);
        Ok(done(human, json))
    }

    async fn heal(&mut self) -> Result<Finished, Failure> {
        self.bank.cluster.partition(&[]);
        self.cut = None;
        self.noticed().await;
        if let Some(node) = self.bank.cluster.nodes().first() {
            self.late(*node).await?;
        }
        Ok(done("The cut is healed: all nodes hear each other.".to_owned(), json!({ "partition": null })))
    }

    async fn status(&self) -> Result<Finished, Failure> {
        let (mut lines, mut nodes) = (Vec::new(), serde_json::Map::new());
        for node in self.genesis.nodes() {
            let view = match self.bank.cluster.node(*node) {
                Ok(running) => Some(running.bank().await.map_err(|error| not_running(&error))?),
                Err(_) => None,
            };
            match &view {
                Some(view) => lines.extend(node_lines(*node, view)),
                None => lines.push(format!("  {node}  killed; revive {node} starts it")),
            }
            nodes.insert(node.to_string(), view.as_ref().map_or(Value::Null, node_json));
        }
        if let Some(groups) = &self.cut {
            lines.push(format!("  The network is cut: {}.", groups_text(groups)));
        }
        Ok(Report { human: lines.join("\n"), json: json!({ "nodes": nodes, "partition": self.cut }) }.into())
    }

    /// Waits for the decisions that were waiting for a majority, and tells them.
    async fn late(&self, with: NodeId) -> Result<(), Failure> {
        let waiting = || {
            let asked = self.asked.borrow();
            asked.iter().filter(|(_, asked)| asked.waiting).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let late = waiting();
        let all_decided = async {
            loop {
                let more = self.decided.notified();
                if waiting().is_empty() {
                    return;
                }
                more.await;
            }
        };
        // Where a majority is still missing, they go on waiting.
        drop(timeout(NOTICED_WITHIN, all_decided).await);
        self.level(with).await;
        for id in late {
            let Some(asked) = self.asked.borrow().get(&id).filter(|asked| !asked.waiting).cloned() else { continue };
            let view = self.view(asked.account.home()).await?;
            let spendable = view.spendable.get(&asked.account).copied().unwrap_or_default();
            let told = outcome_text(asked.answer.as_ref(), id, Some((asked.account, spendable)));
            self.say(&format!("  {:<10} {told}", asked.what));
        }
        Ok(())
    }

    /// Waits until the nodes know who is there, as far as they can.
    async fn noticed(&self) {
        // What cannot come, as the readiness of a node that is cut off, is not waited for.
        drop(timeout(NOTICED_WITHIN, self.bank.cluster.complete()).await);
    }

    /// Waits until all that hear a node have applied the same blocks.
    async fn level(&self, with: NodeId) {
        drop(timeout(NOTICED_WITHIN, self.bank.level_with(with)).await);
    }

    pub fn node(&self, id: NodeId) -> Result<&Node, Failure> {
        self.bank.cluster.node(id).map_err(|error| not_running(&error))
    }

    pub async fn view(&self, id: NodeId) -> Result<BankView, Failure> {
        self.node(id)?.bank().await.map_err(|error| not_running(&error))
    }

    /// A node of this bank.
    fn known(&self, node: NodeId) -> Result<NodeId, Failure> {
        if self.genesis.nodes().contains(&node) {
            return Ok(node);
        }
        let nodes = nodes_text(self.genesis.nodes());
        let failure = Failure::usage(format!("there is no node {node}; this bank has {nodes}"));
        Err(Failure { code: "unknown_node", ..failure })
    }

    /// One that runs.
    pub fn running(&self, node: NodeId) -> Result<NodeId, Failure> {
        self.known(node)?;
        self.node(node).map(|_| node)
    }

    fn no_majority(&self, node: NodeId) -> Failure {
        let message = format!("{node} hears no majority: nothing was settled; revive nodes, or heal the cut");
        Failure { code: "not_settled", status: 4, message }
    }
}

fn done(text: String, json: Value) -> Finished {
    Report { human: format!("  {text}"), json }.into()
}

fn groups_text(groups: &[Vec<NodeId>]) -> String {
    groups.iter().map(nodes_text).collect::<Vec<_>>().join(" | ")
}

pub fn status_of(answer: Option<&Answer>) -> u8 {
    match answer {
        Some(Answer::Approved(_)) => 0,
        Some(Answer::Refused(_)) => 1,
        Some(Answer::Conflict) => 2,
        _ => 4,
    }
}

pub fn none_runs() -> Failure {
    Failure { code: "no_node", status: 3, message: "no node is running; revive one".to_owned() }
}

pub fn not_running(NotRunning(node): &NotRunning) -> Failure {
    Failure { code: "no_node", status: 3, message: format!("node {node} is not running; revive {node} starts it") }
}

fn of_cluster(error: &ClusterError) -> Failure {
    match error {
        ClusterError::NotRunning(error) => not_running(error),
        ClusterError::Halted { .. } => Failure::damage(error.to_string()),
        ClusterError::Store { node, error } => Failure::damage(format!("the store of node {node}: {error}")),
    }
}

/// A node's store cannot be read.
pub fn broken(error: anyhow::Error) -> Failure {
    Failure::damage(format!("{error:#}"))
}
