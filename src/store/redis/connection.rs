//! One connection to a Redis. It is checked before it is used: a server that would acknowledge what it may lose, evict
//! what it holds, or change on a master's word, is no store.

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::io::tcp::TcpSettings;
use ::redis::{Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use tracing::warn;

use super::address::{RedisAddress, RedisPlace};
use super::tls;
use crate::store::{StoreError, UnsafeSetting};

/// Longer than a handshake over any network that a bank would sync its writes across.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than any sync of a disk that works. Until then the node says nothing; after it, it asks again.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the server must be set to, so that what it acknowledged is there after a loss of power, and stays there.
const SETTINGS: [(&str, &str); 4] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
    ("maxmemory-policy", "noeviction"),
];
/// The first whose `XTRIM` knows `MINID`, on which logs are trimmed.
const VERSION_MIN: (u64, u64) = (6, 2);

/// Error replies after which nothing was done, and that may pass.
const PASSING: [&str; 8] = ["LOADING", "BUSY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "NOSCRIPT"];
/// Error replies after which nothing was done, and that a mended configuration ends.
const FORBIDDEN: [&str; 4] = ["NOAUTH", "WRONGPASS", "NOPERM", "DENIED"];

/// A connection that was found good when it was opened.
pub(super) struct Connection {
    raw: ::redis::Connection,
    /// The scripts that the server knows, with their digests.
    loaded: BTreeMap<&'static str, String>,
}

/// The memory of a Redis, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisMemory {
    /// What counts towards the bound.
    pub used: u64,
    /// The bound, where there is one.
    pub max: Option<u64>,
}

/// What a call that failed was about to do, and so what its failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
}

impl Call {
    /// Nothing was done.
    pub(super) fn not_done(self, what: String) -> StoreError {
        match self {
            Self::Read => StoreError::Unread(what),
            Self::Write => StoreError::NotWritten(what),
        }
    }

    /// It may have been done.
    fn unanswered(self, what: String) -> StoreError {
        match self {
            Self::Read => StoreError::Unread(what),
            Self::Write => StoreError::Unknown(what),
        }
    }

    /// What an error means that came instead of the answer.
    pub(super) fn failed(self, address: &RedisAddress, error: &RedisError) -> StoreError {
        let said = words(error);
        match code(error) {
            Some("READONLY") => unsafe_role(address, "replica"),
            Some(code) if PASSING.contains(&code) || FORBIDDEN.contains(&code) => {
                self.not_done(format!("{address}: {said}"))
            }
            _ => self.unanswered(format!("{address}: {said}")),
        }
    }
}

impl Connection {
    /// Connects, and checks the server; `warned` tells that nothing more is to be said of settings that are accepted.
    pub(super) fn open(address: &RedisAddress, warned: &mut bool) -> Result<Self, StoreError> {
        let place = match &address.place {
            RedisPlace::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
            RedisPlace::Tls { host, port } => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            RedisPlace::Unix(path) => ConnectionAddr::Unix(path.into()),
        };
        let raw = (|| {
            let info = place.into_connection_info()?;
            // A large request is several packets, of which the last must not wait for the others' acknowledgement.
            let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
            let info = info.set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
            let client = match &address.place {
                RedisPlace::Tls { .. } => ::redis::Client::build_with_tls(info, address.tls.certificates())?,
                RedisPlace::Tcp { .. } | RedisPlace::Unix(_) => ::redis::Client::open(info)?,
            };
            // TLS itself begins with the first command.
            let raw = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
            raw.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
            raw.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
            Ok::<_, RedisError>(raw)
        })();
        let raw = raw.map_err(|error| match tls::not_tried(address, &error) {
            Some(what) => StoreError::Untrusted { address: address.to_string(), what },
            None => {
                let what = words(&error);
                StoreError::Unread(format!("{address}: {what}; does it run? `redis-server redis.conf` starts one"))
            }
        })?;
        let mut connection = Self { raw, loaded: BTreeMap::new() };
        connection.log_in(address)?;
        connection.check(address, warned)?;
        Ok(connection)
    }

    /// Says who this is, where that was given.
    fn log_in(&mut self, address: &RedisAddress) -> Result<(), StoreError> {
        let Some(credentials) = &address.credentials else { return Ok(()) };
        let mut auth = ::redis::cmd("AUTH");
        if let Some(user) = credentials.user() {
            auth.arg(user);
        }
        auth.arg(credentials.password());
        let denied = |what| StoreError::Denied { address: address.to_string(), what };
        self.ask::<()>(auth).map_err(|error| match code(&error) {
            // A server that knows no AUTH repeats what stood behind it.
            _ if words(&error).contains(credentials.password()) => denied(
                "its answer repeats the password, and is not shown; is AUTH disabled or renamed there?".to_owned(),
            ),
            // Of a server that needs no password, AUTH is an error of no kind of its own.
            Some("ERR") => denied(format!("{}; does it need a password at all? If not, give none", words(&error))),
            _ => not_opened(address, &error),
        })
    }

