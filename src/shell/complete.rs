//! What a word that was begun can become.

use std::collections::BTreeSet;

use super::Grammar;
use crate::ledger::Genesis;
use crate::types::{AccountId, NodeId};

/// The names that a bank is known to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Its nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Its accounts, as far as they were heard of.
    pub accounts: BTreeSet<AccountId>,
}

impl Names {
    /// Those that a bank began with.
    pub fn of(genesis: &Genesis) -> Self {
        Self { nodes: genesis.nodes().clone(), accounts: genesis.opening().keys().copied().collect() }
    }
}

/// Where the last word of `line` begins, which ends at the cursor, and what it can become, in order.
pub fn complete(line: &str, grammar: Grammar, names: &Names) -> (usize, Vec<String>) {
    let command = line.rfind(';').map_or(0, |at| at + 1);
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '|');
    let mut last = line[command..].char_indices().rev();
    let start = last.find(|(_, c)| between(*c)).map_or(command, |(at, c)| command + at + c.len_utf8());
    let (before, begun) = (&line[command..start], &line[start..]);
    let words: Vec<&str> = before.split(between).filter(|word| !word.is_empty()).collect();
    let nodes = || names.nodes.iter().map(NodeId::to_string).collect();
    let accounts = || names.accounts.iter().map(AccountId::to_string).collect();
    let commands = || grammar.words().map(|word| word.name.to_owned());
    let settled = || vec!["settled".to_owned()];
    let bare = words.first().is_some_and(|word| grammar.word(word).is_none());
    let candidates: Vec<String> = match (words.first().copied(), words.len()) {
        (None, _) if before.contains('(') => accounts(),
        (None, _) => commands().chain(accounts()).collect(),
        (Some("help"), 1) => commands().collect(),
        (Some("transfer"), 1 | 2) | (Some("balance"), 1) => accounts(),
        (Some("transfer"), 4) => settled(),
        (Some("log" | "kill" | "revive"), 1) | (Some("partition"), _) => nodes(),
        (Some(_), 1) if bare => accounts(),
        (Some(_), 3) if bare => settled(),
        _ => Vec::new(),
    };
    (start, candidates.into_iter().filter(|candidate| candidate.starts_with(begun)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str, grammar: Grammar) -> (usize, Vec<String>) {
        let node = |name: &str| name.parse().unwrap();
        let accounts = ["A", "B", "alice@A"].map(|name| name.parse().unwrap()).into();
        let names = Names { nodes: ["A", "B", "C"].map(node).into(), accounts };
        complete(line, grammar, &names)
    }

    #[test]
    fn a_word_becomes_what_can_stand_in_its_place() {
        let expected: [(&str, usize, &[&str]); 13] = [
            ("tr", 0, &["transfer"]),
            ("s", 0, &["settle", "status"]),
            ("transfer al", 9, &["alice@A"]),
            ("transfer A ", 11, &["A", "alice@A", "B"]),
            ("transfer A B ", 13, &[]),
            ("transfer A B 5 s", 15, &["settled"]),
            ("A B 5 se", 6, &["settled"]),
            ("(A, al", 4, &["alice@A"]),
            ("log ", 4, &["A", "B", "C"]),
            ("balance A; he", 11, &["help"]),
            ("help bal", 5, &["balance"]),
            ("balance\u{3000}al", 10, &["alice@A"]),
            ("balance é", 8, &[]),
        ];
        for (line, start, candidates) in expected {
            let (at, found) = completed(line, Grammar::Bank);
            assert_eq!((at, found), (start, candidates.iter().map(|&one| one.to_owned()).collect()), "{line:?}");
        }
    }

    #[test]
    fn what_is_done_to_nodes_is_offered_only_where_it_can_be_done() {
        assert_eq!(completed("ki", Grammar::Bank).1, Vec::<String>::new());
        assert_eq!(completed("ki", Grammar::Cluster).1, ["kill"]);
        assert_eq!(completed("partition A |", Grammar::Cluster), (13, ["A", "B", "C"].map(str::to_owned).into()));
    }
}
