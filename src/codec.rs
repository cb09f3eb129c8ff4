//! MessagePack as this project writes and reads it, in records and in frames. Structs carry their field names, so that one
//! whose fields were reordered cannot swap debit and credit in silence.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::text::brief;

/// Deeper than any value goes, and too shallow to exhaust a stack.
const DEPTH_MAX: usize = 32;

/// Longest reason, in characters: it may repeat what it could not read.
const WHY_MAX: usize = 300;

/// Why bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not MessagePack, or not of the expected shape.
    #[error("it does not decode: {}", brief(&.0.to_string(), WHY_MAX))]
    Malformed(#[from] rmp_serde::decode::Error),
    /// A value, and then something.
    #[error("bytes are left over behind its content")]
    LeftOver,
}

/// Appends the encoded form of `value`.
///
/// # Panics
/// Where it is of a type that MessagePack cannot hold: a fault of this program, found by its first test.
pub fn encode_into<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    rmp_serde::encode::write_named(bytes, value).expect("values are plain data, and a Vec takes every byte");
}

/// The value that `bytes` hold, all of them. Nothing in them is trusted: no input makes this panic, or take more memory
/// than a small multiple of its own size.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut deserializer)?;
    if deserializer.get_ref().is_empty() { Ok(value) } else { Err(DecodeError::LeftOver) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_or_goes_on_is_no_value() {
        let mut bytes = Vec::new();
        encode_into(&mut bytes, &("text", 7u32));
        assert_eq!(decode::<(String, u32)>(&bytes).unwrap(), ("text".to_owned(), 7));
        assert!(matches!(decode::<(String, u32)>(&bytes[..bytes.len() - 1]), Err(DecodeError::Malformed(_))));
        for more in 0..=u8::MAX {
            let longer = [&bytes[..], &[more]].concat();
            assert!(matches!(decode::<(String, u32)>(&longer), Err(DecodeError::LeftOver)), "{more}");
        }
    }

    #[test]
    fn a_length_that_nothing_follows_takes_no_memory() {
        for header in [[0xdb, 0xff, 0xff, 0xff, 0xff], [0xc6, 0xff, 0xff, 0xff, 0xff], [0xdd, 0xff, 0xff, 0xff, 0xff]] {
            assert!(decode::<String>(&header).is_err());
            assert!(decode::<Vec<u64>>(&header).is_err());
        }
    }

    #[test]
    fn what_could_not_be_read_is_repeated_briefly_and_moves_no_cursor() {
        #[derive(Debug, serde::Deserialize)]
        enum Known {}
        let mut bytes = Vec::new();
        encode_into(&mut bytes, &format!("\u{1b}[2J\n{}", "x".repeat(4_000)));
        let told = decode::<Known>(&bytes).unwrap_err().to_string();
        assert!(told.contains("\\u{1b}[2J\\n") && !told.contains(char::is_control) && told.len() < 400, "{told}");
    }

    #[test]
    fn nesting_beyond_all_reason_is_an_error_in_every_build() {
        let mut bytes = vec![0x91; 100_000];
        bytes.push(0);
        assert!(decode::<serde_json::Value>(&bytes).is_err());
        assert!(decode::<serde::de::IgnoredAny>(&bytes).is_err());
    }
}
