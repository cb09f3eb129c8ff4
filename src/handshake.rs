//! One link to one peer, without any IO: the HELLO that opens it, what is known of the peer, and which messages pass.
//! Rules R3, R11, R13.

use std::collections::BTreeSet;

use crate::effect::{Effect, HaltReason, Record};
use crate::paxos::message::PROTOCOL_VERSION;
use crate::paxos::{Hello, KnownOfYou, Message, NackKind};
use crate::types::{Ballot, Epoch, Hash, Height, Incarnation, NodeId, Seq};

/// Rounds beyond this are nobody's honest count: a message with one is refused, so that no arithmetic can overflow.
pub const ROUND_MAX: u64 = 1 << 62;

/// Why a peer's message is not let in. Both sides log it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// The peer speaks another version of the protocol.
    #[error("{peer} speaks protocol version {theirs}, this node {ours}; run the same release on all nodes")]
    Version {
        /// The peer.
        peer: NodeId,
        /// Its version.
        theirs: u32,
        /// This node's.
        ours: u32,
    },
    /// The peer belongs to another bank.
    #[error(
        "{peer} belongs to bank {}, this node to {}; compare --genesis, --opening and --peer at both",
        .theirs.short(),
        .ours.short()
    )]
    Cluster {
        /// The peer.
        peer: NodeId,
        /// Its cluster id.
        theirs: Hash,
        /// This node's.
        ours: Hash,
    },
    /// Another node answers where the peer was expected.
    #[error("{expected} was expected at this address, {found} is there; compare the addresses of the peers")]
    Node {
        /// Who was expected.
        expected: NodeId,
        /// Who is there.
        found: NodeId,
    },
    /// The peer looks for another node here.
    #[error("{peer} looks for {wanted} at the address of {own}; compare the addresses of the peers")]
    Receiver {
        /// The peer.
        peer: NodeId,
        /// Whom it looks for.
        wanted: NodeId,
        /// This node.
        own: NodeId,
    },
    /// The peer's process is older than one that was heard before.
    #[error(
        "{peer} comes with epoch {found}, epoch {known} of it was heard: it is an older process, or its store went back"
    )]
    Epoch {
        /// The peer.
        peer: NodeId,
        /// What it says now.
        found: u64,
        /// The newest that was heard.
        known: u64,
    },
    /// The peer introduces itself with another store than before.
    #[error("{peer} comes with incarnation {found}, it is known with {known}: its store was lost; it will stop")]
    Incarnation {
        /// The peer.
        peer: NodeId,
        /// What it says now.
        found: Incarnation,
        /// What it said first.
        known: Incarnation,
    },
    /// A message that no honest node of this cluster sends.
    #[error("{peer} sent a {message} with {what}")]
    Message {
        /// The peer.
        peer: NodeId,
        /// The kind of message.
        message: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a [`Link`] asks of its shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAction {
    /// Put on the wire.
    Send(Message),
    /// Hand to the role that it is for.
    Deliver(Message),
    /// The peer's HELLO, for the reconciliation and for the node.
    Heard {
        /// Which incarnation of this node it knows.
        knows: Option<Incarnation>,
        /// Its height.
        height: Height,
        /// Where it serves clients.
        client_address: Option<String>,
    },
    /// What the peer has seen of this node, for the roles that own it.
    Witness(KnownOfYou),
    /// The link may be used.
    Up {
        /// Whether the peer votes.
        votes: bool,
    },
    /// The link may no longer be used.
    Down,
    /// Something was not let in.
    Refused(LinkRefusal),
}

/// Who this node is, for its HELLOs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This node.
    pub node: NodeId,
    /// The cluster id.
    pub cluster: Hash,
    /// The nodes of the cluster.
    pub nodes: BTreeSet<NodeId>,
    /// Of this node's store.
    pub incarnation: Incarnation,
    /// Of this process.
    pub epoch: Epoch,
    /// Where this node serves clients.
    pub client_address: Option<String>,
}

