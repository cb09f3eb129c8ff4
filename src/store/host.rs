//! The seam behind which a node's store lives: asynchronous in front, a store with blocking calls behind.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvError, TryRecvError};
use std::thread::JoinHandle;

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Plan, RecoverOptions, Recovered, Store, StoreError, read_blocks, read_stored, recover};
use crate::ledger::Block;
use crate::paxos::{BlocksRequest, SentBlock};
use crate::types::Epoch;

/// What became of one call of a store.
pub type StoreFuture<T> = LocalBoxFuture<'static, Result<T, StoreError>>;

/// A store as a node uses it. Calls are carried out in the order in which they are made.
pub trait StoreHost: 'static {
    /// Takes the store over and loads what it holds.
    fn recover(&mut self, options: RecoverOptions) -> StoreFuture<Recovered>;
    /// Makes one write durable.
    fn write(&mut self, plan: Arc<Plan>) -> StoreFuture<()>;
    /// Looks whether this process still owns the store.
    fn check_epoch(&mut self, epoch: Epoch) -> StoreFuture<()>;
    /// Lets go of the store, after the calls under way; over once it is closed. No call may follow.
    fn close(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Reads blocks of the chain, about `bytes_max` bytes of them and at least one.
    fn read_blocks(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<Arc<Block>>>;
    /// Reads as many, to be sent on as they are stored.
    fn read_stored(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<SentBlock>>;
}

/// A call; in place of the store it gets why no call can be carried out any more.
type Job = Box<dyn FnOnce(Result<&mut dyn Store, StoreError>) + Send>;

/// A store on a thread of its own, so that its blocking calls stall nothing. Dropping this waits for the call under way
/// and closes the store; whoever must not wait for ever calls [`StoreHost::close`] before.
pub struct StoreThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    closed: Option<oneshot::Receiver<()>>,
}

impl StoreThread {
    /// Moves `store` to a thread named after it.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the system gives no thread.
    pub fn spawn(store: Box<dyn Store>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let name = store.describe();
        let (tell, closed) = oneshot::channel();
        let run = move || {
            Worker { store, more: false, failures: 0, pause: 0, fault: None }.run(&queue);
            // Mostly nobody wants to know.
            let _ = tell.send(());
        };
        // The one thread besides the actors': it is behind the store seam, and the simulation has none.
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Open { path: name, what: error.to_string() })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), closed: Some(closed) })
    }

    fn call<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let (reply_to, reply) = oneshot::channel();
        let job: Job = Box::new(move |store| drop(reply_to.send(store.and_then(job))));
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        Box::pin(async move {
            let gone = || StoreError::Unknown("its thread has ended".to_owned());
            if sent { reply.await.unwrap_or_else(|_| Err(gone())) } else { Err(gone()) }
        })
    }
}

/// What runs on the thread: calls in their order, and in between what the store has to do besides.
struct Worker {
    store: Box<dyn Store>,
    /// The store may have more to do.
    more: bool,
    /// Times in a row that this failed.
    failures: u32,
    /// Calls after which it is not tried again yet.
    pause: u32,
    /// Why it cannot be done, where that does not pass. Calls are answered with it: the store cannot be trusted.
    fault: Option<StoreError>,
}

/// The bound of [`Worker::pause`]: a node that has nothing to write asks the store every two seconds.
const PAUSE_MAX: u32 = 64;

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        loop {
            let job = match queue.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Empty) if self.more => {
                    self.tidy();
                    continue;
                }
                Err(TryRecvError::Empty) => match queue.recv() {
                    Ok(job) => job,
                    Err(RecvError) => return,
                },
                Err(TryRecvError::Disconnected) => return,
            };
            match &self.fault {
                None => job(Ok(self.store.as_mut())),
                Some(fault) => job(Err(fault.clone())),
            }
            self.more = self.fault.is_none() && self.pause == 0;
            self.pause = self.pause.saturating_sub(1);
        }
    }

    fn tidy(&mut self) {
        match self.store.tidy() {
            Ok(more) => (self.more, self.failures) = (more, 0),
            Err(error) if error.may_be_retried() => {
                self.failures += 1;
                if self.failures.is_power_of_two() {
                    warn!(%error, attempt = self.failures, "blocks stay in the store that could leave it");
                }
                (self.more, self.pause) = (false, PAUSE_MAX.min(1 << self.failures.min(16)));
            }
            Err(error) => (self.more, self.fault) = (false, Some(error)),
        }
    }
}

