//! The root of a node: takes all its roles down together, and tells whoever runs it what happened.

use std::collections::BTreeSet;

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use tracing::error;

use crate::actors::message::{Admitted, Applied, Halt, Happened, HelloHeard, LinkChanged, NodeEvent, Ready, Stop};
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
        let event = NodeEvent { node: self.id, what };
        match event.what {
            // These come a few times in a node's life, and nobody may miss them.
            Happened::Admitted | Happened::Ready | Happened::Halted(_) => self.events.do_send(event),
            // An observer that cannot keep up misses events; the node does not wait for it.
            _ => drop(self.events.try_send(event)),
        }
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

impl Handler<Admitted> for Root {
    type Result = ();

    fn handle(&mut self, _: Admitted, _: &mut Context<Self>) {
        self.tell(Happened::Admitted);
    }
}

impl Handler<HelloHeard> for Root {
    type Result = ();

    fn handle(&mut self, heard: HelloHeard, _: &mut Context<Self>) {
        self.tell(Happened::Heard(heard));
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

    fn handle(&mut self, changed: LinkChanged, _: &mut Context<Self>) {
        let LinkChanged { peer, up, votes } = changed;
        self.tell(Happened::Link(changed));
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
