//! How a node comes back: the admission of a baby, the recovery of a zombie, and the same for any gap in heights later.
//! Rules R2, R11, R13, and the steps of recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::{Effect, HaltReason, Record};
use crate::ledger::Block;
use crate::paxos::{BlocksRequest, BlocksResponse, Message, ReconcileAck, ReconcileRequest, SentBlock};
use crate::types::{Hash, Height, Incarnation, NodeId};

/// How far a node has come since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its store is new, and not every peer has said that it knows this one (R11).
    Baby,
    /// It has stored data, or was just admitted, and asks what it missed. It votes already.
    Zombie,
    /// It serves clients.
    Ready,
}

/// A timer of the reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReconcileTimer {
    /// An answer is due from somebody: go on with the next.
    Retry,
    /// Serve clients on what there is: an old chain only underestimates what can be spent.
    GiveUp,
}

/// What a [`Reconcile`] asks of its shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReconcileAction {
    /// Send to a peer.
    Send(NodeId, Message),
    /// Read blocks from the store and send them to the peer, as many as a frame holds.
    Serve(NodeId, BlocksRequest),
    /// Hand fetched blocks to the Learner.
    Deliver(Vec<Arc<Block>>),
    /// Have the Learner compare a peer's tip with the own one.
    Compare(NodeId, Height, Hash),
    /// The node may vote from now on; it is durable.
    Admitted,
    /// The node serves clients from now on.
    Ready,
    /// Start a timer; a new one of the same kind replaces the old.
    Start(ReconcileTimer),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Peer {
    up: bool,
    /// Its HELLO knew this very incarnation of this node.
    cleared: bool,
    /// The height that its R_ACK named, in this round of asking.
    ack: Option<Height>,
    /// It did not deliver in this round.
    failed: bool,
    /// It was asked for blocks, and has not answered.
    owes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    from: NodeId,
    target: Height,
    /// A frame was asked for, and has not come.
    awaited: bool,
    /// The last heights of the frames that were delivered and are not applied yet: at most two, so that one is on its way
    /// while the one before is applied.
    delivered: Vec<Height>,
}

/// The state of the ReconcileActor's core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reconcile {
    own: Incarnation,
    majority: usize,
    standing: Standing,
    /// Missing answers (never contrary ones) do not keep a baby from being admitted.
    force: bool,
    height: Height,
    tip: Hash,
    peers: BTreeMap<NodeId, Peer>,
    /// The greatest height heard of. While it is above the own one, this node asks.
    wanted: Height,
    fetch: Option<Fetch>,
    progress: bool,
}

type Effects = Vec<Effect<ReconcileAction>>;

fn act(action: ReconcileAction) -> Effect<ReconcileAction> {
    Effect::Act(action)
}

impl Reconcile {
    /// The reconciliation of a node whose store has the incarnation `own`, the mark `admitted`, and a chain up to
    /// `height` and `tip`.
    pub fn new(
        own: Incarnation,
        peers: impl IntoIterator<Item = NodeId>,
        majority: usize,
        admitted: bool,
        force: bool,
        (height, tip): (Height, Hash),
    ) -> Self {
        Self {
            own,
            majority,
            standing: if admitted { Standing::Zombie } else { Standing::Baby },
            force,
            height,
            tip,
            peers: peers.into_iter().map(|peer| (peer, Peer::default())).collect(),
            wanted: height,
            fetch: None,
            progress: false,
        }
    }

    /// How far the node has come.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The node starts. A cluster of one has nobody to ask.
    pub fn start(&mut self) -> Effects {
        let mut effects = vec![act(ReconcileAction::Start(ReconcileTimer::GiveUp))];
        effects.extend(self.admit_if_cleared());
        effects.extend(self.ask());
        effects.extend(self.review());
        effects
    }

    /// A peer's HELLO: which incarnation of this node it knows, and how long its chain is (R11).
    pub fn on_hello(&mut self, from: NodeId, knows: Option<Incarnation>, height: Height) -> Effects {
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        if let Some(known) = knows.filter(|known| *known != self.own) {
            let nothing_settled = height == Height(0) && self.height == Height(0);
            let reason = HaltReason::LostDisk { peer: from, known, own: self.own, nothing_settled };
            return vec![Effect::Halt(reason)];
        }
        // Who has not heard of this node says nothing about it: only what a peer knows durably can object later.
        peer.cleared |= knows.is_some();
        let mut effects = self.admit_if_cleared();
        effects.extend(self.on_gap(height));
        effects
    }

