//! Why a file system could not be read: it is damaged, or the volume under it cannot be read.

use std::fmt;

use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::guest::escape::escape;
use crate::guest::owner::Owner;

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file system breaks its own format.
    Damaged,
    /// It uses something that this version cannot read.
    Unsupported,
    /// It is over a limit that guards memory or time.
    Limit,
    /// The request names what is not there, or is not of that kind.
    Request,
}

impl Problem {
    /// Says what it is.
    #[must_use]
    pub fn text(self, text: &'static str) -> Failure {
        Failure::Fault(FileSystemFault { problem: self, text, owner: None, place: None })
    }
}

/// What is wrong with a file system, or with a request to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemFault {
    problem: Problem,
    text: &'static str,
    owner: Option<Owner>,
    place: Option<u64>,
}

impl FileSystemFault {
    /// Returns what is wrong, without where.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.text
    }
}

impl fmt::Display for FileSystemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(owner) = self.owner {
            write!(f, "{owner}: ")?;
        }
        f.write_str(self.text)?;
        match self.place {
            Some(place) => write!(f, " (byte {place} of the partition)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FileSystemFault {}

impl Fault for FileSystemFault {
    fn kind(&self) -> Kind {
        match self.problem {
            Problem::Damaged => Kind::Corrupt,
            Problem::Unsupported => Kind::Unsupported,
            Problem::Limit => Kind::Limit,
            Problem::Request => Kind::Invalid,
        }
    }
}

/// Why a file system could not be read.
#[derive(Debug)]
pub enum Failure {
    /// It is damaged, or uses what is not supported.
    Fault(FileSystemFault),
    /// The volume under it cannot be read.
    Error(Error),
}

impl Failure {
    /// Adds whose bytes are wrong and where they start in the partition.
    #[must_use]
    pub fn at(self, owner: Owner, place: u64) -> Self {
        match self {
            Self::Fault(fault) if fault.owner.is_none() => {
                Self::Fault(FileSystemFault { owner: Some(owner), place: Some(place), ..fault })
            }
            other => other,
        }
    }

    /// Tells whether it is something that this version cannot read.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.problem == Problem::Unsupported)
    }

    /// Makes an error that names the file which was looked for, by its path inside the volume.
    #[must_use]
    pub fn in_path(self, path: &[u8]) -> Error {
        match self {
            Self::Fault(fault) => Error::new(fault.kind(), format!("{}: {fault}", escape(path))),
            Self::Error(error) => error,
        }
    }

    /// Adds whose bytes are wrong.
    #[must_use]
    pub fn of(self, owner: Owner) -> Self {
        match self {
            Self::Fault(fault) if fault.owner.is_none() => {
                Self::Fault(FileSystemFault { owner: Some(owner), ..fault })
            }
            other => other,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(fault) => fault.into(),
            Failure::Error(error) => error,
        }
    }
}

/// What reading a file system gives.
pub type Outcome<T> = std::result::Result<T, Failure>;
