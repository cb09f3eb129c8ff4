//! Persistence: the only actor that writes. All records of a node pass it in one order; what arrives while a write is
//! under way goes out as one write, and on a busy node so does what is about to arrive. Upholds R3, R7, R8 and R13. It
//! waits on no one but the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::message::{
    BlocksReader, CloseStore, Durable, Halt, Persist, ROLE_MAILBOX, ReadBlocks, ReadHead, Stop, StoreView,
};
use super::task::next_turn;
use crate::effect::{HaltReason, Record, Urgency};
use crate::store::{Head, Journal, Plan, StoreError, StoreFuture, StoreHost};

/// Bounds and delays of Persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistenceTiming {
    /// Before a failed write is repeated, the first time; it doubles with each failure in a row.
    pub retry_min: Duration,
    /// The bound of that.
    pub retry_max: Duration,
    /// A write that nobody waits for waits so long at the most for one that somebody does; or, where the store is slow, for
    /// as long as a few writes take, since it would only be in the way of the next.
    pub put_off_max: Duration,
}

/// The Persistence role.
pub struct PersistenceActor {
    store: Box<dyn StoreHost>,
    journal: Journal,
    /// What the store certainly holds.
    durable: Head,
    node: Recipient<Halt>,
    timing: PersistenceTiming,
    waiting: Vec<Persist>,
    /// How many wait for these.
    urgent: usize,
    /// A timer runs for the others.
    timer_runs: bool,
    /// How long the last write took.
    took: Duration,
    reads: VecDeque<ReadBlocks>,
    under_way: Option<UnderWay>,
    /// The last write was asked for by more than one.
    shared: bool,
    /// A write is put off until whoever is ready to ask for one has asked.
    gathering: bool,
    reading: bool,
    /// Writes that went before a reader who was waiting.
    passed: u32,
    failures: u32,
    /// Why nothing can be written, in words, until the store answers again.
    trouble: Option<String>,
    halted: bool,
}

/// The write that the store has, and who hears when it is done.
struct UnderWay {
    plan: Arc<Plan>,
    acks: Vec<(Recipient<Durable>, u64)>,
}

/// Approvals hang on writes, so they go first; but no more of them than this, or a busy node would serve no reader.
const PASSED_MAX: u32 = 8;

/// How often a process that writes nothing looks whether the store is still its own.
const LOOK: Duration = Duration::from_secs(2);

/// What is put off waits for so many writes, if these take longer than it would wait anyhow: from a COMMIT to the next vote
/// there is one at the proposer, or two.
const PUT_OFF_WRITES: u32 = 4;

/// But never longer than this.
const PUT_OFF_LONGEST: Duration = Duration::from_secs(1);

/// More readers than this are turned away: they ask another node, or again.
const READS_MAX: usize = 64;

impl PersistenceActor {
    /// Persistence over a store that was recovered into `journal`.
    pub fn new(store: Box<dyn StoreHost>, journal: Journal, node: Recipient<Halt>, timing: PersistenceTiming) -> Self {
        Self {
            store,
            durable: journal.head().clone(),
            journal,
            node,
            timing,
            waiting: Vec::new(),
            urgent: 0,
            timer_runs: false,
            took: Duration::ZERO,
            reads: VecDeque::new(),
            under_way: None,
            shared: false,
            gathering: false,
            reading: false,
            passed: 0,
            failures: 0,
            trouble: None,
            halted: false,
        }
    }

    /// Sockets that are readable by now are read before it writes: their requests cost no sync of their own then. Who is
    /// alone is not kept waiting for others, which would cost it a tenth.
    fn gather(&mut self, ctx: &mut Context<Self>) {
        self.gathering = true;
        next_turn(ctx, |actor: &mut Self, ctx| {
            actor.gathering = false;
            actor.proceed(ctx);
        });
    }

