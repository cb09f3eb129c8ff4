//! Homes, blocks and settlement against a reference that is as simple as can be: lists of what was approved and of what was
//! settled, from which everything is computed anew whenever it is asked for.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use paxos_banking::effect::Effect;
use paxos_banking::ledger::{
    Accounts, Action, Answer, Approval, Bank, Block, Candidate, Genesis, Home, HomeAction, HomeLimits, HomeStart, Mark,
    Memory, Opening, Operation, Reason, Request, SettledAt, Ticket, Value, Wait,
};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};
use proptest::prelude::*;

const OPENING: u64 = 50;
/// Three homes with the account that each node has, and two that can be opened.
const HOMES: [&str; 3] = ["A", "B", "C"];
const ACCOUNTS: [&str; 9] = ["A", "B", "C", "x@A", "x@B", "x@C", "y@A", "y@B", "y@C"];

/// What a client does, or what happens at a home.
#[derive(Clone, Debug)]
enum Command {
    /// A transfer between two of the accounts, under one of a few ids, at the home of the first or another one.
    Transfer {
        at: usize,
        from: usize,
        to: usize,
        amount: u64,
        id: u128,
    },
    Open {
        at: usize,
        account: usize,
        id: u128,
    },
    /// A home settles, hearing itself and these.
    Settle {
        at: usize,
        hears: [bool; 3],
    },
    /// A home hears of the blocks that it lacks.
    CatchUp {
        at: usize,
    },
}

fn command() -> impl Strategy<Value = Command> {
    // Mostly the home of the account, and mostly a new id.
    let id = || prop_oneof![1 => 0..12u128, 3 => any::<u128>()];
    let amount = prop_oneof![8 => 1..OPENING, 1 => Just(0), 1 => OPENING..4 * OPENING, 1 => Just(u64::MAX)];
    let pick = || prop_oneof![2 => 0..3usize, 1 => 3..9usize];
    let at = |account: usize, elsewhere: usize| if elsewhere < 3 { elsewhere } else { account % 3 };
    prop_oneof![
        8 => (pick(), pick(), amount, id(), 0..40usize)
            .prop_map(move |(from, to, amount, id, other)| Command::Transfer { at: at(from, other), from, to, amount, id }),
        2 => (pick(), id(), 0..40usize)
            .prop_map(move |(account, id, other)| Command::Open { at: at(account, other), account, id }),
        2 => (0..3usize, any::<[bool; 3]>()).prop_map(|(at, hears)| Command::Settle { at, hears }),
        1 => (0..3usize).prop_map(|at| Command::CatchUp { at }),
    ]
}

fn node(index: usize) -> NodeId {
    HOMES[index].parse().unwrap()
}

fn account(index: usize) -> AccountId {
    ACCOUNTS[index].parse().unwrap()
}

/// The reference: what was approved at which home, in order, and the blocks as lists of such entries.
#[derive(Default)]
struct Reference {
    approved: Vec<(NodeId, Operation)>,
    blocks: Vec<Vec<(NodeId, Operation)>>,
    /// How many blocks each home has applied.
    heights: BTreeMap<NodeId, usize>,
    /// Refusals are final.
    refused: BTreeMap<(TransferId, AccountId), ((AccountId, Amount), Reason)>,
}

impl Reference {
    fn height(&self, home: NodeId) -> usize {
        self.heights.get(&home).copied().unwrap_or_default()
    }

    fn settled_at(&self, home: NodeId) -> impl Iterator<Item = &(NodeId, Operation)> {
        self.blocks[..self.height(home)].iter().flatten()
    }