/// The state of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    own: Identity,
    votes: bool,
    height: Height,
    peer: NodeId,
    connected: bool,
    /// The peer's process whose HELLO opened the link.
    greeted: Option<(Epoch, bool)>,
    /// Heartbeats since the peer was last heard.
    silent: u32,
    /// It was silent for so long that it is taken for gone, until it speaks again.
    gone: bool,
    /// What was refused last, so that it is not told with each heartbeat.
    refused: Option<LinkRefusal>,
    known: KnownOfYou,
}

/// Longest client address that is taken from a peer, in bytes: a host name and a port.
const ADDRESS_BYTES_MAX: usize = 280;

/// It is passed on to clients, and printed: a name with anything else in it could not be resolved anyway.
fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A peer that is not heard for so many heartbeats is taken for gone.
const SILENT_MAX: u32 = 8;

type Effects = Vec<Effect<LinkAction>>;

fn act(action: LinkAction) -> Effect<LinkAction> {
    Effect::Act(action)
}

impl Link {
    /// The link of `own` to `peer`, whose incarnation may be known from before.
    pub fn new(own: Identity, peer: NodeId, votes: bool, height: Height, incarnation: Option<Incarnation>) -> Self {
        let known = KnownOfYou { incarnation, ..KnownOfYou::default() };
        Self { own, votes, height, peer, connected: false, greeted: None, silent: 0, gone: false, refused: None, known }
    }

    /// This node votes from now on, which its next HELLO says.
    pub fn admit(&mut self) -> Effects {
        self.votes = true;
        self.greet()
    }

    /// This node's height, durable.
    pub fn set_height(&mut self, height: Height) {
        self.height = height;
    }

    /// True once the peer's HELLO was heard on this connection, for as long as it is not silent.
    pub fn is_up(&self) -> bool {
        self.greeted.is_some() && !self.gone
    }

    /// The way to the peer is there, or is gone.
    pub fn on_connection(&mut self, connected: bool) -> Effects {
        self.connected = connected;
        self.refused = None;
        self.silent = 0;
        let was_up = self.is_up();
        (self.greeted, self.gone) = (None, false);
        let down = was_up.then_some(act(LinkAction::Down));
        down.into_iter().chain(self.greet()).collect()
    }

    /// Now and then, so that a lost HELLO is made up for, a height that nobody told is noticed, and so is a peer that is
    /// there no longer though nothing broke.
    pub fn on_heartbeat(&mut self) -> Effects {
        self.silent = self.silent.saturating_add(1);
        let gone = self.silent > SILENT_MAX && self.is_up();
        self.gone |= gone;
        gone.then_some(act(LinkAction::Down)).into_iter().chain(self.greet()).collect()
    }

    /// A message of this node's roles to the peer. Messages are loss-tolerant: without a link it is dropped.
    pub fn send(&self, message: Message) -> Effects {
        if self.is_up() { vec![act(LinkAction::Send(message))] } else { Vec::new() }
    }

    /// A message that came from the peer.
    pub fn receive(&mut self, message: Message) -> Effects {
        // What comes late, over a way that is broken by now, must not open the link again.
        if !self.connected {
            return Vec::new();
        }
        self.silent = 0;
        // It was only slow, on the same connection: one long message can take longer than a peer may be silent, and
        // would never arrive if it had to be sent again.
        let back = match self.greeted {
            Some((_, votes)) if std::mem::take(&mut self.gone) => Some(act(LinkAction::Up { votes })),
            _ => None,
        };
        back.into_iter().chain(self.take(message)).collect()
    }

    fn take(&mut self, message: Message) -> Effects {
        match message {
            Message::Hello(hello) => return self.on_hello(*hello),
            // The connection that it ends is the network's business.
            Message::Refused(_) => return Vec::new(),
            _ => {}
        }
        if !self.is_up() {
            // Its HELLO was lost, or is on its way: the sender repeats what matters.
            return Vec::new();
        }
        if let Some(what) = self.fault(&message) {
            let refusal = LinkRefusal::Message { peer: self.peer, message: message.name(), what };
            return vec![act(LinkAction::Refused(refusal))];
        }
        self.note(&message);
        vec![act(LinkAction::Deliver(message))]
    }

