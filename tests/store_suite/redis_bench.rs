//! A Redis as a store under test: each bench has a server of its own.

use std::collections::BTreeMap;

use paxos_banking::store::memory::record_key;
use paxos_banking::store::{RedisStore, Store, StoreError, Stream};
use redis::{Connection, Pipeline, cmd, pipe};

use crate::bench::Bench;
use crate::redis_server::RedisServer;
use crate::script::node;

pub struct RedisBench {
    pub server: RedisServer,
}

impl RedisBench {
    pub fn new() -> Self {
        Self { server: RedisServer::start() }
    }

    pub fn redis(&self) -> RedisStore {
        open(&self.server.address_unix())
    }
}

pub fn open(address: &str) -> RedisStore {
    RedisStore::open(address.parse().unwrap(), node("A")).unwrap()
}

fn stream_key(stream: Stream) -> &'static str {
    match stream {
        Stream::Chain => "SERVER-BLOCKCHAIN-A",
        Stream::Log => "SERVER-LOG-A",
        Stream::Refused => "SERVER-REFUSED-A",
        Stream::State => "SERVER-STATE-A",
    }
}

/// As the server gives them: ids, and the fields of each.
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

fn records(connection: &mut Connection, stream: Stream) -> BTreeMap<u64, Vec<u8>> {
    let entries: Entries = cmd("XRANGE").arg(stream_key(stream)).arg("-").arg("+").query(connection).unwrap();
    let record = |(id, mut fields): (String, Vec<(String, Vec<u8>)>)| {
        let number = id.split_once('-').unwrap().0.parse().unwrap();
        (number, fields.remove(0).1)
    };
    entries.into_iter().map(record).collect()
}

impl Bench for RedisBench {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn fresh(&self) -> Box<dyn Bench> {
        Box::new(Self::new())
    }

    fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(self.redis()))
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut connection = self.server.connection();
        match record_key(key) {
            Some((stream, id)) => records(&mut connection, stream).remove(&id),
            None => cmd("HGET").arg("SERVER-PAXOS-A").arg(key).query(&mut connection).unwrap(),
        }
    }

    fn put(&self, key: &str, bytes: Option<Vec<u8>>) {
        let mut connection = self.server.connection();
        let mut change: Pipeline = pipe();
        change.atomic();
        match (record_key(key), bytes) {
            (Some((stream, id)), bytes) => {
                // Nothing can be put into the middle of a stream: it is built anew.
                let mut records = records(&mut connection, stream);
                match bytes {
                    Some(bytes) => records.insert(id, bytes),
                    None => records.remove(&id),
                };
                change.cmd("DEL").arg(stream_key(stream)).ignore();
                for (id, bytes) in records {
                    let entry = if id == 0 { "0-1".to_owned() } else { format!("{id}-0") };
                    change.cmd("XADD").arg(stream_key(stream)).arg(entry).arg("record").arg(bytes).ignore();
                }
            }
            (None, Some(bytes)) => {
                change.cmd("HSET").arg("SERVER-PAXOS-A").arg(key).arg(bytes).ignore();
            }
            (None, None) => {
                change.cmd("HDEL").arg("SERVER-PAXOS-A").arg(key).ignore();
            }
        }
        change.query::<()>(&mut connection).unwrap();
    }

    fn stride(&self) -> usize {
        23
    }
}
