//! What a restart must give after a loss of power or after damage, by the rules of `docs/protocol.md`.

use std::collections::BTreeSet;

use paxos_banking::store::{Recovered, StoreError};
use paxos_banking::types::Incarnation;

use crate::power_disk::{Damage, Part, Site};
use crate::power_tally::{Fate, Found};
use crate::redb_file::SLOT_BYTE;
use crate::script::*;

/// A state that a restart may give, and the number of the write that made it.
#[derive(Clone)]
pub struct Point {
    pub model: Model,
    pub number: u64,
}

/// What a restart gave.
#[derive(Debug)]
pub struct Start {
    state: State,
    number: u64,
    epoch: u64,
    incarnation: Incarnation,
    fresh: bool,
}

impl Start {
    pub fn of(recovered: &Recovered) -> Self {
        Self {
            state: State::of(recovered),
            number: recovered.journal.head().write,
            epoch: recovered.epoch.number,
            incarnation: recovered.incarnation,
            fresh: recovered.fresh,
        }
    }

    pub fn is(&self, point: &Point) -> bool {
        self.number == point.number && self.state == point.model.state()
    }
}

/// A state in one line, for whoever reads why a life failed.
fn in_brief(number: u64, state: &State) -> String {
    format!(
        "write {number}: height {}, {} unsettled entries, promise {:?}, vote for {:?}, admitted {}, {} peers",
        state.bank.height(),
        state.log.len(),
        state.promise,
        state.slot.as_ref().map(|slot| slot.block.height()),
        state.admitted,
        state.peers.len(),
    )
}

pub type Checked = Result<(), String>;

fn holds(condition: bool, rule: &str, what: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(format!("{rule}: {}", what())) }
}

/// All that is known of a store from outside.
pub struct Truth {
    /// The newest state that was acknowledged; in the beginning what creation gives.
    pub newest: Point,
    /// The one before it.
    before: Option<Point>,
    /// Not even damage together with a loss of power takes the newest one away.
    pub sealed: bool,
    /// What is there as well if the write that was under way is there.
    pub under_way: Option<Point>,
    /// Epoch and incarnation as the newest process that came up was told them; `None` before the first one.
    pub identity: Option<(u64, Incarnation)>,
    /// The incarnations that processes drew before one came up.
    pub drawn: BTreeSet<Incarnation>,
    /// Processes since then that opened the store, and may have taken an epoch.
    pub attempts: u64,
}

impl Truth {
    pub fn new() -> Self {
        Self {
            newest: Point { model: Model::new(), number: 1 },
            before: None,
            sealed: false,
            under_way: None,
            identity: None,
            drawn: BTreeSet::new(),
            attempts: 0,
        }
    }

    pub fn acknowledge(&mut self, point: Point) {
        self.before = Some(std::mem::replace(&mut self.newest, point));
        self.sealed = false;
    }

    /// Holds what a restart found against what was acknowledged, and takes it for acknowledged from here on.
    pub fn judge(&mut self, start: &Start) -> Result<Found, String> {
        self.r11_an_incarnation_is_drawn_once(start)?;
        self.r13_no_epoch_is_given_twice(start)?;
        self.r3_no_promise_falls_and_no_vote_is_lost(start)?;
        self.r7_no_approved_entry_is_lost(start)?;
        self.r8_a_write_is_there_wholly_or_not_at_all(start)?;
        self.identity = Some((start.epoch, start.incarnation));
        self.attempts = 0;
        let found = match self.under_way.take() {
            Some(point) if start.is(&point) => {
                self.acknowledge(point);
                Found::OneMore
            }
            Some(_) => Found::Without,
            None if start.fresh => Found::New,
            None => Found::Last,
        };
        // What a start finds it moves into the database. Creation is a write like any other.
        self.sealed = !start.fresh;
        Ok(found)
    }

    fn r11_an_incarnation_is_drawn_once(&self, start: &Start) -> Checked {
        let known = match self.identity {
            Some((_, incarnation)) => !start.fresh && start.incarnation == incarnation,
            None => self.drawn.contains(&start.incarnation),
        };
        holds(known, "R11", || format!("the store is new again, or of another incarnation; {}", self.story(start)))
    }

    fn r13_no_epoch_is_given_twice(&self, start: &Start) -> Checked {
        let last = self.identity.map_or(0, |(epoch, _)| epoch);
        let expected = last + 1..=last + self.attempts;
        holds(expected.contains(&start.epoch), "R13", || format!("epoch {} of {expected:?}", start.epoch))
    }

