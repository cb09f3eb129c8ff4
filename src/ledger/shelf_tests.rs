use super::*;
use crate::entropy::Entropy;
use crate::ledger::Reason;

/// The accounts that exist in these tests; their places are not in account order.
fn existing() -> Existing {
    ["z@A", "A", "B"].map(|name| (name.parse().unwrap(), Amount::ZERO)).into_iter().collect()
}

/// The approvals up to a seq, in id order.
fn walked_bit_by_bit(
    shelf: &Shelf,
    account: AccountId,
    seq: Seq,
    entropy: &mut Entropy,
) -> Vec<(Seq, TransferId, Content)> {
    let (mut walked, mut approvals) = (Walked::default(), Vec::new());
    loop {
        let mut rows = 1 + usize::try_from(entropy.below(20)).unwrap();
        let show = |seq, id, content| approvals.push((seq, id, content));
        if shelf.walk(account, &existing(), &mut walked, seq, &mut rows, show) {
            break;
        }
        assert_eq!(rows, 0);
    }
    assert_eq!(walked, Walked::default(), "ready for the next shelf");
    approvals.sort_unstable_by_key(|(_, id, _)| *id);
    approvals
}

/// Remembers and forgets at random, and compares with one ordered map.
fn is_a_map_that_forgets_its_smallest_ids(accounts: &[&str]) {
    let accounts: Vec<AccountId> = accounts.iter().map(|account| account.parse().unwrap()).collect();
    let (of_one, existing) = (accounts.len() == 1, existing());
    // To an account that is not among those that exist nothing is approved; a shelf remembers that as well.
    let credited: [AccountId; 4] = ["z@A", "A", "B", "unknown@B"].map(|name| name.parse().unwrap());
    for seed in 0..40 {
        let mut entropy = Entropy::from_seed(seed);
        let (mut shelf, mut expected) = (Shelf::default(), BTreeMap::<_, Known>::new());
        for step in 0..300 {
            let account = accounts[usize::try_from(entropy.below(accounts.len() as u64)).unwrap()];
            // Mostly ascending, as clients' ids are.
            let id = if entropy.below(3) == 0 { entropy.below(80) } else { step };
            let key = (TransferId::from(u128::from(id)), account);
            if entropy.below(12) > 0 {
                let to = credited[usize::try_from(entropy.below(credited.len() as u64)).unwrap()];
                let content = Content::transfer(to, Amount::new(entropy.below(9)));
                let seq = if entropy.below(3) == 0 { entropy.below(100) } else { step };
                let outcome = match entropy.below(5) {
                    0 => Outcome::Refused(Box::new(Reason::AmountZero), seq),
                    _ => Outcome::Approved(Seq(seq)),
                };
                let place = existing.place(to).filter(|_| of_one);
                let before = shelf.insert(key, content, place, outcome.clone());
                assert_eq!(before, expected.insert(key, (content, outcome)).map(|(_, outcome)| outcome));
            } else {
                let count = usize::try_from(entropy.below(20)).unwrap();
                let watermark = Seq(entropy.below(300));
                let passes = |known: &Known| !matches!(known.1, Outcome::Approved(seq) if seq > watermark);
                let smallest = expected.iter().filter(|(_, known)| passes(known)).map(|(key, _)| *key);
                let smallest: Vec<_> = smallest.take(count).collect();
                let outcomes: Vec<_> = smallest.iter().map(|key| expected.remove(key).unwrap().1).collect();
                let forgotten = shelf.forget(count, watermark);
                let last = smallest.last().map(|(id, _)| *id);
                assert_eq!((forgotten.count, forgotten.last), (smallest.len(), last));
                let refused = |outcomes: &[Outcome]| -> Vec<Outcome> {
                    outcomes.iter().filter(|outcome| outcome.record().is_some()).cloned().collect()
                };
                assert_eq!(refused(&forgotten.others), refused(&outcomes), "whoever counts refusals is told");
                assert!(smallest.iter().all(|key| shelf.get(key, &existing).is_none()));
            }
            assert_eq!((shelf.len(), shelf.get(&key, &existing)), (expected.len(), expected.get(&key).cloned()));
            if of_one {
                let bound = Seq(entropy.below(300));
                let expected = expected.iter().map(|((id, _), known)| (*id, known));
                let expected = expected.filter_map(|(id, (content, outcome))| Some((outcome.seq()?, id, *content)));
                let expected: Vec<_> = expected.filter(|(seq, ..)| *seq <= bound).collect();
                assert_eq!(walked_bit_by_bit(&shelf, account, bound, &mut entropy), expected);
            }
        }
        assert!(expected.iter().all(|(key, known)| shelf.get(key, &existing).as_ref() == Some(known)));
    }
}

#[test]
fn r10_the_shelf_of_an_account_forgets_its_smallest_ids_first_and_none_of_the_local_log() {
    is_a_map_that_forgets_its_smallest_ids(&["A"]);
}

#[test]
fn r10_so_does_the_shelf_that_accounts_share() {
    is_a_map_that_forgets_its_smallest_ids(&["x@A", "y@A", "z@A"]);
}

#[test]
fn a_remembered_approval_takes_40_bytes_and_a_shelf_one_line_of_a_cache() {
    assert_eq!(size_of::<Approved>(), 40, "docs/performance.md tells it");
    assert_eq!(size_of::<Shelf>(), 64);
}

#[test]
fn ids_that_ascend_go_into_the_row_and_only_others_into_the_tree() {
    let account: AccountId = "A".parse().unwrap();
    let (content, place) = (Content::transfer(account, Amount::new(1)), existing().place(account));
    let mut shelf = Shelf::default();
    for id in [3, 5, 9, 4, 7] {
        shelf.insert((u128::from(id).into(), account), content, place, Outcome::Approved(Seq(id)));
    }
    let row: Vec<_> = shelf.recent.iter().map(Approved::id).collect();
    assert_eq!(row, [3, 5, 9].map(TransferId::from));
    assert!(shelf.others().keys().map(|(id, _)| *id).eq([4, 7].map(TransferId::from)));
    // Whoever looks for approvals up to a seq ends at the first in the row that is above it.
    shelf.insert((10.into(), account), content, place, Outcome::Approved(Seq(8)));
    assert_eq!((shelf.recent.len(), shelf.others().len()), (3, 3), "the seq is lower than that of id 9");
    // What is no approval, or credits an account that is not in the table, has no place in a row.
    shelf.insert((11.into(), account), content, place, Outcome::Refused(Box::new(Reason::AmountZero), 1));
    shelf.insert((12.into(), account), content, None, Outcome::Approved(Seq(10)));
    shelf.insert((13.into(), account), content, place, Outcome::Approved(Seq(11)));
    assert_eq!((shelf.recent.len(), shelf.others().len()), (4, 5));
}
