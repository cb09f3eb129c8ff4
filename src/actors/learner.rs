//! The Learner: counts votes, tells COMMIT, hands chosen blocks to the Ledger in height order. Upholds R3, R5 and R6
//! through [`crate::paxos::Learner`]. It waits on the Ledger.

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use tracing::debug;

use super::links::Links;
use super::message::{Applied, Apply, CompareTip, Delivered, Fetched, Gap, Halt, Proposed, ROLE_MAILBOX, Stop, Voted};
use crate::paxos::{Accepted, Commit, Learner, LearnerAction};

/// The neighbours of a [`LearnerActor`].
#[derive(Clone)]
pub struct LearnerPorts {
    /// The Ledger.
    pub ledger: Recipient<Apply>,
    /// The ReconcileActor.
    pub reconcile: Recipient<Gap>,
    /// The node.
    pub node: Recipient<Halt>,
    /// The way to the other learners.
    pub links: Links,
}

/// The Learner role.
pub struct LearnerActor {
    core: Learner,
    ports: LearnerPorts,
}

impl LearnerActor {
    /// A learner over `core`.
    pub fn new(core: Learner, ports: LearnerPorts) -> Self {
        Self { core, ports }
    }

    fn act(&mut self, actions: Vec<LearnerAction>, ctx: &mut Context<Self>) {
        for action in actions {
            match action {
                LearnerAction::Send(to, message) => self.ports.links.send(to, message),
                LearnerAction::Apply(block, urgency) => {
                    debug!(height = %block.height(), hash = %block.hash(), "chosen");
                    self.ports.ledger.do_send(Apply(block, urgency));
                }
                LearnerAction::Gap(_, height) => self.ports.reconcile.do_send(Gap(height)),
                LearnerAction::Halt(reason) => {
                    self.ports.node.do_send(Halt(reason));
                    ctx.stop();
                }
            }
        }
    }
}

impl Actor for LearnerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(ROLE_MAILBOX);
    }
}

impl Handler<Proposed> for LearnerActor {
    type Result = ();

    fn handle(&mut self, Proposed(ballot, block): Proposed, _: &mut Context<Self>) {
        self.core.on_proposed(ballot, block);
    }
}

impl Handler<Voted> for LearnerActor {
    type Result = ();

    fn handle(&mut self, Voted(slot): Voted, _: &mut Context<Self>) {
        self.core.on_voted(&slot);
    }
}

impl Handler<Delivered<Accepted>> for LearnerActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<Accepted>, ctx: &mut Context<Self>) {
        let actions = self.core.on_accepted(from, message);
        self.act(actions, ctx);
    }
}

impl Handler<Delivered<Commit>> for LearnerActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<Commit>, ctx: &mut Context<Self>) {
        let actions = self.core.on_commit(from, message);
        self.act(actions, ctx);
    }
}

impl Handler<Fetched> for LearnerActor {
    type Result = ();

    fn handle(&mut self, Fetched(blocks): Fetched, ctx: &mut Context<Self>) {
        let actions = self.core.on_fetched(blocks);
        self.act(actions, ctx);
    }
}

impl Handler<CompareTip> for LearnerActor {
    type Result = ();

    fn handle(&mut self, CompareTip(peer, height, tip): CompareTip, ctx: &mut Context<Self>) {
        let actions = self.core.compare(peer, height, tip);
        self.act(actions, ctx);
    }
}

impl Handler<Applied> for LearnerActor {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, ctx: &mut Context<Self>) {
        let actions = self.core.on_applied(&block);
        self.act(actions, ctx);
    }
}

impl Handler<Stop> for LearnerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "learner_tests.rs"]
mod tests;
