//! After a load: is everything there that was acknowledged, once, and is everything that is there sound?

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::bank::Bank;
use super::load::Tally;
use super::report::{Report, grouped};
use crate::cli::Failure;
use crate::client::Client;
use crate::ledger::{Block, Replay};
use crate::types::{Height, NodeId};
use crate::wire::client::State;

/// How long a page of a chain or a settlement may take.
const PAGE_WITHIN: Duration = Duration::from_secs(60);

/// Which ids of a load are in the bank: one bit for each, by call.
struct Executed {
    /// Calls by their first id: how many ids each has, and where its bits begin.
    calls: BTreeMap<u128, (u64, usize)>,
    bits: Vec<u64>,
    found: u64,
}

impl Executed {
    fn new(tally: &Tally) -> Self {
        let (mut calls, mut bits) = (BTreeMap::new(), 0);
        for (first, count) in tally.approved_ids.iter().chain(&tally.unknown_ids) {
            calls.insert(*first, (*count, bits));
            bits += usize::try_from(*count).unwrap_or(usize::MAX);
        }
        Self { calls, bits: vec![0; bits.div_ceil(64)], found: 0 }
    }

    fn place(&self, id: u128) -> Option<usize> {
        let (first, (count, start)) = self.calls.range(..=id).next_back()?;
        let index = u64::try_from(id - first).ok().filter(|index| index < count)?;
        Some(start + usize::try_from(index).ok()?)
    }

    /// An entry with this id is there.
    fn add(&mut self, id: u128) -> Result<(), Failure> {
        let place = self.place(id).ok_or_else(|| Failure::damage(format!("an entry {id:032x} nobody asked for")))?;
        let (word, bit) = (&mut self.bits[place / 64], 1 << (place % 64));
        if *word & bit != 0 {
            return Err(Failure::damage(format!("the id {id:032x} is executed twice")));
        }
        *word |= bit;
        self.found += 1;
        Ok(())
    }

    fn holds(&self, id: u128) -> bool {
        self.place(id).is_some_and(|place| self.bits[place / 64] & (1 << (place % 64)) != 0)
    }
}

/// Fails where anything that was acknowledged is missing, or there twice, or a chain is not sound.
pub(super) async fn verify(bank: &mut Bank, tally: &Tally, killed: bool, report: &mut Report) -> Result<(), Failure> {
    if killed {
        for index in 0..bank.len() {
            bank.launch(index)?;
        }
    }
    let peers = bank.len() - 1;
    bank.until_all(|status| status.state == State::Ready && status.peers_up.len() == peers).await?;
    let client = bank.client()?;
    client.settle(None, PAGE_WITHIN).await?;
    let settled = bank.until(0, |status| status.log == Some(0)).await?;
    bank.until_all(|status| status.height >= settled.height && status.tip == settled.tip).await?;
    let mut executed = Executed::new(tally);
    let mut tips = Vec::new();
    for index in 0..bank.len() {
        let node = bank.id(index);
        let mut each = |block: &Block| match index {
            0 => block.runs().iter().flat_map(|run| &run.operations).try_for_each(|one| executed.add(one.id.into())),
            _ => Ok(()),
        };
        tips.push(replay(&client, node, &mut each).await?);
    }
    if tips.iter().any(|tip| *tip != tips[0]) {
        return Err(Failure::damage("the nodes hold different chains"));
    }
    let missing = tally.approved_ids.iter().flat_map(|(first, count)| *first..*first + u128::from(*count));
    if let Some(id) = missing.into_iter().find(|id| !executed.holds(*id)) {
        return Err(Failure::damage(format!("the id {id:032x} was approved, and is in no block")));
    }
    let acknowledged: u64 = tally.approved_ids.iter().map(|(_, count)| count).sum();
    let unknown: u64 = tally.unknown_ids.iter().map(|(_, count)| count).sum();
    report.tell(
        &format!(
            "verified: {} acknowledged transfers are in {} equal chains, each once; of {} whose answer was cut off {} are",
            grouped(acknowledged),
            bank.len(),
            grouped(unknown),
            grouped(executed.found - acknowledged)
        ),
        json!({
            "verified": true, "killed": killed, "acknowledged": acknowledged, "unknown": unknown,
            "unknown_executed": executed.found - acknowledged, "height": settled.height,
        }),
    );
    Ok(())
}

/// Computes a chain again; the sum of all balances is looked at after each block.
async fn replay(
    client: &Client,
    node: NodeId,
    each: &mut dyn FnMut(&Block) -> Result<(), Failure>,
) -> Result<crate::types::Hash, Failure> {
    let genesis = client.genesis(Some(node), PAGE_WITHIN).await?.told;
    let mut replay = Replay::new(&genesis);
    let mut pages = client.chain(Some(node), Height(1), None, PAGE_WITHIN);
    while let Some(page) = pages.next().await? {
        for block in page {
            replay
                .apply(&block)
                .map_err(|what| Failure::damage(format!("block {} of {node}: {what}", block.height())))?;
            each(&block)?;
        }
    }
    Ok(replay.tip())
}
