//! Names of nodes and accounts. Both are `Copy`: the bulk path moves millions of them and allocates none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Hasher;
use super::hash::Part;

/// Longest node name, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 16;
/// Longest account name before its `@home`, in bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 32;

/// So much of a name that is too long is repeated to whoever gave it.
const SHOWN_CHARACTERS: usize = 12;

/// Why a text is not the name of a node or an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is empty; give at least one character")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("the name that begins {name:?}… is too long ({bytes} bytes, {max} are allowed)")]
    TooLong {
        /// The beginning of the name as given.
        name: String,
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A character other than letters, digits, `-`, `_` and `.`.
    #[error("the name {name:?} holds {character:?}; names are made of ASCII letters, digits, '-', '_' and '.'")]
    Character {
        /// The name as given.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
}

/// Which bytes a name may have.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        allowed[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        byte += 1;
    }
    allowed
};

/// Up to `N` ASCII bytes, `N` being a multiple of 16, padded with zeros, so that the derived order is the order of the texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name<const N: usize>([u8; N]);

impl<const N: usize> std::hash::Hash for Name<N> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Without the length, which is always the same.
        state.write(&self.0);
    }
}

impl<const N: usize> Name<N> {
    fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > N {
            let name = text.chars().take(SHOWN_CHARACTERS).collect();
            return Err(NameError::TooLong { name, bytes: text.len(), max: N });
        }
        if let Some(place) = text.bytes().position(|byte| !ALLOWED[usize::from(byte)]) {
            // All before it are of one byte each, so a character begins there.
            let character = text[place..].chars().next().unwrap_or_default();
            return Err(NameError::Character { name: text.to_owned(), character });
        }
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    fn len(&self) -> usize {
        // Sixteen at a time: this runs for each transfer that is stored, sent or hashed.
        let (parts, _) = self.0.as_chunks::<16>();
        let mut length = 0;
        for (index, part) in parts.iter().enumerate() {
            let part = u128::from_le_bytes(*part);
            if part != 0 {
                length = (index + 1) * 16 - part.leading_zeros() as usize / 8;
            }
        }
        length
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0[..self.len()]
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("names are ASCII: parse() let nothing else in")
    }
}

/// The name of a node, at most [`NODE_NAME_BYTES_MAX`] bytes. Nodes are ordered by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Name<NODE_NAME_BYTES_MAX>);

impl NodeId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for NodeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Name::parse(text).map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An account and the home that alone may debit it: `alice@A`. The node's own account, `A@A`, is written `A`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId {
    home: NodeId,
    name: Name<ACCOUNT_NAME_BYTES_MAX>,
}

impl AccountId {
    /// Nobody's account: before all others in order, so that a search can begin there.
    pub(crate) const FIRST: Self =
        Self { home: NodeId(Name([0; NODE_NAME_BYTES_MAX])), name: Name([0; ACCOUNT_NAME_BYTES_MAX]) };

    /// The account `name@home`.
    pub fn new(name: &str, home: NodeId) -> Result<Self, NameError> {
        Ok(Self { home, name: Name::parse(name)? })
    }

    /// The account that a bare node name stands for.
    pub fn of_node(home: NodeId) -> Self {
        Self::new(home.as_str(), home).expect("a node name fits an account name")
    }

    /// The node that approves transfers out of this account.
    pub fn home(&self) -> NodeId {
        self.home
    }

    /// The part before `@`.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The most bytes of a hash's input that an account is.
    pub(crate) const HASHED_BYTES_MAX: usize = 8 + ACCOUNT_NAME_BYTES_MAX + 8 + NODE_NAME_BYTES_MAX;

    /// Adds name and home.
    pub(crate) fn hash_into(&self, hasher: &mut Hasher) {
        hasher.part::<{ Self::HASHED_BYTES_MAX }>(|part| self.put_into(part));
    }

    /// The same, as a part of more.
    pub(crate) fn put_into<const N: usize>(&self, part: &mut Part<N>) {
        part.bytes(&self.name.0, self.name.len());
        part.bytes(&self.home.0.0, self.home.0.len());
    }
}

impl FromStr for AccountId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('@') {
            Some((name, home)) => Self::new(name, home.parse()?),
            None => Ok(Self::of_node(text.parse()?)),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name() == self.home.as_str() {
            return f.pad(self.name());
        }
        write!(f, "{}@{}", self.name(), self.home)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As it is displayed, without the machinery of displaying: this runs for each transfer that is stored or sent. Whole
        // names are copied with their padding, since copies of a known length are quick.
        let (name, home) = (self.name.as_bytes(), self.home.as_bytes());
        let mut text = [0; ACCOUNT_NAME_BYTES_MAX + 1 + NODE_NAME_BYTES_MAX];
        text[..ACCOUNT_NAME_BYTES_MAX].copy_from_slice(&self.name.0);
        let mut length = name.len();
        if name != home {
            text[length] = b'@';
            text[length + 1..][..NODE_NAME_BYTES_MAX].copy_from_slice(&self.home.0.0);
            length += 1 + home.len();
        }
        serializer.serialize_str(std::str::from_utf8(&text[..length]).expect("names are ASCII"))
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText(std::marker::PhantomData))
    }
}

/// Reads any of this module's names from a text, borrowed or owned.
struct FromText<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = NameError>> serde::de::Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a node or an account")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_node_name_is_the_nodes_own_account() {
        let account: AccountId = "A".parse().unwrap();
        assert_eq!(account, "A@A".parse().unwrap());
        assert_eq!(account.to_string(), "A");
        assert_eq!("alice@A".parse::<AccountId>().unwrap().to_string(), "alice@A");
    }

    #[test]
    fn names_order_as_their_texts_do() {
        let mut names: Vec<NodeId> = ["B", "A1", "A", "a", "AB"].iter().map(|n| n.parse().unwrap()).collect();
        names.sort();
        assert_eq!(names.iter().map(NodeId::as_str).collect::<Vec<_>>(), ["A", "A1", "AB", "B", "a"]);
    }

    #[test]
    fn a_name_that_cannot_be_is_refused_with_what_is_wrong() {
        assert_eq!("".parse::<NodeId>(), Err(NameError::Empty));
        assert_eq!("a@".parse::<AccountId>(), Err(NameError::Empty));
        assert!(matches!("a b".parse::<AccountId>(), Err(NameError::Character { character: ' ', .. })));
        assert!(matches!("x@y@z".parse::<AccountId>(), Err(NameError::Character { character: '@', .. })));
        assert!(matches!("a\u{0}".parse::<NodeId>(), Err(NameError::Character { .. })));
        let long = "seventeen-letters".parse::<NodeId>().unwrap_err().to_string();
        assert_eq!(long, "the name that begins \"seventeen-le\"… is too long (17 bytes, 16 are allowed)");
    }
}
