//! Bytes of XFS: the superblock, and the headers of allocation groups. Pure.
//!
//! ```text
//! offset size field of the superblock (sector 0 of each group, big-endian)
//!      0    4 sb_magicnum XFSB        4 4 sb_blocksize      8 8 sb_dblocks       16 8 sb_rblocks
//!     24    8 sb_rextents            32 16 sb_uuid         48 8 sb_logstart      56 8 sb_rootino
//!     64    8 sb_rbmino              72 8 sb_rsumino       84 4 sb_agblocks      88 4 sb_agcount
//!     96    4 sb_logblocks          100 2 sb_versionnum   102 2 sb_sectsize     104 2 sb_inodesize
//!    106    2 sb_inopblock          108 12 sb_fname       120 1 sb_blocklog     121 1 sb_sectlog
//!    122    1 sb_inodelog           123 1 sb_inopblog     124 1 sb_agblklog     126 1 sb_inprogress
//!    144    8 sb_fdblocks           160 8 sb_uquotino     168 8 sb_gquotino     192 1 sb_dirblklog
//!    196    4 sb_logsunit           200 4 sb_features2    208 4 sb_features_compat
//!    212    4 sb_features_ro_compat 216 4 sb_features_incompat  220 4 sb_features_log_incompat
//!    224    4 sb_crc (little-endian)                      232 8 sb_pquotino     248 16 sb_meta_uuid
//! AGF (sector 1): 0 4 XAGF, 8 4 seqno, 12 4 length, 16 12 roots (by block, by count, reverse map),
//!   28 12 their levels, 40 4 flfirst, 44 4 fllast, 48 4 flcount, 52 4 freeblks, 64 16 uuid,
//!   88 4 refcount root, 92 4 its levels, 216 4 crc
//! AGI (sector 2): 0 4 XAGI, 8 4 seqno, 12 4 length, 20 4 root, 24 4 level, 40 256 unlinked,
//!   296 16 uuid, 312 4 crc, 328 4 root of free inodes, 332 4 its level
//! AGFL (sector 3): block numbers of 4 bytes; in version 5 behind 36 bytes { XAFL, seqno, uuid, lsn, crc }
//! ```

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Problem;

pub(super) const MAGIC: &[u8; 4] = b"XFSB";

/// Bytes of the superblock's fields.
pub(super) const SUPERBLOCK_LEN: usize = 512;

/// No block, no inode.
pub(super) const NULL: u32 = u32::MAX;

const RO_FINOBT: u32 = 0x1;
const RO_RMAPBT: u32 = 0x2;
const RO_REFLINK: u32 = 0x4;
/// The three above, and the counts of blocks of inode trees.
const KNOWN_RO_COMPAT: u32 = 0xf;

const INCOMPAT_FTYPE: u32 = 0x1;
const INCOMPAT_SPARSE_INODES: u32 = 0x2;
const INCOMPAT_META_UUID: u32 = 0x4;
const INCOMPAT_NEEDS_REPAIR: u32 = 0x10;
/// The four above, times of 64 bits, wide counts of extents, exchanged ranges, pointers to parents.
const KNOWN_INCOMPAT: u32 = 0xff;

/// `sb_versionnum`: directories of version 2; shared by several systems, which Linux never had; the second
/// word of features counts.
const VERSION_DIRV2: u16 = 0x2000;
const VERSION_SHARED: u16 = 0x200;
const VERSION_MORE: u16 = 0x8000;
/// `sb_features2`: names of directories have types.
const FEATURE2_FTYPE: u32 = 0x200;
/// Lazy counters, attributes of version 2, projects of 32 bits, checksums, types in directories.
const KNOWN_FEATURES2: u32 = 0x2 | 0x8 | 0x80 | 0x100 | 0x200;

/// Fewest blocks of an allocation group.
const MIN_GROUP_BLOCKS: u64 = 64;

/// The superblock, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Whether metadata has checksums and says where and whose it is.
    pub(super) is_v5: bool,
    pub(super) block_len: u64,
    pub(super) blocks: u64,
    pub(super) uuid: [u8; 16],
    /// What metadata is stamped with.
    pub(super) meta_uuid: [u8; 16],
    pub(super) log_start: u64,
    pub(super) log_blocks: u64,
    pub(super) root: u64,
    pub(super) realtime_inodes: [u64; 2],
    pub(super) quota_inodes: [u64; 3],
    pub(super) group_blocks: u64,
    pub(super) groups: u64,
    /// Bits of a block number below the group's number.
    pub(super) group_log: u32,
    pub(super) sector_len: u64,
    pub(super) inode_len: u64,
    /// Bits of an inode number below the block's number.
    pub(super) inodes_log: u32,
    pub(super) label: [u8; 12],
    pub(super) free_blocks: u64,
    pub(super) dir_block_len: u64,
    compat: u32,
    ro_compat: u32,
    incompat: u32,
    features2: u32,
}

