//! A node's life as the records that it writes, and the simplest model of what must come back from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use paxos_banking::effect::{Record, Slot};
use paxos_banking::ledger::{
    Action, Bank, Block, Checkpoint, Genesis, Memory, Operation, Reason, Refusal, Run, SettledAt,
};
use paxos_banking::store::{RecoverOptions, Recovered, Store, StoreError, recover};
use paxos_banking::types::{AccountId, Amount, Ballot, Height, Incarnation, NodeId, Seq, TransferId};

pub const INCARNATION: Incarnation = Incarnation(0xabcd);
pub const IDS_MAX: usize = 1_000;

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

pub fn ballot(round: u64, name: &str) -> Ballot {
    Ballot { round, node: node(name) }
}

pub fn genesis() -> Genesis {
    Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(1_000_000)).unwrap()
}

pub fn options() -> RecoverOptions {
    RecoverOptions {
        me: node("A"),
        genesis: genesis(),
        token: 77,
        incarnation: INCARNATION,
        ids_remembered_max: IDS_MAX,
    }
}

pub fn transfer(id: u128, from: &str, to: &str) -> Operation {
    let action = Action::Transfer { from: account(from), to: account(to), amount: Amount::new(5) };
    Operation { id: id.into(), action }
}

pub fn refusal(id: u128, from: &str) -> Refusal {
    let reason = Reason::UnknownAccount { height: Height(0), account: account("nobody@C") };
    Refusal { id: id.into(), from: account(from), to: account("nobody@C"), amount: Amount::new(9), reason }
}

/// The next block over `bank`.
pub fn block(bank: &Bank, runs: &[(&str, &[Operation])]) -> Arc<Block> {
    let runs = runs.iter().filter(|(_, operations)| !operations.is_empty()).map(|(origin, operations)| {
        let origin = node(origin);
        Run { origin, first: bank.watermark(origin).next(), operations: operations.to_vec() }
    });
    Arc::new(Block::new(bank.height().next(), bank.tip(), bank.state(), runs.collect()).unwrap())
}

/// What a node starts from, in a form that compares.
#[derive(Debug, PartialEq)]
pub struct State {
    pub admitted: bool,
    pub promise: Option<Ballot>,
    pub slot: Option<Slot>,
    pub peers: BTreeMap<NodeId, Incarnation>,
    pub bank: Bank,
    pub log: Vec<Operation>,
    pub memory: Memory,
    pub settled_at: SettledAt,
}

impl State {
    pub fn of(recovered: &Recovered) -> Self {
        let home = recovered.home.clone();
        Self {
            admitted: recovered.admitted,
            promise: recovered.promise,
            slot: recovered.slot.clone(),
            peers: recovered.peers.clone(),
            bank: home.bank,
            log: home.log,
            memory: home.memory,
            settled_at: home.settled_at,
        }
    }
}

pub fn state(store: &mut dyn Store) -> Result<State, StoreError> {
    recover(store, &options()).map(|recovered| State::of(&recovered))
}

/// What all records so far amount to, one by one and without any thought of writes.
#[derive(Clone)]
pub struct Model {
    pub bank: Bank,
    pub entries: Vec<Operation>,
    pub promise: Option<Ballot>,
    pub slot: Option<Slot>,
    pub refusals: BTreeMap<u64, Vec<Refusal>>,
    pub refused_next: u64,
    settled: Vec<(Seq, Height)>,
    admitted: bool,
    peers: BTreeMap<NodeId, Incarnation>,
    horizons: BTreeMap<Option<AccountId>, TransferId>,
}

impl Model {
    pub fn new() -> Self {
        Self {
            bank: Bank::new(&genesis()),
            entries: Vec::new(),
            promise: None,
            slot: None,
            refusals: BTreeMap::new(),
            refused_next: 1,
            settled: Vec::new(),
            admitted: false,
            peers: BTreeMap::new(),
            horizons: BTreeMap::new(),
        }
    }

    pub fn watermark(&self) -> usize {
        usize::try_from(self.bank.watermark(node("A")).0).unwrap()
    }

