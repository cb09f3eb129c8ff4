//! One node as plain values: the core's roles, the effects that wait for the disk, and the disk. Random schedules and the
//! model checker run this very code.
#![allow(dead_code, reason = "each of them uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use paxos_banking::effect::{Effect, HaltReason, Record, Slot};
use paxos_banking::ledger::{
    Answer, Bank, Block, Composition, Genesis, Home, HomeAction, HomeLimits, HomeStart, Mark, Memory, Opening,
    Operation, Refusal, Request, SettledAt, Ticket,
};
use paxos_banking::paxos::{
    Accept, Acceptor, AcceptorAction, BlocksResponse, Learner, LearnerAction, Message, Prepare, PrepareView, Proposer,
    ProposerAction, ProposerTimer, SentBlock, Verdict,
};
use paxos_banking::reconcile::{Reconcile, ReconcileAction, ReconcileTimer};
use paxos_banking::types::{Ballot, CollectionNumber, Height, Incarnation, NodeId, Seq};

/// What a node did that others can see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Sent(NodeId, Message),
    Answered(u128, Answer),
    /// A vote became durable, when the chain had this height.
    Voted(Slot, Height),
    Halted(HaltReason),
}

/// What is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    pub chain: Vec<Arc<Block>>,
    pub log: BTreeMap<Seq, Operation>,
    pub promise: Option<Ballot>,
    pub slot: Option<Slot>,
    refusals: Vec<(u64, Vec<Refusal>)>,
    admitted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Act {
    Home(HomeAction),
    Acceptor(AcceptorAction),
    Learner(LearnerAction),
    Reconcile(ReconcileAction),
    PrepareView(NodeId, Prepare, PrepareView),
    Verdict(NodeId, Accept, Verdict),
    Composed(CollectionNumber, Composition),
}

/// A timer that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    Proposer(ProposerTimer),
    Reconcile(ReconcileTimer),
    Watch(Ballot, Height),
}

