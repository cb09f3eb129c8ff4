//! One suite for every store: what a write guarantees, what a restart gives back, and that no damage goes unnoticed.
#![allow(clippy::unwrap_used)]

mod archived_bench;
mod bench;
mod checkpoints;
mod damage;
#[path = "../common/disk.rs"]
mod disk;
mod power_disk;
mod power_tally;
mod power_truth;
#[path = "../common/proxy.rs"]
mod proxy;
mod random;
mod redb_disk;
mod redb_file;
mod redb_power;
mod redis_answers;
mod redis_archive;
mod redis_archive_misfits;
mod redis_bench;
mod redis_damage;
mod redis_disk;
mod redis_edited;
mod redis_network;
#[path = "../common/redis.rs"]
mod redis_server;
mod redis_settings;
mod script;
mod writes;
