//! What must hold, one function for each property, named for its rule. These are asked at each message, write, block,
//! answer and view as it comes; what only the whole run can show is in `witness.rs`. What they share is imported here.

use std::collections::BTreeSet;
use std::sync::Arc;

use paxos_banking::actors::message::{BankView, Outgoing};
use paxos_banking::effect::HaltReason;
use paxos_banking::history::{Chain, History, Settled, content, identity};
use paxos_banking::ledger::entry::OPERATION_BYTES_MAX;
use paxos_banking::ledger::{Action, Answer, Approval, Block, Request, Trace, Verdict};
use paxos_banking::paxos::{Message, NackKind};
use paxos_banking::store::record::{self, Horizon, Kind, Peer};
use paxos_banking::store::{Head, Stream};
use paxos_banking::types::{AccountId, Ballot, Epoch, Hash, Height, Incarnation, NodeId, Seq, TransferId};
use paxos_banking::wire::client::{Balance, LogEntry, Status};

use crate::answers::Answers;
use crate::record::{Collection, Excuse, Reached, Record};

mod answers;
mod bank;
mod messages;
mod reads;
mod stores;

pub use answers::*;
pub use bank::*;
pub use messages::*;
pub use reads::*;
pub use stores::*;

type Held = Result<(), String>;

fn hold(holds: bool, otherwise: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(otherwise()) }
}
