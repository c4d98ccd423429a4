//! Bytes of a page index: `docs/formats/page-index.md`.

use std::fmt;

use crate::delta::entry::Sampling;
use crate::digest::Digest;
use crate::digest::crc32;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::io::Mapped;
use crate::io::OutputFile;
use crate::io::ReadAt;
use crate::io::WriteAt;

/// What tells a page index.
pub const MAGIC: [u8; 8] = *b"\x89AMX\r\n\x1a\n";

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 80;

/// Bytes of an entry.
pub(super) const ENTRY_LEN: usize = 12;

const VERSION: u16 = 1;

/// What says that there are no anchors.
const NO_ANCHORS: u8 = 0xff;

/// Entries that are written at once.
const BATCH: usize = 1 << 16;

/// What is wrong with a page index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexFault {
    /// The file is shorter than a header, or not as long as it says.
    Len {
        /// Bytes found.
        found: u64,
    },
    /// The magic is not there.
    Magic,
    /// The version is not 1.
    Version {
        /// Value found.
        found: u16,
    },
    /// A checksum does not fit the bytes.
    Checksum {
        /// What it covers.
        of: &'static str,
    },
    /// A field has a value that it cannot have.
    Field {
        /// Which.
        of: &'static str,
    },
    /// Entries are not in ascending order.
    Order {
        /// Number of the entry.
        entry: u64,
    },
    /// It is the index of another snapshot.
    Root {
        /// Root digest found.
        found: Digest,
        /// Root digest of the base.
        expected: Digest,
    },
}

impl fmt::Display for IndexFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Len { found } => {
                write!(f, "the page index has {found} bytes, expected as many as its header says")
            }
            Self::Magic => write!(f, "it does not start with the magic of a page index"),
            Self::Version { found } => write!(f, "version is {found}, expected {VERSION}"),
            Self::Checksum { of } => write!(f, "CRC-32 of the {of} does not match"),
            Self::Field { of } => write!(f, "{of} has an invalid value"),
            Self::Order { entry } => write!(f, "entry {entry} is out of order"),
            Self::Root { found, expected } => {
                write!(f, "it indexes the snapshot sha256:{found}, expected sha256:{expected}")
            }
        }
    }
}

impl std::error::Error for IndexFault {}

impl Fault for IndexFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } => Kind::Unsupported,
            Self::Root { .. } => Kind::Mismatch,
            _ => Kind::Corrupt,
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) root: Digest,
    pub(super) sampling: Sampling,
    pub(super) count: u64,
}

impl Header {
    fn to_bytes(self, entries_crc: u32) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, &MAGIC);
        field::put_u16_le(&mut bytes, 8, VERSION);
        bytes[10] = self.sampling.pages;
        bytes[11] = self.sampling.anchors.unwrap_or(NO_ANCHORS);
        field::put_u64_le(&mut bytes, 16, self.count);
        field::put_bytes(&mut bytes, 24, &self.root.0);
        field::put_u32_le(&mut bytes, 56, entries_crc);
        let crc = crc32(&bytes[..HEADER_LEN - 4]);
        field::put_u32_le(&mut bytes, HEADER_LEN - 4, crc);
        bytes
    }

    fn parse(bytes: &[u8; HEADER_LEN], len: u64) -> Result<(Self, u32), IndexFault> {
        if bytes[..8] != MAGIC {
            return Err(IndexFault::Magic);
        }
        let version = field::u16_le(bytes, 8);
        if version != VERSION {
            return Err(IndexFault::Version { found: version });
        }
        if crc32(&bytes[..HEADER_LEN - 4]) != field::u32_le(bytes, HEADER_LEN - 4) {
            return Err(IndexFault::Checksum { of: "header" });
        }
        let zeros = [&bytes[12..16], &bytes[60..HEADER_LEN - 4]].concat();
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(IndexFault::Field { of: "a reserved field" });
        }
        let (pages, anchors) = (bytes[10], bytes[11]);
        if pages > 6 || (anchors > 16 && anchors != NO_ANCHORS) {
            return Err(IndexFault::Field { of: "sampling" });
        }
        let count = field::u64_le(bytes, 16);
        let expected =
            count.checked_mul(12).and_then(|len| len.checked_add(80)).filter(|_| count <= 1 << 28);
        if expected != Some(len) {
            return Err(IndexFault::Len { found: len });
        }
        let anchors = (anchors != NO_ANCHORS).then_some(anchors);
        let sampling = Sampling { pages, anchors };
        let root = Digest(field::array(bytes, 24));
        Ok((Self { root, sampling, count }, field::u32_le(bytes, 56)))
    }
}

/// Reads an entry.
pub(super) fn entry(bytes: &[u8; ENTRY_LEN]) -> [u32; 3] {
    [field::u32_be(bytes, 0), field::u32_be(bytes, 4), field::u32_be(bytes, 8)]
}

/// Opens an index and checks all of it.
pub(super) fn open(input: &Input, root: Digest) -> Result<(Header, Mapped)> {
    let len = input.len();
    if len < 80 {
        return Err(IndexFault::Len { found: len }.into());
    }
    let bytes = Mapped::new(input, 0, len)?;
    let (header, entries_crc) = Header::parse(bytes.first_chunk().expect("80 bytes"), len)?;
    if header.root != root {
        let error = Error::from(IndexFault::Root { found: header.root, expected: root });
        return Err(error.advise("remove it, or name another file for this base's index"));
    }
    if crc32(&bytes[HEADER_LEN..]) != entries_crc {
        return Err(IndexFault::Checksum { of: "entries" }.into());
    }
    // Entries are big-endian, so their bytes are in the order that they are.
    let entries = bytes[HEADER_LEN..].as_chunks::<ENTRY_LEN>().0;
    match (1..).zip(entries.windows(2)).find(|(_, pair)| pair[0] >= pair[1]) {
        Some((entry, _)) => Err(IndexFault::Order { entry }.into()),
        None => Ok((header, bytes)),
    }
}

/// Writes an index.
pub(super) fn write(
    out: &OutputFile,
    header: &Header,
    entries: impl Iterator<Item = [u32; 3]>,
) -> Result<()> {
    let mut crc = crc32fast::Hasher::new();
    let mut batch = Vec::with_capacity(BATCH * ENTRY_LEN);
    let mut at = u64::try_from(HEADER_LEN).expect("80");
    let mut flush = |batch: &mut Vec<u8>| -> Result<()> {
        crc.update(batch);
        out.write_all_at(batch, at)?;
        at = at.strict_add(u64::try_from(batch.len()).expect("under a mebibyte"));
        batch.clear();
        Ok(())
    };
    for entry in entries {
        for word in entry {
            batch.extend_from_slice(&word.to_be_bytes());
        }
        if batch.len() >= BATCH * ENTRY_LEN {
            flush(&mut batch)?;
        }
    }
    flush(&mut batch)?;
    out.write_all_at(&header.to_bytes(crc.finalize()), 0)
}

#[cfg(test)]
mod tests;