pub(super) fn damaged(text: &'static str) -> Failure {
    Problem::Damaged.text(text)
}

/// Compares a checksum that stands at `at` in what it sums.
pub(super) fn sum_is_right(bytes: &[u8], at: usize) -> bool {
    let mut sum = crc32c_register(u32::MAX, &bytes[..at]);
    sum = crc32c_register(sum, &[0; 4]);
    sum = crc32c_register(sum, &bytes[at.strict_add(4)..]);
    !sum == field::u32_le(bytes, at)
}

impl Superblock {
    /// Reads and checks it, for a slice of `len` bytes.
    #[allow(clippy::too_many_lines, reason = "one check after another, in the order of the fields")]
    pub(super) fn parse(bytes: &[u8], len: u64) -> Result<Self, Failure> {
        let u32_at = |at| u64::from(field::u32_be(bytes, at));
        let u64_at = |at| field::u64_be(bytes, at);
        if &bytes[..4] != MAGIC {
            return Err(damaged("sb_magicnum is not XFSB"));
        }
        let version = field::u16_be(bytes, 100);
        let is_v5 = match version & 0xf {
            4 => false,
            5 => true,
            _ => return Err(Problem::Unsupported.text("its version is neither 4 nor 5")),
        };
        let feature = |at| if is_v5 { field::u32_be(bytes, at) } else { 0 };
        let (compat, ro_compat, incompat) = (feature(208), feature(212), feature(216));
        let has_more = version & VERSION_MORE != 0;
        let features2 = if has_more { field::u32_be(bytes, 200) } else { 0 };
        let is_shared = version & VERSION_SHARED != 0;
        if incompat & !KNOWN_INCOMPAT != 0 || features2 & !KNOWN_FEATURES2 != 0 || is_shared {
            return Err(
                Problem::Unsupported.text("it has incompatible features that are not known")
            );
        }
        if version & VERSION_DIRV2 == 0 {
            return Err(Problem::Unsupported.text("its directories are of version 1"));
        }
        if u64_at(16) != 0 || u64_at(24) != 0 {
            return Err(Problem::Unsupported.text("it has a realtime device"));
        }
        if u64_at(48) == 0 {
            return Err(Problem::Unsupported.text("its log is on another device"));
        }
        if bytes[126] != 0 {
            return Err(damaged("sb_inprogress is set: it was never finished"));
        }
        let power = |len: u64, at: usize, least: u32, most: u32| {
            let log = u32::from(bytes[at]);
            let fits = (least..=most).contains(&log) && Some(len) == 1_u64.checked_shl(log);
            fits.then_some(log)
        };
        let block_len = u32_at(4);
        let Some(block_log) = power(block_len, 120, 9, 16) else {
            return Err(damaged("sb_blocksize is impossible"));
        };
        let sector_len = u64::from(field::u16_be(bytes, 102));
        if power(sector_len, 121, 9, block_log.min(15)).is_none() {
            return Err(damaged("sb_sectsize is impossible"));
        }
        let inode_len = u64::from(field::u16_be(bytes, 104));
        let least = if is_v5 { 9 } else { 8 };
        let inodes_log = u32::from(bytes[123]);
        let len_log = power(inode_len, 122, least, block_log.strict_sub(1).min(11));
        if len_log.is_none_or(|log| Some(inodes_log) != block_log.checked_sub(log)) {
            return Err(damaged("sb_inodesize is impossible"));
        }
        let (blocks, group_blocks, groups) = (u64_at(8), u32_at(84), u32_at(88));
        if blocks.checked_mul(block_len).is_none_or(|size| size > len) {
            return Err(damaged("it is larger than its partition"));
        }
        let group_log = u32::from(bytes[124]);
        let has_log = group_log <= 31
            && group_blocks >= MIN_GROUP_BLOCKS
            && group_blocks.next_power_of_two() == 1 << group_log;
        if !has_log || groups == 0 || blocks.div_ceil(group_blocks) != groups {
            return Err(damaged("sb_agblocks or sb_agcount is impossible"));
        }
        let dir_log = u32::from(bytes[192]);
        if block_log.strict_add(dir_log) > 16 {
            return Err(damaged("sb_dirblklog is impossible"));
        }
        let uuid = field::array(bytes, 32);
        let has_meta_uuid = incompat & INCOMPAT_META_UUID != 0;
        let parsed = Self {
            is_v5,
            block_len,
            blocks,
            uuid,
            meta_uuid: if has_meta_uuid { field::array(bytes, 248) } else { uuid },
            log_start: u64_at(48),
            log_blocks: u32_at(96),
            root: u64_at(56),
            realtime_inodes: [u64_at(64), u64_at(72)],
            quota_inodes: [u64_at(160), u64_at(168), if is_v5 { u64_at(232) } else { 0 }],
            group_blocks,
            groups,
            group_log,
            sector_len,
            inode_len,
            inodes_log,
            label: field::array(bytes, 108),
            free_blocks: u64_at(144),
            dir_block_len: block_len << dir_log,
            compat,
            ro_compat,
            incompat,
            features2,
        };
        if parsed.log_blocks == 0 || parsed.span(parsed.log_start, parsed.log_blocks).is_none() {
            return Err(damaged("sb_logstart or sb_logblocks is impossible"));
        }
        Ok(parsed)
    }

