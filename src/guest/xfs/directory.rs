//! Names in directories: in the inode, in one block, or in many blocks, whose indexes are not needed.
//!
//! ```text
//! in the inode: 0 1 names, 1 1 names with wide numbers, 2 4 or 8 parent; then per name { 1 length, 2
//!   offset, name, 1 type, 4 or 8 inode }
//! block of names: 0 magic XD2B or XDB3 (one block: an index stands at its end), XD2D or XDD3 (many); in
//!   version 5 { 4 4 crc, 8 8 place, 16 8 lsn, 24 16 uuid, 40 8 inode }; three pairs of free space
//! name: { 8 inode, 1 length, name, 1 type, padding, 2 own offset }, to a multiple of 8
//! free: { 2 0xffff, 2 length, ..., 2 own offset }
//! end of a single block: an index of 8 bytes an entry, then 4 how many, 4 unused ones
//! Types stand there if the file system has them.
//! ```

use std::ops::Range;

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Entry;
use crate::guest::owner::FileId;
use crate::guest::xfs::inode::Fork;
use crate::guest::xfs::inode::Format;
use crate::guest::xfs::inode::Inode;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::mapping;
use crate::guest::xfs::open::Stamp;
use crate::guest::xfs::open::Xfs;

/// Bytes of a directory's file before its indexes begin.
const NAMES_LEN: u64 = 32 << 30;

/// Most bytes of names: 10 million of common length.
const MAX_NAMES_LEN: u64 = 512 << 20;

/// Returns the names in a directory.
pub(super) fn entries(xfs: &Xfs<'_>, folder: FileId) -> Outcome<Vec<Entry>> {
    let inode = xfs.inode(folder)?;
    if !inode.is_directory() {
        return Err(Problem::Request.text("it is not a directory"));
    }
    let mut found = Vec::new();
    match inode.format(Fork::Data).0 {
        Format::Local => {
            let bytes = inode.fork(Fork::Data);
            let len = usize::try_from(inode.size).unwrap_or(usize::MAX).min(bytes.len());
            in_inode(&bytes[..len], xfs.sb.has_types(), &mut found)?;
        }
        Format::Extents | Format::Tree => in_blocks(xfs, &inode, &mut found)?,
        Format::Device => {
            return Err(damaged("the fork of a directory has the format of a device"));
        }
    }
    Ok(found)
}

/// Takes a name that is not that of the directory itself or of its parent.
fn take(name: &[u8], inode: u64, found: &mut Vec<Entry>) -> Outcome<()> {
    if matches!(name, b"." | b"..") {
        return Ok(());
    }
    if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(damaged("a name holds a slash or a NUL, or nothing"));
    }
    found.push(Entry { name: name.to_vec(), id: FileId(inode) });
    Ok(())
}

fn in_inode(bytes: &[u8], has_types: bool, found: &mut Vec<Entry>) -> Outcome<()> {
    let broken = || damaged("the names in a directory's inode are impossible");
    let [count, wide, ..] = *bytes else { return Err(broken()) };
    let number_len: usize = if wide > 0 { 8 } else { 4 };
    let mut rest = bytes.get(number_len.strict_add(2)..).ok_or_else(broken)?;
    for _ in 0..count {
        let name_len = usize::from(*rest.first().ok_or_else(broken)?);
        let name_end = name_len.strict_add(3);
        let number_at = name_end.strict_add(usize::from(has_types));
        let end = number_at.strict_add(number_len);
        if rest.len() < end {
            return Err(broken());
        }
        let number = match number_len {
            8 => field::u64_be(rest, number_at),
            _ => field::u32_be(rest, number_at).into(),
        };
        take(&rest[3..name_end], number, found)?;
        rest = &rest[end..];
    }
    Ok(())
}

/// Reads the blocks of names one after another, each of which may be made of several blocks of the file system.
fn in_blocks(xfs: &Xfs<'_>, inode: &Inode, found: &mut Vec<Entry>) -> Outcome<()> {
    let (block_len, dir_len) = (xfs.sb.block_len, xfs.sb.dir_block_len);
    let mut block = Vec::new();
    let mut first = 0;
    let mut next = 0;
    let mut total = 0_u64;
    mapping::walk(xfs, inode, Fork::Data, &mut |mapped| {
        let mapping::Mapped::Data { logical, bytes, unwritten } = mapped else { return Ok(()) };
        let start = logical.saturating_mul(block_len);
        if start >= NAMES_LEN {
            return Ok(());
        }
        let len = bytes.end.strict_sub(bytes.start);
        let is_whole = block.is_empty() && start.is_multiple_of(dir_len) || start == next;
        total = total.saturating_add(len);
        if unwritten || !is_whole || total > MAX_NAMES_LEN {
            return Err(damaged("the blocks of a directory are impossible"));
        }
        let mut at = bytes.start;
        while at < bytes.end {
            if block.is_empty() {
                first = at;
            }
            let have = u64::try_from(block.len()).expect("at most 64 KiB");
            let take = dir_len.strict_sub(have).min(bytes.end.strict_sub(at));
            block.extend(xfs.slice.bytes(at, take)?);
            at = at.strict_add(take);
            if u64::try_from(block.len()).expect("at most 64 KiB") == dir_len {
                in_block(xfs, inode, &block, first, found)?;
                block.clear();
            }
        }
        next = start.strict_add(len);
        Ok(())
    })?;
    if block.is_empty() { Ok(()) } else { Err(damaged("the last block of a directory is short")) }
}

