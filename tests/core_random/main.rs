//! The core alone, without actors, runtime or store: random schedules over three nodes, in which messages are dropped,
//! doubled and reordered, writes become durable late, and nodes crash between any two steps.
//!
//! `CORE_SEEDS=n` sets how many schedules are run, `CORE_SEED=s` replays one.
#![allow(clippy::unwrap_used)]

#[path = "../common/core_node.rs"]
mod node;

use std::collections::{BTreeMap, BTreeSet};

use node::{Event, Node};
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Action, Answer, Approval, Entry, Genesis, Opening, Operation, Reason, Request, Wait};
use paxos_banking::paxos::Message;
use paxos_banking::types::{AccountId, Amount, Height, NodeId, TransferId};

const STEPS: usize = 3_000;

/// What a client asks for; with what it waits for, since a retry may differ in that alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Transfer(Request),
    Open(Opening),
}

impl Asked {
    /// R10: the debit account, or the account to open, and the id.
    fn identity(&self) -> (AccountId, TransferId) {
        match self {
            Self::Transfer(request) => (request.from, request.id),
            Self::Open(opening) => (opening.account, opening.id),
        }
    }

    /// What it becomes, where it is approved.
    fn operation(&self) -> Operation {
        match *self {
            Self::Transfer(Request { id, from, to, amount, .. }) => {
                Operation { id, action: Action::Transfer { from, to, amount } }
            }
            Self::Open(Opening { id, account, .. }) => Operation { id, action: Action::Open { account } },
        }
    }
}

/// Accounts of each home that clients open and use, whether they are open or not.
const MORE_ACCOUNTS: [&str; 3] = ["x", "y", "z"];

