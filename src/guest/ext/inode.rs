//! Bytes of inodes. Pure.
//!
//! ```text
//! offset size field (little-endian)            offset size field
//!      0    2 i_mode                             0x68    4 i_file_acl_lo
//!      2    2 i_uid, 0x78 2 its high half        0x6c    4 i_size_high
//!      4    4 i_size_lo                          0x76    2 i_file_acl_high
//!      8   12 i_atime, i_ctime, i_mtime          0x7c    2 i_checksum_lo
//!   0x14    4 i_dtime                            0x80    2 i_extra_isize
//!   0x18    2 i_gid, 0x7a 2 its high half        0x82    2 i_checksum_hi
//!   0x1a    2 i_links_count                      0x84   12 ctime, mtime, atime: extra bits
//!   0x1c    4 i_blocks_lo                        0x90    8 i_crtime, its extra bits
//!   0x20    4 i_flags
//!   0x28   60 i_block                            0x64    4 i_generation
//! ```

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::ext::layout::Superblock;
use crate::guest::failure::Failure;
use crate::guest::failure::Problem;
use crate::guest::file::FileKind;
use crate::guest::file::Node;
use crate::guest::file::Time;
use crate::guest::owner::FileId;

const FLAG_ENCRYPT: u32 = 0x800;
const FLAG_INDEX: u32 = 0x1000;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_EA_INODE: u32 = 0x20_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;

/// An inode, with all of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) mode: u16,
    pub(super) size: u64,
    pub(super) links: u16,
    pub(super) blocks: u32,
    pub(super) flags: u32,
    pub(super) next_orphan: u64,
    pub(super) attribute_block: u64,
    /// What the checksums of its blocks begin with.
    pub(super) seed: u32,
    bytes: Vec<u8>,
}

/// Tells at a glance whether an inode was never used or is deleted.
pub(super) fn is_unused(bytes: &[u8]) -> bool {
    field::u16_le(bytes, 0x1a) == 0 && field::u32_le(bytes, 0x1c) == 0
}

impl Inode {
    /// Reads an inode and compares its checksum, where the file system has them.
    pub(super) fn parse(bytes: &[u8], number: u64, sb: &Superblock) -> Result<Self, Failure> {
        let u16_at = |at| field::u16_le(bytes, at);
        let u32_at = |at| field::u32_le(bytes, at);
        let inode = u32::try_from(number).unwrap_or(u32::MAX);
        let seed = crc32c_register(sb.seed, &inode.to_le_bytes());
        let seed = crc32c_register(seed, &bytes[0x64..0x68]);
        let size = u64::from(u32_at(4)) | u64::from(u32_at(0x6c)) << 32;
        let acl = u64::from(u32_at(0x68)) | u64::from(u16_at(0x76)) << 32;
        let parsed = Self {
            number,
            mode: u16_at(0),
            size,
            links: u16_at(0x1a),
            blocks: u32_at(0x1c),
            flags: u32_at(0x20),
            next_orphan: u64::from(u32_at(0x14)),
            attribute_block: acl,
            seed,
            bytes: bytes.to_vec(),
        };
        if parsed.bytes.len() > 128 {
            let extra = usize::from(u16_at(0x80));
            let is_sane = extra.is_multiple_of(4) && extra.strict_add(128) <= bytes.len();
            if !is_sane {
                return Err(Problem::Damaged.text("i_extra_isize is impossible"));
            }
        }
        if sb.has_sums() && !parsed.sum_is_right() {
            return Err(Problem::Damaged.text("the checksum of an inode is wrong"));
        }
        Ok(parsed)
    }

