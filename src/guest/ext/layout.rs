//! Bytes of ext2, ext3 and ext4: superblock, group descriptors, inodes, directory entries. Pure.
//!
//! ```text
//! offset size field of the superblock (at byte 1,024, little-endian)
//!      0    4 s_inodes_count              0x04 4 s_blocks_count_lo   0x150 4 s_blocks_count_hi
//!   0x0c    4 s_free_blocks_count_lo     0x158 4 s_free_blocks_count_hi
//!   0x14    4 s_first_data_block          0x18 4 s_log_block_size     0x1c 4 s_log_cluster_size
//!   0x20    4 s_blocks_per_group          0x24 4 s_clusters_per_group 0x28 4 s_inodes_per_group
//!   0x38    2 s_magic 0xef53              0x3a 2 s_state              0x4c 4 s_rev_level
//!   0x54    4 s_first_ino                 0x58 2 s_inode_size
//!   0x5c    4 s_feature_compat            0x60 4 s_feature_incompat   0x64 4 s_feature_ro_compat
//!   0x68   16 s_uuid                      0x78 16 s_volume_name
//!   0xce    2 s_reserved_gdt_blocks       0xe0 4 s_journal_inum       0xe4 4 s_journal_dev
//!   0xe8    4 s_last_orphan               0xfe 2 s_desc_size         0x104 4 s_first_meta_bg
//!  0x168    8 s_mmp_block                0x240 4 s_usr_quota_inum    0x244 4 s_grp_quota_inum
//!  0x24c    8 s_backup_bgs               0x26c 4 s_prj_quota_inum    0x270 4 s_checksum_seed
//!  0x280    4 s_orphan_file_inum         0x3fc 4 s_checksum
//! ```

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Problem;

pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
pub(super) const SUPERBLOCK_LEN: usize = 1024;

const MAGIC: u16 = 0xef53;

pub(super) const COMPAT_HAS_JOURNAL: u32 = 0x4;
pub(super) const COMPAT_SPARSE_SUPER2: u32 = 0x200;
pub(super) const COMPAT_ORPHAN_FILE: u32 = 0x1000;
pub(super) const INCOMPAT_FILETYPE: u32 = 0x2;
pub(super) const INCOMPAT_RECOVER: u32 = 0x4;
pub(super) const INCOMPAT_META_BG: u32 = 0x10;
pub(super) const INCOMPAT_64BIT: u32 = 0x80;
pub(super) const INCOMPAT_MMP: u32 = 0x100;
pub(super) const INCOMPAT_CSUM_SEED: u32 = 0x2000;
pub(super) const RO_SPARSE_SUPER: u32 = 0x1;
pub(super) const RO_GDT_CSUM: u32 = 0x10;
pub(super) const RO_BIGALLOC: u32 = 0x200;
pub(super) const RO_METADATA_CSUM: u32 = 0x400;
pub(super) const RO_ORPHAN_PRESENT: u32 = 0x10000;

/// Features that change nothing here, or that are dealt with; others are refused.
const KNOWN_COMPAT: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000;
/// filetype, recover, `meta_bg`, extents, 64bit, mmp, `flex_bg`, `ea_inode`, `csum_seed`, largedir,
/// `inline_data`, encrypt, casefold.
const KNOWN_INCOMPAT: u32 = 0x3_e7d6;
/// `sparse_super`, `large_file`, `huge_file`, `gdt_csum`, `dir_nlink`, `extra_isize`, quota, bigalloc,
/// `metadata_csum`, read-only, project, verity, `orphan_present`.
const KNOWN_RO_COMPAT: u32 = 0x1_b77b;

