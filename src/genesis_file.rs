//! The file from which a bank starts: its nodes, its accounts, and what is on each.
//!
//! ```toml
//! nodes = ["A", "B", "C"]
//!
//! [accounts]
//! A = 0
//! "alice@A" = 250
//! "treasury@A" = 1000000
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::ledger::{Genesis, GenesisError};
use crate::toml_file::{Place, TomlFileError, TomlText, whole_number};
use crate::types::{AccountId, Amount, AmountError, NameError, NodeId};

const NODES: &str = "a list of the names of all nodes, such as [\"A\", \"B\", \"C\"]";
const ACCOUNTS: &str =
    "a table of all accounts with what is on each, such as \"alice@A\" = 250 below a line [accounts]";
const AMOUNT: &str = "a whole number of the smallest unit, such as 250 (a name with a dot in it stands in quotes)";

/// Why a file describes no bank.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisFileError {
    /// It cannot be read, is no TOML, or holds other keys or types than a genesis does.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// What stands in the place of a name is none.
    #[error("{place}: {key}: {why}")]
    Name {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong with the name.
        why: NameError,
    },
    /// What stands in the place of an amount is none.
    #[error("{place}: {key}: {why}")]
    Amount {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong with the amount.
        why: AmountError,
    },
    /// A node or an account that stands there already.
    #[error("{place}: {key}: {what} is given twice; keep one of the two")]
    Twice {
        /// Where the second is.
        place: Place,
        /// The key.
        key: String,
        /// The node or account, as it is written elsewhere.
        what: String,
    },
    /// An account at a node that is none of the bank's.
    #[error(
        "{place}: {key}: the account's home {home} is none of the nodes {nodes}; mend the account or the list of nodes"
    )]
    Stranger {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The home that the account names.
        home: NodeId,
        /// The bank's nodes.
        nodes: String,
    },
    /// No account at all.
    #[error("{file}: [accounts] is empty; all money that will ever be exists from the beginning: put it on an account",
            file = file.display())]
    NoAccount {
        /// The file, as it was given.
        file: PathBuf,
    },
    /// The whole of it makes no bank.
    #[error("{file}: {key}: {why}; {remedy}", file = file.display())]
    Bank {
        /// The file, as it was given.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What the ledger says.
        why: GenesisError,
        /// What to do.
        remedy: &'static str,
    },
}

/// Reads the genesis of a bank. The order of its lines is no matter.
///
/// # Errors
/// What is wrong, with the file, the line and the key, and what to do.
pub fn read(path: &Path) -> Result<Genesis, GenesisFileError> {
    genesis(&TomlText::read(path)?)
}

/// The same of a text that stands in the file `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<Genesis, GenesisFileError> {
    genesis(&TomlText::new(path, text))
}

fn genesis(file: &TomlText<'_>) -> Result<Genesis, GenesisFileError> {
    let table = file.parse()?;
    file.check_keys(&table, &["nodes", "accounts"])?;
    let nodes = nodes(file, table.get("nodes").ok_or_else(|| file.missing("nodes", NODES))?)?;
    let accounts = table.get("accounts").ok_or_else(|| file.missing("accounts", ACCOUNTS))?;
    let Some(accounts) = accounts.get_ref().as_table() else {
        return Err(file.wrong_type("accounts", accounts, ACCOUNTS).into());
    };
    let opening = opening(file, accounts, &nodes)?;
    Genesis::new(nodes, opening).map_err(|why| {
        let (key, remedy) = match &why {
            GenesisError::EvenNodes(_) => ("nodes", "add a node or take one away"),
            GenesisError::TooManyNodes(_) => ("nodes", "take some away"),
            GenesisError::UnknownHome(_) => ("accounts", "mend the account or the list of nodes"),
            GenesisError::TotalTooLarge => ("accounts", "give smaller amounts, in a larger unit if need be"),
        };
        GenesisFileError::Bank { file: file.path().to_owned(), key, why, remedy }
    })
}

fn nodes(file: &TomlText<'_>, value: &Spanned<DeValue<'_>>) -> Result<BTreeSet<NodeId>, GenesisFileError> {
    let list = value.get_ref().as_array().ok_or_else(|| file.wrong_type("nodes", value, NODES))?;
    let mut nodes = BTreeSet::new();
    for entry in list.iter() {
        let place = file.place(entry.span().start);
        let key = || "nodes".to_owned();
        let name = entry.get_ref().as_str().ok_or_else(|| file.wrong_type("each of nodes", entry, "a text"))?;
        let node = name.parse().map_err(|why| GenesisFileError::Name { place: place.clone(), key: key(), why })?;
        if !nodes.insert(node) {
            return Err(GenesisFileError::Twice { place, key: key(), what: format!("the node {node}") });
        }
    }
    Ok(nodes)
}

