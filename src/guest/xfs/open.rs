//! An open XFS: its superblock, and checked reads of its metadata.

use std::ops::Range;

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::file::About;
use crate::guest::file::Caution;
use crate::guest::layout::guid_bytes;
use crate::guest::owner::FileId;
use crate::guest::owner::Owner;
use crate::guest::slice::Slice;
use crate::guest::xfs::inode::Inode;
use crate::guest::xfs::layout::FreeSpace;
use crate::guest::xfs::layout::InodeSpace;
use crate::guest::xfs::layout::MAGIC;
use crate::guest::xfs::layout::SUPERBLOCK_LEN;
use crate::guest::xfs::layout::Superblock;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::layout::free_list;
use crate::guest::xfs::layout::sum_is_right;
use crate::guest::xfs::log;

/// An open file system.
#[derive(Debug)]
pub(super) struct Xfs<'a> {
    pub(super) slice: Slice<'a>,
    pub(super) sb: Superblock,
    pub(super) about: About,
    /// Starts of the sectors that the log lays over, ascending: their checksums were never written.
    replayed: Vec<u64>,
}

/// Where a block of metadata says that it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) sum: usize,
    pub(super) place: usize,
    pub(super) uuid: usize,
    /// Where the owner stands, how many bytes it has, and who it must be.
    pub(super) owner: (usize, usize, u64),
}

/// Tells whether a slice holds one.
pub(in crate::guest) fn is_one(slice: &Slice<'_>) -> Outcome<bool> {
    Ok(slice.len() >= 512 && slice.bytes(0, 4)? == MAGIC)
}

