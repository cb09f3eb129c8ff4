//! Clients: they transfer, open accounts, ask again, ask for something else under the same id, and read; and write down
//! what they asked and heard.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use paxos_banking::actors::message::{Answers, StopWaiting, Submit};
use paxos_banking::entropy::Entropy;
use paxos_banking::history::BalanceRead;
use paxos_banking::ledger::{Answer, Approval, Opening, Request, Trace, Verdict, Wait};
use paxos_banking::types::{AccountId, Amount, Height, NodeId, Seq, TransferId};
use paxos_banking::wire::client::{Ask, Balance, ReadLevel, Told};
use tokio::time::{Instant, sleep, timeout};

use crate::answers::is_opening;
use crate::plan::{Amounts, Workload};
use crate::properties as must;
use crate::record::{Process, Shared};
use crate::world::{Access, World};

/// What the clients share: how nodes are reached, which accounts there are, and whether to go on.
pub struct Town {
    pub record: Shared,
    pub accesses: RefCell<BTreeMap<NodeId, Vec<Access>>>,
    pub closed: Cell<bool>,
    /// Accounts that exist, or that somebody asked to open.
    accounts: RefCell<Vec<AccountId>>,
    homes: Vec<NodeId>,
    opening: u64,
    workload: Workload,
    /// What all clients' clocks are off by, in milliseconds; it jumps.
    pub clocks_off_ms: Cell<u64>,
}

impl Town {
    pub fn new(world: &World, workload: Workload, opening: u64) -> Self {
        Self {
            record: world.record.clone(),
            accesses: RefCell::default(),
            closed: Cell::new(false),
            accounts: RefCell::new(world.genesis.opening().keys().copied().collect()),
            homes: world.nodes(),
            opening,
            workload,
            clocks_off_ms: Cell::new(1_000_000_000),
        }
    }

    /// Who can be reached from now on.
    pub fn publish(&self, world: &World) {
        *self.accesses.borrow_mut() = world.accesses();
    }

    fn access(&self, home: NodeId, entropy: &mut Entropy) -> Option<Access> {
        let accesses = self.accesses.borrow();
        let of_home = accesses.get(&home)?;
        of_home.get(usize::try_from(entropy.below(of_home.len() as u64)).unwrap()).cloned()
    }
}

/// Hears the answers to one client's requests.
struct Ear(Shared);

impl Actor for Ear {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<Answers> for Ear {
    type Result = ();

    fn handle(&mut self, Answers(answers): Answers, _: &mut Context<Self>) {
        for (number, answer) in answers {
            self.0.borrow_mut().answered(number, answer);
        }
    }
}

/// How many of its own requests a client keeps, to ask for them again.
const KEPT: usize = 64;

pub struct Client {
    town: Rc<Town>,
    entropy: Entropy,
    ear: Addr<Ear>,
    started: Instant,
    clock_off_ms: u64,
    asked: Vec<Request>,
    /// The greatest height that it was shown.
    seen: Height,
}

impl Client {
    pub fn new(town: Rc<Town>, mut entropy: Entropy) -> Self {
        let ear = Ear(town.record.clone()).start();
        let years_ms = 30_000_000_000 * entropy.below(60);
        let clock_off_ms = if town.workload.wild_clocks { years_ms } else { entropy.below(300) };
        Self { town, entropy, ear, started: Instant::now(), clock_off_ms, asked: Vec::new(), seen: Height(0) }
    }

    /// Does one thing after the other until the town is closed.
    pub async fn run(mut self) -> Self {
        while !self.town.closed.get() {
            sleep(Duration::from_millis(self.entropy.below(self.town.workload.pause_ms_max))).await;
            match self.entropy.below(100) {
                0..77 => self.transfers().await,
                77..80 => self.look().await,
                80..90 => self.read().await,
                90..95 => self.trace().await,
                _ => self.settle().await,
            }
        }
        self
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.entropy.below(100) < percent
    }

    fn any_account(&mut self) -> AccountId {
        let accounts = self.town.accounts.borrow();
        let count = accounts.len() as u64;
        let index =
            if self.entropy.below(100) < self.town.workload.hot_percent { 0 } else { self.entropy.below(count) };
        accounts[usize::try_from(index).unwrap()]
    }

