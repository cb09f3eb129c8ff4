//! What is done to a disk behind its node's back, and how a start must take it.

use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::Checkpoint;
use paxos_banking::store::memory::Image;
use paxos_banking::store::record::{self, Kind};
use paxos_banking::store::{Disk, StoreError, Stream, audit, field};

use super::{SimDisk, decode_head};
use crate::properties as must;

/// What was done to a disk behind its node's back, and can be undone.
pub enum Damage {
    /// This record or field was these bytes, and is those.
    Flipped { key: String, good: Vec<u8>, bad: Vec<u8> },
    /// A write is there in part; this is the store without it.
    Torn(Image),
}

impl SimDisk {
    /// Of everything that the last write changed, some is on the disk.
    pub(super) fn tear(&self, entropy: &mut Entropy) {
        let (before, after) = (self.0.disk.durable(), self.0.disk.snapshot());
        let mut torn = before.clone();
        let mut keys: Vec<String> = before.keys().into_iter().chain(after.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys.iter().filter(|key| before.get(key) != after.get(key)) {
            if entropy.below(2) == 0 {
                torn.put(key, after.get(key).cloned());
            }
        }
        if torn != before && torn != after && !self.is_damaged() {
            self.count("writes torn");
            self.set_damage(Some(Damage::Torn(before)));
        } else {
            torn = before;
        }
        self.0.disk.restore(torn);
    }

    /// Flips a bit in some record or field; false where that is not possible now.
    pub fn flip(&self, entropy: &mut Entropy) -> bool {
        let image = self.0.disk.snapshot();
        let keys = image.keys();
        if self.has_unsynced() || keys.is_empty() || self.0.damage.borrow().is_some() {
            return false;
        }
        let key = keys[usize::try_from(entropy.below(keys.len() as u64)).unwrap()].clone();
        let good = image.get(&key).cloned().unwrap_or_default();
        let byte = usize::try_from(entropy.below(good.len() as u64)).unwrap();
        self.0.disk.flip(&key, byte);
        let bad = self.0.disk.snapshot().get(&key).cloned().unwrap_or_default();
        self.0.record.borrow_mut().note(format!("byte {byte} of {key} flips in the store of {}", self.0.node));
        self.set_damage(Some(Damage::Flipped { key, good, bad }));
        true
    }

    pub(super) fn set_damage(&self, damage: Option<Damage>) -> Option<Damage> {
        let mut record = self.0.record.borrow_mut();
        match damage {
            Some(_) => record.damaged.insert(self.0.node),
            None => record.damaged.remove(&self.0.node),
        };
        self.0.damage.replace(damage)
    }

    pub fn is_damaged(&self) -> bool {
        self.0.damage.borrow().is_some()
    }

    /// A start has met the damage, or has not: it must have named it, unless nothing of it was left to meet. Then what
    /// was done is undone, as somebody does who has a good copy of the very same bytes.
    pub fn start_met_damage(&self, error: Option<&StoreError>) {
        let Some(damage) = self.set_damage(None) else { return };
        let mut record = self.0.record.borrow_mut();
        let mut image = self.0.disk.snapshot();
        match damage {
            Damage::Flipped { key, good, bad } if image.get(&key) == Some(&bad) => {
                let mut said = error.map(ToString::to_string);
                if said.is_none() && before_the_tail(&image, &key) {
                    // A start does without this block. A check does not.
                    let disk = Disk::new();
                    disk.restore(image.clone());
                    said = audit(&mut disk.open()).err().map(|error| error.to_string());
                    record.counts.add("flipped bytes named by a check");
                } else {
                    record.counts.add("flipped bytes named by a start");
                }
                let held = must::r13_damage_is_named(self.0.node, &key, said.as_deref());
                record.hold(held);
                image.put(&key, Some(good));
                self.0.disk.restore(image);
            }
            // Written over, or trimmed, since.
            Damage::Flipped { .. } => record.counts.add("flipped bytes that nobody met"),
            Damage::Torn(before) if error.is_some() => {
                record.counts.add("torn writes named by a start");
                self.0.disk.restore(before);
            }
            Damage::Torn(_) => record.counts.add("torn writes that were whole in effect"),
        }
    }
}

/// Whether `key` is that of a block that a start need not read: the checkpoint holds all that it tells.
fn before_the_tail(image: &Image, key: &str) -> bool {
    let saved = image.get(field::HEAD).and_then(|bytes| decode_head(bytes)).and_then(|head| head.saved);
    let part = saved.map(|saved| Stream::State.key(saved.first));
    let part = part.and_then(|key| record::decode::<Checkpoint>(&key, Kind::Checkpoint, image.get(&key)?).ok());
    let height = key.strip_prefix("chain/").and_then(|height| height.parse::<u64>().ok());
    match (part, height) {
        (Some(Checkpoint { at, .. }), Some(height)) => height > 0 && height <= at.tail.0 && height < at.height.0,
        _ => false,
    }
}