    /// Tells whether names in directories have types.
    pub(super) fn has_types(&self) -> bool {
        self.incompat & INCOMPAT_FTYPE != 0 || self.features2 & FEATURE2_FTYPE != 0
    }

    pub(super) fn has_sparse_inodes(&self) -> bool {
        self.incompat & INCOMPAT_SPARSE_INODES != 0
    }

    pub(super) fn has_free_inode_tree(&self) -> bool {
        self.ro_compat & RO_FINOBT != 0
    }

    pub(super) fn has_reverse_map(&self) -> bool {
        self.ro_compat & RO_RMAPBT != 0
    }

    pub(super) fn has_refcounts(&self) -> bool {
        self.ro_compat & RO_REFLINK != 0
    }

    /// Tells whether it says that it is damaged.
    pub(super) fn needs_repair(&self) -> bool {
        self.incompat & INCOMPAT_NEEDS_REPAIR != 0
    }

    /// Returns features that may change who owns blocks: set, and bits.
    pub(super) fn unknown_features(&self) -> Option<(&'static str, u32)> {
        let ro_compat = self.ro_compat & !KNOWN_RO_COMPAT;
        if self.compat != 0 {
            return Some(("compatible", self.compat));
        }
        (ro_compat != 0).then_some(("read-only compatible", ro_compat))
    }

    /// Returns how many blocks a group has; the last one may be short.
    pub(super) fn group_len(&self, group: u64) -> u64 {
        // `groups` was made of the two others.
        self.blocks.strict_sub(group.strict_mul(self.group_blocks)).min(self.group_blocks)
    }

    /// Returns the bytes of `count` blocks from block `start` of a group on; `None` if they are not in it.
    pub(super) fn group_span(
        &self,
        group: u64,
        start: u64,
        count: u64,
    ) -> Option<std::ops::Range<u64>> {
        if group >= self.groups || start.checked_add(count)? > self.group_len(group) {
            return None;
        }
        let first = group.strict_mul(self.group_blocks).strict_add(start);
        let bytes = first.strict_mul(self.block_len);
        Some(bytes..bytes.strict_add(count.strict_mul(self.block_len)))
    }

    /// Returns the bytes of `count` blocks from one on, whose number names the group too.
    pub(super) fn span(&self, block: u64, count: u64) -> Option<std::ops::Range<u64>> {
        let low = block & (1_u64 << self.group_log).strict_sub(1);
        self.group_span(block >> self.group_log, low, count)
    }

    /// Returns where an inode is; `None` if no group has a place of that number.
    pub(super) fn inode_offset(&self, number: u64) -> Option<u64> {
        let mask = (1_u64 << self.inodes_log).strict_sub(1);
        let block = self.span(number >> self.inodes_log, 1)?;
        Some(block.start.strict_add((number & mask).strict_mul(self.inode_len)))
    }

    /// Returns the number of the `index`th inode of a group.
    pub(super) fn inode_number(&self, group: u64, index: u64) -> u64 {
        group << self.group_log.strict_add(self.inodes_log) | index
    }

    /// Returns the first number behind the inodes of a group.
    pub(super) fn inodes_of_group(&self, group: u64) -> u64 {
        self.group_len(group) << self.inodes_log
    }
}

