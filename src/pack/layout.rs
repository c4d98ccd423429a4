//! Bytes of a pack, version 1: checked values in, checked values out. Pure.
//!
//! The byte tables stand in `docs/formats/pack.md`.

use std::fmt;

use crate::digest::Digest;
use crate::digest::crc32;
use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// What tells a pack, behind the eight bytes of the first skippable frame's own header.
pub const MAGIC: [u8; 8] = *b"\x89AMP\r\n\x1a\n";

/// Bytes of the header.
pub const HEADER_LEN: usize = 32;

/// [`HEADER_LEN`] as an offset: where the first chunk stands.
pub const HEADER_SIZE: u64 = 32;

/// Bytes of the footer.
pub const FOOTER_LEN: usize = 64;

/// [`FOOTER_LEN`] as an offset.
pub const FOOTER_SIZE: u64 = 64;

/// Bytes of an index entry.
pub const ENTRY_LEN: usize = 48;

/// Bytes of a skippable frame before its content.
pub const SKIP_SIZE: u64 = 8;

/// Most chunks of a pack.
pub const MAX_CHUNKS: u32 = 65_536;

/// Most bytes that a chunk's stored form takes: what 24 bits say.
pub const MAX_STORED_LEN: u32 = 0x00ff_ffff;

const VERSION_MAJOR: u16 = 1;
const HEADER_FRAME: u32 = 0x184d_2a50;
const INDEX_FRAME: u32 = 0x184d_2a51;
const FOOTER_FRAME: u32 = 0x184d_2a52;
const FOOTER_CRC_AT: usize = 52;

/// What is wrong with a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackFault {
    /// The file is shorter than header, index frame and footer.
    Short {
        /// Bytes found.
        found: u64,
    },
    /// The magic is not where it must be.
    Magic {
        /// Which part lacks it.
        of: &'static str,
    },
    /// The major version is not 1.
    Version {
        /// Value found.
        found: u16,
    },
    /// A bit is set that a reader must understand, and this one does not.
    Incompatible {
        /// Bits found.
        found: u32,
    },
    /// A checksum does not fit the bytes.
    Checksum {
        /// What it covers.
        of: &'static str,
        /// CRC-32 of the bytes.
        found: u32,
        /// CRC-32 that is recorded.
        expected: u32,
    },
    /// The file has another length than its footer says.
    FileLen {
        /// Bytes found.
        found: u64,
        /// Bytes that the footer says.
        expected: u64,
    },
    /// The index is not where the footer says, or not as long.
    Index {
        /// Offset that the footer says.
        offset: u64,
        /// Entries that the footer says.
        count: u32,
    },
    /// A fixed field does not hold its one value.
    Frame {
        /// Which part.
        of: &'static str,
    },
    /// Entries are not in ascending order of chunk ids.
    Order {
        /// Number of the entry.
        entry: u32,
    },
    /// A chunk is stored in a way that this version does not know.
    StoredKind {
        /// Value found.
        found: u8,
    },
    /// The stored chunks overlap, leave a gap or end elsewhere than the index starts.
    Tiling {
        /// Byte at which the next chunk was expected.
        offset: u64,
    },
}

impl fmt::Display for PackFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { found } => write!(f, "the pack has {found} bytes, expected 104 or more"),
            Self::Magic { of } => write!(f, "the {of} lacks the magic of a pack"),
            Self::Version { found } => {
                write!(f, "major version is {found}, expected {VERSION_MAJOR}")
            }
            Self::Incompatible { found } => write!(
                f,
                "incompatible features are {found:#x}, expected 0; a newer amikit may read it"
            ),
            Self::Checksum { of, found, expected } => {
                write!(f, "CRC-32 of the {of} is {found:#010x}, expected {expected:#010x}")
            }
            Self::FileLen { found, expected } => {
                write!(f, "the pack has {found} bytes, expected {expected}")
            }
            Self::Index { offset, count } => {
                write!(f, "an index of {count} entries at byte {offset} does not fit the pack")
            }
            Self::Frame { of } => write!(f, "a fixed field of the {of} has a wrong value"),
            Self::Order { entry } => write!(f, "entry {entry} of the index is out of order"),
            Self::StoredKind { found } => {
                write!(
                    f,
                    "a chunk's stored kind is {found}, expected 0 or 1; a newer amikit may read it"
                )
            }
            Self::Tiling { offset } => {
                write!(f, "stored chunks are not contiguous, expected one at byte {offset}")
            }
        }
    }
}

impl std::error::Error for PackFault {}

impl Fault for PackFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } | Self::Incompatible { .. } | Self::StoredKind { .. } => {
                Kind::Unsupported
            }
            _ => Kind::Corrupt,
        }
    }
}

/// Returns the header, which is the same in every pack.
#[must_use]
pub fn header() -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    field::put_u32_le(&mut bytes, 0, HEADER_FRAME);
    field::put_u32_le(&mut bytes, 4, 24);
    field::put_bytes(&mut bytes, 8, &MAGIC);
    field::put_u16_le(&mut bytes, 16, VERSION_MAJOR);
    bytes
}

/// Checks a header.
///
/// # Errors
///
/// Names the first thing that is wrong.
pub fn check_header(bytes: &[u8; HEADER_LEN]) -> Result<(), PackFault> {
    if field::u32_le(bytes, 0) != HEADER_FRAME || bytes[8..16] != MAGIC {
        return Err(PackFault::Magic { of: "header" });
    }
    let version = field::u16_le(bytes, 16);
    if version != VERSION_MAJOR {
        return Err(PackFault::Version { found: version });
    }
    let incompatible = field::u32_le(bytes, 20);
    if incompatible != 0 {
        return Err(PackFault::Incompatible { found: incompatible });
    }
    if field::u32_le(bytes, 4) != 24 || field::u32_le(bytes, 28) != 0 {
        return Err(PackFault::Frame { of: "header" });
    }
    Ok(())
}

