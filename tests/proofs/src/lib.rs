//! What the random tests cannot show: the core of the bank in every order of events that a scope allows ([`model`]), and
//! the values that properties are tried with ([`values`]).
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub mod model;
#[expect(missing_docs, reason = "a test's module, shared with tests/core_random")]
#[path = "../../common/core_node.rs"]
pub mod node;
pub mod values;
