//! Honest clients, and what they notice of an attack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use paxos_banking::client::{Client, ClientOptions, Outcome};
use paxos_banking::ledger::{Request, Wait};
use paxos_banking::types::Amount;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::bank::account;
use crate::process::PATIENCE;

/// What every transfer must be answered in.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many transfers each client makes after an attack has come to its height.
const AFTER: usize = 50;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Stays connected.
    Steady,
    /// Connects anew for each transfer.
    Fresh,
    /// Stays connected, and waits for each transfer's block.
    Settled,
}

/// A client that transfers all the time, each transfer after the one before.
pub struct Honest {
    habit: Habit,
    count: Arc<(AtomicUsize, Notify)>,
    over: Arc<AtomicBool>,
    took: JoinHandle<Vec<Duration>>,
}

impl Honest {
    /// One that moves 1 to and fro between two accounts of one home, which listens at `address`. It has made one
    /// transfer when this returns.
    pub async fn start(habit: Habit, address: &str, accounts: [&'static str; 2]) -> Self {
        let count = Arc::new((AtomicUsize::new(0), Notify::new()));
        let over = Arc::new(AtomicBool::new(false));
        let took = tokio::spawn(pay(habit, address.to_owned(), accounts, count.clone(), over.clone()));
        let honest = Self { habit, count, over, took };
        honest.makes(1).await;
        honest
    }

    /// Waits for so many more transfers.
    pub async fn makes(&self, more: usize) {
        let (count, made) = &*self.count;
        let until = count.load(Ordering::Relaxed) + more;
        let wait = async {
            loop {
                let next = made.notified();
                if count.load(Ordering::Relaxed) >= until {
                    return;
                }
                next.await;
            }
        };
        assert!(timeout(PATIENCE, wait).await.is_ok(), "an honest client ({:?}) comes to nothing", self.habit);
    }

    /// All were answered in time; prints in which.
    pub async fn end(self, during: &str) {
        self.over.store(true, Ordering::Relaxed);
        let mut took = self.took.await.unwrap();
        took.sort();
        let part = |thousandth: usize| took[(took.len() - 1) * thousandth / 1_000].as_secs_f64() * 1_000.0;
        println!(
            "{during}: {:?}, {} transfers, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
            self.habit,
            took.len(),
            part(500),
            part(990),
            part(1_000)
        );
    }
}

/// Runs an attack while honest clients of these habits go on, also once the attack has come to its height: what it holds
/// then is returned.
pub async fn meanwhile<T>(
    during: &str,
    habits: &[Habit],
    address: &str,
    accounts: [&'static str; 2],
    attack: impl Future<Output = T>,
) -> T {
    let mut honest = Vec::new();
    for habit in habits {
        honest.push(Honest::start(*habit, address, accounts).await);
    }
    let held = attack.await;
    for honest in &honest {
        honest.makes(AFTER).await;
    }
    for honest in honest {
        honest.end(during).await;
    }
    held
}

async fn pay(
    habit: Habit,
    address: String,
    [one, other]: [&'static str; 2],
    count: Arc<(AtomicUsize, Notify)>,
    over: Arc<AtomicBool>,
) -> Vec<Duration> {
    let connect = || Client::new([address.clone()], ClientOptions::default()).unwrap();
    let mut client = connect();
    let mut took = Vec::new();
    let mut ways = [(one, other), (other, one)].into_iter().cycle();
    while !over.load(Ordering::Relaxed) {
        if habit == Habit::Fresh {
            client = connect();
        }
        let wait = if habit == Habit::Settled { Wait::Settled } else { Wait::Local };
        let (from, to) = ways.next().unwrap();
        let request =
            Request { id: client.new_id(), from: account(from), to: account(to), amount: Amount::new(1), wait };
        let began = Instant::now();
        let outcome = client.transfer(request, DEADLINE).await.unwrap();
        took.push(began.elapsed());
        assert!(matches!(outcome, Outcome::Approved(_)), "{habit:?}: {outcome:?}");
        count.0.fetch_add(1, Ordering::Relaxed);
        count.1.notify_waiters();
    }
    took
}
