//! Whose every block is, by walking all inodes; and, apart from that, what the free-space trees say.

use std::ops::Range;

use crate::field;
use crate::guest::claims::Claims;
use crate::guest::failure::Outcome;
use crate::guest::owner::FileId;
use crate::guest::owner::Metadata;
use crate::guest::owner::Owner;
use crate::guest::ranges::Ranges;
use crate::guest::xfs::btree;
use crate::guest::xfs::btree::OnRecord;
use crate::guest::xfs::inode::Fork;
use crate::guest::xfs::inode::Format;
use crate::guest::xfs::inode::Inode;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::mapping;
use crate::guest::xfs::mapping::Mapped;
use crate::guest::xfs::open::Xfs;

/// Inodes of a record, and how many of them one bit of its map of holes stands for.
const CHUNK_INODES: u64 = 64;
const INODES_PER_HOLE: u64 = 4;

/// Marks blocks that were copied for a write that has not happened.
const STAGED: u32 = 1 << 31;

/// Claims all metadata and all blocks of live files.
pub(super) fn claim(xfs: &Xfs<'_>, claims: &mut Claims) -> Outcome<()> {
    let mut shared = Ranges::default();
    for group in 0..xfs.sb.groups {
        headers(xfs, group, claims)?;
        trees(xfs, group, claims, &mut shared)?;
    }
    if let Some(log) = xfs.sb.span(xfs.sb.log_start, xfs.sb.log_blocks) {
        claims.add(log, Owner::Journal)?;
    }
    for group in 0..xfs.sb.groups {
        let space = xfs.inode_space(group)?;
        let mut next = 0;
        let mut on_block = |_| Ok(());
        let mut on_record = |record: &[u8]| {
            let chunk = Chunk::parse(xfs, group, record, next)?;
            next = chunk.first.strict_add(CHUNK_INODES);
            chunk.claim(xfs, claims, &shared)
        };
        let on_record: OnRecord<'_> = &mut on_record;
        btree::walk(xfs, group, &btree::INODES, space.tree, &mut on_block, Some(on_record))?;
    }
    Ok(())
}

/// Claims the sectors at the start of a group, and the blocks that the allocator keeps for its trees.
fn headers(xfs: &Xfs<'_>, group: u64, claims: &mut Claims) -> Outcome<()> {
    let sb = &xfs.sb;
    let sectors = sb.sector_len.strict_mul(4).div_ceil(sb.block_len);
    let Some(Range { start, end }) = sb.group_span(group, 0, sectors) else {
        return Err(damaged("a group is shorter than its headers"));
    };
    let second = start.strict_add(sb.sector_len);
    claims.add(start..second, Owner::Metadata(Metadata::Superblock))?;
    claims.add(second..end, Owner::Metadata(Metadata::Descriptors))?;
    let space = xfs.free_space(group)?;
    for block in xfs.free_list(group, &space)? {
        add(xfs, group, block.into(), Metadata::Allocator, claims)?;
    }
    Ok(())
}

fn add(xfs: &Xfs<'_>, group: u64, block: u64, kind: Metadata, claims: &mut Claims) -> Outcome<()> {
    match xfs.sb.group_span(group, block, 1) {
        Some(bytes) => claims.add(bytes, Owner::Metadata(kind)),
        None => Err(damaged("a group's tree points outside it")),
    }
}

