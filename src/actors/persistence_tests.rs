use std::cell::RefCell;
use std::rc::Rc;

use actix::Addr;
use tokio::sync::oneshot;

use super::super::message::BlocksRead;
use super::super::probe::{Probes, Seen, ballot, bank, chain, node, recovered};
use super::*;
use crate::effect::{Record, Urgency};
use crate::ledger::{Block, Checkpoint, Memory, SettledAt};
use crate::paxos::{BlocksRequest, SentBlock};
use crate::store::{Disk, RecoverOptions, Recovered, Store, Stream, Write};
use crate::types::{Epoch, Height, Incarnation, Seq};

const RETRY: Duration = Duration::from_secs(10);
const PUT_OFF: Duration = Duration::from_millis(10);
const TIMING: PersistenceTiming =
    PersistenceTiming { retry_min: RETRY, retry_max: Duration::from_secs(40), put_off_max: PUT_OFF };
const HOURS: Duration = Duration::from_secs(10_000);
const SLACK: Duration = Duration::from_millis(100);

/// A call that the test ends once, with its result.
type Open<T> = Option<oneshot::Sender<Result<T, StoreError>>>;

#[derive(Default)]
struct Calls {
    writes: Vec<(Arc<Write>, Open<()>)>,
    reads: Vec<(BlocksRequest, Open<Vec<Arc<Block>>>)>,
    /// How a look at the store ends.
    look: Option<StoreError>,
}

/// A store whose calls end when and how the test says.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<Calls>>);

impl Script {
    /// The writes that it got so far.
    fn writes(&self) -> Vec<Arc<Write>> {
        self.0.borrow().writes.iter().map(|(write, _)| write.clone()).collect()
    }

    fn reads(&self) -> Vec<BlocksRequest> {
        self.0.borrow().reads.iter().map(|(request, _)| *request).collect()
    }

    fn end_write(&self, result: Result<(), StoreError>) {
        let reply_to = self.0.borrow_mut().writes.last_mut().and_then(|(_, reply_to)| reply_to.take());
        reply_to.expect("a write under way").send(result).expect("Persistence waits for it");
    }

    fn end_read(&self, blocks: BlocksRead) {
        let reply_to = self.0.borrow_mut().reads.last_mut().and_then(|(_, reply_to)| reply_to.take());
        reply_to.expect("a read under way").send(blocks).expect("Persistence waits for it");
    }
}

impl StoreHost for Script {
    fn recover(&mut self, _: RecoverOptions) -> StoreFuture<Recovered> {
        unreachable!("Persistence gets a store that was recovered")
    }

    fn write(&mut self, plan: Arc<Plan>) -> StoreFuture<()> {
        let (write, (reply_to, reply)) = (Arc::new(plan.encode()), oneshot::channel());
        self.0.borrow_mut().writes.push((write, Some(reply_to)));
        Box::pin(async { reply.await.expect("the test ends every call") })
    }

    fn check_epoch(&mut self, _: Epoch) -> StoreFuture<()> {
        let look = self.0.borrow().look.clone();
        Box::pin(async move { look.map_or(Ok(()), Err) })
    }

    fn read_blocks(&mut self, request: BlocksRequest, _: usize) -> StoreFuture<Vec<Arc<Block>>> {
        let (reply_to, reply) = oneshot::channel();
        self.0.borrow_mut().reads.push((request, Some(reply_to)));
        Box::pin(async { reply.await.expect("the test ends every call") })
    }

    fn read_stored(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<SentBlock>> {
        let read = self.read_blocks(request, bytes_max);
        Box::pin(async { Ok(read.await?.into_iter().map(SentBlock::Known).collect()) })
    }
}

struct Fixture {
    probes: Probes,
    script: Script,
    disk: Disk,
    persistence: Addr<PersistenceActor>,
}

impl Fixture {
    fn start() -> Self {
        let (probes, script, disk) = (Probes::start(), Script::default(), Disk::new());
        let Recovered { journal, .. } = recovered(&disk);
        let persistence = PersistenceActor::new(Box::new(script.clone()), journal, probes.role(), TIMING).start();
        Self { probes, script, disk, persistence }
    }

