//! The item that says where bytes of a file lie. Pure.
//!
//! ```text
//!  0 8 generation   8 8 bytes when they are unpacked   16 1 how they are packed   17 1 encrypted   18 2 encoded
//! 20 1 kind: 0 the bytes follow, 1 an extent, 2 one that was never written
//! 21 8 its place   29 8 its bytes   37 8 where the file's bytes start in it   45 8 bytes of the file
//! ```

use crate::field;
use crate::guest::btrfs::layout::damaged;
use crate::guest::btrfs::layout::unsupported;
use crate::guest::failure::Outcome;

/// Kind of the item.
pub(super) const EXTENT_DATA: u8 = 108;

/// Bytes of the item in front of bytes that follow, and of one that names an extent.
const HEAD_LEN: usize = 21;
const LEN: usize = 53;

/// Most bytes that are packed together.
pub(super) const MAX_PACKED_LEN: u64 = 128 << 10;

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Zlib,
    Lzo,
    Zstd,
}

/// Bytes of a file that lie together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent<'a> {
    pub(super) packing: Packing,
    /// Bytes when they are unpacked.
    pub(super) plain_len: u64,
    pub(super) stored: Stored<'a>,
}

/// Where they are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// Here.
    Here(&'a [u8]),
    /// Nowhere: they are zeros.
    Hole,
    /// In an extent.
    At {
        place: u64,
        len: u64,
        /// Where the file's bytes start in the extent, unpacked.
        skip: u64,
        /// Bytes of the file.
        count: u64,
        /// Whether it was written.
        written: bool,
    },
}

impl<'a> Extent<'a> {
    pub(super) fn parse(item: &'a [u8]) -> Outcome<Self> {
        if item.len() < HEAD_LEN {
            return Err(damaged("the item of an extent is too short"));
        }
        let packing = match item[16] {
            0 => Packing::None,
            1 => Packing::Zlib,
            2 => Packing::Lzo,
            3 => Packing::Zstd,
            _ => return Err(unsupported("it is compressed in a way that is not known")),
        };
        if item[17] != 0 || field::u16_le(item, 18) != 0 {
            return Err(unsupported("it is encoded in a way that is not known"));
        }
        let plain_len = field::u64_le(item, 8);
        if packing != Packing::None && plain_len > MAX_PACKED_LEN {
            return Err(damaged("over 128 KiB are packed together"));
        }
        if item[20] == 0 {
            return Ok(Self { packing, plain_len, stored: Stored::Here(&item[HEAD_LEN..]) });
        }
        if item[20] > 2 || item.len() < LEN {
            return Err(damaged("the item of an extent is impossible"));
        }
        let field = |at| field::u64_le(item, at);
        let (place, len, skip, count) = (field(21), field(29), field(37), field(45));
        if place == 0 {
            return Ok(Self { packing: Packing::None, plain_len, stored: Stored::Hole });
        }
        let whole = if packing == Packing::None { len } else { plain_len };
        let inside = skip.checked_add(count).is_some_and(|end| end <= whole);
        let too_long = packing != Packing::None && len > MAX_PACKED_LEN;
        if !inside || len == 0 || too_long {
            return Err(damaged("the item of an extent is impossible"));
        }
        let stored = Stored::At { place, len, skip, count, written: item[20] == 1 };
        Ok(Self { packing, plain_len, stored })
    }
}