/// The superblock, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) inodes: u64,
    pub(super) blocks: u64,
    pub(super) free_clusters: u64,
    pub(super) first_block: u64,
    pub(super) block_len: u64,
    /// Blocks of a cluster.
    pub(super) cluster_blocks: u64,
    pub(super) blocks_per_group: u64,
    pub(super) inodes_per_group: u64,
    pub(super) groups: u64,
    pub(super) state: u16,
    pub(super) first_inode: u64,
    pub(super) inode_len: u64,
    pub(super) compat: u32,
    pub(super) incompat: u32,
    pub(super) ro_compat: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: [u8; 16],
    pub(super) reserved_gdt_blocks: u64,
    pub(super) journal_inode: u64,
    pub(super) journal_device: u32,
    pub(super) last_orphan: u64,
    pub(super) desc_len: u64,
    pub(super) first_meta_group: u64,
    pub(super) mmp_block: u64,
    pub(super) backup_groups: [u64; 2],
    pub(super) quota_inodes: [u64; 3],
    pub(super) orphan_file: u64,
    /// What every metadata checksum begins with.
    pub(super) seed: u32,
}

fn damaged(text: &'static str) -> Failure {
    Problem::Damaged.text(text)
}

/// Checks how many things of a group a bitmap of one block has a bit for.
fn check_bitmap(count: u64, bits: u64, text: &'static str) -> Result<(), Failure> {
    let possible = count > 0 && count <= bits && count.is_multiple_of(8);
    if possible { Ok(()) } else { Err(damaged(text)) }
}