    /// A role that has a mailbox of its own asks for a write.
    fn persist(&self, role: &str, ticket: u64, record: Record) {
        self.persistence.do_send(Persist {
            records: vec![record],
            ticket,
            urgency: Urgency::Now,
            reply_to: self.probes.peer(role),
        });
    }

    async fn trouble(&self) -> Option<String> {
        let (reply_to, view) = oneshot::channel();
        self.persistence.do_send(ReadHead(reply_to));
        view.await.unwrap().trouble
    }

    fn read(&self, to: u64) -> oneshot::Receiver<BlocksRead> {
        let (reply_to, reply) = oneshot::channel();
        let request = BlocksRequest { from: Height(1), to: Height(to) };
        let reader = BlocksReader::Blocks(reply_to);
        self.persistence.do_send(ReadBlocks { request, bytes_max: 1_000, reader });
        reply
    }
}

fn promise(round: u64) -> Record {
    Record::Promise(ballot(round, "B"))
}

/// One of so many parts, of which a write takes one.
fn checkpoint(parts: usize) -> Record {
    let (bank, memory, settled_at) = (bank(&[]), Memory::new(100), SettledAt::default());
    let part = Checkpoint::parts(&bank, &memory, &settled_at, settled_at.last_up_to(Seq(0)), 100).remove(0);
    Record::Checkpoint { parts: vec![part; parts], complete: true }
}

fn peer() -> Record {
    Record::Peer { node: node("B"), incarnation: Incarnation(7) }
}

fn unknown() -> Result<(), StoreError> {
    Err(StoreError::Unknown("the connection was lost".to_owned()))
}

#[actix_rt::test]
async fn r3_nothing_is_acknowledged_before_the_store_has_written() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.pass(HOURS).await;
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
}

#[actix_rt::test]
async fn what_arrives_while_a_write_is_under_way_goes_out_as_one_write() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    fixture.persist("C", 8, Record::Admitted);
    fixture.persist("B", 2, promise(2));
    fixture.persist("C", 9, peer());
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 1, "one write at a time");
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    assert_eq!(fixture.script.writes().len(), 2);
    fixture.script.end_write(Ok(()));
    // Each role hears of its own writes, in its order: B of 2, C of 8 and 9.
    fixture.probes.see([2, 8, 9].map(|ticket| Durable(ticket).into())).await;
    for write in fixture.script.writes() {
        fixture.disk.open().write(&write).unwrap();
    }
    let Recovered { promise, admitted, peers, .. } = recovered(&fixture.disk);
    assert_eq!((promise, admitted, peers.len()), (Some(ballot(2, "B")), true, 1), "all of it is in the two writes");
}

#[actix_rt::test]
async fn r13_a_write_of_unknown_fate_is_repeated_identical_and_acknowledged_once_it_is_done() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(unknown());
    // What comes meanwhile must not be grouped into the repetition.
    fixture.persist("C", 8, Record::Admitted);
    fixture.probes.pass(RETRY - SLACK).await;
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 1, "it waits before it repeats");
    fixture.probes.pass(SLACK).await;
    fixture.probes.see_nothing().await;
    let writes = fixture.script.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[0], writes[1]);
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(8).into()]).await;
    assert_eq!(fixture.script.writes()[2].number, writes[1].number + 1);
}

#[actix_rt::test]
async fn r13_repetitions_back_off_up_to_the_bound_and_each_is_the_same_write() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    for (attempts, delay) in (1..).zip([RETRY, RETRY * 2, RETRY * 4, RETRY * 4]) {
        fixture.script.end_write(Err(StoreError::NotWritten("no space is left".to_owned())));
        fixture.probes.pass(delay - SLACK).await;
        assert_eq!(fixture.script.writes().len(), attempts);
        fixture.probes.pass(SLACK).await;
        fixture.probes.see_nothing().await;
        assert_eq!(fixture.script.writes().len(), attempts + 1);
    }
    let writes = fixture.script.writes();
    assert!(writes.iter().all(|write| *write == writes[0]), "{writes:?}");
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
}

