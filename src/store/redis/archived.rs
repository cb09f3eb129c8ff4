//! A store in a Redis, and a file for the blocks that need not be in its memory any more.
//!
//! Blocks up to the last checkpoint move, a part at a time: a part is copied into the archive, made durable there, and
//! only then taken out of the Redis, by a script that checks the epoch in the same step. A process that ends in between
//! leaves blocks in both, and the next one copies them again. Genesis and the last block stay.
//!
//! A chain is then in two places, which must fit together (R13): the archive is that of this very store, ends where the
//! Redis begins, and reaches no higher than its head.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{RedisAddress, RedisStore, text};
use crate::store::check::{encode_epoch, other_epoch};
use crate::store::record::{self, Identity, Kind};
use crate::store::redb::archive::Archive;
use crate::store::{Head, Store, StoreError, Stream, Write, field};
use crate::types::{Epoch, Height, NodeId};

const FORGET_SCRIPT: &str = include_str!("forget.lua");

/// Blocks that move at once, in bytes; the last of them passes it.
const PART_BYTES: usize = 1 << 20;
/// And in number, where they are small.
const PART_BLOCKS: u64 = 1_024;

/// A store in a Redis, with an archive or without.
pub struct ArchivedRedis {
    redis: RedisStore,
    archive: Option<Archive>,
    /// Where that is, or is to be.
    place: Option<String>,
    /// The lowest block in the Redis, where that was asked: only its owner moves it.
    first: Option<u64>,
    /// Of this process, once it has taken the store.
    epoch: Option<Epoch>,
    /// Of the store, as it stands there.
    identity: Option<Vec<u8>>,
    /// The last block that is to be moved.
    last_moving: u64,
}

impl ArchivedRedis {
    /// Opens both; where an archive is to be and is not there yet, it is made.
    ///
    /// # Errors
    /// Those of [`RedisStore::open`]; of the file [`StoreError::Locked`], [`StoreError::Open`] or
    /// [`StoreError::Corrupt`].
    pub fn open(address: RedisAddress, node: NodeId) -> Result<Self, StoreError> {
        let path = file(&address, node);
        // First, since it may have to be waited for.
        let redis = RedisStore::open(address, node)?;
        let archive = path.as_deref().map(Archive::open).transpose()?;
        Ok(Self::of(redis, archive, path.as_deref()))
    }

    /// The same for a look, which makes no archive, and does not warn of unsafe settings that are accepted.
    ///
    /// # Errors
    /// As [`ArchivedRedis::open`].
    pub fn look(address: &RedisAddress, node: NodeId) -> Result<Self, StoreError> {
        let path = file(address, node);
        let archive = path.as_deref().map(Archive::open_existing).transpose()?.flatten();
        Ok(Self::of(RedisStore::look(address, node)?, archive, path.as_deref()))
    }

    fn of(redis: RedisStore, archive: Option<Archive>, path: Option<&Path>) -> Self {
        let place = path.map(Archive::name_of);
        Self { redis, archive, place, first: None, epoch: None, identity: None, last_moving: 0 }
    }

    /// Looks whether the archive is one of the store with these fields, and not ahead of it.
    fn check_archive(&mut self, fields: &BTreeMap<String, Vec<u8>>) -> Result<(), StoreError> {
        let Some(archive) = &mut self.archive else { return Ok(()) };
        let (store, name) = (self.redis.describe(), self.place.clone().unwrap_or_default());
        let Some(identity) = archive.identity()? else {
            // Only one into which nothing was ever moved has none.
            return if archive.height()? == 0 { Ok(()) } else { Err(StoreError::corrupt(name, "it is of no store")) };
        };
        if fields.get(field::IDENTITY) != Some(&identity) {
            let found = whose(&identity)?;
            let none = || Ok("no store of this node".to_owned());
            let expected = fields.get(field::IDENTITY).map_or_else(none, |bytes| whose(bytes))?;
            return Err(StoreError::OtherArchive { archive: name, found, store, expected });
        }
        let Some(bytes) = fields.get(field::HEAD) else { return Ok(()) };
        let head: Head = record::decode(field::HEAD, Kind::Head, bytes)?;
        match archive.height()? {
            archived if archived > head.height.0 => {
                Err(StoreError::WentBack { store, height: head.height, archive: name, archived: Height(archived) })
            }
            _ => Ok(()),
        }
    }

    /// Takes note of what is stored by now.
    fn note(&mut self, identity: Option<&Vec<u8>>, head: Option<&Vec<u8>>) {
        if let Some(identity) = identity {
            self.identity = Some(identity.clone());
        }
        if let Some(Ok(head)) = head.map(|bytes| record::decode::<Head>(field::HEAD, Kind::Head, bytes)) {
            let saved = head.saved.map_or(0, |saved| saved.height.0);
            self.last_moving = saved.min(head.height.0.saturating_sub(1));
        }
    }

    /// The lowest block in the Redis; `None` where there is none.
    fn first(&mut self) -> Result<Option<u64>, StoreError> {
        if self.first.is_none() {
            self.first = self.redis.read(Stream::Chain, 1, u64::MAX, 0)?.first().map(|(id, _)| *id);
        }
        Ok(self.first)
    }

