//! A server that may lose what it acknowledged is refused by name, and one that is not there is waited for.

use std::process::{Command, Stdio};
use std::time::Duration;

use paxos_banking::store::{
    Disk, Recovered, RedisAddress, RedisCredentials, RedisStore, Store, StoreAddress, StoreError, patiently, recover,
};

use crate::redis_bench::RedisBench;
use crate::redis_server::RedisServer;
use crate::script::*;

fn open(address: &str) -> Result<RedisStore, StoreError> {
    RedisStore::open(address.parse().unwrap(), node("A"))
}

#[track_caller]
fn expect_unsafe(result: Result<RedisStore, StoreError>, expected: &str) -> String {
    match result.err().unwrap() {
        error @ StoreError::Unsafe { .. } => {
            let StoreError::Unsafe { settings, .. } = &error else { unreachable!() };
            assert_eq!(settings[0].name, expected);
            assert!(!error.may_be_retried());
            error.to_string()
        }
        other => panic!("{expected} should be named, not {other}"),
    }
}

#[tokio::test]
async fn each_unsafe_setting_is_refused_by_name_with_what_to_do() {
    let bench = RedisBench::new();
    let address = bench.server.address_unix();
    for (setting, unsafe_value, needed) in [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("appendfsync", "no", "always"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
        ("maxmemory-policy", "volatile-ttl", "noeviction"),
    ] {
        bench.server.cli(&["CONFIG", "SET", setting, unsafe_value]);
        let message = expect_unsafe(open(&address), setting);
        let told = [
            address.clone(),
            format!("{setting} is {unsafe_value}, and must be {needed}"),
            "redis.conf".to_owned(),
            format!("`redis-cli -s {} CONFIG SET {setting} {needed}`", bench.server.socket()),
            format!("`redis-cli -s {} CONFIG REWRITE`", bench.server.socket()),
        ];
        told.iter().for_each(|part| assert!(message.contains(part), "{part} is missing in: {message}"));
        let accepting = RedisAddress { accept_unsafe: true, ..address.parse().unwrap() };
        assert!(recover(&mut RedisStore::open(accepting, node("A")).unwrap(), &options()).is_ok());
        bench.server.cli(&["CONFIG", "SET", setting, needed]);
        // A log of changes that was switched on must be begun first.
        assert!(patiently(Duration::from_secs(20), || open(&address)).await.is_ok());
    }
}

#[tokio::test]
async fn a_server_that_only_begins_its_log_of_changes_is_waited_for() {
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    expect_unsafe(open(&server.address_unix()), "appendonly");
    server.cli(&["SET", "something", "else"]);
    // Its first log takes two seconds to write.
    server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "2000000"]);
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    let error = open(&server.address_unix()).err().unwrap();
    assert!(matches!(&error, StoreError::Unread(what) if what.contains("beginning its log")), "{error}");
    let store: StoreAddress = server.address_unix().parse().unwrap();
    let mut opened = store.open_patiently(node("A"), &Disk::new(), Duration::from_secs(20)).await.unwrap();
    recover(opened.as_mut(), &options()).unwrap();
}

#[test]
fn a_server_that_is_busy_writes_nothing_and_says_so() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let mut journal = recover(&mut store, &options()).unwrap().journal;
    bench.server.cli(&["CONFIG", "SET", "lua-time-limit", "1"]);
    let endless = ["-s", &bench.server.socket(), "EVAL", "while true do end", "0"];
    let mut endless = Command::new("redis-cli").args(endless).stdout(Stdio::null()).spawn().unwrap();
    let (write, error) = loop {
        let write = journal.write(Vec::new());
        if let Err(error) = store.write(&write) {
            break (write, error);
        }
    };
    assert!(matches!(&error, StoreError::NotWritten(what) if what.contains("BUSY")), "{error}");
    assert!(matches!(open(&bench.server.address_unix()), Err(StoreError::Unread(_))));
    bench.server.cli(&["SCRIPT", "KILL"]);
    endless.wait().unwrap();
    store.write(&write).unwrap();
}

#[test]
fn a_setting_that_became_unsafe_is_found_when_the_store_connects_again() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let mut journal = recover(&mut store, &options()).unwrap().journal;
    bench.server.cli(&["CONFIG", "SET", "appendfsync", "no"]);
    bench.server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let write = journal.write(Vec::new());
    assert!(matches!(store.write(&write), Err(StoreError::Unknown(_))));
    assert!(matches!(store.write(&write), Err(StoreError::Unsafe { .. })));
}