    fn sum_is_right(&self) -> bool {
        let bytes = &self.bytes;
        let has_high = self.extra_len() >= 4;
        let mut sum = crc32c_register(self.seed, &bytes[..0x7c]);
        sum = crc32c_register(sum, &[0; 2]);
        if bytes.len() == 128 {
            sum = crc32c_register(sum, &bytes[0x7e..128]);
        } else {
            sum = crc32c_register(sum, &bytes[0x7e..0x82]);
            sum = crc32c_register(sum, if has_high { &[0; 2] } else { &bytes[0x82..0x84] });
            sum = crc32c_register(sum, &bytes[0x84..]);
        }
        let high = if has_high { u32::from(field::u16_le(bytes, 0x82)) } else { 0 };
        let stored = u32::from(field::u16_le(bytes, 0x7c)) | high << 16;
        if has_high { sum == stored } else { sum & 0xffff == stored }
    }

    fn extra_len(&self) -> usize {
        if self.bytes.len() > 128 { usize::from(field::u16_le(&self.bytes, 0x80)) } else { 0 }
    }

    /// Returns the 60 bytes that hold block numbers, extents, a device, or data.
    pub(super) fn block_field(&self) -> &[u8] {
        &self.bytes[0x28..0x64]
    }

    /// Returns the room for attributes behind the fields.
    pub(super) fn attribute_room(&self) -> &[u8] {
        if self.bytes.len() == 128 {
            return &[];
        }
        &self.bytes[self.extra_len().strict_add(128)..]
    }

    pub(super) fn id(&self) -> FileId {
        FileId(self.number)
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags & FLAG_EXTENTS != 0
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.flags & FLAG_INDEX != 0
    }

    pub(super) fn holds_attribute(&self) -> bool {
        self.flags & FLAG_EA_INODE != 0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPT != 0
    }

    pub(super) fn has_inline_data(&self) -> bool {
        self.flags & FLAG_INLINE_DATA != 0
    }

    pub(super) fn kind(&self) -> Option<FileKind> {
        FileKind::of_mode(self.mode.into(), self.device())
    }

    /// Tells whether the target of a symbolic link stands where block numbers would be.
    pub(super) fn is_fast_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
            && self.size < 60
            && !self.has_extents()
            && !self.has_inline_data()
    }

    /// Tells whether blocks can be mapped: devices, pipes and sockets have none.
    pub(super) fn has_blocks(&self) -> bool {
        let by_kind = matches!(self.mode & 0o170_000, 0o100_000 | 0o040_000 | 0o120_000 | 0);
        by_kind && !self.has_inline_data() && !self.is_fast_link()
    }

    fn device(&self) -> (u32, u32) {
        let old = field::u32_le(self.block_field(), 0);
        let new = field::u32_le(self.block_field(), 4);
        if old != 0 {
            return (old >> 8 & 0xff, old & 0xff);
        }
        (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
    }

    /// Reads a time: signed seconds, with two bits above them and nanoseconds in the extra field.
    fn time(&self, at: usize, extra_at: usize) -> Time {
        let low = i32::from_le_bytes(field::array(&self.bytes, at));
        let has_extra = self.extra_len().strict_add(128) >= extra_at.strict_add(4);
        let extra = if has_extra { field::u32_le(&self.bytes, extra_at) } else { 0 };
        let seconds = i64::from(low).strict_add(i64::from(extra & 3) << 32);
        Time { seconds, nanoseconds: (extra >> 2).min(999_999_999) }
    }

    /// Returns the attributes of the file.
    pub(super) fn node(&self) -> Result<Node, Failure> {
        let Some(kind) = self.kind() else {
            return Err(Problem::Damaged.text("its mode names no kind of file"));
        };
        let half = |low, high| {
            u32::from(field::u16_le(&self.bytes, low))
                | u32::from(field::u16_le(&self.bytes, high)) << 16
        };
        // Its time may be there, and the part below a second not.
        let has_created = self.extra_len() >= 20;
        Ok(Node {
            id: self.id(),
            kind,
            mode: u32::from(self.mode & 0o7777),
            uid: half(2, 0x78),
            gid: half(0x18, 0x7a),
            links: self.links.into(),
            size: self.size,
            modified: self.time(0x10, 0x88),
            accessed: Some(self.time(8, 0x8c)),
            changed: Some(self.time(0x0c, 0x84)),
            created: has_created.then(|| self.time(0x90, 0x94)),
            encrypted: self.is_encrypted(),
        })
    }
}
