//! Nodes with real sockets around them, in this process: what strangers, clients and peers may do to them, and may not.
#![allow(clippy::unwrap_used)]

#[path = "../common/redis.rs"]
mod redis;

mod archives;
mod bank;
mod clients;
mod peers;
