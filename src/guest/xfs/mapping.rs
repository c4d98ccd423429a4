//! Where the blocks of a fork lie: extents in the inode, or a tree of them.
//!
//! ```text
//! root in the inode: 0 2 level, 2 2 records, then keys of 8 bytes and, behind room for all, pointers
//! block: 0 magic BMAP or BMA3, 4 2 level, 6 2 records, 8 8 left, 16 8 right; in version 5 { 24 8 place,
//!   32 8 lsn, 40 16 uuid, 56 8 inode, 64 4 crc, 4 unused }; then extents, or keys and pointers
//! ```

use std::ops::Range;

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::xfs::inode::Extent;
use crate::guest::xfs::inode::Fork;
use crate::guest::xfs::inode::Format;
use crate::guest::xfs::inode::Inode;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::open::Stamp;
use crate::guest::xfs::open::Xfs;

const MAX_LEVELS: u16 = 12;

/// Most extents that are kept of one fork: 4 Mi of them are 160 MiB.
const MAX_EXTENTS: usize = 4 << 20;

/// What a walk over the map of a fork meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// Blocks from block `logical` of the file on, and their bytes in the partition.
    Data { logical: u64, bytes: Range<u64>, unwritten: bool },
    /// A block of the map itself, by its bytes.
    Node(Range<u64>),
}

type Each<'a> = &'a mut dyn FnMut(Mapped) -> Outcome<()>;

struct Walk<'a> {
    xfs: &'a Xfs<'a>,
    inode: &'a Inode,
    /// The next block of the file that may be mapped: maps ascend, so that no walk goes in circles.
    next: u64,
    /// Extents that may follow.
    left: u64,
}

/// Goes through all that a fork maps, ascending.
pub(super) fn walk(xfs: &Xfs<'_>, inode: &Inode, fork: Fork, each: Each<'_>) -> Outcome<()> {
    let (format, count) = inode.format(fork);
    let root = inode.fork(fork);
    let mut walk = Walk { xfs, inode, next: 0, left: count };
    match format {
        Format::Device | Format::Local => return Ok(()),
        Format::Extents => {
            let most = u64::try_from(root.len() / 16).expect("at most an inode");
            let Some(count) = usize::try_from(count).ok().filter(|_| count <= most) else {
                return Err(damaged("an inode has too many extents"));
            };
            root.chunks_exact(16).take(count).try_for_each(|it| walk.extent(it, each))?;
        }
        Format::Tree => {
            if root.len() < 4 {
                return Err(damaged("an inode has no room for its map"));
            }
            let (level, records) = (field::u16_be(root, 0), field::u16_be(root, 2));
            if level == 0 || level > MAX_LEVELS {
                return Err(damaged("the map of an inode has too many levels"));
            }
            walk.pointers(&root[4..], records, level, each)?;
        }
    }
    if walk.left != 0 {
        return Err(damaged("an inode has fewer extents than it says"));
    }
    Ok(())
}

/// Returns the written extents of a fork.
pub(super) fn extents(xfs: &Xfs<'_>, inode: &Inode, fork: Fork) -> Outcome<Vec<(u64, Range<u64>)>> {
    let mut found = Vec::new();
    walk(xfs, inode, fork, &mut |mapped| {
        let Mapped::Data { logical, bytes, unwritten: false } = mapped else { return Ok(()) };
        if found.len() >= MAX_EXTENTS {
            return Err(Problem::Limit.text("a file has over 4,194,304 extents"));
        }
        found.push((logical, bytes));
        Ok(())
    })?;
    Ok(found)
}

impl Walk<'_> {
    fn extent(&mut self, record: &[u8], each: Each<'_>) -> Outcome<()> {
        let Extent { logical, block, count, unwritten } = Extent::parse(record);
        let bytes = self.xfs.sb.span(block, count);
        let (Some(bytes), Some(left)) =
            (bytes.filter(|it| !it.is_empty()), self.left.checked_sub(1))
        else {
            return Err(damaged(
                "an extent of a file lies outside the file system, or exceeds their count",
            ));
        };
        if logical < self.next {
            return Err(damaged("the extents of a file do not ascend"));
        }
        (self.next, self.left) = (logical.strict_add(count), left);
        each(Mapped::Data { logical, bytes, unwritten })
    }

    /// Takes the pointers behind the keys of a node, which is of a level above 0.
    fn pointers(&mut self, room: &[u8], records: u16, level: u16, each: Each<'_>) -> Outcome<()> {
        let (most, records) = (room.len() / 16, usize::from(records));
        if records == 0 || records > most {
            return Err(damaged("a node of a file's map is impossible"));
        }
        let pointers = &room[most.strict_mul(8)..];
        for pointer in pointers.chunks_exact(8).take(records) {
            self.block(field::u64_be(pointer, 0), level.strict_sub(1), each)?;
        }
        Ok(())
    }

    fn block(&mut self, number: u64, level: u16, each: Each<'_>) -> Outcome<()> {
        let sb = &self.xfs.sb;
        let (offset, bytes) = self.xfs.blocks(sb.span(number, 1))?;
        each(Mapped::Node(offset..offset.strict_add(sb.block_len)))?;
        let magic = if sb.is_v5 { b"BMA3" } else { b"BMAP" };
        if &bytes[..4] != magic || field::u16_be(&bytes, 4) != level {
            return Err(damaged("a block of a file's map is impossible"));
        }
        let stamp = Stamp { sum: 64, place: 24, uuid: 40, owner: (56, 8, self.inode.number) };
        self.xfs.check(&bytes, offset, stamp)?;
        let room = &bytes[if sb.is_v5 { 72 } else { 24 }..];
        let records = field::u16_be(&bytes, 6);
        if level > 0 {
            return self.pointers(room, records, level, each);
        }
        // A leaf without records is impossible too: a walk over many of them would have no end.
        if records == 0 || usize::from(records) > room.len() / 16 {
            return Err(damaged("a leaf of a file's map is impossible"));
        }
        let records = room.chunks_exact(16).take(records.into());
        records.into_iter().try_for_each(|record| self.extent(record, each))
    }
}
