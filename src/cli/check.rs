//! `paxbank check`: verifies stores that no node is using, and compares their chains.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Failure, RedisLogin, Report};
use crate::genesis_file::{self, GenesisFileError};
use crate::ledger::Genesis;
use crate::store::{ArchivedRedis, Audit, RedbStore, RedisAddress, RedisStore, StoreAddress, StoreError, audit};
use crate::types::Amount;

/// Verifies stores while no node uses them: every checksum, every hash, every entry; then compares their chains.
#[derive(Args)]
#[command(before_long_help = "Examples:
  paxbank check --store redb:bank
  paxbank check --store redb:bank --genesis genesis.toml
  paxbank check --store redis://127.0.0.1:6379/0
  paxbank check --store redis://127.0.0.1:6379/0 --archive archive")]
pub(super) struct Check {
    /// Where the stores are: redb:DIR, all files DIR/*.redb; redis://HOST:PORT/DATABASE (rediss:// behind TLS) or
    /// unix:SOCKET, all nodes of that Redis.
    #[arg(long, value_name = "STORE")]
    store: StoreAddress,
    /// Where blocks were moved out of a Redis: the directory with the archives of its nodes.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    redis: RedisLogin,
    /// The file with the bank's nodes and accounts: the stores must be those of this very bank.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> Result<Report, Failure> {
        let expected = self.genesis.map(|file| Ok((genesis_file::read(&file)?, file)));
        let expected = expected.transpose().map_err(|error: GenesisFileError| Failure::usage(error.to_string()))?;
        let store = self.store.with_archive(self.archive).map_err(|error| Failure::usage(error.to_string()))?;
        let audits = match self.redis.log_in(store).map_err(Failure::usage)? {
            StoreAddress::Redb(directory) => files(&directory)?.iter().map(|file| read(file)).collect(),
            // What it may lose of later writes is no matter here.
            StoreAddress::Redis(address) => redis(&RedisAddress { accept_unsafe: true, ..address }),
            StoreAddress::Memory => {
                let message = "a store in memory is gone with its process; give redb:DIR, redis://... or unix:...";
                Err(Failure::usage(message))
            }
        };
        let audits: Vec<Audit> = audits?;
        if let Some((genesis, file)) = expected {
            all_of(&genesis, &file, &audits)?;
        }
        compare(&audits)?;
        Ok(report(&audits))
    }
}

/// The files of the stores in a directory.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let shown = directory.display();
    let cannot = |error| Failure::usage(format!("{shown} cannot be read: {error}; give the directory of the stores"));
    let entries = std::fs::read_dir(directory).map_err(cannot)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot)?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("redb") => files.push(path),
            Some("wal") if !path.with_extension("").exists() => {
                return Err(Failure::damage(format!(
                    "{} is there without {}; a store is both files: put the other one back",
                    path.display(),
                    path.with_extension("").display()
                )));
            }
            _ => {}
        }
    }
    if files.is_empty() {
        return Err(Failure::usage(format!("there is no store in {shown}; a store is a file NODE.redb")));
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Audit, Failure> {
    let audited = RedbStore::open(file).and_then(|mut store| audit(&mut store));
    audited.map_err(|error| match (&error, std::fs::OpenOptions::new().read(true).write(true).open(file)) {
        (StoreError::Open { .. }, Err(refused)) if only_read(refused.kind()) => Failure::usage(format!(
            "{} may only be read: {refused}; check opens a store for writing, since a node that was killed left the end \
             of its last write to whoever opens it next: run it as the user who owns the file, or check a copy",
            file.display()
        )),
        _ => failure(&file.display().to_string(), &error),
    })
}

fn only_read(refused: ErrorKind) -> bool {
    matches!(refused, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn redis(address: &RedisAddress) -> Result<Vec<Audit>, Failure> {
    let shown = address.to_string();
    let nodes = RedisStore::nodes(address).map_err(|error| failure(&shown, &error))?;
    if nodes.is_empty() {
        return Err(Failure::usage(format!(
            "there is no store in {shown}; one is in keys SERVER-PAXOS-NODE and others"
        )));
    }
    let audited = |node| {
        let audited = ArchivedRedis::look(address, node).and_then(|mut store| audit(&mut store));
        audited.map_err(|error| failure(&format!("{shown}, node {node}"), &error))
    };
    nodes.into_iter().map(audited).collect()
}

fn failure(place: &str, error: &StoreError) -> Failure {
    let text = error.to_string();
    let message = if text.contains(place) { text } else { format!("{place}: {text}") };
    // A node that starts may be told where its archive is. For a check what is missing is damage until it is there.
    let damage = error.is_damage() || matches!(error, StoreError::Gap { .. });
    if damage { Failure::damage(message) } else { Failure::usage(message) }
}

fn all_of(genesis: &Genesis, file: &Path, audits: &[Audit]) -> Result<(), Failure> {
    let Some(other) = audits.iter().find(|audit| audit.genesis != *genesis) else { return Ok(()) };
    Err(Failure::usage(format!(
        "{} belongs to bank {}, and {} describes bank {}; give the file that its node was started with",
        other.node,
        other.genesis.id().short(),
        file.display(),
        genesis.id().short()
    )))
}

/// Two chains of one bank agree as far as both go, and no balance adds or loses money.
fn compare(audits: &[Audit]) -> Result<(), Failure> {
    for audit in audits {
        let balances = audit.home.bank.balances().values().copied();
        let sum = balances.into_iter().try_fold(Amount::ZERO, Amount::checked_add);
        if sum != Some(audit.genesis.total()) {
            return Err(Failure::damage(format!("{}: the balances do not add up to the genesis sum", audit.node)));
        }
    }
    for pair in audits.windows(2) {
        let [a, b] = pair else { continue };
        if a.genesis != b.genesis {
            let message = format!(
                "{} and {} belong to different banks; keep each in its own directory or database",
                a.node, b.node
            );
            return Err(Failure::usage(message));
        }
        let differs = a.hashes.iter().zip(&b.hashes).position(|(ours, theirs)| ours != theirs);
        if let Some(height) = differs {
            let message = format!("{} and {} hold different blocks at height {height}: two histories", a.node, b.node);
            return Err(Failure::damage(message));
        }
    }
    Ok(())
}

fn report(audits: &[Audit]) -> Report {
    let mut human = String::new();
    let mut nodes = serde_json::Map::new();
    for audit in audits {
        let (bank, log) = (&audit.home.bank, audit.home.log.len());
        let balances: Vec<_> = bank.balances().iter().map(|(account, amount)| format!("{account} {amount}")).collect();
        let line = writeln!(
            human,
            "{}: intact, height {}, tip {}, {log} unsettled; settled: {}",
            audit.node,
            bank.height(),
            bank.tip().short(),
            balances.join(", ")
        );
        line.expect("writing to a String does not fail");
        let settled: serde_json::Map<_, _> =
            bank.balances().iter().map(|(account, amount)| (account.to_string(), json!(amount))).collect();
        let node = json!({ "height": bank.height(), "tip": bank.tip(), "unsettled": log, "settled": settled });
        nodes.insert(audit.node.to_string(), node);
    }
    human.push_str("The chains agree.\n");
    Report { human, json: json!({ "nodes": nodes }) }
}
