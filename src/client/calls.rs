//! The calls of one connection that wait for their replies, by tag. All of it is bounded: by how many calls may wait,
//! and by how many transfers each has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::locked;
use super::error::NodeError;
use crate::ledger::Answer;
use crate::types::NodeId;
use crate::wire::client::{Outcome, Reply, Told};

/// What came of one call of transfers.
pub(super) struct Batch {
    /// In the order of the call; `None` where nothing was heard.
    pub(super) answers: Vec<Option<Answer>>,
    /// Whether the node may have got it.
    pub(super) sent: bool,
    /// Why some have no answer.
    pub(super) error: Option<Arc<NodeError>>,
}

impl Batch {
    /// Nothing of it left this process.
    pub(super) fn unsent(count: usize, error: Arc<NodeError>) -> Self {
        Self { answers: vec![None; count], sent: false, error: Some(error) }
    }

    /// Nothing is known of it.
    pub(super) fn lost(count: usize, error: Arc<NodeError>) -> Self {
        Self { sent: true, ..Self::unsent(count, error) }
    }
}

/// The end of a call of transfers.
pub(super) struct Ended(pub(super) Batch);

/// What a call with one answer gets.
pub(super) type Answered = Result<Told, Arc<NodeError>>;

pub(super) struct Calls {
    node: NodeId,
    table: Mutex<Table>,
}

struct Table {
    /// Given out so far; a call's tag is never 0, which stands for calls that a node could not read.
    tag: u64,
    waiting: BTreeMap<u64, Waiting>,
    broken: Option<Arc<NodeError>>,
    /// When the node last said something.
    heard: Instant,
}

enum Waiting {
    One(oneshot::Sender<Answered>),
    Batch { answers: Vec<Option<Answer>>, open: usize, ended: oneshot::Sender<Ended> },
}

/// A call that waits; dropped, it waits no longer.
pub(super) struct Tag<'a> {
    calls: &'a Calls,
    number: u64,
}

impl Tag<'_> {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What was heard so far of a call of transfers that is waited for no longer.
    pub(super) fn take_batch(&self) -> Option<Batch> {
        match locked(&self.calls.table).waiting.remove(&self.number)? {
            Waiting::Batch { answers, .. } => Some(Batch { answers, sent: true, error: None }),
            Waiting::One(_) => None,
        }
    }
}

impl Drop for Tag<'_> {
    fn drop(&mut self) {
        locked(&self.calls.table).waiting.remove(&self.number);
    }
}

impl Calls {
    pub(super) fn new(node: NodeId) -> Self {
        let table = Table { tag: 0, waiting: BTreeMap::new(), broken: None, heard: Instant::now() };
        Self { node, table: Mutex::new(table) }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// Why the connection is of no more use.
    pub(super) fn broken(&self) -> Option<Arc<NodeError>> {
        locked(&self.table).broken.clone()
    }

    pub(super) fn heard_since(&self, then: Instant) -> bool {
        locked(&self.table).heard >= then
    }

    pub(super) fn wait_for_one(&self) -> Result<(Tag<'_>, oneshot::Receiver<Answered>), Arc<NodeError>> {
        let (told, answer) = oneshot::channel();
        Ok((self.wait(Waiting::One(told))?, answer))
    }

    pub(super) fn wait_for_batch(&self, count: usize) -> Result<(Tag<'_>, oneshot::Receiver<Ended>), Arc<NodeError>> {
        let (ended, end) = oneshot::channel();
        Ok((self.wait(Waiting::Batch { answers: vec![None; count], open: count, ended })?, end))
    }

    fn wait(&self, waiting: Waiting) -> Result<Tag<'_>, Arc<NodeError>> {
        let mut table = locked(&self.table);
        if let Some(why) = &table.broken {
            return Err(why.clone());
        }
        table.tag += 1;
        let number = table.tag;
        table.waiting.insert(number, waiting);
        Ok(Tag { calls: self, number })
    }

    /// Brings a reply to its call. One for a call that nobody waits for any more is dropped.
    ///
    /// # Errors
    /// Why this cannot be a reply; the connection is of no more use then.
    pub(super) fn take(&self, Reply { tag, told }: Reply) -> Result<(), String> {
        let mut table = locked(&self.table);
        table.heard = Instant::now();
        if tag == 0 || tag > table.tag {
            return Err(match told {
                Told::Failed(failure) => failure.message,
                _ => format!("it answers a call {tag} that was never made"),
            });
        }
        let Some(waiting) = table.waiting.remove(&tag) else { return Ok(()) };
        match (waiting, told) {
            (Waiting::One(answer), Told::Failed(failure)) => {
                // Whoever asked may have gone meanwhile; then nobody misses the answer. So below.
                let _ = answer.send(Err(Arc::new(NodeError::Failed { node: self.node, failure })));
            }
            (Waiting::One(answer), told) => {
                let _ = answer.send(Ok(told));
            }
            (Waiting::Batch { answers, ended, .. }, Told::Failed(failure)) => {
                let error = Some(Arc::new(NodeError::Failed { node: self.node, failure }));
                let _ = ended.send(Ended(Batch { answers, sent: true, error }));
            }
            (Waiting::Batch { mut answers, open, ended }, Told::Outcomes(outcomes)) => {
                let filled = fill(&mut answers, outcomes, self.node);
                let open = match &filled {
                    Ok(count) => open - count,
                    Err(_) => open,
                };
                if open == 0 {
                    let _ = ended.send(Ended(Batch { answers, sent: true, error: None }));
                } else {
                    table.waiting.insert(tag, Waiting::Batch { answers, open, ended });
                }
                filled?;
            }
            (waiting @ Waiting::Batch { .. }, _) => {
                table.waiting.insert(tag, waiting);
                return Err("it answers transfers with something else than outcomes".to_owned());
            }
        }
        Ok(())
    }

    /// Ends all calls, and all that come, because of `why`; returns why it was ended first.
    pub(super) fn fail(&self, why: Arc<NodeError>) -> Arc<NodeError> {
        let mut table = locked(&self.table);
        let why = table.broken.get_or_insert(why).clone();
        for waiting in std::mem::take(&mut table.waiting).into_values() {
            match waiting {
                Waiting::One(answer) => {
                    let _ = answer.send(Err(why.clone()));
                }
                Waiting::Batch { answers, ended, .. } => {
                    let _ = ended.send(Ended(Batch { answers, sent: true, error: Some(why.clone()) }));
                }
            }
        }
        why
    }
}

/// Writes each outcome to its place; returns how many there were.
fn fill(answers: &mut [Option<Answer>], outcomes: Vec<Outcome>, home: NodeId) -> Result<usize, String> {
    let count = outcomes.len();
    for outcome in outcomes {
        let index = outcome.index();
        let place = usize::try_from(index).ok().and_then(|index| answers.get_mut(index));
        let place = place.ok_or_else(|| format!("an outcome of transfer {index}, which its call did not have"))?;
        if place.is_some() {
            return Err(format!("a second outcome of transfer {index} of a call"));
        }
        *place = Some(outcome.answer(home).ok_or_else(|| format!("half an outcome of transfer {index}"))?);
    }
    Ok(count)
}
