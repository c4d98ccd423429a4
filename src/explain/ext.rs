//! Fields of ext2, ext3 and ext4, as the kernel's `Documentation/filesystems/ext4` has them.

use std::ops::Range;

use crate::explain::Marks;
use crate::explain::fields::Field;
use crate::explain::fields::Says::Cause;
use crate::explain::fields::Says::Layout;
use crate::explain::fields::Says::Sum;
use crate::explain::fields::compare;
use crate::field;

/// The superblock.
const SUPERBLOCK: &[Field] = &[
    // s_free_blocks_count, s_free_inodes_count
    (0x0c, 8, Layout),
    // s_mtime, s_wtime
    (0x2c, 8, Cause("ext-times")),
    // s_mnt_count
    (0x34, 2, Cause("ext-mounts")),
    // s_lastcheck
    (0x40, 4, Cause("ext-times")),
    // s_block_group_nr: which copy it is
    (0x5a, 2, Layout),
    // s_uuid
    (0x68, 16, Cause("ext-uuid")),
    // s_last_mounted
    (0x88, 64, Cause("ext-mounts")),
    // s_journal_uuid
    (0xd0, 16, Cause("ext-journal")),
    // s_hash_seed
    (0xec, 16, Cause("ext-hash-seed")),
    // s_mkfs_time
    (0x108, 4, Cause("ext-times")),
    // s_jnl_blocks
    (0x10c, 68, Layout),
    // s_free_blocks_count_hi
    (0x158, 4, Layout),
    // s_kbytes_written
    (0x178, 8, Cause("ext-mounts")),
    // s_overhead_blocks
    (0x248, 4, Layout),
    // s_checksum_seed
    (0x270, 4, Cause("ext-uuid")),
    // s_wtime_hi to s_lastcheck_hi
    (0x274, 4, Cause("ext-times")),
    (0x3fc, 4, Sum),
];

/// `s_mnt_count` and `s_last_mounted`, without `s_kbytes_written`.
const MOUNTS: [Range<usize>; 2] = [0x34..0x36, 0x88..0xc8];

/// A group descriptor of 64 bytes; one of 32 is its first half.
const DESCRIPTOR: &[Field] = &[
    // bg_free_blocks_count to bg_flags
    (0x0c, 8, Layout),
    // bg_block_bitmap_csum, bg_inode_bitmap_csum
    (0x18, 4, Sum),
    // bg_itable_unused
    (0x1c, 2, Layout),
    // bg_checksum
    (0x1e, 2, Sum),
    // bg_free_blocks_count_hi to bg_itable_unused_hi
    (0x2c, 8, Layout),
    (0x38, 4, Sum),
];

/// What of an inode is not the file's own. Times of files are looked at apart.
const INODE: &[Field] = &[
    // i_blocks, i_version
    (0x1c, 4, Layout),
    (0x24, 4, Cause("ext-generation")),
    // i_block: where the content lies
    (0x28, 60, Layout),
    (0x64, 4, Cause("ext-generation")),
    // i_file_acl
    (0x68, 4, Layout),
    // l_i_file_acl_high
    (0x74, 4, Layout),
    // l_i_checksum_lo
    (0x7c, 2, Sum),
    // i_checksum_hi
    (0x82, 2, Sum),
    // i_version_hi
    (0x98, 4, Cause("ext-generation")),
];

/// Times of an inode beside that of its content.
const OTHER_TIMES: [(usize, usize); 6] =
    [(0x08, 4), (0x0c, 4), (0x84, 4), (0x8c, 4), (0x90, 4), (0x94, 4)];

/// The time of its content.
const MTIME: [(usize, usize); 2] = [(0x10, 4), (0x88, 4)];

/// The journal's own superblock.
const JOURNAL: &[Field] = &[(0x30, 16, Cause("ext-uuid")), (0x100, 16, Cause("ext-uuid"))];

/// Inodes up to this one are the file system's: the last one is `lost+found`.
const LAST_OWN_INODE: u64 = 11;

/// What two file systems have in common, and which seeds differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtPair {
    /// Bytes of a block.
    pub block_len: u64,
    /// Bytes of an inode.
    pub inode_len: u64,
    /// Bytes of a descriptor.
    pub descriptor_len: u64,
    inodes_per_group: u64,
    /// First byte of the inodes of each group.
    tables: Vec<u64>,
    /// Whether checksums begin with another seed.
    pub other_seed: bool,
    /// Whether directories are sorted by another seed.
    pub other_hash_seed: bool,
}

