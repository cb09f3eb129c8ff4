//! What a node keeps, and where: one encoding, one loader, and stores that are nothing but checked, ordered containers
//! of bytes.
//!
//! In reading order: this file (what a store can do), [`record`] (what a stored value looks like), [`journal`] (from
//! the core's records to one atomic write), [`plan`] (that write before its records are bytes), [`mod@recover`] (from a
//! store back to a node), `replay` (its chain, from a checkpoint on), [`memory`], [`redb`] and [`redis`] (the stores),
//! [`address`] (which of them, and where). Rules R3, R7, R8, R10, R11 and R13 end here: all of them say "durable", and
//! this is where that happens.

use std::collections::BTreeMap;

use crate::types::{Epoch, Hash, Height, NodeId};

pub mod address;
pub mod audit;
mod check;
pub mod host;
pub mod journal;
pub mod memory;
pub mod plan;
pub mod record;
pub mod recover;
pub mod redb;
pub mod redis;
mod replay;

pub use address::{NoArchive, STORE_WAIT, StoreAddress, StoreAddressError, patiently};
pub use audit::{Audit, audit};
pub use host::{StoreFuture, StoreHost, StoreThread};
pub use journal::{Accepted, Head, Journal, Saved};
pub use memory::{Disk, Fault, MemoryStore};
pub use plan::Plan;
pub use recover::{RecoverOptions, Recovered, check_owner, read_blocks, read_stored, recover};
pub use redb::RedbStore;
pub use redis::{
    ArchivedRedis, RedisAddress, RedisCredentials, RedisMemory, RedisPlace, RedisStore, RedisTls, RedisTlsError,
};

/// An ordered sequence of records with ascending ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Genesis under id 0, then one block each; the id is the height.
    Chain,
    /// Batches of this node's own unsettled entries; the id is the last seq of the batch.
    Log,
    /// Batches of remembered refusals; the id is the batch's own dense number, from 1.
    Refused,
    /// Parts of the last checkpoint, and of the next one where that is not complete; the id is the part's own dense
    /// number, from 1.
    State,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chain, Self::Log, Self::Refused, Self::State];

    /// Its name in keys and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Log => "log",
            Self::Refused => "refused",
            Self::State => "state",
        }
    }

    /// What a record of this stream is called in messages and under its checksum. Field names never look like it.
    pub fn key(self, id: u64) -> String {
        format!("{}/{id}", self.name())
    }
}

/// Names of the fields that a store holds besides its streams.
pub mod field {
    /// Who owns the store now; managed by [`Store::take_epoch`](super::Store::take_epoch) alone.
    pub const EPOCH: &str = "epoch";
    /// Whose store this is; written once.
    pub const IDENTITY: &str = "identity";
    /// What the streams and the other fields must hold; part of every write.
    pub const HEAD: &str = "head";
    /// The vote of this node that no applied block has made obsolete.
    pub const SLOT: &str = "slot";
    /// Before a peer's name: the incarnation that it told.
    pub const PEER: &str = "peer/";
    /// Before an account: its horizon. Without an account, the horizon that all accounts which do not exist share.
    pub const HORIZON: &str = "horizon/";
}

/// One record to append; `B` is what its bytes are, or will be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append<B = Vec<u8>> {
    /// To which stream.
    pub stream: Stream,
    /// The id of the stream's last record before this one; `None` where the stream holds no record.
    pub after: Option<u64>,
    /// The new record's id.
    pub id: u64,
    /// The record.
    pub bytes: B,
}

/// One atomic change of a store (R8). Appends come first, then trims: what a write both appends and trims is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<B = Vec<u8>> {
    /// The epoch under which the store was taken.
    pub epoch: Epoch,
    /// Writes are numbered densely over the store's whole life; creation is 1.
    pub number: u64,
    /// The head field that the store must hold now; `None` where it must hold none. Comparing whole bytes is all
    /// that a store has to do to know that this write is the next, since a head names its write's number.
    pub head_before: Option<Vec<u8>>,
    /// The records to append, by stream and id.
    pub appends: Vec<Append<B>>,
    /// Of which streams all records below which id go.
    pub trims: Vec<(Stream, u64)>,
    /// The fields to set, or with `None` to delete; always the head, never the epoch.
    pub fields: BTreeMap<String, Option<B>>,
}

