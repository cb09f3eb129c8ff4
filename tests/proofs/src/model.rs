//! The core under a model checker: nodes of plain values, and a network that delivers everything ever sent in any order,
//! late, again and again, or never, across restarts of either side.
//!
//! A state is small, because its parts are shared: what one node does with one input is worked out once, by the core,
//! and remembered ([`Model::step`]).

mod observe;
mod rules;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use paxos_banking::ledger::{Genesis, Request, Wait};
use paxos_banking::paxos::Message;
use paxos_banking::types::{AccountId, Amount, NodeId};
use stateright::Property;

pub use observe::{Local, Rule};
pub use rules::{ONE_BLOCK_PER_HEIGHT, Reached};
pub use scope::{Before, Flaw, Scope};

use crate::node::Timer;

/// 128 bits of a value: two that differ in anything that the derived `Hash` covers differ here.
fn id_of(value: &impl Hash) -> u128 {
    let half = |half: u8| {
        let mut hasher = DefaultHasher::new();
        (half, value).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// A value with its id, shared by all states in which it occurs.
#[derive(Debug)]
pub struct Shared<T> {
    id: u128,
    /// The value.
    pub value: T,
}

impl<T: Hash> Shared<T> {
    fn new(value: T) -> Arc<Self> {
        Arc::new(Self { id: id_of(&value), value })
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    /// By whom.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// What.
    pub message: Message,
}

/// What somebody asks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// To settle now.
    Settle,
    /// To tell the others its height, as a HELLO does.
    Greet,
    /// To transfer so much from the node's own account to that of another.
    Transfer(&'static str, u64),
}

/// What happens to one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message comes.
    Deliver(Arc<Shared<Sent>>),
    /// Its writes become durable.
    Flush,
    /// It crashes, and starts again.
    Crash,
    /// A timer of its own runs out.
    Fire(Timer),
    /// The scope's question with this index is asked.
    Ask(usize),
}

/// One step: which node, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    node: usize,
    input: Input,
}

/// All nodes, what was ever sent, and what may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The nodes, in name order.
    pub nodes: [Arc<Shared<Local>>; 3],
    /// Everything ever sent, in the order of the ids: delivering takes nothing away, so a message may come twice.
    pub sent: Arc<Vec<Arc<Shared<Sent>>>>,
    /// One bit for each question of the scope that was asked.
    asked: u8,
    crashes: u8,
    timers: u8,
}

/// What a node came to by one input, and what it sent.
type Outcome = (Arc<Shared<Local>>, Vec<Arc<Shared<Sent>>>);

/// Outcomes by the ids of the node and of the input.
type Known = BTreeMap<(u128, u128), Arc<Outcome>>;

/// A scope under the checker.
pub struct Model {
    scope: Scope,
    genesis: Genesis,
    names: [NodeId; 3],
    /// What was worked out before, in shards, so that threads seldom wait for each other.
    known: Vec<Mutex<Known>>,
    seen: Arc<Seen>,
}

/// What the search came by.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many states had their successors looked at: where the search was complete, all there are.
    pub expanded: AtomicUsize,
    /// Where the scope collects them, what the nodes came to, all together: their states without their timers.
    pub nodes: Mutex<BTreeSet<u128>>,
}

impl Model {
    /// The model of a scope.
    pub fn new(scope: Scope) -> Self {
        let names = ["A", "B", "C"].map(|name| name.parse().unwrap());
        let genesis = Genesis::with_equal_openings(names, Amount::new(100)).unwrap();
        let known = (0..64).map(|_| Mutex::default()).collect();
        Self { scope, genesis, names, known, seen: Arc::default() }
    }

