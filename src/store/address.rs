//! Where a node's store is, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Disk, RedbStore, Store, StoreError};
use crate::types::{Hash, NodeId};

/// The address of the stores of one or more nodes: `redb:DIR`, with a file per node in it, or `memory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// Embedded, in the file `DIR/{node}.redb`.
    Redb(PathBuf),
    /// In memory: for trying things out, gone with the process.
    Memory,
}

/// A text that is no store address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a store; give redb:DIR (a directory, made if it is missing) or memory")]
pub struct StoreAddressError(String);

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("redb", directory)) if !directory.is_empty() => Ok(Self::Redb(directory.into())),
            _ => Err(StoreAddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(directory) => write!(f, "redb:{}", directory.display()),
            Self::Memory => f.write_str("memory"),
        }
    }
}

impl StoreAddress {
    /// Opens, and if need be creates, the store of `node`; `disk` is what a store in memory is kept on.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(&self, node: NodeId, disk: &Disk) -> Result<Box<dyn Store>, StoreError> {
        match self {
            Self::Redb(_) => Ok(Box::new(RedbStore::open(self.file(node))?)),
            Self::Memory => Ok(Box::new(disk.open())),
        }
    }

    /// Looks, and changes nothing, whether there is a store of `node` already and whether it is one of bank `cluster`.
    ///
    /// # Errors
    /// [`StoreError::OtherBank`] where it is not, and what else the store says.
    pub fn check(&self, node: NodeId, cluster: Hash) -> Result<(), StoreError> {
        if !self.file(node).exists() {
            return Ok(());
        }
        let mut store = RedbStore::open(self.file(node))?;
        super::recover::check_owner(&mut store, node, cluster)
    }

    fn file(&self, node: NodeId) -> PathBuf {
        match self {
            Self::Redb(directory) => directory.join(format!("{node}.redb")),
            Self::Memory => PathBuf::new(),
        }
    }
}
