//! The client library and the commands that use it, against nodes that follow a script over real sockets.
#![allow(clippy::unwrap_used)]

mod bench;
mod commands;
mod doctor;
mod export;
mod faults;
mod follow;
mod history;
mod node;
mod reads;
mod shell;
mod transfers;
