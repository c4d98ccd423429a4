//! The table at the end of a seekable zstd file: a skippable frame with the sizes of all others.
//!
//! ```text
//! offset size field                   value, all little-endian
//!      0    4 Skippable_Magic_Number  0x184d2a5e
//!      4    4 Frame_Size              bytes that follow
//!      8      entries                 one for each frame:
//!                                     u32 Compressed_Size, u32 Decompressed_Size,
//!                                     and u32 Checksum if the descriptor says so
//!     -9    4 Number_Of_Frames
//!     -5    1 Seek_Table_Descriptor   bit 7: entries have checksums; bits 2 to 6 are 0
//!     -4    4 Seekable_Magic_Number   0x8f92eab1
//! ```
//!
//! Source: `contrib/seekable_format/zstd_seekable_compression_format.md` of zstd.

use thiserror::Error;

use crate::error::Fault;
use crate::error::Kind;
use crate::field;

/// Bytes of the frame's head.
pub const HEAD_LEN: u64 = 8;

/// Bytes of the footer that ends the file.
pub const FOOTER_LEN: usize = 9;

/// Magic of the skippable frame with the table.
const TABLE_FRAME: u32 = 0x184d_2a5e;

/// Magic that ends the file.
const SEEKABLE: u32 = 0x8f92_eab1;

/// Bits of the descriptor.
const HAS_CHECKSUMS: u8 = 0x80;
const RESERVED: u8 = 0x7c;

/// What is wrong with the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeekTableFault {
    /// The table would begin before the file does.
    #[error("the seek table has {found} bytes, expected a part of the file of {expected}")]
    Len {
        /// Bytes of the table.
        found: u64,
        /// Bytes of the file.
        expected: u64,
    },
    /// It does not begin with the head of its frame.
    #[error("the frame of the seek table has another length")]
    Head,
    /// Reserved bits are set.
    #[error("the seek table's descriptor is {found:#04x}, expected bits 2 to 6 to be 0")]
    Descriptor {
        /// Descriptor found.
        found: u8,
    },
    /// The frames are not what stands before the table.
    #[error(
        "the frames of the seek table add up to {found} bytes, expected the {expected} \
         before it"
    )]
    Sum {
        /// Bytes of all frames.
        found: u64,
        /// Bytes before the table.
        expected: u64,
    },
}

impl Fault for SeekTableFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Descriptor { .. } => Kind::Unsupported,
            _ => Kind::Corrupt,
        }
    }
}

/// What stands at the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Frames before the table.
    pub frame_count: u32,
    /// Bytes of an entry.
    pub entry_len: u64,
}

impl Footer {
    /// Reads a footer; `None` if the file does not end in one.
    ///
    /// # Errors
    ///
    /// `Descriptor`.
    pub fn parse(bytes: &[u8; FOOTER_LEN]) -> Result<Option<Self>, SeekTableFault> {
        if field::u32_le(bytes, 5) != SEEKABLE {
            return Ok(None);
        }
        let descriptor = bytes[4];
        if descriptor & RESERVED != 0 {
            return Err(SeekTableFault::Descriptor { found: descriptor });
        }
        let entry_len = if descriptor & HAS_CHECKSUMS == 0 { 8 } else { 12 };
        Ok(Some(Self { frame_count: field::u32_le(bytes, 0), entry_len }))
    }

    /// Returns the bytes of the whole table, head and footer among them.
    #[must_use]
    pub fn table_len(&self) -> u64 {
        // Cannot overflow: 2^32 times 12.
        let entries = u64::from(self.frame_count).strict_mul(self.entry_len);
        entries.strict_add(HEAD_LEN).strict_add(u64::try_from(FOOTER_LEN).expect("a small number"))
    }

    /// Checks the head of the frame around the table.
    ///
    /// # Errors
    ///
    /// `Head`.
    pub fn check_head(&self, bytes: &[u8; 8]) -> Result<(), SeekTableFault> {
        let behind = self.table_len().strict_sub(HEAD_LEN);
        let fits = u64::from(field::u32_le(bytes, 4)) == behind;
        if field::u32_le(bytes, 0) == TABLE_FRAME && fits {
            Ok(())
        } else {
            Err(SeekTableFault::Head)
        }
    }
}

/// A frame: its bytes in the file, and those of the volume in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes in the file.
    pub packed_len: u32,
    /// Bytes of the volume.
    pub plain_len: u32,
}

impl Frame {
    /// Reads an entry.
    #[must_use]
    pub fn parse(entry: &[u8]) -> Self {
        Self { packed_len: field::u32_le(entry, 0), plain_len: field::u32_le(entry, 4) }
    }
}

/// Writes a table.
///
/// # Panics
///
/// If it is over 4 GiB: the caller bounds the frames.
#[must_use]
pub fn encode(frames: &[Frame]) -> Vec<u8> {
    let footer =
        Footer { frame_count: u32::try_from(frames.len()).expect("the caller's"), entry_len: 8 };
    let behind = footer.table_len().strict_sub(HEAD_LEN);
    let mut bytes = TABLE_FRAME.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(behind).expect("the caller's").to_le_bytes());
    for frame in frames {
        bytes.extend(frame.packed_len.to_le_bytes());
        bytes.extend(frame.plain_len.to_le_bytes());
    }
    bytes.extend(footer.frame_count.to_le_bytes());
    bytes.push(0);
    bytes.extend(SEEKABLE.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [Frame; 2] =
        [Frame { packed_len: 0x11, plain_len: 0x1000 }, Frame { packed_len: 0x12, plain_len: 5 }];

    /// The worked example of `docs/formats/compressed-raw.md`.
    const TABLE: [u8; 33] = [
        0x5e, 0x2a, 0x4d, 0x18, 0x19, 0, 0, 0, 0x11, 0, 0, 0, 0, 0x10, 0, 0, 0x12, 0, 0, 0, 5, 0,
        0, 0, 2, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f,
    ];

    #[test]
    fn a_table_is_what_the_document_says() {
        assert_eq!(encode(&FRAMES), TABLE);
        let footer = Footer::parse(&field::array(&TABLE, 24)).unwrap().unwrap();
        assert_eq!(footer, Footer { frame_count: 2, entry_len: 8 });
        assert_eq!(footer.table_len(), 33);
        assert_eq!(footer.check_head(&field::array(&TABLE, 0)), Ok(()));
        assert_eq!(Frame::parse(&TABLE[8..]), FRAMES[0]);
        assert_eq!(Frame::parse(&TABLE[16..]), FRAMES[1]);
    }

    #[test]
    fn each_check_trips() {
        let footer = |at: usize, byte| {
            let mut bytes: [u8; FOOTER_LEN] = field::array(&TABLE, 24);
            bytes[at] = byte;
            Footer::parse(&bytes)
        };
        assert_eq!(footer(8, 0), Ok(None));
        assert_eq!(footer(4, 4), Err(SeekTableFault::Descriptor { found: 4 }));
        assert_eq!(footer(4, 0x83).unwrap().unwrap().entry_len, 12);
        let sound = footer(4, 0).unwrap().unwrap();
        for (at, byte) in [(0, 0x5d), (4, 0x18)] {
            let mut head: [u8; 8] = field::array(&TABLE, 0);
            head[at] = byte;
            assert_eq!(sound.check_head(&head), Err(SeekTableFault::Head));
        }
    }
}
