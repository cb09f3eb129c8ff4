//! BLAKE3 hashes, and a hasher whose input cannot be read in two ways.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A BLAKE3 hash of 32 bytes, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// A text that is not 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hash; a hash is 64 hexadecimal digits")]
pub struct HashError(String);

impl Hash {
    /// All zeros: the parent of genesis.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(hash.into()))
            .map_err(|_| HashError(text.chars().take(70).collect()))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Hash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hash of 32 bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Hash, E> {
                bytes.try_into().map(Hash).map_err(|_| E::invalid_length(bytes.len(), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hash, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}

/// Feeds BLAKE3 with numbers (8 bytes, little endian) and texts or bytes (length first), under a named domain, so
/// that no two different inputs give the same stream of bytes.
///
/// Small pieces are put together first: BLAKE3 hashes many kilobytes at once several times as fast as one after the other.
#[derive(Clone)]
pub struct Hasher {
    gathered: Vec<u8>,
    /// `None` until more was gathered than is kept.
    hasher: Option<blake3::Hasher>,
}

/// So much is gathered: enough for the widest instructions, which take sixteen chunks of a kilobyte.
const GATHERED_MAX: usize = 64 << 10;

impl Hasher {
    /// A hasher for one purpose: `domain` keeps the hashes of different purposes apart.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self { gathered: Vec::with_capacity(256), hasher: None };
        hasher.text(domain);
        hasher
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() <= GATHERED_MAX {
            return self.gathered.extend_from_slice(bytes);
        }
        let hasher = self.hasher.get_or_insert_default();
        hasher.update(&self.gathered);
        self.gathered.clear();
        if bytes.len() < GATHERED_MAX / 2 {
            self.gathered.extend_from_slice(bytes);
        } else {
            hasher.update(bytes);
        }
    }

    /// Adds what `put` puts together, of at most `N` bytes.
    pub(crate) fn part<const N: usize>(&mut self, put: impl FnOnce(&mut Part<N>)) -> &mut Self {
        let mut part = Part { bytes: [0; N], length: 0 };
        put(&mut part);
        self.add(&part.bytes[..part.length]);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.add(&number.to_le_bytes());
        self
    }

    /// Adds bytes, their length first.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.add(bytes);
        self
    }

    /// Adds a text, its length first.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds another hash.
    pub fn hash(&mut self, hash: &Hash) -> &mut Self {
        self.add(hash.as_bytes());
        self
    }

    /// The hash of all that was added.
    pub fn finish(&mut self) -> Hash {
        let hash = match &mut self.hasher {
            Some(hasher) => hasher.update(&std::mem::take(&mut self.gathered)).finalize(),
            None => blake3::hash(&self.gathered),
        };
        Hash(hash.into())
    }
}

/// A short part of what is hashed, in the form that the methods of a [`Hasher`] give it. It has its place on the stack, where
/// copies of a known length are quick: this runs for each transfer in a block.
pub(crate) struct Part<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Part<N> {
    fn add<const M: usize>(&mut self, bytes: &[u8; M]) {
        self.bytes[self.length..][..M].copy_from_slice(bytes);
        self.length += M;
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: u64) {
        self.add(&number.to_le_bytes());
    }

    /// Adds the first `length` of `padded`, that length first. There must be room for all of it.
    pub(crate) fn bytes<const M: usize>(&mut self, padded: &[u8; M], length: usize) {
        self.number(length as u64);
        self.add(padded);
        self.length -= M - length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_was_put_together_is_hashed_as_its_pieces_are() {
        let pieces = Hasher::new("test").bytes(b"ab").number(7).bytes(b"").bytes(b"xyz").finish();
        let mut whole = Hasher::new("test");
        whole.part::<40>(|part| {
            part.bytes(b"ab\0\0", 2);
            part.number(7);
            part.bytes(b"\0", 0);
            part.bytes(b"xyz", 3);
        });
        assert_eq!(whole.finish(), pieces);
    }

    #[test]
    fn a_hash_reads_back_what_it_shows() {
        let hash = Hasher::new("test").number(7).finish();
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().len(), 64);
        assert!("xyz".parse::<Hash>().is_err());
    }

    #[test]
    fn however_the_input_is_cut_it_is_the_hash_of_the_whole() {
        let all: Vec<u8> = (0..400_000_u32).map(|place| (place % 251) as u8).collect();
        for cut in [1, 7, 1_000, GATHERED_MAX / 2, GATHERED_MAX - 1, GATHERED_MAX, GATHERED_MAX + 1, all.len()] {
            for length in [0, 1, GATHERED_MAX, GATHERED_MAX + 1, all.len()] {
                let mut hasher = Hasher { gathered: Vec::new(), hasher: None };
                all[..length].chunks(cut).for_each(|piece| hasher.add(piece));
                assert_eq!(hasher.finish(), Hash(blake3::hash(&all[..length]).into()), "{length} bytes by {cut}");
                assert_eq!(hasher.clone().finish(), hasher.finish(), "and again");
            }
        }
    }

    #[test]
    fn where_one_text_ends_and_the_next_begins_is_part_of_the_hash() {
        let pair = |a, b| Hasher::new("test").text(a).text(b).finish();
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        assert_ne!(Hasher::new("a").finish(), Hasher::new("b").finish());
    }
}
