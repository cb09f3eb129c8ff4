//! One suite for every store: what a write guarantees, what a restart gives back, and that no damage goes unnoticed.
#![allow(clippy::unwrap_used)]

mod bench;
mod damage;
mod random;
mod redb_disk;
mod redb_file;
mod script;
mod writes;