    /// Whatever waits when the time is over is written.
    fn put_off(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.timer_runs, true) {
            return;
        }
        let some_writes = self.took.saturating_mul(PUT_OFF_WRITES).min(PUT_OFF_LONGEST);
        ctx.run_later(self.timing.put_off_max.max(some_writes), |actor, ctx| {
            actor.timer_runs = false;
            actor.urgent = actor.urgent.max(usize::from(!actor.waiting.is_empty()));
            actor.proceed(ctx);
        });
    }

    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if self.under_way.is_some() || self.gathering || self.reading || self.halted {
            return;
        }
        if self.urgent > 0 && self.passed < PASSED_MAX {
            self.passed += u32::from(!self.reads.is_empty());
            self.shared = std::mem::take(&mut self.urgent) > 1;
            self.write_waiting(ctx);
        } else if let Some(ReadBlocks { mut request, bytes_max, reader }) = self.reads.pop_front() {
            self.passed = 0;
            // Nothing is being written now, so the head is what is durable. Beyond it there is nothing to find missing.
            request.to = request.to.min(self.journal.head().height);
            self.reading = true;
            match reader {
                BlocksReader::Blocks(reader) => {
                    let read = self.store.read_blocks(request, bytes_max);
                    self.tell_when_read(read, reader, ctx);
                }
                BlocksReader::Stored(reader) => {
                    let read = self.store.read_stored(request, bytes_max);
                    self.tell_when_read(read, reader, ctx);
                }
            }
        } else if self.journal.is_saving() {
            self.write_waiting(ctx);
        }
    }

    fn tell_when_read<T: 'static>(
        &self,
        read: StoreFuture<T>,
        reader: oneshot::Sender<Result<T, StoreError>>,
        ctx: &mut Context<Self>,
    ) {
        let done = read.into_actor(self).map(move |blocks, actor, ctx| {
            actor.reading = false;
            if let Err(error) = blocks.as_ref()
                && !error.may_be_retried()
            {
                actor.halt(error);
            }
            // Whoever went away needs none.
            drop(reader.send(blocks));
            actor.proceed(ctx);
        });
        ctx.spawn(done);
    }

    /// Writes what waits, and what the journal has to save.
    fn write_waiting(&mut self, ctx: &mut Context<Self>) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut records = Vec::new();
        let mut acks = Vec::with_capacity(waiting.len());
        for persist in waiting {
            records.extend(persist.records);
            acks.push((persist.reply_to, persist.ticket));
        }
        let plan = Arc::new(self.journal.plan(records));
        debug!(number = plan.number, requests = acks.len(), "writing");
        self.under_way = Some(UnderWay { plan, acks });
        self.write(ctx);
    }

    /// Gives the store the write that is under way: the first time, or again, identical (R13).
    fn write(&mut self, ctx: &mut Context<Self>) {
        let Some(UnderWay { plan, .. }) = &self.under_way else { return };
        let (written, began) = (self.store.write(plan.clone()).into_actor(self), Instant::now());
        ctx.spawn(written.map(move |result, actor, ctx| match result {
            Ok(()) => {
                actor.failures = 0;
                actor.took = began.elapsed();
                actor.recovered();
                actor.durable = actor.journal.head().clone();
                let acks = actor.under_way.take().map(|done| done.acks).unwrap_or_default();
                for (reply_to, ticket) in acks {
                    reply_to.do_send(Durable(ticket));
                }
                actor.proceed(ctx);
            }
            // The node is over.
            Err(_) if actor.halted => {}
            Err(error) if error.may_be_retried() => {
                let delay = actor.timing.retry_min.saturating_mul(1 << actor.failures.min(16));
                let delay = delay.min(actor.timing.retry_max);
                actor.failures += 1;
                actor.trouble = Some(trouble(&error));
                // Often in the beginning, then ever more seldom: a store may be away for hours.
                if actor.failures.is_power_of_two() {
                    let attempt = actor.failures;
                    warn!(%error, attempt, "nothing that rests on this write is said until it is done");
                }
                ctx.run_later(delay, |actor, ctx| actor.write(ctx));
            }
            Err(error) => actor.halt(&error),
        }));
    }

    /// A process that was replaced, and has nothing to write, would go on telling of a state that is another's by now.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.under_way.is_some() || self.reading || self.halted {
            return;
        }
        self.reading = true;
        let looked = self.store.check_epoch(self.journal.epoch()).into_actor(self);
        ctx.spawn(looked.map(|owned, actor, ctx| {
            actor.reading = false;
            match owned {
                Err(error) if !error.may_be_retried() => return actor.halt(&error),
                // A store that does not answer has not said that it is another's; nor will it take the next write.
                Err(error) => {
                    if actor.trouble.replace(trouble(&error)).is_none() {
                        warn!(%error, "nothing can be written until the store answers");
                    }
                }
                // While a write fails, nobody looks.
                Ok(()) => actor.recovered(),
            }
            actor.proceed(ctx);
        }));
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            info!("the store answers again");
        }
    }

    fn halt(&mut self, error: &StoreError) {
        error!(%error, "the store cannot be trusted any more");
        self.halted = true;
        self.node.do_send(Halt(HaltReason::Store(error.to_string())));
    }
}