/// Claims the blocks of a group's trees, and collects what files share.
fn trees(xfs: &Xfs<'_>, group: u64, claims: &mut Claims, shared: &mut Ranges) -> Outcome<()> {
    let sb = &xfs.sb;
    let (space, inodes) = (xfs.free_space(group)?, xfs.inode_space(group)?);
    let mut all = vec![
        (&btree::BY_BLOCK, space.by_block, Metadata::Allocator),
        (&btree::BY_COUNT, space.by_count, Metadata::Allocator),
        (&btree::INODES, inodes.tree, Metadata::Inodes),
    ];
    if sb.has_free_inode_tree() {
        all.push((&btree::FREE_INODES, inodes.free_tree, Metadata::Inodes));
    }
    if sb.has_reverse_map() {
        all.push((&btree::REVERSE_MAP, space.reverse_map, Metadata::Allocator));
    }
    for (kind, root, owner) in all {
        let mut on_block = |block| add(xfs, group, block, owner, claims);
        btree::walk(xfs, group, kind, root, &mut on_block, None)?;
    }
    if !sb.has_refcounts() {
        return Ok(());
    }
    let mut staged = Vec::new();
    let mut next = 0;
    let mut on_block = |block| add(xfs, group, block, Metadata::Allocator, claims);
    let mut on_record = |record: &[u8]| {
        let start = field::u32_be(record, 0);
        let count = u64::from(field::u32_be(record, 4));
        let Some(bytes) = sb.group_span(group, (start & !STAGED).into(), count) else {
            return Err(damaged("shared blocks lie outside their group"));
        };
        if start & STAGED != 0 {
            staged.push(bytes);
        } else if bytes.start < next {
            return Err(damaged("shared blocks do not ascend"));
        } else {
            next = bytes.end;
            shared.push(bytes);
        }
        Ok(())
    };
    let on_record: OnRecord<'_> = &mut on_record;
    btree::walk(xfs, group, &btree::REFCOUNTS, space.refcounts, &mut on_block, Some(on_record))?;
    staged.into_iter().try_for_each(|it| claims.add(it, Owner::Metadata(Metadata::Other)))
}

/// Inodes that were made together.
struct Chunk {
    group: u64,
    /// Number of the first one in the group.
    first: u64,
    /// Which are not in use, and which have no place at all.
    free: u64,
    holes: u16,
}

impl Chunk {
    fn parse(xfs: &Xfs<'_>, group: u64, record: &[u8], next: u64) -> Outcome<Self> {
        let first = u64::from(field::u32_be(record, 0));
        let free = field::u64_be(record, 8);
        let (holes, count, free_count) = if xfs.sb.has_sparse_inodes() {
            (field::u16_be(record, 4), record[6].into(), record[7].into())
        } else {
            (0, 64, field::u32_be(record, 4))
        };
        let chunk = Self { group, first, free, holes };
        let present = (0..CHUNK_INODES).filter(|it| chunk.has(*it)).count();
        let unused = (0..CHUNK_INODES).filter(|it| chunk.has(*it) && chunk.is_free(*it)).count();
        let end = first.strict_add(CHUNK_INODES);
        if first < next
            || end > xfs.sb.inodes_of_group(group) && holes == 0
            || u32::try_from(present).ok() != Some(count)
            || u32::try_from(unused).ok() != Some(free_count)
        {
            return Err(damaged("a record of the tree of inodes is impossible"));
        }
        Ok(chunk)
    }

    fn has(&self, place: u64) -> bool {
        self.holes >> (place / INODES_PER_HOLE) & 1 == 0
    }

    fn is_free(&self, place: u64) -> bool {
        self.free >> place & 1 != 0
    }

    /// Claims the inodes themselves, and what the live ones own, a run between holes at a time.
    fn claim(&self, xfs: &Xfs<'_>, claims: &mut Claims, shared: &Ranges) -> Outcome<()> {
        let mut place = 0;
        while place < CHUNK_INODES {
            let end = (place..CHUNK_INODES).find(|it| !self.has(*it)).unwrap_or(CHUNK_INODES);
            if end > place {
                self.run(xfs, place..end, claims, shared)?;
            }
            place = end.max(place.strict_add(1));
        }
        Ok(())
    }