    pub fn unsettled(&self) -> &[Operation] {
        &self.entries[self.watermark()..]
    }

    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Log { operations, .. } => self.entries.extend(operations),
            Record::Block(block) => {
                self.bank.advance(self.bank.check(block).unwrap());
                if block.run_of(node("A")).is_some() {
                    self.settled.push((self.bank.watermark(node("A")), block.height()));
                }
                self.slot.take_if(|slot| slot.block.height() <= block.height());
            }
            Record::Promise(ballot) => self.promise = self.promise.max(Some(*ballot)),
            Record::Accepted(slot) => {
                self.promise = self.promise.max(Some(slot.ballot));
                if slot.block.height() > self.bank.height() {
                    self.slot = Some(slot.clone());
                }
            }
            Record::Refused { number, refusals } => {
                self.refusals.insert(*number, refusals.clone());
                self.refused_next = number + 1;
            }
            Record::RefusedTrim { first_live } => self.refusals.retain(|number, _| number >= first_live),
            Record::Horizon { owner, id } => {
                let horizon = self.horizons.entry(*owner).or_insert(*id);
                *horizon = (*horizon).max(*id);
            }
            Record::Peer { node, incarnation } => {
                self.peers.insert(*node, *incarnation);
            }
            Record::Admitted => self.admitted = true,
            // It changes nothing of what a restart must give.
            Record::Checkpoint { .. } => {}
        }
    }

    /// A checkpoint of what is settled, in parts of so many rows, that leaves entries after `seq` to the blocks.
    pub fn checkpoint(&self, seq: Seq, rows_max: usize) -> Record {
        let State { bank, memory, settled_at, .. } = self.state();
        let parts = Checkpoint::parts(&bank, &memory, &settled_at, settled_at.last_up_to(seq), rows_max);
        Record::Checkpoint { parts, complete: true }
    }

    /// What a restart must give.
    pub fn state(&self) -> State {
        let mut memory = Memory::new(IDS_MAX);
        self.horizons.iter().for_each(|(owner, id)| memory.raise_horizon(*owner, *id));
        for (index, operation) in self.entries[..self.watermark()].iter().enumerate() {
            if self.horizons.get(&Some(operation.account())).is_none_or(|horizon| operation.id > *horizon) {
                memory.approved(self.bank.balances(), operation, Seq(index as u64 + 1));
            }
        }
        for (number, refusals) in &self.refusals {
            memory.load_record(*number, refusals, |account| self.bank.balance(account).is_some());
        }
        memory.continue_records_at(self.refused_next);
        State {
            admitted: self.admitted,
            promise: self.promise,
            slot: self.slot.clone(),
            peers: self.peers.clone(),
            bank: self.bank.clone(),
            log: self.unsettled().to_vec(),
            memory,
            settled_at: self.settled.iter().copied().collect(),
        }
    }
}

/// Builds a script record by record, so that each can rest on those before.
struct Author {
    model: Model,
    steps: Vec<Vec<Record>>,
}

impl Author {
    fn write(&mut self, records: Vec<Record>) {
        records.iter().for_each(|record| self.model.apply(record));
        self.steps.push(records);
    }

    fn log(&self, operations: &[Operation]) -> Record {
        Record::Log { first: Seq(self.model.entries.len() as u64 + 1), operations: operations.to_vec() }
    }

    /// A block of so many of the own unsettled entries, and of one transfer of B.
    fn block(&self, own: usize, id_from_b: u128) -> Arc<Block> {
        let from_b = [transfer(id_from_b, "B", "A")];
        block(&self.model.bank, &[("A", &self.model.unsettled()[..own]), ("B", &from_b)])
    }
}

/// A life in which every kind of record occurs, one write after the other. At its end no stream is empty, the log
/// has several records, the chain several blocks, and a vote stands.
pub fn script() -> Vec<Vec<Record>> {
    let mut author = Author { model: Model::new(), steps: Vec::new() };
    let open = Operation { id: 3.into(), action: Action::Open { account: account("alice@A") } };
    let peer = |name: &str, incarnation| Record::Peer { node: node(name), incarnation: Incarnation(incarnation) };
    author.write(vec![peer("B", 11), peer("C", 12)]);
    author.write(vec![Record::Admitted]);
    author.write(vec![author.log(&[transfer(1, "A", "B"), transfer(2, "A", "C"), open])]);
    author.write(vec![Record::Promise(ballot(1, "B"))]);
    let straddled = author.block(2, 100);
    author.write(vec![Record::Accepted(Slot { ballot: ballot(1, "B"), block: straddled.clone() })]);
    author.write(vec![Record::Block(straddled)]);
    // Checkpoints with all blocks behind them, so that a start reads each record.
    author.write(vec![author.model.checkpoint(Seq(0), 100)]);
    author.write(vec![
        author.log(&[transfer(4, "A", "B")]),
        Record::Refused { number: 1, refusals: vec![refusal(20, "A"), refusal(21, "ghost@A")] },
    ]);
    let second = author.block(2, 101);
    author.write(vec![Record::Accepted(Slot { ballot: ballot(3, "C"), block: second.clone() })]);
    author.write(vec![Record::Block(second), author.log(&[transfer(5, "A", "alice@A")])]);
    author.write(vec![author.model.checkpoint(Seq(0), 100)]);
    author.write(vec![
        Record::Refused { number: 2, refusals: vec![refusal(22, "A")] },
        Record::Horizon { owner: None, id: 21.into() },
        Record::Horizon { owner: Some(account("A")), id: 1.into() },
        Record::RefusedTrim { first_live: 2 },
    ]);
    let third = author.block(1, 102);
    author.write(vec![Record::Block(third)]);
    author
        .write(vec![Record::Promise(ballot(2, "A")), Record::Refused { number: 3, refusals: vec![refusal(23, "A")] }]);
    author.write(vec![author.log(&[transfer(6, "A", "B"), transfer(7, "alice@A", "B")])]);
    author.write(vec![author.log(&[transfer(8, "A", "B")])]);
    let fourth = author.block(3, 103);
    author.write(vec![
        Record::Accepted(Slot { ballot: ballot(5, "A"), block: fourth }),
        Record::Horizon { owner: Some(account("alice@A")), id: 2.into() },
        author.log(&[transfer(9, "A", "C")]),
    ]);
    author.steps
}

/// Runs the script in one process and closes the store.
pub fn run_script(store: &mut dyn Store) {
    let mut journal = recover(store, &options()).unwrap().journal;
    for records in script() {
        store.write(&journal.write(records)).unwrap();
    }
}

/// What the whole script amounts to.
pub fn end_of_script() -> State {
    let mut model = Model::new();
    script().iter().flatten().for_each(|record| model.apply(record));
    model.state()
}
