//! Watches every node and every answer, and fails the run at the first thing that must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message as ActixMessage};
use paxos_banking::actors::message::{Happened, NodeEvent};
use paxos_banking::ledger::{Action, Answer, Approval, Bank, Block, Genesis, Reason, Request};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};

/// What a client finally knows of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Approved(Approval),
    Refused(Reason),
    /// Its deadline passed, or it was never answered.
    Unknown,
}

/// An approval that a client heard of.
#[derive(Clone, Debug)]
pub struct Told {
    /// When, by the observer's clock.
    at: u64,
    /// The account that it credits.
    to: AccountId,
    /// Its entry.
    entry: (NodeId, Seq),
}

/// The first thing that went wrong, if anything did, and what was seen of the bank.
pub struct Observer {
    genesis: Genesis,
    bank: Bank,
    blocks: Vec<Arc<Block>>,
    asked: BTreeMap<(AccountId, TransferId), (Request, Known)>,
    /// Counts what clients ask and hear, in their order.
    clock: u64,
    first_asked: BTreeMap<(AccountId, TransferId), u64>,
    approvals: Vec<Told>,
    expired: u64,
    ready: BTreeSet<NodeId>,
    voters: BTreeMap<NodeId, BTreeSet<NodeId>>,
    heights: BTreeMap<NodeId, Height>,
    pub violation: Option<String>,
    pub duplicates: u64,
}

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Asked(pub Request);

#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Answered(pub Request, pub Answer);

/// A node was killed.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Died(pub NodeId);

/// What the observer has seen so far.
#[derive(Clone, Debug)]
pub struct Seen {
    pub violation: Option<String>,
    /// The nodes that serve clients and hear all others.
    pub ready: BTreeSet<NodeId>,
    pub blocks: Vec<Arc<Block>>,
    pub asked: Vec<(Request, Known)>,
    pub duplicates: u64,
    pub expired: u64,
    first_asked: BTreeMap<(AccountId, TransferId), u64>,
    approvals: Vec<Told>,
}

#[derive(ActixMessage)]
#[rtype(result = "Seen")]
pub struct ReadSeen;

impl Observer {
    pub fn new(genesis: Genesis) -> Self {
        Self {
            bank: Bank::new(&genesis),
            genesis,
            blocks: Vec::new(),
            asked: BTreeMap::new(),
            clock: 0,
            first_asked: BTreeMap::new(),
            approvals: Vec::new(),
            expired: 0,
            ready: BTreeSet::new(),
            voters: BTreeMap::new(),
            heights: BTreeMap::new(),
            violation: None,
            duplicates: 0,
        }
    }

    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// R1, R5, R6, R12: one block per height, each following on the last, no overdraft, no money made.
    fn applied(&mut self, node: NodeId, block: &Arc<Block>) {
        let before = self.heights.get(&node).copied().unwrap_or_default();
        if block.height() <= before {
            return self.violated(format!("{node} applied height {} twice", block.height()));
        }
        self.heights.insert(node, block.height());
        let index = usize::try_from(block.height().0).unwrap() - 1;
        match self.blocks.get(index) {
            Some(known) if known.hash() == block.hash() => {}
            Some(known) => self.violated(format!("R1, R6: {node} applied {block:?}, another node {known:?}")),
            None if index > self.blocks.len() => self.violated(format!("{node} skipped a height: {block:?}")),
            None => match self.bank.check(block) {
                Ok(delta) => {
                    self.bank.advance(delta);
                    self.blocks.push(block.clone());
                    let balances = self.bank.balances().values();
                    let sum = balances.copied().try_fold(Amount::ZERO, Amount::checked_add);
                    if sum != Some(self.genesis.total()) {
                        self.violated(format!("R12: the balances add up to {sum:?}"));
                    }
                }
                Err(fault) => self.violated(format!("R5: {node} applied {block:?}: {fault}")),
            },
        }
    }

    /// R10: the same identity gets the same outcome.
    fn answered(&mut self, request: Request, answer: Answer) {
        self.clock += 1;
        if let Answer::Approved(Approval { origin, seq, .. }) = &answer {
            self.approvals.push(Told { at: self.clock, to: request.to, entry: (*origin, *seq) });
        }
        let known = match answer {
            // The height becomes known later; the entry stays the same.
            Answer::Approved(approval) => Known::Approved(Approval { height: None, ..approval }),
            Answer::Refused(reason) => {
                if let Reason::InsufficientFunds { spendable, .. } = &reason
                    && *spendable >= request.amount
                {
                    self.violated(format!("R9: {request:?} was refused although {spendable} could be spent"));
                }
                Known::Refused(reason)
            }
            Answer::Busy | Answer::NotReady | Answer::Pending => return,
            // The outcome stays what it was, known or unknown; the chain must agree with it in the end.
            Answer::Expired => return self.expired += 1,
            Answer::Conflict => return self.violated(format!("{request:?} is a conflict: nobody reused an id")),
        };
        let identity = (request.from, request.id);
        let Some((_, before)) = self.asked.get_mut(&identity) else {
            return self.violated(format!("{request:?} was answered, nobody asked"));
        };
        if *before == Known::Unknown {
            *before = known;
        } else if *before == known {
            self.duplicates += 1;
        } else {
            let before = before.clone();
            self.violated(format!("R10: {request:?} was {before:?}, then {known:?}"));
        }
    }
}

