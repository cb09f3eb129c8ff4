//! What was seen of one run: every message, write, event and answer, in the order in which they happened. Each is held
//! against the properties as it comes; the first that is violated stands here until the run looks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::time::Duration;

use paxos_banking::actors::message::{BankView, Happened, Outgoing};
use paxos_banking::effect::HaltReason;
use paxos_banking::ledger::{Answer, Block, Genesis, HomeLimits, Request};
use paxos_banking::paxos::{Hello, Message};
use paxos_banking::store::{Disk, Head, read_blocks};
use paxos_banking::types::{Ballot, CollectionNumber, Epoch, Hash, Height, NodeId, Seq, TransferId};
use tokio::time::Instant;

use crate::answers::Answers;
use crate::properties as must;
use crate::shown::Witnesses;
use crate::summary::Counts;
use paxos_banking::history::{Chain, Exempt};

/// All parts of a run look at, and add to, the same record.
pub type Shared = Rc<RefCell<Record>>;

/// A node's process, numbered over the whole run.
pub type Process = u32;

/// One thing that happened, for the report of a violation.
enum Line {
    Message(NodeId, NodeId, Message, &'static str),
    Wrote(NodeId, Process, Box<Head>),
    Asked(Request),
    Answered(Request, Answer),
    Note(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(from, to, message, fate) => write!(f, "{from} > {to} {fate}{message:?}"),
            Self::Wrote(node, process, head) => write!(f, "{node} ({process}) wrote: {head:?}"),
            Self::Asked(request) => write!(f, "asked: {request:?}"),
            Self::Answered(request, answer) => write!(f, "{answer:?} to {request:?}"),
            Self::Note(text) => f.write_str(text),
        }
    }
}

/// How many lines are kept for a report.
const LINES_MAX: usize = 4_000;

/// How many lines before and after a violation are shown, and how much of each.
const SHOWN: (usize, usize, usize) = (60, 15, 400);

/// Why a process may stop for good without that being a fault of the program (R11, R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excuse {
    /// Another process took its store.
    Replaced,
    /// Its store was emptied.
    LostDisk,
    /// An older copy of its store was put in place.
    WentBack,
    /// A byte of its store was flipped, or a write was torn.
    Damaged,
}

/// What is known of one process.
#[derive(Default)]
pub struct Seen {
    pub ready: bool,
    pub voters: BTreeSet<NodeId>,
    pub height: Height,
    pub excuses: BTreeSet<Excuse>,
    pub halted: bool,
}

/// The last collection of a process, and whose PROMISEs for it have reached that process.
pub struct Collection {
    pub asked: (Ballot, Height, CollectionNumber),
    pub promised: BTreeSet<NodeId>,
}

/// The most that a node's disk ever held durably: what the node may speak of.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    pub height: Height,
    pub seq: Seq,
    pub promise: Option<Ballot>,
    pub admitted: bool,
}

/// What was seen of one run.
pub struct Record {
    pub genesis: Genesis,
    pub limits: HomeLimits,
    pub disks: BTreeMap<NodeId, Disk>,
    pub chain: Chain,
    pub answers: Answers,
    pub counts: Counts,
    pub processes: BTreeMap<Process, Seen>,
    pub reached: BTreeMap<NodeId, Reached>,
    pub heads: BTreeMap<NodeId, Head>,
    /// Nodes whose store was emptied.
    pub emptied: BTreeSet<NodeId>,
    /// Those of them that had been admitted, or that a peer had met: their unsettled approvals are lost, and they are out
    /// for good. And of each node from when to when two processes of it ran at once; the last end is not known while they
    /// do.
    pub exempt: Exempt,
    /// Nodes whose store is an older copy now.
    pub gone_back: BTreeSet<NodeId>,
    /// Those of them that a peer has told of more than they hold.
    pub witnessed: BTreeSet<NodeId>,
    /// Of which peers they have asked blocks.
    pub fetching: BTreeSet<(NodeId, NodeId)>,
    /// What peers must know of each other.
    pub witnesses: Witnesses,
    /// Nodes whose store holds something else than was written.
    pub damaged: BTreeSet<NodeId>,
    /// Of each ballot the process that used it first.
    pub ballots: BTreeMap<Ballot, Epoch>,
    /// Of each ballot and height the one block that was proposed.
    pub proposals: BTreeMap<(Ballot, Height), Hash>,
    /// Of each proposed block the ballot of its first proposal.
    pub first_proposed: BTreeMap<Hash, Ballot>,
    /// Of each block, by height and hash, who has voted for it durably, by ballot.
    pub votes: BTreeMap<(Height, Hash), BTreeMap<Ballot, BTreeSet<NodeId>>>,
    /// What each process collects.
    pub collections: BTreeMap<(NodeId, Epoch), Collection>,
    /// Of each ballot, height and node the first log that a PROMISE offered: where it begins, and how long it is.
    pub offers: BTreeMap<(Ballot, Height, NodeId), (Seq, u64)>,
    /// The blocks that a PROMISE told as voted for.
    pub voted_for: BTreeSet<Hash>,
    /// Of each node the horizon that accounts share which do not exist, as of its last write.
    pub shared_horizons: BTreeMap<NodeId, TransferId>,
    /// The highest ballot that each process said to each peer that it had promised.
    pub told_promises: BTreeMap<(NodeId, Epoch), BTreeMap<NodeId, Ballot>>,
    trace: u64,
    start: Instant,
    /// Every line is printed as it comes.
    tells: bool,
    lines: VecDeque<(Duration, Line)>,
    /// How many lines there were, dropped ones included.
    line_count: usize,
    violation: Option<(String, usize)>,
}