    /// All balances that some entries lead to.
    fn balances<'a>(entries: impl Iterator<Item = &'a (NodeId, Operation)>) -> BTreeMap<AccountId, i128> {
        let mut balances: BTreeMap<_, _> = (0..3).map(|index| (account(index), i128::from(OPENING))).collect();
        for (_, operation) in entries {
            match operation.action {
                Action::Transfer { from, to, amount } => {
                    *balances.get_mut(&from).unwrap() -= i128::from(amount.units());
                    *balances.get_mut(&to).unwrap() += i128::from(amount.units());
                }
                Action::Open { account } => assert_eq!(balances.insert(account, 0), None, "opened twice"),
            }
        }
        balances
    }

    /// What a home approved and has not heard to be settled.
    fn unsettled(&self, home: NodeId) -> impl Iterator<Item = &(NodeId, Operation)> {
        let settled = self.settled_at(home).filter(|(origin, _)| *origin == home).count();
        self.approved.iter().filter(move |(origin, _)| *origin == home).skip(settled)
    }

    fn spendable(&self, home: NodeId) -> BTreeMap<AccountId, i128> {
        let mut balances = Self::balances(self.settled_at(home));
        balances.retain(|account, _| account.home() == home);
        for (_, operation) in self.unsettled(home) {
            if let Action::Transfer { from, to, amount } = operation.action {
                let units = i128::from(amount.units());
                balances.entry(from).and_modify(|balance| *balance -= units);
                balances.entry(to).and_modify(|balance| *balance += units);
            }
        }
        balances
    }

    /// What was decided of an identity before.
    fn decided(&self, operation: &Operation) -> Option<Answer> {
        let (from, to, amount) = operation.parts();
        if let Some((content, reason)) = self.refused.get(&(operation.id, from)) {
            let same = *content == (to, amount);
            return Some(if same { Answer::Refused(reason.clone()) } else { Answer::Conflict });
        }
        let home = from.home();
        let mut of_home = self.approved.iter().filter(|(origin, _)| *origin == home);
        let index = of_home.position(|(_, other)| (other.id, other.account()) == (operation.id, from))?;
        let (_, other) = self.approved.iter().filter(|(origin, _)| *origin == home).nth(index)?;
        if other != operation {
            return Some(Answer::Conflict);
        }
        let holds = |block: &Vec<(NodeId, Operation)>| block.contains(&(home, *other));
        let block = self.blocks[..self.height(home)].iter().position(holds);
        let height = block.map(|index| Height(index as u64 + 1));
        Some(Answer::Approved(Approval { origin: home, seq: Seq(index as u64 + 1), height }))
    }

    /// What a home says at once; `None` where it has to settle first.
    fn decide(&mut self, home: NodeId, operation: Operation) -> Option<Answer> {
        let (from, to, amount) = operation.parts();
        let opens = matches!(operation.action, Action::Open { .. });
        if from.home() != home {
            return Some(Answer::Refused(Reason::NotHome { home: from.home() }));
        }
        if !opens && amount == Amount::ZERO {
            return Some(Answer::Refused(Reason::AmountZero));
        }
        if !opens && from == to {
            return Some(Answer::Refused(Reason::SameAccount));
        }
        if let Some(answer) = self.decided(&operation) {
            return Some(answer);
        }
        let height = Height(self.height(home) as u64);
        let balances = Self::balances(self.settled_at(home));
        let opening = self.unsettled(home).any(|(_, other)| other.action == operation.action);
        if opens && (balances.contains_key(&from) || opening) {
            return Some(self.refuse(&operation, Reason::AccountExists { height, account: from }));
        }
        if !opens && let Some(account) = [from, to].into_iter().find(|account| !balances.contains_key(account)) {
            return Some(self.refuse(&operation, Reason::UnknownAccount { height, account }));
        }
        if !opens && self.spendable(home)[&from] < i128::from(amount.units()) {
            return None;
        }
        Some(self.approve(home, operation))
    }

    fn approve(&mut self, home: NodeId, operation: Operation) -> Answer {
        self.approved.push((home, operation));
        self.decided(&operation).unwrap()
    }

    fn refuse(&mut self, operation: &Operation, reason: Reason) -> Answer {
        let (from, to, amount) = operation.parts();
        self.refused.insert((operation.id, from), ((to, amount), reason.clone()));
        Answer::Refused(reason)
    }

    /// A block of what these homes approved and no block holds yet; none where that is nothing.
    fn settle(&mut self, heard: &BTreeSet<NodeId>) {
        let mut block = Vec::new();
        for home in heard {
            let settled = self.blocks.iter().flatten().filter(|(origin, _)| origin == home).count();
            block.extend(self.approved.iter().filter(|(origin, _)| origin == home).skip(settled).copied());
        }
        if !block.is_empty() {
            self.blocks.push(block);
        }
    }
}

