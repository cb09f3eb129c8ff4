//! The vocabulary of the bank: names, money, ids, ballots and hashes, each a type of its own.
//!
//! All of them are small, ordered, hashable and checked where they enter. Nothing here knows of messages or stores.

mod amount;
mod ballot;
mod hash;
mod names;
mod transfer_id;

pub use amount::{Amount, AmountError};
pub use ballot::{Ballot, CollectionNumber, Epoch, Height, Incarnation, Seq};
pub use hash::{Hash, HashError, Hasher};
pub use names::{ACCOUNT_NAME_BYTES_MAX, AccountId, NODE_NAME_BYTES_MAX, NameError, NodeId};
pub use transfer_id::{TransferId, TransferIdError};
