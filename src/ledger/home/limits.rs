//! How much a home takes on before it pushes back, forgets, settles or writes a checkpoint.

/// Bounds of a [`Home`](super::Home).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HomeLimits {
    /// Unsettled entries; beyond it new transfers get `busy`.
    pub log_entries_max: usize,
    /// Requests that wait for a settlement to decide them; beyond it `busy`.
    pub waiting_max: usize,
    /// Requests that are approved and wait to be settled; beyond it they are told as approved at once.
    pub settling_max: usize,
    /// Outcomes remembered for exactly-once.
    pub ids_remembered_max: usize,
    /// Size of a block, and of the log that one PROMISE offers, in bytes.
    pub block_bytes_max: usize,
    /// Entries of blocks that are chosen and wait for the store. Beyond it a block that others had chosen is left where it is,
    /// and fetched from there once the store goes on: a disk that hangs must not fill the memory.
    pub unapplied_max: usize,
    /// Settle once so many entries are unsettled; `None` leaves settlement to shortage and to those who ask.
    pub settle_at_entries: Option<usize>,
    /// Write a checkpoint once so many entries were settled after the last, at any node. More where a checkpoint is
    /// large: one is never written for fewer entries than two for each account and one for each four remembered ids.
    pub checkpoint_entries: usize,
    /// Accounts, remembered ids and blocks in one part of a checkpoint. It is written along with what clients wait for,
    /// and must not delay that by more than a moment.
    pub checkpoint_part_rows: usize,
}

impl Default for HomeLimits {
    fn default() -> Self {
        Self {
            log_entries_max: 100_000,
            waiting_max: 10_000,
            settling_max: 100_000,
            ids_remembered_max: 1_000_000,
            block_bytes_max: 8 << 20,
            unapplied_max: 250_000,
            settle_at_entries: Some(4_000),
            checkpoint_entries: 250_000,
            checkpoint_part_rows: 4_096,
        }
    }
}
