//! What the allocator calls free: block groups without their extents, and what no chunk has of the device. Where
//! there is a tree of free space, both must say the same.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::field;
use crate::guest::btrfs::layout::BLOCK_GROUP_TREE;
use crate::guest::btrfs::layout::FREE_SPACE_TREE;
use crate::guest::btrfs::layout::Key;
use crate::guest::btrfs::layout::Root;
use crate::guest::btrfs::layout::STRIPE_LEN;
use crate::guest::btrfs::layout::SUPERBLOCKS;
use crate::guest::btrfs::layout::damaged;
use crate::guest::btrfs::open::Btrfs;
use crate::guest::btrfs::owners::superblocks;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::ranges::Ranges;

/// Numbers of trees.
const EXTENTS: u64 = 2;
const DEVICES: u64 = 4;
const FREE_SPACE: u64 = 10;
const BLOCK_GROUPS: u64 = 11;

/// Kinds of items.
const EXTENT_ITEM: u8 = 168;
const METADATA_ITEM: u8 = 169;
const BLOCK_GROUP_ITEM: u8 = 192;
const FREE_SPACE_EXTENT: u8 = 199;
const FREE_SPACE_BITMAP: u8 = 200;
const DEV_EXTENT: u8 = 204;

/// Bytes at the start of the device in which no chunk is made any more.
const START_LEN: u64 = 1 << 20;

/// Most pieces of free space: 8 Mi of them are 128 MiB.
const MAX_PIECES: usize = 8 << 20;

/// Returns what is free, in bytes of the device.
pub(super) fn free(btrfs: &Btrfs<'_>) -> Outcome<Ranges> {
    let gaps = gaps(btrfs)?;
    compare(btrfs, &gaps)?;
    let mut pieces = outside_chunks(btrfs)?;
    for gap in gaps {
        pieces.extend(btrfs.copies(gap.start, gap.end.strict_sub(gap.start))?);
    }
    pieces.sort_by_key(|range| range.start);
    if pieces.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(damaged("two pieces of free space lie at one place"));
    }
    let mut taken = Ranges::default();
    for range in superblocks(btrfs) {
        taken.push(range);
    }
    let mut free = Ranges::default();
    for piece in pieces {
        taken.outside(piece).for_each(|range| free.push(range));
    }
    Ok(free)
}

fn tree(btrfs: &Btrfs<'_>, id: u64) -> Outcome<Root> {
    let found = btrfs.trees.iter().find(|(it, _)| *it == id);
    found.map(|(_, root)| *root).ok_or_else(|| damaged("a tree of the allocator is missing"))
}

fn push(list: &mut Vec<Range<u64>>, range: Range<u64>) -> Outcome<()> {
    if range.is_empty() {
        return Ok(());
    }
    if list.len() >= MAX_PIECES {
        return Err(Problem::Limit.text("it has over 8,388,608 pieces of free space"));
    }
    list.push(range);
    Ok(())
}

/// Returns the bytes of block groups that no extent has, in the logical space and in order. Block groups and chunks
/// must be the same.
fn gaps(btrfs: &Btrfs<'_>) -> Outcome<Vec<Range<u64>>> {
    let has_tree = btrfs.sb.ro_compat & BLOCK_GROUP_TREE != 0;
    let groups = tree(btrfs, if has_tree { BLOCK_GROUPS } else { EXTENTS })?;
    let mut chunks = btrfs.chunks.iter();
    btrfs.walk(groups, Key::new(0, 0, 0), &mut |key, _| {
        if key.kind != BLOCK_GROUP_ITEM {
            return Ok(true);
        }
        match chunks.next() {
            Some(chunk) if (chunk.start, chunk.len) == (key.object, key.offset) => Ok(true),
            _ => Err(damaged("a block group is not a chunk")),
        }
    })?;
    if chunks.next().is_some() {
        return Err(damaged("a chunk is not a block group"));
    }
    let mut gaps = Vec::new();
    let mut chunks = btrfs.chunks.iter().peekable();
    let mut at = chunks.peek().map_or(0, |chunk| chunk.start);
    btrfs.walk(tree(btrfs, EXTENTS)?, Key::new(0, 0, 0), &mut |key, _| {
        let len = match key.kind {
            EXTENT_ITEM => key.offset,
            METADATA_ITEM => btrfs.sb.node_len,
            _ => return Ok(true),
        };
        while let Some(chunk) = chunks.next_if(|chunk| chunk.end() <= key.object) {
            push(&mut gaps, at..chunk.end())?;
            at = chunks.peek().map_or(0, |chunk| chunk.start);
        }
        let end = key.object.saturating_add(len);
        if key.object < at || len == 0 || chunks.peek().is_none_or(|chunk| end > chunk.end()) {
            return Err(damaged("an extent lies in another one, or in no block group"));
        }
        push(&mut gaps, at..key.object)?;
        at = end;
        Ok(true)
    })?;
    while let Some(chunk) = chunks.next() {
        push(&mut gaps, at..chunk.end())?;
        at = chunks.peek().map_or(0, |chunk| chunk.start);
    }
    Ok(gaps)
}