    /// A link came up or went down.
    pub fn on_link(&mut self, from: NodeId, up: bool) -> Effects {
        let asking = self.asking();
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        (peer.up, peer.ack, peer.failed) = (up, None, false);
        if up {
            return if asking { vec![self.request(from)] } else { Vec::new() };
        }
        self.lost(from)
    }

    /// Somebody has blocks up to `height`.
    pub fn on_gap(&mut self, height: Height) -> Effects {
        if height <= self.wanted {
            return Vec::new();
        }
        let asked_already = self.asking();
        self.wanted = height;
        if asked_already { Vec::new() } else { self.ask() }
    }

    /// RECONCILE_REQUEST: answered in every state, zombies included.
    pub fn on_request(&self, from: NodeId) -> Effects {
        let ack = ReconcileAck { held: vec![(Height(0), self.height)], tip: self.tip };
        vec![act(ReconcileAction::Send(from, Message::ReconcileAck(ack)))]
    }

    /// R_ACK.
    pub fn on_ack(&mut self, from: NodeId, ack: &ReconcileAck) -> Effects {
        let (Some(height), Some(peer)) = (ack.height(), self.peers.get_mut(&from)) else { return Vec::new() };
        peer.ack = Some(height);
        self.wanted = self.wanted.max(height);
        let mut effects = vec![act(ReconcileAction::Compare(from, height, ack.tip))];
        effects.extend(self.review());
        effects
    }

    /// R_BLOCKS_REQ.
    pub fn on_blocks_request(&self, from: NodeId, request: BlocksRequest) -> Effects {
        // R3: only what is durable here. A peer that asks for more has heard wrong, and gets what there is.
        let to = request.to.min(self.height);
        if request.from == Height(0) || request.from > to {
            return Vec::new();
        }
        vec![act(ReconcileAction::Serve(from, BlocksRequest { to, ..request }))]
    }

    /// R_BLOCKS_RESP. Bytes that are no block are as none.
    pub fn on_blocks(&mut self, from: NodeId, response: BlocksResponse) -> Effects {
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        let (owed, ack) = (std::mem::take(&mut peer.owes), peer.ack);
        let awaited = self.fetch.as_ref().is_some_and(|fetch| fetch.from == from && fetch.awaited);
        let late = owed && self.asking();
        if !awaited && !late {
            return Vec::new();
        }
        // Of the peer that is asked it goes on where the frame before ended, of any other one where this chain ends.
        let last = self.fetch.as_ref().filter(|_| awaited).and_then(|fetch| fetch.delivered.last().copied());
        let known = last.unwrap_or(self.height).max(self.height);
        let blocks = response.blocks.iter().filter(|block| block.height() > known).map(SentBlock::block);
        let blocks: Vec<Arc<Block>> = blocks.collect::<Result<_, _>>().unwrap_or_default();
        let heights = (known.0 + 1..).map(Height);
        let in_order = blocks.iter().zip(heights).all(|(block, height)| block.height() == height);
        match blocks.last() {
            Some(last) if in_order => {
                let delivered = last.height();
                // They may have taken longer than the patience for them, and on a slow link any others would as well.
                let target = ack.unwrap_or(delivered).max(delivered);
                let fetch = Fetch { from, target, awaited: true, delivered: Vec::new() };
                let fetch = self.fetch.get_or_insert(fetch);
                if fetch.from == from {
                    fetch.awaited = false;
                    fetch.delivered.push(delivered);
                }
                self.progress = true;
                let mut effects = vec![act(ReconcileAction::Deliver(blocks))];
                effects.extend(self.fetch_more());
                effects
            }
            _ if awaited => self.failed(from),
            _ => Vec::new(),
        }
    }

    /// A block is applied here, durably: fetched by this reconciliation or learnt in another way.
    pub fn on_applied(&mut self, height: Height, tip: Hash) -> Effects {
        (self.height, self.tip) = (height, tip);
        self.wanted = self.wanted.max(height);
        self.progress = true;
        match &mut self.fetch {
            Some(fetch) if fetch.target <= height => {
                self.fetch = None;
                let effects = self.review();
                // The chain grew while it was fetched: nobody's answer names the newest blocks yet.
                if effects.is_empty() { self.ask() } else { effects }
            }
            Some(fetch) => {
                fetch.delivered.retain(|delivered| *delivered > height);
                self.fetch_more().into_iter().collect()
            }
            None => self.review(),
        }
    }

