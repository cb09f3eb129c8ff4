//! The ReconcileActor: admits a baby, brings a zombie up to date, closes any gap later, and serves peers that do the
//! same. Upholds R2, R11 and R13 through [`crate::reconcile::Reconcile`]. It waits on Persistence, and on the Learner
//! for what it fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::links::Links;
use super::message::{
    Admitted, Applied, BlocksReader, CompareTip, Delivered, Durable, Fetched, Gap, Halt, HelloHeard, LinkChanged,
    Persist, ROLE_MAILBOX, ReadBlocks, Ready, Stop, StoredRead,
};
use super::outbox::Outbox;
use crate::effect::Effect;
use crate::paxos::{BlocksRequest, BlocksResponse, Message, ReconcileAck, ReconcileRequest, SentBlock};
use crate::reconcile::{Reconcile, ReconcileAction, ReconcileTimer, Standing};
use crate::types::{Height, NodeId};

/// The neighbours of a [`ReconcileActor`].
#[derive(Clone)]
pub struct ReconcilePorts {
    /// Persistence, for the mark `admitted`.
    pub persistence: Recipient<Persist>,
    /// Persistence, for blocks to serve.
    pub blocks: Recipient<ReadBlocks>,
    /// The Learner, for blocks that were fetched.
    pub fetched: Recipient<Fetched>,
    /// The Learner, for what a peer says of its tip.
    pub compare: Recipient<CompareTip>,
    /// Whoever must know that the node votes: Acceptor and links.
    pub admitted: Vec<Recipient<Admitted>>,
    /// Whoever must know that the node serves clients: the Ledger and the node.
    pub ready: Vec<Recipient<Ready>>,
    /// The node.
    pub node: Recipient<Halt>,
    /// The way to the peers.
    pub links: Links,
}

/// How long a reconciliation waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileTiming {
    /// For an answer, before somebody else is asked.
    pub retry: Duration,
    /// For a majority at the start, before clients are served on what there is.
    pub give_up: Duration,
    /// Bytes of blocks in one R_BLOCKS_RESP, about.
    pub frame_bytes_max: usize,
}

/// While a store does not answer, no more than this waits for it; peers ask again.
const HELD_MAX: usize = 256;

/// The ReconcileActor.
pub struct ReconcileActor {
    core: Reconcile,
    ports: ReconcilePorts,
    outbox: Outbox<ReconcileAction>,
    timing: ReconcileTiming,
    timers: BTreeMap<ReconcileTimer, SpawnHandle>,
    ahead: Option<Ahead>,
}

/// The blocks that a peer will ask for next: they are read while it has those before them. One frame, for one peer.
struct Ahead {
    peer: NodeId,
    from: Height,
    blocks: oneshot::Receiver<StoredRead>,
}

impl ReconcileActor {
    /// A reconciliation over `core`.
    pub fn new(core: Reconcile, ports: ReconcilePorts, own: Recipient<Durable>, timing: ReconcileTiming) -> Self {
        let outbox = Outbox::new(ports.persistence.clone(), ports.node.clone(), own);
        Self { core, ports, outbox, timing, timers: BTreeMap::new(), ahead: None }
    }

    fn run(&mut self, effects: Vec<Effect<ReconcileAction>>, ctx: &mut Context<Self>) {
        let free = self.outbox.push(effects);
        self.act(free, ctx);
    }

    fn act(&mut self, actions: Vec<ReconcileAction>, ctx: &mut Context<Self>) {
        for action in actions {
            match action {
                ReconcileAction::Send(to, message) => self.ports.links.send(to, message),
                ReconcileAction::Serve(to, request) => self.serve(to, request, ctx),
                ReconcileAction::Deliver(blocks) => self.ports.fetched.do_send(Fetched(blocks)),
                ReconcileAction::Compare(peer, height, tip) => {
                    self.ports.compare.do_send(CompareTip(peer, height, tip));
                }
                ReconcileAction::Admitted => {
                    info!("admitted: this node votes from now on");
                    self.ports.admitted.iter().for_each(|role| role.do_send(Admitted));
                }
                ReconcileAction::Ready => {
                    info!("ready");
                    self.ports.ready.iter().for_each(|role| role.do_send(Ready));
                }
                ReconcileAction::Start(timer) => self.start_timer(timer, ctx),
            }
        }
    }

