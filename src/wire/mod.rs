//! What passes over sockets: frames, and what clients and nodes say to each other in them. What peers say in theirs is
//! [`crate::paxos::Message`]. `docs/wire.md` says all of it byte by byte, and `tests/wire_golden` keeps it true.

pub mod client;
pub mod frame;
mod genesis;
mod outcome;

pub use frame::{FrameError, FrameLimits, read_frame, write_frame};

/// What the clock of this machine says, in milliseconds since 1970. It labels what crosses the edge of a process, ids
/// and statuses, and decides nothing.
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a label at the edge")]
pub fn wall_clock_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
