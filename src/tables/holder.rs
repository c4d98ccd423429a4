//! A row of the table of holders, as it is read again.

/// A row of the table of holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The chunk.
    pub chunk: &'a [u8; 32],
    /// The snapshot that holds it, in hexadecimal digits.
    pub snapshot: &'a str,
    /// In how many of its blocks.
    pub count: i64,
}
