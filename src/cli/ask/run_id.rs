//! Ids for the transfers of a file that a second run of the same file finds again.

use std::collections::BTreeMap;

use crate::triplets::Triplet;
use crate::types::{AccountId, Amount, Hasher, TransferId};

/// The ids of a run: from its own id, what a transfer says, and the how many-th it is of those that say the same. So lines
/// may be added, removed and moved between two runs, and what was sent keeps its id.
pub(super) fn transfer_ids(run: TransferId, transfers: &[Triplet]) -> Vec<TransferId> {
    // The time in the run's id stays in front: the bank forgets old ids first.
    let unix_ms = run.to_bytes()[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    let mut seen: BTreeMap<(AccountId, AccountId, Amount), u64> = BTreeMap::new();
    let id = |Triplet { from, to, amount }: &Triplet| {
        let number = seen.entry((*from, *to, *amount)).or_default();
        *number += 1;
        let mut hasher = Hasher::new("paxos-banking run 1");
        hasher.bytes(&run.to_bytes());
        for account in [from, to] {
            account.hash_into(&mut hasher);
        }
        let hash = hasher.number(amount.units()).number(*number).finish();
        let random = hash.as_bytes()[..16].iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        TransferId::from_parts(unix_ms, random)
    };
    transfers.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_in_a_file_keeps_its_id_and_no_two_share_one() {
        let run = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let read = |text| crate::triplets::parse(text, |_| true, "").unwrap();
        let before = transfer_ids(run, &read("(A, B, 4)\n(B, A, 4)\n(A, B, 4)"));
        let after = transfer_ids(run, &read("(C, A, 1)\n(A, B, 4)\n(A, B, 4)\n(B, A, 4)\n(A, B, 5)"));
        assert_eq!(after[1..4], [before[0], before[2], before[1]]);
        let mut all = after.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), after.len());
        assert!(after.iter().all(|id| id.to_string().starts_with("01ARZ3NDEK")), "{after:?}");
        assert_ne!(transfer_ids("01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap(), &read("(A, B, 4)"))[0], before[0]);
    }
}
