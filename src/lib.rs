//! A replicated bank: every account's home node approves transfers alone, Paxos settles them into a blockchain on every
//! node.

pub mod actors;
pub mod cli;
pub mod cluster;
pub mod effect;
pub mod entropy;
pub mod handshake;
pub mod ledger;
pub mod node;
pub mod paxos;
pub mod reconcile;
pub mod store;
pub mod triplets;
pub mod types;