impl ExtPair {
    /// Reads both superblocks and the descriptors of the new one. `None` if they are not of one shape: then
    /// nothing lies where it lay.
    #[must_use]
    pub fn new(old: &[u8], new: &[u8], descriptors: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| u64::from(field::u32_le(new, at));
        if old.len() < 1024 || new.len() < 1024 {
            return None;
        }
        // Blocks, their size, groups, inodes, features.
        let same = [0x00..0x08, 0x14..0x2c, 0x4c..0x50, 0x58..0x5a, 0x5c..0x68, 0xfe..0x100];
        if same.into_iter().any(|range| old[range.clone()] != new[range]) {
            return None;
        }
        let log = u32_at(0x18);
        let is_64 = u32_at(0x60) & 0x80 != 0;
        let descriptor_len = if is_64 { u64::from(field::u16_le(new, 0xfe)).max(32) } else { 32 };
        let inode_len = if u32_at(0x4c) > 0 { u64::from(field::u16_le(new, 0x58)) } else { 128 };
        if log > 6 || inode_len < 128 || !inode_len.is_power_of_two() {
            return None;
        }
        let block_len = 1024_u64 << log;
        let step = usize::try_from(descriptor_len).ok()?;
        let tables = descriptors
            .chunks_exact(step)
            .map(|one| {
                let high = if step >= 64 { u64::from(field::u32_le(one, 0x28)) } else { 0 };
                let block = u64::from(field::u32_le(one, 0x08)) | high << 32;
                block.checked_mul(block_len)
            })
            .collect::<Option<Vec<u64>>>()?;
        Some(Self {
            block_len,
            inode_len,
            descriptor_len,
            inodes_per_group: u32_at(0x28),
            tables,
            other_seed: old[0x68..0x78] != new[0x68..0x78]
                || old[0x270..0x274] != new[0x270..0x274],
            other_hash_seed: old[0xec..0xfc] != new[0xec..0xfc],
        })
    }

    /// Returns the byte at which descriptors begin, and how many bytes of them there are.
    #[must_use]
    pub fn descriptors_at(superblock: &[u8]) -> Option<(u64, u64)> {
        if superblock.len() < 1024 {
            return None;
        }
        let u32_at = |at: usize| u64::from(field::u32_le(superblock, at));
        let (log, first, per_group) = (u32_at(0x18), u32_at(0x14), u32_at(0x20));
        if log > 6 || per_group == 0 {
            return None;
        }
        let is_64 = u32_at(0x60) & 0x80 != 0;
        let blocks = u32_at(0x04) | if is_64 { u32_at(0x150) << 32 } else { 0 };
        let len = if is_64 { u64::from(field::u16_le(superblock, 0xfe)).max(32) } else { 32 };
        let groups = blocks.saturating_sub(first).div_ceil(per_group);
        let block_len = 1024_u64 << log;
        Some((first.checked_add(1)?.checked_mul(block_len)?, groups.checked_mul(len)?))
    }

    /// Returns the number of the inode at a byte of the partition, and its first byte.
    #[must_use]
    pub fn inode_at(&self, offset: u64) -> Option<(u64, u64)> {
        let len = self.inodes_per_group.checked_mul(self.inode_len)?;
        let (group, start) = (0_u64..)
            .zip(&self.tables)
            .find(|(_, start)| offset >= **start && offset.strict_sub(**start) < len)?;
        let index = offset.strict_sub(*start).strict_div(self.inode_len);
        let number =
            group.checked_mul(self.inodes_per_group)?.checked_add(index)?.checked_add(1)?;
        Some((number, start.checked_add(index.checked_mul(self.inode_len)?)?))
    }

    /// Compares superblocks. `files_differ` says that something real differs among the files: then more or less was
    /// written.
    #[must_use]
    pub fn superblock(&self, old: &[u8], new: &[u8], files_differ: bool) -> Marks {
        let mut marks = compare(old, new, SUPERBLOCK);
        let mounted_alike =
            MOUNTS.into_iter().all(|range| old.get(range.clone()) == new.get(range));
        if files_differ && mounted_alike && marks.causes.remove("ext-mounts") {
            marks.layout = true;
        }
        if self.other_seed && marks.causes.remove("ext-journal") {
            // The journal has the file system's own.
            marks.causes.insert("ext-uuid");
        }
        marks
    }

    /// Compares group descriptors, one after another.
    #[must_use]
    pub fn descriptors(&self, old: &[u8], new: &[u8]) -> Marks {
        let step = usize::try_from(self.descriptor_len).unwrap_or(32);
        let fields: Vec<Field> =
            DESCRIPTOR.iter().copied().filter(|(at, len, _)| at.strict_add(*len) <= step).collect();
        let mut marks = Marks::default();
        for (one, other) in old.chunks(step).zip(new.chunks(step)) {
            marks.join(compare(one, other, &fields));
        }
        marks
    }

