//! The Proposer: runs collections and proposes blocks. Upholds R2 to R6 and R9 through [`crate::paxos::Proposer`].
//!
//! It writes nothing itself: its ballot becomes durable as a promise of this node's own Acceptor, before any peer hears
//! of it. It waits on the Acceptor and on the Ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use tracing::{debug, info, info_span};

use super::links::Links;
use super::message::{
    Applied, CollectionDone, Compose, Composed, Delivered, Gap, Halt, LinkChanged, Overtaken, Proposed, ROLE_MAILBOX,
    Settle, Stop,
};
use crate::entropy::Entropy;
use crate::ledger::Value;
use crate::paxos::{Idle, Message, Nack, Promise, Proposer, ProposerAction, ProposerTimer};

/// The neighbours of a [`ProposerActor`].
#[derive(Clone)]
pub struct ProposerPorts {
    /// The Ledger composes blocks.
    pub compose: Recipient<Compose>,
    /// The Ledger hears how a collection ended.
    pub done: Recipient<CollectionDone>,
    /// The Learner counts the votes.
    pub learner: Recipient<Proposed>,
    /// The ReconcileActor.
    pub reconcile: Recipient<Gap>,
    /// The node.
    pub node: Recipient<Halt>,
    /// The way to the acceptors, the own one included.
    pub links: Links,
}

/// How long a proposer waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposerTiming {
    /// For an answer, before the question is repeated unchanged.
    pub repeat: Duration,
    /// From the majority on, for the voting peers whose links are up; `None` as long as their links are up (R9).
    pub grace: Option<Duration>,
    /// For another proposer's block, the first time; it doubles with each attempt, and is drawn from its upper half.
    pub wait_min: Duration,
    /// The bound of that.
    pub wait_max: Duration,
}

/// The Proposer role.
pub struct ProposerActor {
    core: Proposer,
    ports: ProposerPorts,
    timing: ProposerTiming,
    entropy: Entropy,
    timers: BTreeMap<u8, SpawnHandle>,
}

impl ProposerActor {
    /// A proposer over `core`; `entropy` spreads the attempts of rivals.
    pub fn new(core: Proposer, ports: ProposerPorts, timing: ProposerTiming, entropy: Entropy) -> Self {
        Self { core, ports, timing, entropy, timers: BTreeMap::new() }
    }

    fn act(&mut self, actions: Vec<ProposerAction>, ctx: &mut Context<Self>) {
        let _round = self.core.ballot().map(|ballot| {
            let height = self.core.height().next();
            info_span!("round", %ballot, %height).entered()
        });
        for action in actions {
            match action {
                ProposerAction::Send(to, Message::Prepare(prepare)) => {
                    debug!(%to, collection = prepare.collection.0, "PREPARE");
                    self.ports.links.send(to, Message::Prepare(prepare));
                }
                ProposerAction::Send(to, message) => self.ports.links.send(to, message),
                ProposerAction::Compose(collection, candidates) => {
                    self.ports.compose.do_send(Compose { collection, candidates });
                }
                ProposerAction::Proposed(ballot, block) => {
                    debug!(hash = block.hash().short(), entries = block.entry_count(), "proposing a block");
                    self.ports.learner.do_send(Proposed(ballot, block));
                }
                ProposerAction::Done(outcome) => self.ports.done.do_send(CollectionDone(outcome)),
                ProposerAction::Gap(_, height) => self.ports.reconcile.do_send(Gap(height)),
                ProposerAction::Start(timer) => self.start(timer, ctx),
                ProposerAction::Halt(reason) => {
                    self.ports.node.do_send(Halt(reason));
                    ctx.stop();
                }
            }
        }
    }

    fn start(&mut self, timer: ProposerTimer, ctx: &mut Context<Self>) {
        let (kind, delay) = match timer {
            ProposerTimer::Repeat => (0, Some(self.timing.repeat)),
            ProposerTimer::Grace => (1, self.timing.grace),
            ProposerTimer::Wait { attempt } => (2, Some(self.wait(attempt))),
        };
        let Some(delay) = delay else { return };
        let handle = ctx.run_later(delay, move |actor, ctx| {
            let actions = actor.core.on_timer(timer);
            actor.act(actions, ctx);
        });
        if let Some(old) = self.timers.insert(kind, handle) {
            ctx.cancel_future(old);
        }
    }

    /// Rivals that wait equally long would outbid each other for ever.
    fn wait(&mut self, attempt: u32) -> Duration {
        let doubled = self.timing.wait_min.saturating_mul(1 << attempt.min(16));
        self.entropy.upper_half(doubled.min(self.timing.wait_max))
    }
}

impl Actor for ProposerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(ROLE_MAILBOX);
    }
}

impl Handler<Settle> for ProposerActor {
    type Result = ();

    fn handle(&mut self, Settle(mark): Settle, ctx: &mut Context<Self>) {
        let actions = self.core.on_settle(mark);
        self.act(actions, ctx);
    }
}

impl Handler<Delivered<Promise>> for ProposerActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<Promise>, ctx: &mut Context<Self>) {
        let actions = self.core.on_promise(from, message);
        self.act(actions, ctx);
    }
}

impl Handler<Composed> for ProposerActor {
    type Result = ();

    fn handle(&mut self, Composed { collection, composition }: Composed, ctx: &mut Context<Self>) {
        if let Value::Adopted(block) = &composition.value {
            info!(height = %block.height(), "finishing a block that another proposer left");
        }
        let actions = self.core.on_composed(collection, composition);
        self.act(actions, ctx);
    }
}

impl Handler<Delivered<Nack>> for ProposerActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<Nack>, ctx: &mut Context<Self>) {
        debug!(%from, kind = ?message.kind, "NACK");
        let actions = self.core.on_nack(from, message);
        self.act(actions, ctx);
    }
}

impl Handler<Delivered<Idle>> for ProposerActor {
    type Result = ();

    fn handle(&mut self, idle: Delivered<Idle>, ctx: &mut Context<Self>) {
        let actions = self.core.on_idle(idle.message);
        self.act(actions, ctx);
    }
}

impl Handler<Overtaken> for ProposerActor {
    type Result = ();

    fn handle(&mut self, Overtaken(ballot, height): Overtaken, _: &mut Context<Self>) {
        self.core.on_overtaken(ballot, height);
    }
}

impl Handler<Applied> for ProposerActor {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, ctx: &mut Context<Self>) {
        let actions = self.core.on_applied(block.height(), block.hash());
        self.act(actions, ctx);
    }
}

impl Handler<LinkChanged> for ProposerActor {
    type Result = ();

    fn handle(&mut self, LinkChanged { peer, up, votes }: LinkChanged, ctx: &mut Context<Self>) {
        let actions = self.core.on_link(peer, up, votes);
        self.act(actions, ctx);
    }
}

impl Handler<Stop> for ProposerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "proposer_tests.rs"]
mod tests;
