//! What can be wrong with an archive.

use std::fmt;

use crate::error::Fault;
use crate::error::Kind;
use crate::tar::limits::MAX_MEMBERS;
use crate::tar::limits::MAX_RECORDS_LEN;
use crate::tar::limits::MAX_SEGMENTS;

/// What is wrong with an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TarFault {
    /// Neither a magic nor a checksum says that it is a header.
    Magic,
    /// A header's checksum does not fit it.
    Checksum,
    /// A number is neither octal nor one that fits.
    Number,
    /// A member that has no bytes is said to have some.
    Sized {
        /// Flag of its kind.
        found: u8,
    },
    /// A map's entry is filled in by half.
    Entry,
    /// A segment before the last is not of whole records.
    HalfRecord,
    /// A record for all members says what only one of them can have.
    Global,
    /// The archive ends before a member does.
    Short,
    /// A member is of a kind that is not read.
    TypeFlag {
        /// Flag found.
        found: u8,
    },
    /// A PAX record breaks its form.
    Record,
    /// Records or a name are longer than is read.
    Long {
        /// Bytes found.
        found: u64,
    },
    /// There are more members than are read.
    Members,
    /// A sparse map is not ascending, or leaves its file.
    Map,
    /// A sparse map has more entries than are read.
    Segments,
    /// A sparse map's data is not what is stored.
    Stored {
        /// Bytes by the map.
        found: u64,
        /// Bytes by the header.
        expected: u64,
    },
    /// A sparse member is of a version that is not known.
    SparseVersion,
}

impl fmt::Display for TarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic => write!(f, "the tar header has neither ustar's magic nor its checksum"),
            Self::Checksum => write!(f, "the tar header's checksum does not fit it"),
            Self::Number => {
                write!(f, "a number of the tar header is not octal, too large, or ambiguous")
            }
            Self::Sized { found } => write!(
                f,
                "the tar member is of type {:?} and has a size, expected 0",
                char::from(found)
            ),
            Self::Entry => write!(f, "an entry of the sparse map has an offset or a length alone"),
            Self::HalfRecord => {
                write!(f, "a segment of the sparse map ends inside a record, expected whole ones")
            }
            Self::Global => {
                write!(f, "a PAX record for all members has a name, a size or a sparse map")
            }
            Self::Short => write!(f, "the tar archive ends inside a member"),
            Self::TypeFlag { found } => {
                write!(f, "the tar member is of type {:?}, which is not read", char::from(found))
            }
            Self::Record => write!(f, "a PAX record is malformed"),
            Self::Long { found } => write!(
                f,
                "the records before a tar member have {found} bytes, expected at most \
                 {MAX_RECORDS_LEN}"
            ),
            Self::Members => write!(f, "the tar archive has over {MAX_MEMBERS} members"),
            Self::Map => {
                write!(f, "the sparse map is out of order, expected it to ascend inside its file")
            }
            Self::Segments => write!(f, "the sparse map has over {MAX_SEGMENTS} entries"),
            Self::Stored { found, expected } => {
                write!(
                    f,
                    "the sparse map has {found} bytes of data, expected the {expected} stored"
                )
            }
            Self::SparseVersion => {
                write!(f, "the sparse member is of an unknown version, expected 0.0, 0.1 or 1.0")
            }
        }
    }
}

impl std::error::Error for TarFault {}

impl Fault for TarFault {
    fn kind(&self) -> Kind {
        match self {
            Self::TypeFlag { .. } | Self::SparseVersion | Self::Global => Kind::Unsupported,
            Self::Members | Self::Segments | Self::Long { .. } => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}
