//! Logs of a node, on stderr: stdout is for results.

use std::ffi::OsString;
use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;

/// Logs what `RUST_LOG` says (a level such as `debug`, or targets with levels such as `paxos_banking::actors=debug`), and
/// what it says nothing of from this level up: lines for people, or one JSON object each.
pub(super) fn to_stderr(json: bool, level: Level) -> Result<(), Failure> {
    let text = std::env::var("RUST_LOG").unwrap_or_default();
    let wrong = |error| Failure::usage(format!("RUST_LOG={text} is no filter ({error}); give a level, such as debug"));
    // An empty filter would be read as one that lets nothing pass.
    let said: Targets = if text.trim().is_empty() { Targets::new() } else { text.parse().map_err(wrong)? };
    let filter = if said.default_level().is_some() { said } else { said.with_default(level) };
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match json {
        true => layer.json().flatten_event(true).boxed(),
        false => layer.with_ansi(has_colours()).with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter).init();
    Ok(())
}

/// Whether stderr is a terminal whose user has nothing against colours (<https://no-color.org>).
fn has_colours() -> bool {
    std::io::stderr().is_terminal() && !refuses_colours(std::env::var_os("NO_COLOR"))
}

/// An empty variable says nothing.
fn refuses_colours(no_color: Option<OsString>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_variable_holds_is_a_refusal_but_nothing_is_none() {
        assert!(refuses_colours(Some("1".into())) && refuses_colours(Some("0".into())));
        assert!(!refuses_colours(Some("".into())) && !refuses_colours(None));
    }
}