impl Record {
    pub fn new(genesis: Genesis, limits: HomeLimits) -> Self {
        Self {
            chain: Chain::new(&genesis),
            genesis,
            limits,
            disks: BTreeMap::new(),
            answers: Answers::default(),
            counts: Counts::default(),
            processes: BTreeMap::new(),
            reached: BTreeMap::new(),
            heads: BTreeMap::new(),
            emptied: BTreeSet::new(),
            exempt: Exempt::default(),
            gone_back: BTreeSet::new(),
            witnessed: BTreeSet::new(),
            fetching: BTreeSet::new(),
            witnesses: Witnesses::default(),
            damaged: BTreeSet::new(),
            ballots: BTreeMap::new(),
            proposals: BTreeMap::new(),
            first_proposed: BTreeMap::new(),
            votes: BTreeMap::new(),
            collections: BTreeMap::new(),
            offers: BTreeMap::new(),
            voted_for: BTreeSet::new(),
            shared_horizons: BTreeMap::new(),
            told_promises: BTreeMap::new(),
            trace: 0,
            start: Instant::now(),
            tells: std::env::var_os("SIM_LOG").is_some(),
            lines: VecDeque::new(),
            line_count: 0,
            violation: None,
        }
    }

    /// Two processes of a node run from now on.
    pub fn doubles(&mut self, node: NodeId) {
        let now = self.answers.tick();
        self.exempt.doubled.entry(node).or_default().push((now, u64::MAX));
    }

    /// One of two processes of a node is gone.
    pub fn single_again(&mut self, node: NodeId) {
        let now = self.answers.tick();
        if let Some((_, end)) = self.exempt.doubled.get_mut(&node).and_then(|times| times.last_mut()) {
            *end = now.min(*end);
        }
    }

    /// Whether two processes of a node ran at once at any time from `called` to `returned`: the older one goes on with
    /// what it knows, until it notices.
    pub fn was_doubled(&self, node: NodeId, called: u64, returned: u64) -> bool {
        self.exempt.was_doubled(node, called, returned)
    }

    /// A hash over everything that happened, and when.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Notes what a property says; the first violation stays.
    pub fn hold(&mut self, property: Result<(), String>) {
        if let Err(what) = property
            && self.violation.is_none()
        {
            self.violation = Some((what, self.line_count));
        }
    }

    /// A message is put on the wire by a process that may be heard.
    pub fn sent(&mut self, outgoing: &Outgoing) {
        self.counts.message(&outgoing.message);
        let held = must::messages(self, outgoing);
        self.hold(held);
        let held = self.witnesses.sent(outgoing);
        self.hold(held);
        if matches!(outgoing.message, Message::BlocksRequest(_)) && self.gone_back.contains(&outgoing.from) {
            self.fetching.insert((outgoing.from, outgoing.to));
        }
    }

    /// What became of a message that was sent.
    pub fn carried(&mut self, outgoing: &Outgoing, fate: &'static str) {
        let Outgoing { from, to, message, .. } = outgoing;
        self.mix(|hasher| {
            (from, to, fate, message.name()).hash(hasher);
            digest(message, hasher);
        });
        // HELLOs come all the time and tell little.
        if !matches!(message, Message::Hello(_)) {
            self.add(Line::Message(*from, *to, message.clone(), fate));
        }
    }

