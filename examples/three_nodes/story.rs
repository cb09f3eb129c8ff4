//! The worked example: what each node decides alone, what takes a round of Paxos, and a crash in the middle of one.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use paxos_banking::cli::say;
use paxos_banking::ledger::Genesis;
use paxos_banking::render::balances_text;
use paxos_banking::store::StoreAddress;
use paxos_banking::triplets::Triplet;
use paxos_banking::types::{AccountId, Amount, Height, NodeId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bank::{Bank, Trap};
use crate::report::{Decided, Report, arrow, decide, list, settled_lines};
use crate::wire::message_text;

/// Tells the story on stdout, or keeps silent where the output is for programs.
struct Story {
    bank: Bank,
    tell: bool,
    decided: Vec<Decided>,
}

/// Plays the worked example.
pub async fn play(genesis: Genesis, store: StoreAddress, tell: bool) -> Result<Report> {
    let place = store.to_string();
    let bank = Bank::start(genesis.clone(), store, 100).await?;
    let mut story = Story { bank, tell, decided: Vec::new() };
    let before = story.bank.view("A".parse()?).await?;
    story.say(&format!(
        "Three nodes in one process, their stores in {place}. Settled: {}.",
        balances_text(&before.settled)
    ));
    if before.height > Height(0) || !before.log.is_empty() {
        story.say("This bank has a history already: the figures differ from those of a fresh one.");
    }

    story.say("\nEach home approves alone while its balance suffices. No message passes:");
    for (from, to, amount) in [("A", "C", 20), ("A", "B", 60), ("B", "A", 70), ("C", "A", 50)] {
        story.transfer(from, to, amount).await?;
    }
    story.say("\nWhat others sent to A is not settled yet, so A cannot spend it:");
    story.transfer("A", "B", 30).await?;
    story.say("\nAgain alone:");
    story.transfer("B", "C", 50).await?;
    story.transfer("C", "B", 60).await?;
    story.say("\nNow B is short:");
    story.transfer("B", "A", 60).await?;
    story.status().await?;

    story.say("\nC is killed in the middle of the next round, as ACCEPT is on its way to it:");
    story.transfer_while_dying("A", "B", 150, "C").await?;
    story.say("\nTwo of three are a majority, and settle on:");
    story.transfer("B", "A", 200).await?;

    story.say("\nC comes back, a zombie: it finds its chain and its log in its store, and asks for what it missed:");
    let began = Instant::now();
    let c: NodeId = "C".parse()?;
    story.bank.cluster.revive(c).await?;
    story.bank.cluster.complete().await?;
    let height = story.bank.level().await?;
    story.messages();
    story.say(&format!("  C is ready at height {height} after {}.", ms(began.elapsed())));
    Report::new(genesis, &story.bank, story.decided).await
}

impl Story {
    fn say(&self, text: &str) {
        if self.tell {
            say(text);
        }
    }

    async fn transfer(&mut self, from: &str, to: &str, amount: u64) -> Result<()> {
        let transfer = Triplet { from: from.parse()?, to: to.parse()?, amount: Amount::new(amount) };
        let before = self.announce(&transfer).await?;
        let began = Instant::now();
        let decided = decide(&mut self.bank, &transfer).await?;
        self.conclude(before, began.elapsed(), decided).await
    }

    /// The same, while `victim` is killed as soon as an ACCEPT for it passes; that ACCEPT is lost with it.
    async fn transfer_while_dying(&mut self, from: &str, to: &str, amount: u64, victim: &str) -> Result<()> {
        let transfer = Triplet { from: from.parse()?, to: to.parse()?, amount: Amount::new(amount) };
        let victim: NodeId = victim.parse()?;
        let before = self.announce(&transfer).await?;
        let sprung = Rc::new(Notify::new());
        self.bank.set_trap(Trap { to: victim, message: "ACCEPT", sprung: sprung.clone() });
        let began = Instant::now();
        let request = self.bank.request(&transfer);
        let mut answer = tokio::task::spawn_local(self.bank.cluster.transfer(request));
        let early = tokio::select! {
            biased;
            answer = &mut answer => Some(answer??),
            () = sprung.notified() => None,
        };
        self.bank.cluster.kill(victim).await;
        let answer = match early {
            Some(answer) => answer,
            None => answer.await??,
        };
        let view = self.bank.view(transfer.from.home()).await?;
        let spendable = view.spendable.get(&transfer.from).copied().unwrap_or_default();
        self.conclude(before, began.elapsed(), Decided { transfer, answer, height: view.height, spendable }).await
    }

    /// Says it where the home will need the others, and returns the home's height.
    async fn announce(&self, transfer: &Triplet) -> Result<Height> {
        let view = self.bank.view(transfer.from.home()).await?;
        let spendable = view.spendable.get(&transfer.from).copied().unwrap_or_default();
        if spendable < transfer.amount {
            let (what, home) = (arrow(transfer), transfer.from.home());
            self.say(&format!(
                "  {what:<10} {home} can see only {spendable}: it runs Paxos for block {}",
                view.height.next()
            ));
        }
        Ok(view.height)
    }

    async fn conclude(&mut self, before: Height, took: Duration, decided: Decided) -> Result<()> {
        self.bank.level().await?;
        self.messages();
        let home = decided.transfer.from.home();
        let view = self.bank.view(home).await?;
        let mut lines = settled_lines(&self.bank, home, before, &view).await?;
        if let Some(balances) = lines.last_mut() {
            balances.push_str(&format!(" The round took {}.", ms(took)));
        }
        lines.iter().for_each(|line| self.say(&format!("  {line}")));
        self.say(&format!("  {}", decided.sentence()));
        self.decided.push(decided);
        Ok(())
    }

    async fn status(&self) -> Result<()> {
        self.bank.level().await?;
        for node in self.bank.cluster.nodes() {
            let view = self.bank.view(node).await?;
            let (settled, log) = (view.settled.get(&AccountId::of_node(node)).copied().unwrap_or_default(), &view.log);
            self.say(&format!("  Settled {node}: {settled}. In {node}'s local log: {}.", list(log.iter())));
        }
        Ok(())
    }

    /// The messages between the nodes since the last time, as they passed.
    fn messages(&self) {
        for message in self.bank.take_messages() {
            self.say(&format!("    {}", message_text(&message)));
        }
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}
