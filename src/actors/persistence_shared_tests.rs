//! On a busy node who is ready to ask shares the write, and who is alone waits for nobody.

use super::*;
use crate::actors::probe::transfer;
use crate::ledger::{Reason, Refusal};
use crate::types::Amount;

impl Fixture {
    /// B asks for a write, and C is ready to, as a socket is that can be read.
    fn both_ask(&self, ticket: u64) {
        self.persist("B", ticket, promise(ticket));
        let (persistence, reply_to) = (self.persistence.clone(), self.probes.peer("C"));
        let asked = Persist { records: vec![promise(ticket + 1)], ticket: ticket + 1, urgency: Urgency::Now, reply_to };
        actix_rt::spawn(async move { persistence.do_send(asked) });
    }

    /// They share the next write, or B has it for itself.
    async fn see_whether_both_share(&self, ticket: u64, shared: bool) {
        self.both_ask(ticket);
        self.probes.see_nothing().await;
        self.script.end_write(Ok(()));
        if shared {
            return self.probes.see([Durable(ticket).into(), Durable(ticket + 1).into()]).await;
        }
        self.probes.see([Durable(ticket).into()]).await;
        self.script.end_write(Ok(()));
        self.probes.see([Durable(ticket + 1).into()]).await;
    }
}

#[actix_rt::test]
async fn a_write_is_shared_where_the_last_one_was_asked_for_by_two() {
    let fixture = Fixture::start();
    fixture.see_whether_both_share(1, false).await;
    fixture.persist("B", 3, promise(3));
    fixture.persist("C", 4, promise(4));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(3).into()]).await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(4).into()]).await;
    fixture.see_whether_both_share(5, false).await;
    // While one is under way two ask for the next.
    fixture.persist("B", 7, promise(7));
    fixture.probes.see_nothing().await;
    fixture.persist("B", 8, promise(8));
    fixture.persist("C", 9, promise(9));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(7).into()]).await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(8).into(), Durable(9).into()]).await;
    fixture.see_whether_both_share(10, true).await;
}

#[actix_rt::test]
async fn one_request_for_what_many_asked_for_counts_as_theirs() {
    let fixture = Fixture::start();
    let log = |ids: std::ops::RangeInclusive<u64>| Record::Log {
        first: Seq(*ids.start()),
        operations: ids.map(|id| transfer(id.into(), "A", "B", 1)).collect(),
    };
    let refused = |number, count: u128| {
        let (from, to, amount) = ("A".parse().unwrap(), "B".parse().unwrap(), Amount::ZERO);
        let refusal = |id: u128| Refusal { id: id.into(), from, to, amount, reason: Reason::AmountZero };
        Record::Refused { number, refusals: (1..=count).map(refusal).collect() }
    };
    let records = [(log(1..=1), false), (log(2..=3), true), (refused(1, 1), false), (refused(2, 2), true)];
    for (ticket, (record, shared)) in (1..).step_by(3).zip(records) {
        fixture.persist("B", ticket, record);
        fixture.probes.see_nothing().await;
        fixture.script.end_write(Ok(()));
        fixture.probes.see([Durable(ticket).into()]).await;
        fixture.see_whether_both_share(ticket + 1, shared).await;
    }
}