/// Opens it. A log that needs to be replayed is, in memory.
pub(super) fn open(mut slice: Slice<'_>) -> Outcome<Xfs<'_>> {
    let mut sb = superblock(&slice, true)?;
    let mut replayed = Vec::new();
    let log = log::read(&slice, &sb)?;
    let is_dirty = log.is_some();
    if let Some(patches) = log {
        replayed = patches.keys().copied().collect();
        slice.lay_over(log::SECTOR_LEN, patches)?;
        sb = superblock(&slice, false)?;
    }
    let about = about(&sb, is_dirty);
    let mut xfs = Xfs { slice, sb, about, replayed };
    for group in 0..xfs.sb.groups {
        if xfs.inode_space(group)?.has_unlinked {
            xfs.about.cautions.push(Caution::Orphans);
            break;
        }
    }
    Ok(xfs)
}

fn superblock(slice: &Slice<'_>, check_sum: bool) -> Outcome<Superblock> {
    let bytes = slice.bytes(0, 512)?;
    let sb = Superblock::parse(&bytes[..SUPERBLOCK_LEN], slice.len())?;
    if check_sum && sb.is_v5 && !sum_is_right(&slice.bytes(0, sb.sector_len)?, 224) {
        return Err(damaged("the superblock's checksum is wrong"));
    }
    Ok(sb)
}

fn about(sb: &Superblock, is_dirty: bool) -> About {
    let mut cautions = Vec::new();
    if is_dirty {
        cautions.push(Caution::Dirty);
    }
    if sb.needs_repair() {
        cautions.push(Caution::Errors);
    }
    if let Some((set, bits)) = sb.unknown_features() {
        cautions.push(Caution::Feature(set, bits));
    }
    let label_len = sb.label.iter().position(|byte| *byte == 0).unwrap_or(sb.label.len());
    About {
        name: "xfs",
        label: sb.label[..label_len].to_vec(),
        uuid: Some(guid_bytes(&sb.uuid)),
        // The superblock was checked against the slice.
        size: sb.blocks.strict_mul(sb.block_len),
        block_len: sb.block_len,
        free_bytes: sb.free_blocks.saturating_mul(sb.block_len),
        grain: sb.block_len,
        replayed: is_dirty,
        cautions,
    }
}

impl Xfs<'_> {
    /// Tells whether checksums of a range are to be compared: they are written with the block, and what
    /// stands in the log has none yet.
    pub(super) fn has_sums(&self, range: &Range<u64>) -> bool {
        let first = range.start & !log::SECTOR_LEN.strict_sub(1);
        let at = self.replayed.partition_point(|start| *start < first);
        self.sb.is_v5 && self.replayed.get(at).is_none_or(|start| *start >= range.end)
    }

    /// Returns the bytes of blocks of a file's fork or of a group, which must be inside.
    pub(super) fn blocks(&self, range: Option<Range<u64>>) -> Outcome<(u64, Vec<u8>)> {
        let Some(range) = range else {
            return Err(damaged("a block number points outside it"));
        };
        let len = range.end.strict_sub(range.start);
        Ok((range.start, self.slice.bytes(range.start, len)?))
    }

    /// Checks that a block of metadata, which was read from `offset`, is the one that it should be.
    pub(super) fn check(&self, bytes: &[u8], offset: u64, stamp: Stamp) -> Outcome<()> {
        if !self.sb.is_v5 {
            return Ok(());
        }
        let (at, len, expected) = stamp.owner;
        let owner = match len {
            4 => field::u32_be(bytes, at).into(),
            _ => field::u64_be(bytes, at),
        };
        if field::u64_be(bytes, stamp.place) != offset / log::SECTOR_LEN
            || bytes[stamp.uuid..][..16] != self.sb.meta_uuid
            || owner != expected
        {
            return Err(damaged("a block of metadata stands at a wrong place"));
        }
        let len = u64::try_from(bytes.len()).expect("a block");
        if self.has_sums(&(offset..offset.strict_add(len))) && !sum_is_right(bytes, stamp.sum) {
            return Err(damaged("the checksum of a block of metadata is wrong"));
        }
        Ok(())
    }

    /// Reads the sector `number` of a group's header, with its checksum at `sum_at`.
    fn header(&self, group: u64, number: u64, sum_at: usize) -> Outcome<Vec<u8>> {
        let start = group.strict_mul(self.sb.group_blocks).strict_mul(self.sb.block_len);
        let at = start.strict_add(number.strict_mul(self.sb.sector_len));
        let bytes = self.slice.bytes(at, self.sb.sector_len)?;
        if self.has_sums(&(at..at.strict_add(self.sb.sector_len))) && !sum_is_right(&bytes, sum_at)
        {
            return Err(damaged("the checksum of a group's header is wrong"));
        }
        Ok(bytes)
    }

    pub(super) fn free_space(&self, group: u64) -> Outcome<FreeSpace> {
        FreeSpace::parse(&self.header(group, 1, 216)?, group, &self.sb)
    }

    pub(super) fn inode_space(&self, group: u64) -> Outcome<InodeSpace> {
        InodeSpace::parse(&self.header(group, 2, 312)?, group, &self.sb)
    }

    /// Returns the blocks that the allocator keeps for its own trees.
    pub(super) fn free_list(&self, group: u64, space: &FreeSpace) -> Outcome<Vec<u32>> {
        free_list(&self.header(group, 3, 32)?, space, group, &self.sb)
    }

    /// Reads an inode that is in use.
    pub(super) fn inode(&self, id: FileId) -> Outcome<Inode> {
        let Some(offset) = self.sb.inode_offset(id.0) else {
            return Err(damaged("no inode has this number").of(Owner::File(id)));
        };
        let bytes = self.slice.bytes(offset, self.sb.inode_len)?;
        self.parse_inode(&bytes, offset, id.0)
    }

    /// Reads an inode out of bytes that were read from `offset`.
    pub(super) fn parse_inode(&self, bytes: &[u8], offset: u64, number: u64) -> Outcome<Inode> {
        let check_sum = self.has_sums(&(offset..offset.strict_add(self.sb.inode_len)));
        let owner = Owner::File(FileId(number));
        Inode::parse(bytes, number, &self.sb, check_sum).map_err(|it| it.at(owner, offset))
    }
}