    /// A message reaches that process of a node.
    pub fn delivered(&mut self, from: NodeId, (to, epoch): (NodeId, Epoch), message: &Message) {
        if let (Message::Promise(promise), Some(collection)) = (message, self.collections.get_mut(&(to, epoch)))
            && (promise.ballot, promise.height, promise.collection) == collection.asked
        {
            collection.promised.insert(from);
        }
        self.witnesses.delivered(from, (to, epoch), message);
        let Some(head) = self.heads.get(&to) else { return };
        let hello = match message {
            Message::Hello(hello) => hello,
            Message::BlocksResponse(response) if self.fetching.contains(&(to, from)) => {
                let blocks: Vec<_> = response.blocks.iter().map(|block| block.block().unwrap()).collect();
                let own = blocks.iter().filter_map(|block| block.run_of(to));
                let more = own.flat_map(|run| run.entries()).any(|entry| entry.seq > head.log_last);
                let fits = response.blocks.first().is_some_and(|block| block.height() <= head.height.next());
                if self.gone_back.contains(&to) && more && fits {
                    self.witnessed.insert(to);
                }
                return;
            }
            _ => return,
        };
        let Hello { known, .. } = &**hello;
        let more = known.height > head.height || known.seq > head.log_last || known.promised > head.promise;
        // A peer that lost its own store since is turned away, and no witness.
        let heard = must::known_incarnation(self, to, hello.node).is_none_or(|known| known == hello.incarnation);
        if self.gone_back.contains(&to) && known.incarnation.is_some() && heard && more {
            self.witnessed.insert(to);
        }
    }

    /// A write of a process is durable; the store's head says what it holds now.
    pub fn wrote(&mut self, node: NodeId, process: Process, head: Head) {
        self.mix(|hasher| (node, process, head.write).hash(hasher));
        self.add(Line::Wrote(node, process, Box::new(head.clone())));
        // The blocks of this very write are looked at as well.
        self.read_chain(node, head.height);
        let held = must::writes(self, node, &head);
        self.hold(held);
        if let Some(shared) = must::durable_horizon(self, node, None) {
            self.shared_horizons.insert(node, shared);
        }
        self.holds(node, head);
    }

    /// What is durable anywhere is the chain, though nobody may have told of it yet.
    fn read_chain(&mut self, node: NodeId, height: Height) {
        let known = self.chain.height();
        if known >= height || self.damaged.contains(&node) {
            return;
        }
        let blocks = read_blocks(&mut self.disks[&node].open(), known.next(), height, usize::MAX);
        for block in blocks.into_iter().flatten() {
            let held = must::a_block_is_applied_once_a_majority_has_chosen_it(self, node, &block);
            let held = held.and_then(|()| must::r1_r6_one_block_per_height(&mut self.chain, node, &block));
            self.votes = self.votes.split_off(&(block.height().next(), Hash::ZERO));
            self.hold(held.and_then(|()| must::r12_money_is_conserved(self)));
        }
    }

    /// What a node's disk holds: after a write, or as its process found it.
    pub fn holds(&mut self, node: NodeId, head: Head) {
        let reached = self.reached.entry(node).or_default();
        reached.height = reached.height.max(head.height);
        reached.seq = reached.seq.max(head.log_last);
        reached.promise = reached.promise.max(head.promise);
        reached.admitted |= head.admitted;
        if let Some(vote) = head.accepted {
            let voters = self.votes.entry((vote.height, vote.hash)).or_default().entry(vote.ballot).or_default();
            voters.insert(node);
        }
        let height = head.height;
        self.heads.insert(node, head);
        self.read_chain(node, height);
    }

    /// A process starts: what was done to its store excuses it.
    pub fn started(&mut self, node: NodeId, process: Process) {
        let mut seen = Seen::default();
        let happened = [(&self.emptied, Excuse::LostDisk), (&self.gone_back, Excuse::WentBack)];
        seen.excuses.extend(happened.iter().filter(|(nodes, _)| nodes.contains(&node)).map(|(_, excuse)| *excuse));
        self.processes.insert(process, seen);
    }

    /// Something happened to a process.
    pub fn happened(&mut self, node: NodeId, process: Process, what: Happened) {
        let seen = self.processes.entry(process).or_default();
        match what {
            Happened::Ready => seen.ready = true,
            Happened::Voters(voters) => seen.voters = voters,
            Happened::Started { height, tip, .. } => {
                seen.height = height;
                let held = must::r13_a_start_finds_the_chain(&self.chain, node, height, tip);
                self.hold(held);
            }
            Happened::Applied(block) => {
                let before = std::mem::replace(&mut seen.height, block.height());
                self.mix(|hasher| (node, Block::hash(&block)).hash(hasher));
                let held = must::blocks(self, node, before, &block);
                self.hold(held);
            }
            Happened::Halted(reason) => self.halted(node, process, &reason),
            Happened::Admitted | Happened::Link(_) | Happened::Heard(_) => {}
        }
    }

