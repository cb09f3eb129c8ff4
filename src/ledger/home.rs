//! A node's Ledger: it approves alone while the balance suffices, parks what needs a settlement, refuses what even that
//! does not cover, and applies the blocks of the chain. Rules R5, R7 to R10, R12, R13.
//!
//! Its state may run ahead of the store: every effect that tells of it stands behind the record that makes it durable.

mod decide;
mod ends;
mod limits;
mod open;
mod saving;
mod step;
mod tracing;
mod unanswered;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::accounts::{Accounts, LOOKED_FOR_AT_ONCE, Place as AccountPlace};
use super::aside::Aside;
use super::bank::{Bank, BlockFault, Delta, EntryFault};
use super::block::Block;
use super::checkpoint::Saving;
use super::compose::{Candidate, Composition, OwnLog, compose};
use super::entry::{LogOffer, OPERATION_BYTES_MAX, Operation};
use super::memory::Memory;
use super::request::{Answer, Approval, Request, Ticket, Wait};
use super::settled_at::SettledAt;
use crate::effect::{Effect, HaltReason, Record};
use crate::types::{AccountId, Amount, Hash, Height, NodeId, Seq, TransferId};
use ends::{Beside, Ends};
pub use limits::HomeLimits;
use step::Step;
pub use tracing::Tracing;
use unanswered::Unanswered;

/// A point in the order in which requests were parked. A collection that began at a mark began after all of them (R9).
pub type Mark = u64;

/// What a [`Home`] asks of its shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HomeAction {
    /// Answer a client.
    Reply(Ticket, Answer),
    /// Ask the proposer for a collection that begins from now on; its end is told by [`Home::collection_done`].
    Settle(Mark),
    /// A collection that began after [`Home::collect`] was called is over, and what it settled is applied.
    Collected {
        /// Who called.
        ticket: Ticket,
        /// The height after it.
        height: Height,
        /// Nodes whose unsettled entries were not in it.
        not_heard: BTreeSet<NodeId>,
    },
    /// Tell the other roles that this block is applied and durable.
    Applied {
        /// The block.
        block: Arc<Block>,
        /// The state hash after it.
        state: Hash,
    },
}

/// What a store held when the node started.
#[derive(Clone, Debug)]
pub struct HomeStart {
    /// The state after the stored chain.
    pub bank: Bank,
    /// This node's unsettled entries, from its watermark + 1 on.
    pub log: Vec<Operation>,
    /// The outcomes to remember.
    pub memory: Memory,
    /// Which blocks settled entries of this node.
    pub settled_at: SettledAt,
    /// How many entries the chain held at the last checkpoint; 0 where there is none.
    pub saved: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parked {
    request: Request,
    waiting: Vec<(Ticket, Wait)>,
}

/// The state of the Ledger role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    me: NodeId,
    majority: usize,
    limits: HomeLimits,
    ready: bool,
    halted: bool,
    bank: Bank,
    log: VecDeque<Operation>,
    /// Of each transfer in the log, where its accounts are among the settled balances.
    log_places: Aside<VecDeque<Option<[AccountPlace; 2]>>>,
    /// The accounts that the unsettled log opens.
    opening: BTreeSet<AccountId>,
    spendable: Accounts<Amount>,
    /// By place in `spendable`.
    beside: Aside<Vec<Beside>>,
    memory: Memory,
    parked: BTreeMap<Mark, Parked>,
    in_flight: BTreeMap<(AccountId, TransferId), Mark>,
    last_mark: Mark,
    unanswered: Unanswered,
    /// Who waits for a collection to end that begins from the mark on.
    collecting: BTreeMap<Mark, Ticket>,
    settled_at: SettledAt,
    settling: bool,
    /// How many entries the chain held at the last checkpoint.
    saved: u64,
    /// A checkpoint that is being made.
    saving: Option<Saving>,
    /// What the last check of a block found, so that applying that block need not find it again.
    checked: Aside<Option<Delta>>,
}