#[actix_rt::test]
async fn r13_a_failure_that_repeating_does_not_mend_halts_and_nothing_is_ever_acknowledged() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    fixture.persist("C", 8, Record::Admitted);
    fixture.script.end_write(Err(StoreError::Fenced));
    let reason = HaltReason::Store(StoreError::Fenced.to_string());
    fixture.probes.see([Halt(reason).into()]).await;
    fixture.persist("B", 2, promise(2));
    fixture.probes.pass(HOURS).await;
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 1, "the store is left alone");
}

#[actix_rt::test]
async fn r13_a_process_that_was_replaced_stops_though_it_has_nothing_to_write() {
    let fixture = Fixture::start();
    fixture.probes.pass(HOURS).await;
    fixture.probes.see_nothing().await;
    fixture.script.0.borrow_mut().look = Some(StoreError::Fenced);
    fixture.probes.pass(HOURS).await;
    fixture.probes.see([Halt(HaltReason::Store(StoreError::Fenced.to_string())).into()]).await;
    assert_eq!(fixture.script.writes().len(), 0);
}

#[actix_rt::test]
async fn a_store_that_does_not_answer_a_look_is_told_of_until_it_does() {
    let fixture = Fixture::start();
    fixture.probes.pass(LOOK).await;
    assert_eq!(fixture.trouble().await, None);
    fixture.script.0.borrow_mut().look = Some(StoreError::NotWritten("redis://x: Connection refused".to_owned()));
    fixture.probes.pass(LOOK).await;
    let told = fixture.trouble().await.unwrap();
    assert!(told.starts_with("this node cannot write to its store (redis://x: Connection refused): "), "{told}");
    fixture.script.0.borrow_mut().look = None;
    // A write that fails keeps its own trouble, whatever a look would find.
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Err(StoreError::NotWritten("no space is left".to_owned())));
    fixture.probes.pass(LOOK * 2).await;
    assert!(fixture.trouble().await.unwrap().contains("(no space is left)"));
    fixture.probes.pass(RETRY).await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    assert_eq!(fixture.trouble().await, None);
    fixture.script.0.borrow_mut().look = Some(StoreError::Unread("gone".to_owned()));
    fixture.probes.pass(LOOK).await;
    assert!(fixture.trouble().await.is_some());
    fixture.script.0.borrow_mut().look = None;
    fixture.probes.pass(LOOK).await;
    assert_eq!(fixture.trouble().await, None, "a look is enough to see that it is back");
}

#[actix_rt::test]
async fn a_read_waits_for_the_write_under_way_and_for_those_that_wait() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    let mut reply = fixture.read(2);
    fixture.persist("B", 2, promise(2));
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.reads(), []);
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    assert_eq!((fixture.script.writes().len(), fixture.script.reads().len()), (2, 0));
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(2).into()]).await;
    let nothing = BlocksRequest { from: Height(1), to: Height(0) };
    assert_eq!(fixture.script.reads(), [nothing], "beyond the durable chain there is nothing to find missing");
    assert!(reply.try_recv().is_err(), "not before the store has answered");
    fixture.script.end_read(Ok(chain(2)));
    fixture.probes.see_nothing().await;
    assert_eq!(reply.try_recv().unwrap(), Ok(chain(2)));
    // Who sends them on gets as many, in turn.
    let (reader, mut stored) = oneshot::channel();
    let request = BlocksRequest { from: Height(1), to: Height(2) };
    fixture.persistence.do_send(ReadBlocks { request, bytes_max: 1_000, reader: BlocksReader::Stored(reader) });
    fixture.probes.see_nothing().await;
    fixture.script.end_read(Ok(chain(2)));
    fixture.probes.see_nothing().await;
    let sent = chain(2).into_iter().map(SentBlock::Known).collect();
    assert_eq!(stored.try_recv().unwrap(), Ok(sent));
}

