//! What comes of one step of a home: records, and the actions that stand behind them.

use super::{Home, HomeAction};
use crate::effect::{Effect, Record};
use crate::ledger::Operation;
use crate::ledger::outcome::Refusal;
use crate::types::Seq;

/// What one step appends, so that it becomes one record of each kind however many requests it decides.
#[derive(Default)]
pub(super) struct Step {
    pub(super) appended: Vec<Operation>,
    pub(super) refused: Vec<Refusal>,
    pub(super) actions: Actions,
    pub(super) settle: bool,
}

/// Effects already: they come by the thousand, and are moved as seldom as can be.
#[derive(Default)]
pub(super) struct Actions(Vec<Effect<HomeAction>>);

impl Actions {
    pub(super) fn push(&mut self, action: HomeAction) {
        self.0.push(Effect::Act(action));
    }

    pub(super) fn extend(&mut self, actions: impl IntoIterator<Item = HomeAction>) {
        self.0.extend(actions.into_iter().map(Effect::Act));
    }
}

impl Step {
    /// With room for what becomes of so many requests, mostly.
    pub(super) fn of(requests: usize) -> Self {
        Self {
            appended: Vec::with_capacity(requests),
            // The records are put before them.
            actions: Actions(Vec::with_capacity(requests + 2)),
            ..Self::default()
        }
    }
}

impl Home {
    /// Turns a step into effects: its records first, then what stands behind them.
    pub(super) fn finish(&mut self, step: Step) -> Vec<Effect<HomeAction>> {
        let Step { appended, mut refused, actions, settle } = step;
        let mut records = Vec::new();
        if !appended.is_empty() {
            let first = Seq(self.last_seq().0 + 1 - appended.len() as u64);
            records.push(Effect::Persist(Record::Log { first, operations: appended }));
        }
        if !refused.is_empty() {
            let carried = self.memory.carry_over();
            for refusal in &carried {
                self.memory.refused(refusal, self.spendable.contains_key(&refusal.from));
            }
            refused.extend(carried);
            let number = self.memory.close_record();
            records.push(Effect::Persist(Record::Refused { number, refusals: refused }));
        }
        self.trim_memory(&mut records);
        let Actions(mut effects) = actions;
        effects.splice(0..0, records);
        if settle && !self.settling {
            self.settling = true;
            effects.push(Effect::Act(HomeAction::Settle(self.last_mark)));
        }
        effects
    }

    pub(super) fn trim_memory(&mut self, effects: &mut Vec<Effect<HomeAction>>) {
        let raised = self.memory.trim(self.bank.watermark(self.me));
        let horizon = |(owner, id)| Effect::Persist(Record::Horizon { owner, id });
        effects.extend(raised.into_iter().map(horizon));
        if let Some(first_live) = self.memory.drop_dead_records() {
            effects.push(Effect::Persist(Record::RefusedTrim { first_live }));
        }
    }
}
