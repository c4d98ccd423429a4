//! What rules find.

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The member, with its device where it has one.
    pub place: String,
    /// What was found there.
    pub found: String,
    /// What to write instead.
    pub instead: String,
}

impl Found {
    /// Says what was found where, and what to write instead.
    pub(super) fn new(
        place: impl Into<String>,
        found: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        Self { place: place.into(), found: found.into(), instead: instead.into() }
    }
}
