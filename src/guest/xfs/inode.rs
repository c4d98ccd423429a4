//! Bytes of inodes. Pure.
//!
//! ```text
//! offset size field (big-endian)
//!      0    2 di_magic IN          2 2 di_mode        4 1 di_version: 1 to 3   5 1 di_format
//!      6    2 di_onlink            8 4 di_uid        12 4 di_gid              16 4 di_nlink
//!     24    8 di_big_nextents     32 8 di_atime      40 8 di_mtime            48 8 di_ctime
//!     56    8 di_size             64 8 di_nblocks    76 4 di_nextents, or di_big_anextents
//!     80    2 di_anextents        82 1 di_forkoff    83 1 di_aformat          90 2 di_flags
//!     92    4 di_gen              96 4 di_next_unlinked
//!    100    4 di_crc (version 3, little-endian)     112 8 di_lsn             120 8 di_flags2
//!    144    8 di_crtime          152 8 di_ino       160 16 di_uuid
//! Behind them the data fork, and from 8 * di_forkoff on the attribute fork.
//! an extent: 128 bits: 1 unwritten, 54 block of the file, 52 block, 21 how many
//! ```

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::file::FileKind;
use crate::guest::file::Node;
use crate::guest::file::Time;
use crate::guest::owner::FileId;
use crate::guest::xfs::layout::Superblock;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::layout::sum_is_right;

pub(super) const INODE_MAGIC: &[u8; 2] = b"IN";

const FLAG_REALTIME: u16 = 0x1;
const FLAG2_REFLINK: u64 = 0x2;
const FLAG2_BIGTIME: u64 = 0x8;
const FLAG2_WIDE_COUNTS: u64 = 0x10;

/// Seconds before 1970 at which wide times start.
const WIDE_EPOCH: i64 = 1 << 31;

/// How a fork is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Device,
    Local,
    Extents,
    Tree,
}

impl Format {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Device,
            1 => Self::Local,
            2 => Self::Extents,
            3 => Self::Tree,
            _ => return None,
        })
    }
}

/// Which fork of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fork {
    Data,
    Attributes,
}

/// An inode, with all of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) mode: u16,
    pub(super) size: u64,
    data: (Format, u64),
    attributes: (Format, u64),
    flags: u16,
    flags2: u64,
    /// Where the data fork starts, and where the attribute fork does.
    forks: (usize, usize),
    bytes: Vec<u8>,
}

impl Inode {
    /// Reads an inode that is in use, and compares its checksum if that is wanted.
    pub(super) fn parse(
        bytes: &[u8],
        number: u64,
        sb: &Superblock,
        check_sum: bool,
    ) -> Result<Self, Failure> {
        let version = bytes[4];
        let is_right = &bytes[..2] == INODE_MAGIC
            && field::u16_be(bytes, 2) != 0
            && if sb.is_v5 { version == 3 } else { matches!(version, 1 | 2) };
        if !is_right {
            return Err(damaged("an inode is impossible"));
        }
        if sb.is_v5 {
            if field::u64_be(bytes, 152) != number || bytes[160..176] != sb.meta_uuid {
                return Err(damaged("an inode stands at a wrong place"));
            }
            if check_sum && !sum_is_right(bytes, 100) {
                return Err(damaged("the checksum of an inode is wrong"));
            }
        }
        let flags2 = if sb.is_v5 { field::u64_be(bytes, 120) } else { 0 };
        let wide = flags2 & FLAG2_WIDE_COUNTS != 0;
        let extents = if wide { field::u64_be(bytes, 24) } else { field::u32_be(bytes, 76).into() };
        let attribute_extents =
            if wide { field::u32_be(bytes, 76).into() } else { field::u16_be(bytes, 80).into() };
        let start = core_len(version);
        let fork_offset = usize::from(bytes[82]).strict_mul(8);
        let end = match fork_offset {
            0 => bytes.len(),
            len => start.strict_add(len),
        };
        let (Some(data), Some(attributes)) = (Format::parse(bytes[5]), Format::parse(bytes[83]))
        else {
            return Err(damaged("an inode has a fork of a kind that is not known"));
        };
        let size = field::u64_be(bytes, 56);
        if end > bytes.len() || size > i64::MAX.unsigned_abs() {
            return Err(damaged("the size or the forks of an inode are impossible"));
        }
        Ok(Self {
            number,
            mode: field::u16_be(bytes, 2),
            size,
            data: (data, extents),
            attributes: (attributes, attribute_extents),
            flags: field::u16_be(bytes, 90),
            flags2,
            forks: (start, end),
            bytes: bytes.to_vec(),
        })
    }

    pub(super) fn id(&self) -> FileId {
        FileId(self.number)
    }

