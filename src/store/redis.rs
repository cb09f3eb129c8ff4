//! The store in a Redis, in keys that carry the node's name:
//!
//! | key | type | content |
//! |---|---|---|
//! | `SERVER-BLOCKCHAIN-{node}` | stream, ids `{height}-0`, genesis `0-1` | the chain |
//! | `SERVER-LOG-{node}` | stream, ids `{last seq of the batch}-0` | this node's unsettled entries |
//! | `SERVER-REFUSED-{node}` | stream, ids `{record number}-0` | remembered refusals |
//! | `SERVER-STATE-{node}` | stream, ids `{part number}-0` | the last checkpoint |
//! | `SERVER-PAXOS-{node}` | hash | the fields |
//!
//! Every change is one script, which Redis runs alone: it checks all before it changes anything. After a failure the
//! connection is closed, and the next call opens another. A write that was under way on the old one may still land
//! then, late; it changes nothing, since the head that it expects, or the epoch, is another by that time (R13).

use std::collections::BTreeMap;

use ::redis::Value;

use super::check::{conflict, encode_epoch, epoch_after, other_epoch, other_head};
use super::{Store, StoreError, Stream, Write, field};
use crate::types::{Epoch, NodeId};

mod address;
mod archived;
mod connection;
mod tls;

pub use address::{RedisAddress, RedisCredentials, RedisPlace};
pub use archived::ArchivedRedis;
pub use connection::RedisMemory;
use connection::{Call, Connection, code};
pub use tls::{RedisTls, RedisTlsError};

const EPOCH_SCRIPT: &str = include_str!("redis/epoch.lua");
const READ_SCRIPT: &str = include_str!("redis/read.lua");
const WRITE_SCRIPT: &str = include_str!("redis/write.lua");

/// What the keys of all nodes begin with, in the order in which the scripts know them.
const PREFIXES: [&str; 5] = ["SERVER-BLOCKCHAIN-", "SERVER-LOG-", "SERVER-REFUSED-", "SERVER-STATE-", "SERVER-PAXOS-"];
const FIELDS: usize = 4;

/// The place of a stream among the keys.
const fn place(stream: Stream) -> usize {
    match stream {
        Stream::Chain => 0,
        Stream::Log => 1,
        Stream::Refused => 2,
        Stream::State => 3,
    }
}

/// A store in a Redis.
pub struct RedisStore {
    address: RedisAddress,
    keys: [String; 5],
    /// `None` after a failure, until the next call opens another.
    connection: Option<Connection>,
    /// Of unsafe settings that are accepted, nothing more is to be said.
    warned: bool,
    /// An epoch that was to be set after this one, without an answer.
    unanswered: Option<(Option<Vec<u8>>, Epoch)>,
}

impl RedisStore {
    /// Connects to the Redis, and checks that it keeps what it acknowledges.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`] where it does not; [`StoreError::Unread`] where it is not there, or not yet;
    /// [`StoreError::Denied`] and [`StoreError::Untrusted`] where the two do not let each other in.
    pub fn open(address: RedisAddress, node: NodeId) -> Result<Self, StoreError> {
        Self::connect(address, node, false)
    }

    /// The same for a look before it is opened: where unsafe settings are accepted, it does not warn of them yet.
    ///
    /// # Errors
    /// As [`RedisStore::open`].
    pub fn look(address: &RedisAddress, node: NodeId) -> Result<Self, StoreError> {
        Self::connect(address.clone(), node, true)
    }

    fn connect(address: RedisAddress, node: NodeId, warned: bool) -> Result<Self, StoreError> {
        let keys = PREFIXES.map(|prefix| format!("{prefix}{node}"));
        let mut store = Self { address, keys, connection: None, warned, unanswered: None };
        store.connection = Some(Connection::open(&store.address, &mut store.warned)?);
        Ok(store)
    }

