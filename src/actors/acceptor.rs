//! The Acceptor: answers PREPARE and ACCEPT. Upholds R1, R3, R5, R6, R13 through [`crate::paxos::Acceptor`].
//!
//! A PREPARE or ACCEPT goes through the Ledger first, which adds the node's height, log and verdict. It waits on the Ledger
//! and on Persistence.

use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use tracing::{debug, info_span, warn};

use super::links::Links;
use super::message::{
    Admitted, Applied, Delivered, Durable, Examine, Examined, Gap, Halt, Overtaken, Persist, Settle, Stop, Voted,
    Witness,
};
use super::outbox::Outbox;
use crate::effect::Effect;
use crate::paxos::{Accept, Acceptor, AcceptorAction, Idle, Prepare};
use crate::types::Height;

/// The neighbours of an [`AcceptorActor`].
#[derive(Clone)]
pub struct AcceptorPorts {
    /// Persistence.
    pub persistence: Recipient<Persist>,
    /// The Ledger.
    pub ledger: Recipient<Examine>,
    /// The Learner hears of votes.
    pub learner: Recipient<Voted>,
    /// The Proposer hears that its ballot is outbid.
    pub proposer: Recipient<Overtaken>,
    /// The Proposer finds out what came of a vote.
    pub settle: Recipient<Settle>,
    /// The ReconcileActor.
    pub reconcile: Recipient<Gap>,
    /// The node.
    pub node: Recipient<Halt>,
    /// The way to the proposers.
    pub links: Links,
}

/// While a store does not answer, no more than this waits for it: a PROMISE holds a log. Proposers repeat.
const HELD_MAX: usize = 32;

/// The Acceptor role.
pub struct AcceptorActor {
    core: Acceptor,
    /// The last block may not be durable yet; a vote above it is written behind it.
    height: Height,
    ports: AcceptorPorts,
    outbox: Outbox<AcceptorAction>,
    watch: Duration,
    /// Looks after the last vote: there is no other, and an actor looks at each of its timers whenever it does anything.
    watching: Option<SpawnHandle>,
}

impl AcceptorActor {
    /// `height` is that of the stored chain; `watch` is how long a vote may wait for its outcome.
    pub fn new(core: Acceptor, height: Height, ports: AcceptorPorts, own: Recipient<Durable>, watch: Duration) -> Self {
        let outbox = Outbox::new(ports.persistence.clone(), ports.node.clone(), own);
        Self { core, height, ports, outbox, watch, watching: None }
    }

    fn run(&mut self, effects: Vec<Effect<AcceptorAction>>, ctx: &mut Context<Self>) {
        let free = self.outbox.push(effects);
        self.act(free, ctx);
    }

    fn act(&mut self, actions: Vec<AcceptorAction>, ctx: &mut Context<Self>) {
        for action in actions {
            match action {
                AcceptorAction::Send(to, message) => self.ports.links.send(to, message),
                AcceptorAction::Voted(slot) => {
                    let (ballot, height) = (slot.ballot, slot.block.height());
                    info_span!("round", %ballot, %height)
                        .in_scope(|| debug!(hash = slot.block.hash().short(), "voted"));
                    self.ports.learner.do_send(Voted(slot));
                }
                AcceptorAction::Overtaken(ballot, height) => self.ports.proposer.do_send(Overtaken(ballot, height)),
                AcceptorAction::Gap(_, height) => self.ports.reconcile.do_send(Gap(height)),
                AcceptorAction::AskAgain(from, message) => self.ports.links.inboxes.deliver(from, message),
                AcceptorAction::Watch(ballot, height) => {
                    let watching = ctx.run_later(self.watch, move |actor, ctx| {
                        if actor.core.unresolved(ballot, height) {
                            warn!(%ballot, %height, "a vote has no outcome yet: starting a round to find out");
                            actor.ports.settle.do_send(Settle(0));
                            actor.act(vec![AcceptorAction::Watch(ballot, height)], ctx);
                        }
                    });
                    if let Some(of_the_one_before) = self.watching.replace(watching) {
                        ctx.cancel_future(of_the_one_before);
                    }
                }
            }
        }
    }
}

impl Actor for AcceptorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(super::message::ROLE_MAILBOX);
        let effects = self.core.start();
        self.run(effects, ctx);
    }
}

impl Handler<Delivered<Prepare>> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<Prepare>, _: &mut Context<Self>) {
        if self.outbox.len() < HELD_MAX {
            self.ports.ledger.do_send(Examine::Prepare(from, message));
        }
    }
}

impl Handler<Delivered<Accept>> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<Accept>, _: &mut Context<Self>) {
        if self.outbox.len() < HELD_MAX {
            self.ports.ledger.do_send(Examine::Accept(from, message));
        }
    }
}

impl Handler<Examined> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, examined: Examined, ctx: &mut Context<Self>) {
        self.height = self.height.max(examined.height());
        let effects = match examined {
            Examined::Prepare(from, prepare, view) => self.core.on_prepare(from, prepare, view),
            Examined::Accept(from, accept, verdict) => self.core.on_accept(from, accept, verdict),
        };
        self.run(effects, ctx);
    }
}

impl Handler<Delivered<Idle>> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, idle: Delivered<Idle>, _: &mut Context<Self>) {
        self.core.on_idle(idle.message.ballot);
    }
}

impl Handler<Applied> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, ctx: &mut Context<Self>) {
        self.height = self.height.max(block.height());
        let effects = self.core.on_applied(block.height());
        self.run(effects, ctx);
    }
}

impl Handler<Witness> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, Witness(peer, known): Witness, ctx: &mut Context<Self>) {
        let effects = self.core.witness(peer, known.promised, known.accepted, self.height);
        self.run(effects, ctx);
    }
}

impl Handler<Admitted> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, _: Admitted, _: &mut Context<Self>) {
        self.core.admit();
    }
}

impl Handler<Durable> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, durable: Durable, ctx: &mut Context<Self>) {
        let released = self.outbox.on_durable(durable);
        self.act(released, ctx);
    }
}

impl Handler<Stop> for AcceptorActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "acceptor_tests.rs"]
mod tests;