    /// Asks for the next frame, unless one is asked for, two are to be applied first, or nothing is missing.
    fn fetch_more(&mut self) -> Option<Effect<ReconcileAction>> {
        let fetch = self.fetch.as_mut().filter(|fetch| !fetch.awaited && fetch.delivered.len() < 2)?;
        let known = fetch.delivered.last().copied().unwrap_or(self.height);
        if known >= fetch.target {
            return None;
        }
        let request = BlocksRequest { from: known.next(), to: fetch.target };
        fetch.awaited = true;
        let from = fetch.from;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.owes = true;
        }
        Some(act(ReconcileAction::Send(from, Message::BlocksRequest(request))))
    }

    /// A timer ran out.
    pub fn on_timer(&mut self, timer: ReconcileTimer) -> Effects {
        match timer {
            ReconcileTimer::Retry if !self.asking() => Vec::new(),
            ReconcileTimer::Retry if std::mem::take(&mut self.progress) => {
                vec![act(ReconcileAction::Start(ReconcileTimer::Retry))]
            }
            ReconcileTimer::Retry => {
                self.fetch = None;
                self.ask()
            }
            ReconcileTimer::GiveUp => match self.standing {
                Standing::Baby if self.force => {
                    let mut effects = self.admit();
                    effects.extend(self.ready());
                    effects
                }
                Standing::Baby | Standing::Ready => Vec::new(),
                Standing::Zombie => self.ready(),
            },
        }
    }

    /// True while this node wants answers.
    fn asking(&self) -> bool {
        self.standing == Standing::Zombie || self.wanted > self.height
    }

    fn request(&self, peer: NodeId) -> Effect<ReconcileAction> {
        act(ReconcileAction::Send(peer, Message::ReconcileRequest(ReconcileRequest {})))
    }

    /// A new round of asking: what was said or failed before no longer counts.
    fn ask(&mut self) -> Effects {
        if !self.asking() {
            return Vec::new();
        }
        for peer in self.peers.values_mut() {
            (peer.ack, peer.failed) = (None, false);
        }
        let up = self.peers.iter().filter(|(_, peer)| peer.up);
        let mut effects: Effects = up.map(|(node, _)| self.request(*node)).collect();
        effects.push(act(ReconcileAction::Start(ReconcileTimer::Retry)));
        effects
    }

    /// With a majority of answers, the own included: fetch from the longest chain, or be done.
    fn review(&mut self) -> Effects {
        let acks = self.peers.values().filter(|peer| peer.ack.is_some()).count();
        if self.fetch.is_some() || acks + 1 < self.majority {
            return Vec::new();
        }
        let able = self.peers.iter().filter(|(_, peer)| peer.up && !peer.failed);
        // Of equally long chains the first node's; `max_by_key` alone would take the last.
        let longest = able.filter_map(|(node, peer)| Some((peer.ack?, *node))).rev().max_by_key(|(height, _)| *height);
        match longest {
            Some((target, from)) if target > self.height => {
                self.fetch = Some(Fetch { from, target, awaited: false, delivered: Vec::new() });
                let retry = act(ReconcileAction::Start(ReconcileTimer::Retry));
                self.fetch_more().into_iter().chain([retry]).collect()
            }
            _ if self.peers.values().all(|peer| peer.ack <= Some(self.height)) => self.ready(),
            // Whoever has more blocks failed to deliver them: the retry asks again.
            _ => Vec::new(),
        }
    }

    fn lost(&mut self, from: NodeId) -> Effects {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.from == from) {
            self.fetch = None;
        }
        self.review()
    }

    fn failed(&mut self, from: NodeId) -> Effects {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.failed = true;
        }
        self.lost(from)
    }

    fn admit_if_cleared(&mut self) -> Effects {
        if self.standing != Standing::Baby || !self.peers.values().all(|peer| peer.cleared) {
            return Vec::new();
        }
        let mut effects = self.admit();
        effects.extend(self.ask());
        effects
    }

    fn admit(&mut self) -> Effects {
        self.standing = Standing::Zombie;
        vec![
            Effect::Persist(Record::Admitted),
            act(ReconcileAction::Admitted),
            act(ReconcileAction::Start(ReconcileTimer::GiveUp)),
        ]
    }

    fn ready(&mut self) -> Effects {
        if self.standing != Standing::Zombie {
            return Vec::new();
        }
        self.standing = Standing::Ready;
        vec![act(ReconcileAction::Ready)]
    }

    /// The peers that have not yet said that they know no other incarnation of this node.
    pub fn not_cleared(&self) -> BTreeSet<NodeId> {
        self.peers.iter().filter(|(_, peer)| !peer.cleared).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