fn in_block(
    xfs: &Xfs<'_>,
    inode: &Inode,
    block: &[u8],
    offset: u64,
    found: &mut Vec<Entry>,
) -> Outcome<()> {
    let [single, many]: [&[u8; 4]; 2] =
        if xfs.sb.is_v5 { [b"XDB3", b"XDD3"] } else { [b"XD2B", b"XD2D"] };
    let is_single = &block[..4] == single;
    if !is_single && &block[..4] != many {
        return Err(damaged("a block of a directory is of no kind that is known"));
    }
    xfs.check(block, offset, Stamp { sum: 4, place: 8, uuid: 24, owner: (40, 8, inode.number) })?;
    let start = if xfs.sb.is_v5 { 64 } else { 16 };
    let end = if is_single { index_start(block)? } else { block.len() };
    names(block, start..end, xfs.sb.has_types(), found)
}

/// Returns where the index at the end of a single block begins.
fn index_start(block: &[u8]) -> Outcome<usize> {
    let tail = block.len().strict_sub(8);
    let count = usize::try_from(field::u32_be(block, tail)).unwrap_or(usize::MAX);
    let len = count.checked_mul(8);
    len.and_then(|len| tail.checked_sub(len))
        .ok_or_else(|| damaged("the index of a directory is longer than its block"))
}

fn names(
    block: &[u8],
    range: Range<usize>,
    has_types: bool,
    found: &mut Vec<Entry>,
) -> Outcome<()> {
    let broken = || damaged("an entry of a directory is impossible");
    let mut at = range.start;
    while at < range.end {
        let rest = &block[at..range.end];
        if rest.len() < 8 {
            return Err(broken());
        }
        let is_free = field::u16_be(rest, 0) == 0xffff;
        let len = if is_free {
            usize::from(field::u16_be(rest, 2))
        } else {
            let name_len = usize::from(*rest.get(8).ok_or_else(broken)?);
            name_len.strict_add(11).strict_add(usize::from(has_types)).next_multiple_of(8)
        };
        if len < 8 || !len.is_multiple_of(8) || len > rest.len() {
            return Err(broken());
        }
        if usize::from(field::u16_be(rest, len.strict_sub(2))) != at {
            return Err(broken());
        }
        if !is_free {
            let name_end = usize::from(rest[8]).strict_add(9);
            take(&rest[9..name_end], field::u64_be(rest, 0), found)?;
        }
        at = at.strict_add(len);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn names_of(bytes: &[u8], has_types: bool) -> Option<Vec<(Vec<u8>, u64)>> {
        let mut found = Vec::new();
        in_inode(bytes, has_types, &mut found).ok()?;
        Some(found.into_iter().map(|entry| (entry.name, entry.id.0)).collect())
    }

    #[test]
    fn names_in_an_inode_have_narrow_or_wide_numbers_and_may_have_types() {
        let narrow = b"\x02\0\0\0\0\x80\x01\0\x60a\0\0\0\x83\x02\0\x70bc\0\0\0\x84";
        let expected = vec![(b"a".to_vec(), 0x83), (b"bc".to_vec(), 0x84)];
        assert_eq!(names_of(narrow, false), Some(expected));
        let wide = b"\x01\x01\0\0\0\0\0\0\0\x80\x01\0\x60a\x01\0\0\0\x01\0\0\0\x83";
        assert_eq!(names_of(wide, true), Some(vec![(b"a".to_vec(), 0x1_0000_0083)]));
        for len in 0..narrow.len() {
            assert_eq!(names_of(&narrow[..len], false), None, "{len}");
        }
        assert_eq!(names_of(b"\x01\0\0\0\0\x80\x01\0\x60/\0\0\0\x83", false), None);
    }

    #[test]
    fn entries_of_a_block_must_say_where_they_are() {
        let mut block = vec![0; 64];
        field::put_u64_be(&mut block, 16, 131);
        block[24] = 3;
        block[25..28].copy_from_slice(b"abc");
        field::put_u16_be(&mut block, 30, 16);
        field::put_u16_be(&mut block, 32, 0xffff);
        field::put_u16_be(&mut block, 34, 32);
        field::put_u16_be(&mut block, 62, 32);
        let found = |block: &[u8]| {
            let mut found = Vec::new();
            names(block, 16..64, true, &mut found).ok().map(|()| found.len())
        };
        assert_eq!(found(&block), Some(1));
        for (at, value) in [(31, 17), (35, 31), (35, 40), (63, 33), (24, 200), (25, b'/')] {
            let before = block[at];
            block[at] = value;
            assert_eq!(found(&block), None, "{at}");
            block[at] = before;
        }
    }
}