/// Returns the eight bytes in front of `count` entries.
///
/// # Panics
///
/// If a pack cannot have so many.
#[must_use]
pub fn index_frame(count: u32) -> [u8; 8] {
    assert!(count <= MAX_CHUNKS, "{count} chunks in one pack");
    let mut bytes = [0; 8];
    field::put_u32_le(&mut bytes, 0, INDEX_FRAME);
    // At most 65,536 times 48.
    field::put_u32_le(&mut bytes, 4, count.strict_mul(48));
    bytes
}

/// The footer, checked in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Byte at which the entries start.
    pub index_offset: u64,
    /// Entries of the index.
    pub count: u32,
    /// CRC-32 of the entries.
    pub index_crc: u32,
    /// Bytes of the pack.
    pub file_len: u64,
    /// CRC-32 of the header.
    pub header_crc: u32,
}

impl Footer {
    /// Reads and checks the footer of a pack of `file_len` bytes.
    ///
    /// # Errors
    ///
    /// Names the first thing that is wrong.
    pub fn parse(bytes: &[u8; FOOTER_LEN], file_len: u64) -> Result<Self, PackFault> {
        if bytes[56..] != MAGIC {
            return Err(PackFault::Magic { of: "footer" });
        }
        let expected = field::u32_le(bytes, FOOTER_CRC_AT);
        let found = crc32(&bytes[..FOOTER_CRC_AT]);
        if found != expected {
            return Err(PackFault::Checksum { of: "footer", found, expected });
        }
        let fixed = field::u32_le(bytes, 0) == FOOTER_FRAME
            && field::u32_le(bytes, 4) == 56
            && bytes[36..FOOTER_CRC_AT].iter().all(|byte| *byte == 0);
        if !fixed {
            return Err(PackFault::Frame { of: "footer" });
        }
        let footer = Self {
            index_offset: field::u64_le(bytes, 8),
            count: field::u32_le(bytes, 16),
            index_crc: field::u32_le(bytes, 20),
            file_len: field::u64_le(bytes, 24),
            header_crc: field::u32_le(bytes, 32),
        };
        if footer.file_len != file_len {
            return Err(PackFault::FileLen { found: file_len, expected: footer.file_len });
        }
        let (offset, count) = (footer.index_offset, footer.count);
        // Cannot overflow: 2^32 entries of 48 bytes, and the footer.
        let behind = u64::from(count).strict_mul(48).strict_add(FOOTER_SIZE);
        let fits = count <= MAX_CHUNKS
            && offset >= HEADER_SIZE.strict_add(SKIP_SIZE)
            && offset.checked_add(behind) == Some(file_len);
        if fits { Ok(footer) } else { Err(PackFault::Index { offset, count }) }
    }

    /// Writes the footer.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        field::put_u32_le(&mut bytes, 0, FOOTER_FRAME);
        field::put_u32_le(&mut bytes, 4, 56);
        field::put_u64_le(&mut bytes, 8, self.index_offset);
        field::put_u32_le(&mut bytes, 16, self.count);
        field::put_u32_le(&mut bytes, 20, self.index_crc);
        field::put_u64_le(&mut bytes, 24, self.file_len);
        field::put_u32_le(&mut bytes, 32, self.header_crc);
        let crc = crc32(&bytes[..FOOTER_CRC_AT]);
        field::put_u32_le(&mut bytes, FOOTER_CRC_AT, crc);
        field::put_bytes(&mut bytes, 56, &MAGIC);
        bytes
    }
}

/// In which form a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One zstd frame.
    Whole,
    /// A patch over pages of the pack's base.
    Patched,
}

/// An index entry: where a chunk's stored bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 of the plain chunk.
    pub id: Digest,
    /// Byte of the pack at which the stored bytes start.
    pub offset: u64,
    /// Stored bytes, at most [`MAX_STORED_LEN`].
    pub len: u32,
    /// CRC-32 of the stored bytes.
    pub crc: u32,
    /// What the stored bytes are.
    pub form: Form,
}

impl Entry {
    /// Reads an entry; the caller checks it against its neighbours.
    ///
    /// # Errors
    ///
    /// `StoredKind` if the chunk is stored in a way that is not known.
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Result<Self, PackFault> {
        let len_and_kind = field::u32_le(bytes, 40);
        let form = match bytes[43] {
            0 => Form::Whole,
            1 => Form::Patched,
            found => return Err(PackFault::StoredKind { found }),
        };
        Ok(Self {
            id: Digest(field::array(bytes, 0)),
            offset: field::u64_le(bytes, 32),
            len: len_and_kind & MAX_STORED_LEN,
            crc: field::u32_le(bytes, 44),
            form,
        })
    }

    /// Writes the entry.
    ///
    /// # Panics
    ///
    /// If the length does not fit: no frame of a chunk is that long.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        assert!(self.len <= MAX_STORED_LEN, "a stored chunk of {} bytes", self.len);
        let mut bytes = [0; ENTRY_LEN];
        field::put_bytes(&mut bytes, 0, &self.id.0);
        field::put_u64_le(&mut bytes, 32, self.offset);
        field::put_u32_le(&mut bytes, 40, self.len);
        bytes[43] = match self.form {
            Form::Whole => 0,
            Form::Patched => 1,
        };
        field::put_u32_le(&mut bytes, 44, self.crc);
        bytes
    }
}
