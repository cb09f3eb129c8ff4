//! What a client asked and heard, as lines of a history (docs/history.md).

use super::error::{ClientError, Outcome};
use super::reads::Heard;
use crate::history::{Line, Told};
use crate::wire::client::Balance;

/// The line of a transfer or an opening that was asked for as `asked` says, with what was heard of it at `ret`.
pub fn outcome_line(asked: Line, ret: u64, told: &Result<Outcome, ClientError>) -> Line {
    match told {
        Ok(Outcome::Approved(approval)) => asked.approved(ret, (approval.origin, approval.seq), approval.height),
        Ok(Outcome::Refused(reason)) => asked.refused(ret, reason),
        Err(ClientError::Conflict(_)) => asked.told(ret, Told::Conflict),
        Err(error) if !error.may_have_been_sent() => asked.told(ret, Told::NotSent),
        // One that has expired, too: of several tries, the first may have been executed.
        Ok(Outcome::Unknown(_)) | Err(_) => asked.told(ret, Told::Unknown),
    }
}

/// The line of a read, with what was heard at `ret`.
pub fn balance_line(asked: Line, ret: u64, told: &Result<Heard<Balance>, ClientError>) -> Line {
    match told {
        Ok(Heard { node, told }) => asked.heard(ret, *node, told.clone()),
        Err(_) => asked.told(ret, Told::Unknown),
    }
}
