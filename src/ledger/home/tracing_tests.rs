use super::super::tests::{block, home, node, request, start, submit, ticket, traces};
use super::*;
use crate::ledger::home::{HomeLimits, HomeStart};
use crate::ledger::{Approval, Bank, Genesis, Memory, Opening, Reason, Request, Wait};
use crate::types::{Amount, Seq};

#[test]
fn an_id_is_traced_wherever_it_was_used() {
    let mut home = home();
    let _ = home.submit([(ticket(0), request(7, "B", 10)), (ticket(1), request(8, "B", 500))]);
    let _ = home.submit([(ticket(2), request(9, "nobody@B", 1))]);
    let verdicts = |id| traces(&home, id).into_iter().map(|trace| trace.verdict).collect::<Vec<_>>();
    let approval = Approval { origin: node("A"), seq: Seq(1), height: None };
    assert_eq!(verdicts(7), [Verdict::Approved(approval)]);
    for (id, amount) in [(7, 10), (8, 500)] {
        let trace = traces(&home, id).remove(0);
        assert_eq!((trace.to, trace.amount), ("B".parse().unwrap(), Amount::new(amount)));
    }
    assert_eq!(verdicts(8), [Verdict::Pending]);
    assert!(matches!(verdicts(9)[..], [Verdict::Refused(Reason::UnknownAccount { .. })]));
    assert_eq!(verdicts(10), []);
}

#[test]
fn what_is_decided_or_moves_while_many_accounts_are_looked_through_is_found_once() {
    let customer = |number: usize| -> AccountId { format!("c{number}@A").parse().unwrap() };
    let mut opening: BTreeMap<_, _> = (0..=TRACED_AT_ONCE).map(|number| (customer(number), Amount::new(1))).collect();
    opening.extend(["A", "B", "C"].map(|name| (name.parse().unwrap(), Amount::new(100))));
    let bank = Bank::new(&Genesis::new(["A", "B", "C"].map(node), opening).unwrap());
    let limits = HomeLimits { settle_at_entries: None, ..HomeLimits::default() };
    let (mut home, _) =
        Home::new(node("A"), 2, limits, HomeStart { bank, memory: Memory::new(10_000), ..start() }).unwrap();
    home.set_ready();
    // The last of all that use an id uses the one that is asked for.
    for number in 0..=TRACED_AT_ONCE {
        let id = if number == TRACED_AT_ONCE { 1 } else { 2 };
        submit(&mut home, Request { from: customer(number), ..request(id, "B", 1) });
    }
    let new: AccountId = "new@A".parse().unwrap();
    let _ = home.open(ticket(0), Opening { id: 1.into(), account: new, wait: Wait::Local });
    submit(&mut home, request(1, "B", 101));
    let mut tracing = home.trace(1.into());
    assert_eq!(home.go_on_tracing(&mut tracing), None, "there is one more account");
    // Meanwhile the opening is settled, so that the new account has its own memory, and what waited is refused.
    let settled = block(&home, None);
    let _ = home.apply(&settled);
    let _ = home.collection_done(1, Some(&Default::default()));
    let mut found = home.go_on_tracing(&mut tracing).unwrap();
    let known: Vec<_> = found.iter().map(|trace| trace.from).collect();
    assert_eq!(known, ["A".parse().unwrap(), customer(TRACED_AT_ONCE), new]);
    let refused = found.remove(0).verdict;
    assert!(matches!(refused, Verdict::Refused(Reason::InsufficientFunds { .. })), "{refused:?}");
    let height = |trace: &Trace| match &trace.verdict {
        Verdict::Approved(approval) => approval.height,
        verdict => panic!("{verdict:?}"),
    };
    assert_eq!(found.iter().map(height).collect::<Vec<_>>(), [Some(settled.height()); 2]);
}
