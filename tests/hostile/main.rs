//! Strangers that do their worst at both ports of real processes, while honest clients go on, and are answered.
//!
//! `HOSTILE_CLIENTS` says how many strangers come (2,000); `--nocapture` shows how long the honest waited.
#![allow(clippy::unwrap_used)]

#[path = "../nodes/bank.rs"]
#[allow(dead_code)]
mod bank;
#[path = "../nodes/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[path = "../nodes/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "../nodes/proxy.rs"]
#[allow(dead_code)]
mod proxy;
#[path = "../sockets/bank.rs"]
#[allow(dead_code)]
mod raw;
#[path = "../common/redis.rs"]
mod redis;

mod clients;
mod honest;
mod node;
mod peers;
mod replays;
