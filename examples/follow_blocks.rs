//! Follows a running bank: tells of every settled transfer, in the order of the chain, which is the same at all nodes.
//!
//! ```sh
//! PAXBANK_NODES=127.0.0.1:8001,127.0.0.1:8002 cargo run --example follow_blocks
//! ```

use std::time::Duration;

use paxos_banking::client::{Client, ClientOptions};
use paxos_banking::ledger::Run;
use paxos_banking::render::entry_text;
use paxos_banking::types::Height;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes =
        std::env::var("PAXBANK_NODES").map_err(|_| "set PAXBANK_NODES to the client addresses of your nodes")?;
    let bank = Client::new(nodes.split(','), ClientOptions::default())?;
    let mut next = Height(1);
    loop {
        // Any node will do: whoever has these blocks has the same ones.
        let mut pages = bank.chain(None, next, None, Duration::from_secs(5));
        while let Some(blocks) = pages.next().await? {
            for block in blocks {
                for entry in block.runs().iter().flat_map(Run::entries) {
                    println!("block {}: {}", block.height(), entry_text(&entry));
                }
                next = block.height().next();
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
