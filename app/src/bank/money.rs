//! Account numbers and amounts of money as types.

use std::fmt;
use std::num::NonZeroI64;
use std::str::FromStr;

/// An account's number, chosen by the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct AccountId(pub i64);

impl AccountId {
    /// The smallest account number.
    pub const MIN: Self = Self(i64::MIN);
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AccountId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An amount in whole minor units, from 1 to 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Amount(NonZeroI64);

/// A number that is not an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a whole number of minor units, at least 1 and at most {max}", max = i64::MAX)]
pub struct AmountError;

impl Amount {
    /// An amount of minor units.
    ///
    /// # Errors
    ///
    /// [`AmountError`] for zero and below.
    pub fn new(units: i64) -> Result<Self, AmountError> {
        NonZeroI64::new(units).filter(|units| units.get() > 0).map(Self).ok_or(AmountError)
    }

    /// The minor units, at least 1.
    #[must_use]
    pub fn units(self) -> i64 {
        self.0.get()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map_err(|_| AmountError).and_then(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, AmountError};

    #[test]
    fn an_amount_is_positive_and_fits() {
        for text in ["0", "-1", "1.5", "", "ten", "9223372036854775808"] {
            assert_eq!(text.parse::<Amount>(), Err(AmountError), "{text}");
        }
        assert_eq!("9223372036854775807".parse::<Amount>().map(Amount::units), Ok(i64::MAX));
    }
}