    /// Whether a process that says this HELLO, on a connection of its own, may be the peer: what speaks against it.
    ///
    /// # Errors
    /// Why it may not. The connection that the link has is better, or the peer must not be talked to at all.
    pub fn judge(&self, hello: &Hello) -> Result<(), LinkRefusal> {
        if let Some(refusal) = self.objection(hello) {
            return Err(refusal);
        }
        match self.known.epoch {
            Some(known) if hello.epoch.number < known.number => {
                Err(LinkRefusal::Epoch { peer: self.peer, found: hello.epoch.number, known: known.number })
            }
            _ => Ok(()),
        }
    }

    fn objection(&self, hello: &Hello) -> Option<LinkRefusal> {
        let peer = self.peer;
        if hello.version != PROTOCOL_VERSION {
            Some(LinkRefusal::Version { peer, theirs: hello.version, ours: PROTOCOL_VERSION })
        } else if hello.cluster != self.own.cluster {
            Some(LinkRefusal::Cluster { peer, theirs: hello.cluster, ours: self.own.cluster })
        } else if hello.node != peer {
            Some(LinkRefusal::Node { expected: peer, found: hello.node })
        } else if hello.to != self.own.node {
            Some(LinkRefusal::Receiver { peer, wanted: hello.to, own: self.own.node })
        } else {
            let other = self.known.incarnation.filter(|known| *known != hello.incarnation);
            other.map(|known| LinkRefusal::Incarnation { peer, found: hello.incarnation, known })
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Effects {
        let peer = self.peer;
        if let Some(refusal) = self.objection(&hello) {
            // The peer hears why from the HELLOs that this node sends anyhow; an answer to each of its own would be
            // answered in turn, without end.
            let told = self.refused.replace(refusal.clone());
            return if told.as_ref() == Some(&refusal) { Vec::new() } else { vec![act(LinkAction::Refused(refusal))] };
        }
        if self.greeted.is_some_and(|(epoch, _)| hello.epoch.number < epoch.number) {
            return Vec::new();
        }
        let mut effects = Vec::new();
        if self.known.incarnation.is_none() {
            let (node, incarnation) = (peer, hello.incarnation);
            effects.push(Effect::Persist(Record::Peer { node, incarnation }));
            self.known.incarnation = Some(incarnation);
        }
        self.known.epoch = Some(hello.epoch);
        self.known.height = self.known.height.max(hello.height);
        effects.push(act(LinkAction::Heard {
            knows: hello.known.incarnation,
            height: hello.height,
            client_address: hello.client_address.clone().filter(|address| is_address(address)),
        }));
        // What the peer has seen of another incarnation says nothing of this store: that it was another says it all.
        if hello.known.incarnation.is_none_or(|known| known == self.own.incarnation) {
            effects.push(act(LinkAction::Witness(hello.known.clone())));
            effects.extend(self.overtaken(&hello));
        }
        // A process that voted once votes on: a HELLO that says otherwise is an older one, which was overtaken.
        let voted = self.greeted.is_some_and(|(epoch, votes)| epoch == hello.epoch && votes);
        let votes = hello.votes || voted;
        let now = (hello.epoch, votes);
        let before = self.greeted.replace(now);
        if before.is_some_and(|(epoch, _)| epoch != hello.epoch) {
            effects.push(act(LinkAction::Down));
        }
        if before != Some(now) {
            effects.push(act(LinkAction::Up { votes }));
        }
        effects.extend(self.answer(&hello));
        effects
    }

    /// Every process raises the epoch of the store that it takes. If the peer has heard another one, as late as this or
    /// later, then that one took the store from this one, or the store went back (R13). It is the only sign of the latter
    /// where nothing but approvals was lost that no peer had seen yet.
    fn overtaken(&self, hello: &Hello) -> Option<Effect<LinkAction>> {
        let (own, known) = (self.own.epoch, hello.known.epoch?);
        let overtaken = known != own && known.number >= own.number;
        overtaken.then_some(Effect::Halt(HaltReason::Overtaken {
            peer: self.peer,
            known: known.number,
            own: own.number,
        }))
    }

    /// A HELLO back, unless the peer's shows that it has heard this process already.
    fn answer(&self, hello: &Hello) -> Effects {
        if hello.known.epoch == Some(self.own.epoch) { Vec::new() } else { self.greet() }
    }

    fn greet(&self) -> Effects {
        if self.connected { vec![act(LinkAction::Send(self.hello().into()))] } else { Vec::new() }
    }

    /// What this node says of itself to the peer, and of the peer. All of it is durable.
    pub fn hello(&self) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster: self.own.cluster,
            node: self.own.node,
            to: self.peer,
            incarnation: self.own.incarnation,
            epoch: self.own.epoch,
            votes: self.votes,
            height: self.height,
            client_address: self.own.client_address.clone(),
            known: self.known.clone(),
        }
    }

