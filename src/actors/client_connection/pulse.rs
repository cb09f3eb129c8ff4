//! What the listener sees of a connection without asking it: it has to decide at once who gives way.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::WINDOW;

/// The signs of life of one connection.
pub(crate) struct Pulse {
    /// What of its client's may be in the works.
    pub(super) window: Arc<Semaphore>,
    greeted: Cell<bool>,
    last: Cell<Instant>,
}

impl Pulse {
    /// Of a connection that begins now.
    pub(super) fn new() -> Self {
        Self { window: Arc::new(Semaphore::new(WINDOW)), greeted: Cell::new(false), last: Cell::new(Instant::now()) }
    }

    /// A call came, or replies were taken.
    pub(super) fn beat(&self) {
        self.last.set(Instant::now());
    }

    pub(super) fn greet(&self) {
        self.greeted.set(true);
    }

    /// Whether the client has said hello.
    pub(crate) fn greeted(&self) -> bool {
        self.greeted.get()
    }

    /// Since when nothing has passed; nothing where a call is in the works.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        (self.window.available_permits() == WINDOW).then(|| self.last.get())
    }
}
