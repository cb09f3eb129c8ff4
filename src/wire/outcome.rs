//! What came of one transfer, as small as it can be: they come by the thousand.

use serde::{Deserialize, Serialize};

use crate::ledger::{Answer, Approval, Reason, Wait};
use crate::types::{Height, NodeId, Seq};

/// What came of one transfer of a call. An array: index, kind, seq, height, reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome(u32, OutcomeKind, Option<Seq>, Option<Height>, Option<Reason>);

/// The kind of an [`Outcome`], a number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
enum OutcomeKind {
    Approved = 0,
    Refused = 1,
    Conflict = 2,
    Expired = 3,
    Busy = 4,
    NotReady = 5,
    Pending = 6,
}

impl From<OutcomeKind> for u8 {
    fn from(kind: OutcomeKind) -> Self {
        kind as Self
    }
}

impl TryFrom<u8> for OutcomeKind {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        use OutcomeKind::{Approved, Busy, Conflict, Expired, NotReady, Pending, Refused};
        let kinds = [Approved, Refused, Conflict, Expired, Busy, NotReady, Pending];
        kinds.get(usize::from(number)).copied().ok_or_else(|| format!("an outcome of the unknown kind {number}"))
    }
}

impl Outcome {
    /// What the home answered to the transfer with this index in its call.
    pub fn new(index: u32, answer: Answer) -> Self {
        let bare = |kind| Self(index, kind, None, None, None);
        match answer {
            Answer::Approved(Approval { seq, height, .. }) => {
                Self(index, OutcomeKind::Approved, Some(seq), height, None)
            }
            Answer::Refused(reason) => Self(index, OutcomeKind::Refused, None, None, Some(reason)),
            Answer::Conflict => bare(OutcomeKind::Conflict),
            Answer::Expired => bare(OutcomeKind::Expired),
            Answer::Busy => bare(OutcomeKind::Busy),
            Answer::NotReady => bare(OutcomeKind::NotReady),
            Answer::Pending => bare(OutcomeKind::Pending),
        }
    }

    /// The index of the transfer in its call.
    pub fn index(&self) -> u32 {
        self.0
    }

    /// Whether it is what somebody waited for who waits so long: an approval, or one that is settled.
    pub fn is_done(&self, wait: Wait) -> bool {
        self.1 == OutcomeKind::Approved && (wait == Wait::Local || self.3.is_some())
    }

    /// What `home` answered; `None` where the parts do not fit each other.
    pub fn answer(self, home: NodeId) -> Option<Answer> {
        let Self(_, kind, seq, height, reason) = self;
        Some(match kind {
            OutcomeKind::Approved => Answer::Approved(Approval { origin: home, seq: seq?, height }),
            OutcomeKind::Refused => Answer::Refused(reason?),
            OutcomeKind::Conflict => Answer::Conflict,
            OutcomeKind::Expired => Answer::Expired,
            OutcomeKind::Busy => Answer::Busy,
            OutcomeKind::NotReady => Answer::NotReady,
            OutcomeKind::Pending => Answer::Pending,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_that_is_not_settled_is_not_what_somebody_waits_for_who_waits_for_a_block() {
        let origin = "A".parse().unwrap();
        let done = |answer: Answer| {
            let outcome = Outcome::new(0, answer);
            [outcome.is_done(Wait::Local), outcome.is_done(Wait::Settled)]
        };
        let approved = |height| Answer::Approved(Approval { origin, seq: Seq(1), height });
        assert_eq!(done(approved(None)), [true, false]);
        assert_eq!(done(approved(Some(Height(1)))), [true, true]);
        assert_eq!(done(Answer::Busy), [false, false]);
    }
}
