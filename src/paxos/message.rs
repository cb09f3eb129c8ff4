//! The messages between nodes. Each carries only what is durable at its sender; PROMISE and NACK *outbid* may rest on a chosen
//! block that is not yet (R3).

use std::hash;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::effect::Slot;
use crate::ledger::{Block, BlockBytesError, EntryFault, LogOffer};
use crate::types::{Ballot, CollectionNumber, Epoch, Hash, Height, Incarnation, NodeId, Seq};

/// Version of the protocol between nodes; a node refuses a peer with another one.
pub const PROTOCOL_VERSION: u32 = 2;

/// PREPARE: asks for a promise, and for the log, for one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prepare {
    /// The proposer's ballot.
    pub ballot: Ballot,
    /// The height to settle.
    pub height: Height,
    /// Which collection of this proposer's this is; the PROMISE repeats it.
    pub collection: CollectionNumber,
}

/// PROMISE: the acceptor will not vote below the ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// As in the PREPARE.
    pub ballot: Ballot,
    /// As in the PREPARE.
    pub height: Height,
    /// As in the PREPARE.
    pub collection: CollectionNumber,
    /// What the acceptor voted for at this height, if it did.
    pub accepted: Option<Slot>,
    /// Its unsettled log.
    pub log: LogOffer,
}

/// ACCEPT: asks for a vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accept {
    /// The proposer's ballot.
    pub ballot: Ballot,
    /// What to vote for.
    pub block: Arc<Block>,
}

/// ACCEPTED: the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// Under which ballot.
    pub ballot: Ballot,
    /// At which height.
    pub height: Height,
    /// For which block.
    pub hash: Hash,
}

/// COMMIT: this block is chosen, and applied at the sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Commit {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: Hash,
    /// The block itself, for a node that has not voted for it.
    pub block: Option<Arc<Block>>,
}

/// Why an acceptor does not promise or vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NackKind {
    /// It promised a higher ballot.
    Outbid {
        /// True where that ballot's round at the acceptor's next height is under way as far as the acceptor knows: its
        /// block is worth waiting for. False where the promise is left over from a round that is over.
        open: bool,
    },
    /// The acceptor lacks blocks below the height asked for; it catches up, then answers.
    Behind,
    /// The acceptor has a block at the height asked for.
    Ahead,
    /// The block does not pass on the acceptor's state.
    Invalid,
}

/// NACK: no promise, no vote, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nack {
    /// The ballot of the PREPARE or ACCEPT that this answers.
    pub ballot: Ballot,
    /// The height that it asked for.
    pub asked: Height,
    /// Why not.
    pub kind: NackKind,
    /// The ballot that the acceptor promised, if any.
    pub promised: Option<Ballot>,
    /// The acceptor's own height. Where it is outbid, that of the last block that it knows to be chosen.
    pub height: Height,
    /// The acceptor's state hash at that height.
    pub state: Hash,
}

/// IDLE: this collection found nothing to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Idle {
    /// The proposer's ballot.
    pub ballot: Ballot,
    /// The height that it had prepared.
    pub height: Height,
}

/// Tells a home that an entry of its own does not pass on the proposer's state: it has diverged, and stops (R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryFailed {
    /// The entry's seq.
    pub seq: Seq,
    /// What is wrong with it.
    pub fault: EntryFault,
}

/// RECONCILE_REQUEST: which blocks do you hold?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReconcileRequest {}

/// R_ACK: these.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReconcileAck {
    /// The sequence numbers held, as inclusive ranges in ascending order.
    pub held: Vec<(Height, Height)>,
    /// The hash of the last of them.
    pub tip: Hash,
}

impl ReconcileAck {
    /// The greatest height up to which nothing is missing, if block 0 is there at all.
    pub fn height(&self) -> Option<Height> {
        self.held.first().filter(|(from, _)| *from == Height(0)).map(|(_, to)| *to)
    }
}

/// R_BLOCKS_REQ: send me these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlocksRequest {
    /// The first.
    pub from: Height,
    /// The last.
    pub to: Height,
}

/// R_BLOCKS_RESP: as many of them as a frame holds, from the first on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlocksResponse {
    /// In height order, without a gap.
    pub blocks: Vec<SentBlock>,
}

/// A block on its way to a peer. Two are equal where their bytes are.
#[derive(Clone, Debug)]
pub enum SentBlock {
    /// One that was looked into: it was received.
    Known(Arc<Block>),
    /// As the store holds it at this height. The record was whole; who gets the block looks into it anyhow.
    Stored(Height, Arc<[u8]>),
}

impl SentBlock {
    /// The height that its sender says.
    pub fn height(&self) -> Height {
        match self {
            Self::Known(block) => block.height(),
            Self::Stored(height, _) => *height,
        }
    }

    /// Its encoded form.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Known(block) => block.bytes(),
            Self::Stored(_, bytes) => bytes,
        }
    }

    /// The block, once somebody has looked into it.
    ///
    /// # Errors
    /// As [`Block::from_bytes`].
    pub fn block(&self) -> Result<Arc<Block>, BlockBytesError> {
        match self {
            Self::Known(block) => Ok(block.clone()),
            Self::Stored(_, bytes) => Block::from_bytes(bytes).map(Arc::new),
        }
    }
}