/// Compares gaps with the tree of free space, if that counts.
fn compare(btrfs: &Btrfs<'_>, gaps: &[Range<u64>]) -> Outcome<()> {
    if btrfs.sb.ro_compat & FREE_SPACE_TREE != FREE_SPACE_TREE {
        return Ok(());
    }
    let sector = btrfs.sb.sector_len;
    let mut listed: Vec<Range<u64>> = Vec::new();
    let add = |listed: &mut Vec<Range<u64>>, range: Range<u64>| {
        let is_next = listed.last().is_none_or(|last| last.end <= range.start);
        if !is_next {
            return Err(damaged("the tree of free space lists a place twice"));
        }
        // A group's free space may end where that of the next one starts.
        match listed.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => push(listed, range)?,
        }
        Ok(())
    };
    btrfs.walk(tree(btrfs, FREE_SPACE)?, Key::new(0, 0, 0), &mut |key, data| {
        let end = key.object.checked_add(key.offset);
        let end = end.ok_or_else(|| damaged("the tree of free space points past the end"))?;
        match key.kind {
            FREE_SPACE_EXTENT => add(&mut listed, key.object..end)?,
            FREE_SPACE_BITMAP => {
                let bits = key.offset.strict_div(sector);
                if u64::try_from(data.len()).is_ok_and(|len| len < bits.div_ceil(8)) {
                    return Err(damaged("a bitmap of free space is too short"));
                }
                for bit in 0..bits {
                    let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
                    if data.get(byte).is_some_and(|byte| byte >> (bit % 8) & 1 == 1) {
                        let start = key.object.strict_add(bit.strict_mul(sector));
                        add(&mut listed, start..start.strict_add(sector))?;
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    })?;
    // `mkfs.btrfs` leaves what it lists of chunks that it has taken away.
    let mut chunks = Ranges::default();
    for chunk in &btrfs.chunks {
        chunks.push(chunk.start..chunk.end());
    }
    let listed: Vec<Range<u64>> =
        listed.into_iter().flat_map(|range| chunks.within(range).collect::<Vec<_>>()).collect();
    let excluded = around_superblocks(btrfs);
    let without = |list: &[Range<u64>]| {
        let mut left = Ranges::default();
        for range in list {
            excluded.outside(range.clone()).for_each(|it| left.push(it));
        }
        left
    };
    if without(gaps) == without(&listed) {
        return Ok(());
    }
    Err(damaged("the tree of free space and that of extents disagree"))
}

/// Returns the pieces of the logical space that lie on a superblock in one of their copies: they are neither given to
/// anything nor listed as free.
fn around_superblocks(btrfs: &Btrfs<'_>) -> Ranges {
    let mut found: Vec<Range<u64>> = Vec::new();
    for chunk in &btrfs.chunks {
        for copy in &chunk.copies {
            for at in SUPERBLOCKS {
                if (*copy..copy.strict_add(chunk.len)).contains(&at) {
                    let skip = at.strict_sub(*copy).strict_div(STRIPE_LEN).strict_mul(STRIPE_LEN);
                    let start = chunk.start.strict_add(skip);
                    found.push(start..start.strict_add(STRIPE_LEN).min(chunk.end()));
                }
            }
            // Chunks of old times may begin before the first superblock.
            let before = SUPERBLOCKS[0].saturating_sub(*copy);
            found.push(chunk.start..chunk.start.strict_add(before).min(chunk.end()));
        }
    }
    found.sort_by_key(|range| range.start);
    let mut ranges = Ranges::default();
    let mut end = 0;
    for range in found {
        ranges.push(range.start.max(end)..range.end.max(end));
        end = end.max(range.end);
    }
    ranges
}

/// Returns the bytes of the device that no chunk has, by the tree of the device. What that says of chunks must be what
/// chunks say.
fn outside_chunks(btrfs: &Btrfs<'_>) -> Outcome<Vec<Range<u64>>> {
    let mut copies: BTreeMap<u64, u64> = btrfs
        .chunks
        .iter()
        .flat_map(|chunk| chunk.copies.iter().map(|copy| (*copy, chunk.len)))
        .collect();
    let mut free = Vec::new();
    let mut at = START_LEN;
    btrfs.walk(tree(btrfs, DEVICES)?, Key::new(0, 0, 0), &mut |key, data| {
        if key.kind != DEV_EXTENT {
            return Ok(true);
        }
        let len = data.get(24..32).map(|len| field::u64_le(len, 0));
        if key.object != btrfs.sb.device || len.is_none() || copies.remove(&key.offset) != len {
            return Err(damaged("the tree of the device and that of chunks disagree"));
        }
        push(&mut free, at..key.offset.max(at))?;
        // It is as long as a chunk, which lies inside the device.
        at = at.max(key.offset.saturating_add(len.unwrap_or(0)));
        Ok(true)
    })?;
    if !copies.is_empty() {
        return Err(damaged("the tree of the device lacks a chunk"));
    }
    push(&mut free, at..btrfs.sb.size.max(at))?;
    Ok(free)
}
