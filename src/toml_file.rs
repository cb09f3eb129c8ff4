//! TOML files that people write: reading them, and saying what is wrong with them, where, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file and a line in it, as it is named in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file.display(), self.line)
    }
}

/// Why a file cannot be used, whatever it is to say. No line of the file is repeated: it could hold what is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TomlFileError {
    /// It is not there, may not be read, or is no text.
    #[error("{file} cannot be read: {why}; give a text file that this user may read", file = file.display())]
    Unreadable {
        /// The file, as it was given.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// It is no TOML.
    #[error("{place}: this is not TOML: {what}; a line is KEY = VALUE, and texts, as keys with an @, stand in quotes")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        what: String,
    },
    /// A key that means nothing here.
    #[error("{place}: there is no key {key:?}; {hint}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// Which keys there are.
        hint: String,
    },
    /// A value of another type.
    #[error("{place}: {key} must be {expected}, and is {found}")]
    WrongType {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What it must be, with an example.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A key without which the file says nothing.
    #[error("{file}: the key {key} is missing; give {expected}", file = file.display())]
    Missing {
        /// The file, as it was given.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What it must be, with an example.
        expected: &'static str,
    },
}

/// The text of a file, and its path for messages.
pub(crate) struct TomlText<'a> {
    path: &'a Path,
    text: String,
}

impl<'a> TomlText<'a> {
    pub(crate) fn read(path: &'a Path) -> Result<Self, TomlFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| TomlFileError::Unreadable { file: path.to_owned(), why: error.to_string() })?;
        Ok(Self { path, text })
    }

    /// A text that was read already.
    pub(crate) fn new(path: &'a Path, text: &str) -> Self {
        Self { path, text: text.to_owned() }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    pub(crate) fn parse(&self) -> Result<DeTable<'_>, TomlFileError> {
        DeTable::parse(&self.text).map(Spanned::into_inner).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // The parser may end a sentence with a new line, and speak of several.
            let what = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            TomlFileError::Syntax { place: self.place(at), what }
        })
    }

    /// The line that holds the byte `at`.
    pub(crate) fn place(&self, at: usize) -> Place {
        let before = self.text.bytes().take(at);
        Place { file: self.path.to_owned(), line: 1 + before.filter(|byte| *byte == b'\n').count() }
    }

    pub(crate) fn wrong_type(
        &self,
        key: impl Into<String>,
        value: &Spanned<DeValue<'_>>,
        expected: &'static str,
    ) -> TomlFileError {
        let (place, found) = (self.place(value.span().start), kind(value.get_ref()));
        TomlFileError::WrongType { place, key: key.into(), expected, found }
    }

    pub(crate) fn missing(&self, key: &'static str, expected: &'static str) -> TomlFileError {
        TomlFileError::Missing { file: self.path.to_owned(), key, expected }
    }

    /// The first key, in the order of the file, that is none of those known.
    pub(crate) fn check_keys(&self, table: &DeTable<'_>, known: &[&str]) -> Result<(), TomlFileError> {
        let strange = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = strange.min_by_key(|key| key.span().start) else { return Ok(()) };
        let (place, name) = (self.place(key.span().start), key.get_ref().to_string());
        let hint = match nearest(&name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}", known.join(", ")),
        };
        Err(TomlFileError::UnknownKey { place, key: name, hint })
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction or an exponent",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A whole number in decimal digits, of any size, as amounts are read from; also where it is written as a text.
pub(crate) fn whole_number(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str();
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            match number.radix() {
                10 => Some(digits.to_owned()),
                radix => u64::from_str_radix(digits, radix).ok().map(|number| number.to_string()),
            }
        }
        _ => None,
    }
}

/// The one of `known` that `wrong` was most likely to be.
pub(crate) fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('_', "-");
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong, name);
    let near = known.iter().copied().min_by_key(|name| distance(name))?;
    // Beyond a third of the letters, a guess would lead astray.
    (distance(near) <= near.len().div_ceil(3).max(2)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> TomlText<'static> {
        TomlText::new(Path::new("bank.toml"), text)
    }

    #[test]
    fn what_is_no_toml_is_named_by_its_line_and_not_repeated() {
        let told = text("a = 1\nb = redis://someone:hunter2@host\n").parse().unwrap_err().to_string();
        assert!(told.starts_with("bank.toml, line 2: this is not TOML"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        let told = text("a = 1\na = 2\n").parse().unwrap_err().to_string();
        assert!(told.contains("line 2") && told.contains("duplicate"), "{told}");
    }

    #[test]
    fn an_unknown_key_comes_with_the_nearest_one() {
        let known = ["peer-listen", "peer", "store"];
        let hint = |line: &str| {
            let file = text(line);
            let table = file.parse().unwrap();
            file.check_keys(&table, &known).map_err(|error| error.to_string())
        };
        assert_eq!(hint("store = 1"), Ok(()));
        for (line, expected) in [
            ("peer_listen = 1", "bank.toml, line 1: there is no key \"peer_listen\"; did you mean peer-listen?"),
            ("\npeers = 1", "bank.toml, line 2: there is no key \"peers\"; did you mean peer?"),
            ("sotre = 1", "bank.toml, line 1: there is no key \"sotre\"; did you mean store?"),
            ("colour = 1", "bank.toml, line 1: there is no key \"colour\"; known are peer-listen, peer, store"),
        ] {
            assert_eq!(hint(line), Err(expected.to_owned()));
        }
    }

    #[test]
    fn whole_numbers_are_read_in_every_form_of_toml() {
        let file = text("a = 1_000\nb = 0xff\nc = +5\nd = -5\ne = 18446744073709551615\nf = \"7\"\ng = 1.5");
        let table = file.parse().unwrap();
        let read = |key: &str| whole_number(table[key].get_ref());
        let expected =
            [("a", "1000"), ("b", "255"), ("c", "5"), ("d", "-5"), ("e", "18446744073709551615"), ("f", "7")];
        for (key, digits) in expected {
            assert_eq!(read(key).as_deref(), Some(digits));
        }
        assert_eq!(read("g"), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let told = TomlText::read(Path::new("/nowhere/bank.toml")).err().unwrap().to_string();
        assert!(told.starts_with("/nowhere/bank.toml cannot be read"), "{told}");
    }
}