    fn check(&mut self, address: &RedisAddress, warned: &mut bool) -> Result<(), StoreError> {
        let info = self.info(address)?;
        if let Some(what) = Info::parse(&info).not_yet() {
            return Err(StoreError::Unread(format!("{address}: {what}")));
        }
        self.check_settings(address, warned)?;
        if address.database != 0 {
            let mut select = ::redis::cmd("SELECT");
            select.arg(address.database);
            self.ask::<()>(select).map_err(|error| match code(&error) {
                Some("ERR") => StoreError::Open { path: address.to_string(), what: words(&error) },
                _ => not_opened(address, &error),
            })?;
        }
        Ok(())
    }

    /// Looks again at what somebody may have changed since: a connection outlives that.
    pub(super) fn check_again(&mut self, address: &RedisAddress, warned: &mut bool) -> Result<(), StoreError> {
        self.info(address)?;
        self.check_settings(address, warned)
    }

    /// What it says of itself, once that is found to be a store.
    fn info(&mut self, address: &RedisAddress) -> Result<String, StoreError> {
        let info: String = self.ask(::redis::cmd("INFO")).map_err(|error| not_opened(address, &error))?;
        Info::parse(&info).check(address)?;
        Ok(info)
    }

    fn check_settings(&mut self, address: &RedisAddress, warned: &mut bool) -> Result<(), StoreError> {
        let found = self.unsafe_settings(address)?;
        if address.accept_unsafe {
            if !found.is_empty() && !std::mem::replace(warned, true) {
                let error = StoreError::Unsafe { address: address.to_string(), settings: found };
                warn!("used all the same, as was asked for: {error}");
            }
        } else if !found.is_empty() {
            return Err(StoreError::Unsafe { address: address.to_string(), settings: found });
        }
        Ok(())
    }

    /// How much memory it uses, as it compares that with its bound.
    pub(super) fn memory(&mut self, address: &RedisAddress) -> Result<RedisMemory, StoreError> {
        let mut asked = ::redis::cmd("INFO");
        asked.arg("memory");
        let info: String = self.ask(asked).map_err(|error| not_opened(address, &error))?;
        let info = Info::parse(&info);
        let number = |name| info.get(name).parse::<u64>().unwrap_or(0);
        let used = number("used_memory").saturating_sub(number("mem_not_counted_for_evict"));
        Ok(RedisMemory { used, max: Some(number("maxmemory")).filter(|max| *max > 0) })
    }

    /// The settings that are not as they must be.
    pub(super) fn unsafe_settings(&mut self, address: &RedisAddress) -> Result<Vec<UnsafeSetting>, StoreError> {
        let mut found = Vec::new();
        for (setting, needed) in SETTINGS {
            let mut asked = ::redis::cmd("CONFIG");
            asked.arg("GET").arg(setting);
            let is = |value| UnsafeSetting { name: setting.to_owned(), found: value, needed: needed.to_owned() };
            match self.ask::<Vec<String>>(asked) {
                Ok(pair) if pair.get(1).is_some_and(|value| value == needed) => {}
                Ok(pair) => found.push(is(pair.into_iter().nth(1).unwrap_or_else(|| "not to be found".to_owned()))),
                Err(error) if code(&error).is_some_and(|code| !PASSING.contains(&code)) => {
                    found.push(is(format!("not to be read ({})", words(&error))));
                    // Nor will the others be.
                    break;
                }
                Err(error) => return Err(not_opened(address, &error)),
            }
        }
        Ok(found)
    }

    /// Sends one command and waits for its answer.
    pub(super) fn ask<T: FromRedisValue>(&mut self, command: Cmd) -> Result<T, RedisError> {
        command.query(&mut self.raw)
    }

    /// Runs a script, which the server is given where it does not know it.
    pub(super) fn run<T: FromRedisValue>(
        &mut self,
        script: &'static str,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T, RedisError> {
        let digest = match self.loaded.get(script) {
            Some(digest) => digest.clone(),
            None => self.load(script)?,
        };
        match self.run_loaded(&digest, keys, arguments) {
            // Somebody flushed the scripts.
            Err(error) if code(&error) == Some("NOSCRIPT") => {
                let digest = self.load(script)?;
                self.run_loaded(&digest, keys, arguments)
            }
            answer => answer,
        }
    }