    fn run(
        &self,
        xfs: &Xfs<'_>,
        places: Range<u64>,
        claims: &mut Claims,
        shared: &Ranges,
    ) -> Outcome<()> {
        let number = |place: u64| xfs.sb.inode_number(self.group, self.first.strict_add(place));
        let last = xfs.sb.inode_offset(number(places.end.strict_sub(1)));
        let (Some(start), Some(last)) = (xfs.sb.inode_offset(number(places.start)), last) else {
            return Err(damaged("inodes lie outside their group"));
        };
        let end = last.strict_add(xfs.sb.inode_len);
        claims.add(start..end, Owner::Metadata(Metadata::Inodes))?;
        let bytes = xfs.slice.bytes(start, end.strict_sub(start))?;
        let len = usize::try_from(xfs.sb.inode_len).expect("at most 2 KiB");
        let first = places.start;
        for (place, raw) in places.zip(bytes.chunks_exact(len)) {
            let id = FileId(number(place));
            if self.is_free(place) {
                if field::u16_be(raw, 2) != 0 {
                    return Err(damaged("it is marked free and is in use").of(Owner::File(id)));
                }
                continue;
            }
            let at = start.strict_add(place.strict_sub(first).strict_mul(xfs.sb.inode_len));
            let inode = xfs.parse_inode(raw, at, id.0)?;
            of_inode(xfs, &inode, claims, shared).map_err(|it| it.of(Owner::File(id)))?;
        }
        Ok(())
    }
}

/// Claims what an inode owns.
fn of_inode(xfs: &Xfs<'_>, inode: &Inode, claims: &mut Claims, shared: &Ranges) -> Outcome<()> {
    let sb = &xfs.sb;
    if inode.is_realtime() && inode.mode & 0o170_000 == 0o100_000 {
        return Err(damaged("a file lies on a realtime device, and there is none"));
    }
    let data = if sb.realtime_inodes.contains(&inode.number) {
        Owner::Metadata(Metadata::Other)
    } else if sb.quota_inodes.contains(&inode.number) {
        Owner::Metadata(Metadata::Quota)
    } else if inode.is_directory() {
        Owner::OfFile(Metadata::Directory, inode.id())
    } else {
        Owner::File(inode.id())
    };
    let is_regular = inode.mode & 0o170_000 == 0o100_000;
    if is_regular && !matches!(inode.format(Fork::Data).0, Format::Extents | Format::Tree) {
        return Err(damaged("the fork of a regular file has an invalid format"));
    }
    let attributes = Owner::OfFile(Metadata::Attributes, inode.id());
    for (fork, owner) in [(Fork::Data, data), (Fork::Attributes, attributes)] {
        mapping::walk(xfs, inode, fork, &mut |mapped| match mapped {
            Mapped::Data { bytes, .. } if fork == Fork::Data && inode.may_share() => {
                may_share(bytes, owner, claims, shared)
            }
            Mapped::Data { bytes, .. } => claims.add(bytes, owner),
            Mapped::Node(bytes) => claims.add(bytes, Owner::OfFile(Metadata::Mapping, inode.id())),
        })?;
    }
    Ok(())
}

/// Claims blocks that others may own too only where the tree of shared blocks says so.
fn may_share(bytes: Range<u64>, owner: Owner, claims: &mut Claims, shared: &Ranges) -> Outcome<()> {
    let mut at = bytes.start;
    for alone in shared.outside(bytes.clone()) {
        claims.share(at..alone.start, owner)?;
        at = alone.end;
        claims.add(alone, owner)?;
    }
    claims.share(at..bytes.end, owner)
}

/// Returns what the trees of free space by block say.
pub(super) fn free(xfs: &Xfs<'_>) -> Outcome<Ranges> {
    let sb = &xfs.sb;
    let mut free = Ranges::default();
    for group in 0..sb.groups {
        let space = xfs.free_space(group)?;
        let (mut next, mut sum) = (0, 0_u64);
        let mut on_block = |_| Ok(());
        let mut on_record = |record: &[u8]| {
            let start = u64::from(field::u32_be(record, 0));
            let count = u64::from(field::u32_be(record, 4));
            let bytes = sb.group_span(group, start, count).filter(|it| !it.is_empty());
            let Some(bytes) = bytes.filter(|_| start >= next) else {
                return Err(damaged("a record of free space is impossible"));
            };
            next = start.strict_add(count);
            sum = sum.strict_add(count);
            free.push(bytes);
            Ok(())
        };
        let on_record: OnRecord<'_> = &mut on_record;
        btree::walk(xfs, group, &btree::BY_BLOCK, space.by_block, &mut on_block, Some(on_record))?;
        if sum != u64::from(space.free_blocks) {
            return Err(damaged(
                "the free blocks of a group do not add up to what its header says",
            ));
        }
    }
    Ok(free)
}
