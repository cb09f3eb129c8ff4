//! One node of a process: what crashes it, and what holds it still.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};

use crate::node::{Node, NodeConfig, Seams};
use crate::store::StoreError;

/// A node on a `LocalSet` of its own, which can be crashed and paused.
pub struct RunningNode {
    node: Node,
    /// Holds the `LocalSet`.
    task: JoinHandle<()>,
    gate: Rc<Gate>,
}

impl RunningNode {
    /// Starts a node.
    ///
    /// # Errors
    /// What its store says.
    pub async fn start(config: NodeConfig, seams: Seams) -> Result<Self, StoreError> {
        let (started, node) = oneshot::channel();
        let run = async {
            let node = Node::start(config, seams).await;
            let runs = node.is_ok();
            drop(started.send(node));
            if runs {
                std::future::pending::<()>().await;
            }
        };
        let gate = Rc::new(Gate::default());
        let run = Box::pin(async move { LocalSet::new().run_until(run).await });
        let task = tokio::task::spawn_local(Gated { run, gate: gate.clone() });
        let node = node.await.unwrap_or_else(|_| Err(StoreError::Unknown("the start was cut off".to_owned())))?;
        Ok(Self { node, task, gate })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What SIGSTOP and SIGCONT do to a process: while it is paused, none of its actors runs. What is sent to it waits
    /// in its mailboxes, and timers that end meanwhile are found to have ended.
    pub fn pause(&self, paused: bool) {
        self.gate.paused.set(paused);
        if let Some(waker) = self.gate.waker.take().filter(|_| !paused) {
            waker.wake();
        }
    }

    /// Crashes it: nothing of it is left but its store, which is closed when this returns. One that is paused dies as
    /// any other.
    pub async fn kill(self) {
        self.task.abort();
        // The only result of an aborted task is that what it held is gone.
        drop(self.task.await);
    }
}

/// Whether a node is paused, and who is to be woken once it is not.
#[derive(Default)]
struct Gate {
    paused: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// A node's whole life, which is polled only while its gate is open.
struct Gated {
    run: Pin<Box<dyn Future<Output = ()>>>,
    gate: Rc<Gate>,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.paused.get() {
            // Wake-ups that come to nothing here are not lost: the whole is polled once it is resumed.
            self.gate.waker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        self.run.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Cluster, ClusterConfig};
    use crate::entropy::Entropy;
    use crate::ledger::{Answer, Approval, Genesis, Request, Wait};
    use crate::node::NotRunning;
    use crate::store::StoreAddress;
    use crate::types::{AccountId, Amount, NodeId, Seq};

    const LONG: Duration = Duration::from_secs(600);

    fn a() -> NodeId {
        "A".parse().unwrap()
    }

    fn request(id: u128) -> Request {
        let [from, to] = ["A", "bob@A"].map(|account| account.parse().unwrap());
        Request { id: id.into(), from, to, amount: Amount::new(1), wait: Wait::Local }
    }

    /// A bank of one node, which serves clients, in paused time.
    async fn cluster() -> Cluster {
        tokio::time::pause();
        let accounts: [AccountId; 2] = [AccountId::of_node(a()), "bob@A".parse().unwrap()];
        let genesis = Genesis::new([a()], accounts.map(|account| (account, Amount::new(100)))).unwrap();
        let config = ClusterConfig::new(genesis, StoreAddress::Memory);
        let cluster = Cluster::start(config, Entropy::from_seed(1), Box::new(|_| true)).await.unwrap();
        cluster.ready(a()).await.unwrap();
        cluster
    }

    #[actix_rt::test]
    async fn a_paused_node_answers_nothing_and_later_all_that_it_was_asked_meanwhile() {
        let cluster = cluster().await;
        for round in 0..2 {
            cluster.running[&a()].pause(true);
            let seqs = [1, 2].map(|number| number + 2 * round);
            let answers = seqs.map(|seq| tokio::task::spawn_local(cluster.transfer(request(seq.into()))));
            tokio::time::sleep(LONG).await;
            assert!(!answers.iter().any(|answer| answer.is_finished()));
            cluster.running[&a()].pause(false);
            for (seq, answer) in seqs.into_iter().zip(answers) {
                let answer = answer.await.unwrap();
                let Ok(Answer::Approved(Approval { seq: given, .. })) = answer else { panic!("{answer:?}") };
                assert_eq!(given, Seq(seq));
            }
        }
    }

    #[actix_rt::test]
    async fn a_node_that_is_not_paused_may_be_resumed_and_one_paused_twice_once() {
        let cluster = cluster().await;
        let running = &cluster.running[&a()];
        running.pause(false);
        running.pause(true);
        running.pause(true);
        running.pause(false);
        assert!(matches!(cluster.transfer(request(1)).await, Ok(Answer::Approved(_))));
    }

    #[actix_rt::test]
    async fn a_paused_node_can_be_killed() {
        let mut cluster = cluster().await;
        cluster.running[&a()].pause(true);
        let mut answer = Box::pin(cluster.transfer(request(1)));
        assert!(tokio::time::timeout(LONG, &mut answer).await.is_err());
        cluster.kill(a()).await;
        assert_eq!(answer.await, Err(NotRunning(a())));
        cluster.revive(a()).await.unwrap();
        cluster.ready(a()).await.unwrap();
        assert!(matches!(cluster.transfer(request(1)).await, Ok(Answer::Approved(_))), "it was never decided");
    }
}
