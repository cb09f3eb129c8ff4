//! Texts that somebody else wrote, on their way to a terminal, a log or a client.

use serde::{Deserialize as _, Deserializer};

/// The text with everything escaped (`\u{1b}`) that is not seen as itself: what moves a cursor, colours a terminal, breaks
/// a line, hides, or turns the direction of reading. What is escaped already stays as it is.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// The same, cut to so many characters.
pub fn brief(text: &str, characters: usize) -> String {
    let cut: String = text.chars().take(characters).collect();
    printable(&cut).chars().take(characters).collect()
}

/// Deserializes a text of another process, for people to read.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(printable(&String::deserialize(deserializer)?))
}

/// Deserializes one that may be missing. The field needs a default.
pub(crate) fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| printable(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_as_itself_is_escaped_and_the_rest_is_not() {
        let shown = [
            ("plain \"text\", it's C:\\", "plain \"text\", it's C:\\"),
            ("żółć → 1", "żółć → 1"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("one\r\ntwo\t\0", "one\\r\\ntwo\\t\\0"),
            ("C1 \u{9b}31m", "C1 \\u{9b}31m"),
            ("pay \u{202e}ecila\u{2066}", "pay \\u{202e}ecila\\u{2066}"),
            ("a\u{200b}b\u{feff}\u{2028}", "a\\u{200b}b\\u{feff}\\u{2028}"),
        ];
        for (text, expected) in shown {
            assert_eq!(printable(text), expected);
            assert_eq!(printable(expected), expected, "once is enough");
        }
    }

    #[test]
    fn a_text_without_end_is_cut() {
        assert_eq!(brief(&"\u{1b}".repeat(1_000), 10), "\\u{1b}\\u{1");
        assert_eq!(brief("short", 10), "short");
    }
}
