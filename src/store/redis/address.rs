//! Where a Redis is, as people write it, and as whom a node talks to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::tls::{RedisTls, has_name};

const PORT: u16 = 6379;

/// The address of a Redis, and what is to be thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// Where it listens.
    pub place: RedisPlace,
    /// Which of its numbered databases.
    pub database: u32,
    /// One that may lose what it acknowledged is taken all the same, with a warning. Not a part of the text.
    pub accept_unsafe: bool,
    /// As whom to talk to it; `None` where it asks nobody. Not a part of the text.
    pub credentials: Option<RedisCredentials>,
    /// Whom to trust, where it speaks TLS. Not a part of the text.
    pub tls: RedisTls,
    /// The directory of the archives, `NODE.archive`, into which settled blocks move out of it. Not a part of the text.
    pub archive: Option<PathBuf>,
}

/// As whom to talk to a Redis. The password is in no text that this makes.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisCredentials {
    user: Option<String>,
    password: String,
}

impl RedisCredentials {
    /// Those of `user`, or of the default user.
    pub fn new(user: Option<String>, password: String) -> Self {
        Self { user, password }
    }

    /// The user, where it is not the default one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for RedisCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where a Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisPlace {
    /// `redis://HOST:PORT/DATABASE`; an IPv6 address stands in brackets there, and without them here.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `rediss://HOST:PORT/DATABASE`: the same behind TLS.
    Tls {
        /// Name or address; the certificate must be for it.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:PATH?db=DATABASE`.
    Unix(String),
}

impl FromStr for RedisAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (place, database) = if let Some(rest) = text.strip_prefix("redis://") {
            let (host, port, database) = tcp(rest)?;
            (RedisPlace::Tcp { host, port }, database)
        } else if let Some(rest) = text.strip_prefix("rediss://") {
            let (host, port, database) = tcp(rest)?;
            if !has_name(&host) {
                return Err("the host is no name that a certificate can be for");
            }
            (RedisPlace::Tls { host, port }, database)
        } else {
            unix(text.strip_prefix("unix:").ok_or("it is none of a Redis")?)?
        };
        Ok(Self { place, database, accept_unsafe: false, credentials: None, tls: RedisTls::default(), archive: None })
    }
}

impl RedisAddress {
    /// How a person calls this server's own command line.
    pub(in crate::store) fn command(&self) -> String {
        let at = |host: &str, port: &u16| match (host, port) {
            ("127.0.0.1" | "localhost", &PORT) => String::new(),
            ("127.0.0.1" | "localhost", port) => format!(" -p {port}"),
            (host, port) => format!(" -h {host} -p {port}"),
        };
        match &self.place {
            RedisPlace::Tcp { host, port } => format!("redis-cli{}", at(host, port)),
            RedisPlace::Tls { host, port } => format!("redis-cli --tls{}", at(host, port)),
            RedisPlace::Unix(path) => format!("redis-cli -s {path}"),
        }
    }
}

fn tcp(text: &str) -> Result<(String, u16, u32), &'static str> {
    if text.contains('@') {
        return Err(
            "user and password do not belong in the address, where everybody can read them: give --redis-user and \
                    --redis-password-file, or PAXBANK_REDIS_USER and PAXBANK_REDIS_PASSWORD",
        );
    }
    let (listens, database) = text.split_once('/').unwrap_or((text, ""));
    let database = if database.is_empty() { Ok(0) } else { database.parse() };
    let database = database.map_err(|_| "what follows the slash must be the number of a database")?;
    // The colons of an IPv6 address are in brackets.
    let (host, port) = match listens.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| "what follows the colon must be a port")?)
        }
        _ => (listens, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.is_empty() || bare.is_none() && host.contains([':', '[', ']', '?', '#']) {
        return Err("the host is missing, or no host; an IPv6 address stands in brackets");
    }
    Ok((bare.unwrap_or(host).to_owned(), port, database))
}

fn unix(text: &str) -> Result<(RedisPlace, u32), &'static str> {
    let (path, database) = text.split_once('?').unwrap_or((text, "db=0"));
    let database = database.strip_prefix("db=").and_then(|number| number.parse().ok());
    let database = database.ok_or("what follows the question mark must be db= and the number of a database")?;
    if path.is_empty() {
        return Err("the path of the socket is missing");
    }
    Ok((RedisPlace::Unix(path.to_owned()), database))
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tcp = |f: &mut fmt::Formatter<'_>, scheme, host: &str, port| match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}/{}", self.database),
            false => write!(f, "{scheme}://{host}:{port}/{}", self.database),
        };
        match (&self.place, self.database) {
            (RedisPlace::Tcp { host, port }, _) => tcp(f, "redis", host, port),
            (RedisPlace::Tls { host, port }, _) => tcp(f, "rediss", host, port),
            (RedisPlace::Unix(path), 0) => write!(f, "unix:{path}"),
            (RedisPlace::Unix(path), database) => write!(f, "unix:{path}?db={database}"),
        }
    }
}