fn opening(
    file: &TomlText<'_>,
    accounts: &DeTable<'_>,
    nodes: &BTreeSet<NodeId>,
) -> Result<BTreeMap<AccountId, Amount>, GenesisFileError> {
    // As they stand in the file, so that of two the second is named, and of several mistakes the first.
    let mut entries: Vec<_> = accounts.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut opening = BTreeMap::new();
    for (name, amount) in entries {
        // Finding a line reads the file from its beginning: only for an error, or many accounts would take minutes.
        let place = || file.place(name.span().start);
        let key = || format!("accounts.{:?}", name.get_ref());
        let account: AccountId = match name.get_ref().parse() {
            Ok(account) => account,
            Err(why) => return Err(GenesisFileError::Name { place: place(), key: key(), why }),
        };
        let digits = whole_number(amount.get_ref()).ok_or_else(|| file.wrong_type(key(), amount, AMOUNT))?;
        let amount = match digits.parse() {
            Ok(amount) => amount,
            Err(why) => return Err(GenesisFileError::Amount { place: place(), key: key(), why }),
        };
        let home = account.home();
        if !nodes.contains(&home) {
            let nodes = nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ");
            return Err(GenesisFileError::Stranger { place: place(), key: key(), home, nodes });
        }
        if opening.insert(account, amount).is_some() {
            return Err(GenesisFileError::Twice { place: place(), key: key(), what: format!("the account {account}") });
        }
    }
    if opening.is_empty() {
        return Err(GenesisFileError::NoAccount { file: file.path().to_owned() });
    }
    Ok(opening)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Genesis, GenesisFileError> {
        super::parse(Path::new("genesis.toml"), text)
    }

    #[test]
    fn the_example_of_the_documents_is_a_bank() {
        let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/genesis.example.toml"));
        let genesis = read(example).unwrap();
        assert!(genesis.opening().keys().any(|account| account.name() == "treasury"));
        assert_eq!(genesis.nodes().len(), 3);
    }

    #[test]
    fn the_order_and_the_writing_of_lines_are_no_matter() {
        let one =
            parse("nodes = [\"A\", \"B\", \"C\"]\n[accounts]\nA = 0\n\"alice@A\" = 250\n\"t@B\" = 1000\n").unwrap();
        let other = "accounts.\"t@B\" = 1_000 # a comment\naccounts.\"A@A\" = 0\naccounts.\"alice@A\" = \"250\"\n\
                     nodes = [\"C\",\n\"A\", \"B\"]";
        assert_eq!(one.id(), parse(other).unwrap().id());
        assert_eq!(one.total(), Amount::new(1250));
        let richer = one.opening().iter().map(|(account, amount)| (*account, Amount::new(amount.units() + 1)));
        assert_ne!(one.id(), Genesis::new(one.nodes().iter().copied(), richer).unwrap().id());
        let large = parse("nodes = [\"A\"]\naccounts = { A = 18446744073709551615 }").unwrap();
        assert_eq!(large.total(), Amount::new(u64::MAX));
    }

    #[test]
    fn many_accounts_are_read_in_one_pass() {
        let accounts: String = (0..50_000).map(|n| format!("\"account-{n}@A\" = {n}\n")).collect();
        let genesis = parse(&format!("nodes = [\"A\"]\n[accounts]\n{accounts}")).unwrap();
        assert_eq!(genesis.opening().len(), 50_000);
    }

    #[test]
    fn each_mistake_is_named_with_file_line_key_and_what_to_do() {
        let abc = |accounts: &str| format!("nodes = [\"A\", \"B\", \"C\"]\n[accounts]\n{accounts}");
        let wrong = [
            (
                "nodes = [\"A\"]\n[account]\nA = 1".to_owned(),
                "line 2: there is no key \"account\"; did you mean accounts?",
            ),
            ("[accounts]\nA = 1".to_owned(), "the key nodes is missing"),
            ("nodes = [\"A\"]".to_owned(), "the key accounts is missing"),
            ("nodes = [\"A\"]\n[accounts]".to_owned(), "[accounts] is empty"),
            ("nodes = \"A\"".to_owned(), "line 1: nodes must be a list"),
            ("nodes = [1]".to_owned(), "each of nodes must be a text, and is a whole number"),
            ("nodes = [\"A\", \"B\", \"A\"]\n[accounts]\nA = 1".to_owned(), "line 1: nodes: the node A is given twice"),
            ("nodes = [\"A b\"]\n[accounts]".to_owned(), "nodes: the name \"A b\" holds ' '"),
            ("nodes = [\"A\", \"B\"]\n[accounts]\nA = 1".to_owned(), "nodes: a cluster has an odd number of nodes"),
            ("nodes = []\n[accounts]\nA = 1".to_owned(), "home A is none of the nodes"),
            (abc("A = 1\n\"x@D\" = 1"), "line 4: accounts.\"x@D\": the account's home D is none of the nodes A, B, C"),
            (abc("A = 1\n\"A@A\" = 2"), "line 4: accounts.\"A@A\": the account A is given twice"),
            (abc("A = 1\nA = 2"), "line 4: this is not TOML: duplicate key"),
            (abc("alice@A = 1"), "line 3: this is not TOML"),
            (abc("a.b = 1"), "accounts.\"a\" must be a whole number of the smallest unit"),
            (abc("\"x y@A\" = 1"), "line 3: accounts.\"x y@A\": the name \"x y\" holds ' '"),
            (abc("\"@A\" = 1"), "a name is empty"),
            (abc("A = -5"), "line 3: accounts.\"A\": the amount \"-5\" is negative"),
            (abc("A = 1.5"), "line 3: accounts.\"A\" must be a whole number"),
            (abc("A = \"five\""), "\"five\" is not an amount"),
            (abc("A = 18446744073709551616"), "is larger than 18446744073709551615"),
            (abc("A = 18446744073709551615\nB = 1"), "accounts: the opening balances add up to more than"),
        ];
        for (text, expected) in wrong {
            let told = parse(&text).unwrap_err().to_string();
            assert!(told.starts_with("genesis.toml") && told.contains(expected), "{expected:?} is not in {told:?}");
        }
    }
}