/// How many may wait for these records: each entry and each refusal was asked for by somebody.
fn askers(records: &[Record]) -> usize {
    let of_one = |record: &Record| match record {
        Record::Log { operations, .. } => operations.len(),
        Record::Refused { refusals, .. } => refusals.len(),
        _ => 0,
    };
    records.iter().map(of_one).sum::<usize>().max(1)
}

/// What people are told of a node whose store fails in a way that may pass.
fn trouble(error: &StoreError) -> String {
    let what = match error {
        StoreError::NotWritten(what) | StoreError::Unknown(what) | StoreError::Unread(what) => what.clone(),
        error => error.to_string(),
    };
    format!(
        "this node cannot write to its store ({what}): it approves and settles nothing until it can; mend that \
         (make room, start the server), and it goes on by itself"
    )
}

impl Actor for PersistenceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(ROLE_MAILBOX);
        ctx.run_interval(LOOK, Self::look);
    }
}

impl Handler<Persist> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, persist: Persist, ctx: &mut Context<Self>) {
        if self.halted {
            return;
        }
        // What it stands behind is written, or is being written.
        if persist.records.is_empty() && self.waiting.is_empty() {
            match &mut self.under_way {
                Some(under_way) => under_way.acks.push((persist.reply_to, persist.ticket)),
                None => persist.reply_to.do_send(Durable(persist.ticket)),
            }
            return;
        }
        let (urgency, askers) = (persist.urgency, askers(&persist.records));
        self.waiting.push(persist);
        if urgency == Urgency::Later {
            return self.put_off(ctx);
        }
        let first = self.urgent == 0;
        self.urgent += askers;
        if self.shared && first && self.under_way.is_none() {
            self.gather(ctx);
        } else {
            self.proceed(ctx);
        }
    }
}

impl Handler<ReadBlocks> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, read: ReadBlocks, ctx: &mut Context<Self>) {
        if self.reads.len() < READS_MAX {
            self.reads.push_back(read);
            self.proceed(ctx);
        }
    }
}

impl Handler<ReadHead> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, ReadHead(reply_to): ReadHead, _: &mut Context<Self>) {
        // A reader that went away needs no head.
        let view = StoreView { head: self.durable.clone(), trouble: self.trouble.clone() };
        drop(reply_to.send(view));
    }
}

impl Handler<CloseStore> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, CloseStore(reply_to): CloseStore, ctx: &mut Context<Self>) {
        if !self.halted && self.under_way.is_none() && !self.waiting.is_empty() {
            // An orderly end does not leave to the peers what was only put off. Whether it was written, the next start sees.
            self.write_waiting(ctx);
        }
        self.halted = true;
        let closed = self.store.close().into_actor(self);
        // Whoever waited longer than it wanted to is gone.
        ctx.spawn(closed.map(|(), _, _| {
            let _ = reply_to.send(());
        }));
    }
}

impl Handler<Stop> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "persistence_tests.rs"]
mod tests;