    /// What the search comes by.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.clone()
    }

    /// The scope.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    fn index(&self, node: NodeId) -> usize {
        self.names.iter().position(|name| *name == node).unwrap()
    }

    /// What comes of an input to a node. It depends on nothing else, so it is worked out once.
    fn step(&self, local: &Arc<Shared<Local>>, input: &Input) -> Arc<Outcome> {
        let key = (local.id, id_of(input));
        let shard = &self.known[usize::try_from(key.1 % 64).unwrap()];
        if let Some(outcome) = shard.lock().unwrap().get(&key) {
            return outcome.clone();
        }
        let outcome = Arc::new(self.work_out(local, input));
        shard.lock().unwrap().insert(key, outcome.clone());
        outcome
    }

    fn work_out(&self, local: &Arc<Shared<Local>>, input: &Input) -> Outcome {
        let (mut next, mut sent) = (local.value.clone(), Vec::new());
        match input {
            Input::Deliver(sent) => {
                next.waiting.insert(sent.id);
                next.node.receive(sent.value.from, sent.value.message.clone());
            }
            Input::Flush => next.node.flush(),
            Input::Crash => next.crash(&self.genesis, self.scope.flaw),
            Input::Fire(timer) => next.node.fire(*timer),
            Input::Ask(index) => self.ask(&mut next, *index),
        }
        next.observe(&mut sent);
        let slow = self.scope.slow.contains(&next.me.as_str());
        while !slow && next.node.writes() {
            next.node.flush();
            next.observe(&mut sent);
        }
        if !next.node.writes() {
            next.waiting.clear();
        }
        if self.scope.reduced {
            next.drop_idle_timers();
        }
        next.look_at_balances(self.genesis.total());
        sent.retain(|sent| !(self.scope.loses)(&sent.message));
        (Shared::new(next), sent.into_iter().map(Shared::new).collect())
    }

    fn ask(&self, local: &mut Local, index: usize) {
        match self.scope.ask(index) {
            (_, Ask::Settle) => local.node.settle(),
            (_, Ask::Greet) => local.node.greet(),
            (from, Ask::Transfer(to, amount)) => {
                let account = |name: &str| name.parse::<AccountId>().unwrap();
                let (id, amount) = ((index as u128 + 1).into(), Amount::new(amount));
                let request = Request { id, from: account(from), to: account(to), amount, wait: Wait::Local };
                local.node.submit(index as u128, request);
            }
        }
    }

    /// The state after a step; `None` where nothing came of it.
    fn after(&self, state: &State, step: &Step) -> Option<State> {
        let outcome = self.step(&state.nodes[step.node], &step.input);
        let (local, sent) = &*outcome;
        let mut next = state.clone();
        next.nodes[step.node] = local.clone();
        match step.input {
            Input::Crash => next.crashes += 1,
            Input::Fire(timer) if counts(timer) => next.timers += 1,
            Input::Ask(index) => next.asked |= 1 << index,
            _ if local == &state.nodes[step.node] && sent.is_empty() => return None,
            _ => {}
        }
        for message in sent {
            if let Err(place) = next.sent.binary_search_by_key(&message.id, |other| other.id) {
                Arc::make_mut(&mut next.sent).insert(place, message.clone());
            }
        }
        if self.scope.reduced {
            self.drop_spent(&mut next);
        }
        (next != *state).then_some(next)
    }

    /// Two states that differ in a message that will do nothing, whenever it comes, are one.
    fn drop_spent(&self, state: &mut State) {
        let spent = |sent: &Arc<Shared<Sent>>| {
            let local = &state.nodes[self.index(sent.value.to)];
            local.value.may_be_done_with(&sent.value.message) && {
                let outcome = self.step(local, &Input::Deliver(sent.clone()));
                outcome.0 == *local && outcome.1.is_empty()
            }
        };
        if state.sent.iter().any(spent) {
            state.sent = Arc::new(state.sent.iter().filter(|sent| !spent(sent)).cloned().collect());
        }
    }
}

/// Whether a scope bounds how often such a timer runs out. What the others do can be done once.
fn counts(timer: Timer) -> bool {
    use paxos_banking::paxos::ProposerTimer::Wait;
    use paxos_banking::reconcile::ReconcileTimer::Retry;
    matches!(timer, Timer::Proposer(Wait { .. }) | Timer::Reconcile(Retry) | Timer::Watch(..))
}

impl stateright::Model for Model {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![scope::start(self)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        self.seen.expanded.fetch_add(1, Ordering::Relaxed);
        if self.scope.collects {
            let nodes = state.nodes.each_ref().map(|local| local.value.without_timers());
            self.seen.nodes.lock().unwrap().insert(id_of(&nodes));
        }
        let deliveries = state.sent.iter().map(|sent| (self.index(sent.value.to), sent));
        let deliveries = deliveries.filter(|(node, sent)| !state.nodes[*node].value.waiting.contains(&sent.id));
        steps.extend(deliveries.map(|(node, sent)| Step { node, input: Input::Deliver(sent.clone()) }));
        let asks = (0..self.scope.asks.len()).filter(|index| state.asked & 1 << index == 0);
        steps.extend(asks.map(|index| Step {
            node: self.index(self.scope.asks[index].0.parse().unwrap()),
            input: Input::Ask(index),
        }));
        for (node, local) in state.nodes.iter().enumerate() {
            let timers = local.value.node.timers().iter();
            let timers = timers.filter(|timer| !counts(**timer) || state.timers < self.scope.timers);
            steps.extend(timers.map(|timer| Step { node, input: Input::Fire(*timer) }));
            if local.value.node.writes() {
                steps.push(Step { node, input: Input::Flush });
            }
            let crashing = self.scope.crashing.contains(&self.names[node].as_str());
            if crashing && state.crashes < self.scope.crashes {
                steps.push(Step { node, input: Input::Crash });
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        self.after(state, &step)
    }

    fn within_boundary(&self, state: &State) -> bool {
        let promises = state.nodes.iter().filter_map(|local| local.value.node.disk.promise);
        promises.into_iter().all(|promise| promise.round <= self.scope.rounds)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::properties(&self.scope)
    }

    fn format_action(&self, step: &Step) -> String {
        let what = match &step.input {
            Input::Deliver(sent) => format!("hears {:?} from {}", sent.value.message, sent.value.from),
            Input::Ask(index) => format!("is asked: {:?}", self.scope.ask(*index).1),
            other => format!("{other:?}"),
        };
        format!("{}: {what}", self.names[step.node])
    }
}