    /// Fails where a block from height `from` on is neither in the archive nor in the Redis, which begins at `first`.
    fn check_gap(&mut self, from: u64, first: u64) -> Result<(), StoreError> {
        let archived = self.archive.as_mut().map_or(Ok(0), Archive::height)?;
        let missing = from.max(archived.saturating_add(1));
        if missing >= first {
            return Ok(());
        }
        let (store, archive) = (self.redis.describe(), self.place.clone());
        Err(StoreError::Gap { store, archive, first: Height(missing), last: Height(first - 1) })
    }

    /// Blocks from both places, as if they were in one.
    fn read_blocks(&mut self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        // Where the Redis holds no block, whoever reads finds the last ones missing.
        let first = self.first()?.unwrap_or(u64::MAX);
        if from >= first {
            return self.redis.read(Stream::Chain, from, to, bytes_max);
        }
        if first < u64::MAX {
            self.check_gap(from, first)?;
        }
        let mut found = match &mut self.archive {
            Some(archive) => archive.read(from, to.min(first - 1), bytes_max)?,
            None => Vec::new(),
        };
        let bytes: usize = found.iter().map(|(_, bytes)| bytes.len()).sum();
        if first <= to && bytes <= bytes_max {
            found.extend(self.redis.read(Stream::Chain, first, to, bytes_max - bytes)?);
        }
        Ok(found)
    }

    /// Takes blocks out of the Redis, of which there is another copy.
    fn forget(&mut self, epoch: Epoch, blocks: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let mut arguments = vec![encode_epoch(epoch)];
        arguments.extend(blocks.iter().map(|(id, _)| format!("{id}-0").into_bytes()));
        let found = self.redis.run(FORGET_SCRIPT, &arguments)?;
        match found.word.as_str() {
            "applied" => Ok(()),
            "epoch" => Err(other_epoch(found.what.as_deref())),
            "record" => {
                let key = Stream::Chain.key(text(&found.more.unwrap_or_default()).parse().unwrap_or(0));
                Err(StoreError::corrupt(key, "the chain ends here, while the head says that it goes on"))
            }
            _ => Err(self.redis.nonsense(StoreError::Unknown)),
        }
    }
}

impl Store for ArchivedRedis {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        // Whoever cannot read the whole chain must not take the store from somebody who can.
        if let Some(first) = self.first()? {
            self.check_gap(1, first)?;
        }
        let epoch = self.redis.take_epoch(token)?;
        // Its owner may have moved blocks until now.
        (self.epoch, self.first) = (Some(epoch), None);
        Ok(epoch)
    }

    fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.redis.check_epoch(epoch)
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let fields = self.redis.fields()?;
        self.check_archive(&fields)?;
        self.note(fields.get(field::IDENTITY), fields.get(field::HEAD));
        Ok(fields)
    }

    fn read(
        &mut self,
        stream: Stream,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        match (stream, from) {
            (Stream::Chain, _) if from > to => Ok(Vec::new()),
            // Genesis stays in the Redis.
            (Stream::Chain, 0) => {
                let mut found = self.redis.read(stream, 0, 0, bytes_max)?;
                let bytes: usize = found.iter().map(|(_, bytes)| bytes.len()).sum();
                if to > 0 && bytes <= bytes_max {
                    found.extend(self.read_blocks(1, to, bytes_max - bytes)?);
                }
                Ok(found)
            }
            (Stream::Chain, _) => self.read_blocks(from, to, bytes_max),
            _ => self.redis.read(stream, from, to, bytes_max),
        }
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        self.redis.write(write)?;
        if self.archive.is_some() {
            let written = |name: &str| write.fields.get(name).and_then(Option::as_ref);
            self.note(written(field::IDENTITY), written(field::HEAD));
        }
        Ok(())
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        let (Some(epoch), Some(identity)) = (self.epoch, self.identity.clone()) else { return Ok(false) };
        if self.archive.is_none() || self.last_moving == 0 {
            return Ok(false);
        }
        let Some(first) = self.first()?.filter(|first| *first <= self.last_moving) else { return Ok(false) };
        self.check_gap(1, first)?;
        let last = self.last_moving.min(first.saturating_add(PART_BLOCKS - 1));
        let blocks = self.redis.read(Stream::Chain, first, last, PART_BYTES)?;
        let missing = (first..).zip(&blocks).find(|(expected, (id, _))| id != expected).map(|(expected, _)| expected);
        if let Some(missing) = missing.or(blocks.is_empty().then_some(first)) {
            return Err(StoreError::missing(Stream::Chain.key(missing)));
        }
        if let Some(archive) = &mut self.archive {
            archive.append(&identity, &blocks)?;
        }
        // It is asked anew after a failure: the script may have done its work.
        self.first = None;
        self.forget(epoch, &blocks)?;
        let next = first + blocks.len() as u64;
        self.first = Some(next);
        Ok(next <= self.last_moving)
    }

    fn describe(&self) -> String {
        self.redis.describe()
    }
}

/// Where the archive of a node is to be, if anywhere.
fn file(address: &RedisAddress, node: NodeId) -> Option<PathBuf> {
    address.archive.as_ref().map(|directory| directory.join(format!("{node}.archive")))
}

/// Whose store an identity is of, in words.
fn whose(identity: &[u8]) -> Result<String, StoreError> {
    let Identity { node, bank, incarnation } = record::decode(field::IDENTITY, Kind::Identity, identity)?;
    Ok(format!("store {incarnation} of node {node} of bank {}", bank.short()))
}