impl Superblock {
    /// Tells whether these bytes are a superblock at all.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        field::u16_le(bytes, 0x38) == MAGIC
    }

    /// Reads and checks it, for a slice of `len` bytes.
    #[allow(clippy::too_many_lines, reason = "one check after another, in the order of the fields")]
    pub(super) fn parse(bytes: &[u8; SUPERBLOCK_LEN], len: u64) -> Result<Self, Failure> {
        if !Self::is_one(bytes) {
            return Err(damaged("s_magic is not 0xef53"));
        }
        let u16_at = |at| u64::from(field::u16_le(bytes, at));
        let u32_at = |at| u64::from(field::u32_le(bytes, at));
        let is_dynamic = u32_at(0x4c) > 0;
        let feature = |at| if is_dynamic { field::u32_le(bytes, at) } else { 0 };
        let (compat, incompat, ro_compat) = (feature(0x5c), feature(0x60), feature(0x64));
        if incompat & !KNOWN_INCOMPAT != 0 {
            return Err(
                Problem::Unsupported.text("it has incompatible features that are not known")
            );
        }
        if ro_compat & RO_METADATA_CSUM != 0
            && crc32c_register(u32::MAX, &bytes[..0x3fc]) != field::u32_le(bytes, 0x3fc)
        {
            return Err(damaged("the superblock's checksum is wrong"));
        }
        let (log, log_cluster) = (u32_at(0x18), u32_at(0x1c));
        if log > 6 {
            return Err(damaged("s_log_block_size is over 6"));
        }
        let block_len = 1024_u64 << log;
        let bigalloc = ro_compat & RO_BIGALLOC != 0;
        if bigalloc && (log_cluster < log || log_cluster > 20) {
            return Err(damaged("s_log_cluster_size is impossible"));
        }
        let cluster_blocks = if bigalloc { 1 << log_cluster.strict_sub(log) } else { 1 };
        let wide = |low: u64, high| {
            if incompat & INCOMPAT_64BIT != 0 { low | u32_at(high) << 32 } else { low }
        };
        let blocks = wide(u32_at(4), 0x150);
        let first_block = u32_at(0x14);
        let size = blocks.checked_mul(block_len);
        if size.is_none_or(|size| size > len) {
            return Err(damaged("it is larger than its partition"));
        }
        // A block of 1 KiB leaves the boot block in front; clusters start with block 0.
        if first_block != u64::from(log == 0 && !bigalloc) || blocks <= first_block {
            return Err(damaged("s_first_data_block is impossible"));
        }
        let blocks_per_group = u32_at(0x20);
        let clusters_per_group = if bigalloc { u32_at(0x24) } else { blocks_per_group };
        if clusters_per_group.checked_mul(cluster_blocks) != Some(blocks_per_group) {
            return Err(damaged("s_blocks_per_group is impossible"));
        }
        let (inodes, inodes_per_group) = (u32_at(0), u32_at(0x28));
        let bits = block_len.strict_mul(8);
        check_bitmap(clusters_per_group, bits, "s_blocks_per_group is impossible")?;
        let groups = blocks.strict_sub(first_block).div_ceil(blocks_per_group);
        check_bitmap(inodes_per_group, bits, "s_inodes_per_group is impossible")?;
        if groups.checked_mul(inodes_per_group) != Some(inodes) {
            return Err(damaged("s_inodes_count is impossible"));
        }
        let inode_len = if is_dynamic { u16_at(0x58) } else { 128 };
        if !inode_len.is_power_of_two() || inode_len < 128 || inode_len > block_len {
            return Err(damaged("s_inode_size is impossible"));
        }
        let desc_len = if incompat & INCOMPAT_64BIT != 0 { u16_at(0xfe) } else { 32 };
        if !desc_len.is_power_of_two() || !(32..=1024).contains(&desc_len) {
            return Err(damaged("s_desc_size is impossible"));
        }
        let first_inode = if is_dynamic { u32_at(0x54) } else { 11 };
        if first_inode < 11 || first_inode > inodes {
            return Err(damaged("s_first_ino is impossible"));
        }
        let reserved_gdt_blocks = u16_at(0xce);
        let desc_blocks = groups.div_ceil(block_len.strict_div(desc_len));
        let first_meta_group = u32_at(0x104);
        if reserved_gdt_blocks > block_len / 4
            || incompat & INCOMPAT_META_BG != 0 && first_meta_group > desc_blocks
        {
            return Err(damaged("s_reserved_gdt_blocks or s_first_meta_bg is impossible"));
        }
        let uuid = field::array(bytes, 0x68);
        let seed = if incompat & INCOMPAT_CSUM_SEED != 0 {
            field::u32_le(bytes, 0x270)
        } else {
            crc32c_register(u32::MAX, &uuid)
        };
        Ok(Self {
            inodes,
            blocks,
            free_clusters: wide(u32_at(0x0c), 0x158),
            first_block,
            block_len,
            cluster_blocks,
            blocks_per_group,
            inodes_per_group,
            groups,
            state: field::u16_le(bytes, 0x3a),
            first_inode,
            inode_len,
            compat,
            incompat,
            ro_compat,
            uuid,
            label: field::array(bytes, 0x78),
            reserved_gdt_blocks,
            journal_inode: u32_at(0xe0),
            journal_device: field::u32_le(bytes, 0xe4),
            last_orphan: u32_at(0xe8),
            desc_len,
            first_meta_group,
            mmp_block: field::u64_le(bytes, 0x168),
            backup_groups: [u32_at(0x24c), u32_at(0x250)],
            quota_inodes: [u32_at(0x240), u32_at(0x244), u32_at(0x26c)],
            orphan_file: u32_at(0x280),
            seed,
        })
    }

    /// Returns features that may change who owns blocks: set, and bits.
    pub(super) fn unknown_features(&self) -> Option<(&'static str, u32)> {
        let compat = self.compat & !KNOWN_COMPAT;
        let ro_compat = self.ro_compat & !KNOWN_RO_COMPAT;
        if compat != 0 {
            return Some(("compatible", compat));
        }
        (ro_compat != 0).then_some(("read-only compatible", ro_compat))
    }

    pub(super) fn has_sums(&self) -> bool {
        self.ro_compat & RO_METADATA_CSUM != 0
    }

    /// Tells whether group flags and counts of unused inodes are valid.
    pub(super) fn has_group_sums(&self) -> bool {
        self.ro_compat & (RO_METADATA_CSUM | RO_GDT_CSUM) != 0
    }

    /// Returns the name that `blkid` has for it.
    pub(super) fn name(&self) -> &'static str {
        const EXT4_INCOMPAT: u32 = !(INCOMPAT_FILETYPE | INCOMPAT_RECOVER | INCOMPAT_META_BG);
        const EXT4_RO_COMPAT: u32 = !0x7;
        if self.incompat & EXT4_INCOMPAT != 0 || self.ro_compat & EXT4_RO_COMPAT != 0 {
            "ext4"
        } else if self.compat & COMPAT_HAS_JOURNAL != 0 {
            "ext3"
        } else {
            "ext2"
        }
    }

    /// Returns the first block of a group.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        self.first_block.strict_add(group.strict_mul(self.blocks_per_group))
    }

    /// Returns the first block behind a group.
    pub(super) fn group_end(&self, group: u64) -> u64 {
        self.group_start(group.strict_add(1)).min(self.blocks)
    }

    pub(super) fn descs_per_block(&self) -> u64 {
        self.block_len.strict_div(self.desc_len)
    }

    pub(super) fn desc_blocks(&self) -> u64 {
        self.groups.div_ceil(self.descs_per_block())
    }

    /// Tells whether a group begins with a copy of the superblock.
    pub(super) fn has_super(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut rest = group;
            while rest.is_multiple_of(base) && rest > 0 {
                rest = rest.strict_div(base);
            }
            rest == 1
        };
        if group == 0 {
            return true;
        }
        if self.compat & COMPAT_SPARSE_SUPER2 != 0 {
            return self.backup_groups.contains(&group);
        }
        group == 1
            || self.ro_compat & RO_SPARSE_SUPER == 0
            || [3, 5, 7].iter().any(|base| power_of(*base))
    }

    /// Returns where a superblock is, in blocks, for a group that has one: block 0 of 1 KiB holds the
    /// boot sector alone.
    fn super_block(&self, group: u64) -> u64 {
        let start = self.group_start(group);
        if start == 0 && self.block_len == 1024 { 1 } else { start }
    }

    /// Returns the blocks of a group's superblock, and of the descriptors behind it: first and count
    /// each. Room for more descriptors counts with them.
    pub(super) fn group_head(&self, group: u64) -> [(u64, u64); 2] {
        let has_super = self.has_super(group);
        let at = self.super_block(group);
        let meta = self.incompat & INCOMPAT_META_BG != 0;
        let superblock = (at, u64::from(has_super));
        let meta_group = group.strict_div(self.descs_per_block());
        if meta && meta_group >= self.first_meta_group {
            let place = group.strict_rem(self.descs_per_block());
            let last = self.descs_per_block().strict_sub(1);
            let has_descs = place == 0 || place == 1 || place == last;
            return [superblock, (at.strict_add(superblock.1), u64::from(has_descs))];
        }
        let count = if meta {
            self.first_meta_group
        } else {
            self.desc_blocks().strict_add(self.reserved_gdt_blocks)
        };
        [superblock, (at.strict_add(1), if has_super { count } else { 0 })]
    }

    /// Returns the block that the `index`th block of descriptors is in.
    pub(super) fn desc_block(&self, index: u64) -> u64 {
        if self.incompat & INCOMPAT_META_BG == 0 || index < self.first_meta_group {
            return self.super_block(0).strict_add(1).strict_add(index);
        }
        let group = index.strict_mul(self.descs_per_block());
        self.super_block(group).strict_add(u64::from(self.has_super(group)))
    }
}

