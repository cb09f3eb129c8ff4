//! Files of transfers, one triplet per line: `(A, B, 4)`. Blanks, empty lines and `#` comments are allowed.

use crate::types::{AccountId, Amount, AmountError, NameError};

/// A transfer as a file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triplet {
    /// Debited.
    pub from: AccountId,
    /// Credited.
    pub to: AccountId,
    /// How much.
    pub amount: Amount,
}

/// Why a line is not a triplet, and which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct TripletError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    #[source]
    pub fault: TripletFault,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TripletFault {
    /// Not of the form at all.
    #[error("{0:?} is not a transfer; write one per line as (FROM, TO, AMOUNT), such as (A, B, 4)")]
    Form(String),
    /// A name that cannot be.
    #[error("{0}")]
    Name(#[from] NameError),
    /// An account that the bank does not have.
    #[error("there is no account {account}; this bank has {known}")]
    UnknownAccount {
        /// The account.
        account: AccountId,
        /// Those that exist, for people.
        known: String,
    },
    /// An amount that cannot be.
    #[error("{0}")]
    Amount(#[from] AmountError),
}

/// Reads all triplets of a text. Nothing is returned where one line is wrong, so that nobody runs half a file.
///
/// # Errors
/// The first line that is wrong, with what to do about it.
pub fn parse(text: &str, exists: impl Fn(AccountId) -> bool, known: &str) -> Result<Vec<Triplet>, TripletError> {
    let mut triplets = Vec::new();
    // Some editors begin a text with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let triplet = parse_line(content, &exists, known).map_err(|fault| TripletError { line: index + 1, fault })?;
        triplets.push(triplet);
    }
    Ok(triplets)
}

/// Reads one triplet, without blanks around it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_line(
    content: &str,
    exists: impl Fn(AccountId) -> bool,
    known: &str,
) -> Result<Triplet, TripletFault> {
    let form = || TripletFault::Form(content.chars().take(60).collect());
    let inner = content.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(form)?;
    let parts: Vec<_> = inner.split(',').map(str::trim).collect();
    let [from, to, amount] = parts[..] else { return Err(form()) };
    let (from, to): (AccountId, AccountId) = (from.parse()?, to.parse()?);
    if let Some(account) = [from, to].into_iter().find(|account| !exists(*account)) {
        return Err(TripletFault::UnknownAccount { account, known: known.to_owned() });
    }
    Ok(Triplet { from, to, amount: amount.parse()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String, u64)>, TripletError> {
        let exists = |account: AccountId| ["A", "B", "C"].contains(&account.name());
        let triplets = parse(text, exists, "A, B, C")?;
        Ok(triplets.iter().map(|t| (t.from.to_string(), t.to.to_string(), t.amount.units())).collect())
    }

    #[test]
    fn blanks_empty_lines_and_comments_are_allowed() {
        let text = "# opening 10\n(A, B, 4)\n\n  ( B ,A,5 )  # back\r\n(C,A,0)";
        let expected = [("A", "B", 4), ("B", "A", 5), ("C", "A", 0)];
        let expected: Vec<_> = expected.map(|(from, to, amount)| (from.to_owned(), to.to_owned(), amount)).into();
        assert_eq!(read(&format!("\u{feff}{text}")), Ok(expected.clone()));
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn the_first_wrong_line_is_named_with_what_to_do() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("(A, B, 4)\nA, B, 4").starts_with("line 2: \"A, B, 4\" is not a transfer; write one per line"));
        assert!(error("(A, B)").contains("is not a transfer"));
        assert!(error("(A, B, 4) (B, C, 5)").contains("is not a transfer"));
        assert!(error("\n\n(A, D, 4)").starts_with("line 3: there is no account D; this bank has A, B, C"));
        assert!(error("(A, B, -4)").contains("is negative"));
        assert!(error("(A, B, 99999999999999999999)").contains("is larger than"));
        assert!(error("(A, B, 4.5)").contains("give a whole number"));
        assert!(error("(A, , 4)").contains("a name is empty"));
    }
}
