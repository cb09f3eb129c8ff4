//! `paxbank config`: each value that a node would be run with, and where it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Value, json};

use super::file::{ConfigFile, Kind};
use super::flags;
use crate::cli::node::NodeFlags;
use crate::cli::redis_login::PASSWORD_VARIABLE;
use crate::cli::{Failure, Finished, Report};
use crate::genesis_file;

const EXAMPLES: &str = "Examples:
  paxbank config --config a.toml                   what a node would be run with, and where each value comes from
  paxbank config --config a.toml --store memory    the same with a flag, which goes before environment and file
  paxbank config --config a.toml --output json     for programs";
const ABOUT: &str =
    "Shows what a node would be run with, and where each value comes from; the flags are those of paxbank node";

/// What is shown.
pub(in crate::cli) struct ShowConfig {
    rows: Vec<Row>,
    /// What a node would be run with; or why it would not be.
    node: Result<NodeFlags, String>,
}

struct Row {
    name: String,
    kind: Kind,
    values: Vec<String>,
    source: Source,
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Flag,
    Environment(String),
    File,
    Default,
    /// There is no default, and a node does not run without.
    Missing,
    /// It has a value, which nothing looks at.
    Unused,
}

impl Args for ShowConfig {
    fn augment_args(command: Command) -> Command {
        let command = NodeFlags::augment_args(command).mut_args(|arg| arg.required(false).hide(true));
        command.about(ABOUT).long_about(None).before_long_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ShowConfig {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let row = |(name, flag): (String, clap::Arg)| {
            let id = flag.get_id().as_str();
            let values: Vec<String> =
                matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
            let source = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Source::Flag,
                Some(ValueSource::EnvVariable) => {
                    Source::Environment(flag.get_env().unwrap_or_default().to_string_lossy().into_owned())
                }
                _ if values.is_empty() && flag.is_required_set() => Source::Missing,
                _ => Source::Default,
            };
            Row { kind: Kind::of(&flag), name, values, source }
        };
        let mut rows: Vec<Row> = flags().into_iter().map(row).collect();
        if std::env::var_os(PASSWORD_VARIABLE).is_some() {
            // That there is one, not which.
            let source = Source::Environment(PASSWORD_VARIABLE.to_owned());
            rows.push(Row { name: "redis-password".into(), kind: Kind::Text, values: vec!["(hidden)".into()], source });
        }
        let missing: Vec<String> =
            rows.iter().filter(|row| row.source == Source::Missing).map(|row| format!("--{}", row.name)).collect();
        let node = match missing.is_empty() {
            true => NodeFlags::from_arg_matches(matches).map_err(|error| error.to_string()),
            false => Err(format!("{} must be given, as a flag, in the environment or in the file", missing.join(", "))),
        };
        let genesis = rows.iter().any(|row| row.name == "genesis" && !row.values.is_empty());
        for row in rows.iter_mut().filter(|row| genesis && row.name == "opening") {
            row.source = Source::Unused;
        }
        Ok(Self { rows, node })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ShowConfig {
    /// What the file says was taken for defaults.
    pub(super) fn found_in(&mut self, file: &ConfigFile) {
        let keys: BTreeSet<&String> = file.settings.keys().collect();
        for row in self.rows.iter_mut().filter(|row| keys.contains(&row.name)) {
            if row.source == Source::Default {
                row.source = Source::File;
            }
        }
    }

    pub(in crate::cli) fn run(self) -> Result<Finished, Failure> {
        let settings: BTreeMap<&str, Value> = self.rows.iter().map(|row| (row.name.as_str(), row.json())).collect();
        let mut report = Report { human: self.table(), json: json!({ "settings": settings }) };
        let file = self.rows.iter().find(|row| row.name == "genesis").and_then(|row| row.values.first());
        if let Some(file) = file {
            // Two nodes that show the same id here start from the same bank.
            let bank = genesis_file::read(Path::new(file)).map_err(|error| Failure::usage(error.to_string()))?;
            let (id, accounts, total) = (bank.id(), bank.opening().len(), bank.total());
            let line = write!(report.human, "\n\n{file}: bank {id}, {accounts} accounts, {total} in all");
            line.expect("writing to a String does not fail");
            report.json["bank"] = json!({ "id": id, "nodes": bank.nodes(), "accounts": accounts, "total": total });
        }
        let Err(message) = self.node.and_then(|node| would_start(&node)) else { return Ok(report.into()) };
        let line = write!(report.human, "\n\nA node would not start so: {message}");
        line.expect("writing to a String does not fail");
        report.json["error"] = json!({ "code": "usage", "message": message });
        Ok(Finished { report: Some(report), status: 2 })
    }

    fn table(&self) -> String {
        let shown = |row: &Row| if row.values.is_empty() { "-".to_owned() } else { row.values.join(", ") };
        let name = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let value = self.rows.iter().map(|row| shown(row).chars().count()).max().unwrap_or_default().max(5);
        let mut table = format!("{:name$}  {:value$}  source", "key", "value");
        for row in &self.rows {
            let line = write!(table, "\n{:name$}  {:value$}  {}", row.name, shown(row), row.source.text());
            line.expect("writing to a String does not fail");
        }
        table
    }
}

/// The same that a node looks at before it listens anywhere or opens its store.
fn would_start(node: &NodeFlags) -> Result<(), String> {
    let looked = node.check_addresses().and_then(|()| node.bank()).and_then(|_| node.store());
    node.redis.log_in(looked.map_err(|failure| failure.message)?).map(drop)
}

impl Row {
    fn json(&self) -> Value {
        let first = self.values.first();
        let value = match self.kind {
            Kind::Texts => json!(self.values),
            Kind::Text => json!(first),
            // As it would stand in the file.
            Kind::Switch => json!(first.is_some_and(|text| text == "true")),
            Kind::Whole => {
                first.and_then(|digits| digits.parse::<u64>().ok()).map_or(Value::Null, |number| json!(number))
            }
        };
        match &self.source {
            Source::Environment(variable) => json!({ "value": value, "source": "environment", "variable": variable }),
            source => json!({ "value": value, "source": source.text() }),
        }
    }
}

impl Source {
    fn text(&self) -> String {
        match self {
            Self::Flag => "flag".to_owned(),
            Self::Environment(variable) => format!("environment {variable}"),
            Self::File => "file".to_owned(),
            Self::Default => "default".to_owned(),
            Self::Missing => "missing".to_owned(),
            Self::Unused => "unused, the genesis says it".to_owned(),
        }
    }
}
