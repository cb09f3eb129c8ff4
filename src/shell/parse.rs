//! From a line to its commands.

use std::fmt::Display;
use std::str::FromStr;

use super::words::{Word, anywhere};
use super::{Command, Grammar};
use crate::triplets::{Triplet, TripletFault, parse_line};
use crate::types::{Height, NodeId};

/// Why a line is not understood, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No command begins so.
    #[error("{word:?} is no command{}; help lists all, and a transfer is FROM TO AMOUNT, such as A B 30",
            .suggestion.map(|suggestion| format!(": did you mean {suggestion}?")).unwrap_or_default())]
    Unknown {
        /// What was written.
        word: String,
        /// The nearest command, where one is near.
        suggestion: Option<&'static str>,
    },
    /// What follows the command is not what it takes.
    #[error("{fault}; write {usage}, such as: {example}")]
    Arguments {
        /// What is wrong.
        fault: String,
        /// How the command is written.
        usage: &'static str,
        /// And one that can be typed.
        example: &'static str,
    },
    /// A triplet in brackets that is none.
    #[error(transparent)]
    Triplet(#[from] TripletFault),
    /// Nodes of other processes are out of reach.
    #[error(
        "{0} is only for nodes that are all in this process, as in the example: three_nodes --interactive; \
             stop and start the processes of this bank instead"
    )]
    NotHere(&'static str),
}

impl ParseError {
    /// Says that the first word may have been meant for a command: what has the form of a transfer need not be one.
    fn or_meant(self, command: Option<&'static str>) -> Self {
        match (self, command) {
            (Self::Arguments { fault, usage, example }, Some(command)) => {
                Self::Arguments { fault: format!("{fault}; or did you mean the command {command}?"), usage, example }
            }
            (other, _) => other,
        }
    }
}

/// The commands of a line, in order.
///
/// # Errors
/// The first that is not understood, with what to write instead.
pub fn parse(line: &str, grammar: Grammar) -> Result<Vec<Command>, ParseError> {
    parse_each(line, grammar).into_iter().collect()
}

/// The commands of a line, in order, each understood or not for itself.
pub fn parse_each(line: &str, grammar: Grammar) -> Vec<Result<Command, ParseError>> {
    let content = line.split('#').next().unwrap_or_default();
    content.split(';').map(str::trim).filter(|one| !one.is_empty()).map(|one| command(one, grammar)).collect()
}

fn command(text: &str, grammar: Grammar) -> Result<Command, ParseError> {
    if text.starts_with('(') {
        return in_brackets(text);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let Some((first, rest)) = words.split_first() else { return Err(unknown("", grammar)) };
    let first = if *first == "exit" { "quit" } else { first };
    let Some(word) = grammar.word(first) else {
        return match anywhere(first) {
            Some(word) => Err(ParseError::NotHere(word.name)),
            None if is_bare_triplet(&words) => {
                transfer(Rest::new("transfer", &words)).map_err(|error| error.or_meant(nearest(first, grammar)))
            }
            None => Err(unknown(first, grammar)),
        };
    };
    with_word(word, rest, text, grammar)
}

fn with_word(word: &'static Word, words: &[&str], text: &str, grammar: Grammar) -> Result<Command, ParseError> {
    let mut rest = Rest { word, words, at: 0 };
    let command = match word.name {
        "transfer" => return transfer(rest),
        "partition" => return rest.partition(text.strip_prefix(word.name).unwrap_or_default()),
        "open" => Command::Open(rest.needed("the new account")?),
        "balance" => Command::Balance(rest.needed("the account")?),
        "log" => Command::Log(rest.needed("the node")?),
        "chain" => rest.chain()?,
        "outcome" => Command::Outcome(rest.needed("the id")?),
        "settle" => Command::Settle,
        "status" => Command::Status,
        "verify" => Command::Verify,
        "kill" => Command::Kill(rest.needed("the node")?),
        "revive" => Command::Revive(rest.needed("the node")?),
        "heal" => Command::Heal,
        "help" => match rest.next() {
            Some(name) => Command::Help(Some(grammar.word(name).ok_or_else(|| unknown(name, grammar))?)),
            None => Command::Help(None),
        },
        _ => Command::Quit,
    };
    rest.end()?;
    Ok(command)
}

/// Whether three words, or four, were meant as a transfer: the third could only be an amount.
fn is_bare_triplet(words: &[&str]) -> bool {
    let number = |text: &&str| text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
    words.len() >= 3 && words.get(2).is_some_and(number)
}

fn transfer(mut rest: Rest<'_>) -> Result<Command, ParseError> {
    let from = rest.needed("the account to debit")?;
    let to = rest.needed("the account to credit")?;
    let amount = rest.needed("the amount")?;
    let settled = rest.settled();
    rest.end()?;
    Ok(Command::Transfer { transfer: Triplet { from, to, amount }, settled })
}

/// `(A, B, 30)`, as files of transfers have it, and perhaps `settled`.
fn in_brackets(text: &str) -> Result<Command, ParseError> {
    let (triplet, settled) = match text.strip_suffix("settled") {
        Some(before) if before.trim_end().ends_with(')') => (before.trim_end(), true),
        _ => (text, false),
    };
    Ok(Command::Transfer { transfer: parse_line(triplet, |_| true, "")?, settled })
}

/// What follows a command's word.
struct Rest<'a> {
    word: &'static Word,
    words: &'a [&'a str],
    at: usize,
}

