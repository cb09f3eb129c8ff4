//! Where a node's store is, as people write it, and how long a node waits for it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::{ArchivedRedis, Disk, RedbStore, RedisAddress, RedisCredentials, RedisStore, RedisTls, Store, StoreError};
use crate::types::{Hash, NodeId};

/// How long a node waits at its start for a store that is not there yet: after a boot of the machine both start at once.
pub const STORE_WAIT: Duration = Duration::from_secs(10);

const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// How often it is told what is waited for.
const TOLD_EACH: Duration = Duration::from_secs(4);

/// The address of the stores of one or more nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// `redb:DIR`: embedded, in the file `DIR/{node}.redb`.
    Redb(PathBuf),
    /// `redis://HOST:PORT/DATABASE`, `rediss://` behind TLS, or `unix:SOCKET`: in a Redis, in keys that end in the node's
    /// name.
    Redis(RedisAddress),
    /// `memory`: for trying things out, gone with the process.
    Memory,
}

/// A text that is no store address. It is not repeated, since it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; give redb:DIR (a directory, made if it is missing), redis://HOST:PORT/DATABASE, the same with rediss:// \
     behind TLS, unix:SOCKET (a Redis too) or memory"
)]
pub struct StoreAddressError(String);

/// An archive was named for a store that has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an archive in {} is given, but the store is {store}: only a Redis holds all blocks in memory, and moves them into \
     one. Leave --archive (PAXBANK_NODE_ARCHIVE, the key archive) out, or give redis://HOST:PORT/DATABASE, rediss:// or \
     unix:SOCKET",
    directory.display()
)]
pub struct NoArchive {
    store: String,
    directory: PathBuf,
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        let redis =
            || text.parse().map(Self::Redis).map_err(|what| StoreAddressError(format!("this is no store: {what}")));
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("redb", directory)) if !directory.is_empty() => Ok(Self::Redb(directory.into())),
            Some(("redis" | "rediss", rest)) if rest.starts_with("//") => redis(),
            Some(("unix", _)) => redis(),
            _ => Err(StoreAddressError("this is no store that is known here".to_owned())),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(directory) => write!(f, "redb:{}", directory.display()),
            Self::Redis(address) => write!(f, "{address}"),
            Self::Memory => f.write_str("memory"),
        }
    }
}

impl StoreAddress {
    /// Takes a Redis that may lose what it acknowledged all the same, with a warning instead of a refusal.
    #[must_use]
    pub fn accept_unsafe(mut self) -> Self {
        if let Self::Redis(address) = &mut self {
            address.accept_unsafe = true;
        }
        self
    }

    /// Says as whom to talk to a Redis; nothing to a store that is none.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Option<RedisCredentials>) -> Self {
        if let Self::Redis(address) = &mut self {
            address.credentials = credentials;
        }
        self
    }

    /// Says whom to trust and who to be in TLS with a Redis; nothing to a store that is none.
    #[must_use]
    pub fn with_tls(mut self, tls: RedisTls) -> Self {
        if let Self::Redis(address) = &mut self {
            address.tls = tls;
        }
        self
    }

    /// Says into which directory settled blocks move out of a Redis, and where those are that did.
    ///
    /// # Errors
    /// [`NoArchive`] where the store is no Redis, and somebody names a directory.
    pub fn with_archive(mut self, archive: Option<PathBuf>) -> Result<Self, NoArchive> {
        match (&mut self, archive) {
            (Self::Redis(address), archive) => address.archive = archive,
            (_, Some(directory)) => return Err(NoArchive { store: self.to_string(), directory }),
            (_, None) => {}
        }
        Ok(self)
    }

    /// Opens, and if need be creates, the store of `node`; `disk` is what a store in memory is kept on.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(&self, node: NodeId, disk: &Disk) -> Result<Box<dyn Store>, StoreError> {
        match self {
            Self::Redb(_) => Ok(Box::new(RedbStore::open(self.file(node))?)),
            Self::Redis(address) => Ok(Box::new(ArchivedRedis::open(address.clone(), node)?)),
            Self::Memory => Ok(Box::new(disk.open())),
        }
    }

    /// As [`StoreAddress::open`], but waits for a store that is not there yet.
    ///
    /// # Errors
    /// What the store says, in the end.
    pub async fn open_patiently(
        &self,
        node: NodeId,
        disk: &Disk,
        wait: Duration,
    ) -> Result<Box<dyn Store>, StoreError> {
        patiently(wait, || self.open(node, disk)).await
    }

    /// Looks, and changes nothing, whether there is a store of `node` already and whether it is one of bank `cluster`.
    ///
    /// # Errors
    /// [`StoreError::OtherBank`] where it is not, and what else the store says.
    pub fn check(&self, node: NodeId, cluster: Hash) -> Result<(), StoreError> {
        let mut store: Box<dyn Store> = match self {
            Self::Redb(_) if self.file(node).exists() => Box::new(RedbStore::open(self.file(node))?),
            Self::Redis(address) => Box::new(RedisStore::look(address, node)?),
            Self::Redb(_) | Self::Memory => return Ok(()),
        };
        super::recover::check_owner(store.as_mut(), node, cluster)
    }

    fn file(&self, node: NodeId) -> PathBuf {
        match self {
            Self::Redb(directory) => directory.join(format!("{node}.redb")),
            Self::Redis(_) | Self::Memory => PathBuf::new(),
        }
    }
}

/// Tries for as long as `wait` and at least once, with pauses that grow, while the error may pass.
///
/// # Errors
/// The first that does not pass, or the last.
pub async fn patiently<T>(wait: Duration, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let began = Instant::now();
    let mut pause = RETRY_MIN;
    let mut told: Option<Instant> = None;
    loop {
        match attempt() {
            Err(error) if error.may_be_retried() && began.elapsed() < wait => {
                if told.is_none_or(|told| told.elapsed() >= TOLD_EACH) {
                    told = Some(Instant::now());
                    info!(%error, "waiting for the store");
                }
                sleep(pause.min(wait.saturating_sub(began.elapsed()))).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
            result => return result,
        }
    }
}
