//! The Listener: accepts clients on their own port, a bounded number of them. It waits on no one.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message as ActixMessage};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::board::Halted;
use super::client_connection::{ClientConnection, Close, Gone, Service};
use super::task::Task;
use crate::wire::client::{Failure, FailureCode, Reply, Told};
use crate::wire::frame::frame_of;

/// The most clients that are connected at once: half of what many systems let a process open, so that a flood of them
/// leaves enough for peers and store.
pub const CLIENTS_MAX: usize = 512;

/// After the system could not accept a connection: it is out of something, and asking at once would not help.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The Listener role.
pub struct ListenerActor {
    listener: Option<TcpListener>,
    service: Service,
    clients: BTreeMap<u64, Addr<ClientConnection>>,
    last: u64,
    accepting: Option<Task>,
    /// Hears when the last client is gone.
    drained: Option<oneshot::Sender<()>>,
}

impl ListenerActor {
    /// Accepts clients of `service` on `listener`.
    pub fn new(listener: TcpListener, service: Service) -> Self {
        let (clients, last, accepting, drained) = (BTreeMap::new(), 0, None, None);
        Self { listener: Some(listener), service, clients, last, accepting, drained }
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

async fn accept(listener: TcpListener, actor: Addr<ListenerActor>) {
    loop {
        match listener.accept().await {
            // Waiting for it to be taken lets the system's own queue push back.
            Ok((stream, _)) => drop(actor.send(Accepted(stream)).await),
            Err(error) => {
                warn!(%error, "a client's connection cannot be accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl Actor for ListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(super::message::ROLE_MAILBOX);
        if let Some(listener) = self.listener.take() {
            self.accepting = Some(Task::spawn(accept(listener, ctx.address())));
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
        if self.clients.len() >= CLIENTS_MAX {
            debug!("a client is turned away: too many are connected");
            let message = format!("{CLIENTS_MAX} clients are connected, which is all that this node takes");
            let told = Told::Failed(Failure { code: FailureCode::Busy, message });
            // Little enough for the system to take it at once.
            drop(stream.try_write(&frame_of(&Reply { tag: 0, told })));
            return;
        }
        self.last += 1;
        let gone = ctx.address().recipient();
        let client = ClientConnection::new(self.service.clone(), stream, self.last, gone).start();
        self.clients.insert(self.last, client);
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
        self.clients.values().for_each(|client| client.do_send(halted.clone()));
    }
}

impl Handler<Drain> for ListenerActor {
    type Result = ();

    fn handle(&mut self, Drain(drained): Drain, ctx: &mut Context<Self>) {
        self.accepting = None;
        self.drained = Some(drained);
        self.clients.values().for_each(|client| client.do_send(Close));
        // Perhaps there is none.
        ctx.notify(Gone(0));
    }
}
