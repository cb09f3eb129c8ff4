//! `paxbank config`, and where the values of a node's flags come from: a flag goes before the environment, that before
//! the configuration file, and that before the default.

mod file;
mod show;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _};

use self::file::{ConfigFile, Setting};
pub(super) use self::show::ShowConfig;
use super::node::NodeFlags;
use super::{Arguments, Command, Failure, Wrong};
use crate::toml_file::{TomlFileError, TomlText};

/// The flags that may be keys of the file, by their names: all of a node's but the one that names the file.
fn flags() -> BTreeMap<String, Arg> {
    let command = NodeFlags::augment_args(clap::Command::new("node"));
    let named = command.get_arguments().filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.clone())));
    named.filter(|(name, _)| name != "config").collect()
}

/// Reads the arguments of this process. Where they name a configuration file, what it says stands in the place of the
/// defaults, so that flags and environment go before it.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Arguments, Wrong> {
    // What is missing may be in the file.
    let lenient = arguments_command().mut_subcommand("node", |node| node.mut_args(|arg| arg.required(false)));
    let first = lenient.try_get_matches_from(&arguments)?;
    let strict = || Ok(Arguments::from_arg_matches(&arguments_command().try_get_matches_from(&arguments)?)?);
    let Some((name @ ("node" | "config"), given)) = first.subcommand() else { return strict() };
    let Some(path) = given.get_one::<PathBuf>("config") else { return strict() };
    let flags = flags();
    let wrong = |error: TomlFileError| Wrong::File(Failure::usage(error.to_string()));
    let file = TomlText::read(path).and_then(|text| ConfigFile::parse(&text, &flags)).map_err(wrong)?;
    one_beginning(given, &file)?;
    let command = arguments_command().mut_subcommand(name, |command| with_defaults(command, &file, &flags));
    let second = command.try_get_matches_from(&arguments).map_err(|error| in_the_file(error, &file))?;
    let mut parsed = Arguments::from_arg_matches(&second)?;
    if let Command::Config(config) = &mut parsed.command {
        config.found_in(&file);
    }
    Ok(parsed)
}

/// The command. Where nodes are named by an empty variable, they are not named.
fn arguments_command() -> clap::Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let unnamed = |arg: Arg| if arg.get_id() == "nodes" && is_empty(&arg) { arg.env(None) } else { arg };
    Arguments::command().mut_subcommands(|command| command.mut_args(unnamed))
}

/// The error with the name of the variable where the wrong value is the environment's: of both, the parser names the flag.
pub(super) fn of_environment(mut error: clap::Error, arguments: Vec<OsString>) -> clap::Error {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    // "--opening <AMOUNT>"
    let flag = shown.split([' ', '[', '=']).next().unwrap_or_default().to_owned();
    let written: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    if written.iter().any(|argument| argument.split('=').next() == Some(&flag)) {
        return error;
    }
    let whole = Arguments::command();
    let command = written.iter().find_map(|argument| whole.find_subcommand(argument.as_ref()));
    let arg = command.into_iter().flat_map(clap::Command::get_arguments);
    let mut named = arg.filter(|arg| arg.get_long() == flag.strip_prefix("--"));
    if let Some(variable) = named.find_map(|arg| arg.get_env().filter(|name| std::env::var_os(name).is_some())) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable.to_string_lossy().into_owned()));
    }
    error
}

/// The command of a node, where what the file says stands in the place of the defaults.
fn with_defaults(command: clap::Command, file: &ConfigFile, flags: &BTreeMap<String, Arg>) -> clap::Command {
    file.settings.iter().fold(command, |command, (key, setting)| {
        let values: Vec<clap::builder::OsStr> = setting.values.iter().map(Into::into).collect();
        command.mut_arg(flags[key].get_id(), |arg| arg.required(false).default_values(values))
    })
}

/// What a node takes from a configuration file of this text, by key, without asking the environment.
///
/// # Errors
/// What its user is told: the file, the line, the key, and what to do.
pub fn settings(path: &Path, text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let flags = flags();
    let file = ConfigFile::parse(&TomlText::new(path, text), &flags).map_err(|error| error.to_string())?;
    let command = NodeFlags::augment_args(clap::Command::new("node")).mut_args(|arg| arg.required(false).env(None));
    match with_defaults(command, &file, &flags).try_get_matches_from(["node"]) {
        Ok(_) => Ok(file.settings.into_iter().map(|(key, setting)| (key, setting.values)).collect()),
        Err(error) => match in_the_file(error, &file) {
            Wrong::File(failure) => Err(failure.message),
            Wrong::Arguments(error) => Err(error.to_string()),
        },
    }
}

/// A genesis file and an opening balance are two answers to one question, wherever they stand.
fn one_beginning(given: &ArgMatches, file: &ConfigFile) -> Result<(), Wrong> {
    let place = |name: &str| match (given.value_source(name), file.settings.get(name)) {
        (Some(ValueSource::CommandLine), _) => Some(format!("--{name}")),
        (Some(ValueSource::EnvVariable), _) => Some(format!("PAXBANK_NODE_{}", name.to_uppercase())),
        (_, Some(setting)) => Some(format!("the key {name} ({})", setting.place)),
        _ => None,
    };
    match (place("genesis"), place("opening")) {
        (Some(genesis), Some(opening)) => Err(Wrong::File(Failure::usage(format!(
            "{genesis} and {opening} cannot be used together, both say what is on the accounts at first; keep one"
        )))),
        _ => Ok(()),
    }
}

/// Flags and environment were found good without the file, so that a value that is not is the file's.
fn in_the_file(error: clap::Error, file: &ConfigFile) -> Wrong {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return Wrong::Arguments(error) };
    // "--peer <NAME=HOST:PORT>"
    let key = shown.trim_start_matches("--").split([' ', '[', '=']).next().unwrap_or_default();
    let Some(Setting { place, values }) = file.settings.get(key) else { return Wrong::Arguments(error) };
    let why = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) => format!("give one of {}", valid.join(", ")),
        _ => std::error::Error::source(&error).map_or_else(|| "it cannot be used".to_owned(), ToString::to_string),
    };
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value,
        _ => &values.join(", "),
    };
    // An address may hold a password, though it is refused then.
    let value = if key == "store" { String::new() } else { format!(" = {value:?}") };
    Wrong::File(Failure::usage(format!("{place}: {key}{value}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_taken_as_it_is_or_told_without_what_a_terminal_would_obey() {
        let read = |text: &str| settings(Path::new("a.toml"), text);
        let taken = read("id = \"A\"\npeer = [\"B=b:1\", \"C=c:2\"]\nopening = 0x10").unwrap();
        let expected = [("id", vec!["A"]), ("opening", vec!["16"]), ("peer", vec!["B=b:1", "C=c:2"])];
        let expected = expected.map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()));
        assert_eq!(taken, expected.into());
        for (text, expected) in [
            ("id = \"\\u001b[2J\"", "a.toml, line 1: id = \"\\u{1b}[2J\": the name"),
            ("\"\\u202e\" = 1", "there is no key \"\\u{202e}\""),
            ("client-advertise = \"b\\u202e:1\"", "an address is HOST:PORT in ASCII"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(expected), "{expected:?} is not in {told:?}");
            assert_eq!(crate::text::printable(&told), told);
        }
    }
}