#[test]
fn r13_a_setting_that_became_unsafe_on_a_connection_that_lives_is_found_by_the_next_look() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let Recovered { epoch, mut journal, .. } = recover(&mut store, &options()).unwrap();
    for (setting, unsafe_value, needed) in [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ] {
        store.check_epoch(epoch).unwrap();
        bench.server.cli(&["CONFIG", "SET", setting, unsafe_value]);
        let look = store.check_epoch(epoch);
        assert_eq!(unsafe_names(look), [setting]);
        // Nor is anything written after it, before that is mended.
        let write = journal.write(Vec::new());
        assert!(matches!(store.write(&write), Err(StoreError::Unsafe { .. })));
        bench.server.cli(&["CONFIG", "SET", setting, needed]);
        // A log of changes that was switched on is begun anew.
        while let Err(error) = store.write(&write) {
            assert!(error.may_be_retried(), "{error}");
        }
    }
    let address = RedisAddress { accept_unsafe: true, ..bench.server.address_unix().parse().unwrap() };
    let mut accepting = RedisStore::open(address, node("A")).unwrap();
    bench.server.cli(&["CONFIG", "SET", "appendfsync", "everysec"]);
    accepting.check_epoch(epoch).unwrap();
    bench.server.cli(&["CONFIG", "SET", "appendfsync", "always"]);
    bench.server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let look = accepting.check_epoch(epoch);
    assert_eq!(unsafe_names(look), ["role"]);
}

