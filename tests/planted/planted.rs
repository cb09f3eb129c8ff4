//! Which of the planted bugs is awake. Stands in the copy of the tree that they are planted in, and nowhere else.

use std::sync::LazyLock;

static AWAKE: LazyLock<String> = LazyLock::new(|| std::env::var("PLANTED_BUG").unwrap_or_default());

/// True where the bug of this name is awake.
pub fn planted(bug: &str) -> bool {
    *AWAKE == bug
}
