//! Whose transfers are decided next. They are decided in turns of a bounded number, and between two of them the node looks
//! what else there is: peers that wait for this node's part in a block go before clients that come by the thousand, and can
//! work meanwhile.

use std::collections::{BTreeSet, VecDeque};

use actix::Recipient;

use crate::actors::message::Answers;
use crate::ledger::{LOOKED_FOR_AT_ONCE, Request, Ticket};

/// How many transfers are decided in one turn: half a millisecond to a whole one, after which everybody else is heard.
pub(super) const TURN: usize = 512;

/// How many where nobody asked for little of late: a turn costs something, and only peers are kept waiting.
const LONG_TURN: usize = 4 * TURN;

/// So many turns are of late.
const OF_LATE: u32 = 64;

/// Who asks for no more than this at once goes before those who ask for more, to whom as much of each turn is left.
pub(super) const LITTLE: usize = 128;

/// How many transfers wait for their turn. Beyond it a turn is as long as it must be.
pub(super) const UNDECIDED_MAX: usize = 65_536;

/// Transfers that are not decided yet. Those of one client are in the order in which they came. Of those who ask for much
/// one has its turn until it has had [`TURN`] or more, and the call that it was at is decided.
pub(super) struct Turns {
    /// First those who ask for little, then the others; among their like each in the order in which they came.
    clients: VecDeque<Client>,
    /// How many ask for little, and how much more the first of them may.
    few: usize,
    little_left: usize,
    /// How many were decided of the first of the others.
    much_had: usize,
    undecided: usize,
    /// How many this turn may still decide.
    left: usize,
    /// Turns since somebody asked for little.
    since_little: u32,
    /// This turn is over, and the next will begin by itself.
    over: bool,
}

struct Client {
    reply_to: Recipient<Answers>,
    batches: VecDeque<Undecided>,
}

/// What is not decided yet of a batch.
#[derive(Default)]
pub(super) struct Undecided {
    batch: u64,
    next_index: u32,
    requests: std::vec::IntoIter<(u64, Request)>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            clients: VecDeque::new(),
            few: 0,
            little_left: LITTLE,
            much_had: 0,
            undecided: 0,
            left: TURN,
            since_little: 0,
            over: false,
        }
    }
}

impl Turns {
    pub(super) fn push(&mut self, batch: u64, requests: Vec<(u64, Request)>, reply_to: Recipient<Answers>) {
        let count = requests.len();
        self.undecided += count;
        self.left = self.left.max(self.undecided.saturating_sub(UNDECIDED_MAX));
        let batch = Undecided { batch, next_index: 0, requests: requests.into_iter() };
        if let Some(client) = self.clients.iter_mut().find(|client| client.reply_to == reply_to) {
            return client.batches.push_back(batch);
        }
        let client = Client { reply_to, batches: [batch].into() };
        if count <= LITTLE {
            self.clients.insert(self.few, client);
            self.few += 1;
            self.since_little = 0;
        } else {
            self.clients.push_back(client);
        }
    }

    /// True where it is not worth while to decide yet, if others are about to ask.
    pub(super) fn are_few(&self) -> bool {
        self.undecided < LOOKED_FOR_AT_ONCE
    }

    /// True where nothing may be decided now: nothing waits, or the turn is over.
    pub(super) fn is_empty(&self) -> bool {
        self.left.min(self.undecided) == 0
    }

    /// Ends the turn where all of it was used. Tells whether the next must be begun, which is told once.
    pub(super) fn end(&mut self) -> bool {
        self.left == 0 && !std::mem::replace(&mut self.over, true)
    }

    /// Begins the next turn.
    pub(super) fn begin(&mut self) {
        self.since_little = self.since_little.saturating_add(1);
        self.left = if self.since_little > OF_LATE { LONG_TURN } else { TURN };
        self.over = false;
    }

    /// All that is not decided yet of these batches of a client, whoever's turn it is.
    pub(super) fn take_all_of(
        &mut self,
        reply_to: &Recipient<Answers>,
        batches: &BTreeSet<u64>,
    ) -> VecDeque<Undecided> {
        let Some(client) = self.clients.iter_mut().find(|client| client.reply_to == *reply_to) else {
            return VecDeque::new();
        };
        let all = std::mem::take(&mut client.batches).into_iter();
        let (taken, left): (VecDeque<_>, _) = all.partition(|undecided| batches.contains(&undecided.batch));
        client.batches = left;
        self.undecided -= taken.iter().map(|undecided| undecided.requests.len()).sum::<usize>();
        taken
    }

    /// The first of those who ask for little leaves them.
    fn leave_the_few(&mut self) -> Option<Client> {
        self.few -= 1;
        self.little_left = LITTLE;
        self.clients.pop_front()
    }

    /// The first of those who ask for much leaves them.
    fn leave_the_many(&mut self) -> Option<Client> {
        self.much_had = 0;
        self.clients.remove(self.few)
    }
}

/// What is decided in this turn.
impl Iterator for Turns {
    type Item = (Ticket, Request);