    fn serve(&mut self, to: NodeId, request: BlocksRequest, ctx: &mut Context<Self>) {
        let ahead = self.ahead.take_if(|ahead| ahead.peer == to && ahead.from == request.from);
        // A node that is too busy to read says nothing; the peer asks another.
        let Some(blocks) = ahead.map(|ahead| ahead.blocks).or_else(|| self.read(request)) else { return };
        let answer = blocks.into_actor(self).map(move |read, actor, _| match read {
            Ok(Ok(mut blocks)) => {
                blocks.retain(|block| block.height() <= request.to);
                actor.read_ahead(to, request, &blocks);
                actor.ports.links.send(to, Message::BlocksResponse(BlocksResponse { blocks }));
            }
            Ok(Err(error)) => warn!(%to, %error, "cannot serve blocks"),
            Err(_) => {}
        });
        ctx.spawn(answer);
    }

    fn read(&self, request: BlocksRequest) -> Option<oneshot::Receiver<StoredRead>> {
        let (reply_to, blocks) = oneshot::channel();
        let reader = BlocksReader::Stored(reply_to);
        let read = ReadBlocks { request, bytes_max: self.timing.frame_bytes_max, reader };
        self.ports.blocks.try_send(read).ok().map(|()| blocks)
    }

    /// A peer gets these blocks of those that it asked for, and will want the others.
    fn read_ahead(&mut self, peer: NodeId, request: BlocksRequest, served: &[SentBlock]) {
        let next = served.last().map(|block| block.height().next()).filter(|next| *next <= request.to);
        let read = next.and_then(|from| Some((from, self.read(BlocksRequest { from, ..request })?)));
        if let Some((from, blocks)) = read {
            self.ahead = Some(Ahead { peer, from, blocks });
        }
    }

    fn start_timer(&mut self, timer: ReconcileTimer, ctx: &mut Context<Self>) {
        let delay = match timer {
            ReconcileTimer::Retry => self.timing.retry,
            ReconcileTimer::GiveUp => self.timing.give_up,
        };
        let handle = ctx.run_later(delay, move |actor, ctx| {
            if timer == ReconcileTimer::GiveUp && !actor.core.not_cleared().is_empty() {
                let peers = actor.core.not_cleared();
                match actor.core.standing() {
                    Standing::Baby => warn!(?peers, "not heard from yet: a new store votes once all its peers know it"),
                    _ => warn!(?peers, "not heard from; going on without them"),
                }
            }
            let effects = actor.core.on_timer(timer);
            actor.run(effects, ctx);
        });
        if let Some(old) = self.timers.insert(timer, handle) {
            ctx.cancel_future(old);
        }
    }
}

impl Actor for ReconcileActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(ROLE_MAILBOX);
        let effects = self.core.start();
        self.run(effects, ctx);
    }
}

impl Handler<HelloHeard> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, HelloHeard { peer, knows, height, .. }: HelloHeard, ctx: &mut Context<Self>) {
        let effects = self.core.on_hello(peer, knows, height);
        self.run(effects, ctx);
    }
}

impl Handler<LinkChanged> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, LinkChanged { peer, up, .. }: LinkChanged, ctx: &mut Context<Self>) {
        if !up {
            self.ahead.take_if(|ahead| ahead.peer == peer);
        }
        let effects = self.core.on_link(peer, up);
        self.run(effects, ctx);
    }
}

impl Handler<Gap> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, Gap(height): Gap, ctx: &mut Context<Self>) {
        let effects = self.core.on_gap(height);
        self.run(effects, ctx);
    }
}

impl Handler<Delivered<ReconcileRequest>> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, request: Delivered<ReconcileRequest>, ctx: &mut Context<Self>) {
        if self.outbox.len() >= HELD_MAX {
            return;
        }
        let effects = self.core.on_request(request.from);
        self.run(effects, ctx);
    }
}

impl Handler<Delivered<ReconcileAck>> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<ReconcileAck>, ctx: &mut Context<Self>) {
        let effects = self.core.on_ack(from, &message);
        self.run(effects, ctx);
    }
}

impl Handler<Delivered<BlocksRequest>> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<BlocksRequest>, ctx: &mut Context<Self>) {
        if self.outbox.len() >= HELD_MAX {
            return;
        }
        let effects = self.core.on_blocks_request(from, message);
        self.run(effects, ctx);
    }
}

impl Handler<Delivered<BlocksResponse>> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, Delivered { from, message }: Delivered<BlocksResponse>, ctx: &mut Context<Self>) {
        let effects = self.core.on_blocks(from, message);
        self.run(effects, ctx);
    }
}

impl Handler<Applied> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, Applied(block): Applied, ctx: &mut Context<Self>) {
        let effects = self.core.on_applied(block.height(), block.hash());
        self.run(effects, ctx);
    }
}

impl Handler<Durable> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, durable: Durable, ctx: &mut Context<Self>) {
        let released = self.outbox.on_durable(durable);
        self.act(released, ctx);
    }
}

impl Handler<Stop> for ReconcileActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
