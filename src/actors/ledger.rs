//! The Ledger: decides transfers and openings, applies blocks, and answers what others need to know of the bank. Upholds R5, R7 to
//! R10, R12 and R13 through [`crate::ledger::Home`]. It waits on Persistence.
//!
//! Its core's state may run ahead of the store. Everything that tells of it (answers, views, verdicts) passes the
//! outbox, so that it leaves once all writes before it are durable. A wish for a settlement tells nothing of it. What the
//! acceptor needs for the next height waits for the log alone (R3).

mod batches;
mod examine;
mod readers;
mod requests;
mod turns;

use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};
use tokio::sync::oneshot;
use tracing::{Level, debug, debug_span, enabled, info, info_span};

use super::message::{
    Answers, Applied, Apply, BankView, Collected, CollectionDone, Compose, Composed, Delivered, Durable, Examined,
    Halt, Persist, ROLE_MAILBOX, ReadBank, Ready, Settle, SettleNow, Stop, Witness,
};
use super::outbox::Outbox;
use super::task::next_turn;
use crate::effect::{Effect, Urgency};
use crate::ledger::{Answer, Block, Entry, Home, HomeAction, Run, Ticket};
use crate::paxos::EntryFailed;
use crate::types::{Height, NodeId, Seq};
use batches::Batches;
use readers::Readers;
use turns::{LITTLE, Turns};

/// The neighbours of a [`LedgerActor`].
#[derive(Clone)]
pub struct LedgerPorts {
    /// Persistence.
    pub persistence: Recipient<Persist>,
    /// The Acceptor.
    pub acceptor: Recipient<Examined>,
    /// The Proposer settles.
    pub settle: Recipient<Settle>,
    /// The Proposer gets its blocks.
    pub composed: Recipient<Composed>,
    /// Everybody who hears of an applied block: Acceptor, Learner, Proposer, ReconcileActor, links, the node.
    pub applied: Vec<Recipient<Applied>>,
    /// The node.
    pub node: Recipient<Halt>,
}

/// What stands in the Ledger's outbox.
enum Held {
    Home(HomeAction),
    /// Answers to requests of one batch, by their index in it.
    Answers(u64, Vec<(u32, Answer)>),
    Examined(Examined),
    Composed(Composed),
    View(oneshot::Sender<BankView>, Box<BankView>),
    /// A short answer to a reader.
    Tell(Box<dyn FnOnce()>),
}

/// While a store does not answer, no more than this wait for it of what holds a whole log, block or table of balances. Proposers and readers ask again.
const VIEWS_MAX: usize = 16;

/// The Ledger role.
pub struct LedgerActor {
    me: NodeId,
    core: Home,
    ports: LedgerPorts,
    outbox: Outbox<Held>,
    batches: Batches,
    turns: Turns,
    /// Once the mailbox is empty.
    will_decide: bool,
    /// Answers in the outbox.
    answers_held: usize,
    /// Blocks in the outbox, applied and not durable yet.
    blocks_held: usize,
    /// Settle at the latest so long after an entry was approved; `None` leaves it to shortage and size.
    settle_age: Option<Duration>,
    age_timer_runs: bool,
    /// The next bit of a checkpoint will be made by itself.
    save_is_due: bool,
    views_held: usize,
    /// The acceptor was asked for a height above this, and answers once this node has it.
    asked_above: Height,
    readers: Readers,
    start: Vec<Effect<HomeAction>>,
}

impl LedgerActor {
    /// A ledger over `core`, whose start asks for the effects `start`.
    pub fn new(
        me: NodeId,
        (core, start): (Home, Vec<Effect<HomeAction>>),
        ports: LedgerPorts,
        own: Recipient<Durable>,
        settle_age: Option<Duration>,
    ) -> Self {
        let outbox = Outbox::new(ports.persistence.clone(), ports.node.clone(), own);
        let (answers_held, blocks_held, views_held, readers) = (0, 0, 0, Readers::default());
        Self {
            me,
            core,
            ports,
            outbox,
            batches: Batches::default(),
            turns: Turns::default(),
            will_decide: false,
            answers_held,
            blocks_held,
            settle_age,
            age_timer_runs: false,
            save_is_due: false,
            views_held,
            asked_above: Height(0),
            readers,
            start,
        }
    }

    fn run(&mut self, effects: Vec<Effect<HomeAction>>, ctx: &mut Context<Self>) {
        self.carry_out(effects, Urgency::Now, ctx);
    }

