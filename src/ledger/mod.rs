//! The bank itself, without any IO: entries, blocks, balances, one home's local log, and exactly-once.
//!
//! In reading order: [`request`] (what clients ask), [`entry`] (what a home approves), [`block`] (what the cluster
//! settles), [`accounts`] and [`bank`] (the state that a chain leads to), [`mod@compose`] (which block to propose),
//! [`outcome`] and [`memory`] (exactly once), [`settled_at`] (in which block an entry is), [`checkpoint`] (what a
//! restart begins with), [`home`] (local approval, parked requests, settlement), [`replay`] (a chain computed again).

pub mod accounts;
mod aside;
pub mod bank;
pub mod block;
pub mod checkpoint;
pub mod compose;
pub mod entry;
mod fullest;
pub mod home;
pub mod memory;
mod order;
pub mod outcome;
mod overlay;
pub mod replay;
pub mod request;
pub mod settled_at;
mod shelf;

pub use accounts::Accounts;
pub(crate) use accounts::LOOKED_FOR_AT_ONCE;
pub use bank::{Bank, BlockFault, Delta, EntryFault};
pub use block::{Block, BlockBytesError, BlockError, Genesis, GenesisError};
pub use checkpoint::{Checkpoint, CheckpointAt};
pub use compose::{Candidate, Composition, Value, compose};
pub use entry::{Action, Entry, LogOffer, Operation, Run};
pub use home::{Home, HomeAction, HomeLimits, HomeStart, Mark};
pub use memory::Memory;
pub use outcome::Refusal;
pub use replay::Replay;
pub use request::{Answer, Approval, Opening, Reason, Request, Ticket, Trace, Verdict, Wait};
pub use settled_at::SettledAt;