#[actix_rt::test]
async fn writes_that_never_cease_do_not_starve_a_reader() {
    let fixture = Fixture::start();
    fixture.persist("B", 0, promise(1));
    fixture.probes.see_nothing().await;
    let _reply = fixture.read(1);
    let mut tickets = 0;
    while fixture.script.reads().is_empty() {
        tickets += 1;
        fixture.persist("B", tickets, promise(tickets + 1));
        fixture.script.end_write(Ok(()));
        fixture.probes.see([Durable(tickets - 1).into()]).await;
        assert!(tickets < 50, "the reader is never served");
    }
    fixture.script.end_read(Ok(chain(1)));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(tickets).into()]).await;
}

#[actix_rt::test]
async fn a_write_waits_for_the_read_under_way() {
    let fixture = Fixture::start();
    let _reply = fixture.read(1);
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 0);
    fixture.script.end_read(Ok(chain(1)));
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 1);
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
}

#[actix_rt::test]
async fn r13_a_damaged_block_halts_and_its_reader_hears_why() {
    let fixture = Fixture::start();
    let mut reply = fixture.read(1);
    fixture.probes.see_nothing().await;
    let damaged = StoreError::Corrupt { key: "chain/1".to_owned(), what: "its checksum does not fit".to_owned() };
    fixture.script.end_read(Err(damaged.clone()));
    let seen = fixture.probes.seen().await;
    let [Seen::Halt(Halt(reason))] = &seen[..] else { panic!("{seen:?}") };
    assert!(reason.to_string().contains("chain/1"), "{reason}");
    assert_eq!(reply.try_recv().unwrap(), Err(damaged));
    // Nothing is written into a store that is known to be damaged.
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    assert_eq!(fixture.script.writes().len(), 0);
}

#[actix_rt::test]
async fn a_read_that_failed_for_now_tells_its_reader_and_halts_nothing() {
    let fixture = Fixture::start();
    let mut reply = fixture.read(1);
    fixture.probes.see_nothing().await;
    fixture.script.end_read(Err(StoreError::Unread("busy".to_owned())));
    fixture.persist("B", 1, promise(1));
    fixture.probes.see_nothing().await;
    assert!(reply.try_recv().unwrap().is_err());
    assert_eq!(fixture.script.writes().len(), 1);
}

#[actix_rt::test]
async fn readers_beyond_the_bound_are_turned_away() {
    let fixture = Fixture::start();
    let mut replies: Vec<_> = (0..READS_MAX + 2).map(|_| fixture.read(1)).collect();
    fixture.probes.see_nothing().await;
    let turned_away = |reply: &mut oneshot::Receiver<_>| reply.try_recv() == Err(oneshot::error::TryRecvError::Closed);
    let turned_away: Vec<_> = replies.iter_mut().map(turned_away).collect();
    // One is under way, as many as the bound wait.
    assert_eq!(turned_away.iter().filter(|away| **away).count(), 1);
    assert!(turned_away[READS_MAX + 1]);
}

#[actix_rt::test]
async fn the_parts_of_a_checkpoint_are_written_though_nobody_writes_anything_else_and_readers_go_first() {
    let fixture = Fixture::start();
    fixture.persist("B", 1, checkpoint(3));
    fixture.probes.see_nothing().await;
    let _reply = fixture.read(1);
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see([Durable(1).into()]).await;
    assert_eq!((fixture.script.writes().len(), fixture.script.reads().len()), (1, 1), "a reader waits");
    fixture.script.end_read(Ok(Vec::new()));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.see_nothing().await;
    fixture.script.end_write(Ok(()));
    fixture.probes.pass(HOURS).await;
    fixture.probes.see_nothing().await;
    let streams = |write: &Arc<Write>| write.appends.iter().map(|append| append.stream).collect::<Vec<_>>();
    assert_eq!(fixture.script.writes().iter().map(streams).collect::<Vec<_>>(), vec![vec![Stream::State]; 3]);
}

#[path = "persistence_put_off_tests.rs"]
mod put_off;

#[path = "persistence_shared_tests.rs"]
mod shared;
