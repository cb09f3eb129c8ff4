//! One example: its bytes as the code writes them, and how they are read back.

use std::fmt::Debug;

use paxos_banking::codec;
use paxos_banking::store::record::{self, Kind};
use paxos_banking::wire::frame::frame_of;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can stand in an example.
pub trait Plain: Serialize + DeserializeOwned + PartialEq + Debug + 'static {}

impl<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static> Plain for T {}

/// Decodes bytes, and fails the test where they are not the value of the example.
type ReadBack = Box<dyn Fn(&[u8])>;

/// An example of the document.
pub struct Example {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    read_back: ReadBack,
}

impl Example {
    /// A value alone.
    pub fn value<T: Plain>(name: &'static str, value: T) -> Self {
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, &value);
        let read_back = move |bytes: &[u8]| assert_eq!(codec::decode::<T>(bytes).unwrap(), value, "{name}");
        Self { name, bytes, read_back: Box::new(read_back) }
    }

    /// A frame with its length.
    pub fn frame<T: Plain>(name: &'static str, value: T) -> Self {
        let bytes = frame_of(&value);
        let read_back = move |bytes: &[u8]| {
            let (length, content) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, content.len(), "{name}");
            assert_eq!(codec::decode::<T>(content).unwrap(), value, "{name}");
        };
        Self { name, bytes, read_back: Box::new(read_back) }
    }

    /// A stored record, header and all.
    pub fn record<T: Plain>(name: &'static str, key: &'static str, kind: Kind, value: T) -> Self {
        Self::stored(name, key, kind, value, |value| record::encode(key, kind, value))
    }

    /// One whose kind is encoded in a way of its own.
    pub fn stored<T: Plain>(
        name: &'static str,
        key: &'static str,
        kind: Kind,
        value: T,
        encode: impl FnOnce(&T) -> Vec<u8>,
    ) -> Self {
        let bytes = encode(&value);
        let read_back = move |bytes: &[u8]| assert_eq!(record::decode::<T>(key, kind, bytes).unwrap(), value, "{name}");
        Self { name, bytes, read_back: Box::new(read_back) }
    }

    /// Bytes that are only compared.
    pub fn raw(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let same = bytes.clone();
        Self { name, bytes, read_back: Box::new(move |bytes| assert_eq!(bytes, same, "{name}")) }
    }

    pub fn read_back(&self, bytes: &[u8]) {
        (self.read_back)(bytes);
    }
}

/// An example for each variant of an enum, made by a function out of a name and the value. An enum with a variant that
/// has no line does not compile here.
macro_rules! every_variant {
    ($make:expr, $of:ident { $($variant:ident: $name:literal => $value:expr),+ $(,)? }) => {{
        let variant = |value: &$of| match value {
            $($of::$variant { .. } => stringify!($variant),)+
        };
        let make = $make;
        vec![$({
            let value = $value;
            assert_eq!(variant(&value), stringify!($variant), "{} is an example of something else", $name);
            make($name, value)
        }),+]
    }};
}

pub(crate) use every_variant;
