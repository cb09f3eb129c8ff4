//! The same bank without proxies, each node in a network namespace of its own: packets vanish, and nobody closes anything.

use std::io::{Write as _, stderr};
use std::time::Duration;

use paxos_banking::entropy::Entropy;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::bank::{Bank, NAMES, Stores, node};
use crate::faults::{Active, Faults, next, one_of};
use crate::judge::{Run, withstands};
use crate::network::{Network, Rule};
use crate::process::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A node gets nothing of what another one sends.
    DropOneWay,
    /// Nor the other way round.
    DropBothWays,
    /// Nothing reaches a node, clients included, and nothing leaves it, until the others take it for gone.
    Isolated,
    /// What another node sends is answered by a reset, of which this node hears nothing.
    Reset,
    /// The interface of a node is down, and its routes with it.
    LinkDown,
    /// It goes down and comes back, several times.
    Flapping,
}

/// The faults of a network, and who is in it.
struct Wires<'a> {
    network: &'a Network,
    bank: Bank,
}

impl Faults for Wires<'_> {
    type Fault = Fault;
    const ALL: &'static [Fault] =
        &[Fault::DropOneWay, Fault::DropBothWays, Fault::Isolated, Fault::Reset, Fault::LinkDown, Fault::Flapping];

    fn bank(&self) -> &Bank {
        &self.bank
    }

    /// No two faults are about the same node: the packets that the second waits for might never come.
    fn victim(&self, fault: Fault, active: &Active<Fault>, entropy: &mut Entropy) -> Option<&'static str> {
        let touched = |name: &str| active.iter().any(|(other, victim)| about(*other, victim).contains(&name));
        match fault {
            // The others must be there to be asked.
            Fault::Isolated if !active.is_empty() => None,
            fault => one_of(|name| about(fault, name).into_iter().all(|name| !touched(name)), entropy),
        }
    }

    async fn strike(&mut self, fault: Fault, victim: &'static str, entropy: &mut Entropy) {
        rules(fault, victim).into_iter().for_each(|rule| self.network.add(rule));
        match fault {
            Fault::LinkDown => self.link(victim, false).await,
            Fault::Flapping => {
                for _ in 0..2 + entropy.below(3) {
                    for up in [false, true] {
                        self.link(victim, up).await;
                        sleep(Duration::from_millis(entropy.below(200))).await;
                    }
                }
            }
            _ => until(async || about(fault, victim).into_iter().any(|name| self.network.met(name) > 0)).await,
        }
        if fault == Fault::Isolated {
            for name in NAMES.into_iter().filter(|name| *name != victim) {
                self.bank.until(name, |status| !status.peers_up.contains(&node(victim))).await;
            }
        }
    }

    /// It had its effect: that was waited for.
    async fn mend(&mut self, fault: Fault, victim: &'static str) -> bool {
        rules(fault, victim).into_iter().for_each(|rule| self.network.remove(rule));
        if fault == Fault::LinkDown {
            self.link(victim, true).await;
        }
        true
    }
}

impl Wires<'_> {
    /// Sets the link of a node, and waits until that is so.
    async fn link(&self, name: &str, up: bool) {
        self.network.set_link(name, up);
        let address = self.bank.client_address(name);
        let tried = || timeout(Duration::from_millis(300), TcpStream::connect(&address));
        until(async || tried().await.is_ok_and(|connected| connected.is_ok()) == up).await;
    }
}

fn rules(fault: Fault, victim: &'static str) -> Vec<Rule> {
    let (at, from) = (victim, next(victim));
    match fault {
        Fault::DropOneWay => vec![Rule::Drop { at, from }],
        Fault::DropBothWays => vec![Rule::Drop { at, from }, Rule::Drop { at: from, from: at }],
        Fault::Isolated => vec![Rule::DropAllIn { at }, Rule::DropAllOut { at }],
        Fault::Reset => vec![Rule::Reset { at, from }],
        Fault::LinkDown | Fault::Flapping => vec![],
    }
}

/// Whose packets it takes.
fn about(fault: Fault, victim: &str) -> Vec<&str> {
    match fault {
        Fault::DropOneWay | Fault::DropBothWays | Fault::Reset => vec![victim, next(victim)],
        Fault::Isolated | Fault::LinkDown | Fault::Flapping => vec![victim],
    }
}

/// Waits until something is so.
async fn until(is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "a fault has no effect");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn wires_that_lose_packets(network: &Network) {
    let mut run = Run::wanted(8);
    run.history = run.history.map(|file| file.with_extension("namespaces.jsonl"));
    let mut bank = Bank::prepared(Stores::Redb, 1_000).await;
    bank.places = NAMES.map(|name| (name, network.place(name))).into();
    for name in NAMES {
        bank.run(name).await;
    }
    let entropy = Entropy::from_seed(run.seed);
    withstands(Wires { network, bank }, &run, entropy).await;
}

#[test]
fn what_clients_are_told_while_packets_vanish_is_what_the_bank_holds() {
    let network = match Network::new() {
        Ok(network) => network,
        // Past what holds back the output of tests that pass: who runs this is to see that it did not.
        Err(missing) => {
            return writeln!(stderr(), "skipped, as network namespaces are not to be had: {missing}").unwrap();
        }
    };
    network.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(wires_that_lose_packets(&network));
    });
}
