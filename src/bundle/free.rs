//! What a bundle records of free blocks that it leaves out.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::units::ExtentKind;

/// What became of free blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FreePolicy {
    /// What was stored of them is written zeros.
    Zero,
    /// They are holes.
    Hole,
}

impl FreePolicy {
    /// Returns the state that free blocks have.
    #[must_use]
    pub fn kind(self) -> ExtentKind {
        match self {
            Self::Zero => ExtentKind::Zero,
            Self::Hole => ExtentKind::Hole,
        }
    }
}

/// What became of free blocks, and by which version of the rules they were called free.
///
/// Whatever is compared with such a snapshot has to be read the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreeRecord {
    /// What became of them.
    pub policy: FreePolicy,
    /// Version of the rules.
    pub rules: u32,
}

impl fmt::Display for FreeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.policy.kind().name(), self.rules)
    }
}

impl FromStr for FreeRecord {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::corrupt(format!(
                "a record of free blocks is {text:?}, expected hole or zero, a slash and a version"
            ))
        };
        let (policy, rules) = text.split_once('/').ok_or_else(wrong)?;
        let policy = match policy {
            "zero" => FreePolicy::Zero,
            "hole" => FreePolicy::Hole,
            _ => return Err(wrong()),
        };
        let plain = !rules.starts_with(['0', '+']);
        let rules = rules.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        Ok(Self { policy, rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_is_written_and_nothing_else_does() {
        for policy in [FreePolicy::Zero, FreePolicy::Hole] {
            let record = FreeRecord { policy, rules: 12 };
            assert_eq!(record.to_string().parse::<FreeRecord>().unwrap(), record);
        }
        for text in
            ["hole", "hole/", "keep/1", "hole/01", "hole/+1", "hole/-1", "Hole/1", "hole/1/2"]
        {
            assert!(text.parse::<FreeRecord>().is_err(), "{text}");
        }
    }
}