impl StoreHost for StoreThread {
    fn recover(&mut self, options: RecoverOptions) -> StoreFuture<Recovered> {
        self.call(move |store| recover(store, &options))
    }

    fn write(&mut self, plan: Arc<Plan>) -> StoreFuture<()> {
        self.call(move |store| store.write(&plan.encode()))
    }

    fn close(&mut self) -> LocalBoxFuture<'static, ()> {
        (self.jobs, self.thread) = (None, None);
        let closed = self.closed.take();
        Box::pin(async move {
            if let Some(closed) = closed {
                drop(closed.await);
            }
        })
    }

    fn check_epoch(&mut self, epoch: Epoch) -> StoreFuture<()> {
        self.call(move |store| store.check_epoch(epoch))
    }

    fn read_blocks(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<Arc<Block>>> {
        self.call(move |store| read_blocks(store, request.from, request.to, bytes_max))
    }

    fn read_stored(&mut self, request: BlocksRequest, bytes_max: usize) -> StoreFuture<Vec<SentBlock>> {
        self.call(move |store| read_stored(store, request.from, request.to, bytes_max))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported by the panic hook already.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::{Disk, MemoryStore, Stream, Write};
    use super::*;

    /// Gives what a test says wherever it is to tidy, and tells that it was asked.
    struct Untidy {
        store: MemoryStore,
        given: Receiver<Result<bool, StoreError>>,
        asked: Sender<()>,
    }

    impl Store for Untidy {
        fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
            self.store.take_epoch(token)
        }

        fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
            self.store.check_epoch(epoch)
        }

        fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
            self.store.fields()
        }

        fn read(&mut self, stream: Stream, from: u64, to: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
            self.store.read(stream, from, to, max)
        }

        fn write(&mut self, write: &Write) -> Result<(), StoreError> {
            self.store.write(write)
        }

        fn tidy(&mut self) -> Result<bool, StoreError> {
            self.asked.send(()).unwrap();
            self.given.recv().unwrap()
        }

        fn describe(&self) -> String {
            "untidy".to_owned()
        }
    }

    #[tokio::test]
    async fn a_store_tidies_while_nobody_calls_and_what_makes_that_impossible_is_told_to_the_next_caller() {
        let (give, given) = channel();
        let (asked, was_asked) = channel();
        let mut store = Disk::new().open();
        let epoch = store.take_epoch(1).unwrap();
        let mut thread = StoreThread::spawn(Box::new(Untidy { store, given, asked })).unwrap();
        thread.check_epoch(epoch).await.unwrap();
        // As long as there is more, and no longer.
        for more in [true, true, false] {
            was_asked.recv().unwrap();
            give.send(Ok(more)).unwrap();
        }
        // What may pass disturbs no caller, and is tried again after some calls.
        thread.check_epoch(epoch).await.unwrap();
        was_asked.recv().unwrap();
        give.send(Err(StoreError::NotWritten("the disk is full".to_owned()))).unwrap();
        for _ in 0..2 {
            thread.check_epoch(epoch).await.unwrap();
            assert!(was_asked.try_recv().is_err());
        }
        thread.check_epoch(epoch).await.unwrap();
        was_asked.recv().unwrap();
        let fault = StoreError::corrupt("chain/3", "it is another one");
        give.send(Err(fault.clone())).unwrap();
        for _ in 0..2 {
            assert_eq!(thread.check_epoch(epoch).await, Err(fault.clone()));
        }
        assert!(was_asked.try_recv().is_err());
    }
}
