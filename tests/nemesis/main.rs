//! Real processes, real sockets, real stores, and everything that can be done to them at once: what clients were told under
//! it is held against the bank by `paxbank check-history`.
//!
//! Once with proxies on the ways, which needs no privileges; once more, where these are there, with a network between the
//! nodes whose packets vanish.
//!
//! `NEMESIS_SECONDS` sets how long the faults go on, `NEMESIS_SEED` which come, and in which order; what real processes do
//! meanwhile is not repeated exactly. `NEMESIS_HISTORY` names a file to keep the history in.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "../nodes/bank.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod bank;
#[path = "../nodes/certificates.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod certificates;
#[path = "../nodes/process.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod process;
#[path = "../nodes/proxy.rs"]
#[allow(dead_code, reason = "the harness of tests/nodes, of which this uses a part")]
mod proxy;
#[path = "../common/redis.rs"]
mod redis;

mod clients;
mod faults;
mod judge;
mod machine;
mod namespaces;
mod network;
mod shim;

use paxos_banking::entropy::Entropy;

use bank::{Bank, NAMES};
use judge::{Run, withstands};
use machine::Machine;
use process::Place;
use shim::Shim;

#[tokio::test]
async fn what_clients_are_told_under_every_fault_is_what_the_bank_holds() {
    let run = Run::wanted(20);
    let mut entropy = Entropy::from_seed(run.seed);
    let shim = Shim::new();
    // At least one of each kind of store.
    let odd = NAMES[usize::try_from(entropy.below(3)).unwrap()];
    let one = entropy.below(2) == 0;
    let on_redis: Vec<&str> = NAMES.into_iter().filter(|name| (*name == odd) == one).collect();
    let mut bank = Bank::prepared_on(&on_redis, 1_000).await;
    let place = |name| Place { environment: shim.environment(name), ..Place::default() };
    bank.places = NAMES.map(|name| (name, place(name))).into();
    for name in NAMES {
        bank.run(name).await;
    }
    println!("{on_redis:?} on a Redis");
    let machine = withstands(Machine { bank, shim, ended: 0 }, &run, entropy).await;
    println!("{} nodes ended by themselves", machine.ended);
}
