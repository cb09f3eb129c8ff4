//! What nodes store. Whoever changes one of these bytes changes the format: stores that are out there need a new
//! version, and a reader for the old one.

use paxos_banking::effect::Slot;
use paxos_banking::ledger::{Bank, Checkpoint, Memory, Reason, Refusal, SettledAt};
use paxos_banking::store::record::{self, Horizon, Identity, Kind, LogBatch, Peer, RefusedBatch, WalHeader, WalState};
use paxos_banking::store::{Accepted, Head, Saved, Stream, field};
use paxos_banking::types::{Amount, Hash, Height, Incarnation, Seq, TransferId};

use crate::example::{Example, every_variant};
use crate::values::{account, ballot, block_1, block_2, epoch, genesis, id, node, transfer};

pub fn examples() -> Vec<Example> {
    every_variant!(record, Kind {
        Genesis: "record.genesis" => Kind::Genesis,
        Block: "record.block" => Kind::Block,
        Log: "record.log" => Kind::Log,
        Refused: "record.refused" => Kind::Refused,
        Head: "record.head" => Kind::Head,
        Identity: "record.identity" => Kind::Identity,
        Slot: "record.slot" => Kind::Slot,
        Peer: "record.peer" => Kind::Peer,
        Horizon: "record.horizon" => Kind::Horizon,
        Epoch: "record.epoch" => Kind::Epoch,
        WalState: "record.wal_state" => Kind::WalState,
        WalHeader: "record.wal_header" => Kind::WalHeader,
        Checkpoint: "record.checkpoint" => Kind::Checkpoint,
    })
}

fn record(name: &'static str, kind: Kind) -> Example {
    let slot = Slot { ballot: ballot(), block: block_2() };
    match kind {
        Kind::Genesis => Example::record(name, "chain/0", kind, genesis()),
        Kind::Block => Example::stored(name, "chain/1", kind, block_1(), |block| record::block("chain/1", block)),
        Kind::Log => {
            let operations = vec![transfer('Y', "A", "B", 250), transfer('Z', "A", "bob@B", 1)];
            Example::record(name, "log/300", kind, LogBatch { first: Seq(299), operations })
        }
        Kind::Refused => Example::record(name, "refused/1", kind, refused()),
        Kind::Head => Example::record(name, field::HEAD, kind, head(&slot)),
        Kind::Identity => {
            let identity = Identity { bank: genesis().id(), node: node("A"), incarnation: Incarnation(0xfeed) };
            Example::record(name, field::IDENTITY, kind, identity)
        }
        Kind::Slot => Example::stored(name, field::SLOT, kind, slot, |slot| record::slot(field::SLOT, slot)),
        Kind::Peer => Example::record(name, "peer/B", kind, Peer { incarnation: Incarnation(u64::MAX) }),
        Kind::Horizon => Example::record(name, "horizon/alice@A", kind, Horizon { id: TransferId::from(5) }),
        Kind::Epoch => Example::record(name, field::EPOCH, kind, epoch()),
        Kind::WalState => {
            Example::record(name, WalState::KEY, kind, WalState { store: store(), open: true, folded: 300 })
        }
        Kind::WalHeader => Example::record(name, WalHeader::KEY, kind, WalHeader { store: store(), half_pages: 4_096 }),
        Kind::Checkpoint => Example::record(name, "state/1", kind, checkpoint()),
    }
}

/// That of node A after block 1, and with all that A remembers in it.
fn checkpoint() -> Checkpoint {
    let (mut bank, mut memory) = (Bank::new(&genesis()), Memory::new(100));
    bank.advance(bank.check(&block_1()).unwrap());
    for entry in block_1().run_of(node("A")).unwrap().entries() {
        memory.approved(bank.balances(), &entry.operation, entry.seq);
    }
    let last = bank.watermark(node("A"));
    let settled_at = SettledAt::from_iter([(last, Height(1))]);
    Checkpoint::joined(Checkpoint::parts(&bank, &memory, &settled_at, settled_at.last_up_to(last), 100)).unwrap()
}

fn store() -> Hash {
    Hash::from_bytes([0x5a; 32])
}

fn head(slot: &Slot) -> Head {
    Head {
        write: 9,
        height: Height(1),
        tip: block_1().hash(),
        log_first: Seq(2),
        log_last: Seq(300),
        refused_first: 1,
        refused_last: 2,
        promise: Some(ballot()),
        accepted: Some(Accepted::of(slot)),
        admitted: true,
        horizons: 1,
        peers: 2,
        state_last: 1,
        saved: Some(Saved { height: Height(1), first: 1, last: 1 }),
    }
}

fn refused() -> RefusedBatch {
    let refusal = |last, to: &str, reason| Refusal {
        id: id(last),
        from: account("A"),
        to: account(to),
        amount: Amount::new(500),
        reason,
    };
    let not_heard = [node("B")].into();
    let funds = Reason::InsufficientFunds { height: Height(1), spendable: Amount::new(0), not_heard };
    let unknown = Reason::UnknownAccount { height: Height(1), account: account("x@C") };
    RefusedBatch { refusals: vec![refusal('V', "C", funds), refusal('W', "x@C", unknown)] }
}

/// A stream added tomorrow needs a line in the document's list of keys.
#[test]
fn the_keys_of_streams_are_those_of_the_document() {
    let named = |stream| match stream {
        Stream::Chain => "chain/7",
        Stream::Log => "log/7",
        Stream::Refused => "refused/7",
        Stream::State => "state/7",
    };
    assert!(Stream::ALL.into_iter().all(|stream| stream.key(7) == named(stream)));
}
