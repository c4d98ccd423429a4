//! Bytes of the Android sparse format, version 1. Pure: no I/O, no allocation.
//!
//! ```text
//! File header, little-endian like everything here:
//! offset size field           meaning
//!      0    4 magic           0xed26ff3a
//!      4    2 major_version   1; others are not supported
//!      6    2 minor_version   any
//!      8    2 file_hdr_sz     bytes of this header: 28 or more, the excess is skipped
//!     10    2 chunk_hdr_sz    bytes of each chunk header: 12 or more, the excess is skipped
//!     12    4 blk_sz          bytes of a sparse block: a multiple of 4, not 0
//!     16    4 total_blks      volume size in sparse blocks
//!     20    4 total_chunks    sparse chunks that follow
//!     24    4 image_checksum  CRC-32 of the volume, or 0 for none
//!
//! Chunk header, with its payload behind it:
//!      0    2 chunk_type      0xcac1 RAW, 0xcac2 FILL, 0xcac3 DONT_CARE, 0xcac4 CRC32
//!      2    2 reserved1       0; not looked at
//!      4    4 chunk_sz        sparse blocks of the volume that it stands for; 0 for CRC32
//!      8    4 total_sz        bytes of chunk header and payload together
//!
//! Payload: RAW the blocks themselves; FILL 4 bytes, repeated; DONT_CARE nothing; CRC32 the
//! checksum of the volume up to here.
//! ```

use std::fmt;

use thiserror::Error;

use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// Bytes that the size of a volume is a multiple of: those between cannot be recorded.
pub const SIZE_GRAIN: u64 = 1024;

/// Bytes of the file header that we write, and the least that is legal.
pub const HEADER_LEN: usize = 28;

/// Bytes of a chunk header that we write, and the least that is legal.
pub const CHUNK_HEADER_LEN: usize = 12;

/// First four bytes of a file.
pub const MAGIC: [u8; 4] = [0x3a, 0xff, 0x26, 0xed];

const RAW: u16 = 0xcac1;
const FILL: u16 = 0xcac2;
const DONT_CARE: u16 = 0xcac3;
const CRC32: u16 = 0xcac4;

/// What is wrong with an Android sparse image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SparseFault {
    /// The file ends inside its header.
    #[error("the file has {len} bytes, expected a file header of {expected}")]
    HeaderCut {
        /// Bytes of the file.
        len: u64,
        /// Bytes of the header.
        expected: u64,
    },
    /// The first four bytes are not the magic number.
    #[error(
        "magic is {found:#010x}, expected {expected:#010x}",
        expected = u32::from_le_bytes(MAGIC)
    )]
    Magic {
        /// Value found.
        found: u32,
    },
    /// The major version is not 1.
    #[error("major version is {found}, expected 1")]
    Version {
        /// Value found.
        found: u16,
    },
    /// The file header is shorter than its fields.
    #[error(
        "file header size is {found} bytes, expected {header_len} or more",
        header_len = HEADER_LEN
    )]
    HeaderLen {
        /// Value found, in bytes.
        found: u16,
    },
    /// The chunk headers are shorter than their fields.
    #[error(
        "chunk header size is {found} bytes, expected {chunk_header_len} or more",
        chunk_header_len = CHUNK_HEADER_LEN
    )]
    ChunkHeaderLen {
        /// Value found, in bytes.
        found: u16,
    },
    /// The block size is 0 or no multiple of 4.
    #[error("block size is {found} bytes, expected a multiple of 4 above 0")]
    BlockSize {
        /// Value found, in bytes.
        found: u32,
    },
    /// The file ends inside a chunk.
    #[error("the file ends at byte {len}, expected chunk {chunk} to go on to byte {expected}")]
    ChunkCut {
        /// Number of the chunk, from 0.
        chunk: u32,
        /// Byte at which the file ends.
        len: u64,
        /// Byte at which the chunk's header or payload ends.
        expected: u64,
    },
    /// A chunk is shorter than its header.
    #[error("chunk size is {found} bytes, expected {expected} or more")]
    ChunkLen {
        /// Value found, in bytes.
        found: u32,
        /// Bytes of a chunk header.
        expected: u16,
    },
    /// A chunk's payload is not as long as its type and block count have it.
    #[error("payload of a {kind} chunk is {found} bytes, expected {expected}")]
    PayloadLen {
        /// Type of the chunk.
        kind: ChunkKind,
        /// Length found, in bytes.
        found: u64,
        /// Length by the format.
        expected: u64,
    },
    /// A CRC32 chunk claims to stand for blocks.
    #[error("block count of a CRC32 chunk is {found}, expected 0")]
    CrcBlocks {
        /// Value found, in blocks.
        found: u32,
    },
    /// A chunk of a type that we do not know holds something.
    #[error(
        "chunk type is {found:#06x}, expected {raw:#06x} to {crc32:#06x}, or a chunk \
         without content",
        crc32 = CRC32, raw = RAW
    )]
    ChunkType {
        /// Value found.
        found: u16,
    },
    /// The chunks stand for more blocks than the header says.
    #[error("the chunks up to here have {found} blocks, expected {expected} in all")]
    TooManyBlocks {
        /// Blocks up to and with this chunk.
        found: u64,
        /// Blocks by the header.
        expected: u32,
    },
    /// The chunks stand for fewer blocks than the header says.
    #[error("the chunks have {found} blocks, expected {expected}")]
    TooFewBlocks {
        /// Blocks of all chunks.
        found: u32,
        /// Blocks by the header.
        expected: u32,
    },
    /// The volume does not have the CRC that the image says.
    #[error("CRC is {found:#010x}, expected {expected:#010x}, that of the content")]
    Crc {
        /// CRC that the image says.
        found: u32,
        /// CRC of the volume.
        expected: u32,
    },
    /// Too many runs for the memory that a map may take.
    #[error("the chunks make over {limit} runs, the limit", limit = crate::volume::MAX_RUNS)]
    Runs,
    /// A part of a split set has another block size than the first.
    #[error("block size is {found} bytes, expected {expected} as in the first part")]
    PartBlockSize {
        /// Value found, in bytes.
        found: u32,
        /// That of the first part.
        expected: u32,
    },
    /// A part of a split set has another volume size than the first.
    #[error("block count is {found}, expected {expected} as in the first part")]
    PartBlockCount {
        /// Value found, in blocks.
        found: u32,
        /// That of the first part.
        expected: u32,
    },
}

