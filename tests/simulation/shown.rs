//! What peers must know of each other: whatever one showed of its store on a link that was up, the other tells it in
//! its HELLOs (R13). Else a store that went back would meet nobody who knows better.

use std::collections::{BTreeMap, BTreeSet};

use paxos_banking::actors::message::Outgoing;
use paxos_banking::paxos::{KnownOfYou, Message, NackKind};
use paxos_banking::types::{Epoch, Height, NodeId, Seq};
use tokio::time::Instant;

/// A process, and the peer that its link is to.
type Link = (NodeId, Epoch, NodeId);

/// What was shown to each process.
#[derive(Default)]
pub struct Witnesses {
    /// Links that are certainly up: something went out on them since they were connected.
    up: BTreeSet<Link>,
    shown: BTreeMap<Link, Shown>,
}

/// What came over one link. Something that comes in the instant of a HELLO may be read after it.
#[derive(Default)]
struct Shown {
    before: KnownOfYou,
    just_now: Option<(Instant, KnownOfYou)>,
}

impl Witnesses {
    /// A connection was made, or broke.
    pub fn disconnected(&mut self, node: NodeId, epoch: Epoch, peer: NodeId) {
        self.up.remove(&(node, epoch, peer));
    }

    /// The node was stopped or continued: what comes to it is read later, and what came last perhaps too.
    pub fn forget(&mut self, node: NodeId) {
        self.up.retain(|(of, ..)| *of != node);
        self.shown.iter_mut().filter(|((of, ..), _)| *of == node).for_each(|(_, shown)| shown.just_now = None);
    }

    /// A process puts a message on the wire. A HELLO must tell what was shown.
    pub fn sent(&mut self, Outgoing { from, epoch, to, message }: &Outgoing) -> Result<(), String> {
        let link = (*from, *epoch, *to);
        let Message::Hello(hello) = message else {
            self.up.insert(link);
            return Ok(());
        };
        let Some(shown) = self.shown.get_mut(&link) else { return Ok(()) };
        shown.settle();
        let (told, due) = (&hello.known, &shown.before);
        let tells = told.height >= due.height
            && told.seq >= due.seq
            && told.promised >= due.promised
            && told.accepted >= due.accepted;
        if tells {
            Ok(())
        } else {
            Err(format!("R13: {from} tells {to} that it has seen {told:?}, and has seen {due:?}"))
        }
    }

    /// A message reaches a process.
    pub fn delivered(&mut self, from: NodeId, (to, epoch): (NodeId, Epoch), message: &Message) {
        let link = (to, epoch, from);
        if !self.up.contains(&link) {
            return;
        }
        let shown = self.shown.entry(link).or_default();
        shown.settle();
        let (_, now) = shown.just_now.get_or_insert_with(|| (Instant::now(), KnownOfYou::default()));
        show(now, message);
    }
}

impl Shown {
    /// What came in earlier instants was read.
    fn settle(&mut self) {
        let Some((_, read)) = self.just_now.take_if(|(at, _)| *at < Instant::now()) else { return };
        let before = &mut self.before;
        before.height = before.height.max(read.height);
        before.seq = before.seq.max(read.seq);
        before.promised = before.promised.max(read.promised);
        before.accepted = before.accepted.max(read.accepted);
    }
}

/// What a message shows of its sender's store: an outbid no height, since the last block may not be there yet.
fn show(known: &mut KnownOfYou, message: &Message) {
    match message {
        Message::Promise(promise) => {
            known.promised = known.promised.max(Some(promise.ballot));
            known.seq =
                known.seq.max(Seq((promise.log.first.0 + promise.log.operations.len() as u64).saturating_sub(1)));
            let slot = promise.accepted.as_ref().map(|slot| (slot.ballot, slot.block.height()));
            known.accepted = known.accepted.max(slot);
        }
        Message::Accepted(accepted) => {
            known.promised = known.promised.max(Some(accepted.ballot));
            known.accepted = known.accepted.max(Some((accepted.ballot, accepted.height)));
            known.height = known.height.max(Height(accepted.height.0 - 1));
        }
        Message::Nack(nack) => {
            known.promised = known.promised.max(nack.promised);
            if !matches!(nack.kind, NackKind::Outbid { .. }) {
                known.height = known.height.max(nack.height);
            }
        }
        Message::Commit(commit) => known.height = known.height.max(commit.height),
        Message::ReconcileAck(ack) => known.height = known.height.max(ack.height().unwrap_or(Height(0))),
        _ => {}
    }
}
