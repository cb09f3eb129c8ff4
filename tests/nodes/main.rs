//! Nodes as their users run them: processes with sockets and stores of their own, which are killed, cut off and restarted.
#![allow(clippy::unwrap_used)]

#[path = "../common/disk.rs"]
mod disk;
#[path = "../common/redis.rs"]
mod redis;

mod bank;
mod certificates;
mod load;
mod process;
mod proxy;

mod configuration;
mod crashes;
mod demo;
mod followers;
mod lost_disks;
mod operators;
mod partitions;
mod redis_archives;
mod redis_disks;
mod redis_logs;
mod redis_stores;
mod redis_tls;
mod redis_users;
