//! The configuration file of a node: its flags as keys, each with a value of the type that it has.

use std::any::TypeId;
use std::collections::BTreeMap;

use clap::{Arg, ArgAction};
use toml::Spanned;
use toml::de::DeValue;

use crate::toml_file::{Place, TomlFileError, TomlText, whole_number};
use crate::types::Amount;

/// What a file says, by key.
pub(super) struct ConfigFile {
    pub(super) settings: BTreeMap<String, Setting>,
}

/// What it says of one key: as texts, which are read as those of the flag are.
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) values: Vec<String>,
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    Switch,
    Texts,
}

impl Kind {
    pub(super) fn of(flag: &Arg) -> Self {
        let parsed = flag.get_value_parser().type_id();
        match flag.get_action() {
            ArgAction::Append => Self::Texts,
            _ if parsed == TypeId::of::<bool>() => Self::Switch,
            _ if parsed == TypeId::of::<Amount>() => Self::Whole,
            _ => Self::Text,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes, such as \"A\"",
            Self::Whole => "a whole number, such as 100",
            Self::Switch => "true or false, without quotes",
            Self::Texts => "a list of texts, such as [\"B=127.0.0.1:7002\", \"C=127.0.0.1:7003\"]",
        }
    }

    /// The value as the flag would have it; `None` where it is of another type.
    fn read(self, value: &DeValue<'_>) -> Option<Vec<String>> {
        match self {
            Self::Text => value.as_str().map(|text| vec![text.to_owned()]),
            // A genesis file takes a text for a large amount; here it is a slip.
            Self::Whole if value.is_str() => None,
            Self::Whole => whole_number(value).map(|digits| vec![digits]),
            Self::Switch => value.as_bool().map(|on| vec![on.to_string()]),
            Self::Texts => {
                let texts = value.as_array()?.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned));
                texts.collect()
            }
        }
    }
}

impl ConfigFile {
    pub(super) fn parse(file: &TomlText<'_>, flags: &BTreeMap<String, Arg>) -> Result<Self, TomlFileError> {
        let table = file.parse()?;
        file.check_keys(&table, &flags.keys().map(String::as_str).collect::<Vec<_>>())?;
        let mut entries: Vec<_> = table.iter().collect();
        // Of several mistakes, the first is told.
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut settings = BTreeMap::new();
        for (key, value) in entries {
            let (key, kind) = (key.get_ref().to_string(), Kind::of(&flags[key.get_ref().as_ref()]));
            let Some(values) = kind.read(value.get_ref()) else {
                return Err(wrong_type(file, key, value, kind));
            };
            // A list of nobody is what there is without the key.
            if !values.is_empty() {
                settings.insert(key, Setting { place: file.place(value.span().start), values });
            }
        }
        Ok(Self { settings })
    }
}

fn wrong_type(file: &TomlText<'_>, key: String, value: &Spanned<DeValue<'_>>, kind: Kind) -> TomlFileError {
    // In a list it is the entry that is wrong.
    let entry = value.get_ref().as_array().filter(|_| kind == Kind::Texts);
    match entry.and_then(|list| list.iter().find(|entry| !entry.get_ref().is_str())) {
        Some(entry) => file.wrong_type(format!("each of {key}"), entry, Kind::Text.expected()),
        None => file.wrong_type(key, value, kind.expected()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::flags;
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, String> {
        ConfigFile::parse(&TomlText::new(Path::new("a.toml"), text), &flags()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_flag_has_a_key_of_its_name_and_a_variable_in_the_environment() {
        for (name, flag) in flags() {
            let value = match Kind::of(&flag) {
                Kind::Text => "\"x\"",
                Kind::Whole => "1",
                Kind::Switch => "true",
                Kind::Texts => "[\"x\"]",
            };
            let file = parse(&format!("{name} = {value}")).unwrap();
            assert_eq!(file.settings.keys().collect::<Vec<_>>(), [&name]);
            let variable = flag.get_env().unwrap().to_str().unwrap();
            assert!(variable.starts_with("PAXBANK_"), "{variable}");
            let documents = include_str!("../../../docs/configuration.md");
            assert!(documents.contains(&format!("| `{name}` |")), "{name} is not in docs/configuration.md");
            assert!(documents.contains(variable), "{variable} is not in docs/configuration.md");
        }
    }

    #[test]
    fn the_example_of_the_documents_can_be_read() {
        let documents = include_str!("../../../docs/configuration.md");
        let example = documents.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let file = parse(example).unwrap();
        assert!(file.settings.contains_key("id") && file.settings.contains_key("peer"));
    }

    #[test]
    fn a_wrong_file_is_told_with_line_key_and_type() {
        for (text, expected) in [
            (
                "id = \"A\"\npeer_listen = \"x\"",
                "a.toml, line 2: there is no key \"peer_listen\"; did you mean peer-listen?",
            ),
            ("config = \"b.toml\"", "there is no key \"config\""),
            ("redis-password = \"hunter2\"", "did you mean redis-password-file?"),
            ("id = 5", "a.toml, line 1: id must be a text in quotes, such as \"A\", and is a whole number"),
            ("opening = \"50\"", "opening must be a whole number, such as 100, and is a text"),
            ("opening = 1.5", "opening must be a whole number, such as 100, and is a number with a fraction"),
            ("force-admission = \"yes\"", "force-admission must be true or false, without quotes, and is a text"),
            ("peer = \"B=x\"", "peer must be a list of texts"),
            ("peer = [\n1]", "line 2: each of peer must be a text in quotes"),
            ("[node]\nid = \"A\"", "there is no key \"node\""),
        ] {
            let told = parse(text).err().unwrap();
            assert!(told.contains(expected), "{expected:?} is not in {told:?}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
