//! Bytes of a pack, version 2: checked values in, checked values out. Pure.
//!
//! The byte tables stand in `docs/formats/pack.md`.

use std::fmt;

use crate::digest::Digest;
use crate::digest::crc32;
use crate::error::Fault;
use crate::error::Kind;
use crate::field;
use crate::units::MAX_BLOCK_COUNT;

/// What tells a pack, behind the eight bytes of the first skippable frame's own header.
pub const MAGIC: [u8; 8] = *b"\x89AMP\r\n\x1a\n";

/// Bytes of the header.
pub const HEADER_LEN: usize = 32;

/// [`HEADER_LEN`] as an offset: where the first group stands.
pub const HEADER_SIZE: u64 = 32;

/// Bytes of the footer.
pub const FOOTER_LEN: usize = 64;

/// [`FOOTER_LEN`] as an offset.
pub const FOOTER_SIZE: u64 = 64;

/// Bytes of an entry of the table of groups.
pub const GROUP_LEN: usize = 24;

/// Bytes of an entry of the table of chunks.
pub const ENTRY_LEN: usize = 36;

/// Bytes of a skippable frame before its content.
pub const SKIP_SIZE: u64 = 8;

/// Most chunks of a pack.
pub const MAX_CHUNKS: u32 = 65_536;

/// Most chunks of a group: 64 MiB.
pub const MAX_GROUP_CHUNKS: u32 = 128;

/// Blocks of which a region has a multiple: what one group of a manifest describes.
pub const REGION_GRAIN: u32 = 1024;

const VERSION_MAJOR: u16 = 2;
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
    /// The major version is not 2.
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
        /// Groups that the footer says.
        groups: u32,
        /// Chunks that the footer says.
        chunks: u32,
    },
    /// The region is none that a volume can have.
    Region {
        /// Number that the footer says.
        number: u32,
        /// Blocks of a region that the footer says.
        blocks: u32,
    },
    /// A fixed field does not hold its one value.
    Frame {
        /// Which part.
        of: &'static str,
    },
    /// Chunks are not in ascending order of their ids.
    Order {
        /// Number of the entry.
        entry: u32,
    },
    /// A group is stored in a way that this version does not know.
    StoredKind {
        /// Value found.
        found: u8,
    },
    /// A group has no chunks or too many of them.
    GroupChunks {
        /// Value found.
        found: u16,
    },
    /// The groups overlap, leave a gap or end elsewhere than the index starts.
    Tiling {
        /// Byte at which the next group was expected.
        offset: u64,
    },
    /// A chunk's place in the groups does not exist, or is that of another chunk.
    Place {
        /// Number of the entry.
        entry: u32,
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
            Self::Index { offset, groups, chunks } => write!(
                f,
                "an index of {groups} groups and {chunks} chunks at byte {offset} does not fit the pack"
            ),
            Self::Region { number, blocks } => write!(
                f,
                "region {number} of {blocks} blocks is none of a volume, expected a multiple of \
                 {REGION_GRAIN} blocks"
            ),
            Self::Frame { of } => write!(f, "a fixed field of the {of} has a wrong value"),
            Self::Order { entry } => write!(f, "chunk {entry} of the index is out of order"),
            Self::StoredKind { found } => {
                write!(
                    f,
                    "a group's stored kind is {found}, expected 0 or 1; a newer amikit may read it"
                )
            }
            Self::GroupChunks { found } => {
                write!(f, "a group has {found} chunks, expected 1 to {MAX_GROUP_CHUNKS}")
            }
            Self::Tiling { offset } => {
                write!(f, "groups are not contiguous, expected one at byte {offset}")
            }
            Self::Place { entry } => {
                write!(f, "chunk {entry} of the index is not at a place of its own in a group")
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

/// Returns the eight bytes in front of the tables of so many groups and chunks.
///
/// # Panics
///
/// If a pack cannot have so many.
#[must_use]
pub fn index_frame(groups: u32, chunks: u32) -> [u8; 8] {
    assert!(groups <= chunks && chunks <= MAX_CHUNKS, "{groups} groups, {chunks} chunks");
    let mut bytes = [0; 8];
    field::put_u32_le(&mut bytes, 0, INDEX_FRAME);
    // At most 65,536 times 60.
    field::put_u32_le(&mut bytes, 4, groups.strict_mul(24).strict_add(chunks.strict_mul(36)));
    bytes
}

/// The part of a volume that a pack's chunks are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Its number, from 0.
    pub number: u32,
    /// Blocks of a region; 0 if the volume is not cut into regions.
    pub blocks: u32,
}

impl Region {
    /// Tells whether a volume can have the region: it starts before the largest volume ends.
    fn is_possible(self) -> bool {
        let start = self.number.checked_mul(self.blocks);
        let whole = self.blocks != 0 || self.number == 0;
        let inside = start.is_some_and(|start| start < MAX_BLOCK_COUNT);
        whole && inside && self.blocks.is_multiple_of(REGION_GRAIN)
    }
}

/// The footer, checked in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Byte at which the table of groups starts.
    pub index_offset: u64,
    /// Entries of the table of groups.
    pub group_count: u32,
    /// Entries of the table of chunks.
    pub chunk_count: u32,
    /// Bytes of the pack.
    pub file_len: u64,
    /// The part of the volume that the chunks are of.
    pub region: Region,
    /// CRC-32 of both tables.
    pub index_crc: u32,
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
            && field::u32_le(bytes, 48) == 0;
        if !fixed {
            return Err(PackFault::Frame { of: "footer" });
        }
        let region = Region { number: field::u32_le(bytes, 32), blocks: field::u32_le(bytes, 36) };
        let footer = Self {
            index_offset: field::u64_le(bytes, 8),
            group_count: field::u32_le(bytes, 16),
            chunk_count: field::u32_le(bytes, 20),
            file_len: field::u64_le(bytes, 24),
            region,
            index_crc: field::u32_le(bytes, 40),
            header_crc: field::u32_le(bytes, 44),
        };
        if footer.file_len != file_len {
            return Err(PackFault::FileLen { found: file_len, expected: footer.file_len });
        }
        if !region.is_possible() {
            return Err(PackFault::Region { number: region.number, blocks: region.blocks });
        }
        let (offset, groups, chunks) =
            (footer.index_offset, footer.group_count, footer.chunk_count);
        // Cannot overflow: 2^32 entries of 60 bytes, and the footer.
        let tables = u64::from(groups).strict_mul(24).strict_add(u64::from(chunks).strict_mul(36));
        let fits = chunks <= MAX_CHUNKS
            && groups <= chunks
            && offset >= HEADER_SIZE.strict_add(SKIP_SIZE)
            && offset.checked_add(tables.strict_add(FOOTER_SIZE)) == Some(file_len);
        if fits { Ok(footer) } else { Err(PackFault::Index { offset, groups, chunks }) }
    }

    /// Writes the footer.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        field::put_u32_le(&mut bytes, 0, FOOTER_FRAME);
        field::put_u32_le(&mut bytes, 4, 56);
        field::put_u64_le(&mut bytes, 8, self.index_offset);
        field::put_u32_le(&mut bytes, 16, self.group_count);
        field::put_u32_le(&mut bytes, 20, self.chunk_count);
        field::put_u64_le(&mut bytes, 24, self.file_len);
        field::put_u32_le(&mut bytes, 32, self.region.number);
        field::put_u32_le(&mut bytes, 36, self.region.blocks);
        field::put_u32_le(&mut bytes, 40, self.index_crc);
        field::put_u32_le(&mut bytes, 44, self.header_crc);
        let crc = crc32(&bytes[..FOOTER_CRC_AT]);
        field::put_u32_le(&mut bytes, FOOTER_CRC_AT, crc);
        field::put_bytes(&mut bytes, 56, &MAGIC);
        bytes
    }
}

