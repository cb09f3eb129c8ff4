//! A replicated bank: every account's home node approves transfers alone, Paxos settles them into a blockchain on every
//! node.

pub mod effect;
pub mod ledger;
pub mod paxos;
pub mod reconcile;
pub mod store;
pub mod types;