/// A group descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    /// Inodes at the start of the table that may be in use.
    pub(super) used_inodes: u64,
    /// Whether the block bitmap was never written: all but metadata is free.
    pub(super) block_uninit: bool,
    pub(super) block_bitmap_sum: u32,
}

impl Group {
    pub(super) fn parse(bytes: &[u8], number: u64, sb: &Superblock) -> Result<Self, Failure> {
        let is_wide = sb.desc_len >= 64;
        let block = |low, high| {
            let high = if is_wide { u64::from(field::u32_le(bytes, high)) } else { 0 };
            u64::from(field::u32_le(bytes, low)) | high << 32
        };
        let half = |low, high| {
            let high = if is_wide { u32::from(field::u16_le(bytes, high)) } else { 0 };
            u32::from(field::u16_le(bytes, low)) | high << 16
        };
        if sb.has_sums() {
            let index = u32::try_from(number).unwrap_or(u32::MAX);
            let mut sum = crc32c_register(sb.seed, &index.to_le_bytes());
            sum = crc32c_register(sum, &bytes[..0x1e]);
            sum = crc32c_register(sum, &[0; 2]);
            sum = crc32c_register(sum, &bytes[0x20..]);
            if sum & 0xffff != u32::from(field::u16_le(bytes, 0x1e)) {
                return Err(damaged("the checksum of a group descriptor is wrong"));
            }
        }
        let flags = if sb.has_group_sums() { field::u16_le(bytes, 0x12) } else { 0 };
        let unused = if sb.has_group_sums() { u64::from(half(0x1c, 0x32)) } else { 0 };
        let used_inodes =
            if flags & 1 != 0 { 0 } else { sb.inodes_per_group.saturating_sub(unused) };
        let group = Self {
            block_bitmap: block(0, 0x20),
            inode_bitmap: block(4, 0x24),
            inode_table: block(8, 0x28),
            used_inodes,
            block_uninit: flags & 2 != 0,
            block_bitmap_sum: half(0x18, 0x38),
        };
        let table_end = group.inode_table.checked_add(inode_table_blocks(sb));
        let inside = |at: u64| at >= sb.first_block && at < sb.blocks;
        if !inside(group.block_bitmap)
            || !inside(group.inode_bitmap)
            || !inside(group.inode_table)
            || table_end.is_none_or(|end| end > sb.blocks)
        {
            return Err(damaged("a group descriptor points outside it"));
        }
        Ok(group)
    }
}