/// What a group's header says of its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FreeSpace {
    pub(super) by_block: (u32, u32),
    pub(super) by_count: (u32, u32),
    pub(super) reverse_map: (u32, u32),
    pub(super) refcounts: (u32, u32),
    pub(super) list_first: u32,
    pub(super) list_count: u32,
    pub(super) free_blocks: u32,
}

/// What a group's header says of its inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeSpace {
    pub(super) tree: (u32, u32),
    pub(super) free_tree: (u32, u32),
    /// Whether files were deleted while they were open, and are there still.
    pub(super) has_unlinked: bool,
}

/// Checks what the headers of a group have in common.
fn check_group(bytes: &[u8], magic: [u8; 4], group: u64, sb: &Superblock, uuid_at: usize) -> bool {
    bytes[..4] == magic
        && field::u32_be(bytes, 4) == 1
        && u64::from(field::u32_be(bytes, 8)) == group
        && u64::from(field::u32_be(bytes, 12)) == sb.group_len(group)
        && (!sb.is_v5 || bytes[uuid_at..][..16] == sb.meta_uuid)
}

impl FreeSpace {
    /// Reads the AGF of a group, without its checksum.
    pub(super) fn parse(bytes: &[u8], group: u64, sb: &Superblock) -> Result<Self, Failure> {
        let u32_at = |at| field::u32_be(bytes, at);
        if !check_group(bytes, *b"XAGF", group, sb, 64) {
            return Err(damaged("the AGF of a group is impossible"));
        }
        let space = Self {
            by_block: (u32_at(16), u32_at(28)),
            by_count: (u32_at(20), u32_at(32)),
            reverse_map: (u32_at(24), u32_at(36)),
            refcounts: (u32_at(88), u32_at(92)),
            list_first: u32_at(40),
            list_count: u32_at(48),
            free_blocks: u32_at(52),
        };
        let len = list_len(sb);
        let last = u64::from(u32_at(44));
        let (first, count) = (u64::from(space.list_first), u64::from(space.list_count));
        let expected = match count {
            0 => last,
            count => first.strict_add(count).strict_sub(1).strict_rem(len),
        };
        if first >= len || last >= len || count > len || last != expected {
            return Err(damaged("the list of free blocks in an AGF is impossible"));
        }
        Ok(space)
    }
}

impl InodeSpace {
    /// Reads the AGI of a group, without its checksum.
    pub(super) fn parse(bytes: &[u8], group: u64, sb: &Superblock) -> Result<Self, Failure> {
        let u32_at = |at| field::u32_be(bytes, at);
        if !check_group(bytes, *b"XAGI", group, sb, 296) {
            return Err(damaged("the AGI of a group is impossible"));
        }
        Ok(Self {
            tree: (u32_at(20), u32_at(24)),
            free_tree: (u32_at(328), u32_at(332)),
            has_unlinked: bytes[40..296].chunks_exact(4).any(|it| field::u32_be(it, 0) != NULL),
        })
    }
}

/// Returns how many places a group's list of free blocks has.
fn list_len(sb: &Superblock) -> u64 {
    let header = if sb.is_v5 { 36 } else { 0 };
    sb.sector_len.strict_sub(header) / 4
}

