//! Bytes of the snapshot manifest, version 1: checked values in, checked values out. Pure.
//!
//! The byte tables stand in `docs/formats/manifest.md`.

use std::fmt;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::crc32;
use crate::error::Fault;
use crate::error::Kind;
use crate::field;
use crate::units::BLOCK_SIZE;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::block_count;

/// First bytes of a manifest.
pub const MAGIC: [u8; 8] = *b"\x89AMS\r\n\x1a\n";

/// Bytes of the header, and what sections are aligned to.
pub const HEADER_LEN: usize = 4096;

/// [`HEADER_LEN`] as an offset.
pub const HEADER_SIZE: u64 = 4096;

/// Blocks of a group.
pub const GROUP_BLOCKS: u32 = 1024;

/// Bytes of each of a group's two maps.
pub const MAP_LEN: usize = 128;

/// Bytes of a group before its digests.
pub const MAPS_LEN: usize = 256;

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 32;

/// Bytes of a table entry.
pub const ENTRY_LEN: usize = 64;

const VERSION_MAJOR: u16 = 1;
const ALGORITHM_SHA256: u32 = 1;
const FIELDS_END: usize = 148;
const HEADER_CRC_AT: usize = 4092;
const ROOT_DOMAIN: &[u8; 24] = b"amikit.snapshot.v1\0\0\0\0\0\0";

/// How many blocks of a snapshot are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Blocks that are data.
    pub data: u64,
    /// Blocks that are zero.
    pub zero: u64,
    /// Blocks that are holes.
    pub hole: u64,
}

impl Counts {
    /// Returns the blocks that were written: data and zero.
    #[must_use]
    pub fn written(&self) -> u64 {
        // Both are counts of blocks of one volume, at most 2^27; a header is checked for that.
        self.data.strict_add(self.zero)
    }
}

/// What is wrong with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestFault {
    /// The file is shorter than its header.
    Short {
        /// Bytes found.
        found: u64,
    },
    /// The first bytes are not the magic.
    Magic,
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
    /// The digest algorithm is not SHA-256.
    Algorithm {
        /// Value found.
        found: u32,
    },
    /// The block size is not 512 KiB.
    BlockSize {
        /// Value found, in bytes.
        found: u32,
    },
    /// The volume size is 0 or over 64 TiB.
    VolumeSize {
        /// Value found, in bytes.
        found: u64,
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
    /// The file has another length than its header says.
    FileLen {
        /// Bytes found.
        found: u64,
        /// Bytes that the header says.
        expected: u64,
    },
    /// The table is not where the header says, or not as long.
    Table {
        /// Offset that the header says.
        offset: u64,
        /// Entries that the header says.
        count: u32,
    },
    /// The counts of blocks do not add up.
    Counts {
        /// Blocks counted.
        found: u64,
        /// Blocks expected.
        expected: u64,
    },
    /// Bytes that must be zero are not.
    Padding,
    /// A table entry is out of order, past the volume or not where the last group ends.
    Entry {
        /// Group number found.
        group: u32,
    },
    /// A group's maps contradict each other, the table or the volume's size.
    Maps {
        /// The group.
        group: u32,
    },
    /// A digest does not fit what it covers.
    Digest {
        /// What it covers.
        of: &'static str,
    },
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { found } => {
                write!(f, "the file has {found} bytes, expected a header of {HEADER_LEN}")
            }
            Self::Magic => write!(f, "it does not start with the magic of a snapshot manifest"),
            Self::Version { found } => {
                write!(f, "major version is {found}, expected {VERSION_MAJOR}")
            }
            Self::Incompatible { found } => write!(
                f,
                "incompatible features are {found:#x}, expected 0; a newer amikit may read it"
            ),
            Self::Algorithm { found } => {
                write!(f, "digest algorithm is {found}, expected {ALGORITHM_SHA256}")
            }
            Self::BlockSize { found } => {
                write!(f, "block size is {found} bytes, expected {BLOCK_SIZE}")
            }
            Self::VolumeSize { found } => {
                write!(f, "volume size is {found} bytes, expected 1 to {MAX_VOLUME_SIZE}")
            }
            Self::Checksum { of, found, expected } => {
                write!(f, "CRC-32 of the {of} is {found:#010x}, expected {expected:#010x}")
            }
            Self::FileLen { found, expected } => {
                write!(f, "the file has {found} bytes, expected {expected}")
            }
            Self::Table { offset, count } => {
                write!(f, "a table of {count} entries at byte {offset} does not fit the file")
            }
            Self::Counts { found, expected } => {
                write!(f, "counts add up to {found} blocks, expected {expected}")
            }
            Self::Padding => write!(f, "padding is not zero"),
            Self::Entry { group } => {
                write!(f, "the table's entry for group {group} does not follow the one before")
            }
            Self::Maps { group } => {
                write!(f, "the maps of group {group} contradict each other, the table or the size")
            }
            Self::Digest { of } => {
                write!(f, "the digest of the {of} differs from the recorded one")
            }
        }
    }
}