    /// Which settings of the Redis are such that it may lose what it acknowledged, each as the error for which a node
    /// would not use it.
    ///
    /// # Errors
    /// As [`RedisStore::open`], where it is not there, or cannot be a store whatever it is set to.
    pub fn faults(address: &RedisAddress) -> Result<Vec<StoreError>, StoreError> {
        let any = RedisAddress { accept_unsafe: true, ..address.clone() };
        let found = Connection::open(&any, &mut true)?.unsafe_settings(address)?;
        let fault = |setting| StoreError::Unsafe { address: address.to_string(), settings: vec![setting] };
        Ok(found.into_iter().map(fault).collect())
    }

    /// How much memory the Redis uses, and how much it may: one that is full takes no writes.
    ///
    /// # Errors
    /// As [`RedisStore::faults`].
    pub fn memory(address: &RedisAddress) -> Result<RedisMemory, StoreError> {
        let any = RedisAddress { accept_unsafe: true, ..address.clone() };
        Connection::open(&any, &mut true)?.memory(address)
    }

    /// The nodes of which the Redis holds any key, by name.
    ///
    /// # Errors
    /// As [`RedisStore::open`].
    pub fn nodes(address: &RedisAddress) -> Result<Vec<NodeId>, StoreError> {
        let mut connection = Connection::open(address, &mut true)?;
        let mut nodes = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = ::redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg("SERVER-*").arg("COUNT").arg(1_000);
            let (next, keys): (String, Vec<Vec<u8>>) =
                connection.ask(scan).map_err(|error| Call::Read.failed(address, &error))?;
            let names = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
            let names = names.filter_map(|key| PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)));
            // What cannot be a node's name is somebody else's key.
            nodes.extend(names.filter_map(|name| name.parse::<NodeId>().ok()));
            if next == "0" {
                break;
            }
            cursor = next;
        }
        nodes.sort_unstable();
        nodes.dedup();
        Ok(nodes)
    }

    /// Runs `ask` on the connection, which is opened where there is none, and closed where it failed.
    fn with(
        &mut self,
        call: Call,
        ask: impl FnOnce(&mut Connection, &[String; 5]) -> Result<Value, ::redis::RedisError>,
    ) -> Result<Value, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address, &mut self.warned).map_err(|error| match error {
                StoreError::Unread(what) => call.not_done(what),
                // Of a server that was good before. Whoever mends its certificate need not start this node again.
                StoreError::Untrusted { .. } => call.not_done(error.to_string()),
                error => error,
            })?,
        };
        let answer = ask(&mut connection, &self.keys);
        // An error reply leaves the connection as it was. After anything else, the next answer could be this one's.
        if answer.as_ref().map_or_else(|error| code(error).is_some_and(|code| code != "READONLY"), |_| true) {
            self.connection = Some(connection);
        }
        answer.map_err(|error| call.failed(&self.address, &error))
    }

    /// Runs a script that answers with a word and what belongs to it.
    fn run(&mut self, script: &'static str, arguments: &[Vec<u8>]) -> Result<Found, StoreError> {
        let answer = self.with(Call::Write, |connection, keys| connection.run(script, keys, arguments))?;
        let mut parts = self.list(answer, StoreError::Unknown)?.into_iter().map(bytes);
        let word = parts.next().flatten().unwrap_or_default();
        let found = Found { word: text(&word), what: parts.next().flatten(), more: parts.next().flatten() };
        match (found.word.as_str(), found.place()) {
            ("type", Some(key)) => Err(self.wrong_type(key, &found.more.unwrap_or_default())),
            _ => Ok(found),
        }
    }

    fn wrong_type(&self, key: usize, found: &[u8]) -> StoreError {
        let needed = if key == FIELDS { "hash" } else { "stream" };
        StoreError::corrupt(self.keys[key].clone(), format!("it is a {}, not a {needed}", text(found)))
    }

    /// A read of one key, whose type was not looked at before.
    fn read_key(
        &mut self,
        key: usize,
        ask: impl FnOnce(&mut Connection, &str) -> Result<Value, ::redis::RedisError>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut wrong = false;
        let answer = self.with(Call::Read, |connection, keys| {
            ask(connection, &keys[key]).inspect_err(|error| wrong = code(error) == Some("WRONGTYPE"))
        });
        if wrong {
            return Err(self.wrong_type(key, b"key of another type"));
        }
        self.list(answer?, StoreError::Unread)
    }

    fn list(&mut self, answer: Value, failing: fn(String) -> StoreError) -> Result<Vec<Value>, StoreError> {
        match answer {
            Value::Array(values) => Ok(values),
            _ => Err(self.nonsense(failing)),
        }
    }

    /// What answered is no Redis, or none that is sound; nothing is concluded from it, nor from what would follow.
    fn nonsense(&mut self, failing: fn(String) -> StoreError) -> StoreError {
        self.connection = None;
        failing(format!("{}: the answer makes no sense", self.address))
    }

    /// Sets the epoch to `next` where it still is `found`, or is `next` already. If not, the one that it is.
    fn set_epoch(&mut self, found: Option<&[u8]>, next: Epoch) -> Result<bool, StoreError> {
        self.unanswered = Some((found.map(<[u8]>::to_vec), next));
        let answer = self.run(EPOCH_SCRIPT, &[tagged(found), encode_epoch(next)])?;
        if !["done", "found"].contains(&answer.word.as_str()) {
            return Err(self.nonsense(StoreError::Unknown));
        }
        self.unanswered = None;
        Ok(answer.word == "done")
    }
}

