//! The id that a client gives a transfer and keeps through retries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// A ULID: 128 bits, 48 of them a time in milliseconds, so that ids sort by age (R10). Text has 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(Ulid);

/// A text that is not a ULID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a transfer id; an id is a ULID of 26 characters, such as 01ARZ3NDEKTSV4RRFFQ69G5FAV")]
pub struct TransferIdError(String);

impl TransferId {
    /// An id from a wall clock (milliseconds since 1970; a label, not an order that anything relies on) and 80 random
    /// bits, the low ones of `random`.
    pub fn from_parts(unix_ms: u64, random: u128) -> Self {
        Self(Ulid::from_parts(unix_ms, random))
    }

    /// The id as 16 bytes, big endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }
}

impl From<TransferId> for u128 {
    fn from(id: TransferId) -> Self {
        id.0.0
    }
}

impl From<u128> for TransferId {
    fn from(bits: u128) -> Self {
        Self(Ulid(bits))
    }
}

impl FromStr for TransferId {
    type Err = TransferIdError;

    fn from_str(text: &str) -> Result<Self, TransferIdError> {
        let error = || TransferIdError(text.chars().take(40).collect());
        // 26 digits of 5 bits are 130: the first may not pass 7, or the id would silently lose its top bits.
        if !text.starts_with(|c: char| ('0'..='7').contains(&c)) {
            return Err(error());
        }
        Ulid::from_string(text).map(Self).map_err(|_| error())
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for TransferId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for TransferId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = TransferId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a transfer id of 16 bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<TransferId, E> {
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(TransferId(Ulid::from_bytes(bytes)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TransferId, E> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_in_them_and_read_back() {
        let (early, late) = (TransferId::from_parts(1, u128::MAX), TransferId::from_parts(2, 0));
        assert!(early < late);
        assert_eq!(late.to_string().parse(), Ok(late));
    }

    #[test]
    fn an_id_with_more_than_128_bits_is_refused() {
        assert!("80000000000000000000000000".parse::<TransferId>().is_err());
        assert!("7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<TransferId>().is_ok());
        assert!("not an id".parse::<TransferId>().is_err());
    }
}