impl std::error::Error for ManifestFault {}

impl Fault for ManifestFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. }
            | Self::Incompatible { .. }
            | Self::Algorithm { .. }
            | Self::BlockSize { .. } => Kind::Unsupported,
            Self::VolumeSize { found } if *found > MAX_VOLUME_SIZE => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// The header, checked in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the volume.
    pub volume_size: u64,
    /// Blocks in each state.
    pub counts: Counts,
    /// Groups stored.
    pub group_count: u32,
    /// Byte at which the table starts.
    pub table_offset: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// Identity of the snapshot.
    pub root: Digest,
    /// EBS's checksum of the written blocks.
    pub linear: Digest,
    /// CRC-32 of the table.
    pub table_crc: u32,
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes.
    ///
    /// # Errors
    ///
    /// Names the first thing that is wrong.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Self, ManifestFault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(ManifestFault::Short { found: file_len });
        };
        if bytes[..8] != MAGIC {
            return Err(ManifestFault::Magic);
        }
        let version = field::u16_le(bytes, 8);
        if version != VERSION_MAJOR {
            return Err(ManifestFault::Version { found: version });
        }
        let expected = field::u32_le(bytes, HEADER_CRC_AT);
        let found = crc32(&bytes[..HEADER_CRC_AT]);
        if found != expected {
            return Err(ManifestFault::Checksum { of: "header", found, expected });
        }
        let incompatible = field::u32_le(bytes, 12);
        if incompatible != 0 {
            return Err(ManifestFault::Incompatible { found: incompatible });
        }
        let algorithm = field::u32_le(bytes, 20);
        if algorithm != ALGORITHM_SHA256 {
            return Err(ManifestFault::Algorithm { found: algorithm });
        }
        let block_size = field::u32_le(bytes, 24);
        if u64::from(block_size) != BLOCK_SIZE {
            return Err(ManifestFault::BlockSize { found: block_size });
        }
        if bytes[FIELDS_END..HEADER_CRC_AT].iter().any(|byte| *byte != 0) {
            return Err(ManifestFault::Padding);
        }
        let header = Self {
            volume_size: field::u64_le(bytes, 32),
            counts: Counts {
                data: field::u64_le(bytes, 40),
                zero: field::u64_le(bytes, 48),
                hole: field::u64_le(bytes, 56),
            },
            group_count: field::u32_le(bytes, 28),
            table_offset: field::u64_le(bytes, 64),
            file_len: field::u64_le(bytes, 72),
            root: Digest(field::array(bytes, 80)),
            linear: Digest(field::array(bytes, 112)),
            table_crc: field::u32_le(bytes, 144),
        };
        header.check(file_len)?;
        Ok(header)
    }

    fn check(&self, file_len: u64) -> Result<(), ManifestFault> {
        if self.volume_size == 0 || self.volume_size > MAX_VOLUME_SIZE {
            return Err(ManifestFault::VolumeSize { found: self.volume_size });
        }
        if self.file_len != file_len {
            return Err(ManifestFault::FileLen { found: file_len, expected: self.file_len });
        }
        let Counts { data, zero, hole } = self.counts;
        let found = data.saturating_add(zero).saturating_add(hole);
        let expected = u64::from(block_count(self.volume_size));
        if found != expected {
            return Err(ManifestFault::Counts { found, expected });
        }
        // Cannot overflow: 2^32 entries of 64 bytes.
        let table_len = u64::from(self.group_count).strict_mul(ENTRY_LEN_U64);
        let fits = self.table_offset >= HEADER_SIZE
            && self.table_offset.is_multiple_of(HEADER_SIZE)
            && self.table_offset.checked_add(table_len) == Some(file_len);
        if !fits {
            let (offset, count) = (self.table_offset, self.group_count);
            return Err(ManifestFault::Table { offset, count });
        }
        Ok(())
    }

    /// Writes the header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, &MAGIC);
        field::put_u16_le(&mut bytes, 8, VERSION_MAJOR);
        field::put_u32_le(&mut bytes, 20, ALGORITHM_SHA256);
        field::put_u32_le(&mut bytes, 24, BLOCK_SIZE_U32);
        field::put_u32_le(&mut bytes, 28, self.group_count);
        field::put_u64_le(&mut bytes, 32, self.volume_size);
        field::put_u64_le(&mut bytes, 40, self.counts.data);
        field::put_u64_le(&mut bytes, 48, self.counts.zero);
        field::put_u64_le(&mut bytes, 56, self.counts.hole);
        field::put_u64_le(&mut bytes, 64, self.table_offset);
        field::put_u64_le(&mut bytes, 72, self.file_len);
        field::put_bytes(&mut bytes, 80, &self.root.0);
        field::put_bytes(&mut bytes, 112, &self.linear.0);
        field::put_u32_le(&mut bytes, 144, self.table_crc);
        let crc = crc32(&bytes[..HEADER_CRC_AT]);
        field::put_u32_le(&mut bytes, HEADER_CRC_AT, crc);
        bytes
    }
}