impl Store for RedisStore {
    fn take_epoch(&mut self, token: u64) -> Result<Epoch, StoreError> {
        if let Some((found, next)) = self.unanswered.take().filter(|(_, next)| next.token == token)
            && self.set_epoch(found.as_deref(), next)?
        {
            return Ok(next);
        }
        loop {
            let Found { word, what: found, more: used } = self.run(EPOCH_SCRIPT, &[])?;
            if word != "found" {
                return Err(self.nonsense(StoreError::Unknown));
            }
            let next = epoch_after(found.as_deref(), used.as_deref() != Some(b"new"), token)?;
            // Another process may have been quicker. It raised the epoch, so that this ends when they do.
            if self.set_epoch(found.as_deref(), next)? {
                return Ok(next);
            }
        }
    }

    fn check_epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        // A connection that is opened anew is looked at by that. One on which this fails is let go: nothing is written
        // before the server was found good again.
        if let Some(mut connection) = self.connection.take() {
            connection.check_again(&self.address, &mut self.warned)?;
            self.connection = Some(connection);
        }
        let Found { word, what: found, .. } = self.run(EPOCH_SCRIPT, &[])?;
        match found {
            _ if word != "found" => Err(self.nonsense(StoreError::Unread)),
            Some(found) if found == encode_epoch(epoch) => Ok(()),
            found => Err(other_epoch(found.as_deref())),
        }
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let ask = |connection: &mut Connection, key: &str| {
            let mut command = ::redis::cmd("HGETALL");
            command.arg(key);
            connection.ask(command)
        };
        let mut parts = self.read_key(FIELDS, ask)?.into_iter().map(bytes);
        let mut fields = BTreeMap::new();
        while let Some(name) = parts.next() {
            let (Some(name), Some(value)) = (name, parts.next().flatten()) else {
                return Err(self.nonsense(StoreError::Unread));
            };
            let name = String::from_utf8(name)
                .map_err(|error| StoreError::corrupt(text(error.as_bytes()), "no field has this name"))?;
            fields.insert(name, value);
        }
        Ok(fields)
    }

    fn read(
        &mut self,
        stream: Stream,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        if from > to {
            return Ok(Vec::new());
        }
        let arguments = [from.to_string(), to.to_string(), bytes_max.to_string()].map(String::into_bytes);
        let ask = |connection: &mut Connection, key: &str| connection.run(READ_SCRIPT, &[key.to_owned()], &arguments);
        let mut parts = self.read_key(place(stream), ask)?.into_iter().map(bytes);
        let mut records = Vec::new();
        while let Some(entry) = parts.next() {
            let (Some(entry), Some(record)) = (entry, parts.next()) else {
                return Err(self.nonsense(StoreError::Unread));
            };
            let entry = text(&entry);
            match (number_of(&entry), record) {
                (Ok(id), Some(record)) => records.push((id, record)),
                (Ok(id), None) => {
                    return Err(StoreError::corrupt(stream.key(id), "it is not one field named record"));
                }
                (Err(id), _) => {
                    let what = format!("the entry {entry} has its place, which is none of a record");
                    return Err(StoreError::corrupt(stream.key(id), what));
                }
            }
        }
        Ok(records)
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        let found = self.run(WRITE_SCRIPT, &arguments(write))?;
        match (found.word.as_str(), found.place()) {
            ("applied" | "done", _) => Ok(()),
            ("epoch", _) => Err(other_epoch(found.what.as_deref())),
            ("head", _) => Err(other_head(found.what.as_deref(), write)),
            ("field", _) => Err(conflict(&text(&found.what.unwrap_or_default()), write)),
            ("record", Some(key)) => {
                let name = Stream::ALL.into_iter().find(|stream| place(*stream) == key).map_or("", Stream::name);
                Err(conflict(&format!("{name}/{}", text(&found.more.unwrap_or_default())), write))
            }
            _ => Err(self.nonsense(StoreError::Unknown)),
        }
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

/// What a script found: a word, and up to two values that belong to it.
struct Found {
    word: String,
    what: Option<Vec<u8>>,
    more: Option<Vec<u8>>,
}

impl Found {
    /// The place of the key that it is about, where the first value tells that; scripts count from 1.
    fn place(&self) -> Option<usize> {
        let number: usize = text(self.what.as_deref()?).parse().ok()?;
        number.checked_sub(1).filter(|place| *place < PREFIXES.len())
    }
}

/// A write as the script takes it.
fn arguments(write: &Write) -> Vec<Vec<u8>> {
    let decimal = |number: u64| number.to_string().into_bytes();
    let head = write.fields.get(field::HEAD).cloned().flatten().unwrap_or_default();
    let mut all = vec![encode_epoch(write.epoch), tagged(write.head_before.as_deref()), head];
    all.push(decimal(write.appends.len() as u64));
    for append in &write.appends {
        let after = append.after.map(decimal).unwrap_or_default();
        all.extend([decimal(place(append.stream) as u64 + 1), after, decimal(append.id), append.bytes.clone()]);
    }
    all.push(decimal(write.trims.len() as u64));
    for (stream, first_kept) in &write.trims {
        all.extend([decimal(place(*stream) as u64 + 1), decimal(*first_kept)]);
    }
    let sets: Vec<_> = write.fields.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    all.push(decimal(sets.len() as u64));
    all.extend(sets.into_iter().flat_map(|(name, value)| [name.clone().into_bytes(), value.clone()]));
    let deletes: Vec<_> = write.fields.iter().filter(|(_, value)| value.is_none()).collect();
    all.push(decimal(deletes.len() as u64));
    all.extend(deletes.into_iter().map(|(name, _)| name.clone().into_bytes()));
    all
}

/// What may be missing, in a form in which nothing and no bytes differ.
fn tagged(value: Option<&[u8]>) -> Vec<u8> {
    value.map_or_else(|| b"-".to_vec(), |bytes| [b"+", bytes].concat())
}

/// The id of a record from that of its entry: `{id}-0`, or `0-1` where it is 0, since Redis has no `0-0`. If it has
/// another form, the id in whose place it stands.
fn number_of(entry: &str) -> Result<u64, u64> {
    let (number, rest) = entry.split_once('-').unwrap_or((entry, ""));
    let number = number.parse().unwrap_or(0);
    let expected = if number == 0 { "1" } else { "0" };
    if rest == expected { Ok(number) } else { Err(number) }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