impl Home {
    /// The ledger of node `me`, not ready for clients yet, and what the start itself must make durable.
    ///
    /// # Errors
    /// The seq of an entry in the stored log that the stored chain does not cover: the store is damaged.
    pub fn new(
        me: NodeId,
        majority: usize,
        limits: HomeLimits,
        start: HomeStart,
    ) -> Result<(Self, Vec<Effect<HomeAction>>), Seq> {
        let HomeStart { bank, log, memory, settled_at, saved } = start;
        let spendable = bank.balances().iter().filter(|(account, _)| account.home() == me);
        let spendable: Accounts<Amount> = spendable.map(|(account, amount)| (*account, *amount)).collect();
        let accounts: Vec<AccountId> = spendable.unordered().map(|(account, _)| *account).collect();
        let mut home = Self {
            me,
            majority,
            limits,
            ready: false,
            halted: false,
            spendable,
            beside: Aside(Vec::with_capacity(accounts.len())),
            bank,
            log: VecDeque::new(),
            log_places: Aside::default(),
            opening: BTreeSet::new(),
            memory,
            parked: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            last_mark: 0,
            unanswered: Unanswered::default(),
            collecting: BTreeMap::new(),
            settled_at,
            settling: false,
            saved,
            saving: None,
            checked: Aside::default(),
        };
        accounts.into_iter().for_each(|account| home.note_beside(account));
        for operation in log {
            let (from, to, _) = operation.parts();
            home.append(operation, home.ends(from, to)).ok_or(home.last_seq().next())?;
        }
        let mut effects = Vec::new();
        home.trim_memory(&mut effects);
        Ok((home, effects))
    }

    /// From now on clients are served.
    pub fn set_ready(&mut self) {
        self.ready = true;
    }

    /// The settled state.
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// What an account of this home can spend now: settled, less own unsettled debits, plus unsettled credits from
    /// this same home.
    pub fn spendable(&self) -> &Accounts<Amount> {
        &self.spendable
    }

    /// The unsettled entries of this home.
    pub fn log(&self) -> impl ExactSizeIterator<Item = &Operation> {
        self.log.iter()
    }

    /// The seq of the first unsettled entry, if there is one.
    pub fn log_first(&self) -> Seq {
        self.bank.watermark(self.me).next()
    }

    /// The seq of the last entry of this home.
    pub fn last_seq(&self) -> Seq {
        self.bank.watermark(self.me).plus(self.log.len() as u64)
    }

    /// How many requests wait for a settlement.
    pub fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// What a PROMISE offers.
    pub fn offer(&self) -> LogOffer {
        let count = (self.limits.block_bytes_max / OPERATION_BYTES_MAX).max(1).min(self.log.len());
        LogOffer {
            first: self.log_first(),
            operations: self.log.range(..count).copied().collect(),
            truncated: count < self.log.len(),
        }
    }

    /// Tries a proposed block on this node's state.
    pub fn check(&mut self, block: &Block) -> Result<(), BlockFault> {
        // What was found of it on this state is so still: the next block that is applied takes it away.
        if !self.checked.0.as_ref().is_some_and(|delta| delta.is_of(block)) {
            self.checked.0 = Some(self.bank.check(block)?);
        }
        Ok(())
    }

    /// Which block to propose, given what a collection brought.
    pub fn compose(&mut self, candidates: &BTreeMap<NodeId, Arc<Candidate>>) -> Composition {
        let own = OwnLog { origin: self.me, places: &self.log_places.0 };
        let (composition, delta) =
            compose(&self.bank, candidates, Some(own), self.majority, self.limits.block_bytes_max);
        self.checked.0 = delta;
        composition
    }

    /// Decides a batch of requests: approves what the balance covers, parks what it does not.
    pub fn submit(&mut self, requests: impl IntoIterator<Item = (Ticket, Request)>) -> Vec<Effect<HomeAction>> {
        let mut requests = requests.into_iter();
        if self.halted {
            // Whoever hands in a queue of them is rid of them all the same.
            requests.for_each(drop);
            return Vec::new();
        }
        let mut step = Step::of(requests.size_hint().0);
        let mut found = Vec::with_capacity(LOOKED_FOR_AT_ONCE);
        loop {
            let some = requests.by_ref().take(LOOKED_FOR_AT_ONCE);
            found.extend(some.map(|(ticket, request)| (ticket, request, self.ends(request.from, request.to))));
            if found.is_empty() {
                break;
            }
            self.fetch(found.iter().map(|(_, _, ends)| *ends));
            for (ticket, request, ends) in found.drain(..) {
                self.decide(&mut step, ticket, request, ends);
            }
        }
        self.finish(step)
    }