impl Fault for SparseFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } | Self::ChunkType { .. } => Kind::Unsupported,
            Self::Runs => Kind::Limit,
            // Each part may be sound: the user named parts of two images.
            Self::PartBlockSize { .. } | Self::PartBlockCount { .. } => Kind::Invalid,
            _ => Kind::Corrupt,
        }
    }
}

/// The file header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header in this file.
    pub header_len: u16,
    /// Bytes of each chunk header in this file.
    pub chunk_header_len: u16,
    /// Bytes of a sparse block.
    pub block_len: u32,
    /// Volume size in sparse blocks.
    pub block_count: u32,
    /// Sparse chunks that follow.
    pub chunk_count: u32,
    /// CRC-32 of the volume; 0 means that none was taken.
    pub crc: u32,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    ///
    /// Names the first field, in file order, that breaks the format.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, SparseFault> {
        let magic = field::array(bytes, 0);
        let major_version = field::u16_le(bytes, 4);
        let file_hdr_sz = field::u16_le(bytes, 8);
        let chunk_hdr_sz = field::u16_le(bytes, 10);
        let blk_sz = field::u32_le(bytes, 12);

        if magic != MAGIC {
            return Err(SparseFault::Magic { found: u32::from_le_bytes(magic) });
        }
        if major_version != 1 {
            return Err(SparseFault::Version { found: major_version });
        }
        if usize::from(file_hdr_sz) < HEADER_LEN {
            return Err(SparseFault::HeaderLen { found: file_hdr_sz });
        }
        if usize::from(chunk_hdr_sz) < CHUNK_HEADER_LEN {
            return Err(SparseFault::ChunkHeaderLen { found: chunk_hdr_sz });
        }
        if blk_sz == 0 || !blk_sz.is_multiple_of(4) {
            return Err(SparseFault::BlockSize { found: blk_sz });
        }
        Ok(Self {
            header_len: file_hdr_sz,
            chunk_header_len: chunk_hdr_sz,
            block_len: blk_sz,
            block_count: field::u32_le(bytes, 16),
            chunk_count: field::u32_le(bytes, 20),
            crc: field::u32_le(bytes, 24),
        })
    }

    /// Returns the header's bytes, version 1.0; what exceeds [`HEADER_LEN`] is the caller's.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        field::put_bytes(&mut bytes, 0, &MAGIC);
        field::put_u16_le(&mut bytes, 4, 1);
        field::put_u16_le(&mut bytes, 8, self.header_len);
        field::put_u16_le(&mut bytes, 10, self.chunk_header_len);
        field::put_u32_le(&mut bytes, 12, self.block_len);
        field::put_u32_le(&mut bytes, 16, self.block_count);
        field::put_u32_le(&mut bytes, 20, self.chunk_count);
        field::put_u32_le(&mut bytes, 24, self.crc);
        bytes
    }

    /// Returns the volume's size in bytes; not checked against the largest volume.
    #[must_use]
    pub fn volume_size(&self) -> u64 {
        // Cannot overflow: both factors are below 2^32.
        u64::from(self.block_len).strict_mul(u64::from(self.block_count))
    }
}

