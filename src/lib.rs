//! A replicated bank: every account's home node approves transfers alone, from its own durable log; when a balance does
//! not suffice, Paxos settles the logs of all nodes into one block of the chain that every node holds.
//!
//! In reading order:
//!
//! - [`types`]: names, amounts, ids, ballots, hashes.
//! - [`ledger`] and [`paxos`]: the core, plain state machines without IO. A message goes in; what to write and what to send
//!   comes out, as the values of [`effect`], in an order that is the contract. [`reconcile`] and [`handshake`] are of the
//!   same kind: recovery and admission of a node, and the opening of a link.
//! - [`store`]: what a node keeps, and how it is found again, whole or not at all.
//! - [`actors`]: one thin actor per role around the core.
//! - [`node`]: a node out of its roles; [`cluster`]: several of them in one process.
//! - [`client`]: the client library: finds each account's home, retries under one id; [`render`]: what the bank holds and
//!   says, as JSON and as text.
//! - [`history`]: what clients asked and heard, held against chain and logs; no IO.
//! - [`genesis_file`]: the file from which a bank starts; [`toml_file`]: what can be wrong with such files.
//! - [`cli`]: the `paxbank` command; [`shell`]: the language of its prompt; [`triplets`]: files of transfers; [`entropy`]:
//!   the one source of randomness; [`text`]: texts of strangers, made fit to be shown.
//!
//! # As a client
//!
//! This is `examples/client.rs`; [`client`] says more.
//!
//! ```no_run
#![doc = include_str!("../examples/client.rs")]
//! ```
//!
//! # A test of one actor
//!
//! This is `examples/actor_test.rs`; the tests beside the actors do the same for each of them.
//!
//! ```
#![doc = include_str!("../examples/actor_test.rs")]
//! ```
pub mod actors;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod codec;
pub mod effect;
pub mod entropy;
pub mod genesis_file;
pub mod handshake;
pub mod history;
pub mod ledger;
pub mod node;
pub mod paxos;
pub mod reconcile;
pub mod render;
pub mod shell;
pub mod store;
pub mod text;
pub mod toml_file;
pub mod triplets;
pub mod types;
pub mod wire;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
