//! `paxbank doctor`: what could be wrong, and what to do about it.

mod nodes;
mod stores;

use clap::Args;
use serde_json::{Value, json};

use super::Nodes;
use crate::cli::node::flags::address;
use crate::cli::node::listen;
use crate::cli::{Failure, Finished, RedisLogin, Report};
use crate::store::StoreAddress;
use crate::wire::client::CLIENT_PROTOCOL_VERSION;

const EXAMPLES: &str = "Examples:
  paxbank doctor --nodes 127.0.0.1:8001,127.0.0.1:8002      the bank that runs
  paxbank doctor --store redb:A                             before a node is started, or after it failed
  paxbank doctor --store redis://127.0.0.1:6379/0 --listen 127.0.0.1:7001 --listen 127.0.0.1:8001";

const NOTES: &str = "\
Each line is ok, a warning or a problem, with what to do about it. No store is taken from a node that uses it, and no
record is changed: one whose node was killed is made one file again, as its next start would do. What is in a Redis is
not read through, since a node may be writing there (paxbank check does that, while the nodes are stopped).

Exit status: 0 no problem, 1 at least one, 2 wrong use.";

/// Looks for what could be wrong with a bank, its stores and this machine.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct Doctor {
    /// A store to look at, as in paxbank node --store; once for each.
    #[arg(long = "store", value_name = "STORE")]
    stores: Vec<StoreAddress>,
    /// A port that a node is to listen at; once for each.
    #[arg(long = "listen", value_name = "HOST:PORT", value_parser = address)]
    listens: Vec<String>,
    #[command(flatten)]
    redis: RedisLogin,
    #[command(flatten)]
    nodes: Nodes,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Problem,
}

/// Something that was looked at.
#[derive(Debug)]
struct Finding {
    level: Level,
    subject: String,
    message: String,
    /// What to do; nothing where all is well, or where the message says it.
    advice: Option<&'static str>,
}

/// All of it.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Findings {
    fn ok(&mut self, subject: &str, message: impl Into<String>) {
        self.add(Level::Ok, subject, message, None);
    }

    fn warning(&mut self, subject: &str, message: impl Into<String>, advice: impl Into<Option<&'static str>>) {
        self.add(Level::Warning, subject, message, advice.into());
    }

    fn problem(&mut self, subject: &str, message: impl Into<String>, advice: impl Into<Option<&'static str>>) {
        self.add(Level::Problem, subject, message, advice.into());
    }

    fn add(&mut self, level: Level, subject: &str, message: impl Into<String>, advice: Option<&'static str>) {
        let message = message.into();
        // Many an error begins with what it is about, which stands in front already.
        let rest = message.strip_prefix(subject).and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' ')));
        let message = rest.unwrap_or(&message).to_owned();
        self.0.push(Finding { level, subject: subject.to_owned(), message, advice });
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    fn finished(&self) -> Finished {
        let (problems, warnings) = (self.count(Level::Problem), self.count(Level::Warning));
        let mut lines: Vec<String> = self.0.iter().map(Finding::line).collect();
        lines.push(format!("problems: {problems}, warnings: {warnings}"));
        let checks: Vec<Value> = self.0.iter().map(Finding::json).collect();
        let json = json!({ "checks": checks, "problems": problems, "warnings": warnings });
        Finished { report: Some(Report { human: lines.join("\n"), json }), status: u8::from(problems > 0) }
    }
}

impl Finding {
    fn line(&self) -> String {
        let Self { level, subject, message, advice } = self;
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        // One line for each, whatever somebody else's message looks like.
        format!("{:<7}  {subject}: {message}{advice}", level.name()).replace('\n', " ")
    }

    fn json(&self) -> Value {
        let Self { level, subject, message, advice } = self;
        json!({ "level": level.name(), "subject": subject, "message": message, "advice": advice })
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let mut findings = Findings::default();
        let version = env!("CARGO_PKG_VERSION");
        findings.ok("paxbank", format!("version {version}, speaks version {CLIENT_PROTOCOL_VERSION} with nodes"));
        if self.nodes.is_given() {
            nodes::look(&self.nodes.client()?, &mut findings).await;
        }
        for store in &self.stores {
            match self.redis.log_in(store.clone()) {
                Ok(store) => stores::look(&store, &mut findings),
                Err(message) => findings.problem(&store.to_string(), message, None),
            }
        }
        for at in &self.listens {
            look_at_port(at, &mut findings).await;
        }
        if !self.nodes.is_given() && self.stores.is_empty() && self.listens.is_empty() {
            let message = "nothing else was looked at";
            findings.warning("paxbank", message, "say what to look at, with --nodes, --store or --listen");
        }
        Ok(findings.finished())
    }
}

async fn look_at_port(at: &str, findings: &mut Findings) {
    match listen(at, "--listen").await.map(|listener| listener.local_addr()) {
        Ok(Ok(address)) if !address.ip().is_loopback() => {
            let advice =
                "let nobody but nodes and clients reach it: connections are neither encrypted nor authenticated";
            findings.warning(at, "is free, and can be reached from other machines", advice);
        }
        Ok(_) => findings.ok(at, "is free to listen at"),
        Err(Failure { message, .. }) => {
            findings.problem(at, message.strip_prefix("--listen ").unwrap_or(&message), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_no_failure_and_a_problem_is_one() {
        let mut findings = Findings::default();
        findings.ok("paxbank", "version 1");
        findings.warning("node A", "is behind", "wait");
        let Finished { report, status } = findings.finished();
        assert_eq!(status, 0);
        let human = report.unwrap().human;
        assert_eq!(human, "ok       paxbank: version 1\nwarning  node A: is behind; wait\nproblems: 0, warnings: 1");
        findings.problem("node B", "is\naway", None);
        let Finished { report, status } = findings.finished();
        let json = report.unwrap().json;
        assert_eq!((status, &json["problems"], &json["checks"][2]["level"]), (1, &json!(1), &json!("problem")));
        assert!(findings.0[2].line().contains("is away"), "one line each");
        findings.problem("A.redb", "A.redb: is damaged", None);
        assert_eq!(findings.0[3].line(), "problem  A.redb: is damaged", "what it is about, once");
    }
}