    fn carry_out(&mut self, effects: Vec<Effect<HomeAction>>, urgency: Urgency, ctx: &mut Context<Self>) {
        let mut held: Vec<Effect<Held>> = Vec::new();
        let mut left = effects.len();
        for effect in effects {
            left -= 1;
            match effect {
                Effect::Persist(record) => held.push(Effect::Persist(record)),
                // They come by the thousand: those of one batch stay together from here on.
                Effect::Act(HomeAction::Reply(Ticket { batch, index }, answer)) => {
                    self.answers_held += 1;
                    match held.last_mut() {
                        Some(Effect::Act(Held::Answers(same, answers))) if *same == batch => {
                            answers.push((index, answer));
                        }
                        _ => {
                            let mut answers = Vec::with_capacity(1 + left.min(LITTLE));
                            answers.push((index, answer));
                            held.push(Effect::Act(Held::Answers(batch, answers)));
                        }
                    }
                }
                // R7, R9: it waits for no write of this home. Whatever is decided by now is in the log that the own
                // acceptor is shown, which does wait, and the collection does not end without that acceptor's PROMISE.
                // Behind a block it waits all the same: the proposer would ask for a height that is settled.
                Effect::Act(HomeAction::Settle(mark)) if self.blocks_held == 0 => {
                    self.ports.settle.do_send(Settle(mark));
                }
                Effect::Act(action) => {
                    self.blocks_held += usize::from(matches!(action, HomeAction::Applied { .. }));
                    held.push(Effect::Act(Held::Home(action)));
                }
                Effect::Halt(reason) => held.push(Effect::Halt(reason)),
            }
        }
        let free = match urgency {
            Urgency::Now => self.outbox.push(held),
            Urgency::Later => self.outbox.put_off(held),
        };
        self.act(free);
        self.watch_age(ctx);
        self.save(ctx);
    }

    /// Goes on with a checkpoint bit by bit, and lets everybody else be heard in between.
    fn save(&mut self, ctx: &mut Context<Self>) {
        if !self.core.is_saving() || std::mem::replace(&mut self.save_is_due, true) {
            return;
        }
        next_turn(ctx, |actor: &mut Self, ctx| {
            actor.save_is_due = false;
            let effects = actor.core.save();
            actor.run(effects, ctx);
        });
    }

    /// What is told of the state waits for the state to be durable.
    fn tell(&mut self, held: Held) {
        self.views_held += 1;
        let free = self.outbox.push([Effect::Act(held)]);
        self.act(free);
    }

    fn act(&mut self, actions: Vec<Held>) {
        for action in actions {
            match action {
                Held::Answers(batch, answers) => self.answer(batch, answers),
                Held::Home(HomeAction::Settle(mark)) => self.ports.settle.do_send(Settle(mark)),
                Held::Home(HomeAction::Applied { block, .. }) => {
                    self.blocks_held -= 1;
                    applied(&block);
                    self.ports.applied.iter().for_each(|role| role.do_send(Applied(block.clone())));
                }
                Held::Home(HomeAction::Collected { ticket, height, not_heard }) => {
                    self.readers.collected(ticket, Collected { height, not_heard });
                }
                Held::Home(HomeAction::Reply(..)) => unreachable!("run() puts replies together"),
                Held::Examined(examined) => {
                    self.views_held -= 1;
                    self.ports.acceptor.do_send(examined);
                }
                Held::Composed(composed) => {
                    self.views_held -= 1;
                    self.ports.composed.do_send(composed);
                }
                Held::View(reply_to, view) => {
                    self.views_held -= 1;
                    // A reader that went away needs no view.
                    drop(reply_to.send(*view));
                }
                Held::Tell(tell) => {
                    self.readers.held -= 1;
                    tell();
                }
            }
        }
    }

    fn answer(&mut self, number: u64, answers: Vec<(u32, Answer)>) {
        self.answers_held -= answers.len();
        let Some(batch) = self.batches.get_mut(number) else { return };
        for (index, answer) in &answers {
            if let Some(id) = batch.ids.get(*index as usize) {
                debug_span!("request", %id).in_scope(|| debug!(?answer, "answered"));
            }
        }
        batch.open -= answers.len();
        let tagged = answers.into_iter().map(|(index, answer)| (batch.tags[index as usize], answer));
        // However full its mailbox is: each request has one answer, and its connection waits for all of them.
        batch.reply_to.do_send(Answers(tagged.collect()));
        if batch.open == 0 {
            self.batches.close(number);
        }
    }