const ENTRY_LEN_U64: u64 = 64;
const BLOCK_SIZE_U32: u32 = 524_288;

/// A table entry: where a group lies and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the group.
    pub group: u32,
    /// Data blocks of the group, up to 1,024.
    pub data: u16,
    /// Zero blocks of the group, up to 1,024.
    pub zero: u16,
    /// Byte of the file at which the group starts.
    pub offset: u64,
    /// CRC-32 of the group's bytes.
    pub crc: u32,
    /// SHA-256 of the group's bytes.
    pub digest: Digest,
}

impl Entry {
    /// Reads an entry; the caller checks it against its neighbours.
    ///
    /// # Errors
    ///
    /// `Padding` or `Entry`.
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Result<Self, ManifestFault> {
        if bytes[20..32].iter().any(|byte| *byte != 0) {
            return Err(ManifestFault::Padding);
        }
        let entry = Self {
            group: field::u32_le(bytes, 0),
            data: field::u16_le(bytes, 4),
            zero: field::u16_le(bytes, 6),
            offset: field::u64_le(bytes, 8),
            crc: field::u32_le(bytes, 16),
            digest: Digest(field::array(bytes, 32)),
        };
        let written = u32::from(entry.data).strict_add(u32::from(entry.zero));
        if written == 0 || written > GROUP_BLOCKS {
            return Err(ManifestFault::Entry { group: entry.group });
        }
        Ok(entry)
    }

    /// Writes the entry.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        field::put_u32_le(&mut bytes, 0, self.group);
        field::put_u16_le(&mut bytes, 4, self.data);
        field::put_u16_le(&mut bytes, 6, self.zero);
        field::put_u64_le(&mut bytes, 8, self.offset);
        field::put_u32_le(&mut bytes, 16, self.crc);
        field::put_bytes(&mut bytes, 32, &self.digest.0);
        bytes
    }

    /// Returns the bytes that the group takes.
    #[must_use]
    pub fn group_len(&self) -> usize {
        // At most 256 + 32 * 1,024.
        MAPS_LEN.strict_add(usize::from(self.data).strict_mul(DIGEST_LEN))
    }
}

/// The root digest under way: fed with groups, ascending.
#[derive(Clone, Debug)]
pub struct Root(Sha256);

impl Root {
    /// Starts the root digest of a volume of `volume_size` bytes.
    #[must_use]
    pub fn new(volume_size: u64) -> Self {
        let mut digest = Sha256::new();
        digest.update(ROOT_DOMAIN);
        digest.update(&volume_size.to_le_bytes());
        digest.update(&BLOCK_SIZE_U32.to_le_bytes());
        digest.update(&ALGORITHM_SHA256.to_le_bytes());
        Self(digest)
    }

    /// Adds the next stored group.
    pub fn group(&mut self, number: u32, digest: &Digest) {
        self.0.update(&number.to_le_bytes());
        self.0.update(&digest.0);
    }

    /// Returns the root digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}