    fn next(&mut self) -> Option<(Ticket, Request)> {
        while self.left > 0 {
            let is_one_of_few = self.few > 0 && (self.left > LITTLE || self.few == self.clients.len());
            if is_one_of_few && self.little_left == 0 {
                // It was little at first, and more came.
                let client = self.leave_the_few();
                self.clients.extend(client);
                continue;
            }
            let place = if is_one_of_few { 0 } else { self.few };
            let client = self.clients.get_mut(place)?;
            match client.batches.front_mut().map(Iterator::next) {
                Some(Some(next)) => {
                    self.left -= 1;
                    self.undecided -= 1;
                    if is_one_of_few {
                        self.little_left -= 1;
                    } else {
                        self.much_had += 1;
                    }
                    return Some(next);
                }
                Some(None) => {
                    client.batches.pop_front();
                    // One that always has another call would keep the others waiting for ever.
                    if !is_one_of_few && self.much_had >= TURN {
                        let client = self.leave_the_many();
                        self.clients.extend(client);
                    }
                }
                None if is_one_of_few => drop(self.leave_the_few()),
                None => drop(self.leave_the_many()),
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.left.min(self.undecided);
        (count, Some(count))
    }
}

impl Iterator for Undecided {
    type Item = (Ticket, Request);

    fn next(&mut self) -> Option<(Ticket, Request)> {
        let (_, request) = self.requests.next()?;
        let ticket = Ticket { batch: self.batch, index: self.next_index };
        self.next_index += 1;
        Some((ticket, request))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::submit;
    use super::*;
    use crate::actors::probe::Probes;

    #[actix_rt::test]
    async fn turns_are_long_until_somebody_asks_for_little() {
        let (mut turns, probes) = (Turns::default(), Probes::start());
        let next = |turns: &mut Turns| {
            turns.begin();
            turns.left
        };
        let of_late: Vec<usize> = (0..OF_LATE).map(|_| next(&mut turns)).collect();
        assert_eq!(of_late, [TURN; OF_LATE as usize]);
        turns.push(1, submit(&probes, &[(1, "B", 1); LITTLE + 1]).requests, probes.role());
        assert_eq!(next(&mut turns), LONG_TURN);
        turns.push(2, submit(&probes, &[(2, "B", 1)]).requests, probes.peer("B"));
        assert_eq!(next(&mut turns), TURN);
    }

    #[actix_rt::test]
    async fn those_who_ask_for_much_have_a_part_of_each_turn() {
        let mut turns = Turns::default();
        let probes = Probes::start();
        let requests =
            |ids: std::ops::Range<u128>| submit(&probes, &ids.map(|id| (id, "B", 1)).collect::<Vec<_>>()).requests;
        turns.push(1, requests(0..1_000), probes.role());
        turns.push(2, requests(1_000..1_100), probes.peer("B"));
        turns.push(3, requests(2_000..2_001), probes.peer("C"));
        turns.left = 150;
        let decided: Vec<u64> = turns.by_ref().map(|(ticket, _)| ticket.batch).collect();
        assert_eq!(decided, [vec![2; 22], vec![1; 128]].concat());
        turns.left = TURN;
        let decided: Vec<u64> = turns.by_ref().map(|(ticket, _)| ticket.batch).collect();
        assert_eq!(decided, [vec![2; 78], vec![3], vec![1; TURN - 79]].concat());
        let rest = 1_000 - 128 - (TURN - 79);
        assert_eq!((turns.undecided, turns.few, turns.clients.len()), (rest, 0, 1));
        turns.push(4, requests(3_000..3_010), probes.role());
        let mut take = |of: &Recipient<Answers>, batches: &[u64]| {
            turns.take_all_of(of, &batches.iter().copied().collect()).into_iter().flatten().count()
        };
        assert_eq!(take(&probes.peer("B"), &[1, 4]), 0, "they are of another");
        assert_eq!((take(&probes.role(), &[1, 2]), take(&probes.role(), &[1])), (rest, 0));
        turns.left = TURN;
        assert_eq!((turns.undecided, turns.next().unwrap().0.batch), (10, 4));
    }

    #[actix_rt::test]
    async fn one_that_always_has_another_call_keeps_nobody_waiting() {
        let (mut turns, probes) = (Turns::default(), Probes::start());
        let requests = |count: usize| submit(&probes, &vec![(1, "B", 1); count]).requests;
        // Three large calls, and as much as that in small ones.
        (1..=3).for_each(|batch| turns.push(batch, requests(1_000), probes.role()));
        turns.push(0, requests(LITTLE + 1), probes.peer("B"));
        (101..=1_000).for_each(|batch| turns.push(batch, requests(1), probes.peer("B")));
        turns.left = usize::MAX;
        let decided: Vec<u64> = turns.map(|(ticket, _)| ticket.batch).collect();
        let of_b: Vec<u64> = std::iter::repeat_n(0, LITTLE + 1).chain(101..=1_000).collect();
        let both = (1..=3).zip(of_b.chunks(TURN)).flat_map(|(batch, of_b)| [&vec![batch; 1_000], of_b].concat());
        assert!(both.eq(decided));
    }
}
