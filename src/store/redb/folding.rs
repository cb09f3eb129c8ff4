//! How what the write-ahead log holds gets into the database: a half at a time, and all of it at an orderly end.

use std::sync::Arc;

use super::RedbStore;
use super::base::Open;
use super::segment::Segment;
use super::wal::Wal;
use crate::store::StoreError;
use crate::store::record::WalState;

impl RedbStore {
    /// Waits for the half of the log that is on its way into the database. Where it did not get there, it is still to go.
    pub(super) fn join(&mut self) {
        let Some(folding) = self.folding.take() else { return };
        match folding.join() {
            Ok(Ok(())) => {
                self.state.folded = self.frozen.take().map_or(self.state.folded, |segment| segment.last);
            }
            // It is tried again when the room is needed, and that one is answered for.
            Ok(Err(_)) | Err(_) => self.base.close(),
        }
    }

    /// Has the full half of the log in the database.
    pub(super) fn fold_frozen(&mut self) -> Result<(), StoreError> {
        self.join();
        let Some(segment) = self.frozen.clone() else { return Ok(()) };
        let state = WalState { folded: segment.last, ..self.state.clone() };
        self.base.with(StoreError::NotWritten, |open| fold(open, &segment, &state))?;
        (self.state, self.frozen) = (state, None);
        Ok(())
    }

    /// Has everything in the database.
    pub(super) fn fold_all(&mut self) -> Result<(), StoreError> {
        self.fold_frozen()?;
        if !self.current.is_empty() {
            self.frozen = Some(Arc::new(std::mem::take(&mut self.current)));
            self.fold_frozen()?;
        }
        Ok(())
    }

    /// Goes on in the other half of the log, while this one moves into the database.
    pub(super) fn turn_over(&mut self) -> Result<(), StoreError> {
        self.fold_frozen()?;
        self.wal.iter_mut().for_each(Wal::switch);
        if self.current.is_empty() {
            return Ok(());
        }
        let segment = Arc::new(std::mem::take(&mut self.current));
        self.frozen = Some(segment.clone());
        if !self.at_once {
            return Ok(());
        }
        let open = self.base.handle(StoreError::NotWritten)?;
        let state = WalState { folded: segment.last, ..self.state.clone() };
        let folding = move || {
            give_way();
            let folded = open.contained(|open| fold(open, &segment, &state));
            open.release();
            folded
        };
        // Where there is no thread to be had, it moves when its room is needed.
        self.folding = std::thread::Builder::new().name("fold".to_owned()).spawn(folding).ok();
        Ok(())
    }

    /// Leaves one file behind that is all of the store.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        if self.wal.is_none() {
            return Ok(());
        }
        self.fold_all()?;
        let state = WalState { open: false, ..self.state.clone() };
        self.base.with(StoreError::NotWritten, |open| open.change(|tables| tables.set_wal_state(&state)))?;
        self.wal = None;
        self.place.remove().map_err(|error| StoreError::NotWritten(error.to_string()))
    }
}

/// How much further down the scheduler puts the thread that folds. Nobody waits for it while the other half of the log has
/// room; the node's own two threads have somebody waiting nearly always.
#[cfg(target_os = "linux")]
const NICE_BY: i32 = 10;

/// Lets other threads have the processor first, where the system knows of priorities of single threads.
fn give_way() {
    // Where it may not, it folds all the same.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE_BY);
}

/// Moves a segment into the database.
fn fold(open: &Open, segment: &Segment, state: &WalState) -> Result<(), StoreError> {
    open.change(|tables| {
        tables.fold(segment)?;
        tables.set_wal_state(state)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn who_folds_gives_way_and_takes_nobody_along() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let folding = std::thread::Builder::new().spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(folding.unwrap().join().unwrap(), (before + NICE_BY).min(19));
        assert_eq!(nice(), before);
    }
}
