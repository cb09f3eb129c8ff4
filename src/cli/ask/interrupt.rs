//! Signals to a command that has something under way: it ends at once, but tells what it knows, ids above all.

use crate::cli::Failure;

/// Ctrl-C and SIGTERM. From when this is made they end the process no more by themselves.
#[cfg(unix)]
pub(super) struct Interrupt {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Interrupt {
    pub(super) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let cannot = |error| Failure::usage(format!("signals cannot be caught: {error}"));
        let terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        Ok(Self { terminate, interrupt })
    }

    /// Until one comes.
    pub(super) async fn came(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub(super) struct Interrupt;

#[cfg(not(unix))]
impl Interrupt {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    /// Until it comes.
    pub(super) async fn came(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
}
