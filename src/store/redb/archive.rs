//! A file for blocks that were moved out of a store: a database with the chain, from height 1 on and without a gap, and
//! the identity of the store that they come from. It is locked while it is open.
//!
//! Its records are those of the store, byte for byte, so that whoever reads one verifies it as one of the store.

use std::path::Path;

use super::super::{StoreError, Stream, field};
use super::base::{Base, Tables};
use super::open::{self, OnBase, full_name};

/// A page of a reader, and what of the tree leads there: who appends needs the end of the tree only.
const CACHE_BYTES: usize = 8 << 20;

/// An open archive.
pub(in crate::store) struct Archive {
    name: String,
    base: Base,
}

impl OnBase for Archive {
    const CACHE_BYTES: usize = CACHE_BYTES;
    const EMPTY: &str = "the file is empty; if no block was ever moved into it, remove it, or else restore it";

    fn base(&mut self) -> &mut Base {
        &mut self.base
    }
}

impl Archive {
    /// Opens the file, or creates it, with nobody's identity, and the directories above it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Open`] or [`StoreError::Corrupt`], with the path.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        open::open_or_create(path, |base| Ok(Self::on(path, base)))
    }

    /// Opens the file where there is one, and creates none.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub(in crate::store) fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        open::open(path, |base| Ok(Self::on(path, base)))
    }

    fn on(path: &Path, base: Base) -> Self {
        Self { name: full_name(path), base }
    }

    /// What the file is called in messages.
    pub(in crate::store) fn name_of(path: &Path) -> String {
        full_name(path)
    }

    /// The identity of the store that its blocks come from, as it stands there; `None` where it never held one.
    pub(in crate::store) fn identity(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.base.with(StoreError::Unread, |open| open.look()?.field(field::IDENTITY))
    }

    /// The height of its last block; 0 where it holds none.
    pub(in crate::store) fn height(&mut self) -> Result<u64, StoreError> {
        Ok(self.base.with(StoreError::Unread, |open| open.look()?.last_id(Stream::Chain))?.unwrap_or(0))
    }

    /// The blocks at heights `from..=to`, in order: at least one where there is one, and none after `bytes_max` was
    /// passed.
    pub(in crate::store) fn read(
        &mut self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.base.with(StoreError::Unread, |open| {
            let (mut found, mut total) = (Vec::new(), 0);
            open.look()?.records(Stream::Chain, from, to, |id, bytes| {
                total += bytes.len();
                found.push((id, bytes.to_vec()));
                total <= bytes_max
            })?;
            Ok(found)
        })
    }

    /// Makes blocks durable that follow on its last one, or are there already.
    ///
    /// What is there already is written again: it may have been read from memory after a sync that failed, and whoever
    /// asks for this is about to remove the other copy.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where another block is there. Those that may be retried are answered by the same again.
    pub(in crate::store) fn append(&mut self, identity: &[u8], blocks: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let name = &self.name;
        self.base.with(StoreError::NotWritten, |open| {
            let look = open.look()?;
            for (id, bytes) in blocks {
                if look.record(Stream::Chain, *id)?.is_some_and(|found| found != *bytes) {
                    let what = format!("{name} holds another block there than the store, of which it is to be a copy");
                    return Err(StoreError::corrupt(Stream::Chain.key(*id), what));
                }
            }
            open.change(|tables: &mut Tables<'_>| {
                tables.set_field(field::IDENTITY, Some(identity))?;
                blocks.iter().try_for_each(|(id, bytes)| tables.append(Stream::Chain, *id, bytes))
            })
        })
    }
}
