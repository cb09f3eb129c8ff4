//! The calls of a load, made by hand.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::codec;
use crate::entropy::Entropy;
use crate::ledger::Wait;
use crate::types::{AccountId, Amount, TransferId};
use crate::wire::client::{Ask, Call, TRANSFERS_MAX, Transfer};

/// How long a node may take for a call before it says what there is so far.
const WITHIN: Duration = Duration::from_secs(60);

/// What to ask for.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// Transfers per call.
    pub(super) batch: usize,
    /// Calls under way at once, over all sockets.
    pub(super) callers: usize,
    pub(super) wait: Wait,
    /// Accounts that credits are drawn from; debits from the first `debits` of them, all of the one home.
    pub(super) accounts: Rc<Vec<AccountId>>,
    pub(super) debits: usize,
    /// A few accounts have most of the transfers, instead of all the same.
    pub(super) skewed: bool,
    /// How many more calls to make.
    pub(super) calls_left: Rc<Cell<u64>>,
}

/// Ids that no other run makes. Those of all sockets ascend together, as a clock's would: an account forgets its smallest
/// ids, and what is smaller still has expired.
#[derive(Clone)]
pub(super) struct Ids(Rc<Cell<u128>>);

impl Ids {
    #[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a client's ids carry its wall clock")]
    pub(super) fn new(entropy: &mut Entropy) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let random = u128::from(entropy.below(1 << 30)) << 50;
        Self(Rc::new(Cell::new((now.as_millis() << 80) | random)))
    }

    /// The first of so many.
    fn take(&self, count: usize) -> u128 {
        self.0.replace(self.0.get() + count as u128)
    }
}

/// Makes calls of transfers, byte by byte: all of it but ids, accounts and the tag is the same each time.
pub(super) struct Frames {
    batch: usize,
    pub(super) wait: Wait,
    accounts: Rc<Vec<AccountId>>,
    encoded: Vec<Vec<u8>>,
    debits: usize,
    skewed: bool,
    ids: Ids,
    entropy: Entropy,
}

impl Frames {
    pub(super) fn new(demand: &Demand, ids: Ids, entropy: Entropy) -> Self {
        let encode = |account: &AccountId| {
            let mut bytes = Vec::new();
            codec::encode_into(&mut bytes, account);
            bytes
        };
        Self {
            batch: demand.batch.min(TRANSFERS_MAX),
            wait: demand.wait,
            encoded: demand.accounts.iter().map(encode).collect(),
            accounts: demand.accounts.clone(),
            debits: demand.debits,
            skewed: demand.skewed,
            ids,
            entropy,
        }
    }

    /// Appends one call, and returns the first of its ids.
    pub(super) fn append(&mut self, tag: u64, out: &mut Vec<u8>) -> u128 {
        let first_id = self.ids.take(self.batch);
        let within_ms = u64::try_from(WITHIN.as_millis()).unwrap_or(u64::MAX);
        let start = out.len();
        out.extend([0; 4]);
        codec::encode_into(
            out,
            &Call { tag, ask: Ask::Transfers { wait: self.wait, within_ms, transfers: Vec::new() } },
        );
        // The list of transfers is the last thing in it: an empty array, in place of which a longer one goes.
        let empty = out.pop();
        debug_assert_eq!(empty, Some(0x90), "the last byte is an array of nothing");
        out.push(0xdd);
        out.extend(u32::try_from(self.batch).unwrap_or(u32::MAX).to_be_bytes());
        let mut one = Vec::new();
        codec::encode_into(&mut one, &Transfer(0.into(), self.accounts[0], self.accounts[0], Amount::new(1)));
        let id_header = &one[..one.len() - 16 - 2 * self.encoded[0].len() - 1];
        for index in 0..self.batch {
            let (from, to) = self.two_accounts();
            out.extend(id_header);
            out.extend(TransferId::from(first_id + index as u128).to_bytes());
            out.extend(&self.encoded[from]);
            out.extend(&self.encoded[to]);
            out.push(1);
        }
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        first_id
    }

    fn two_accounts(&mut self) -> (usize, usize) {
        let count = self.encoded.len();
        let (from, to) = (self.place(self.debits), self.place(count));
        (from, if from == to { (to + 1) % count } else { to })
    }

    /// One of the first `count` accounts.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    fn place(&mut self, count: usize) -> usize {
        if !self.skewed {
            return self.entropy.below(count as u64) as usize;
        }
        // The first hundredth of the accounts has 32 % of the transfers.
        let uniform = self.entropy.below(1 << 52) as f64 / (1u64 << 52) as f64;
        ((uniform.powi(4) * count as f64) as usize).min(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_made_by_hand_are_calls_as_the_library_makes_them() {
        let accounts = ["a@A", "b@A", "a-longer-name@B"].map(|name| name.parse().unwrap());
        let demand = Demand {
            batch: 20,
            callers: 1,
            wait: Wait::Settled,
            accounts: Rc::new(accounts.into()),
            debits: 2,
            skewed: true,
            calls_left: Rc::default(),
        };
        let mut frames = Frames::new(&demand, Ids(Rc::new(Cell::new(7 << 80))), Entropy::from_seed(1));
        let mut bytes = Vec::new();
        assert_eq!(frames.append(3, &mut bytes), 7 << 80);
        let call: Call = codec::decode(&bytes[4..]).unwrap();
        let Ask::Transfers { wait: Wait::Settled, within_ms: 60_000, transfers } = call.ask else { panic!() };
        assert_eq!(transfers.len(), 20);
        for (index, Transfer(id, from, to, amount)) in transfers.into_iter().enumerate() {
            assert_eq!((id, amount), (((7 << 80) + index as u128).into(), Amount::new(1)));
            assert!(from != to && demand.accounts[..2].contains(&from) && demand.accounts.contains(&to));
        }
    }
}