/// What a sparse chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// The payload is the blocks.
    Raw,
    /// The payload is 4 bytes that fill the blocks.
    Fill,
    /// Nothing was said of the blocks.
    DontCare,
    /// The payload is a checksum.
    Crc,
    /// A type that we do not know, without payload and blocks.
    Unknown,
}

impl fmt::Display for ChunkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "RAW",
            Self::Fill => "FILL",
            Self::DontCare => "DONT_CARE",
            Self::Crc => "CRC32",
            Self::Unknown => "unknown",
        })
    }
}

/// A chunk header, checked against the file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// What the chunk is.
    pub kind: ChunkKind,
    /// Sparse blocks of the volume that it stands for.
    pub block_count: u32,
    /// Bytes behind the chunk header.
    pub payload_len: u32,
}

impl ChunkHeader {
    /// Reads and checks a chunk header; `header` is that of its file.
    ///
    /// # Errors
    ///
    /// Names what breaks the format.
    pub fn parse(bytes: &[u8; CHUNK_HEADER_LEN], header: &Header) -> Result<Self, SparseFault> {
        let chunk_type = field::u16_le(bytes, 0);
        let chunk_sz = field::u32_le(bytes, 4);
        let total_sz = field::u32_le(bytes, 8);

        let chunk_hdr_sz = header.chunk_header_len;
        let payload_len = total_sz
            .checked_sub(u32::from(chunk_hdr_sz))
            .ok_or(SparseFault::ChunkLen { found: total_sz, expected: chunk_hdr_sz })?;
        let (kind, expected) = match chunk_type {
            // Cannot overflow: both factors are below 2^32.
            RAW => (ChunkKind::Raw, u64::from(chunk_sz).strict_mul(u64::from(header.block_len))),
            FILL => (ChunkKind::Fill, 4),
            DONT_CARE => (ChunkKind::DontCare, 0),
            CRC32 => (ChunkKind::Crc, 4),
            // AOSP's reader passes over a type that it does not know, and so do we if no byte of
            // the volume can hang on it.
            _ if payload_len == 0 && chunk_sz == 0 => (ChunkKind::Unknown, 0),
            _ => return Err(SparseFault::ChunkType { found: chunk_type }),
        };
        if u64::from(payload_len) != expected {
            return Err(SparseFault::PayloadLen { kind, found: payload_len.into(), expected });
        }
        if kind == ChunkKind::Crc && chunk_sz != 0 {
            return Err(SparseFault::CrcBlocks { found: chunk_sz });
        }
        Ok(Self { kind, block_count: chunk_sz, payload_len })
    }

