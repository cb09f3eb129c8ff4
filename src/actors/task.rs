//! Tasks that end with whoever started them.

use tokio::task::JoinHandle;

/// A task on the node's own thread. Dropping this ends it.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Starts `work` on the current `LocalSet`.
    pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
