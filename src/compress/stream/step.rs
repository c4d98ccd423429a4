//! What all streams have in common: their formats, and how far a step came.

use std::fmt;

/// The largest limit that a caller can name: what `zstd --long=31` makes.
pub const MOST_WINDOW_LEN: u64 = 2 << 30;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrapping {
    /// RFC 1952.
    Gzip,
    /// The .xz file format 1.2.
    Xz,
    /// RFC 8878.
    Zstd,
    /// What bzip2 1.0 reads.
    Bzip2,
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// How far one step came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken from the input.
    pub taken: usize,
    /// Bytes put into the output.
    pub given: usize,
}

/// How far one step came in a member, and whether it was its end.
pub(super) struct Decoded {
    pub(super) step: Step,
    pub(super) is_over: bool,
}

/// Returns how far a count went: no further than a buffer is long.
pub(super) fn count(now: u64, then: u64) -> usize {
    usize::try_from(now.strict_sub(then)).expect("a buffer")
}