/// The homes themselves.
struct Homes {
    homes: BTreeMap<NodeId, Home>,
    chain: Vec<Arc<Block>>,
    reference: Reference,
}

impl Homes {
    fn new() -> Self {
        let genesis = Genesis::with_equal_openings((0..3).map(node), Amount::new(OPENING)).unwrap();
        let homes = (0..3).map(node).map(|me| {
            let start = HomeStart {
                bank: Bank::new(&genesis),
                log: Vec::new(),
                memory: Memory::new(1_000_000),
                settled_at: SettledAt::default(),
                saved: 0,
            };
            let (mut home, effects) = Home::new(me, 2, HomeLimits::default(), start).unwrap();
            assert_eq!(effects, []);
            home.set_ready();
            (me, home)
        });
        let homes = homes.collect();
        Self { homes, chain: Vec::new(), reference: Reference::default() }
    }

    fn run(&mut self, command: &Command) {
        match *command {
            Command::Transfer { at, from, to, amount, id } => {
                let (id, from, to, amount) = (id.into(), account(from), account(to), Amount::new(amount));
                let request = Request { id, from, to, amount, wait: Wait::Local };
                let operation = Operation { id, action: Action::Transfer { from, to, amount } };
                let effects = self.homes.get_mut(&node(at)).unwrap().submit([(ticket(), request)]);
                self.answered(node(at), operation, effects);
            }
            Command::Open { at, account: opened, id } => {
                let (id, account) = (id.into(), account(opened));
                let operation = Operation { id, action: Action::Open { account } };
                let effects =
                    self.homes.get_mut(&node(at)).unwrap().open(ticket(), Opening { id, account, wait: Wait::Local });
                self.answered(node(at), operation, effects);
            }
            Command::Settle { at, hears } => {
                let effects = self.homes.get_mut(&node(at)).unwrap().settle();
                let mark = settles(&effects).unwrap();
                let heard = heard(at, hears);
                self.settle(node(at), mark, &heard);
            }
            Command::CatchUp { at } => {
                self.catch_up(node(at));
            }
        }
        self.compare();
    }

    /// Compares what a home says with the reference, settling where it has to.
    fn answered(&mut self, home: NodeId, operation: Operation, effects: Vec<Effect<HomeAction>>) {
        let expected = self.reference.decide(home, operation);
        assert_eq!(answer(&effects), expected, "{operation:?} at {home}");
        if expected.is_none() {
            self.answered_later(home, operation, settles(&effects).unwrap());
        }
    }

    /// A request that waits: the blocks that the home lacks may suffice, or else the settlement decides.
    fn answered_later(&mut self, home: NodeId, operation: Operation, mark: Mark) {
        let (from, _, amount) = operation.parts();
        let covers = |reference: &Reference| reference.spendable(home)[&from] >= i128::from(amount.units());
        // Not everybody is heard, so that something is missing now and then.
        let index = HOMES.iter().position(|name| *name == home.as_str()).unwrap();
        let heard = BTreeSet::from([home, node((index + 1) % 3)]);
        let effects = self.catch_up(home);
        if covers(&self.reference) {
            assert_eq!(answer(&effects), Some(self.reference.approve(home, operation)), "{operation:?} at {home}");
            assert_eq!(answer(&self.settle(home, mark, &heard)), None);
            return;
        }
        assert_eq!(answer(&effects), None);
        let effects = self.settle(home, mark, &heard);
        let expected = if covers(&self.reference) {
            self.reference.approve(home, operation)
        } else {
            let height = Height(self.reference.height(home) as u64);
            let spendable = Amount::new(u64::try_from(self.reference.spendable(home)[&from]).unwrap());
            let not_heard = (0..3).map(node).filter(|node| !heard.contains(node)).collect();
            self.reference.refuse(&operation, Reason::InsufficientFunds { height, spendable, not_heard })
        };
        assert_eq!(answer(&effects), Some(expected), "{operation:?} at {home}, settled");
    }