/// A container of bytes that one process at a time owns. Its calls block; one that blocks for long lives on a thread
/// of its own, behind the seam that the actors see.
pub trait Store: Send {
    /// Raises the epoch, durably and whoever held it, and from then on refuses the writes of all others. To be called
    /// before anything is read, or another process could still change what was read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where the stored epoch is damaged or missing from a store that is not new.
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError>;

    /// Looks whether the epoch is still the one under which this process took the store, so that a process without
    /// anything to write learns that it was replaced. A store that nobody else can open has nothing to look for.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where another process took it since, [`StoreError::Corrupt`] where it is gone.
    fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError>;

    /// All fields, the epoch included.
    ///
    /// # Errors
    /// What the container finds; the values are not looked at.
    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError>;

    /// The records of a stream with ids in `from..=to`, in id order: at least one where there is one, and none after
    /// `bytes_max` was passed.
    ///
    /// # Errors
    /// What the container finds; the records are not looked at.
    fn read(&mut self, stream: Stream, from: u64, to: u64, bytes_max: usize)
    -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// Makes the whole write durable, or changes nothing. All checks come before the first change: the epoch must be
    /// the one taken last, and either head and streams must be where the write expects them, or the write must be in
    /// the store already, byte for byte, which then counts as done (R13).
    ///
    /// # Errors
    /// Those that [may be retried](StoreError::may_be_retried) are answered by repeating the identical write.
    fn write(&mut self, write: &Write) -> Result<(), StoreError>;

    /// Does a bounded part of the work that no call waits for, where there is any; true where there is more.
    ///
    /// # Errors
    /// Those that [may be retried](StoreError::may_be_retried) are answered by asking again, later.
    fn tidy(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// What this store is, for messages.
    fn describe(&self) -> String;
}

/// What can go wrong with a store. Each message says what was found and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The write did certainly not happen.
    #[error("the store did not write ({0}); nothing was changed, try again")]
    NotWritten(String),
    /// The write happened, or it did not.
    #[error("the store did not say whether it wrote ({0}); try again, nothing is written twice")]
    Unknown(String),
    /// A read failed; nothing is known to be damaged.
    #[error("the store could not be read ({0}); nothing in it was found damaged, try again")]
    Unread(String),
    /// Another process took the store.
    #[error("another process has taken this store since; this one must stop, only one may own a store")]
    Fenced,
    /// An older write came late.
    #[error("write {number} came after write {stored} was stored; nothing was changed, this process must stop")]
    Stale {
        /// The late write.
        number: u64,
        /// The newest one in the store.
        stored: u64,
    },
    /// Something else is stored where this write, or its repetition, has its place.
    #[error(
        "write {number} does not fit: {key} does not hold what it expects; nothing was changed. Was the store edited \
         or exchanged while the node was running? Stop the node and restore the newest store"
    )]
    Conflict {
        /// The record or field.
        key: String,
        /// The write.
        number: u64,
    },
    /// A record is damaged or missing.
    #[error(
        "{key}: {what}; the store is damaged and was left as it is. If there is no intact and newest copy of it, leave \
         this node off: the others go on without it"
    )]
    Corrupt {
        /// The record or field; or the file, where not even that can be told.
        key: String,
        /// What was found.
        what: String,
    },
    /// A record is intact, but of a later version of this program.
    #[error("{key} has format {found}, this program reads up to {supported}; run the newer program again")]
    NewerFormat {
        /// The record or field.
        key: String,
        /// Its format.
        found: u8,
        /// The newest that this program knows.
        supported: u8,
    },
    /// The store belongs to another bank or another node.
    #[error(
        "this store belongs to node {found_node} of bank {found_bank}{found_genesis}, not to node {expected_node} of \
         bank {expected_bank}; check the node's name, the list of nodes, the opening balances and the store's address"
    )]
    OtherBank {
        /// The node that it was created for.
        found_node: NodeId,
        /// The cluster id that it was created with.
        found_bank: Hash,
        /// That bank's nodes and balances in words, in parentheses, where they can be read.
        found_genesis: String,
        /// The node that was to start.
        expected_node: NodeId,
        /// The cluster id that was configured.
        expected_bank: Hash,
    },
    /// Blocks were moved into an archive, and are not found there.
    #[error("blocks chain/{first} to chain/{last} are not in {store} any more, {}", unarchived(archive.as_deref()))]
    Gap {
        /// The store, which begins above them.
        store: String,
        /// The archive that does not hold them, where one was given.
        archive: Option<String>,
        /// The first that is missing.
        first: Height,
        /// The last.
        last: Height,
    },
    /// The archive belongs to another store.
    #[error(
        "{archive} holds blocks of {found}, while in {store} there is {expected}; the two do not belong together, and \
         were left as they are. Check the node's name, the store's address and --archive. If the store was lost, its \
         archive alone does not bring the node back: leave it off, the others go on without it"
    )]
    OtherArchive {
        /// The file.
        archive: String,
        /// Whose it is, in words.
        found: String,
        /// The store.
        store: String,
        /// Whose that is, in words.
        expected: String,
    },
    /// The store holds less than was moved out of it.
    #[error(
        "{store} ends with block {height}, while its archive {archive} holds blocks up to {archived}: the store went \
         back, and both were left as they are. If there is no intact and newest copy of the store, leave this node \
         off: the others go on without it"
    )]
    WentBack {
        /// The store.
        store: String,
        /// Its height.
        height: Height,
        /// The file.
        archive: String,
        /// The height of that.
        archived: Height,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another process; stop that one first, or give this node a store of its own")]
    Locked {
        /// The file.
        path: String,
    },
    /// The server may lose what it acknowledged, or does not do what a store must.
    #[error("{address} is no safe store: {}; {}", listed(settings), mend(address, settings))]
    Unsafe {
        /// The server.
        address: String,
        /// Its settings that are not as they must be; at least one.
        settings: Vec<UnsafeSetting>,
    },
    /// The server does not take this node for a user who may use it.
    #[error("{address} does not let this node in: {what}")]
    Denied {
        /// The server.
        address: String,
        /// What it said, and what to do.
        what: String,
    },
    /// Either side of TLS does not take the other for whom it expects, or one of the two speaks no TLS.
    #[error("{address} cannot be used: {what}")]
    Untrusted {
        /// The server.
        address: String,
        /// Why, and what to do.
        what: String,
    },
    /// The store cannot be opened.
    #[error("{path} cannot be opened: {what}; check the path, its permissions and the space that is left")]
    Open {
        /// The file or address.
        path: String,
        /// What the system said.
        what: String,
    },
}

