//! As whom a command talks to a Redis, and whom it trusts there. A password comes from a file or from the environment, and
//! never as an argument, which every user of the machine can read.

use std::path::PathBuf;

use clap::Args;

use crate::store::{RedisCredentials, RedisPlace, RedisTls, StoreAddress};

/// The variable that holds a password. It is no argument, so that nothing that tells of arguments can tell it.
pub(super) const PASSWORD_VARIABLE: &str = "PAXBANK_REDIS_PASSWORD";

/// As whom to talk to a Redis that asks for it, and whom to trust where it speaks TLS.
#[derive(Args)]
pub struct RedisLogin {
    /// The user of the Redis, where it is not its default user.
    #[arg(long, value_name = "NAME", env = "PAXBANK_REDIS_USER")]
    redis_user: Option<String>,
    /// A file with the password for the Redis, and nothing else; or give the password itself in PAXBANK_REDIS_PASSWORD.
    #[arg(long, value_name = "FILE", env = "PAXBANK_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
    /// For rediss://, a file in PEM with the certificates of the authorities to trust [default: those of this system].
    #[arg(long, value_name = "FILE", env = "PAXBANK_REDIS_CA", hide_short_help = true)]
    redis_ca: Option<PathBuf>,
    /// For a rediss:// that wants one, a file in PEM with the certificate to show.
    #[arg(long, value_name = "FILE", env = "PAXBANK_REDIS_CERT", hide_short_help = true)]
    redis_cert: Option<PathBuf>,
    /// The file in PEM with the key of that certificate.
    #[arg(long, value_name = "FILE", env = "PAXBANK_REDIS_KEY", hide_short_help = true)]
    redis_key: Option<PathBuf>,
}

impl RedisLogin {
    /// The address with what was given, which is read from its file or the environment; for a store that is no Redis,
    /// nothing is looked at, since the environment may be there for other programs.
    ///
    /// # Errors
    /// What is wrong, and what to do, in a sentence without the password.
    pub fn log_in(&self, store: StoreAddress) -> Result<StoreAddress, String> {
        let StoreAddress::Redis(address) = &store else { return Ok(store) };
        let tls = match address.place {
            RedisPlace::Tls { .. } => self.tls()?,
            RedisPlace::Tcp { .. } | RedisPlace::Unix(_) => self.no_tls(&store)?,
        };
        Ok(store.with_credentials(self.credentials()?).with_tls(tls))
    }

    fn tls(&self) -> Result<RedisTls, String> {
        let [ca, cert, key] = [&self.redis_ca, &self.redis_cert, &self.redis_key].map(Option::as_deref);
        RedisTls::read(ca, cert, key).map_err(|error| error.to_string())
    }

    /// Whoever names certificates believes that they are looked at.
    fn no_tls(&self, store: &StoreAddress) -> Result<RedisTls, String> {
        let given = [("ca", &self.redis_ca), ("cert", &self.redis_cert), ("key", &self.redis_key)];
        match given.into_iter().find(|(_, file)| file.is_some()) {
            Some((name, _)) => Err(format!(
                "--redis-{name} (or PAXBANK_REDIS_{}) is given, but {store} speaks no TLS; give rediss://, or leave it \
                 out",
                name.to_uppercase()
            )),
            None => Ok(RedisTls::default()),
        }
    }

    fn credentials(&self) -> Result<Option<RedisCredentials>, String> {
        let variable = std::env::var_os(PASSWORD_VARIABLE);
        let password = match (&self.redis_password_file, variable) {
            (Some(file), Some(_)) => {
                return Err(format!(
                    "there are two passwords for the Redis, in the file {} and in {PASSWORD_VARIABLE}; keep one",
                    file.display()
                ));
            }
            (Some(file), None) => {
                let shown = file.display();
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("the password file {shown} cannot be read: {error}; check its path"))?;
                if one_line(&text).is_empty() {
                    return Err(format!("the password file {shown} is empty; write the password into it"));
                }
                one_line(&text).to_owned()
            }
            (None, Some(text)) => match text.into_string() {
                Ok(text) if !text.is_empty() => text,
                Ok(_) => return Err(format!("{PASSWORD_VARIABLE} is empty; unset it, or set it to the password")),
                Err(_) => return Err(format!("{PASSWORD_VARIABLE} is no text in UTF-8; use a password that is")),
            },
            (None, None) if self.redis_user.is_some() => {
                return Err(format!(
                    "a user for the Redis is given, but no password; name a file with it in --redis-password-file, or \
                     set {PASSWORD_VARIABLE}"
                ));
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(RedisCredentials::new(self.redis_user.clone(), password)))
    }
}

/// Editors end a file with a new line, which is no part of a password.
fn one_line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
