//! Verifying a store that no node is using. It takes no epoch and changes nothing.

use std::collections::BTreeMap;

use super::record::{self, Identity, Kind};
use super::recover::{CHUNK_BYTES, Fields, RecoverOptions, load_log, load_refused, read_blocks};
use super::replay::{Replay, Replayed};
use super::{Store, StoreError, Stream};
use crate::ledger::{Genesis, HomeStart, Memory};
use crate::types::{Hash, Height, NodeId};

/// A store that was read whole and found intact.
#[derive(Debug)]
pub struct Audit {
    /// Whose store it is.
    pub node: NodeId,
    /// The bank it belongs to.
    pub genesis: Genesis,
    /// The state after its chain, and its log.
    pub home: HomeStart,
    /// The hashes of its blocks, genesis first.
    pub hashes: Vec<Hash>,
}

/// Verifies a whole store that no node is using, and changes nothing: every checksum, every hash, every entry.
///
/// # Errors
/// All of [`StoreError`]; [`StoreError::Corrupt`] names what is damaged or missing.
pub fn audit(store: &mut dyn Store) -> Result<Audit, StoreError> {
    let Fields { identity, head, horizons, .. } = Fields::load(&store.fields()?)?;
    let (key, first) = (Stream::Chain.key(0), store.read(Stream::Chain, 0, 0, 0)?);
    let (_, bytes) = first.first().ok_or_else(|| StoreError::missing(&*key))?;
    let genesis: Genesis = record::decode(&key, Kind::Genesis, bytes)?;
    let Identity { node, bank: cluster, incarnation } = identity;
    if genesis.id() != cluster {
        return Err(StoreError::corrupt(key, "it is not the genesis that the identity names"));
    }
    let options = RecoverOptions { me: node, genesis, token: 0, incarnation, ids_remembered_max: usize::MAX };
    let mut memory = Memory::new(usize::MAX);
    horizons.iter().for_each(|(owner, id)| memory.raise_horizon(*owner, *id));
    let chain = Replay::from_genesis(store, &options, &head, &mut memory)?;
    let Replayed { bank, settled_at, saved } = chain.run(store, &head, &mut BTreeMap::new())?;
    load_refused(store, &head, &bank, &mut memory)?;
    let log = load_log(store, &head)?;
    let mut hashes = vec![cluster];
    while (hashes.len() as u64) <= head.height.0 {
        let next = Height(hashes.len() as u64);
        hashes.extend(read_blocks(store, next, head.height, CHUNK_BYTES)?.iter().map(|block| block.hash()));
    }
    Ok(Audit { node, genesis: options.genesis, home: HomeStart { bank, log, memory, settled_at, saved }, hashes })
}