/// In which form a group is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One zstd frame of its chunks.
    Whole,
    /// One chunk, as a patch over pages of the pack's base.
    Patched,
}

/// An entry of the table of groups: where a group's stored bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Byte of the pack at which the stored bytes start.
    pub offset: u64,
    /// Stored bytes.
    pub len: u32,
    /// CRC-32 of the stored bytes.
    pub crc: u32,
    /// Chunks in it, 1 to [`MAX_GROUP_CHUNKS`].
    pub chunks: u16,
    /// What the stored bytes are.
    pub form: Form,
}

impl Group {
    /// Reads an entry; the caller checks it against its neighbours.
    ///
    /// # Errors
    ///
    /// Names the first thing that is wrong.
    pub fn parse(bytes: &[u8; GROUP_LEN]) -> Result<Self, PackFault> {
        let form = match bytes[18] {
            0 => Form::Whole,
            1 => Form::Patched,
            found => return Err(PackFault::StoredKind { found }),
        };
        let chunks = field::u16_le(bytes, 16);
        let most = if form == Form::Patched { 1 } else { MAX_GROUP_CHUNKS };
        if !(1..=most).contains(&u32::from(chunks)) {
            return Err(PackFault::GroupChunks { found: chunks });
        }
        if bytes[19..].iter().any(|byte| *byte != 0) {
            return Err(PackFault::Frame { of: "table of groups" });
        }
        Ok(Self {
            offset: field::u64_le(bytes, 0),
            len: field::u32_le(bytes, 8),
            crc: field::u32_le(bytes, 12),
            chunks,
            form,
        })
    }

    /// Writes the entry.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; GROUP_LEN] {
        let mut bytes = [0; GROUP_LEN];
        field::put_u64_le(&mut bytes, 0, self.offset);
        field::put_u32_le(&mut bytes, 8, self.len);
        field::put_u32_le(&mut bytes, 12, self.crc);
        field::put_u16_le(&mut bytes, 16, self.chunks);
        bytes[18] = match self.form {
            Form::Whole => 0,
            Form::Patched => 1,
        };
        bytes
    }
}

/// An entry of the table of chunks: the place of a chunk in the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 of the plain chunk.
    pub id: Digest,
    /// Number of its group.
    pub group: u16,
    /// Chunks before it in the group.
    pub position: u16,
}

impl Entry {
    /// Reads an entry; the caller checks it against its neighbours and the groups.
    #[must_use]
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Self {
        Self {
            id: Digest(field::array(bytes, 0)),
            group: field::u16_le(bytes, 32),
            position: field::u16_le(bytes, 34),
        }
    }

    /// Writes the entry.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        field::put_bytes(&mut bytes, 0, &self.id.0);
        field::put_u16_le(&mut bytes, 32, self.group);
        field::put_u16_le(&mut bytes, 34, self.position);
        bytes
    }
}