    /// A collection of this home's which hears these, and the block that comes of it.
    fn settle(&mut self, home: NodeId, mark: Mark, heard: &BTreeSet<NodeId>) -> Vec<Effect<HomeAction>> {
        let mut effects = self.catch_up(home);
        let candidate =
            |heard: &NodeId| (*heard, Arc::new(Candidate { accepted: None, log: self.homes[heard].offer() }));
        let candidates: BTreeMap<_, _> = heard.iter().map(candidate).collect();
        let composition = self.homes.get_mut(&home).unwrap().compose(&candidates);
        assert!(composition.excluded.is_empty() && composition.rejected.is_empty() && !composition.left_out);
        self.reference.settle(heard);
        match composition.value {
            Value::Built(block) => self.chain.push(block),
            Value::Nothing => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(self.chain.len(), self.reference.blocks.len());
        effects.extend(self.catch_up(home));
        let not_heard: BTreeSet<_> = (0..3).map(node).filter(|node| !heard.contains(node)).collect();
        effects.extend(self.homes.get_mut(&home).unwrap().collection_done(mark, Some(&not_heard)));
        effects
    }

    fn catch_up(&mut self, node: NodeId) -> Vec<Effect<HomeAction>> {
        let home = self.homes.get_mut(&node).unwrap();
        let height = usize::try_from(home.bank().height().0).unwrap();
        let effects = self.chain[height..].iter().flat_map(|block| home.apply(block)).collect();
        self.reference.heights.insert(node, self.chain.len());
        effects
    }

    /// Everything that a home knows is what the reference computes.
    fn compare(&self) {
        for (me, home) in &self.homes {
            let units = |balances: &Accounts<Amount>| -> BTreeMap<AccountId, i128> {
                balances.iter().map(|(account, amount)| (*account, i128::from(amount.units()))).collect()
            };
            let settled = Reference::balances(self.reference.settled_at(*me));
            assert_eq!(units(home.bank().balances()), settled, "{me}: settled");
            assert_eq!(settled.values().sum::<i128>(), 3 * i128::from(OPENING), "R12");
            assert!(settled.values().all(|balance| *balance >= 0), "R12");
            assert_eq!(units(home.spendable()), self.reference.spendable(*me), "{me}: spendable");
            let log: Vec<_> = self.reference.unsettled(*me).map(|(_, operation)| *operation).collect();
            assert_eq!(home.log().copied().collect::<Vec<_>>(), log, "{me}: log");
            assert_eq!(home.parked_len(), 0);
            assert_eq!(home.bank().height(), Height(self.reference.height(*me) as u64));
        }
        let all = Reference::balances(self.reference.blocks.iter().flatten());
        assert_eq!(all.values().sum::<i128>(), 3 * i128::from(OPENING), "R12");
    }
}

fn ticket() -> Ticket {
    Ticket { batch: 1, index: 0 }
}

fn heard(at: usize, hears: [bool; 3]) -> BTreeSet<NodeId> {
    let mut heard: BTreeSet<_> = (0..3).filter(|index| *index == at || hears[*index]).map(node).collect();
    if heard.len() < 2 {
        heard.insert(node((at + 1) % 3));
    }
    heard
}

fn answer(effects: &[Effect<HomeAction>]) -> Option<Answer> {
    let mut answers = effects.iter().filter_map(|effect| match effect {
        Effect::Act(HomeAction::Reply(_, answer)) => Some(answer.clone()),
        _ => None,
    });
    let first = answers.next();
    assert_eq!(answers.next(), None, "one answer");
    first
}

fn settles(effects: &[Effect<HomeAction>]) -> Option<Mark> {
    effects.iter().find_map(|effect| match effect {
        Effect::Act(HomeAction::Settle(mark)) => Some(*mark),
        _ => None,
    })
}

proptest! {
    #[test]
    fn homes_do_what_a_list_of_operations_says(commands in prop::collection::vec(command(), 1..60)) {
        let mut homes = Homes::new();
        for command in &commands {
            homes.run(command);
        }
        // In the end all settle all: every approval is in the chain once, in the order of its home.
        for index in 0..3 {
            homes.run(&Command::Settle { at: index, hears: [true; 3] });
        }
        let settled = homes.chain.iter().flat_map(|block| block.runs()).flat_map(|run| run.entries());
        let mut settled: Vec<_> = settled.map(|entry| (entry.origin, entry.operation)).collect();
        let mut approved = homes.reference.approved.clone();
        settled.sort_by_key(|(origin, _)| *origin);
        approved.sort_by_key(|(origin, _)| *origin);
        prop_assert_eq!(settled, approved);
    }
}
