//! What can be wrong with a bundle of this format.

use thiserror::Error;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// It is longer than is read.
    #[error("the manifest has {found} bytes, expected at most {max}", max = MAX_MANIFEST_LEN)]
    Len {
        /// Bytes found.
        found: u64,
    },
    /// It is not UTF-8.
    #[error("the manifest is not UTF-8")]
    Text,
    /// It breaks the rules of XML.
    #[error("the manifest is not well-formed XML")]
    Xml,
    /// It has a document type, a comment, a processing instruction or CDATA.
    #[error("the manifest has {what}, expected elements and text only")]
    Construct {
        /// Which.
        what: &'static str,
    },
    /// An entity is none of the five that XML has, nor a character.
    #[error("an entity is not one of amp, lt, gt, quot, apos or a character")]
    Entity,
    /// Elements lie deeper inside one another than is followed.
    #[error("elements are nested over {max} deep", max = MAX_DEPTH)]
    Depth,
    /// The outermost element is not `manifest`.
    #[error("the document is not a manifest of an instance-store bundle")]
    Root,
    /// Its version is none that is read.
    #[error("the manifest's version is not known, expected 2007-10-10, 2007-08-29 or 3")]
    Version,
    /// An element or attribute is missing.
    #[error("the manifest has no {what}")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// An element that is there once at most is there again.
    #[error("the manifest has {what} twice, expected it once")]
    Twice {
        /// Which.
        what: &'static str,
    },
    /// An element's text is none that the format allows.
    #[error("the manifest's {what} is malformed, expected {expected}")]
    Value {
        /// The element.
        what: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The volume is over 10 GiB.
    #[error("the volume has {found} bytes, expected at most 10 GiB")]
    Size {
        /// Bytes that the manifest says.
        found: u64,
    },
    /// There are more parts than are read.
    #[error("the manifest has over {max} parts", max = MAX_PARTS)]
    Parts,
    /// Parts are not as many as the manifest says.
    #[error("the manifest lists {found} parts, expected as many as its count says")]
    Count {
        /// Parts found.
        found: usize,
    },
    /// Parts are not numbered 0, 1, 2 and so on.
    #[error("the manifest's parts are out of order, expected number {expected} here")]
    Index {
        /// What the number should be.
        expected: usize,
    },
    /// A part's name is none of a file beside the manifest.
    #[error(
        "the name of part {index} is not a plain file name, expected a file beside the manifest"
    )]
    PartName {
        /// Number of the part.
        index: usize,
    },
    /// Two parts have one name.
    #[error("part {index} has the name of another part")]
    SamePart {
        /// Number of the second one.
        index: usize,
    },
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// The encrypted bytes are none at all, or no multiple of 16.
    #[error("the parts have {found} bytes together, expected a multiple of 16, and at least 16")]
    CipherLen {
        /// Bytes found.
        found: u64,
    },
    /// The padding behind the encrypted bytes is none that PKCS#7 makes.
    #[error("the padding after the encrypted bytes is malformed")]
    Padding,
    /// A segment that is not the last has bytes of half a record.
    #[error(
        "a segment of the sparse file is not a multiple of 512 bytes: readers disagree what follows"
    )]
    HalfRecord,
    /// The archive has another file behind its first one.
    #[error("the archive has a second file, expected the volume alone")]
    Second,
    /// The archive ends before its file does, or without a record of zeros.
    #[error("the archive ends early")]
    Short,
    /// Something else than zeros follows the archive.
    #[error("something follows the end of the archive")]
    Trailing,
    /// The archive goes on for longer than any tool makes it.
    #[error("the archive continues long after its end")]
    Long,
    /// The file has another size than the manifest says.
    #[error("the volume has {found} bytes, expected the manifest's {expected}")]
    Size {
        /// Bytes found.
        found: u64,
        /// Bytes that the manifest says.
        expected: u64,
    },
}

impl Fault for PayloadFault {
    fn kind(&self) -> Kind {
        match self {
            Self::HalfRecord => Kind::Unsupported,
            Self::Long => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}