struct World {
    seed: u64,
    rng: Entropy,
    genesis: Genesis,
    nodes: BTreeMap<NodeId, Node>,
    network: Vec<(NodeId, NodeId, Message)>,
    asked: BTreeMap<u128, Asked>,
    answers: BTreeMap<u128, Answer>,
    crashes: usize,
    refused: usize,
    conflicts: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let names: Vec<NodeId> = ["A", "B", "C"].iter().map(|name| name.parse().unwrap()).collect();
        let genesis = Genesis::with_equal_openings(names.iter().copied(), Amount::new(100)).unwrap();
        let mut world = Self {
            seed,
            rng: Entropy::from_seed(seed),
            nodes: names.iter().map(|name| (*name, Node::new(*name, &genesis))).collect(),
            genesis,
            network: Vec::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            crashes: 0,
            refused: 0,
            conflicts: 0,
        };
        for name in names {
            world.nodes.get_mut(&name).unwrap().start();
        }
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.number() % bound as u64).unwrap()
    }

    fn some_node(&mut self) -> NodeId {
        let index = self.below(self.nodes.len());
        *self.nodes.keys().nth(index).unwrap()
    }

    fn chaos_step(&mut self) {
        match self.below(100) {
            0..=54 => self.deliver(true),
            55..=79 => {
                let node = self.some_node();
                self.nodes.get_mut(&node).unwrap().flush();
            }
            80..=89 => self.submit(),
            90..=97 => {
                let node = self.some_node();
                let index = self.below(8);
                self.nodes.get_mut(&node).unwrap().fire_timer(index);
            }
            98 => {
                let (node, batch) = (self.some_node(), self.below(40));
                let what = self.below(3);
                let node = self.nodes.get_mut(&node).unwrap();
                match what {
                    0 => node.settle(),
                    1 => node.collect(),
                    _ => (batch..batch + 8).for_each(|batch| node.stop_waiting(batch)),
                }
            }
            _ => {
                let node = self.some_node();
                self.crashes += 1;
                self.nodes.get_mut(&node).unwrap().crash_and_restart(&self.genesis);
            }
        }
        self.collect_events();
    }

    fn deliver(&mut self, faults: bool) {
        if self.network.is_empty() {
            return;
        }
        let index = self.below(self.network.len());
        let (from, to, message) = self.network[index].clone();
        let doubled = faults && self.below(20) == 0;
        if !doubled {
            self.network.swap_remove(index);
        }
        if faults && self.below(10) == 0 {
            return;
        }
        self.nodes.get_mut(&to).unwrap().receive(from, message);
    }

    /// Mostly the account of a node itself, which has the money.
    fn some_account(&mut self) -> AccountId {
        let (home, which) = (self.some_node(), self.below(4 * MORE_ACCOUNTS.len()));
        MORE_ACCOUNTS.get(which).map_or(AccountId::of_node(home), |name| AccountId::new(name, home).unwrap())
    }

    fn something_asked(&mut self) -> Option<Asked> {
        let index = self.below(self.asked.len().max(1));
        self.asked.values().nth(index).copied()
    }

    fn submit(&mut self) {
        let mut asked = match (self.below(8), self.something_asked()) {
            (0 | 1, Some(before)) => before,
            // An identity that was used before, mostly with other content.
            (2, Some(before)) if self.below(3) == 0 => {
                let (from, id) = before.identity();
                self.something_new(from, id)
            }
            _ => {
                let (from, id) = (self.some_account(), self.asked.len() as u128 + 1);
                self.something_new(from, id.into())
            }
        };
        if self.below(8) == 0 {
            let wait = Wait::Settled;
            asked = match asked {
                Asked::Transfer(request) => Asked::Transfer(Request { wait, ..request }),
                Asked::Open(opening) => Asked::Open(Opening { wait, ..opening }),
            };
        }
        if matches!(asked, Asked::Transfer(Request { from, to, .. }) if from == to) {
            return;
        }
        // Whoever waits longer asks for the same: what comes of an operation is one outcome.
        let same = |(_, other): &(&u128, &Asked)| other.operation() == asked.operation();
        let number = self.asked.iter().find(same).map_or(self.asked.len() as u128 + 1, |(number, _)| *number);
        self.asked.insert(number, asked);
        let home = self.nodes.get_mut(&asked.identity().0.home()).unwrap();
        match asked {
            Asked::Transfer(request) => home.submit(number, request),
            Asked::Open(opening) => home.open(number, opening),
        }
    }

    fn something_new(&mut self, account: AccountId, id: TransferId) -> Asked {
        let wait = Wait::Local;
        if self.below(12) == 0 {
            return Asked::Open(Opening { id, account, wait });
        }
        let amount = Amount::new(1 + self.below(150) as u64);
        Asked::Transfer(Request { id, from: account, to: self.some_account(), amount, wait })
    }

    fn collect_events(&mut self) {
        for (name, node) in &mut self.nodes {
            for event in node.events.drain(..) {
                match event {
                    Event::Sent(to, message) => self.network.push((*name, to, message)),
                    Event::Voted(slot, height) => assert!(
                        slot.block.height() <= height.next(),
                        "R1: {name} votes for block {} at height {height}; {}",
                        slot.block.height(),
                        replay(self.seed)
                    ),
                    Event::Answered(_, Answer::Busy | Answer::NotReady | Answer::Pending) => {}
                    // Whatever it is in conflict with may be parked, and gone with a crash.
                    Event::Answered(_, Answer::Conflict) => self.conflicts += 1,
                    Event::Answered(number, answer) => {
                        let answer = match answer {
                            Answer::Approved(approval) => Answer::Approved(Approval { height: None, ..approval }),
                            other => other,
                        };
                        self.refused += usize::from(matches!(answer, Answer::Refused(_)));
                        let before = self.answers.insert(number, answer.clone());
                        assert!(
                            before.is_none() || before == Some(answer),
                            "R10: an id has one outcome; {}",
                            replay(self.seed)
                        );
                    }
                    Event::Halted(reason) => panic!("{name} halted: {reason}; {}", replay(self.seed)),
                }
            }
        }
        // Bounded, as real queues are: what is dropped here was lost on the way.
        while self.network.len() > 200 {
            let index = usize::try_from(self.rng.number() % 200).unwrap();
            self.network.swap_remove(index);
        }
    }

    /// Properties that hold at every moment.
    fn check(&self) {
        let mut chosen = BTreeMap::new();
        for node in self.nodes.values() {
            for block in &node.disk.chain {
                let before = *chosen.entry(block.height()).or_insert(block.hash());
                assert_eq!(
                    before,
                    block.hash(),
                    "R1, R6: two blocks at height {}; {}",
                    block.height(),
                    replay(self.seed)
                );
            }
            let balances = node.home().bank().balances();
            let sum = balances.values().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount)).unwrap();
            assert_eq!(sum, self.genesis.total(), "R12: conservation; {}", replay(self.seed));
        }
    }

    /// No faults any more: everything settles, all chains are equal, every approval is in them once.
    fn heal_and_check(&mut self) {
        for round in 0..400 {
            for name in self.nodes.keys().copied().collect::<Vec<_>>() {
                let node = self.nodes.get_mut(&name).unwrap();
                node.flush();
                if round % 20 == 19 {
                    node.greet();
                    (0..8).for_each(|index| node.fire_timer(index));
                    node.settle();
                }
            }
            self.collect_events();
            while !self.network.is_empty() {
                self.deliver(false);
                self.collect_events();
            }
            self.check();
        }
        let tips: BTreeSet<_> = self.nodes.values().map(|node| node.home().bank().tip()).collect();
        assert_eq!(tips.len(), 1, "all tips are equal in the end; {}", replay(self.seed));
        for (name, node) in &self.nodes {
            assert_eq!(node.home().log().len(), 0, "every log of {name} settles; {}", replay(self.seed));
            assert_eq!(node.home().parked_len(), 0, "every request of {name} is decided; {}", replay(self.seed));
        }
        let chain = &self.nodes.values().next().unwrap().disk.chain;
        let (mut executed, mut identities) = (BTreeMap::new(), BTreeSet::new());
        for entry in chain.iter().flat_map(|block| block.runs()).flat_map(|run| run.entries()) {
            let Entry { origin, seq, operation } = entry;
            let (account, parts) = (operation.account(), operation.parts());
            assert!(identities.insert((account, operation.id)), "R10: {operation:?} twice; {}", replay(self.seed));
            executed.insert((operation.id, parts), Approval { origin, seq, height: None });
        }
        let asked_for = |operation: &Operation| (operation.id, operation.parts());
        for (number, asked) in &self.asked {
            let found = executed.remove(&asked_for(&asked.operation()));
            match self.answers.get(number) {
                Some(Answer::Approved(told)) => {
                    assert_eq!(found, Some(*told), "R7, R10: {asked:?}; {}", replay(self.seed));
                }
                Some(Answer::Refused(_)) => assert_eq!(found, None, "R9, R10: {asked:?}; {}", replay(self.seed)),
                Some(other) => panic!("{asked:?} {other:?}; {}", replay(self.seed)),
                None => {}
            }
        }
        assert_eq!(executed, BTreeMap::new(), "nobody asked for these; {}", replay(self.seed));
        self.heights_reached();
    }

    /// How many accounts were opened, and how many of these were used.
    fn opened(&self) -> (usize, usize) {
        let bank = self.nodes.values().next().unwrap().home().bank();
        let opened = bank.balances().iter().filter(|(account, _)| !self.genesis.opening().contains_key(account));
        let with_money = opened.clone().filter(|(_, balance)| **balance > Amount::ZERO).count();
        (opened.count(), with_money)
    }

    fn heights_reached(&self) -> Height {
        self.nodes.values().map(|node| node.home().bank().height()).max().unwrap()
    }
}

