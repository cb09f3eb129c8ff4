//! Tasks that end with whoever started them.

use actix::fut::wrap_future;
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
    ctx.spawn(wrap_future::<_, A>(yield_now()).map(|(), actor, ctx| work(actor, ctx)));
}
