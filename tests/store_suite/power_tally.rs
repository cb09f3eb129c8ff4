//! What a campaign of losses of power met, so that one that met too little of anything does not pass for a proof.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};

use crate::power_disk::{Action, Damage};

/// What a process did when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Creating the file, or repairing it.
    Opening,
    /// Taking the epoch, creating the store, loading it.
    Recovering,
    Writing,
    Closing,
    Idle,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Opening, Self::Recovering, Self::Writing, Self::Closing, Self::Idle];
}

/// What the next process found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// No store yet.
    New,
    /// What is left of a creation that nobody was told of, which is refused.
    RefusedNew,
    /// The last write that was acknowledged; no other was under way.
    Last,
    /// The last write that was acknowledged, without the one that was under way.
    Without,
    /// The write that was under way.
    OneMore,
}

impl Found {
    const ALL: [Self; 5] = [Self::New, Self::RefusedNew, Self::Last, Self::Without, Self::OneMore];
}

/// What became of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Named,
    Harmless,
    WentBack,
}

#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    pub lives: u64,
    pub operations: u64,
    /// Processes that ended in order.
    pub closed: u64,
    /// Lives by the size of their disk's sectors.
    pub sectors: BTreeMap<usize, u64>,
    cuts: BTreeMap<(Phase, Action), u64>,
    found: BTreeMap<Found, u64>,
    damaged: BTreeMap<(Damage, Fate), u64>,
}

impl Tally {
    pub fn cut(&mut self, phase: Phase, action: Action) {
        *self.cuts.entry((phase, action)).or_default() += 1;
    }

    pub fn found(&mut self, found: Found) {
        *self.found.entry(found).or_default() += 1;
    }

    pub fn damaged(&mut self, damage: Damage, fate: Fate) {
        *self.damaged.entry((damage, fate)).or_default() += 1;
    }

    /// All losses of power.
    pub fn cuts(&self) -> u64 {
        self.cuts.values().sum()
    }

    fn cuts_where(&self, of_it: impl Fn(Phase, Action) -> bool) -> u64 {
        self.cuts.iter().filter(|((phase, action), _)| of_it(*phase, *action)).map(|(_, count)| count).sum()
    }

    fn damaged_where(&self, of_it: impl Fn(Damage, Fate) -> bool) -> u64 {
        self.damaged.iter().filter(|((damage, fate), _)| of_it(*damage, *fate)).map(|(_, count)| count).sum()
    }

    /// Fails where the campaign met less of anything than one of its size must.
    pub fn assert_enough(&self) {
        let all = self.cuts();
        let enough = |what: &str, count: u64, share: u64| {
            assert!(count >= all / share, "only {count} times {what} in {all} losses of power");
        };
        for (phase, share) in Phase::ALL.into_iter().zip([8, 10, 5, 20, 50]) {
            enough(&format!("{phase:?}"), self.cuts_where(|at, _| at == phase), share);
        }
        for (action, share) in [(Action::Read, 20), (Action::Write, 20), (Action::Resize, 400), (Action::Sync, 4)] {
            enough(&format!("{action:?}"), self.cuts_where(|_, at| at == action), share);
        }
        for (found, share) in Found::ALL.into_iter().zip([40, 1_000, 8, 15, 40]) {
            enough(&format!("{found:?}"), self.found.get(&found).copied().unwrap_or(0), share);
        }
        for damage in Damage::ALL {
            enough(&format!("{damage:?} named"), self.damaged_where(|a, b| (a, b) == (damage, Fate::Named)), 50);
            enough(&format!("{damage:?} harmless"), self.damaged_where(|a, b| (a, b) == (damage, Fate::Harmless)), 100);
        }
    }
}

impl Display for Tally {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { lives, operations, closed, sectors, .. } = self;
        write!(out, "{} losses of power in {lives} lives (by sector size {sectors:?})", self.cuts())?;
        write!(out, ", {closed} orderly ends, {operations} disk operations\n  lost power while")?;
        for phase in Phase::ALL {
            write!(out, " {phase:?} {}", self.cuts_where(|at, _| at == phase))?;
        }
        write!(out, "\n  lost power at   ")?;
        for action in [Action::Read, Action::Write, Action::Resize, Action::Sync, Action::Nothing] {
            write!(out, " {action:?} {}", self.cuts_where(|_, at| at == action))?;
        }
        write!(out, "\n  found afterwards")?;
        for found in Found::ALL {
            write!(out, " {found:?} {}", self.found.get(&found).copied().unwrap_or(0))?;
        }
        for damage in Damage::ALL {
            write!(out, "\n  {damage:?}:")?;
            for fate in [Fate::Named, Fate::Harmless, Fate::WentBack] {
                write!(out, " {fate:?} {}", self.damaged_where(|a, b| (a, b) == (damage, fate)))?;
            }
        }
        Ok(())
    }
}