    /// What no honest peer sends.
    fn fault(&self, message: &Message) -> Option<&'static str> {
        let sound = |ballot: Ballot| ballot.round <= ROUND_MAX && self.own.nodes.contains(&ballot.node);
        let ballots: &[Ballot] = match message {
            Message::Prepare(prepare) => &[prepare.ballot],
            Message::Accept(accept) => &[accept.ballot],
            Message::Promise(promise) => &[promise.ballot],
            Message::Accepted(accepted) => &[accepted.ballot],
            Message::Idle(idle) => &[idle.ballot],
            Message::Nack(nack) => &[nack.ballot, nack.promised.unwrap_or(nack.ballot)],
            _ => &[],
        };
        if !ballots.iter().all(|ballot| sound(*ballot)) {
            return Some("a ballot that cannot be");
        }
        match message {
            Message::Prepare(_) | Message::Accept(_) | Message::Idle(_) if ballots[0].node != self.peer => {
                Some("a ballot of another node")
            }
            Message::Promise(_) | Message::Accepted(_) | Message::Nack(_) if ballots[0].node != self.own.node => {
                Some("an answer to another node's ballot")
            }
            _ => None,
        }
    }

    /// Remembers what the message shows of the peer's durable state. Who is asked for a height may know the block below it
    /// and not have written it yet (R3), so that a PROMISE or an outbid shows no height; a vote is written behind that block.
    fn note(&mut self, message: &Message) {
        let known = &mut self.known;
        let below = |height: Height| Height(height.0.saturating_sub(1));
        match message {
            Message::Promise(promise) => {
                known.promised = known.promised.max(Some(promise.ballot));
                let last = promise.log.first.0.saturating_add(promise.log.operations.len() as u64).saturating_sub(1);
                known.seq = known.seq.max(Seq(last));
                if let Some(slot) = &promise.accepted {
                    known.accepted = known.accepted.max(Some((slot.ballot, slot.block.height())));
                    known.height = known.height.max(below(slot.block.height()));
                }
            }
            Message::Accepted(accepted) => {
                known.promised = known.promised.max(Some(accepted.ballot));
                known.accepted = known.accepted.max(Some((accepted.ballot, accepted.height)));
                known.height = known.height.max(below(accepted.height));
            }
            Message::Nack(nack) => {
                known.promised = known.promised.max(nack.promised);
                if !matches!(nack.kind, NackKind::Outbid { .. }) {
                    known.height = known.height.max(nack.height);
                }
            }
            Message::Commit(commit) => known.height = known.height.max(commit.height),
            Message::ReconcileAck(ack) => known.height = known.height.max(ack.height().unwrap_or_default()),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