impl<'a> Rest<'a> {
    fn new(word: &str, words: &'a [&'a str]) -> Self {
        let word = anywhere(word).expect("it is one of the words");
        Self { word, words, at: 0 }
    }

    fn next(&mut self) -> Option<&'a str> {
        let next = self.words.get(self.at).copied();
        self.at += 1;
        next
    }

    fn needed<T: FromStr<Err: Display>>(&mut self, what: &str) -> Result<T, ParseError> {
        let Some(text) = self.next() else { return Err(self.wrong(format!("{what} is missing"))) };
        text.parse().map_err(|error: T::Err| self.wrong(error.to_string()))
    }

    fn settled(&mut self) -> bool {
        let settled = self.words.get(self.at) == Some(&"settled");
        self.at += usize::from(settled);
        settled
    }

    fn height(&mut self) -> Result<Option<Height>, ParseError> {
        let Some(text) = self.next() else { return Ok(None) };
        let wrong = |_| self.wrong(format!("{text:?} is no height: the blocks are counted from 0"));
        text.parse().map(|height| Some(Height(height))).map_err(wrong)
    }

    fn chain(&mut self) -> Result<Command, ParseError> {
        let from = self.height()?.unwrap_or_default();
        let to = self.height()?;
        match to {
            Some(to) if to < from => Err(self.wrong(format!("{from} lies behind {to}: the lower height comes first"))),
            to => Ok(Command::Chain { from, to }),
        }
    }

    fn partition(&self, text: &str) -> Result<Command, ParseError> {
        let mut named: Vec<NodeId> = Vec::new();
        let mut groups = Vec::new();
        for group in text.split('|') {
            let mut nodes = Vec::new();
            for word in group.split_whitespace() {
                let node = word.parse().map_err(|error| self.wrong(format!("{error}")))?;
                if named.contains(&node) {
                    return Err(self.wrong(format!("{node} is named twice")));
                }
                named.push(node);
                nodes.push(node);
            }
            if nodes.is_empty() {
                return Err(self.wrong("a group has no node".to_owned()));
            }
            groups.push(nodes);
        }
        Ok(Command::Partition(groups))
    }

    fn end(&self) -> Result<(), ParseError> {
        match self.words.get(self.at) {
            Some(more) => Err(self.wrong(format!("{} does not take {more:?} here", self.word.name))),
            None => Ok(()),
        }
    }

    fn wrong(&self, fault: String) -> ParseError {
        let example = self.word.examples.first().copied().unwrap_or_default();
        // Its comment explains something else.
        let example = example.split('#').next().unwrap_or_default().trim_end();
        ParseError::Arguments { fault, usage: self.word.usage, example }
    }
}

fn unknown(word: &str, grammar: Grammar) -> ParseError {
    let begins = grammar.words().map(|known| known.name).find(|known| !word.is_empty() && known.starts_with(word));
    let suggestion = begins.or_else(|| nearest(word, grammar));
    ParseError::Unknown { word: word.chars().take(40).collect(), suggestion }
}

/// The command that `word` was meant for, where it is one with a slip: characters that are missing, wrong, too much, or
/// swapped with the next.
pub(crate) fn nearest(word: &str, grammar: Grammar) -> Option<&'static str> {
    let word: String = word.chars().take(20).collect();
    let near = grammar.words().map(|known| (strsim::osa_distance(&word, known.name), known.name));
    // Further away than half of what was written is nothing that anybody meant.
    near.filter(|(distance, _)| *distance <= 2 && 2 * distance <= word.len()).min().map(|(_, name)| name)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
