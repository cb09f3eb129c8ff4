//! Money: whole numbers of the smallest unit, never wrapped, never saturated (R12).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A sum of money in the smallest unit (cents, credits, pieces). Arithmetic is checked by its callers' `match`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(u64);

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// A minus sign stands before the number.
    #[error("the amount {0:?} is negative; amounts are positive, the accounts say the direction")]
    Negative(String),
    /// The number does not fit.
    #[error("the amount {0:?} is larger than {max}, the most that fits", max = u64::MAX)]
    TooLarge(String),
    /// Anything else.
    #[error("{0:?} is not an amount; give a whole number of the smallest unit, such as 250")]
    NotANumber(String),
}

impl Amount {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// `units` of the smallest unit.
    pub const fn new(units: u64) -> Self {
        Self(units)
    }

    /// The number of smallest units.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// The sum, or `None` where it would not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` where it would be negative.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let shown = || text.chars().take(40).collect::<String>();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::NotANumber(shown()));
        }
        if digits.len() != text.len() {
            return Err(AmountError::Negative(shown()));
        }
        digits.parse().map(Self).map_err(|_| AmountError::TooLarge(shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r12_arithmetic_is_checked_at_both_ends() {
        assert_eq!(Amount::new(u64::MAX).checked_add(Amount::new(1)), None);
        assert_eq!(Amount::new(1).checked_sub(Amount::new(2)), None);
        assert_eq!(Amount::new(3).checked_sub(Amount::new(2)), Some(Amount::new(1)));
    }

    #[test]
    fn each_bad_amount_is_told_apart() {
        assert!(matches!("-5".parse::<Amount>(), Err(AmountError::Negative(_))));
        assert!(matches!("18446744073709551616".parse::<Amount>(), Err(AmountError::TooLarge(_))));
        for text in ["", "-", "+5", "1.5", "1e3", " 5", "five"] {
            assert!(matches!(text.parse::<Amount>(), Err(AmountError::NotANumber(_))), "{text:?}");
        }
        assert_eq!("0".parse(), Ok(Amount::ZERO));
    }
}