impl Seen {
    /// R9: a refusal for lack of funds counted everything that its account was credited with before it was asked for:
    /// each such entry is settled at or below the refusal's height, unless its origin is named as not heard.
    pub fn check_refusals(&self) -> Result<(), String> {
        let mut heights = BTreeMap::new();
        for block in &self.blocks {
            let entries = block.runs().iter().flat_map(|run| run.entries());
            heights.extend(entries.map(|entry| ((entry.origin, entry.seq), block.height())));
        }
        for (request, known) in &self.asked {
            let Known::Refused(Reason::InsufficientFunds { height, not_heard, .. }) = known else { continue };
            let asked = self.first_asked[&(request.from, request.id)];
            for Told { at, to, entry } in &self.approvals {
                let counts = *at < asked && *to == request.from && !not_heard.contains(&entry.0);
                if counts && heights.get(entry).is_none_or(|settled| settled > height) {
                    return Err(format!(
                        "R9: {request:?} was {known:?}, without entry {entry:?} that was approved before"
                    ));
                }
            }
        }
        Ok(())
    }

    /// R7, R9, R10: each approved transfer is in the chain exactly once, as the entry that its client was told; each
    /// refused one never; each of unknown outcome at most once.
    pub fn check_outcomes(&self) -> Result<(), String> {
        let mut found: BTreeMap<(AccountId, TransferId), Vec<_>> = BTreeMap::new();
        for entry in self.blocks.iter().flat_map(|block| block.runs()).flat_map(|run| run.entries()) {
            let Action::Transfer { from, to, amount } = entry.operation.action else {
                return Err(format!("{entry:?}: nobody opened accounts"));
            };
            found.entry((from, entry.operation.id)).or_default().push((entry.origin, entry.seq, to, amount));
        }
        for (request, known) in &self.asked {
            let times = found.remove(&(request.from, request.id)).unwrap_or_default();
            let as_asked = times.iter().all(|(_, _, to, amount)| (*to, *amount) == (request.to, request.amount));
            let holds = as_asked
                && match known {
                    Known::Approved(approval) => {
                        matches!(times[..], [(origin, seq, ..)] if (origin, seq) == (approval.origin, approval.seq))
                    }
                    Known::Refused(_) => times.is_empty(),
                    Known::Unknown => times.len() <= 1,
                };
            if !holds {
                return Err(format!("R7, R10: {request:?} was {known:?}; in the chain it is {times:?}"));
            }
        }
        match found.first_key_value() {
            Some(stray) => Err(format!("R7: the chain holds {stray:?}, nobody asked for it")),
            None => Ok(()),
        }
    }
}

impl Actor for Observer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Events must not be dropped here: a run rests on them.
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<NodeEvent> for Observer {
    type Result = ();

    fn handle(&mut self, NodeEvent { node, what }: NodeEvent, _: &mut Context<Self>) {
        match what {
            Happened::Ready => drop(self.ready.insert(node)),
            Happened::Started { .. } | Happened::Admitted | Happened::Link(_) | Happened::Heard(_) => {}
            Happened::Voters(voters) => drop(self.voters.insert(node, voters)),
            Happened::Applied(block) => self.applied(node, &block),
            Happened::Halted(reason) => self.violated(format!("{node} halted: {reason}")),
        }
    }
}

impl Handler<Asked> for Observer {
    type Result = ();

    fn handle(&mut self, Asked(request): Asked, _: &mut Context<Self>) {
        self.clock += 1;
        self.first_asked.entry((request.from, request.id)).or_insert(self.clock);
        self.asked.entry((request.from, request.id)).or_insert((request, Known::Unknown));
    }
}

impl Handler<Answered> for Observer {
    type Result = ();

    fn handle(&mut self, Answered(request, answer): Answered, _: &mut Context<Self>) {
        self.answered(request, answer);
    }
}

impl Handler<Died> for Observer {
    type Result = ();

    fn handle(&mut self, Died(node): Died, _: &mut Context<Self>) {
        self.ready.remove(&node);
        self.voters.remove(&node);
    }
}

impl Handler<ReadSeen> for Observer {
    type Result = actix::MessageResult<ReadSeen>;

    fn handle(&mut self, _: ReadSeen, _: &mut Context<Self>) -> Self::Result {
        let others = self.genesis.nodes().len() - 1;
        let hears_all = |node: &NodeId| self.voters.get(node).map_or(0, BTreeSet::len) == others;
        actix::MessageResult(Seen {
            violation: self.violation.clone(),
            ready: self.ready.iter().copied().filter(hears_all).collect(),
            blocks: self.blocks.clone(),
            asked: self.asked.values().cloned().collect(),
            duplicates: self.duplicates,
            expired: self.expired,
            first_asked: self.first_asked.clone(),
            approvals: self.approvals.clone(),
        })
    }
}
