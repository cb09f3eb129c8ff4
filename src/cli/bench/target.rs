//! What a load is sent to: a bank that this process starts, or nodes that run already.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::RunBench;
use super::bank::{self, Bank};
use super::frames::Demand;
use crate::cli::Failure;
use crate::client::{Client, ClientOptions};
use crate::ledger::Wait;
use crate::types::{AccountId, Amount};

/// How long nodes that run may take to tell of their bank.
const WITHIN: Duration = Duration::from_secs(30);

/// What a load is sent to.
pub(super) struct Target {
    /// The nodes, where this process started them.
    pub(super) bank: Option<Bank>,
    pub(super) client: Client,
    pub(super) address: String,
    accounts: Rc<Vec<AccountId>>,
    debits: usize,
    pub(super) nodes: usize,
}

impl Target {
    /// A bank of this process's own.
    pub(super) fn own(bank: Bank, accounts: usize) -> Result<Self, Failure> {
        let accounts = Rc::new(bank::accounts(bank.id(0), accounts));
        let (address, debits, nodes) = (bank.address(0).to_owned(), accounts.len(), bank.len());
        Ok(Self { client: bank.client()?, bank: Some(bank), address, accounts, debits, nodes })
    }

    /// Nodes that run: all accounts of the genesis that the first of them is the home of, and that have anything.
    pub(super) async fn of_nodes(text: &str) -> Result<Self, Failure> {
        let address = text.split(',').next().unwrap_or_default().trim().to_owned();
        let client = Client::new([address.clone()], ClientOptions::default())?;
        let heard = client.genesis(None, WITHIN).await?;
        let opening = heard.told.opening();
        let rich = |(account, amount): &(&AccountId, &Amount)| account.home() == heard.node && **amount > Amount::ZERO;
        let mut accounts: Vec<AccountId> = opening.iter().filter(rich).map(|(account, _)| *account).collect();
        let debits = accounts.len();
        accounts.extend(opening.iter().filter(|entry| !rich(entry)).map(|(account, _)| *account));
        if debits == 0 || accounts.len() < 2 {
            return Err(Failure::usage(format!("{address} has no account with an opening balance to take from")));
        }
        let (accounts, nodes) = (Rc::new(accounts), heard.told.nodes().len());
        Ok(Self { bank: None, client, address, accounts, debits, nodes })
    }

    pub(super) fn demand(&self, bench: &RunBench, wait: Wait, (batch, callers): (usize, usize)) -> Demand {
        let (accounts, debits) = (self.accounts.clone(), self.debits);
        let calls_left = Rc::new(Cell::new(u64::MAX));
        Demand { batch, callers, wait, accounts, debits, skewed: bench.skewed, calls_left }
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        self.bank.as_ref().map(Bank::processes).unwrap_or_default()
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.bank.as_ref().map_or_else(std::env::temp_dir, |bank| bank.path().to_owned())
    }
}