impl PartialEq for SentBlock {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for SentBlock {}

impl hash::Hash for SentBlock {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl Serialize for SentBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for SentBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self::Known)
    }
}

/// What the sender of a HELLO has seen of its receiver (R11, R13). All of it was durable there when it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KnownOfYou {
    /// The incarnation under which the receiver introduced itself.
    pub incarnation: Option<Incarnation>,
    /// The epoch that the receiver introduced itself with to this process.
    pub epoch: Option<Epoch>,
    /// The greatest height.
    pub height: Height,
    /// The greatest seq of an entry of its own.
    pub seq: Seq,
    /// The highest ballot promised.
    pub promised: Option<Ballot>,
    /// The last vote: its ballot and height.
    pub accepted: Option<(Ballot, Height)>,
}

/// HELLO: the first message on a link, both ways, and again now and then while it is idle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u32,
    /// The cluster id.
    pub cluster: Hash,
    /// The sender.
    pub node: NodeId,
    /// Whom the sender takes the receiver for.
    pub to: NodeId,
    /// Of the sender's store.
    pub incarnation: Incarnation,
    /// Of the sender's process.
    pub epoch: Epoch,
    /// Whether the sender votes: false for a baby.
    pub votes: bool,
    /// The sender's height, so that a node that missed a COMMIT notices.
    pub height: Height,
    /// Where the sender serves clients, if it does.
    pub client_address: Option<String>,
    /// What the sender has seen of the receiver.
    pub known: KnownOfYou,
}

/// REFUSED: the sender does not take the receiver's HELLO, and says why; the last message on a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refused {
    /// In words, for the receiver's log.
    pub reason: String,
}

/// Any message between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each variant is the message of that name")]
pub enum Message {
    Hello(Box<Hello>),
    Refused(Refused),
    Prepare(Prepare),
    Promise(Promise),
    Accept(Accept),
    Accepted(Accepted),
    Commit(Commit),
    Nack(Nack),
    Idle(Idle),
    EntryFailed(EntryFailed),
    ReconcileRequest(ReconcileRequest),
    #[serde(rename = "R_ACK")]
    ReconcileAck(ReconcileAck),
    #[serde(rename = "R_BLOCKS_REQ")]
    BlocksRequest(BlocksRequest),
    #[serde(rename = "R_BLOCKS_RESP")]
    BlocksResponse(BlocksResponse),
}

impl From<Hello> for Message {
    fn from(hello: Hello) -> Self {
        Self::Hello(Box::new(hello))
    }
}

impl Message {
    /// The name on the wire and in the story.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Refused(_) => "REFUSED",
            Self::Prepare(_) => "PREPARE",
            Self::Promise(_) => "PROMISE",
            Self::Accept(_) => "ACCEPT",
            Self::Accepted(_) => "ACCEPTED",
            Self::Commit(_) => "COMMIT",
            Self::Nack(_) => "NACK",
            Self::Idle(_) => "IDLE",
            Self::EntryFailed(_) => "ENTRY_FAILED",
            Self::ReconcileRequest(_) => "RECONCILE_REQUEST",
            Self::ReconcileAck(_) => "R_ACK",
            Self::BlocksRequest(_) => "R_BLOCKS_REQ",
            Self::BlocksResponse(_) => "R_BLOCKS_RESP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::ledger::{Action, Operation, Run};
    use crate::types::Amount;

    fn block(amount: u64) -> Arc<Block> {
        let (from, to) = ("A".parse().unwrap(), "B".parse().unwrap());
        let operation = Operation { id: 1.into(), action: Action::Transfer { from, to, amount: Amount::new(amount) } };
        let run = Run { origin: "A".parse().unwrap(), first: Seq(1), operations: vec![operation] };
        Arc::new(Block::new(Height(1), Hash::ZERO, Hash::ZERO, vec![run]).unwrap())
    }

    fn hashed(block: &SentBlock) -> u64 {
        let mut hasher = hash::DefaultHasher::new();
        hash::Hash::hash(block, &mut hasher);
        hash::Hasher::finish(&hasher)
    }

    #[test]
    fn a_block_that_is_sent_is_its_bytes_whether_somebody_looked_into_it_or_not() {
        let [one, other] = [1, 2].map(|amount| {
            let block = block(amount);
            let stored = SentBlock::Stored(Height(1), block.bytes().into());
            assert_eq!((stored.bytes(), stored.block().unwrap()), (block.bytes(), block.clone()));
            let known = SentBlock::Known(block);
            assert_eq!((known.height(), &known), (stored.height(), &stored));
            let mut sent = Vec::new();
            codec::encode_into(&mut sent, &stored);
            assert!(matches!(codec::decode(&sent), Ok(SentBlock::Known(block)) if block == known.block().unwrap()));
            assert_eq!(hashed(&known), hashed(&stored));
            stored
        });
        assert_ne!(one, other);
        assert_ne!(hashed(&one), hashed(&other));
    }

    #[test]
    fn bytes_that_are_no_block_are_not_taken_for_one_where_they_arrive() {
        let mut sent = Vec::new();
        codec::encode_into(&mut sent, &SentBlock::Stored(Height(1), block(1).bytes()[1..].into()));
        assert!(codec::decode::<SentBlock>(&sent).is_err());
    }
}