    /// Applies a chosen block. One at or below the height is known already; one that does not follow halts the node.
    pub fn apply(&mut self, block: &Arc<Block>) -> Vec<Effect<HomeAction>> {
        if self.halted || block.height() <= self.bank.height() {
            return Vec::new();
        }
        let checked = self.checked.0.take().filter(|delta| delta.is_of(block));
        let delta = match checked.map_or_else(|| self.bank.check(block), Ok) {
            Ok(delta) => delta,
            Err(fault) => return self.halt(HaltReason::Diverged(fault)),
        };
        let own = block.run_of(self.me).map_or(&[][..], |run| &run.operations);
        if let Some(index) = (0..own.len()).find(|index| self.log.get(*index) != Some(&own[*index])) {
            return self.halt(HaltReason::ForeignOwnEntry(self.log_first().plus(index as u64)));
        }
        self.bank.advance(delta);
        self.log.drain(..own.len());
        self.log_places.0.drain(..own.len());
        let mut effects = vec![Effect::Persist(Record::Block(block.clone()))];
        self.take_effects_of(block, &mut effects);
        if !own.is_empty() {
            self.settled_at.note(self.bank.watermark(self.me), block.height());
        }
        effects.extend(self.begin_checkpoint().map(Effect::Persist));
        // What the block makes possible is written with it, and told behind it.
        let mut step = Step::default();
        step.actions.push(HomeAction::Applied { block: block.clone(), state: self.bank.state() });
        // Whoever waited for an entry up to the watermark waited for this block.
        let approval = |seq| Answer::Approved(Approval { origin: self.me, seq, height: Some(block.height()) });
        let settled = self.unanswered.settled_up_to(self.bank.watermark(self.me));
        step.actions.extend(settled.into_iter().map(|(seq, ticket)| HomeAction::Reply(ticket, approval(seq))));
        self.look_again(&mut step, None);
        effects.extend(self.finish(step));
        effects
    }

    /// Somebody wants a settlement now: the log's age, a client, an operator.
    pub fn settle(&mut self) -> Vec<Effect<HomeAction>> {
        self.finish(Step { settle: !self.halted, ..Step::default() })
    }

    /// A peer's HELLO tells what it has seen of this node: more than is held here means that the store went back (R13).
    pub fn witness(&mut self, peer: NodeId, height: Height, seq: Seq) -> Vec<Effect<HomeAction>> {
        if self.halted || (height <= self.bank.height() && seq <= self.last_seq()) {
            return Vec::new();
        }
        let (known, held) = (format!("height {height}, seq {seq}"), self.position());
        self.halt(HaltReason::WentBack { peer, known, held })
    }

    /// A peer found that an entry of this node does not pass (R5).
    pub fn own_entry_failed(&mut self, seq: Seq, fault: EntryFault) -> Vec<Effect<HomeAction>> {
        // A late message about an entry that was settled since says nothing.
        if self.halted || seq <= self.bank.watermark(self.me) {
            return Vec::new();
        }
        self.halt(HaltReason::OwnEntryFailed { seq, fault })
    }

    fn position(&self) -> String {
        format!("height {}, seq {}", self.bank.height(), self.last_seq())
    }

    fn halt(&mut self, reason: HaltReason) -> Vec<Effect<HomeAction>> {
        self.halted = true;
        vec![Effect::Halt(reason)]
    }

    fn approval(&self, seq: Seq) -> Approval {
        Approval { origin: self.me, seq, height: self.settled_at.height_of(seq) }
    }
}

#[cfg(test)]
#[path = "home_tests.rs"]
mod tests;
