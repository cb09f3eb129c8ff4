//! Tasks that end with whoever started them.

use actix::fut::{ready, wrap_future};
use actix::{Actor, ActorFutureExt, AsyncContext, Context};
use tokio::task::{JoinHandle, yield_now};

/// A task on the node's own thread. Dropping this ends it.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Starts `work` on the current `LocalSet`.
    pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has an actor do something in the next turn of the event loop: messages and sockets that are ready go before.
pub(crate) fn next_turn<A>(ctx: &mut Context<A>, work: impl FnOnce(&mut A, &mut Context<A>) + 'static)
where
    A: Actor<Context = Context<A>>,
{
    // As a task of its own: whatever else wakes the actor polls all that it waits for, and whoever yielded goes on when it is
    // polled once more, though nobody looked at the sockets.
    let turn = tokio::task::spawn_local(yield_now());
    ctx.spawn(wrap_future::<_, A>(turn).map(|_, actor, ctx| work(actor, ctx)));
}

/// Has an actor do something once for all messages that wait for it by now, when it has heard them.
pub(crate) fn once_heard<A>(ctx: &mut Context<A>, work: impl FnOnce(&mut A, &mut Context<A>) + 'static)
where
    A: Actor<Context = Context<A>>,
{
    // The context turns to what was spawned when the mailbox is empty, before anybody else has the thread.
    ctx.spawn(ready(()).map(|(), actor, ctx| work(actor, ctx)));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use actix::{Handler, Message};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Takes turn after turn, and is told something in each of them.
    struct Busy {
        turns: Rc<Cell<u32>>,
        socket: TcpStream,
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Told;

    impl Busy {
        fn turn(&mut self, ctx: &mut Context<Self>) {
            self.turns.set(self.turns.get() + 1);
            if self.turns.get() == 10 {
                self.socket.try_write(b"x").unwrap();
            }
            ctx.address().do_send(Told);
            next_turn(ctx, Self::turn);
        }
    }

    impl Actor for Busy {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Context<Self>) {
            self.turn(ctx);
        }
    }

    impl Handler<Told> for Busy {
        type Result = ();

        fn handle(&mut self, _: Told, _: &mut Context<Self>) {}
    }

    #[actix_rt::test]
    async fn a_socket_is_heard_between_two_turns_of_an_actor_that_is_told_something_in_each() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut here, _) = listener.accept().await.unwrap();
        // What was sent once is known to be writable.
        there.write_all(b"x").await.unwrap();
        here.read_u8().await.unwrap();
        let turns = Rc::new(Cell::new(0));
        Busy { turns: turns.clone(), socket: there }.start();
        here.read_u8().await.unwrap();
        assert!((10..=12).contains(&turns.get()), "heard after {} turns", turns.get());
    }
}