    /// Compares inodes of one file.
    #[must_use]
    pub fn inode(number: u64, old: &[u8], new: &[u8]) -> Marks {
        let differs = |(at, len): &(usize, usize)| {
            let end = at.strict_add(*len);
            old.get(*at..end) != new.get(*at..end)
        };
        let mut fields: Vec<Field> = INODE.to_vec();
        let is_own = number <= LAST_OWN_INODE;
        // Touching a file changes the time of its inode too.
        let touched = MTIME.iter().any(differs) && !is_own;
        let cause = if touched { "file-times" } else { "ext-times" };
        fields.extend(OTHER_TIMES.iter().chain(&MTIME).map(|(at, len)| (*at, *len, Cause(cause))));
        fields.retain(|(at, _, _)| *at < old.len());
        // A short inode ends where the extra times of a long one begin.
        if old.len() == 128 {
            fields.retain(|(at, _, _)| *at < 128);
        }
        compare(old, new, &fields)
    }

    /// Compares blocks of a directory that holds the same names: `same_inodes` says that they lead to the same
    /// numbers.
    #[must_use]
    pub fn directory(&self, old: &[u8], new: &[u8], same_inodes: bool) -> Marks {
        let mut marks = Marks::default();
        let body = old.len().saturating_sub(12);
        if old.len() == new.len() && old.get(..body) == new.get(..body) {
            marks.sum = true;
        } else if !same_inodes {
            marks.layout = true;
        } else if self.other_hash_seed {
            marks.causes.insert("ext-hash-seed");
        } else {
            marks.causes.insert("ext-directory-order");
        }
        marks
    }

    /// Compares bytes of the journal, `offset` bytes from the start of its first block on.
    #[must_use]
    pub fn journal(&self, offset: u64, old: &[u8], new: &[u8]) -> Marks {
        let whole = compare(old, new, &[(0, old.len(), Cause("ext-journal"))]);
        if offset != 0 {
            return whole;
        }
        let own = compare(old, new, JOURNAL);
        if own.real || !self.other_seed {
            return whole;
        }
        own
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn pair(old: &[u8], new: &[u8]) -> ExtPair {
        let mut descriptors = vec![0; 64];
        descriptors[8] = 5;
        descriptors[32 + 8] = 9;
        ExtPair::new(old, new, &descriptors).unwrap()
    }

    fn superblock() -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[0x04] = 200;
        bytes[0x18] = 2;
        bytes[0x20] = 100;
        bytes[0x28] = 32;
        bytes[0x4c] = 1;
        bytes[0x58..0x5a].copy_from_slice(&256_u16.to_le_bytes());
        bytes
    }

    /// Each field of the superblock that has a cause, changed alone, names that cause and nothing else.
    #[test]
    fn each_field_of_the_superblock_names_its_cause() {
        for (at, _, says) in SUPERBLOCK {
            let (old, mut new) = (superblock(), superblock());
            new[*at] ^= 0x55;
            let marks = pair(&old, &new).superblock(&old, &new, false);
            let expected = match says {
                Cause(cause) => Marks::of(cause),
                Layout => Marks::of_layout(),
                Sum => Marks { sum: true, ..Marks::default() },
            };
            assert_eq!(marks, expected, "{at:#x}");
        }
        let (old, mut new) = (superblock(), superblock());
        new[0x78] = b'x';
        assert!(pair(&old, &new).superblock(&old, &new, false).real, "a label is real");
        (new[0x78], new[0x178]) = (old[0x78], 9);
        let written = |new: &[u8]| pair(&old, new).superblock(&old, new, true);
        assert_eq!(written(&new), Marks::of_layout(), "other files, and so other bytes written");
        new[0x34] = 1;
        assert_eq!(written(&new), Marks::of("ext-mounts"));
        new[0x18] = 1;
        assert_eq!(ExtPair::new(&old, &new, &[]), None, "another size of blocks");
    }

    #[test]
    fn inodes_are_found_by_their_bytes() {
        let pair = pair(&superblock(), &superblock());
        assert_eq!(pair.inode_at(5 * 4096), Some((1, 5 * 4096)));
        assert_eq!(pair.inode_at(5 * 4096 + 300), Some((2, 5 * 4096 + 256)));
        assert_eq!(pair.inode_at(9 * 4096), Some((33, 9 * 4096)));
        assert_eq!(pair.inode_at(4 * 4096), None);
    }

    #[test]
    fn fields_of_inodes_name_their_causes() {
        let change = |number: u64, at: &[usize]| {
            let (old, mut new) = (vec![0; 256], vec![0; 256]);
            for at in at {
                new[*at] = 1;
            }
            ExtPair::inode(number, &old, &new)
        };
        assert_eq!(change(12, &[0x64]), Marks::of("ext-generation"));
        assert_eq!(change(12, &[0x90]), Marks::of("ext-times"));
        assert_eq!(change(12, &[0x10, 0x0c]), Marks::of("file-times"));
        assert_eq!(change(2, &[0x10, 0x0c]), Marks::of("ext-times"));
        assert_eq!(change(12, &[0x28]), Marks::of_layout());
        assert!(change(12, &[0x7c]).sum);
        for at in [0x00, 0x02, 0x04, 0x18, 0x1a, 0x20, 0xa0] {
            assert!(change(12, &[at]).real, "{at:#x}");
        }
    }
}