    fn r3_no_promise_falls_and_no_vote_is_lost(&self, start: &Start) -> Checked {
        let last = &self.newest.model;
        holds(start.state.promise >= last.promise, "R3", || format!("the promise fell; {}", self.story(start)))?;
        let replaced = self.under_way.as_ref().is_some_and(|next| next.model.slot == start.state.slot);
        let vote = last.slot.is_none() || start.state.slot == last.slot || replaced;
        holds(vote, "R3", || format!("the vote was lost; {}", self.story(start)))
    }

    fn r7_no_approved_entry_is_lost(&self, start: &Start) -> Checked {
        let last = &self.newest.model;
        let settled = usize::try_from(start.state.bank.watermark(node("A")).0).unwrap();
        let unsettled = last.entries.get(settled..).unwrap_or_default();
        holds(start.state.log.starts_with(unsettled), "R7", || format!("entries were lost; {}", self.story(start)))
    }

    fn r8_a_write_is_there_wholly_or_not_at_all(&self, start: &Start) -> Checked {
        holds(self.allowed(start).is_some(), "R8", || {
            format!("neither the last write nor the next; {}", self.story(start))
        })
    }

    /// A disk that is gone may come back: whoever named damage would have its operator throw an intact store away.
    pub fn r13_without_power_nothing_is_called_damaged(&self, off: bool, error: &StoreError) -> Checked {
        let passing = error.may_be_retried() || matches!(error, StoreError::Open { .. });
        holds(off && passing, "R13", || format!("without a cause: {error}"))
    }

    /// Nobody relied on it, so that an operator, who is told which one it is, removes what is there of it.
    pub fn r13_only_an_unfinished_creation_is_refused(&self, error: &StoreError) -> Checked {
        let unfinished = self.identity.is_none() && self.attempts == 0;
        let named = unfinished && named(error) == Some("disk");
        holds(named, "R3, R13", || format!("an undamaged store was refused: {error}"))
    }

    /// Which of the two states that a restart may give it gave.
    pub fn allowed(&self, start: &Start) -> Option<&Point> {
        [Some(&self.newest), self.under_way.as_ref()].into_iter().flatten().find(|point| start.is(point))
    }

    fn story(&self, start: &Start) -> String {
        let point = |point: &Point| in_brief(point.number, &point.model.state());
        format!(
            "\n  acknowledged: {}\n  under way: {}\n  found: {}",
            point(&self.newest),
            self.under_way.as_ref().map_or_else(|| "nothing".to_owned(), point),
            in_brief(start.number, &start.state),
        )
    }

    /// Damage is named, or it hit what is of no use; with the exceptions that no file can know of.
    pub fn r13_damage_is_named_or_changes_nothing(
        &self,
        kind: Damage,
        site: Site,
        loaded: Result<&Start, &StoreError>,
    ) -> Result<Fate, String> {
        let (epoch, incarnation) = self.identity.unwrap();
        let start = match loaded {
            Err(error) if named(error).is_some() => return Ok(Fate::Named),
            Err(error) => return Err(format!("R13: {kind:?} at {site:?} is not named: {error}")),
            Ok(start) => start,
        };
        let same_store = !start.fresh && start.incarnation == incarnation;
        if self.allowed(start).is_some() && same_store && start.epoch > epoch {
            return Ok(Fate::Harmless);
        }
        // Only the first sector can take the whole store back, by one commit, and the file cannot know: all that it
        // says, it said before. And the last record of the log may be taken for one whose write never ended, where the
        // power failed before it was sealed. Peers find that out.
        let undetectable = match (site.part, kind) {
            (Part::Database, Damage::LostWrite) => site.sector == 0,
            (Part::Database, Damage::BitRot) => site.bit == Some((SLOT_BYTE, 1)),
            (Part::Database, Damage::Zeroed | Damage::Misdirected) => false,
            (Part::Wal, _) => !self.sealed,
        };
        let before_creation = start.fresh && self.before.is_none();
        let by_one_commit = self.allowed(start).is_some() || self.before.as_ref().is_some_and(|point| start.is(point));
        if undetectable && by_one_commit && (same_store || before_creation) {
            return Ok(Fate::WentBack);
        }
        Err(format!(
            "R13: {kind:?} at {site:?} went unnoticed, epoch {} after {epoch}; {}",
            start.epoch,
            self.story(start)
        ))
    }
}

/// What the error says is damaged.
fn named(error: &StoreError) -> Option<&str> {
    match error {
        StoreError::Corrupt { key, .. } => Some(key.as_str()),
        StoreError::Open { path, .. } => Some(path.as_str()),
        _ => None,
    }
    .filter(|name| !name.is_empty())
}
