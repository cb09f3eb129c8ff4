//! `paxbank config`, and where the values of a node's flags come from: a flag goes before the environment, that before
//! the configuration file, and that before the default.

mod file;
mod show;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _};

use self::file::{ConfigFile, Setting};
pub(super) use self::show::ShowConfig;
use super::node::NodeFlags;
use super::{Arguments, Command, Failure, Wrong};

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
    let lenient = Arguments::command().mut_subcommand("node", |node| node.mut_args(|arg| arg.required(false)));
    let first = lenient.try_get_matches_from(&arguments)?;
    let strict = || Ok(Arguments::from_arg_matches(&Arguments::command().try_get_matches_from(&arguments)?)?);
    let Some((name @ ("node" | "config"), given)) = first.subcommand() else { return strict() };
    let Some(path) = given.get_one::<PathBuf>("config") else { return strict() };
    let flags = flags();
    let file = ConfigFile::read(path, &flags).map_err(|error| Wrong::File(Failure::usage(error.to_string())))?;
    one_beginning(given, &file)?;
    let command = Arguments::command().mut_subcommand(name, |command| {
        file.settings.iter().fold(command, |command, (key, setting)| {
            let values: Vec<clap::builder::OsStr> = setting.values.iter().map(Into::into).collect();
            command.mut_arg(flags[key].get_id(), |arg| arg.required(false).default_values(values))
        })
    });
    let second = command.try_get_matches_from(&arguments).map_err(|error| in_the_file(error, &file))?;
    let mut parsed = Arguments::from_arg_matches(&second)?;
    if let Command::Config(config) = &mut parsed.command {
        config.found_in(&file);
    }
    Ok(parsed)
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