/// A setting of a server that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsafeSetting {
    /// Which.
    pub name: String,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub needed: String,
}

fn unarchived(archive: Option<&str>) -> String {
    match archive {
        None => {
            "as if they had been moved into an archive; name its directory in --archive (PAXBANK_NODE_ARCHIVE, the \
                 key archive)"
                .into()
        }
        Some(archive) => format!(
            "and not in the archive {archive} either; name the directory of this node's own archive in --archive, or \
             restore its newest copy. If there is none, leave this node off: the others go on without it"
        ),
    }
}

fn listed(settings: &[UnsafeSetting]) -> String {
    let one =
        |UnsafeSetting { name, found, needed }: &UnsafeSetting| format!("{name} is {found}, and must be {needed}");
    settings.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn mend(address: &str, settings: &[UnsafeSetting]) -> String {
    match settings.first().map(|setting| setting.name.as_str()) {
        Some("role") => {
            "give the address of the master. A replica that is made one is a lost disk: it may lack the end".into()
        }
        Some("redis_version" | "cluster_enabled") => "give the address of another Redis".into(),
        _ => {
            let cli = address.parse().as_ref().map_or_else(|_| "redis-cli".to_owned(), RedisAddress::command);
            let set =
                |UnsafeSetting { name, needed, .. }: &UnsafeSetting| format!("`{cli} CONFIG SET {name} {needed}`, ");
            format!(
                "start it with this project's redis.conf, or say {}and `{cli} CONFIG REWRITE`, so that it outlasts a \
                 restart",
                settings.iter().map(set).collect::<String>()
            )
        }
    }
}

impl StoreError {
    /// True where the identical call may simply be repeated.
    pub const fn may_be_retried(&self) -> bool {
        matches!(self, Self::NotWritten(_) | Self::Unknown(_) | Self::Unread(_))
    }

    /// True where what is stored is damaged, or lacks something; the others are mended at the start of a node.
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Conflict { .. } | Self::WentBack { .. } | Self::Gap { archive: Some(_), .. }
        )
    }

    pub(crate) fn corrupt(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Corrupt { key: key.into(), what: what.into() }
    }

    pub(crate) fn missing(key: impl Into<String>) -> Self {
        Self::corrupt(key, "this record is missing")
    }
}
