//! What passes over sockets: frames, and what clients and nodes say to each other in them. What peers say in theirs is
//! [`crate::paxos::Message`]. `docs/wire.md` says all of it byte by byte, and `tests/wire_golden` keeps it true.

pub mod client;
pub mod frame;
mod outcome;

pub use frame::{FrameError, FrameLimits, read_frame, write_frame};