    fn any_account_of(&mut self, home: NodeId) -> AccountId {
        let accounts = self.town.accounts.borrow();
        let of_home: Vec<_> = accounts.iter().filter(|account| account.home() == home).collect();
        *of_home[usize::try_from(self.entropy.below(of_home.len() as u64)).unwrap()]
    }

    /// A time that may be wrong, and 80 random bits.
    fn new_id(&mut self) -> TransferId {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        let now = now + self.clock_off_ms + self.town.clocks_off_ms.get();
        TransferId::from_parts(now, self.entropy.wide())
    }

    fn any_amount(&mut self) -> Amount {
        let opening = self.town.opening;
        let units = match self.town.workload.amounts {
            Amounts::Uniform(percent) => 1 + self.entropy.below((opening * percent / 100).max(1)),
            Amounts::Skewed if self.entropy.below(6) == 0 => 1 + self.entropy.below(opening * 2),
            Amounts::Skewed => 1 + self.entropy.below(3),
        };
        // Now and then nothing at all, which is refused.
        Amount::new(if self.entropy.below(200) == 0 { 0 } else { units })
    }

    fn new_request(&mut self) -> Request {
        let id = self.new_id();
        let wait = if self.percent(self.town.workload.settled_percent) { Wait::Settled } else { Wait::Local };
        if self.percent(self.town.workload.opening_percent) {
            let homes = self.town.homes.len() as u64;
            let home = self.town.homes[usize::try_from(self.entropy.below(homes)).unwrap()];
            let account = AccountId::new(&format!("new{}", self.entropy.below(2)), home).unwrap();
            let mut accounts = self.town.accounts.borrow_mut();
            if !accounts.contains(&account) {
                accounts.push(account);
            }
            return Request { id, from: account, to: account, amount: Amount::ZERO, wait };
        }
        let (mut from, mut to) = (self.any_account(), self.any_account());
        // One in fifty may be to the same account, which is refused.
        while from == to && self.entropy.below(50) > 0 {
            (from, to) = (self.any_account(), self.any_account());
        }
        let amount = self.any_amount();
        if self.percent(self.town.workload.ghost_percent) {
            let ghost = |home, number| AccountId::new(&format!("ghost{number}"), home).unwrap();
            match self.entropy.below(3) {
                0 => to = ghost(to.home(), self.entropy.below(5)),
                _ => from = ghost(from.home(), self.entropy.below(50)),
            }
        }
        Request { id, from, to, amount, wait }
    }

    /// One that was asked for before: as it was, or with another content.
    fn old_request(&mut self) -> Option<Request> {
        let count = self.asked.len() as u64;
        let mut request = *self.asked.get(usize::try_from(self.entropy.below(count.max(1))).unwrap())?;
        if self.percent(self.town.workload.other_content_percent) {
            match self.entropy.below(2) {
                0 => request.amount = self.any_amount(),
                _ => request.to = self.any_account(),
            }
        }
        Some(request)
    }

    /// A call of a few requests to one home.
    async fn transfers(&mut self) {
        let again = self.percent(self.town.workload.again_percent);
        let first = again.then(|| self.old_request()).flatten();
        let first = first.unwrap_or_else(|| self.new_request());
        let mut requests = vec![first];
        for _ in 1..1 + self.entropy.below(self.town.workload.batch_max) {
            let mut request = self.new_request();
            if !is_opening(&request) && request.from.home() != first.from.home() {
                request.from = self.any_account_of(first.from.home());
            }
            // One in a hundred goes to the wrong home, and hears so.
            if request.from.home() == first.from.home() || self.percent(1) {
                requests.push(request);
            }
        }
        for request in &requests {
            if self.asked.len() < KEPT {
                self.asked.push(*request);
            } else {
                let index = self.entropy.below(KEPT as u64);
                self.asked[usize::try_from(index).unwrap()] = *request;
            }
        }
        let stops = self.percent(10);
        self.ask(&requests, stops).await;
    }

