//! Paxos, without any IO: each role is a struct whose transitions return what to write and what to send.
//!
//! One instance per height, one height in flight, a ballot that is global over heights and that its proposer keeps
//! (Lamport, *Paxos Made Simple*, section 3). In reading order: [`message`], [`acceptor`], [`proposer`], [`learner`].

pub mod acceptor;
pub mod learner;
pub mod message;
pub mod proposer;

pub use acceptor::{Acceptor, AcceptorAction, PrepareView, Verdict};
pub use learner::{Learner, LearnerAction};
pub use message::{
    Accept, Accepted, BlocksRequest, BlocksResponse, Commit, EntryFailed, Hello, Idle, KnownOfYou, Message, Nack,
    NackKind, Prepare, Promise, ReconcileAck, ReconcileRequest, Refused, SentBlock,
};
pub use proposer::{CollectionOutcome, Proposer, ProposerAction, ProposerTimer};
