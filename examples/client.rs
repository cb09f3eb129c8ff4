//! A client of a running bank: pays several accounts at once, each of them exactly once.
//!
//! ```sh
//! PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002 cargo run --example client
//! ```

use std::time::Duration;

use paxos_banking::client::{Client, ClientOptions, Outcome, Transfer};
use paxos_banking::ledger::Wait;
use paxos_banking::types::{AccountId, Amount};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes =
        std::env::var("PAXBANK_NODES").map_err(|_| "set PAXBANK_NODES to the client addresses of your nodes")?;
    let bank = Client::new(nodes.split(','), ClientOptions::default())?;
    let payer: AccountId = "A".parse()?;
    let payees = ["B".parse()?, "C".parse()?];

    // Whoever wants to ask again after a restart of its own keeps these ids.
    let payments: Vec<_> = payees.iter().map(|payee| Transfer(bank.new_id(), payer, *payee, Amount::new(5))).collect();
    let outcomes = bank.transfers(&payments, Wait::Settled, Duration::from_secs(10)).await;
    for (Transfer(id, _, payee, amount), outcome) in payments.iter().zip(outcomes) {
        match outcome? {
            Outcome::Approved(approval) => println!("{amount} to {payee}: entry {}:{}", approval.origin, approval.seq),
            Outcome::Refused(reason) => println!("{amount} to {payee}: refused, {}", reason.code()),
            Outcome::Unknown(unknown) => println!("{amount} to {payee}: ask again for {id}, {}", unknown.why),
        }
    }
    Ok(())
}