    fn halted(&mut self, node: NodeId, process: Process, reason: &HaltReason) {
        self.note(format!("{node} ({process}) stopped: {reason}"));
        let seen = self.processes.entry(process).or_default();
        seen.halted = true;
        let held = must::r13_only_who_must_stops(node, &seen.excuses, reason);
        self.counts.add("stops for good, each as it must");
        if matches!(reason, HaltReason::LostDisk { .. }) {
            self.exempt.destroyed.insert(node);
        }
        self.hold(held);
    }

    /// A client is about to ask for this; the number comes back with the answer.
    pub fn asked(&mut self, request: Request) -> u64 {
        self.add(Line::Asked(request));
        self.answers.asked(request)
    }

    /// The run itself asks for this, and waits for the answer.
    pub fn asked_aside(&mut self, request: Request) -> u64 {
        let number = self.asked(request);
        self.answers.asked_aside.insert(number);
        number
    }

    /// A node said this to what was asked under that number.
    pub fn answered(&mut self, number: u64, answer: Answer) {
        let request = self.answers.request(number);
        if self.answers.unanswered.remove(&number).is_none() && !self.answers.asked_aside.remove(&number) {
            self.hold(Err(format!("{request:?} is answered twice: {answer:?}")));
        }
        self.mix(|hasher| (number, &answer).hash(hasher));
        self.add(Line::Answered(request, answer.clone()));
        let held = must::answers(self, number, &answer);
        self.hold(held);
    }

    /// A node said what became of a request.
    pub fn traced(&mut self, request: Request, answer: &Answer) {
        self.mix(|hasher| answer.hash(hasher));
        self.add(Line::Answered(request, answer.clone()));
        let held = must::traces(self, &request, answer);
        self.hold(held);
    }

    /// A node showed all that it knows of the bank.
    pub fn viewed(&mut self, node: NodeId, view: &BankView) {
        let held = must::views(self, node, view);
        self.hold(held);
    }

    /// Something that the report of a violation should show.
    pub fn note(&mut self, text: String) {
        self.add(Line::Note(text));
    }

    fn add(&mut self, line: Line) {
        if self.tells && !matches!(line, Line::Message(_, _, Message::Hello(_), _)) {
            println!("{:>10.3?} {line}", self.start.elapsed());
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back((self.start.elapsed(), line));
        self.line_count += 1;
    }

    fn mix(&mut self, what: impl FnOnce(&mut DefaultHasher)) {
        let mut hasher = DefaultHasher::new();
        (self.trace, self.start.elapsed()).hash(&mut hasher);
        what(&mut hasher);
        self.trace = hasher.finish();
    }

    /// Ends the run where something was seen that must never be, with what happened around it.
    ///
    /// # Panics
    /// In that case.
    pub fn judge(&self) {
        let Some((what, at)) = &self.violation else { return };
        let (before, after, width) = SHOWN;
        let dropped = self.line_count - self.lines.len();
        let shown = at.saturating_sub(before + dropped)..(at.saturating_sub(dropped) + after).min(self.lines.len());
        let mut around = String::new();
        for index in shown {
            let (time, line) = &self.lines[index];
            let line: String = line.to_string().chars().take(width).collect();
            let mark = if index + dropped + 1 == *at { "here: " } else { "" };
            around += &format!("{mark}{time:>10.3?} {line}\n");
        }
        panic!("{what}\nwhat happened around it:\n{around}");
    }
}

/// What tells one message from another, at little cost: blocks by their hashes.
fn digest(message: &Message, hasher: &mut DefaultHasher) {
    match message {
        Message::Promise(promise) => {
            (promise.ballot, promise.height, promise.collection).hash(hasher);
            promise.accepted.as_ref().map(|slot| (slot.ballot, Block::hash(&slot.block))).hash(hasher);
            (promise.log.first, promise.log.operations.len()).hash(hasher);
        }
        Message::Accept(accept) => (accept.ballot, Block::hash(&accept.block)).hash(hasher),
        Message::Commit(commit) => (commit.height, commit.hash, commit.block.is_some()).hash(hasher),
        Message::BlocksResponse(response) => {
            response.blocks.iter().for_each(|block| Block::hash(&block.block().unwrap()).hash(hasher));
        }
        other => other.hash(hasher),
    }
}
