//! Clients that transfer all the time, and what must be true of the bank once they are through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use paxos_banking::client::{Client, ClientOptions, Outcome};
use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Action, Bank as SettledBank, Block, Genesis, Request, Wait};
use paxos_banking::types::{Amount, TransferId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::bank::{Bank, NAMES, account, node};
use crate::process::PATIENCE;

#[derive(Default)]
struct Told {
    outcomes: Mutex<Vec<(Request, Outcome)>>,
    more: Notify,
    over: AtomicBool,
}

/// A client for each home, under load until it is told to end.
pub struct Load {
    told: Arc<Told>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(bank: &Bank) -> Self {
        let told = Arc::new(Told::default());
        let clients = NAMES.map(|from| tokio::spawn(pay(bank.client(), from, told.clone())));
        Self { told, clients: clients.into() }
    }

    /// Waits until the clients of these homes have heard of `count` more approvals each.
    pub async fn goes_on(&self, homes: &[&str], count: usize) {
        let approved = || -> BTreeMap<String, usize> {
            let mut approved = BTreeMap::new();
            for (request, outcome) in self.told.outcomes.lock().unwrap().iter() {
                *approved.entry(request.from.to_string()).or_default() +=
                    usize::from(matches!(outcome, Outcome::Approved(_)));
            }
            approved
        };
        let before = approved();
        let of = |approved: &BTreeMap<String, usize>, home: &str| approved.get(home).copied().unwrap_or_default();
        let waiting = async {
            loop {
                let more = self.told.more.notified();
                let now = approved();
                if homes.iter().all(|home| of(&now, home) >= of(&before, home) + count) {
                    return;
                }
                more.await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{homes:?} approve nothing: {before:?}, {:?}", approved());
    }

    /// One more transfer, for whose settlement nobody waits, with a client that is patient at each try.
    pub async fn approves_one(&self, bank: &Bank, from: &str, to: &str) {
        let options = ClientOptions { try_within: PATIENCE, ..ClientOptions::default() };
        let client = Client::new(bank.addresses().split(','), options).unwrap();
        let (from, to, amount) = (account(from), account(to), Amount::new(1));
        let request = Request { id: client.new_id(), from, to, amount, wait: Wait::Local };
        let outcome = client.transfer(request, PATIENCE).await.unwrap();
        assert!(matches!(outcome, Outcome::Approved(_)), "{outcome:?}");
        self.told.outcomes.lock().unwrap().push((request, outcome));
    }

    /// Ends the clients, has everything settled, and checks that each transfer is in every chain as often as its client
    /// was told.
    pub async fn check(self, bank: &Bank, opening: u64) {
        self.told.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        bank.settled().await;
        let outcomes = std::mem::take(&mut *self.told.outcomes.lock().unwrap());
        let chain = bank.chain("A").await;
        for name in ["B", "C"] {
            assert_eq!(bank.chain(name).await, chain, "one history");
        }
        let settled = replay(&chain, opening);
        let mut approved = 0;
        for (request, outcome) in &outcomes {
            match outcome {
                Outcome::Approved(approval) => {
                    let entry = (approval.origin.to_string(), approval.seq.0, request.amount);
                    assert_eq!(
                        settled.get(&request.id),
                        Some(&entry),
                        "approved: there once, as the entry that was told"
                    );
                    approved += 1;
                }
                Outcome::Refused(reason) => {
                    assert_eq!(settled.get(&request.id), None, "refused, {reason:?}: not there");
                }
                Outcome::Unknown(unknown) => panic!("{unknown:?}"),
            }
        }
        assert_eq!(approved, settled.len(), "nothing is there that nobody was told of");
        println!("{} transfers, {approved} approved, {} blocks", outcomes.len(), chain.len());
    }
}

/// All transfers of a chain by id; each is there once, and every block follows on those before.
fn replay(chain: &[Block], opening: u64) -> BTreeMap<TransferId, (String, u64, Amount)> {
    let genesis = Genesis::with_equal_openings(NAMES.map(node), Amount::new(opening)).unwrap();
    let mut bank = SettledBank::new(&genesis);
    let mut settled = BTreeMap::new();
    for block in chain {
        let delta = bank.check(block).unwrap();
        bank.advance(delta);
        for entry in block.runs().iter().flat_map(|run| run.entries()) {
            let Action::Transfer { amount, .. } = entry.operation.action else { panic!("{entry:?}") };
            let entry = (entry.origin.to_string(), entry.seq.0, amount);
            assert_eq!(settled.insert(entry_id(block, &entry), entry), None, "no id is settled twice");
        }
    }
    let sum = bank.balances().values().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(*amount));
    assert_eq!(sum, Some(genesis.total()), "R12");
    settled
}

fn entry_id(block: &Block, (origin, seq, _): &(String, u64, Amount)) -> TransferId {
    let run = block.run_of(node(origin)).unwrap();
    run.operations[usize::try_from(seq - run.first.0).unwrap()].id
}

async fn pay(client: Client, from: &'static str, told: Arc<Told>) {
    let mut entropy = Entropy::from_os();
    let others: BTreeSet<&str> = NAMES.into_iter().filter(|name| *name != from).collect();
    let others: Vec<&str> = others.into_iter().collect();
    while !told.over.load(Ordering::Relaxed) {
        let to = others[usize::try_from(entropy.below(2)).unwrap()];
        let wait = if entropy.below(10) == 0 { Wait::Settled } else { Wait::Local };
        let amount = Amount::new(1 + entropy.below(20));
        let request = Request { id: client.new_id(), from: account(from), to: account(to), amount, wait };
        let mut outcome = client.transfer(request, PATIENCE).await.unwrap();
        if matches!(outcome, Outcome::Unknown(_)) {
            outcome = client.transfer(request, PATIENCE).await.unwrap();
        }
        told.outcomes.lock().unwrap().push((request, outcome));
        told.more.notify_waiters();
    }
}
