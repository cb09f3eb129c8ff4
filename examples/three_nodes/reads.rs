//! What a session asks and that changes nothing.

use std::collections::BTreeMap;

use paxos_banking::cli::{Failure, Finished, Report};
use paxos_banking::ledger::{Answer, Approval, Reason, Replay};
use paxos_banking::render::{
    action_text, balance_json, balance_text, block_json, block_text, entry_json, genesis_json, genesis_text, log_text,
    reason_text, replays_json, replays_text, two_histories,
};
use paxos_banking::types::{AccountId, Height, NodeId, TransferId};
use serde_json::json;

use crate::interactive::{Interactive, broken, none_runs, status_of};
use crate::report::{outcome_json, outcome_text};

impl Interactive {
    /// What an account has, as its home knows.
    pub async fn balance(&self, account: AccountId) -> Result<Finished, Failure> {
        let home = self.running(account.home())?;
        let view = self.view(home).await?;
        let Some(settled) = view.settled.get(&account).copied() else {
            let reason = Reason::UnknownAccount { height: view.height, account };
            return Err(Failure { code: reason.code(), status: 1, message: reason_text(&reason) });
        };
        let spendable = view.spendable.get(&account).copied();
        let human = format!("  {}", balance_text(account, spendable, settled, view.height, home));
        Ok(Report { human, json: balance_json(account, spendable, settled, view.height, home) }.into())
    }

    /// What a home approved and no block holds yet.
    pub async fn log(&self, node: NodeId) -> Result<Finished, Failure> {
        let view = self.view(self.running(node)?).await?;
        let mut lines: Vec<_> = view.log.iter().map(|entry| format!("  {}", log_text(entry))).collect();
        if lines.is_empty() {
            lines.push("  Nothing is unsettled.".to_owned());
        }
        let entries: Vec<_> = view.log.iter().map(entry_json).collect();
        Ok(Report { human: lines.join("\n"), json: json!({ "node": node, "entries": entries }) }.into())
    }

    /// The blocks of the node that has the most.
    pub async fn chain(&self, from: Height, to: Option<Height>) -> Result<Finished, Failure> {
        let mut longest = None;
        for node in self.bank.cluster.nodes() {
            longest = longest.max(Some((self.view(node).await?.height, std::cmp::Reverse(node))));
        }
        let Some((height, std::cmp::Reverse(node))) = longest else { return Err(none_runs()) };
        let after = Height(from.0.saturating_sub(1));
        let mut blocks = self.bank.chain(node, after).await.map_err(broken)?;
        blocks.retain(|block| to.is_none_or(|to| block.height() <= to));
        let (mut lines, mut values) = (Vec::new(), Vec::new());
        if from == Height(0) {
            lines.push(genesis_text(&self.genesis));
            values.push(genesis_json(&self.genesis));
        }
        lines.extend(blocks.iter().map(|block| block_text(block)));
        values.extend(blocks.iter().map(|block| block_json(block)));
        if lines.is_empty() {
            lines.push(format!("  There is no block {from}: the chain of {node} has the height {height}."));
        }
        Ok(Report { human: lines.join("\n"), json: json!({ "blocks": values }) }.into())
    }

    /// What the nodes that run know of an id, or what was heard of it in this session.
    pub async fn outcome(&self, id: TransferId) -> Result<Finished, Failure> {
        let asked = self.asked.borrow().get(&id).cloned();
        let (what, answer) = match self.entry(id).await? {
            Some((what, approval)) => (Some(what), Some(Answer::Approved(approval))),
            None => (asked.as_ref().map(|asked| asked.what.clone()), asked.as_ref().and_then(|one| one.answer.clone())),
        };
        let human = match (&answer, asked) {
            (None, Some(asked)) if asked.waiting => {
                format!("  {:<10} unknown: its home has it, and decides with the next settlement", asked.what)
            }
            (None, _) => "  unknown: none of the nodes that run has seen this id".to_owned(),
            (answer, _) => {
                format!("  {:<10} {}", what.as_deref().unwrap_or_default(), outcome_text(answer.as_ref(), id, None))
            }
        };
        let what = what.unwrap_or_default();
        let status = status_of(answer.as_ref());
        Ok(Finished { report: Some(Report { human, json: outcome_json(id, &what, answer.as_ref()) }), status })
    }

    /// Looks for the entry of that id, in all chains and logs.
    async fn entry(&self, id: TransferId) -> Result<Option<(String, Approval)>, Failure> {
        let mut found = None;
        for node in self.bank.cluster.nodes() {
            for block in self.bank.chain(node, Height(0)).await.map_err(broken)? {
                let mut entries = block.runs().iter().flat_map(|run| run.entries());
                if let Some(entry) = entries.find(|entry| entry.operation.id == id) {
                    let (origin, seq) = (entry.origin, entry.seq);
                    let approval = Approval { origin, seq, height: Some(block.height()) };
                    return Ok(Some((action_text(&entry), approval)));
                }
            }
            let view = self.view(node).await?;
            if let Some(entry) = view.log.iter().find(|entry| entry.operation.id == id) {
                let approval = Approval { origin: entry.origin, seq: entry.seq, height: None };
                found = Some((action_text(entry), approval));
            }
        }
        Ok(found)
    }

    /// Computes the chains of all nodes that run again.
    pub async fn verify(&self) -> Result<Finished, Failure> {
        let mut replays: BTreeMap<NodeId, Replay> = BTreeMap::new();
        for node in self.bank.cluster.nodes() {
            let mut replay = Replay::new(&self.genesis);
            for block in self.bank.chain(node, Height(0)).await.map_err(broken)? {
                let faulty = |what| Failure::damage(format!("block {} of node {node}: {what}", block.height()));
                replay.apply(&block).map_err(faulty)?;
            }
            if let Some(different) = two_histories(node, &replay, &replays) {
                return Err(Failure::damage(different));
            }
            replays.insert(node, replay);
        }
        if replays.is_empty() {
            return Err(none_runs());
        }
        Ok(Report { human: indented(&replays_text(&replays)), json: replays_json(&replays) }.into())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
