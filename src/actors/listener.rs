//! The Listener: accepts clients on their own port, a bounded number of them. Where all places are taken, the quietest
//! client gives way to the next, so that nobody who asks nothing locks out somebody who does. It waits on no one.

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message as ActixMessage};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tracing::debug;

use super::accept::{Seldom, accept};
use super::board::Halted;
use super::client_connection::{ClientConnection, Close, GiveWay, Gone, Pulse, Service};
use super::task::Task;
use crate::wire::client::{Failure, FailureCode, Reply, Told};
use crate::wire::frame::frame_of;

/// The most clients that are connected at once. Where the process may not open twice as many files, it is half of what it
/// may: a flood of clients leaves enough for peers and store.
pub const CLIENTS_MAX: usize = 512;

/// One place in so many is for those who have not said hello yet: for these, clients that are quiet give way.
const STRANGERS_ONE_IN: usize = 8;

/// A client that is connected.
struct Client {
    connection: Addr<ClientConnection>,
    pulse: Rc<Pulse>,
}

/// The Listener role.
pub struct ListenerActor {
    listener: Option<TcpListener>,
    service: Service,
    clients: BTreeMap<u64, Client>,
    places: usize,
    last: u64,
    accepting: Option<Task>,
    /// Hears when the last client is gone.
    drained: Option<oneshot::Sender<()>>,
}

impl ListenerActor {
    /// Accepts clients of `service` on `listener`.
    pub fn new(listener: TcpListener, service: Service) -> Self {
        let (clients, last, accepting, drained) = (BTreeMap::new(), 0, None, None);
        Self { listener: Some(listener), service, clients, places: places(files_max()), last, accepting, drained }
    }
}

impl ListenerActor {
    /// The quietest client gives way. False where all have something in the works.
    fn make_room(&mut self) -> bool {
        let signs =
            |(number, client): (&u64, &Client)| Some((*number, client.pulse.greeted(), client.pulse.quiet_since()?));
        let quietest = quietest(self.clients.iter().filter_map(signs), self.places);
        let Some(client) = quietest.and_then(|number| self.clients.remove(&number)) else { return false };
        client.connection.do_send(GiveWay);
        true
    }
}

/// Of the quiet clients, each with whether it has said hello, and since when it is quiet: the one that gives way. Those
/// who say no hello have a share of the places, which they lose first: long enough for whoever says it at once.
fn quietest<T: Ord>(quiet: impl Iterator<Item = (u64, bool, T)>, places: usize) -> Option<u64> {
    let (mut clients, mut strangers) = (Vec::new(), Vec::new());
    for (number, greeted, since) in quiet {
        if greeted { &mut clients } else { &mut strangers }.push((since, number));
    }
    let (client, stranger) = (clients.into_iter().min(), strangers.iter().min().map(|(_, number)| *number));
    match client {
        Some((_, client)) if strangers.len() <= places / STRANGERS_ONE_IN => Some(client),
        client => stranger.or(client.map(|(_, client)| client)),
    }
}

/// Somebody connected.
#[derive(ActixMessage)]
#[rtype(result = "()")]
struct Accepted(TcpStream);

/// Take nothing more, answer what is open, close, then say so.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Drain(pub oneshot::Sender<()>);

async fn serve(listener: TcpListener, actor: Addr<ListenerActor>) {
    let mut lines = Seldom::default();
    loop {
        let (stream, _) = accept(&listener, "client", &mut lines).await;
        // Waiting for it to be taken lets the system's own queue push back.
        if actor.send(Accepted(stream)).await.is_err() {
            return;
        }
    }
}

/// How many clients may be connected, of the files that this process may open.
fn places(files: Option<u64>) -> usize {
    let half = files.and_then(|files| usize::try_from(files / 2).ok());
    half.map_or(CLIENTS_MAX, |half| half.clamp(1, CLIENTS_MAX))
}

#[cfg(unix)]
fn files_max() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

#[cfg(not(unix))]
fn files_max() -> Option<u64> {
    None
}

impl Actor for ListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(super::message::ROLE_MAILBOX);
        if let Some(listener) = self.listener.take() {
            self.accepting = Some(Task::spawn(serve(listener, ctx.address())));
        }
    }
}

impl Handler<Accepted> for ListenerActor {
    type Result = ();

    fn handle(&mut self, Accepted(stream): Accepted, ctx: &mut Context<Self>) {
        // One that was accepted just before a Drain would not hear of it.
        if self.accepting.is_none() {
            return;
        }
        drop(stream.set_nodelay(true));
        if self.clients.len() >= self.places && !self.make_room() {
            debug!("a client is turned away: too many are connected");
            let message = format!("{} clients wait for answers, which is all that this node takes", self.places);
            let told = Told::Failed(Failure { code: FailureCode::Busy, message });
            // Little enough for the system to take it at once.
            drop(stream.try_write(&frame_of(&Reply { tag: 0, told })));
            return;
        }
        self.last += 1;
        let gone = ctx.address().recipient();
        let connection = ClientConnection::new(self.service.clone(), stream, self.last, gone);
        let pulse = connection.pulse();
        self.clients.insert(self.last, Client { connection: connection.start(), pulse });
    }
}

impl Handler<Gone> for ListenerActor {
    type Result = ();

    fn handle(&mut self, Gone(number): Gone, ctx: &mut Context<Self>) {
        self.clients.remove(&number);
        if self.clients.is_empty()
            && let Some(drained) = self.drained.take()
        {
            // Whoever waited longer than it wanted to is gone.
            let _ = drained.send(());
            ctx.stop();
        }
    }
}

impl Handler<Halted> for ListenerActor {
    type Result = ();

    fn handle(&mut self, halted: Halted, _: &mut Context<Self>) {
        self.clients.values().for_each(|client| client.connection.do_send(halted.clone()));
    }
}

impl Handler<Drain> for ListenerActor {
    type Result = ();

    fn handle(&mut self, Drain(drained): Drain, ctx: &mut Context<Self>) {
        self.accepting = None;
        self.drained = Some(drained);
        self.clients.values().for_each(|client| client.connection.do_send(Close));
        // Perhaps there is none.
        ctx.notify(Gone(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_no_more_than_half_of_the_files_that_the_process_may_open() {
        assert_eq!([None, Some(u64::MAX), Some(1 << 20), Some(1_024)].map(places), [CLIENTS_MAX; 4]);
        assert_eq!([Some(256), Some(64), Some(0)].map(places), [128, 32, 1]);
    }

    #[test]
    fn strangers_beyond_their_share_give_way_before_the_quietest_client() {
        let client = |number| (number, true, number);
        let stranger = |number| (number, false, number);
        let places = 4 * STRANGERS_ONE_IN;
        let few = [client(1), stranger(2), stranger(3), stranger(4), client(5), stranger(6)];
        assert_eq!(quietest(few.into_iter(), places), Some(1), "as many strangers as they have places for");
        let many = few.into_iter().chain([stranger(7)]);
        assert_eq!(quietest(many, places), Some(2));
        assert_eq!(quietest([stranger(8), stranger(9)].into_iter(), places), Some(8), "nobody else is quiet");
        assert_eq!(quietest(std::iter::empty::<(u64, bool, u64)>(), places), None);
    }
}
