//! Where messages between nodes go: a role's way out, and the way in to the roles.

use std::collections::BTreeMap;

use actix::Recipient;

use super::message::{Connected, Delivered, Incoming, Introduce, Introduced, Transmit};
use crate::paxos::{
    Accept, Accepted, BlocksRequest, BlocksResponse, Commit, EntryFailed, Idle, Message, Nack, Prepare, Promise,
    ReconcileAck, ReconcileRequest,
};
use crate::types::NodeId;

/// The roles of this node, as the receivers of what nodes send.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field takes the message of its name")]
pub struct Inboxes {
    pub prepare: Recipient<Delivered<Prepare>>,
    pub promise: Recipient<Delivered<Promise>>,
    pub accept: Recipient<Delivered<Accept>>,
    pub accepted: Recipient<Delivered<Accepted>>,
    pub commit: Recipient<Delivered<Commit>>,
    pub nack: Recipient<Delivered<Nack>>,
    /// IDLE concerns both: the acceptor's round is over, and the proposer need not wait for it.
    pub idle: [Recipient<Delivered<Idle>>; 2],
    pub entry_failed: Recipient<Delivered<EntryFailed>>,
    pub reconcile_request: Recipient<Delivered<ReconcileRequest>>,
    pub reconcile_ack: Recipient<Delivered<ReconcileAck>>,
    pub blocks_request: Recipient<Delivered<BlocksRequest>>,
    pub blocks_response: Recipient<Delivered<BlocksResponse>>,
}

impl Inboxes {
    /// Hands a message to the role that it is for. A full mailbox drops it: its sender repeats what matters, and a
    /// flood of a peer's must not fill this node's memory.
    pub fn deliver(&self, from: NodeId, message: Message) {
        match message {
            Message::Prepare(message) => drop(self.prepare.try_send(Delivered { from, message })),
            Message::Promise(message) => drop(self.promise.try_send(Delivered { from, message })),
            Message::Accept(message) => drop(self.accept.try_send(Delivered { from, message })),
            Message::Accepted(message) => drop(self.accepted.try_send(Delivered { from, message })),
            Message::Commit(message) => drop(self.commit.try_send(Delivered { from, message })),
            Message::Nack(message) => drop(self.nack.try_send(Delivered { from, message })),
            Message::Idle(message) => {
                self.idle.iter().for_each(|role| drop(role.try_send(Delivered { from, message })));
            }
            Message::EntryFailed(message) => drop(self.entry_failed.try_send(Delivered { from, message })),
            Message::ReconcileRequest(message) => drop(self.reconcile_request.try_send(Delivered { from, message })),
            Message::ReconcileAck(message) => drop(self.reconcile_ack.try_send(Delivered { from, message })),
            Message::BlocksRequest(message) => drop(self.blocks_request.try_send(Delivered { from, message })),
            Message::BlocksResponse(message) => drop(self.blocks_response.try_send(Delivered { from, message })),
            Message::Hello(_) | Message::Refused(_) => debug_assert!(false, "{} ends at its link", message.name()),
        }
    }
}

/// The network's way in to one link of a node.
#[derive(Clone)]
pub struct LinkPort {
    /// For messages of the peer.
    pub incoming: Recipient<Incoming>,
    /// What to say first on a new connection.
    pub introduce: Recipient<Introduce>,
    /// What the peer said first on it.
    pub introduced: Recipient<Introduced>,
    /// For the state of the way to it.
    pub connected: Recipient<Connected>,
}

/// A role's way to every node, this one included.
#[derive(Clone)]
pub struct Links {
    /// This node.
    pub me: NodeId,
    /// What it sends to itself goes here, past all links.
    pub inboxes: Inboxes,
    /// The links to the peers.
    pub peers: BTreeMap<NodeId, Recipient<Transmit>>,
}

impl Links {
    /// Sends a message. To a peer it may be lost, here (a full mailbox) as on the way.
    pub fn send(&self, to: NodeId, message: Message) {
        if to == self.me {
            self.inboxes.deliver(to, message);
        } else if let Some(link) = self.peers.get(&to) {
            drop(link.try_send(Transmit(message)));
        }
    }
}
