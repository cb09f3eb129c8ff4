//! The commands that ask a running bank, one file each. Asking is the client library's; here is what to ask, and how to
//! tell the answer.

mod archive;
mod balance;
mod chain;
mod check_history;
mod doctor;
mod export;
mod feed;
mod follow;
mod import;
mod listing;
mod log;
mod open;
mod outcome;
mod run;
mod run_id;
mod settle;
mod shell;
mod status;
mod transfer;
mod verify;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

pub(super) use shell::converse;

use super::{Failure, Finished, Output};
use crate::client::{Client, ClientError, ClientOptions};
use crate::ledger::Wait;

/// The commands that need nodes.
#[derive(Subcommand)]
pub(super) enum Ask {
    Transfer(transfer::MakeTransfer),
    Open(open::OpenAccount),
    Outcome(outcome::ShowOutcome),
    Balance(balance::ShowBalance),
    Log(log::ShowLog),
    Chain(chain::ShowChain),
    Follow(follow::Follow),
    Settle(settle::Settle),
    Status(status::ShowStatus),
    Run(run::RunFile),
    Verify(verify::Verify),
    Shell(shell::RunShell),
    Export(export::Export),
    Import(import::Import),
    CheckHistory(check_history::CheckHistory),
    Doctor(doctor::Doctor),
}

impl Ask {
    /// Whether nothing is done where its result cannot be written. What a shell did, it told command by command.
    pub(super) fn only_tells(&self) -> bool {
        use Ask::{Export, Open, Run, Settle, Shell, Transfer};
        !matches!(self, Transfer(_) | Open(_) | Settle(_) | Run(_) | Shell(_) | Export(_))
    }

    pub(super) fn run(self, output: Output) -> Result<Finished, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::usage(format!("this process cannot use the network: {error}")))?;
        runtime.block_on(async {
            match self {
                Self::Transfer(command) => command.run().await,
                Self::Open(command) => command.run().await,
                Self::Outcome(command) => command.run().await,
                Self::Balance(command) => command.run().await,
                Self::Log(command) => command.run(output).await,
                Self::Chain(command) => command.run(output).await,
                Self::Follow(command) => command.run().await,
                Self::Settle(command) => command.run().await,
                Self::Status(command) => command.run().await,
                Self::Run(command) => command.run(output).await,
                Self::Verify(command) => command.run().await,
                Self::Shell(command) => command.run(output).await,
                Self::Export(command) => command.run(output).await,
                Self::Import(command) => command.run().await,
                Self::CheckHistory(command) => command.run().await,
                Self::Doctor(command) => command.run().await,
            }
        })
    }
}

/// Where the bank is.
#[derive(Args)]
pub(super) struct Nodes {
    /// Client addresses of any nodes of the bank, HOST:PORT each, with commas between them. Each node says who it is and
    /// where the others are; every address more helps while nodes are down.
    #[arg(long, value_name = "HOST:PORT,...", env = "PAXBANK_NODES", value_parser = addresses)]
    nodes: Option<String>,
}

impl Nodes {
    /// Whether there are any.
    fn is_given(&self) -> bool {
        self.nodes.is_some()
    }

    fn client(&self) -> Result<Client, Failure> {
        self.client_with(ClientOptions::default())
    }

    fn client_with(&self, options: ClientOptions) -> Result<Client, Failure> {
        let given = self.nodes.iter().flat_map(|nodes| nodes.split(',')).map(str::trim);
        let addresses: Vec<&str> = given.filter(|address| !address.is_empty()).collect();
        if let Some(wrong) = addresses.iter().find(|address| !is_address(address)) {
            return Err(Failure::usage(format!(
                "{wrong:?} is no address; give HOST:PORT, such as 127.0.0.1:8001, with commas between several"
            )));
        }
        Client::new(addresses, options).map_err(|_| {
            Failure::usage(
                "no node is given; say where nodes listen for clients, such as --nodes 127.0.0.1:8001,127.0.0.1:8002, \
                 or export PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002",
            )
        })
    }
}

/// An empty variable of the environment counts as none, so that this was written.
fn addresses(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("give HOST:PORT, such as 127.0.0.1:8001, with commas between several".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Whether it can be HOST:PORT. What host there is shows only when it is resolved; this is for lists with blanks, and URLs.
fn is_address(text: &str) -> bool {
    let strange = |c: char| c.is_whitespace() || c == '/';
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(strange)
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    })
}

/// How long to try.
#[derive(Args)]
pub(super) struct Deadline {
    /// How long to try before giving up: 500ms, 10s, 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    deadline: Duration,
}

/// Longest deadline: nobody waits for more than a day.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

fn duration(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err("that leaves no time to ask; give 1ms or more".to_owned()),
        duration if duration > DEADLINE_MAX => Err("nobody waits for more than 24h".to_owned()),
        duration => Ok(duration),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a whole number and ms, s, m or h, such as 500ms or 10s".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_millis(number.checked_mul(unit_ms).ok_or_else(wrong)?))
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Until {
    /// Until the transfer is durable at its home.
    #[default]
    Local,
    /// Until the block that holds it is durable at a majority and applied at its home.
    Settled,
}

impl From<Until> for Wait {
    fn from(until: Until) -> Self {
        match until {
            Until::Local => Self::Local,
            Until::Settled => Self::Settled,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let status = match &error {
            ClientError::NoAddress
            | ClientError::WrongPlace(_)
            | ClientError::UnknownNode(_)
            | ClientError::Conflict(_) => 2,
            ClientError::Failed(_) if error.code() == "unknown_account" => 1,
            ClientError::Failed(_) => 2,
            ClientError::NoNode(_) | ClientError::NotReady(_) | ClientError::Late(_) => 3,
        };
        Self { code: error.code(), status, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for right in ["127.0.0.1:8001", "localhost:1", "bank-a.example:65535", "[::1]:8001"] {
            assert!(is_address(right), "{right:?}");
        }
        let wrong = ["", "localhost", ":8001", "a:", "a:+1", "a:65536", "a:1 b:2", "a:1;b:2 ", "http://a:1", "a:1/"];
        for wrong in wrong {
            assert!(!is_address(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "s", "-1s", "1.5s", "10 s", "10d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).unwrap_err().contains("write a whole number and ms"), "{wrong:?}");
        }
        assert!(duration("0s").is_err() && duration("25h").is_err());
    }
}