    /// Returns the bytes of a fork; none for attributes where there is no such fork.
    pub(super) fn fork(&self, fork: Fork) -> &[u8] {
        match fork {
            Fork::Data => &self.bytes[self.forks.0..self.forks.1],
            Fork::Attributes => &self.bytes[self.forks.1..],
        }
    }

    /// Returns how a fork is kept, and how many extents it has.
    pub(super) fn format(&self, fork: Fork) -> (Format, u64) {
        match fork {
            Fork::Data => self.data,
            Fork::Attributes if self.fork(fork).is_empty() => (Format::Local, 0),
            Fork::Attributes => self.attributes,
        }
    }

    pub(super) fn is_realtime(&self) -> bool {
        self.flags & FLAG_REALTIME != 0
    }

    /// Tells whether the file may share blocks with others.
    pub(super) fn may_share(&self) -> bool {
        self.flags2 & FLAG2_REFLINK != 0
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    pub(super) fn kind(&self) -> Option<FileKind> {
        FileKind::of_mode(self.mode.into(), self.device())
    }

    fn device(&self) -> (u32, u32) {
        let fork = self.fork(Fork::Data);
        if self.data.0 != Format::Device || fork.len() < 4 {
            return (0, 0);
        }
        let number = field::u32_be(fork, 0);
        (number >> 18, number & 0x3_ffff)
    }

    fn time(&self, at: usize) -> Time {
        if self.flags2 & FLAG2_BIGTIME != 0 {
            let wide = field::u64_be(&self.bytes, at);
            let seconds = i64::try_from(wide / 1_000_000_000).expect("below 2^35");
            let nanoseconds = u32::try_from(wide % 1_000_000_000).expect("below 2^30");
            return Time { seconds: seconds.strict_sub(WIDE_EPOCH), nanoseconds };
        }
        let seconds = i32::from_be_bytes(field::array(&self.bytes, at));
        let nanoseconds = field::u32_be(&self.bytes, at.strict_add(4)).min(999_999_999);
        Time { seconds: seconds.into(), nanoseconds }
    }

    /// Returns the attributes of the file.
    pub(super) fn node(&self) -> Result<Node, Failure> {
        let Some(kind) = self.kind() else {
            return Err(damaged("its mode names no kind of file"));
        };
        let u32_at = |at| field::u32_be(&self.bytes, at);
        let version = self.bytes[4];
        let links = match version {
            1 => field::u16_be(&self.bytes, 6).into(),
            _ => u32_at(16),
        };
        Ok(Node {
            id: self.id(),
            kind,
            mode: u32::from(self.mode & 0o7777),
            uid: u32_at(8),
            gid: u32_at(12),
            links: links.into(),
            size: self.size,
            modified: self.time(40),
            accessed: Some(self.time(32)),
            changed: Some(self.time(48)),
            created: (version == 3).then(|| self.time(144)),
            encrypted: false,
        })
    }
}

/// Bytes in front of the data fork.
pub(super) fn core_len(version: u8) -> usize {
    if version == 3 { 176 } else { 100 }
}

/// An extent of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) logical: u64,
    pub(super) block: u64,
    pub(super) count: u64,
    pub(super) unwritten: bool,
}

impl Extent {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let (high, low) = (field::u64_be(bytes, 0), field::u64_be(bytes, 8));
        Self {
            logical: high >> 9 & 0x3f_ffff_ffff_ffff,
            block: (high & 0x1ff) << 43 | low >> 21,
            count: low & 0x1f_ffff,
            unwritten: high >> 63 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_has_128_bits() {
        let extent = Extent {
            logical: 0x2a_aaaa_5555_1234,
            block: 0xf_1234_5678_9abc,
            count: 0x15_5555,
            unwritten: true,
        };
        let high = 1 << 63 | extent.logical << 9 | extent.block >> 43;
        let low = extent.block << 21 | extent.count;
        let mut bytes = [0; 16];
        field::put_u64_be(&mut bytes, 0, high);
        field::put_u64_be(&mut bytes, 8, low);
        assert_eq!(Extent::parse(&bytes), extent);
    }

    #[test]
    fn times_are_narrow_or_wide() {
        let time = |flags2, bytes: [u8; 8]| {
            let mut raw = vec![0; 512];
            raw[40..48].copy_from_slice(&bytes);
            Inode {
                number: 1,
                mode: 0,
                size: 0,
                data: (Format::Local, 0),
                attributes: (Format::Local, 0),
                flags: 0,
                flags2,
                forks: (176, 512),
                bytes: raw,
            }
            .time(40)
        };
        let of = |seconds, nanoseconds| Time { seconds, nanoseconds };
        assert_eq!(time(0, *b"\xff\xff\xff\xfe\0\0\0\x07"), of(-2, 7));
        assert_eq!(time(8, [0; 8]), of(-(1 << 31), 0));
        assert_eq!(time(8, (3_000_000_001_u64).to_be_bytes()), of(3 - (1 << 31), 1));
    }
}
