//! As whom a command talks to a Redis. A password comes from a file or from the environment, and never as an argument,
//! which every user of the machine can read.

use std::path::PathBuf;

use clap::Args;

use crate::store::{RedisCredentials, StoreAddress};

/// The variable that holds a password. It is no argument, so that nothing that tells of arguments can tell it.
pub(super) const PASSWORD_VARIABLE: &str = "PAXBANK_REDIS_PASSWORD";

/// As whom to talk to a Redis that asks for it.
#[derive(Args)]
pub struct RedisLogin {
    /// The user of the Redis, where it is not its default user.
    #[arg(long, value_name = "NAME", env = "PAXBANK_REDIS_USER")]
    redis_user: Option<String>,
    /// A file with the password for the Redis, and nothing else; or give the password itself in PAXBANK_REDIS_PASSWORD.
    #[arg(long, value_name = "FILE", env = "PAXBANK_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
}

impl RedisLogin {
    /// The address with what was given, which is read from its file or the environment; for a store that is no Redis,
    /// nothing is looked at, since the environment may be there for other programs.
    ///
    /// # Errors
    /// What is wrong, and what to do, in a sentence without the password.
    pub fn log_in(&self, store: StoreAddress) -> Result<StoreAddress, String> {
        match store {
            StoreAddress::Redis(_) => Ok(store.with_credentials(self.credentials()?)),
            other => Ok(other),
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