    fn run_loaded<T: FromRedisValue>(
        &mut self,
        digest: &str,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T, RedisError> {
        let mut command = ::redis::cmd("EVALSHA");
        command.arg(digest).arg(keys.len()).arg(keys);
        arguments.iter().for_each(|argument| {
            command.arg(argument.as_slice());
        });
        self.ask(command)
    }

    fn load(&mut self, script: &'static str) -> Result<String, RedisError> {
        let mut command = ::redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script);
        let digest: String = self.ask(command)?;
        self.loaded.insert(script, digest.clone());
        Ok(digest)
    }
}

/// What `INFO` says, by name.
struct Info<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    fn parse(text: &'a str) -> Self {
        Self(text.lines().filter_map(|line| line.split_once(':')).collect())
    }

    fn get(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or("unknown")
    }

    /// Why it cannot be used now, where that passes.
    fn not_yet(&self) -> Option<&'static str> {
        let begins = self.get("aof_rewrite_in_progress") == "1"
            || self.get("aof_rewrite_scheduled") == "1"
            || self.get("aof_last_bgrewrite_status") == "err";
        if self.get("loading") == "1" {
            Some("LOADING, it is still reading what it holds")
        } else if self.get("aof_base_size") == "0" && begins {
            // After CONFIG SET appendonly yes. Until the first log is whole, a restart finds nothing of it.
            Some("it is only beginning its log of changes")
        } else {
            None
        }
    }

    /// What nobody can accept: such a server does not do what a store does.
    fn check(&self, address: &RedisAddress) -> Result<(), StoreError> {
        let mut parts = self.get("redis_version").split('.').map(|part| part.parse().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let refuse = |setting: &str, needed: String| not_safe(address, setting, self.get(setting), needed);
        match () {
            () if version < VERSION_MIN => {
                Err(refuse("redis_version", format!("{}.{} or newer", VERSION_MIN.0, VERSION_MIN.1)))
            }
            // The keys of a node would be on different servers, and no script spans those.
            () if self.get("cluster_enabled") != "0" => Err(refuse("cluster_enabled", "0".to_owned())),
            () if self.get("role") != "master" => Err(unsafe_role(address, self.get("role"))),
            () => Ok(()),
        }
    }
}

/// What an error reply means to somebody who has only just connected.
fn not_opened(address: &RedisAddress, error: &RedisError) -> StoreError {
    match code(error) {
        Some(code) if FORBIDDEN.contains(&code) => {
            let advice = match (code, address.credentials.is_some()) {
                ("NOAUTH", false) => {
                    "it wants a password and none is given; name a file with it in --redis-password-file, or put it \
                     into PAXBANK_REDIS_PASSWORD"
                }
                ("NOAUTH" | "WRONGPASS", _) => {
                    "check the user (--redis-user or PAXBANK_REDIS_USER; none is the server's default user) and the \
                     password (the file of --redis-password-file, or PAXBANK_REDIS_PASSWORD)"
                }
                ("NOPERM", _) => "docs/configuration.md says what a user must be allowed to do",
                _ => "give it a password, or have it listen on a socket or an address of its own machine",
            };
            StoreError::Denied { address: address.to_string(), what: format!("{}; {advice}", words(error)) }
        }
        None => match tls::misunderstanding(address, error) {
            Some(what) => StoreError::Untrusted { address: address.to_string(), what },
            None => Call::Read.failed(address, error),
        },
        Some(_) => Call::Read.failed(address, error),
    }
}

fn unsafe_role(address: &RedisAddress, found: &str) -> StoreError {
    not_safe(address, "role", found, "master".to_owned())
}

fn not_safe(address: &RedisAddress, name: &str, found: &str, needed: String) -> StoreError {
    let setting = UnsafeSetting { name: name.to_owned(), found: found.to_owned(), needed };
    StoreError::Unsafe { address: address.to_string(), settings: vec![setting] }
}

/// What kind of error reply this is; `None` where it is no reply at all.
pub(super) fn code(error: &RedisError) -> Option<&str> {
    let code = error.code()?;
    // Redis 6.2 puts the line of the script before what it refused there: "@user_script: 165: -OOM command not ...".
    let refused = error.detail().filter(|_| code.starts_with("@user_script")).and_then(|said| said.split_once(": -"));
    refused.and_then(|(_, said)| said.split_whitespace().next()).or(Some(code))
}

/// The server's own words, where the error is its reply.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}
