//! What nobody waits for is written along with what somebody does.

use super::*;

impl Fixture {
    /// B asks for a write that can wait.
    fn put_off(&self, ticket: u64, record: Record) {
        let (records, reply_to) = (vec![record], self.probes.peer("B"));
        self.persistence.do_send(Persist { records, ticket, urgency: Urgency::Later, reply_to });
    }
}

#[actix_rt::test]
async fn what_can_wait_goes_along_with_what_cannot_in_the_order_in_which_both_came_or_by_itself_in_the_end() {
    let fixture = Fixture::start();
    fixture.put_off(1, promise(1));
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 0);
    fixture.persist("C", 1, promise(2));
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 1);
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into(), Durable(1).into()]).await;
    // A lower promise behind a higher one would be refused.
    fixture.disk.open().write(&fixture.script.writes()[0]).unwrap();
    fixture.put_off(2, promise(3));
    fixture.probes.pass(PUT_OFF).await;
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 2);
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(2).into()]).await;
    fixture.probes.pass(HOURS).await;
    assert_eq!(fixture.script.writes().len(), 2);
}

#[actix_rt::test]
async fn on_a_slow_store_what_can_wait_does_so_for_some_writes_and_is_not_in_the_way_of_the_next() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.pass(PUT_OFF).await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    fixture.put_off(2, promise(2));
    fixture.probes.pass(2 * PUT_OFF).await;
    assert_eq!(fixture.script.writes().len(), 1);
    fixture.probes.pass(3 * PUT_OFF).await;
    assert_eq!(fixture.script.writes().len(), 2);
}

#[actix_rt::test]
async fn an_orderly_end_writes_what_could_wait() {
    let fixture = Fixture::start();
    fixture.put_off(1, promise(1));
    let (closed, is_closed) = oneshot::channel();
    fixture.persistence.do_send(CloseStore(closed));
    is_closed.await.unwrap();
    assert_eq!(fixture.script.writes().len(), 1);
}

#[actix_rt::test]
async fn who_only_wants_to_hear_of_what_it_handed_in_before_costs_no_write() {
    let fixture = Fixture::start();
    let hurry = |ticket| {
        let (records, reply_to) = (Vec::new(), fixture.probes.peer("B"));
        fixture.persistence.do_send(Persist { records, ticket, urgency: Urgency::Now, reply_to });
    };
    hurry(1);
    fixture.probes.see([Durable(1).into()]).await;
    fixture.persist("B", 2, promise(1));
    hurry(3);
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(2).into(), Durable(3).into()]).await;
    assert_eq!(fixture.script.writes().len(), 1);
}

#[actix_rt::test]
async fn the_next_part_of_a_checkpoint_takes_along_what_can_wait() {
    let fixture = Fixture::start();
    fixture.persist("C", 1, checkpoint(2));
    fixture.probes.see_nothing().await;
    fixture.put_off(1, promise(1));
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    assert_eq!(fixture.script.writes().len(), 2);
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
}
