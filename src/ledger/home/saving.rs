//! When a home writes a checkpoint, and how it makes one bit by bit.

use super::{Home, HomeAction};
use crate::effect::{Effect, Record};
use crate::ledger::checkpoint::Saving;
use crate::types::Seq;

impl Home {
    /// Begins a checkpoint of the settled state, where one is due.
    pub(super) fn begin_checkpoint(&mut self) -> Option<Record> {
        let entries = self.bank.entries();
        let size = 2 * self.bank.balances().len() + self.memory.len() / 4;
        let due = entries.saturating_sub(self.saved) >= self.limits.checkpoint_entries.max(size) as u64;
        // One at a time: or else a node that catches up would begin them faster than it ends any.
        if !due || self.is_saving() {
            return None;
        }
        self.saved = entries;
        // Blocks are read faster than ids are written again and again: so the last ones are left to the blocks.
        let settled = self.bank.watermark(self.me).0;
        let tail = self.settled_at.last_up_to(Seq(settled.saturating_sub(self.limits.ids_remembered_max as u64)));
        self.saving = Some(Saving::new(&self.bank, &self.settled_at, tail, self.limits.checkpoint_part_rows));
        self.go_on_saving()
    }

    fn go_on_saving(&mut self) -> Option<Record> {
        let saving = self.saving.as_mut()?;
        saving.go_on(&self.bank, &self.memory, self.limits.checkpoint_part_rows);
        let (parts, complete) = (saving.take_parts(), saving.is_over());
        self.saving.take_if(|_| complete);
        (!parts.is_empty()).then_some(Record::Checkpoint { parts, complete })
    }

    /// True where a checkpoint was begun that [`Home::save`] goes on with.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Goes on with a checkpoint, for no longer than anybody would notice.
    pub fn save(&mut self) -> Vec<Effect<HomeAction>> {
        if self.halted {
            self.saving = None;
        }
        self.go_on_saving().map(Effect::Persist).into_iter().collect()
    }
}

#[cfg(test)]
#[path = "saving_tests.rs"]
mod tests;