impl Timer {
    /// A new timer of a kind replaces the old one. Of votes the last is watched: there is no other.
    fn same_kind(&self, other: &Self) -> bool {
        use std::mem::discriminant;
        match (self, other) {
            (Self::Proposer(one), Self::Proposer(other)) => discriminant(one) == discriminant(other),
            (Self::Reconcile(one), Self::Reconcile(other)) => one == other,
            (one, other) => discriminant(one) == discriminant(other),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Roles {
    home: Home,
    acceptor: Acceptor,
    proposer: Proposer,
    learner: Learner,
    reconcile: Reconcile,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    me: NodeId,
    pub disk: Disk,
    roles: Roles,
    /// Held back until what stands before it is durable: one queue for all roles that tell of a disk.
    outbox: VecDeque<Effect<Act>>,
    /// What the proposer does, which waits for no write. Empty between two steps.
    proposer: VecDeque<ProposerAction>,
    timers: BTreeSet<Timer>,
    /// A planted bug: what stands behind a write happens before it.
    pub says_before_it_writes: bool,
    pub events: Vec<Event>,
    peers: Vec<NodeId>,
    /// The client's number for each batch of this process.
    batches: Vec<u128>,
    /// Of each collection that was waited for, the last entry of this home when that began.
    collects: Vec<Seq>,
    pub collected: usize,
}

impl Node {
    pub fn new(me: NodeId, genesis: &Genesis) -> Self {
        let disk = Disk { admitted: true, ..Disk::default() };
        let peers = genesis.nodes().iter().copied().filter(|node| *node != me).collect();
        let roles = load(me, genesis, &disk);
        Self {
            me,
            disk,
            roles,
            outbox: VecDeque::new(),
            proposer: VecDeque::new(),
            timers: BTreeSet::new(),
            says_before_it_writes: false,
            events: Vec::new(),
            peers,
            batches: Vec::new(),
            collects: Vec::new(),
            collected: 0,
        }
    }

    pub fn home(&self) -> &Home {
        &self.roles.home
    }

    pub fn timers(&self) -> &BTreeSet<Timer> {
        &self.timers
    }

    pub fn stop(&mut self, timer: Timer) {
        self.timers.remove(&timer);
    }

    /// True while something waits to become durable.
    pub fn writes(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub fn start(&mut self) {
        let effects = self.roles.reconcile.start();
        self.effects(effects, Act::Reconcile);
        for peer in self.peers.clone() {
            let effects = self.roles.reconcile.on_link(peer, true);
            self.effects(effects, Act::Reconcile);
            let actions = self.roles.proposer.on_link(peer, true, true);
            self.proposer.extend(actions);
        }
        let effects = self.roles.acceptor.start();
        self.effects(effects, Act::Acceptor);
        self.release();
    }

    /// Everything that was not durable is gone.
    pub fn crash_and_restart(&mut self, genesis: &Genesis) {
        self.outbox.clear();
        self.proposer.clear();
        self.timers.clear();
        self.events.clear();
        self.batches.clear();
        self.collects.clear();
        self.roles = load(self.me, genesis, &self.disk);
        self.start();
    }

    /// Tells every peer this node's height, as a HELLO does.
    pub fn greet(&mut self) {
        let request = self.roles.reconcile.on_request(self.me);
        for peer in self.peers.clone() {
            for effect in request.clone() {
                if let Effect::Act(ReconcileAction::Send(_, message)) = effect {
                    self.events.push(Event::Sent(peer, message));
                }
            }
        }
    }

    pub fn flush(&mut self) {
        // What is queued now goes out as one write; what its release queues waits for the next.
        for effect in &self.outbox {
            if let Effect::Persist(record) = effect {
                if let Record::Accepted(slot) = record {
                    self.events.push(Event::Voted(slot.clone(), Height(self.disk.chain.len() as u64)));
                }
                self.disk.write(self.me, record);
            }
        }
        let queued = std::mem::take(&mut self.outbox);
        for effect in queued {
            if let Effect::Act(act) = effect {
                self.run(act);
            }
        }
        self.release();
    }

    pub fn fire_timer(&mut self, index: usize) {
        if let Some(timer) = self.timers.iter().nth(index % self.timers.len().max(1)).copied() {
            self.fire(timer);
        }
    }

    /// A timer that runs is over.
    pub fn fire(&mut self, timer: Timer) {
        self.timers.remove(&timer);
        match timer {
            Timer::Proposer(timer) => {
                let actions = self.roles.proposer.on_timer(timer);
                self.proposer.extend(actions);
            }
            Timer::Reconcile(timer) => {
                let effects = self.roles.reconcile.on_timer(timer);
                self.effects(effects, Act::Reconcile);
            }
            Timer::Watch(ballot, height) if self.roles.acceptor.unresolved(ballot, height) => {
                self.start_timer(Timer::Watch(ballot, height));
                self.settle_from(0);
            }
            Timer::Watch(..) => {}
        }
        self.release();
    }

    pub fn settle(&mut self) {
        let effects = self.roles.home.settle();
        self.home_effects(effects);
        self.release();
    }

    pub fn submit(&mut self, number: u128, request: Request) {
        let ticket = Ticket { batch: self.batches.len() as u64, index: 0 };
        self.batches.push(number);
        let effects = self.roles.home.submit([(ticket, request)]);
        self.home_effects(effects);
        self.release();
    }

    pub fn open(&mut self, number: u128, opening: Opening) {
        let ticket = Ticket { batch: self.batches.len() as u64, index: 0 };
        self.batches.push(number);
        let effects = self.roles.home.open(ticket, opening);
        self.home_effects(effects);
        self.release();
    }

    /// A client gives up waiting.
    pub fn stop_waiting(&mut self, batch: usize) {
        let effects = self.roles.home.stop_waiting(&[batch as u64].into());
        self.home_effects(effects);
        self.release();
    }

    /// Somebody waits for a collection that begins from now on.
    pub fn collect(&mut self) {
        let ticket = Ticket { batch: u64::MAX, index: u32::try_from(self.collects.len()).unwrap() };
        self.collects.push(self.roles.home.last_seq());
        let effects = self.roles.home.collect(ticket);
        self.home_effects(effects);
        self.release();
    }

    pub fn receive(&mut self, from: NodeId, message: Message) {
        let Roles { home, acceptor, proposer, learner, reconcile } = &mut self.roles;
        match message {
            Message::Prepare(prepare) => {
                let view = PrepareView { height: home.bank().height(), state: home.bank().state(), log: home.offer() };
                self.outbox.push_back(Effect::Act(Act::PrepareView(from, prepare, view)));
            }
            Message::Accept(accept) => {
                let (height, state) = (home.bank().height(), home.bank().state());
                let fault = home.check(&accept.block).err();
                let verdict = Verdict { height, state, fault };
                self.outbox.push_back(Effect::Act(Act::Verdict(from, accept, verdict)));
            }
            Message::Promise(promise) => {
                let actions = proposer.on_promise(from, promise);
                self.proposer.extend(actions);
            }
            Message::Nack(nack) => {
                let actions = proposer.on_nack(from, nack);
                self.proposer.extend(actions);
            }
            Message::Idle(idle) => {
                acceptor.on_idle(idle.ballot);
                let actions = proposer.on_idle(idle);
                self.proposer.extend(actions);
            }
            Message::Accepted(accepted) => {
                let actions = learner.on_accepted(from, accepted);
                self.act_all(actions, Act::Learner);
            }
            Message::Commit(commit) => {
                let actions = learner.on_commit(from, commit);
                self.act_all(actions, Act::Learner);
            }
            Message::EntryFailed(failed) => {
                let effects = home.own_entry_failed(failed.seq, failed.fault);
                self.home_effects(effects);
            }
            Message::ReconcileRequest(_) => {
                let effects = reconcile.on_request(from);
                self.effects(effects, Act::Reconcile);
            }
            Message::ReconcileAck(ack) => {
                let mut effects = reconcile.on_gap(ack.height().unwrap());
                effects.extend(reconcile.on_ack(from, &ack));
                self.effects(effects, Act::Reconcile);
            }
            Message::BlocksRequest(request) => {
                let effects = reconcile.on_blocks_request(from, request);
                self.effects(effects, Act::Reconcile);
            }
            Message::BlocksResponse(response) => {
                let effects = reconcile.on_blocks(from, response);
                self.effects(effects, Act::Reconcile);
            }
            Message::Hello(_) | Message::Refused(_) => unreachable!("links are the actors' business"),
        }
        self.release();
    }

    fn effects<A>(&mut self, effects: Vec<Effect<A>>, wrap: impl Fn(A) -> Act) {
        for effect in effects {
            match effect {
                Effect::Persist(record) => self.outbox.push_back(Effect::Persist(record)),
                Effect::Act(action) => self.outbox.push_back(Effect::Act(wrap(action))),
                // It waits for nothing.
                Effect::Halt(reason) => self.events.push(Event::Halted(reason)),
            }
        }
    }

    /// As in the Ledger's actor: a wish for a settlement waits for a block that is being written, and for nothing else.
    fn home_effects(&mut self, effects: Vec<Effect<HomeAction>>) {
        for effect in effects {
            match effect {
                Effect::Act(HomeAction::Settle(mark)) if !self.writes_block() => self.settle_from(mark),
                effect => self.effects(vec![effect], Act::Home),
            }
        }
    }

    fn writes_block(&self) -> bool {
        self.outbox.iter().any(|effect| matches!(effect, Effect::Act(Act::Home(HomeAction::Applied { .. }))))
    }

    fn settle_from(&mut self, mark: Mark) {
        let actions = self.roles.proposer.on_settle(mark);
        self.proposer.extend(actions);
    }

    fn act_all<A>(&mut self, actions: Vec<A>, wrap: impl Fn(A) -> Act) {
        self.outbox.extend(actions.into_iter().map(|action| Effect::Act(wrap(action))));
    }

    /// Runs whatever stands behind no write.
    fn release(&mut self) {
        loop {
            if let Some(action) = self.proposer.pop_front() {
                self.run_proposer(action);
            } else if let Some(index) = self.released() {
                if let Some(Effect::Act(act)) = self.outbox.remove(index) {
                    self.run(act);
                }
            } else {
                return;
            }
        }
    }

    fn released(&self) -> Option<usize> {
        let act = self.outbox.iter().position(|effect| !matches!(effect, Effect::Persist(_)))?;
        if act == 0 || self.says_before_it_writes {
            return Some(act);
        }
        // What the acceptor needs for the next height waits for no block, nor does what comes of it, as in the actors.
        let waits_for =
            |effect: &Effect<Act>| matches!(effect, Effect::Persist(record) if !matches!(record, Record::Block(_)));
        self.outbox.iter().take_while(|effect| !waits_for(effect)).position(Self::passes_blocks)
    }

    fn passes_blocks(effect: &Effect<Act>) -> bool {
        match effect {
            Effect::Act(Act::PrepareView(_, prepare, view)) => prepare.height == view.height.next(),
            Effect::Act(Act::Verdict(_, _, verdict)) => verdict.fault.is_none(),
            Effect::Act(Act::Acceptor(_)) => true,
            _ => false,
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        if to == self.me {
            self.receive(to, message);
        } else {
            self.events.push(Event::Sent(to, message));
        }
    }

    fn gap(&mut self, height: Height) {
        let effects = self.roles.reconcile.on_gap(height);
        self.effects(effects, Act::Reconcile);
    }

    fn start_timer(&mut self, timer: Timer) {
        self.timers.retain(|other| !other.same_kind(&timer));
        self.timers.insert(timer);
    }

    fn run(&mut self, act: Act) {
        match act {
            Act::PrepareView(from, prepare, view) => {
                let effects = self.roles.acceptor.on_prepare(from, prepare, view);
                self.effects(effects, Act::Acceptor);
            }
            Act::Verdict(from, accept, verdict) => {
                let effects = self.roles.acceptor.on_accept(from, accept, verdict);
                self.effects(effects, Act::Acceptor);
            }
            Act::Home(action) => self.run_home(action),
            Act::Acceptor(action) => self.run_acceptor(action),
            Act::Composed(collection, composition) => {
                let actions = self.roles.proposer.on_composed(collection, composition);
                self.proposer.extend(actions);
            }
            Act::Learner(LearnerAction::Send(to, message)) => self.send(to, message),
            Act::Learner(LearnerAction::Apply(block, _)) => {
                let effects = self.roles.home.apply(&block);
                self.home_effects(effects);
            }
            Act::Learner(LearnerAction::Gap(_, height)) => self.gap(height),
            Act::Learner(LearnerAction::Halt(reason)) => self.events.push(Event::Halted(reason)),
            Act::Reconcile(action) => self.run_reconcile(action),
        }
    }

    fn run_home(&mut self, action: HomeAction) {
        match action {
            HomeAction::Reply(ticket, answer) => {
                let number = self.batches[usize::try_from(ticket.batch).unwrap()];
                self.events.push(Event::Answered(number, answer));
            }
            HomeAction::Collected { ticket, not_heard, .. } => {
                self.collected += 1;
                let began = self.collects[ticket.index as usize];
                let settled = self.roles.home.bank().watermark(self.me);
                assert!(
                    settled >= began || not_heard.contains(&self.me),
                    "R9: {} waited for {began}, settled is {settled}",
                    self.me
                );
            }
            HomeAction::Settle(mark) => self.settle_from(mark),
            HomeAction::Applied { block, .. } => {
                let (height, hash) = (block.height(), block.hash());
                let effects = self.roles.acceptor.on_applied(height);
                self.effects(effects, Act::Acceptor);
                let actions = self.roles.learner.on_applied(&block);
                self.act_all(actions, Act::Learner);
                let actions = self.roles.proposer.on_applied(height, hash);
                self.proposer.extend(actions);
                let effects = self.roles.reconcile.on_applied(height, hash);
                self.effects(effects, Act::Reconcile);
            }
        }
    }

    fn run_acceptor(&mut self, action: AcceptorAction) {
        match action {
            AcceptorAction::Send(to, message) => self.send(to, message),
            AcceptorAction::Voted(slot) => self.roles.learner.on_voted(&slot),
            AcceptorAction::Overtaken(ballot, height) => self.roles.proposer.on_overtaken(ballot, height),
            AcceptorAction::Gap(_, height) => self.gap(height),
            AcceptorAction::AskAgain(from, message) => self.receive(from, message),
            AcceptorAction::Watch(ballot, height) => self.start_timer(Timer::Watch(ballot, height)),
        }
    }

    fn run_proposer(&mut self, action: ProposerAction) {
        match action {
            ProposerAction::Send(to, message) => self.send(to, message),
            ProposerAction::Compose(collection, candidates) => {
                let composition = self.roles.home.compose(&candidates);
                self.outbox.push_back(Effect::Act(Act::Composed(collection, composition)));
            }
            ProposerAction::Proposed(ballot, block) => self.roles.learner.on_proposed(ballot, block),
            ProposerAction::Done(outcome) => {
                let effects = self.roles.home.collection_done(outcome.began, outcome.not_heard.as_ref());
                self.home_effects(effects);
            }
            ProposerAction::Gap(_, height) => self.gap(height),
            ProposerAction::Start(timer) => self.start_timer(Timer::Proposer(timer)),
            ProposerAction::Halt(reason) => self.events.push(Event::Halted(reason)),
        }
    }

    fn run_reconcile(&mut self, action: ReconcileAction) {
        match action {
            ReconcileAction::Send(to, message) => self.send(to, message),
            ReconcileAction::Serve(to, request) => {
                let first = usize::try_from(request.from.0).unwrap() - 1;
                let last = usize::try_from(request.to.0).unwrap().min(first + 3);
                let blocks = self.disk.chain[first..last].iter().cloned().map(SentBlock::Known).collect();
                self.send(to, Message::BlocksResponse(BlocksResponse { blocks }));
            }
            ReconcileAction::Deliver(blocks) => {
                let actions = self.roles.learner.on_fetched(blocks);
                self.act_all(actions, Act::Learner);
            }
            ReconcileAction::Compare(peer, height, tip) => {
                let actions = self.roles.learner.compare(peer, height, tip);
                self.act_all(actions, Act::Learner);
            }
            ReconcileAction::Admitted => self.roles.acceptor.admit(),
            ReconcileAction::Ready => self.roles.home.set_ready(),
            ReconcileAction::Start(timer) => self.start_timer(Timer::Reconcile(timer)),
        }
    }
}

impl Disk {
    fn write(&mut self, me: NodeId, record: &Record) {
        match record {
            Record::Log { first, operations } => {
                let seqs = (first.0..).map(Seq);
                self.log.extend(seqs.zip(operations.iter().copied()));
            }
            Record::Block(block) => {
                assert_eq!(block.height().0, self.chain.len() as u64 + 1);
                self.chain.push(block.clone());
                if let Some(run) = block.run_of(me) {
                    self.log.retain(|seq, _| *seq >= run.first.plus(run.operations.len() as u64));
                }
                self.slot = self.slot.take().filter(|slot| slot.block.height() > block.height());
            }
            Record::Promise(ballot) => {
                assert!(self.promise <= Some(*ballot), "R3: a promise never falls");
                self.promise = Some(*ballot);
            }
            Record::Accepted(slot) => {
                assert!(self.promise <= Some(slot.ballot), "R3: a promise never falls");
                self.promise = Some(slot.ballot);
                if slot.block.height().0 > self.chain.len() as u64 {
                    self.slot = Some(slot.clone());
                }
            }
            Record::Refused { number, refusals } => self.refusals.push((*number, refusals.clone())),
            Record::RefusedTrim { first_live } => self.refusals.retain(|(number, _)| number >= first_live),
            Record::Admitted => self.admitted = true,
            Record::Horizon { .. } | Record::Checkpoint { .. } | Record::Peer { .. } => {
                unreachable!("the memory is large, the chain is short, links are not here")
            }
        }
    }
}

fn load(me: NodeId, genesis: &Genesis, disk: &Disk) -> Roles {
    let mut bank = Bank::new(genesis);
    let mut memory = Memory::new(1_000_000);
    let mut settled_at = SettledAt::default();
    for block in &disk.chain {
        bank.advance(bank.check(block).unwrap());
        if let Some(run) = block.run_of(me) {
            run.entries().for_each(|entry| memory.approved(bank.balances(), &entry.operation, entry.seq));
            settled_at.note(bank.watermark(me), block.height());
        }
    }
    for (number, refusals) in &disk.refusals {
        memory.load_record(*number, refusals, |account| bank.balance(account).is_some());
    }
    let (majority, height, tip) = (genesis.majority(), bank.height(), bank.tip());
    let log = disk.log.values().copied().collect();
    let start = HomeStart { bank, log, memory, settled_at, saved: 0 };
    let limits = HomeLimits { settle_at_entries: Some(20), ..HomeLimits::default() };
    let (home, effects) = Home::new(me, majority, limits, start).unwrap();
    assert_eq!(effects, []);
    let peers = || genesis.nodes().iter().copied().filter(move |node| *node != me);
    Roles {
        home,
        acceptor: Acceptor::new(me, disk.admitted, disk.promise, disk.slot.clone()),
        proposer: Proposer::new(me, peers(), majority, height, disk.promise),
        learner: Learner::new(peers(), majority, height, tip, disk.slot.as_ref()),
        reconcile: Reconcile::new(Incarnation(1), peers(), majority, disk.admitted, false, (height, tip)),
    }
}