    fn watch_age(&mut self, ctx: &mut Context<Self>) {
        let Some(age) = self.settle_age.filter(|_| !self.age_timer_runs && self.core.log().len() > 0) else { return };
        self.age_timer_runs = true;
        let oldest = self.core.log_first();
        ctx.run_later(age, move |actor, ctx| {
            actor.age_timer_runs = false;
            // Entries that came since get their own time, unless the oldest one still waits.
            let effects = if actor.core.log_first() == oldest { actor.core.settle() } else { Vec::new() };
            actor.run(effects, ctx);
        });
    }

    fn view(&self) -> BankView {
        let seqs = (self.core.log_first().0..).map(Seq);
        let entry = |(seq, operation): (Seq, &_)| Entry { origin: self.me, seq, operation: *operation };
        BankView {
            height: self.core.bank().height(),
            tip: self.core.bank().tip(),
            state: self.core.bank().state(),
            settled: self.core.bank().balances().iter().map(|(account, amount)| (*account, *amount)).collect(),
            spendable: self.core.spendable().iter().map(|(account, amount)| (*account, *amount)).collect(),
            log: seqs.zip(self.core.log()).map(entry).collect(),
            waiting: self.core.waiting_len(),
            remembered: self.core.remembered_len(),
        }
    }
}

fn applied(block: &Block) {
    let height = block.height();
    let _round = info_span!("round", %height).entered();
    info!(hash = block.hash().short(), entries = block.entry_count(), "applied");
    if enabled!(Level::DEBUG) {
        for entry in block.runs().iter().flat_map(Run::entries) {
            debug!(id = %entry.operation.id, origin = %entry.origin, seq = %entry.seq, "settled");
        }
    }
}

impl Actor for LedgerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(ROLE_MAILBOX);
        let start = std::mem::take(&mut self.start);
        self.run(start, ctx);
    }
}

impl Handler<ReadBank> for LedgerActor {
    type Result = ();

    fn handle(&mut self, ReadBank(reply_to): ReadBank, _: &mut Context<Self>) {
        if self.views_held >= VIEWS_MAX {
            return;
        }
        let view = Box::new(self.view());
        self.tell(Held::View(reply_to, view));
    }
}

impl Handler<SettleNow> for LedgerActor {
    type Result = ();

    fn handle(&mut self, _: SettleNow, ctx: &mut Context<Self>) {
        let effects = self.core.settle();
        self.run(effects, ctx);
    }
}

impl Handler<Compose> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Compose { collection, candidates }: Compose, _: &mut Context<Self>) {
        let composition = self.core.compose(&candidates);
        self.tell(Held::Composed(Composed { collection, composition }));
    }
}

impl Handler<CollectionDone> for LedgerActor {
    type Result = ();

    fn handle(&mut self, CollectionDone(outcome): CollectionDone, ctx: &mut Context<Self>) {
        debug!(?outcome, "collection over");
        let effects = self.core.collection_done(outcome.began, outcome.not_heard.as_ref());
        self.run(effects, ctx);
    }
}

impl Handler<Apply> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Apply(block, urgency): Apply, ctx: &mut Context<Self>) {
        let awaited = self.core.awaits_block() || block.height() <= self.asked_above;
        let effects = self.core.apply(&block);
        let urgency = if awaited { Urgency::Now } else { urgency };
        self.carry_out(effects, urgency, ctx);
    }
}

impl Handler<Delivered<EntryFailed>> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Delivered { message, .. }: Delivered<EntryFailed>, ctx: &mut Context<Self>) {
        let effects = self.core.own_entry_failed(message.seq, message.fault);
        self.run(effects, ctx);
    }
}

impl Handler<Witness> for LedgerActor {
    type Result = ();

    fn handle(&mut self, Witness(peer, known): Witness, ctx: &mut Context<Self>) {
        let effects = self.core.witness(peer, known.height, known.seq);
        self.run(effects, ctx);
    }
}

impl Handler<Ready> for LedgerActor {
    type Result = ();

    fn handle(&mut self, _: Ready, _: &mut Context<Self>) {
        self.core.set_ready();
    }
}

impl Handler<Durable> for LedgerActor {
    type Result = ();

    fn handle(&mut self, durable: Durable, _: &mut Context<Self>) {
        let released = self.outbox.on_durable(durable);
        self.act(released);
    }
}

impl Handler<Stop> for LedgerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
