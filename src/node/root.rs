//! The root of a node: takes all its roles down together, and tells whoever runs it what happened.

use std::collections::BTreeSet;

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use tracing::error;

use crate::actors::message::{Applied, Halt, Happened, LinkChanged, NodeEvent, Ready, Stop};
use crate::types::NodeId;

/// Knows all roles of the node, so that one that halts takes the others with it.
pub(super) struct Root {
    pub(super) id: NodeId,
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) roles: Vec<Recipient<Stop>>,
    pub(super) events: Recipient<NodeEvent>,
}

impl Root {
    fn tell(&self, what: Happened) {
        // An observer that cannot keep up misses events; the node does not wait for it.
        drop(self.events.try_send(NodeEvent { node: self.id, what }));
    }
}

impl Actor for Root {
    type Context = Context<Self>;
}

impl Handler<Halt> for Root {
    type Result = ();

    fn handle(&mut self, Halt(reason): Halt, ctx: &mut Context<Self>) {
        error!(node = %self.id, "stopped for good: {reason}");
        self.roles.drain(..).for_each(|role| role.do_send(Stop));
        self.tell(Happened::Halted(reason));
        ctx.stop();
    }
}

impl Handler<Stop> for Root {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.roles.drain(..).for_each(|role| role.do_send(Stop));
        ctx.stop();
    }
}

impl Handler<Ready> for Root {
    type Result = ();

    fn handle(&mut self, _: Ready, _: &mut Context<Self>) {
        self.tell(Happened::Ready);
    }
}

impl Handler<LinkChanged> for Root {
    type Result = ();

    fn handle(&mut self, LinkChanged { peer, up, votes }: LinkChanged, _: &mut Context<Self>) {
        let changed = if up && votes { self.voters.insert(peer) } else { self.voters.remove(&peer) };
        if changed {
            self.tell(Happened::Voters(self.voters.clone()));
        }
    }
}

impl Handler<Applied> for Root {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, _: &mut Context<Self>) {
        self.tell(Happened::Applied(block));
    }
}
