//! What can be wrong with a bundle of this format.

use std::fmt;

use crate::error::Fault;
use crate::error::Kind;

/// Most bytes of a manifest: one of 1,300 parts has 250 KiB.
pub const MAX_MANIFEST_LEN: usize = 4 << 20;

/// Most parts of a bundle: 10 GiB of noise make 1,031.
pub const MAX_PARTS: usize = 2048;

/// Elements inside elements that are followed; the format has six.
pub(super) const MAX_DEPTH: usize = 16;

/// Most bytes of a volume.
pub const MAX_IMAGE_SIZE: u64 = 10 << 30;

/// What is wrong with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestFault {
    /// It is longer than is read.
    Len {
        /// Bytes found.
        found: u64,
    },
    /// It is not UTF-8.
    Text,
    /// It breaks the rules of XML.
    Xml,
    /// It has a document type, a comment, a processing instruction or CDATA.
    Construct {
        /// Which.
        what: &'static str,
    },
    /// An entity is none of the five that XML has, nor a character.
    Entity,
    /// Elements lie deeper inside one another than is followed.
    Depth,
    /// The outermost element is not `manifest`.
    Root,
    /// Its version is none that is read.
    Version,
    /// An element or attribute is missing.
    Missing {
        /// Which.
        what: &'static str,
    },
    /// An element that is there once at most is there again.
    Twice {
        /// Which.
        what: &'static str,
    },
    /// An element's text is none that the format allows.
    Value {
        /// The element.
        what: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The volume is over 10 GiB.
    Size {
        /// Bytes that the manifest says.
        found: u64,
    },
    /// There are more parts than are read.
    Parts,
    /// Parts are not as many as the manifest says.
    Count {
        /// Parts found.
        found: usize,
    },
    /// Parts are not numbered 0, 1, 2 and so on.
    Index {
        /// What the number should be.
        expected: usize,
    },
    /// A part's name is none of a file beside the manifest.
    PartName {
        /// Number of the part.
        index: usize,
    },
    /// Two parts have one name.
    SamePart {
        /// Number of the second one.
        index: usize,
    },
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Len { found } => {
                write!(f, "the manifest has {found} bytes, expected at most {MAX_MANIFEST_LEN}")
            }
            Self::Text => write!(f, "the manifest is not UTF-8"),
            Self::Xml => write!(f, "the manifest is no well-formed XML"),
            Self::Construct { what } => {
                write!(f, "the manifest has {what}, expected elements and text only")
            }
            Self::Entity => {
                write!(f, "an entity is none of amp, lt, gt, quot, apos or a character")
            }
            Self::Depth => write!(f, "elements lie over {MAX_DEPTH} deep"),
            Self::Root => write!(f, "the document is no manifest of an instance-store bundle"),
            Self::Version => write!(
                f,
                "the manifest's version is not known, expected 2007-10-10, 2007-08-29 or 3"
            ),
            Self::Missing { what } => write!(f, "the manifest has no {what}"),
            Self::Twice { what } => write!(f, "the manifest has {what} twice, expected it once"),
            Self::Value { what, expected } => {
                write!(f, "the manifest's {what} is malformed, expected {expected}")
            }
            Self::Size { found } => {
                write!(f, "the volume has {found} bytes, expected at most 10 GiB")
            }
            Self::Parts => write!(f, "the manifest has over {MAX_PARTS} parts"),
            Self::Count { found } => {
                write!(f, "the manifest lists {found} parts, expected as many as its count says")
            }
            Self::Index { expected } => {
                write!(f, "the manifest's parts are out of order, expected number {expected} here")
            }
            Self::PartName { index } => write!(
                f,
                "the name of part {index} is no plain file name, expected a file beside the manifest"
            ),
            Self::SamePart { index } => {
                write!(f, "part {index} has the name of another part")
            }
        }
    }
}

impl std::error::Error for ManifestFault {}

impl Fault for ManifestFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Construct { .. } | Self::Version => Kind::Unsupported,
            Self::Len { .. } | Self::Depth | Self::Parts | Self::Size { .. } => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// What is wrong with what the parts hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadFault {
    /// The encrypted bytes are none at all, or no multiple of 16.
    CipherLen {
        /// Bytes found.
        found: u64,
    },
    /// The padding behind the encrypted bytes is none that PKCS#7 makes.
    Padding,
    /// A segment that is not the last has bytes of half a record.
    HalfRecord,
    /// The archive has another file behind its first one.
    Second,
    /// The archive ends before its file does, or without a record of zeros.
    Short,
    /// Something else than zeros follows the archive.
    Trailing,
    /// The archive goes on for longer than any tool makes it.
    Long,
    /// The file has another size than the manifest says.
    Size {
        /// Bytes found.
        found: u64,
        /// Bytes that the manifest says.
        expected: u64,
    },
}

impl fmt::Display for PayloadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CipherLen { found } => write!(
                f,
                "the parts have {found} bytes together, expected a multiple of 16 and at least that"
            ),
            Self::Padding => write!(f, "the padding behind the encrypted bytes is malformed"),
            Self::HalfRecord => write!(
                f,
                "a segment of the sparse file is no multiple of 512 bytes: readers disagree what follows it"
            ),
            Self::Second => write!(f, "the archive has a second file, expected the volume alone"),
            Self::Short => write!(f, "the archive ends early"),
            Self::Trailing => write!(f, "something follows the end of the archive"),
            Self::Long => write!(f, "the archive goes on long behind its end"),
            Self::Size { found, expected } => {
                write!(f, "the volume has {found} bytes, expected the manifest's {expected}")
            }
        }
    }
}

impl std::error::Error for PayloadFault {}

impl Fault for PayloadFault {
    fn kind(&self) -> Kind {
        match self {
            Self::HalfRecord => Kind::Unsupported,
            Self::Long => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}