fn unsafe_names(look: Result<(), StoreError>) -> Vec<String> {
    match look {
        Err(StoreError::Unsafe { settings, .. }) => settings.into_iter().map(|setting| setting.name).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_settings_that_are_unsafe_are_named_at_once_with_the_server_to_mend() {
    let bench = RedisBench::new();
    bench.server.cli(&["CONFIG", "SET", "appendfsync", "no"]);
    bench.server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let message = expect_unsafe(open(&bench.server.address_tcp()), "appendfsync");
    let cli = format!("redis-cli -p {}", bench.server.port());
    let set = |setting: &str| format!("`{cli} CONFIG SET {setting}`, ");
    let told = format!("say {}{}and `{cli} CONFIG", set("appendfsync always"), set("maxmemory-policy noeviction"));
    assert!(message.contains(&told), "{told} is missing in: {message}");
    let faults = RedisStore::faults(&bench.server.address_tcp().parse().unwrap()).unwrap();
    assert_eq!(faults.len(), 2, "each of them is one thing to mend");
}

#[test]
fn a_server_whose_memory_is_full_is_known_before_a_write_fails() {
    let bench = RedisBench::new();
    let address: RedisAddress = bench.server.address_tcp().parse().unwrap();
    assert_eq!(RedisStore::memory(&address).unwrap().max, None);
    bench.server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let memory = RedisStore::memory(&address).unwrap();
    assert!(memory.max == Some(1) && memory.used > 100_000, "{memory:?}");
}

#[test]
fn a_server_that_does_not_tell_its_settings_is_refused() {
    let server = RedisServer::start_with(&["--rename-command", "CONFIG", ""]);
    let message = expect_unsafe(open(&server.address_unix()), "appendonly");
    assert!(message.contains("not to be read (ERR unknown command"), "{message}");
    let bench = RedisBench::new();
    bench.server.cli(&["ACL", "SETUSER", "default", "-config"]);
    let message = expect_unsafe(open(&bench.server.address_unix()), "appendonly");
    assert!(message.contains("NOPERM"), "{message}");
    let accepting = RedisAddress { accept_unsafe: true, ..bench.server.address_unix().parse().unwrap() };
    assert!(RedisStore::open(accepting, node("A")).is_ok());
}

#[test]
fn a_replica_and_a_cluster_are_refused_whatever_is_accepted() {
    let bench = RedisBench::new();
    let mut store = bench.redis();
    let mut journal = recover(&mut store, &options()).unwrap().journal;
    bench.server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    // One that was made a replica while a node was running.
    let write = journal.write(Vec::new());
    assert!(matches!(store.write(&write), Err(StoreError::Unsafe { settings, .. }) if settings[0].name == "role"));
    let cluster = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    for (address, setting) in [(bench.server.address_unix(), "role"), (cluster.address_unix(), "cluster_enabled")] {
        expect_unsafe(open(&address), setting);
        let accepting = RedisAddress { accept_unsafe: true, ..address.parse().unwrap() };
        expect_unsafe(RedisStore::open(accepting, node("A")), setting);
    }
    bench.server.cli(&["REPLICAOF", "NO", "ONE"]);
    store.write(&write).unwrap();
}

#[test]
fn a_password_and_a_database_that_is_not_there_are_refused() {
    let bench = RedisBench::new();
    bench.server.cli(&["CONFIG", "SET", "requirepass", "secret"]);
    let error = open(&bench.server.address_unix()).err().unwrap();
    assert!(matches!(&error, StoreError::Denied { what, .. } if what.contains("NOAUTH")), "{error}");
    assert!(!error.may_be_retried());
    let mut address: RedisAddress = bench.server.address_unix().parse().unwrap();
    address.credentials = Some(RedisCredentials::new(None, "secret".to_owned()));
    assert!(!format!("{address:?}").contains("secret"), "{address:?}");
    RedisStore::open(address, node("A")).unwrap();
    let server = RedisServer::start();
    let error = open(&format!("{}?db=99", server.address_unix())).err().unwrap();
    assert!(matches!(&error, StoreError::Open { what, .. } if what.contains("DB index")), "{error}");
    let mut store = open(&format!("{}?db=7", server.address_unix())).unwrap();
    recover(&mut store, &options()).unwrap();
    assert_eq!(server.cli(&["-n", "7", "EXISTS", "SERVER-BLOCKCHAIN-A"]), "1");
    assert_eq!(server.cli(&["EXISTS", "SERVER-BLOCKCHAIN-A"]), "0");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_and_not_longer() {
    let server = RedisServer::start();
    server.kill();
    for address in [server.address_tcp(), server.address_unix()] {
        let store: StoreAddress = address.parse().unwrap();
        let error = store.open_patiently(node("A"), &Disk::new(), Duration::from_millis(300)).await.err().unwrap();
        assert!(matches!(error, StoreError::Unread(_)) && error.may_be_retried());
        let message = error.to_string();
        assert!(message.contains(&address) && message.contains("redis-server redis.conf"), "{message}");
    }
    let store: StoreAddress = server.address_tcp().parse().unwrap();
    let (disk, wait) = (Disk::new(), Duration::from_secs(20));
    let (opened, ()) = futures_util::future::join(store.open_patiently(node("A"), &disk, wait), async {
        server.restart();
    })
    .await;
    recover(opened.unwrap().as_mut(), &options()).unwrap();
}

#[tokio::test]
async fn what_does_not_pass_is_not_waited_for() {
    let bench = RedisBench::new();
    bench.server.cli(&["CONFIG", "SET", "appendonly", "no"]);
    let store: StoreAddress = bench.server.address_tcp().parse().unwrap();
    assert!(
        matches!(store.check(node("A"), genesis().id()), Err(StoreError::Unsafe { .. })),
        "a look finds it already"
    );
    let hour = Duration::from_secs(3_600);
    assert!(matches!(store.open_patiently(node("A"), &Disk::new(), hour).await, Err(StoreError::Unsafe { .. })));
}

#[test]
fn looking_whether_a_store_is_ones_own_changes_nothing() {
    let bench = RedisBench::new();
    let store: StoreAddress = bench.server.address_tcp().parse().unwrap();
    store.check(node("A"), genesis().id()).unwrap();
    assert_eq!(bench.server.cli(&["DBSIZE"]), "0");
    run_script(&mut bench.redis());
    let before = bench.server.cli(&["DUMP", "SERVER-PAXOS-A"]);
    store.check(node("A"), genesis().id()).unwrap();
    let other = paxos_banking::types::Hasher::new("test").finish();
    assert!(matches!(store.check(node("A"), other), Err(StoreError::OtherBank { .. })));
    assert_eq!(bench.server.cli(&["DUMP", "SERVER-PAXOS-A"]), before);
    let audit = paxos_banking::store::audit(&mut bench.redis()).unwrap();
    assert_eq!((audit.node, audit.hashes.len()), (node("A"), 4));
    assert_eq!(bench.server.cli(&["DUMP", "SERVER-PAXOS-A"]), before, "no epoch was taken");
}

#[test]
fn addresses_are_read_and_written() {
    for (text, shown) in [
        ("redis://127.0.0.1:7777/3", "redis://127.0.0.1:7777/3"),
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://bank.example/2", "redis://bank.example:6379/2"),
        ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ("redis://[::1]", "redis://[::1]:6379/0"),
        ("rediss://bank.example", "rediss://bank.example:6379/0"),
        ("rediss://[::1]:7000/2", "rediss://[::1]:7000/2"),
        ("unix:/run/redis.sock", "unix:/run/redis.sock"),
        ("unix:redis.sock?db=5", "unix:redis.sock?db=5"),
        ("redb:bank", "redb:bank"),
        ("memory", "memory"),
    ] {
        let address: StoreAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), shown);
        assert_eq!(shown.parse::<StoreAddress>().unwrap(), address);
    }
    for (text, why) in [
        ("redis://me:secret@127.0.0.1", "user and password do not belong in the address"),
        ("redis://:secret@127.0.0.1:1/0", "user and password do not belong in the address"),
        ("redis://", "the host is missing"),
        ("redis://:6379", "the host is missing"),
        ("redis://::1", "the host"),
        ("redis://host:port", "must be a port"),
        ("redis://host:6379/x", "number of a database"),
        ("redis://host:6379/0?timeout=1", "number of a database"),
        ("unix:", "the path of the socket is missing"),
        ("unix:/run/redis.sock?db=x", "number of a database"),
        ("rediss://me:secret@host", "user and password do not belong in the address"),
        ("rediss://:6379", "the host is missing"),
        ("rediss://a b", "no name that a certificate can be for"),
        ("rediss:host", "no store that is known"),
        ("redis:host", "no store that is known"),
        ("etcd://host", "no store that is known"),
        ("redb:", "no store that is known"),
    ] {
        let message = text.parse::<StoreAddress>().unwrap_err().to_string();
        assert!(message.contains(why) && message.contains("give redb:DIR"), "{text}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
}
