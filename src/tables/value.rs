//! What stands in one place of a table.

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// An integer.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// A SHA-256.
    Digest(&'a [u8; 32]),
}

impl Value<'_> {
    /// Makes an integer of a size. A hostile file system can claim one that no integer here has; it is written as
    /// the largest.
    #[must_use]
    pub fn size(size: u64) -> Self {
        Self::Integer(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}
