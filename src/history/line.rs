//! A history as a file: one JSON object to a line, one line for each call of a client (docs/history.md).

use std::collections::BTreeSet;
use std::io::{BufRead, Read as _};

use serde::{Deserialize, Serialize};

use super::{BalanceRead, Content, History, Identity, Outcome, Violation};
use crate::ledger::Reason;
use crate::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};
use crate::wire::client::{Balance, ReadLevel};

/// Longest line: a call and its answer are short, whatever names are in them. A note may take the rest.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A transfer: `id`, `from`, `to`, `amount`.
    Transfer,
    /// The opening of an account: `id`, `account`.
    Open,
    /// A balance: `account`, `read`.
    Balance,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// `origin`, `seq`, and `height` where it is known to be settled.
    Approved,
    /// `reason`, and what it tells.
    Refused,
    /// The id was used for something else.
    Conflict,
    /// The one try of this call was answered `expired`.
    Expired,
    /// Every try of this call was answered `busy` or `not ready`.
    TurnedAway,
    /// Nothing left the client.
    NotSent,
    /// It may have arrived, and nobody heard of an outcome. Of a read: there is no answer.
    Unknown,
    /// A balance: `node`, `settled`, `height`, and `spendable` and `not_heard` as they were told.
    Balance,
}

/// One call of a client: a line of the file. Which fields stand in it depends on `op`, `result` and `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "docs/history.md has a table of them")]
pub struct Line {
    pub client: String,
    pub call: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<u64>,
    pub op: Op,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TransferId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadLevel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Height>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    pub result: Told,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_account: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<Height>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spendable: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_heard: Option<BTreeSet<NodeId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<serde_json::Value>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What is wrong with a file: nothing is said of the bank.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {what}")]
pub struct LineError {
    /// The line, from 1 on.
    pub number: u64,
    /// What is wrong with it.
    pub what: String,
}

impl Line {
    /// A call without an answer yet.
    fn new(client: &str, call: u64, op: Op) -> Self {
        Self {
            client: client.to_owned(),
            call,
            ret: None,
            op,
            id: None,
            from: None,
            to: None,
            amount: None,
            account: None,
            read: None,
            seen: None,
            again: false,
            result: Told::Unknown,
            origin: None,
            seq: None,
            reason: None,
            unknown_account: None,
            node: None,
            height: None,
            spendable: None,
            settled: None,
            not_heard: None,
            note: None,
        }
    }

    /// A transfer whose outcome is not known.
    pub fn transfer(client: &str, call: u64, id: TransferId, from: AccountId, (to, amount): Content) -> Self {
        let line = Self::new(client, call, Op::Transfer);
        Self { id: Some(id), from: Some(from), to: Some(to), amount: Some(amount), ..line }
    }

    /// An opening whose outcome is not known.
    pub fn open(client: &str, call: u64, id: TransferId, account: AccountId) -> Self {
        Self { id: Some(id), account: Some(account), ..Self::new(client, call, Op::Open) }
    }

    /// A read without an answer, by a client that has seen `seen`.
    pub fn balance(client: &str, call: u64, account: AccountId, read: ReadLevel, seen: Height) -> Self {
        let line = Self::new(client, call, Op::Balance);
        Self { account: Some(account), read: Some(read), seen: Some(seen), ..line }
    }

    /// The same with what was told, and when.
    #[must_use]
    pub fn told(self, ret: u64, result: Told) -> Self {
        Self { ret: Some(ret), result, ..self }
    }

    /// The same, approved.
    #[must_use]
    pub fn approved(self, ret: u64, (origin, seq): (NodeId, Seq), height: Option<Height>) -> Self {
        Self { origin: Some(origin), seq: Some(seq), height, ..self.told(ret, Told::Approved) }
    }

    /// The same, refused.
    #[must_use]
    pub fn refused(self, ret: u64, reason: &Reason) -> Self {
        let mut line = self.told(ret, Told::Refused);
        line.reason = Some(reason.code().to_owned());
        match reason {
            Reason::InsufficientFunds { height, spendable, not_heard } => {
                line.height = Some(*height);
                line.spendable = Some(*spendable);
                line.not_heard = Some(not_heard.clone());
            }
            Reason::UnknownAccount { height, account } => {
                line.height = Some(*height);
                line.unknown_account = Some(*account);
            }
            Reason::AccountExists { height, .. } => line.height = Some(*height),
            Reason::NotHome { home } => line.node = Some(*home),
            Reason::AmountZero | Reason::SameAccount => {}
        }
        line
    }

    /// The same, a balance that was told.
    #[must_use]
    pub fn heard(self, ret: u64, node: NodeId, balance: Balance) -> Self {
        let Balance { spendable, settled, height, not_heard, .. } = balance;
        let line = self.told(ret, Told::Balance);
        let not_heard = Some(not_heard);
        Self { node: Some(node), spendable, settled: Some(settled), height: Some(height), not_heard, ..line }
    }

