//! What became of one file between two builds.

use crate::guest::FileId;
use crate::ops::churn::claim::Claim;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing but its place and its times.
    Same,
    /// Its owner, permissions or attributes differ.
    Attributes,
    /// Its content differs, or a directory holds other names.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

impl Fate {
    /// Returns the stable name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Attributes => "metadata",
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

/// A file, by its first path.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Its place among the files.
    pub(super) index: usize,
    pub(super) path: Vec<u8>,
    /// Its number in the old build and in the new.
    pub(super) ids: [Option<FileId>; 2],
    pub(super) fate: Fate,
    pub(super) is_directory: bool,
    /// Of a directory: whether its names lead to the same numbers.
    pub(super) same_inodes: bool,
    /// Of a directory: whether it differs by its names alone.
    pub(super) by_names: bool,
    /// What its name says of it, if it differs and its name says something.
    pub(super) claim: Option<Box<Claim>>,
}

impl File {
    /// Returns the cause of its difference, if its name says that it always differs, and its content does not say more.
    pub(super) fn cause(&self) -> Option<&'static str> {
        self.claim.as_ref()?.cause
    }

    /// Tells whether it is another file now, for no known cause.
    pub(super) fn is_real(&self) -> bool {
        self.fate != Fate::Same && self.cause().is_none()
    }
}
