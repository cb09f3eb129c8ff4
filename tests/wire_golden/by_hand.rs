//! What `docs/wire.md` says of MessagePack, frames and hashes, in plain Rust. Nothing of the crate is used here.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than anything here takes; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What MessagePack holds, as far as the document needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Nil,
    Bool(bool),
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    /// All keys are texts.
    Map(BTreeMap<String, Self>),
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

impl Value {
    pub fn field(&self, name: &str) -> &Self {
        match self {
            Self::Map(fields) => fields.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")),
            other => panic!("{name} of {other:?}"),
        }
    }

    pub fn items(&self) -> &[Self] {
        let Self::Array(items) = self else { panic!("no array: {self:?}") };
        items
    }

    pub fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("no number: {self:?}") };
        *number
    }

    pub fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("no text: {self:?}") };
        text
    }

    pub fn bytes(&self) -> &[u8] {
        let Self::Bytes(bytes) = self else { panic!("no bytes: {self:?}") };
        bytes
    }

    /// The forms that any length fits: longer than the shortest, which a node takes as well.
    fn write(&self, to: &mut Vec<u8>) {
        let length = |to: &mut Vec<u8>, marker: u8, length: usize| {
            to.push(marker);
            to.extend(u32::try_from(length).unwrap().to_be_bytes());
        };
        match self {
            Self::Nil => to.push(0xc0),
            Self::Bool(value) => to.push(0xc2 + u8::from(*value)),
            Self::Number(number) => {
                to.push(0xcf);
                to.extend(number.to_be_bytes());
            }
            Self::Text(text) => {
                length(to, 0xdb, text.len());
                to.extend(text.bytes());
            }
            Self::Bytes(bytes) => {
                length(to, 0xc6, bytes.len());
                to.extend(bytes);
            }
            Self::Array(items) => {
                length(to, 0xdd, items.len());
                items.iter().for_each(|item| item.write(to));
            }
            Self::Map(fields) => {
                length(to, 0xdf, fields.len());
                for (name, value) in fields {
                    text(name).write(to);
                    value.write(to);
                }
            }
        }
    }

    /// The value that these bytes hold.
    pub fn of(mut bytes: &[u8]) -> Self {
        let value = Self::read(&mut bytes);
        assert!(bytes.is_empty(), "one value, and nothing behind it");
        value
    }

    fn read(from: &mut &[u8]) -> Self {
        let marker = take(from, 1)[0];
        match marker {
            0x00..=0x7f => Self::Number(marker.into()),
            0xc0 => Self::Nil,
            0xc2 | 0xc3 => Self::Bool(marker == 0xc3),
            0xcc..=0xcf => Self::Number(number(from, 1 << (marker - 0xcc))),
            0xa0..=0xbf => Self::read_text(from, (marker & 0x1f).into()),
            0xd9..=0xdb => {
                let length = number(from, 1 << (marker - 0xd9));
                Self::read_text(from, length)
            }
            0xc4..=0xc6 => {
                let length = number(from, 1 << (marker - 0xc4));
                Self::Bytes(take(from, length).to_vec())
            }
            0x90..=0x9f => Self::read_array(from, (marker & 0x0f).into()),
            0xdc | 0xdd => {
                let length = number(from, 2 << (marker - 0xdc));
                Self::read_array(from, length)
            }
            0x80..=0x8f => Self::read_map(from, (marker & 0x0f).into()),
            0xde | 0xdf => {
                let length = number(from, 2 << (marker - 0xde));
                Self::read_map(from, length)
            }
            other => panic!("the document knows no {other:#x}"),
        }
    }

    fn read_text(from: &mut &[u8], length: u64) -> Self {
        Self::Text(String::from_utf8(take(from, length).to_vec()).unwrap())
    }

    fn read_array(from: &mut &[u8], length: u64) -> Self {
        Self::Array((0..length).map(|_| Self::read(from)).collect())
    }

    fn read_map(from: &mut &[u8], length: u64) -> Self {
        Self::Map((0..length).map(|_| (Self::read(from).text().to_owned(), Self::read(from))).collect())
    }
}

fn take<'a>(from: &mut &'a [u8], count: u64) -> &'a [u8] {
    let (taken, rest) = from.split_at(usize::try_from(count).unwrap());
    *from = rest;
    taken
}

fn number(from: &mut &[u8], bytes: u64) -> u64 {
    take(from, bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A connection to a node's client port.
pub struct Client(TcpStream);

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, tag: u64, ask: Value) {
        self.frame(&map([("tag", Value::Number(tag)), ("ask", ask)]));
    }

    pub fn frame(&mut self, value: &Value) {
        let mut content = Vec::new();
        value.write(&mut content);
        let mut frame = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(content);
        self.0.write_all(&frame).unwrap();
    }

    pub fn reply(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut content = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut content).unwrap();
        Value::of(&content)
    }

    /// Asks what has one reply, and returns what it tells under that name.
    pub fn ask(&mut self, tag: u64, ask: Value, told: &str) -> Value {
        self.send(tag, ask);
        let reply = self.reply();
        assert_eq!(reply.field("tag").number(), tag);
        reply.field("told").field(told).clone()
    }

    /// True where the node closed the connection.
    pub fn is_closed(&mut self) -> bool {
        self.0.read(&mut [0]).unwrap() == 0
    }
}

/// The stream of bytes that a hash is made of.
pub struct Hashed(pub Vec<u8>);

impl Hashed {
    pub fn new(domain: &str) -> Self {
        let mut hashed = Self(Vec::new());
        hashed.text(domain);
        hashed
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// An account: its name, then its home.
    pub fn account(&mut self, account: &str) -> &mut Self {
        let (name, home) = account.split_once('@').unwrap_or((account, account));
        self.text(name).text(home)
    }

    pub fn hash(&mut self, hash: &[u8]) -> &mut Self {
        self.0.extend(hash);
        self
    }

    pub fn finish(&self) -> [u8; 32] {
        blake3::hash(&self.0).into()
    }
}
