//! A test at the level of one actor: Persistence between a store and a stand-in that hears when it is durable. Every role
//! knows its neighbours as recipients of typed messages only, so that a test puts a stand-in wherever it likes.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use paxos_banking::actors::PersistenceActor;
use paxos_banking::actors::message::{Durable, Halt, Persist};
use paxos_banking::actors::persistence::PersistenceTiming;
use paxos_banking::effect::{Record, Urgency};
use paxos_banking::ledger::Genesis;
use paxos_banking::store::{Disk, Fault, RecoverOptions, StoreThread, recover};
use paxos_banking::types::{Amount, Ballot, Incarnation};
use tokio::sync::mpsc;

/// Hears what Persistence says.
struct StandIn(mpsc::UnboundedSender<u64>);

impl Actor for StandIn {
    type Context = Context<Self>;
}

impl Handler<Durable> for StandIn {
    type Result = ();

    fn handle(&mut self, Durable(ticket): Durable, _: &mut Context<Self>) {
        self.0.send(ticket).expect("the test listens");
    }
}

impl Handler<Halt> for StandIn {
    type Result = ();

    fn handle(&mut self, Halt(reason): Halt, _: &mut Context<Self>) {
        panic!("nothing is wrong with this store: {reason}");
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A store in memory, as a node finds it at its first start.
    let me = "A".parse()?;
    let genesis = Genesis::with_equal_openings([me], Amount::new(100))?;
    let options = RecoverOptions { me, genesis, token: 1, incarnation: Incarnation(7), ids_remembered_max: 1_000 };
    let disk = Disk::new();
    let mut store = disk.open();
    let journal = recover(&mut store, &options)?.journal;

    let (heard, mut durable) = mpsc::unbounded_channel();
    let stand_in = StandIn(heard).start();
    let ms = Duration::from_millis(1);
    let timing = PersistenceTiming { retry_min: ms, retry_max: ms, put_off_max: ms };
    let store = Box::new(StoreThread::spawn(Box::new(store))?);
    let persistence = PersistenceActor::new(store, journal, stand_in.clone().recipient(), timing).start();

    // The store does not say what became of the write (R13): it is repeated, and only then told as durable.
    disk.fail_next(Fault::UnknownDone);
    let writes = disk.writes();
    let promise = Record::Promise(Ballot { round: 1, node: me });
    let (records, reply_to) = (vec![promise], stand_in.recipient());
    persistence.send(Persist { records, ticket: 1, urgency: Urgency::Now, reply_to }).await?;
    assert_eq!(durable.recv().await, Some(1));
    assert_eq!(disk.writes(), writes + 1, "and it is there once");
    println!("one promise, durable once");
    Ok(())
}