    /// Returns the chunk header's bytes, [`CHUNK_HEADER_LEN`] long.
    ///
    /// # Panics
    ///
    /// If the payload is too long for the format, or the kind is [`ChunkKind::Unknown`].
    #[must_use]
    pub fn encode(&self) -> [u8; CHUNK_HEADER_LEN] {
        let chunk_type = match self.kind {
            ChunkKind::Raw => RAW,
            ChunkKind::Fill => FILL,
            ChunkKind::DontCare => DONT_CARE,
            ChunkKind::Crc => CRC32,
            ChunkKind::Unknown => panic!("a chunk of an unknown type is never written"),
        };
        let mut bytes = [0; CHUNK_HEADER_LEN];
        field::put_u16_le(&mut bytes, 0, chunk_type);
        field::put_u32_le(&mut bytes, 4, self.block_count);
        field::put_u32_le(&mut bytes, 8, self.payload_len.strict_add(12));
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A sound header: 256 blocks of 4096 bytes in 3 chunks.
    const SOUND: Header = Header {
        header_len: 28,
        chunk_header_len: 12,
        block_len: 4096,
        block_count: 256,
        chunk_count: 3,
        crc: 0x1234_5678,
    };

    #[test]
    fn a_header_comes_back_and_gives_the_volume_size() {
        assert_eq!(Header::parse(&SOUND.encode()), Ok(SOUND));
        assert_eq!(SOUND.volume_size(), 1 << 20);
    }

    /// Each check of `Header::parse`, tripped by one changed byte.
    #[test]
    fn a_broken_header_names_the_field() {
        let cases = [
            (0, 0x50, SparseFault::Magic { found: 0xed26_ff50 }),
            (4, 2, SparseFault::Version { found: 2 }),
            (4, 0, SparseFault::Version { found: 0 }),
            (8, 27, SparseFault::HeaderLen { found: 27 }),
            (10, 11, SparseFault::ChunkHeaderLen { found: 11 }),
            (12, 2, SparseFault::BlockSize { found: 4098 }),
            (13, 0, SparseFault::BlockSize { found: 0 }),
        ];
        for (at, byte, fault) in cases {
            let mut bytes = SOUND.encode();
            bytes[at] = byte;
            assert_eq!(Header::parse(&bytes), Err(fault));
        }
    }

    #[test]
    fn a_larger_header_and_a_higher_minor_version_are_read() {
        let mut bytes = SOUND.encode();
        (bytes[6], bytes[8], bytes[10]) = (7, 40, 24);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.header_len, header.chunk_header_len), (40, 24));
    }

    #[test]
    fn each_kind_of_chunk_comes_back() {
        let cases = [
            (ChunkKind::Raw, 3, 3 * 4096),
            (ChunkKind::Fill, 7, 4),
            (ChunkKind::DontCare, u32::MAX, 0),
            (ChunkKind::Crc, 0, 4),
        ];
        for (kind, block_count, payload_len) in cases {
            let chunk = ChunkHeader { kind, block_count, payload_len };
            assert_eq!(ChunkHeader::parse(&chunk.encode(), &SOUND), Ok(chunk));
        }
    }

    fn chunk(chunk_type: u16, chunk_sz: u32, total_sz: u32) -> Result<ChunkHeader, SparseFault> {
        let mut bytes = [0; CHUNK_HEADER_LEN];
        field::put_u16_le(&mut bytes, 0, chunk_type);
        field::put_u32_le(&mut bytes, 4, chunk_sz);
        field::put_u32_le(&mut bytes, 8, total_sz);
        ChunkHeader::parse(&bytes, &SOUND)
    }

    /// Each check of `ChunkHeader::parse`, tripped.
    #[test]
    fn a_broken_chunk_header_names_the_field() {
        let wrong_len =
            |kind, found, expected| Err(SparseFault::PayloadLen { kind, found, expected });
        assert_eq!(chunk(RAW, 0, 11), Err(SparseFault::ChunkLen { found: 11, expected: 12 }));
        assert_eq!(chunk(RAW, 1, 12 + 4092), wrong_len(ChunkKind::Raw, 4092, 4096));
        // A product that does not fit 32 bits must not wrap to the length that is there.
        assert_eq!(chunk(RAW, 1 << 20, 12), wrong_len(ChunkKind::Raw, 0, 1 << 32));
        assert_eq!(chunk(FILL, 1, 20), wrong_len(ChunkKind::Fill, 8, 4));
        assert_eq!(chunk(DONT_CARE, 1, 16), wrong_len(ChunkKind::DontCare, 4, 0));
        assert_eq!(chunk(CRC32, 0, 20), wrong_len(ChunkKind::Crc, 8, 4));
        assert_eq!(chunk(CRC32, 5, 16), Err(SparseFault::CrcBlocks { found: 5 }));
        let unknown = Err(SparseFault::ChunkType { found: 0xcafe });
        assert_eq!(chunk(0xcafe, 0, 20), unknown);
        assert_eq!(chunk(0xcafe, 1, 12), unknown);
        assert_eq!(chunk(0xcafe, 0, 12).unwrap().kind, ChunkKind::Unknown);
    }
}