pub(super) fn inode_table_blocks(sb: &Superblock) -> u64 {
    sb.inodes_per_group.strict_mul(sb.inode_len).div_ceil(sb.block_len)
}

/// A name in a directory block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirEntry<'a> {
    pub(super) inode: u64,
    pub(super) name: &'a [u8],
}

/// Goes through the entries of a directory block, or of inline data. Nodes of hash trees look like
/// one unused entry. `None` where an entry is impossible, after the good ones.
pub(super) fn dir_entries(block: &[u8], inodes: u64) -> impl Iterator<Item = Option<DirEntry<'_>>> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        loop {
            let rest = block.get(at..).filter(|rest| !rest.is_empty())?;
            let entry = parse_entry(rest, inodes);
            let Some((len, entry)) = entry else {
                at = block.len();
                return Some(None);
            };
            at = at.strict_add(len);
            if entry.inode != 0 {
                return Some(Some(entry));
            }
        }
    })
}

/// Reads the first entry of `rest`, and its length.
fn parse_entry(rest: &[u8], inodes: u64) -> Option<(usize, DirEntry<'_>)> {
    if rest.len() < 8 {
        return None;
    }
    let inode = u64::from(field::u32_le(rest, 0));
    let rec_len = usize::from(field::u16_le(rest, 4));
    // Lengths are multiples of 4; in blocks of 64 KiB the two low bits are the high ones.
    let len = match rec_len {
        0 | 0xffff if rest.len() >= 65_535 => rest.len(),
        len => len & 0xfffc | (len & 3) << 16,
    };
    // Without types the byte behind it belongs to it as well; no name needs that, and in front of a checksum it is not 0
    // there either.
    let name_len = usize::from(rest[6]);
    let name_end = name_len.strict_add(8);
    if len < 8 || len > rest.len() || name_end > len || inode > inodes {
        return None;
    }
    Some((len, DirEntry { inode, name: &rest[8..name_end] }))
}
