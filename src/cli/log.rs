//! Logs of a node, on stderr: stdout is for results.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs what `RUST_LOG` says (targets and levels, such as `debug` or `paxos_banking::actors=debug`), else from `info` up:
/// lines for people, or one JSON object each.
pub(super) fn to_stderr(json: bool) {
    let filter = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match json {
        true => layer.json().flatten_event(true).boxed(),
        false => layer.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter).init();
}
