//! How a node comes back: the admission of a baby, the recovery of a zombie, and the same for any gap in heights later.
//! Rules R2, R11, R13, and the steps of recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::{Effect, HaltReason, Record};
use crate::ledger::Block;
use crate::paxos::{BlocksRequest, BlocksResponse, Message, ReconcileAck, ReconcileRequest};
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    from: NodeId,
    target: Height,
    /// The last height delivered and not applied yet.
    delivered: Option<Height>,
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

    /// R_BLOCKS_RESP.
    pub fn on_blocks(&mut self, from: NodeId, response: BlocksResponse) -> Effects {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.from == from && fetch.delivered.is_none()) else {
            return Vec::new();
        };
        let own = self.height;
        let blocks: Vec<_> = response.blocks.into_iter().filter(|block| block.height() > own).collect();
        let heights = (own.0 + 1..).map(Height);
        let in_order = blocks.iter().zip(heights).all(|(block, height)| block.height() == height);
        match blocks.last() {
            Some(last) if in_order => {
                fetch.delivered = Some(last.height());
                self.progress = true;
                vec![act(ReconcileAction::Deliver(blocks))]
            }
            _ => self.failed(from),
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
            Some(fetch) if fetch.delivered.is_some_and(|delivered| delivered <= height) => {
                fetch.delivered = None;
                let request = BlocksRequest { from: height.next(), to: fetch.target };
                vec![act(ReconcileAction::Send(fetch.from, Message::BlocksRequest(request)))]
            }
            Some(_) => Vec::new(),
            None => self.review(),
        }
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
                self.fetch = Some(Fetch { from, target, delivered: None });
                let request = BlocksRequest { from: self.height.next(), to: target };
                vec![
                    act(ReconcileAction::Send(from, Message::BlocksRequest(request))),
                    act(ReconcileAction::Start(ReconcileTimer::Retry)),
                ]
            }
            _ if self.peers.values().all(|peer| peer.ack <= Some(self.height)) => self.ready(),
            // Whoever has more blocks failed to deliver them: the retry asks again.
            _ => Vec::new(),
        }
    }

    fn lost(&mut self, from: NodeId) -> Effects {
        if self.fetch.is_some_and(|fetch| fetch.from == from) {
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
mod tests {
    use super::*;
    use crate::ledger::{Action, Operation, Run};
    use crate::types::{Amount, Seq};

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn reconcile(admitted: bool) -> Reconcile {
        let peers = [node("B"), node("C")];
        Reconcile::new(Incarnation(1), peers, 2, admitted, false, (Height(0), Hash::ZERO))
    }

    /// A zombie with both links up.
    fn zombie() -> Reconcile {
        let mut zombie = reconcile(true);
        let _ = zombie.start();
        for peer in ["B", "C"] {
            assert_eq!(zombie.on_link(node(peer), true), [zombie.request(node(peer))]);
        }
        zombie
    }

    fn ack(height: u64) -> ReconcileAck {
        ReconcileAck { held: vec![(Height(0), Height(height))], tip: Hash::ZERO }
    }

    fn block(height: u64) -> Arc<Block> {
        let action =
            Action::Transfer { from: "A".parse().unwrap(), to: "B".parse().unwrap(), amount: Amount::new(height) };
        let operations = vec![Operation { id: 1.into(), action }];
        let runs = vec![Run { origin: node("A"), first: Seq(1), operations }];
        Arc::new(Block::new(Height(height), Hash::ZERO, Hash::ZERO, runs).unwrap())
    }

    fn request(to: &str, from_height: u64, to_height: u64) -> Effect<ReconcileAction> {
        let request = BlocksRequest { from: Height(from_height), to: Height(to_height) };
        act(ReconcileAction::Send(node(to), Message::BlocksRequest(request)))
    }

    /// A fetch begins with its first request, and with the timer that mends a loss.
    fn fetches(from: &str, from_height: u64, to_height: u64) -> [Effect<ReconcileAction>; 2] {
        [request(from, from_height, to_height), act(ReconcileAction::Start(ReconcileTimer::Retry))]
    }

    fn blocks(heights: impl IntoIterator<Item = u64>) -> BlocksResponse {
        BlocksResponse { blocks: heights.into_iter().map(block).collect() }
    }

    #[test]
    fn r11_a_baby_is_admitted_once_every_peer_knows_it() {
        let mut baby = reconcile(false);
        assert_eq!(baby.start(), [act(ReconcileAction::Start(ReconcileTimer::GiveUp))]);
        assert_eq!(baby.on_hello(node("B"), None, Height(0)), [], "it has not heard of this node, so it says nothing");
        assert_eq!(baby.on_hello(node("C"), Some(Incarnation(1)), Height(0)), []);
        let effects = baby.on_hello(node("B"), Some(Incarnation(1)), Height(0));
        assert_eq!(effects[..2], [Effect::Persist(Record::Admitted), act(ReconcileAction::Admitted)]);
    }

    #[test]
    fn r11_a_peer_that_knows_another_incarnation_stops_the_node_forced_or_not() {
        for force in [false, true] {
            let mut baby = Reconcile { force, ..reconcile(false) };
            let effects = baby.on_hello(node("B"), Some(Incarnation(9)), Height(0));
            let Effect::Halt(reason) = &effects[0] else { panic!("{effects:?}") };
            assert!(reason.to_string().contains("wipe the stores of all nodes"), "{reason}");
        }
    }

    #[test]
    fn r11_forcing_replaces_missing_answers_only_after_the_wait() {
        let mut baby = reconcile(false);
        assert_eq!(baby.on_timer(ReconcileTimer::GiveUp), []);
        let mut forced = Reconcile { force: true, ..reconcile(false) };
        let effects = forced.on_timer(ReconcileTimer::GiveUp);
        assert_eq!(effects[..2], [Effect::Persist(Record::Admitted), act(ReconcileAction::Admitted)]);
        assert_eq!(forced.standing(), Standing::Ready);
    }

    #[test]
    fn a_zombie_fetches_from_the_longest_chain_in_frames_and_is_ready() {
        let mut zombie = zombie();
        assert_eq!(zombie.on_ack(node("C"), &ack(5))[1..], fetches("C", 1, 5));
        assert_eq!(zombie.on_blocks(node("B"), blocks(1..=5)), [], "nobody asked B");
        let effects = zombie.on_blocks(node("C"), blocks(1..=3));
        assert_eq!(effects, [act(ReconcileAction::Deliver(blocks(1..=3).blocks))]);
        assert_eq!(zombie.on_applied(Height(2), Hash::ZERO), []);
        assert_eq!(zombie.on_applied(Height(3), Hash::ZERO), [request("C", 4, 5)]);
        let _ = zombie.on_blocks(node("C"), blocks(4..=5));
        let _ = zombie.on_applied(Height(4), Hash::ZERO);
        assert_eq!(zombie.on_applied(Height(5), Hash::ZERO), [act(ReconcileAction::Ready)]);
    }

    #[test]
    fn a_peer_that_dies_or_delivers_rubbish_is_replaced_by_the_next_longest() {
        let mut zombie = zombie();
        let _ = zombie.on_ack(node("C"), &ack(5));
        let _ = zombie.on_ack(node("B"), &ack(4));
        let mut rubbish = zombie.clone();
        assert_eq!(rubbish.on_blocks(node("C"), blocks([2, 1])), fetches("B", 1, 4));
        let mut empty = zombie.clone();
        assert_eq!(empty.on_blocks(node("C"), blocks([])), fetches("B", 1, 4));
        assert_eq!(zombie.on_link(node("C"), false), fetches("B", 1, 4));
        let mut silent = rubbish;
        assert_eq!(silent.on_timer(ReconcileTimer::Retry).len(), 3, "a new round of asking");
    }

    #[test]
    fn a_node_alone_serves_on_what_it_has_after_a_while() {
        let mut zombie = reconcile(true);
        let _ = zombie.start();
        assert_eq!(zombie.on_timer(ReconcileTimer::GiveUp), [act(ReconcileAction::Ready)]);
        let mut single = Reconcile::new(Incarnation(1), [], 1, false, false, (Height(0), Hash::ZERO));
        let effects = single.start();
        assert!(effects.contains(&Effect::Persist(Record::Admitted)));
        assert_eq!(single.standing(), Standing::Ready);
    }

    #[test]
    fn any_gap_starts_the_same_once() {
        let mut node_a = zombie();
        let _ = node_a.on_ack(node("B"), &ack(0));
        assert_eq!(node_a.standing(), Standing::Ready);
        assert_eq!(node_a.on_gap(Height(2)).len(), 3, "two requests and a timer");
        assert_eq!(node_a.on_gap(Height(3)), []);
        assert_eq!(node_a.on_ack(node("C"), &ack(3))[1..], fetches("C", 1, 3));
    }

    #[test]
    fn only_blocks_that_are_here_are_served() {
        let mut node_a = zombie();
        let _ = node_a.on_applied(Height(4), Hash::ZERO);
        let ask = |from, to| node_a.on_blocks_request(node("B"), BlocksRequest { from: Height(from), to: Height(to) });
        let served = BlocksRequest { from: Height(2), to: Height(4) };
        assert_eq!(ask(2, 9), [act(ReconcileAction::Serve(node("B"), served))]);
        assert_eq!(ask(5, 9), []);
        assert_eq!(ask(0, 4), []);
    }

    #[test]
    fn a_fetch_that_a_late_answer_starts_is_retried_too() {
        let mut node_a = zombie();
        let effects = node_a.on_ack(node("B"), &ack(0));
        assert!(effects.contains(&act(ReconcileAction::Ready)));
        assert_eq!(node_a.on_timer(ReconcileTimer::Retry), [], "not asking: the timer ends");
        // C's answer was late, and C has more.
        let effects = node_a.on_ack(node("C"), &ack(3));
        assert!(effects.contains(&request("C", 1, 3)));
        assert!(effects.contains(&act(ReconcileAction::Start(ReconcileTimer::Retry))), "or a loss would end it");
    }

    #[test]
    fn a_node_admitted_late_gives_up_as_well() {
        let mut baby = reconcile(false);
        let _ = baby.start();
        assert_eq!(baby.on_timer(ReconcileTimer::GiveUp), []);
        let _ = baby.on_hello(node("B"), Some(Incarnation(1)), Height(0));
        let effects = baby.on_hello(node("C"), Some(Incarnation(1)), Height(0));
        assert!(effects.contains(&act(ReconcileAction::Start(ReconcileTimer::GiveUp))));
    }
}
