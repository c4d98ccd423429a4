//! What storage costs: a number that the user gives, since prices differ by region, class and contract.

use std::str::FromStr;

use serde::Serialize;

use crate::units::GIB;

/// Parts of a unit of money that are reckoned with.
const PARTS: u64 = 1_000_000_000;

/// Digits behind the point.
const DIGITS: usize = 9;

/// What a GiB costs a month, in any currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(u64);

impl FromStr for Price {
    type Err = String;

    /// Reads a decimal number, as `0.05`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
        let fail = || format!("{text:?} is not a price, expected a number like 0.05");
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > DIGITS {
            return Err(fail());
        }
        let part: u64 = format!("{part:0<DIGITS$}").parse().map_err(|_| fail())?;
        let whole = whole.parse::<u64>().ok().and_then(|it| it.checked_mul(PARTS));
        whole.and_then(|it| it.checked_add(part)).map(Self).ok_or_else(fail)
    }
}

/// A sum of money, to the millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost(u128);

impl Price {
    /// Returns what so many bytes cost a month.
    pub(super) fn of(self, bytes: u64) -> Cost {
        // Below 2^128: both factors are below 2^64.
        let parts = u128::from(bytes).strict_mul(u128::from(self.0));
        let per_millionth = u128::from(GIB).strict_mul(u128::from(PARTS / 1_000_000));
        let half = per_millionth.strict_div(2);
        Cost(parts.saturating_add(half).strict_div(per_millionth))
    }
}

impl std::fmt::Display for Cost {
    /// Writes it to the hundredth.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = self.0.saturating_add(5_000).strict_div(10_000);
        write!(f, "{}.{:02}", hundredths.strict_div(100), hundredths.strict_rem(100))
    }
}

impl Serialize for Cost {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = format!("{}.{:06}", self.0.strict_div(1_000_000), self.0.strict_rem(1_000_000));
        to.serialize_f64(text.parse().expect("a decimal number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_decimal_number() {
        assert_eq!("0.05".parse(), Ok(Price(50_000_000)));
        assert_eq!("12".parse(), Ok(Price(12 * PARTS)));
        assert_eq!("1.".parse(), Ok(Price(PARTS)));
        for text in ["", ".5", "-1", "1e3", "0.0000000001", "99999999999999999999", "1,5"] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_cost_is_rounded_at_its_end() {
        let price: Price = "0.05".parse().unwrap();
        assert_eq!(price.of(GIB).to_string(), "0.05");
        assert_eq!(price.of(1900 * GIB).to_string(), "95.00");
        assert_eq!(serde_json::to_string(&price.of(GIB / 2)).unwrap(), "0.025");
        assert_eq!(price.of(GIB / 2).to_string(), "0.03");
        assert_eq!(price.of(u64::MAX).to_string(), "858993459.20");
    }
}