    /// Asks a home, and waits for nothing but that it has heard.
    async fn ask(&mut self, requests: &[Request], stops: bool) {
        let Some(access) = self.town.access(requests[0].from.home(), &mut self.entropy) else { return };
        let transfers: Vec<_> = requests.iter().filter(|request| !is_opening(request)).collect();
        let openings = requests.iter().filter(|request| is_opening(request));
        let ports = &access.service.ports;
        for request in openings {
            let Request { id, from: account, wait, .. } = *request;
            let tag = self.note_asked(*request, access.process);
            let answer = access.node.open(Opening { id, account, wait });
            let record = self.town.record.clone();
            tokio::task::spawn_local(async move {
                if let Ok(answer) = answer.await {
                    record.borrow_mut().answered(tag, answer);
                }
            });
        }
        if transfers.is_empty() {
            return;
        }
        let home = requests[0].from.home();
        let requests: Vec<_> =
            transfers.into_iter().map(|request| (self.note_asked(*request, access.process), *request)).collect();
        let numbers: Vec<u64> = requests.iter().map(|(number, _)| *number).collect();
        let reply_to = self.ear.clone().recipient();
        let submit = Submit { requests, reply_to: reply_to.clone() };
        let Ok(Ok(())) = timeout(PATIENCE, ports.submit.send(submit)).await else {
            // It takes its call back, so that no answer is due.
            let mut record = self.town.record.borrow_mut();
            record.answers.unanswered.retain(|number, _| !numbers.contains(number));
            return;
        };
        if stops {
            sleep(Duration::from_millis(self.entropy.below(400))).await;
            let mut record = self.town.record.borrow_mut();
            let last = record.reached.get(&home).map_or(Seq(0), |reached| reached.seq);
            record.answers.stopped.extend(numbers.iter().map(|number| (*number, last)));
            drop(record);
            drop(ports.stop_waiting.try_send(StopWaiting { tags: vec![numbers[0]], reply_to }));
        }
    }

    fn note_asked(&self, request: Request, process: Process) -> u64 {
        let mut record = self.town.record.borrow_mut();
        record.counts.add("transfers and openings asked for");
        let number = record.asked(request);
        record.answers.unanswered.insert(number, process);
        number
    }

    /// Asks any process of any node a question.
    async fn question(&mut self, node: NodeId, ask: Ask) -> Option<Told> {
        let access = self.town.access(node, &mut self.entropy)?;
        let patience = Duration::from_millis(200 + self.entropy.below(4_000));
        let told = timeout(patience, access.service.answer(ask)).await.ok()?;
        told.ok()
    }

    /// Reads a balance, and never one that is older than what it has seen.
    async fn read(&mut self) {
        let account = self.any_account();
        let (node, read) = match self.entropy.below(3) {
            0 => (account.home(), ReadLevel::Local),
            1 => (account.home(), ReadLevel::Fresh),
            _ => {
                let homes = self.town.homes.len() as u64;
                (self.town.homes[usize::try_from(self.entropy.below(homes)).unwrap()], ReadLevel::Settled)
            }
        };
        let (called, floor) = {
            let mut record = self.town.record.borrow_mut();
            let floor = record.answers.told_heights.get(&node).copied().unwrap_or_default();
            (record.answers.tick(), floor)
        };
        let seen = self.seen;
        let ask = Ask::Balance { account, read, seen, within_ms: 3_000 };
        let Some(Told::Balance(balance)) = self.question(node, ask).await else { return };
        let Balance { height, .. } = balance;
        self.seen = self.seen.max(height);
        let mut record = self.town.record.borrow_mut();
        record.counts.add(match read {
            ReadLevel::Local => "balances read: local",
            ReadLevel::Settled => "balances read: settled",
            ReadLevel::Fresh => "balances read: fresh",
        });
        let held = must::r3_a_balance_is_durable(&record, node, &balance);
        record.hold(held);
        // The older of two processes is behind for as long as it does not know that it is; a new store begins anew.
        let now = record.answers.tick();
        if !record.was_doubled(node, called, now) && !record.exempt.destroyed.contains(&node) {
            record.hold(must::r3_heights_never_go_back(node, floor, height));
        }
        let told = record.answers.told_heights.entry(node).or_default();
        *told = height.max(*told);
        let returned = record.answers.tick();
        let fresh = read == ReadLevel::Fresh;
        record.answers.history.reads.push(BalanceRead { called, returned, fresh, seen, node, balance });
    }