    /// As it stands in the file, without its end.
    pub fn text(&self) -> String {
        // Nothing in it can fail to be written: maps have texts for keys, and numbers are whole.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Takes it over into a history.
    ///
    /// # Errors
    /// What it lacks, or has too much.
    pub fn enter(self, history: &mut History) -> Result<(), String> {
        if self.ret.is_some_and(|ret| ret < self.call) {
            return Err(
                "it returned (ret) before it was called (call); both are of one clock that never goes back".into()
            );
        }
        let needs_ret = !matches!(self.result, Told::Unknown | Told::NotSent);
        if needs_ret && self.ret.is_none() {
            return Err(format!("{:?} was heard at some time: ret is missing", self.result));
        }
        match self.op {
            Op::Balance => self.enter_balance(history),
            Op::Transfer => {
                let identity = (need(self.from, "from")?, need(self.id, "id")?);
                let content = (need(self.to, "to")?, need(self.amount, "amount")?);
                lacks(self.account.is_some(), "account")?;
                self.enter_request(history, identity, content)
            }
            Op::Open => {
                let account = need(self.account, "account")?;
                lacks(self.from.is_some() || self.to.is_some() || self.amount.is_some(), "from, to or amount")?;
                let identity = (account, need(self.id, "id")?);
                self.enter_request(history, identity, (account, Amount::ZERO))
            }
        }
    }

    fn enter_request(self, history: &mut History, identity: Identity, content: Content) -> Result<(), String> {
        lacks(self.read.is_some() || self.seen.is_some() || self.settled.is_some(), "read, seen or settled")?;
        if self.result != Told::NotSent {
            history.asked(identity, content, self.call);
            if self.again {
                // By somebody who wrote no line, before the clock of this file began.
                history.asked(identity, content, 0);
            }
        }
        let ret = self.ret.unwrap_or(u64::MAX);
        match self.result {
            Told::Balance => return Err("only a balance is answered with one".to_owned()),
            Told::Approved => {
                let outcome = Outcome::Approved(need(self.origin, "origin")?, need(self.seq, "seq")?);
                if let Some(height) = self.height {
                    history.settled_at(identity, height);
                }
                let known = history.decided(identity, content, outcome, ret).map(drop);
                history.violations.extend(known.err());
            }
            Told::Refused => {
                let reason = self.reason(identity, content)?;
                let by_form = matches!(reason, Reason::AmountZero | Reason::SameAccount | Reason::NotHome { .. });
                let held: Result<(), Violation> = match by_form {
                    true => History::refused_by_form(identity, content, &reason),
                    false => history.decided(identity, content, Outcome::Refused(reason), ret).map(drop),
                };
                history.violations.extend(held.err());
            }
            Told::Conflict => history.conflict(identity, content),
            Told::Expired => history.expired(identity, ret),
            Told::TurnedAway => history.turned_away(identity),
            Told::NotSent | Told::Unknown => {}
        }
        Ok(())
    }

    fn reason(self, (from, _): Identity, (to, _): Content) -> Result<Reason, String> {
        let reason = need(self.reason, "reason")?;
        Ok(match reason.as_str() {
            "insufficient_funds" => Reason::InsufficientFunds {
                height: need(self.height, "height")?,
                spendable: need(self.spendable, "spendable")?,
                not_heard: need(self.not_heard, "not_heard")?,
            },
            "unknown_account" => {
                let account = need(self.unknown_account, "unknown_account")?;
                if account != from && account != to {
                    return Err(format!("unknown_account is {account}, which is not in the request"));
                }
                Reason::UnknownAccount { height: need(self.height, "height")?, account }
            }
            "account_exists" => Reason::AccountExists { height: need(self.height, "height")?, account: from },
            "amount_zero" => Reason::AmountZero,
            "same_account" => Reason::SameAccount,
            "not_home" => Reason::NotHome { home: need(self.node, "node")? },
            other => return Err(format!("{other:?} is no reason; docs/history.md lists them")),
        })
    }

    fn enter_balance(self, history: &mut History) -> Result<(), String> {
        let account = need(self.account, "account")?;
        let read = need(self.read, "read")?;
        lacks(self.id.is_some() || self.from.is_some() || self.to.is_some() || self.again, "id, from, to or again")?;
        match self.result {
            Told::Unknown | Told::NotSent => return Ok(()),
            Told::Balance => {}
            other => return Err(format!("a balance is answered with one, or not at all, and never {other:?}")),
        }
        let fresh = read == ReadLevel::Fresh;
        let not_heard = if fresh { need(self.not_heard, "not_heard")? } else { self.not_heard.unwrap_or_default() };
        let balance = Balance {
            account,
            spendable: self.spendable,
            settled: need(self.settled, "settled")?,
            height: need(self.height, "height")?,
            not_heard,
        };
        history.reads.push(BalanceRead {
            called: self.call,
            returned: need(self.ret, "ret")?,
            fresh,
            seen: self.seen.unwrap_or_default(),
            node: need(self.node, "node")?,
            balance,
        });
        Ok(())
    }
}

fn need<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("{name} is missing"))
}

fn lacks(has: bool, names: &str) -> Result<(), String> {
    if has { Err(format!("{names} does not belong to this op")) } else { Ok(()) }
}

/// Reads a whole file into `history`, a line in memory at a time, and says how many there were.
///
/// # Errors
/// The first line that is none.
pub fn read(mut input: impl BufRead, history: &mut History) -> Result<u64, LineError> {
    let (mut number, mut buffer) = (0, Vec::new());
    loop {
        buffer.clear();
        let error = |what: String| LineError { number: number + 1, what };
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut buffer);
        read.map_err(|why| error(format!("cannot be read: {why}")))?;
        if buffer.is_empty() {
            return Ok(number);
        }
        if buffer.len() as u64 == LINE_BYTES_MAX && !buffer.ends_with(b"\n") {
            return Err(error("it is longer than 64 KiB".to_owned()));
        }
        let line: Line = serde_json::from_slice(&buffer).map_err(|why| error(reason(&why)))?;
        line.enter(history).map_err(error)?;
        number += 1;
    }
}

/// What the parser says, with the column alone: its line is always the first.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((what, _)) => format!("{what}, at column {}", error.column()),
        None => text,
    }
}
