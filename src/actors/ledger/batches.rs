//! The batches of clients that are not answered wholly: by their number, and for each client by the tag of their first
//! request, so that whoever waits no longer costs nobody else a look at all of them.

use std::collections::{BTreeMap, BTreeSet};

use actix::Recipient;

use crate::actors::message::Answers;
use crate::types::TransferId;

/// A batch of a client's that is not answered wholly.
pub(super) struct Batch {
    pub(super) tags: Vec<u64>,
    /// Of each request, while debug logs are on.
    pub(super) ids: Vec<TransferId>,
    pub(super) open: usize,
    pub(super) reply_to: Recipient<Answers>,
}

#[expect(clippy::disallowed_types, reason = "looked up, and never gone through")]
type Clients = std::collections::HashMap<Recipient<Answers>, BTreeSet<(u64, u64)>, foldhash::fast::RandomState>;

/// All of them.
#[derive(Default)]
pub(super) struct Batches {
    by_number: BTreeMap<u64, Batch>,
    /// Of each client the first tag and the number.
    clients: Clients,
    last: u64,
}

impl Batches {
    /// The number of a new batch, where there is anything in it.
    pub(super) fn open(&mut self, tags: Vec<u64>, ids: Vec<TransferId>, reply_to: Recipient<Answers>) -> Option<u64> {
        let first = *tags.first()?;
        self.last += 1;
        self.clients.entry(reply_to.clone()).or_default().insert((first, self.last));
        self.by_number.insert(self.last, Batch { open: tags.len(), tags, ids, reply_to });
        Some(self.last)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Batch> {
        self.by_number.get_mut(&number)
    }

    /// All of a batch is answered.
    pub(super) fn close(&mut self, number: u64) {
        let Some(Batch { tags, reply_to, .. }) = self.by_number.remove(&number) else { return };
        if let Some(numbers) = self.clients.get_mut(&reply_to) {
            numbers.remove(&(tags[0], number));
            if numbers.is_empty() {
                self.clients.remove(&reply_to);
            }
        }
    }

    /// Those of a client's that begin with one of these tags.
    pub(super) fn of(&self, reply_to: &Recipient<Answers>, tags: &[u64]) -> BTreeSet<u64> {
        let Some(numbers) = self.clients.get(reply_to) else { return BTreeSet::new() };
        tags.iter().flat_map(|tag| numbers.range((*tag, 0)..=(*tag, u64::MAX))).map(|(_, number)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::probe::Probes;

    #[actix_rt::test]
    async fn a_batch_is_found_by_its_first_tag_and_who_asked_until_it_is_answered() {
        let (mut batches, probes) = (Batches::default(), Probes::start());
        let (one, other) = (probes.role::<Answers>(), probes.peer::<Answers>("B"));
        assert_eq!(batches.open(Vec::new(), Vec::new(), one.clone()), None);
        let numbers = [(&one, [10, 11]), (&other, [10, 11]), (&one, [20, 21]), (&one, [10, 30])]
            .map(|(reply_to, tags)| batches.open(tags.into(), Vec::new(), reply_to.clone()).unwrap());
        assert_eq!(batches.of(&one, &[10, 11]), BTreeSet::from([numbers[0], numbers[3]]));
        assert_eq!(batches.of(&other, &[20, 10]), BTreeSet::from([numbers[1]]));
        batches.close(numbers[0]);
        assert!(batches.get_mut(numbers[0]).is_none());
        assert_eq!(batches.of(&one, &[10, 20]), BTreeSet::from([numbers[2], numbers[3]]));
        numbers.into_iter().for_each(|number| batches.close(number));
        assert!(
            batches.by_number.is_empty() && batches.clients.is_empty(),
            "nothing is kept of a client that went away"
        );
    }
}