    /// Asks any node how it is, and what its chain and its log hold.
    async fn look(&mut self) {
        let homes = self.town.homes.len() as u64;
        let node = self.town.homes[usize::try_from(self.entropy.below(homes)).unwrap()];
        let (from, seq) = (Height(1 + self.entropy.below(self.seen.0 + 1)), Seq(1 + self.entropy.below(40)));
        let asks = [Ask::Status, Ask::Chain { from, to: Height(u64::MAX) }, Ask::Log { from: seq }];
        for ask in asks {
            let Some(told) = self.question(node, ask).await else { continue };
            let mut record = self.town.record.borrow_mut();
            let held = match told {
                Told::Status(status) => {
                    record.counts.add("nodes asked how they are");
                    must::r3_a_status_tells_what_is_durable(&record, node, &status)
                }
                Told::Chain { blocks, .. } => {
                    record.counts.add("chains read");
                    must::r5_blocks_shown_are_the_chain(&record, node, from, &blocks)
                }
                Told::Log(entries) => {
                    record.counts.add("logs read");
                    must::r7_entries_shown_are_the_log(&record, node, seq, &entries)
                }
                _ => Ok(()),
            };
            record.hold(held);
        }
    }

    /// Asks its home what became of an id, which must agree with what was answered to it.
    async fn trace(&mut self) {
        let Some(request) = self.old_request().filter(|request| !is_opening(request)) else { return };
        let called = self.town.record.borrow_mut().answers.tick();
        let Some(Told::Traces { traces, .. }) = self.question(request.from.home(), Ask::Trace { id: request.id }).await
        else {
            return;
        };
        {
            let mut record = self.town.record.borrow_mut();
            let returned = record.answers.tick();
            let held = must::r10_what_was_approved_is_found(&record, &request, (called, returned), &traces);
            record.hold(held);
        }
        for Trace { id, from, to, amount, verdict } in traces {
            let traced = Request { id, from, to, amount, wait: Wait::Local };
            let answer = match verdict {
                Verdict::Approved(Approval { origin, seq, height }) => {
                    Answer::Approved(Approval { origin, seq, height })
                }
                Verdict::Refused(reason) => Answer::Refused(reason),
                Verdict::Pending => continue,
            };
            let mut record = self.town.record.borrow_mut();
            record.counts.add("outcomes traced");
            let expired = record.answers.history.stories.get(&(from, id)).is_some_and(|story| story.expired.is_some());
            // The chain tells of what the home has forgotten.
            if !expired {
                record.traced(traced, &answer);
            }
        }
    }

    async fn settle(&mut self) {
        let homes = self.town.homes.len() as u64;
        let node = self.town.homes[usize::try_from(self.entropy.below(homes)).unwrap()];
        if let Some(Told::Settled { .. }) = self.question(node, Ask::Settle { within_ms: 3_000 }).await {
            self.town.record.borrow_mut().counts.add("settlements asked for, and over");
        }
    }

    /// What this client asked for, and nobody has told it the outcome of. What is refused by form has none.
    pub fn unknown(&self) -> Vec<Request> {
        let record = self.town.record.borrow();
        let formal =
            |request: &Request| !is_opening(request) && (request.amount == Amount::ZERO || request.from == request.to);
        let open = |request: &&Request| !formal(request) && !record.answers.is_decided(request);
        self.asked.iter().filter(open).copied().collect()
    }

    /// Asks again for all that it still knows of, whatever became of it.
    pub async fn ask_for_everything(&mut self) {
        for request in self.asked.clone() {
            self.ask(&[Request { wait: Wait::Local, ..request }], false).await;
        }
    }

    /// Asks for everything again whose outcome nobody knows.
    pub async fn ask_for_the_unknown(&mut self) {
        for request in self.unknown() {
            self.ask(&[request], false).await;
        }
    }
}

/// How long a client waits for a node to take its call.
const PATIENCE: Duration = Duration::from_secs(3);