fn replay(seed: u64) -> String {
    format!("replay with CORE_SEED={seed} cargo test --test core_random")
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

#[test]
fn random_schedules_keep_one_history_and_every_promise() {
    let seeds: Vec<u64> = match number_from("CORE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number_from("CORE_SEEDS").unwrap_or(60)).collect(),
    };
    let (mut blocks, mut crashes, mut approved, mut refused, mut collected) = (0, 0, 0, 0, 0);
    let (mut opened, mut used, mut exists, mut conflicts) = (0, 0, 0, 0);
    for seed in &seeds {
        let mut world = World::new(*seed);
        for _ in 0..STEPS {
            world.chaos_step();
            world.check();
        }
        world.heal_and_check();
        blocks += world.heights_reached().0;
        crashes += world.crashes;
        approved += world.answers.values().filter(|answer| matches!(answer, Answer::Approved(_))).count();
        refused += world.refused;
        let exist = |answer: &&Answer| matches!(answer, Answer::Refused(Reason::AccountExists { .. }));
        exists += world.answers.values().filter(exist).count();
        opened += world.opened().0;
        used += world.opened().1;
        conflicts += world.conflicts;
        collected += world.nodes.values().map(|node| node.collected).sum::<usize>();
    }
    let runs = seeds.len();
    println!(
        "{runs} schedules: {blocks} blocks, {crashes} crashes, {approved} approved, {refused} refusals, \
         {collected} collections waited for, {opened} accounts opened, {used} of them with money, {exists} that existed, \
         {conflicts} conflicts"
    );
    if runs >= 20 {
        assert!(blocks as usize > 10 * runs && approved > 10 * runs && refused > runs && crashes > 10 * runs);
        assert!(collected > runs);
        assert!(opened > 2 * runs && used > runs / 2 && exists > runs / 2 && conflicts > runs);
    }
}
