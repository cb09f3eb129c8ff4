//! Clients that transfer, read and open accounts all the time, and write down each call and what they heard.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_banking::client::{Client, ClientError, Outcome, ReadLevel, balance_line, outcome_line};
use paxos_banking::entropy::Entropy;
use paxos_banking::history::Line;
use paxos_banking::ledger::{Opening, Request, Wait};
use paxos_banking::types::{AccountId, Amount, TransferId};
use tokio::time::Instant;

use crate::bank::{NAMES, account};
use crate::process::PATIENCE;

/// How long a client waits before it does something else.
const DEADLINE: Duration = Duration::from_millis(1_500);

/// More accounts than these, and there is too little on each to go on.
const OPENED_MAX: u64 = 5;

/// What all clients share.
pub struct Town {
    began: Instant,
    file: Mutex<BufWriter<File>>,
    accounts: Mutex<Vec<AccountId>>,
    closed: AtomicBool,
}

impl Town {
    pub fn new(history: &Path) -> Arc<Self> {
        let file = Mutex::new(BufWriter::new(File::create_new(history).unwrap()));
        let accounts = Mutex::new(NAMES.map(account).into());
        Arc::new(Self { began: Instant::now(), file, accounts, closed: AtomicBool::new(false) })
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    fn write(&self, line: &Line) {
        writeln!(self.file.lock().unwrap(), "{}", line.text()).unwrap();
    }

    pub fn flush(&self) {
        self.file.lock().unwrap().flush().unwrap();
    }
}

/// What a client asked for.
#[derive(Clone, Copy)]
enum Asked {
    Transfer(Request),
    Open(Opening),
}

/// How often each came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    pub approved: u64,
    pub refused: u64,
    pub unknown: u64,
    pub reads: u64,
    pub opened: u64,
    pub repeated: u64,
}

pub struct Walker {
    name: String,
    town: Arc<Town>,
    client: Client,
    entropy: Entropy,
    unknown: Vec<Asked>,
    decided: Vec<Asked>,
    opened: u64,
    pub heard: Heard,
}

impl Walker {
    pub fn new(name: String, town: Arc<Town>, client: Client, entropy: Entropy) -> Self {
        let (unknown, decided) = (Vec::new(), Vec::new());
        Self { name, town, client, entropy, unknown, decided, opened: 0, heard: Heard::default() }
    }

    /// Until the town is closed.
    pub async fn run(mut self) -> Self {
        while !self.town.closed.load(Ordering::Relaxed) {
            match self.entropy.below(100) {
                0..70 => {
                    let transfer = self.transfer();
                    self.ask(transfer, DEADLINE).await;
                }
                70..72 if self.opened < OPENED_MAX => self.open().await,
                72..80 => self.ask_again().await,
                _ => self.read().await,
            }
        }
        self
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::try_from(self.entropy.below(among.len() as u64)).unwrap()]
    }

    fn transfer(&mut self) -> Asked {
        let accounts = self.town.accounts.lock().unwrap().clone();
        let from = self.pick(&accounts);
        let others: Vec<_> = accounts.into_iter().filter(|other| *other != from).collect();
        let to = self.pick(&others);
        let wait = if self.entropy.below(10) == 0 { Wait::Settled } else { Wait::Local };
        // Now and then much of what there is, so that homes run short.
        let amount = 1 + if self.entropy.below(12) == 0 { self.entropy.below(1_500) } else { self.entropy.below(40) };
        Asked::Transfer(Request { id: self.client.new_id(), from, to, amount: Amount::new(amount), wait })
    }

    async fn open(&mut self) {
        self.opened += 1;
        let home = self.pick(&NAMES);
        let new: AccountId = format!("{}-{}@{home}", self.name, self.opened).parse().unwrap();
        let opening = Opening { id: self.client.new_id(), account: new, wait: Wait::Local };
        // Whether or not it is ever open: others use it from now on.
        self.town.accounts.lock().unwrap().push(new);
        self.heard.opened += 1;
        self.ask(Asked::Open(opening), DEADLINE).await;
    }

    /// Asks for something once more, under the same id.
    async fn ask_again(&mut self) {
        self.heard.repeated += 1;
        if !self.unknown.is_empty() {
            let asked = self.unknown.remove(0);
            self.ask(asked, DEADLINE).await;
        } else if !self.decided.is_empty() {
            let asked = self.pick(&self.decided.clone());
            self.ask(asked, DEADLINE).await;
        }
    }

    /// Asks, writes down what was heard, and says whether it is decided.
    async fn ask(&mut self, asked: Asked, deadline: Duration) -> bool {
        let call = self.town.now();
        let (line, told) = match asked {
            Asked::Transfer(request) => {
                let Request { id, from, to, amount, .. } = request;
                let line = Line::transfer(&self.name, call, id, from, (to, amount));
                (line, self.client.transfer(request, deadline).await)
            }
            Asked::Open(opening) => {
                let line = Line::open(&self.name, call, opening.id, opening.account);
                (line, self.client.open(opening, deadline).await)
            }
        };
        self.town.write(&outcome_line(line, self.town.now(), &told));
        let decided = self.note(&told);
        if decided { &mut self.decided } else { &mut self.unknown }.push(asked);
        decided
    }

    fn note(&mut self, told: &Result<Outcome, ClientError>) -> bool {
        match told {
            Ok(Outcome::Approved(_)) => self.heard.approved += 1,
            Ok(Outcome::Refused(_)) => self.heard.refused += 1,
            Ok(Outcome::Unknown(_)) => self.heard.unknown += 1,
            Err(error) if !error.may_have_been_sent() => self.heard.unknown += 1,
            Err(error) => panic!("no client here uses an id twice, or asks for nonsense: {error}"),
        }
        matches!(told, Ok(Outcome::Approved(_) | Outcome::Refused(_)))
    }

    async fn read(&mut self) {
        let accounts = self.town.accounts.lock().unwrap().clone();
        let account = self.pick(&accounts);
        let read = self.pick(&[ReadLevel::Local, ReadLevel::Settled, ReadLevel::Fresh]);
        let line = Line::balance(&self.name, self.town.now(), account, read, self.client.seen());
        let told = self.client.balance(account, read, DEADLINE).await;
        self.heard.reads += u64::from(told.is_ok());
        self.town.write(&balance_line(line, self.town.now(), &told));
    }

    /// Asks for everything whose outcome it does not know, until it knows.
    pub async fn finish(&mut self) {
        for asked in std::mem::take(&mut self.unknown) {
            assert!(self.ask(asked, PATIENCE).await, "{} has no outcome, with nothing wrong any more", id(&asked));
        }
    }
}

fn id(asked: &Asked) -> TransferId {
    match asked {
        Asked::Transfer(request) => request.id,
        Asked::Open(opening) => opening.id,
    }
}
