//! The formats that tables are written in.

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

/// A format of the files of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, RFC 4180.
    Csv,
    /// An object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The names of all of them, whether or not this build writes them.
    pub const NAMES: [&'static str; 3] = ["csv", "jsonl", "parquet"];

    /// Returns its name, which is also what its files end in.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// Returns the format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Csv, Self::Jsonl, Self::Parquet].into_iter().find(|it| it.name() == name)
    }

    /// Fails if this build does not have it.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with how to get it.
    pub fn check(self) -> Result<()> {
        if self == Self::Parquet && cfg!(not(feature = "parquet")) {
            let text = "this build of amikit writes no Parquet";
            let instead = "write jsonl or csv, which the same engines read";
            let advice = Advice::Build { feature: "parquet", instead };
            return Err(Error::new(Kind::Unsupported, text).advise(advice));
        }
        Ok(())
    }
}