/// Returns the blocks of a group's list of free blocks, which belong to the allocator itself.
pub(super) fn free_list(
    bytes: &[u8],
    space: &FreeSpace,
    group: u64,
    sb: &Superblock,
) -> Result<Vec<u32>, Failure> {
    let is_right = !sb.is_v5
        || &bytes[..4] == b"XAFL"
            && u64::from(field::u32_be(bytes, 4)) == group
            && bytes[8..24] == sb.meta_uuid;
    if !is_right {
        return Err(damaged("the AGFL of a group is impossible"));
    }
    let places = &bytes[if sb.is_v5 { 36 } else { 0 }..];
    let count = usize::try_from(space.list_count).expect("checked: at most a sector's");
    let first = usize::try_from(space.list_first).expect("checked: at most a sector's");
    let circle = places.chunks_exact(4).cycle().skip(first).take(count);
    Ok(circle.map(|it| field::u32_be(it, 0)).collect())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// A sound superblock: 4 groups of 1,000 blocks of 4 KiB, the last one short.
    fn sound() -> [u8; SUPERBLOCK_LEN] {
        let mut bytes = [0; SUPERBLOCK_LEN];
        bytes[..4].copy_from_slice(MAGIC);
        field::put_u32_be(&mut bytes, 4, 4096);
        field::put_u64_be(&mut bytes, 8, 3900);
        field::put_u64_be(&mut bytes, 48, 1024 + 20);
        field::put_u64_be(&mut bytes, 56, 128);
        field::put_u32_be(&mut bytes, 84, 1000);
        field::put_u32_be(&mut bytes, 88, 4);
        field::put_u32_be(&mut bytes, 96, 500);
        field::put_u16_be(&mut bytes, 100, 0xb4a5);
        field::put_u16_be(&mut bytes, 102, 512);
        field::put_u16_be(&mut bytes, 104, 512);
        bytes[120..125].copy_from_slice(&[12, 9, 9, 3, 10]);
        bytes
    }

    #[test]
    fn places_are_found_and_what_is_behind_a_group_is_not() {
        let sb = Superblock::parse(&sound(), 3900 << 12).unwrap();
        assert_eq!((sb.group_len(0), sb.group_len(3)), (1000, 900));
        assert_eq!(sb.span(1024 + 999, 1), Some(1999 << 12..2000 << 12));
        assert_eq!(sb.span(1024 + 999, 2), None);
        assert_eq!(sb.span(3 * 1024 + 900, 1), None);
        assert_eq!(sb.span(4 * 1024, 1), None);
        assert_eq!(sb.inode_offset(130), Some((16 << 12) + 1024));
        assert_eq!(sb.inode_offset(sb.inode_number(1, 9)), Some((1001 << 12) + 512));
        assert_eq!(sb.inode_offset(1000 << 3), None);
    }

    /// Each check of `parse`, tripped by one changed field.
    #[test]
    fn broken_superblocks_name_the_field() {
        let cases: &[(usize, &[u8], &str)] = &[
            (0, b"XFSC", "sb_magicnum"),
            (100, &[0xb4, 0xa3], "version"),
            (216, &[0, 1, 0, 0], "incompatible"),
            (200, &[0, 0, 0, 1], "incompatible"),
            (100, &[0x94, 0xa5], "version 1"),
            (100, &[0xb6, 0xa5], "incompatible"),
            (23, &[1], "realtime"),
            (48, &[0; 8], "another device"),
            (126, &[1], "sb_inprogress"),
            (120, &[13], "sb_blocksize"),
            (4, &[0, 0, 0, 0], "sb_blocksize"),
            (102, &[4, 0], "sb_sectsize"),
            (104, &[8, 0], "sb_inodesize"),
            (123, &[4], "sb_inodesize"),
            (14, &[0x10], "larger"),
            (124, &[11], "sb_agblocks"),
            (88, &[0, 0, 0, 5], "sb_agcount"),
            (192, &[5], "sb_dirblklog"),
            (96, &[0, 1, 0, 0], "sb_logblocks"),
            (48, &[1], "sb_logstart"),
        ];
        for (at, change, name) in cases {
            let mut bytes = sound();
            bytes[*at..][..change.len()].copy_from_slice(change);
            let failure = Superblock::parse(&bytes, 3900 << 12).unwrap_err();
            let text = crate::error::Error::from(failure).to_string();
            assert!(text.contains(name), "{at}: {text}");
        }
    }

    #[test]
    fn the_list_of_free_blocks_is_a_circle() {
        let sb = Superblock::parse(&sound(), 3900 << 12).unwrap();
        let mut agf = vec![0; 512];
        agf[..4].copy_from_slice(b"XAGF");
        field::put_u32_be(&mut agf, 4, 1);
        field::put_u32_be(&mut agf, 12, 1000);
        field::put_u32_be(&mut agf, 40, 117);
        field::put_u32_be(&mut agf, 44, 1);
        field::put_u32_be(&mut agf, 48, 4);
        let space = FreeSpace::parse(&agf, 0, &sb).unwrap();
        let mut agfl = vec![0; 512];
        agfl[..4].copy_from_slice(b"XAFL");
        for (place, value) in [(117, 7), (118, 8), (0, 9), (1, 10)] {
            field::put_u32_be(&mut agfl, 36 + place * 4, value);
        }
        assert_eq!(free_list(&agfl, &space, 0, &sb).unwrap(), [7, 8, 9, 10]);
        assert!(free_list(&agfl, &space, 1, &sb).is_err());
        field::put_u32_be(&mut agf, 48, 5);
        assert!(FreeSpace::parse(&agf, 0, &sb).is_err());
        assert!(FreeSpace::parse(&agf, 1, &sb).is_err());
    }
}
