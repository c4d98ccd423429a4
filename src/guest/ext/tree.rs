//! Names, attributes and extents of files.

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::ext::attributes;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::layout::dir_entries;
use crate::guest::ext::mapping::Mapped;
use crate::guest::ext::mapping::Walk;
use crate::guest::ext::open::Ext;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Bytes;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileKind;
use crate::guest::file::Piece;
use crate::guest::owner::FileId;

/// Most pieces of a file: 4 Mi of them are 160 MiB.
const MAX_PIECES: usize = 4 << 20;

/// Most bytes of a directory: 10 million names of common length.
const MAX_DIR_LEN: u64 = 512 << 20;

/// Returns the names in a directory.
pub(super) fn entries(ext: &Ext<'_>, folder: FileId) -> Outcome<Vec<Entry>> {
    let inode = ext.live(folder)?;
    if inode.kind() != Some(FileKind::Directory) {
        return Err(Problem::Request.text("it is not a directory"));
    }
    let mut found = Vec::new();
    let mut take = |block: &[u8]| -> Outcome<()> {
        for entry in dir_entries(block, ext.sb.inodes) {
            let Some(entry) = entry else {
                return Err(Problem::Damaged.text("an entry of a directory is impossible"));
            };
            if !matches!(entry.name, b"." | b"..") {
                if entry.name.is_empty() || entry.name.iter().any(|it| matches!(it, 0 | b'/')) {
                    return Err(Problem::Damaged.text("a name holds a slash or a NUL, or nothing"));
                }
                found.push(Entry { name: entry.name.to_vec(), id: FileId(entry.inode) });
            }
        }
        Ok(())
    };
    if inode.has_inline_data() {
        // Four bytes are the number of the parent.
        let (head, tail) = attributes::inline_data(ext, &inode)?;
        take(&head[4..])?;
        take(&tail)?;
        return Ok(found);
    }
    if inode.size > MAX_DIR_LEN {
        return Err(Problem::Limit.text("a directory is over 512 MiB long"));
    }
    let block_len = ext.sb.block_len;
    let blocks = inode.size.div_ceil(block_len);
    Walk::new(&ext.slice, &ext.sb, &inode).run(&mut |mapped| {
        let Mapped::Data { logical, physical, count } = mapped else { return Ok(()) };
        for step in 0..count.min(blocks.saturating_sub(logical)) {
            let offset = physical.strict_add(step).strict_mul(block_len);
            let block = ext.slice.bytes(offset, block_len)?;
            check_sum(ext, &inode, logical.strict_add(step), &block)?;
            take(&block)?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Compares the checksum at the end of a block of a directory.
fn check_sum(ext: &Ext<'_>, inode: &Inode, logical: u64, block: &[u8]) -> Outcome<()> {
    if !ext.sb.has_sums() {
        return Ok(());
    }
    let is_right = if let Some(count_at) = node_of_hash_tree(inode, logical, block) {
        hash_tree_sum(inode, block, count_at)
    } else {
        let at = block.len().strict_sub(12);
        let tail = &block[at..];
        let has_tail = field::u32_le(tail, 0) == 0
            && field::u16_le(tail, 4) == 12
            && field::u16_le(tail, 6) == 0xde00;
        has_tail && crc32c_register(inode.seed, &block[..at]) == field::u32_le(tail, 8)
    };
    if is_right {
        return Ok(());
    }
    Err(Problem::Damaged.text("the checksum of a directory is wrong"))
}

/// Returns where a node of a hash tree counts its entries: the root is the first block, behind `.`, `..`
/// and what they are followed by; other nodes look like one unused entry. `None` for a leaf.
fn node_of_hash_tree(inode: &Inode, logical: u64, block: &[u8]) -> Option<usize> {
    if !inode.is_indexed() {
        return None;
    }
    if logical == 0 {
        return Some(24_usize.strict_add(usize::from(block[29])));
    }
    let whole = match field::u16_le(block, 4) {
        0 | 0xffff => 65_536,
        len => usize::from(len),
    };
    (field::u32_le(block, 0) == 0 && whole == block.len()).then_some(8)
}

/// Compares the checksum of a node of a hash tree, which stands behind the room for its entries and sums
/// those that are there.
fn hash_tree_sum(inode: &Inode, block: &[u8], count_at: usize) -> bool {
    let Some(head) = block.get(count_at..count_at.strict_add(4)) else { return false };
    let end = |entries: u16| count_at.strict_add(usize::from(entries).strict_mul(8));
    let (most, tail_at) = (end(field::u16_le(head, 2)), end(field::u16_le(head, 0)));
    let Some(tail) = block.get(tail_at..tail_at.strict_add(8)) else { return false };
    if most > tail_at {
        return false;
    }
    let sum = crc32c_register(inode.seed, &block[..most]);
    let sum = crc32c_register(sum, &tail[..4]);
    crc32c_register(sum, &[0; 4]) == field::u32_le(tail, 4)
}

/// Returns where the content of a file or of a link lies.
pub(super) fn content(ext: &Ext<'_>, id: FileId) -> Outcome<Content> {
    let inode = &ext.live(id)?;
    let size = inode.size;
    if !matches!(inode.kind(), Some(FileKind::Regular | FileKind::Symlink)) {
        return Err(Problem::Request.text("it is not a regular file"));
    }
    if inode.is_encrypted() {
        return Err(Problem::Unsupported.text("it is encrypted"));
    }
    let here = |bytes: Vec<u8>| {
        let len = u64::try_from(bytes.len()).expect("a block");
        Content { size, pieces: vec![Piece { start: 0, len, bytes: Bytes::Here(bytes) }] }
    };
    if inode.is_fast_link() {
        let len = usize::try_from(size).expect("below 60");
        return Ok(here(inode.block_field()[..len].to_vec()));
    }
    if inode.has_inline_data() {
        let (head, tail) = attributes::inline_data(ext, inode)?;
        let mut bytes = [head, tail].concat();
        bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        return Ok(here(bytes));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let block_len = ext.sb.block_len;
    Walk::new(&ext.slice, &ext.sb, inode).run(&mut |mapped| {
        let Mapped::Data { logical, physical, count } = mapped else { return Ok(()) };
        // Logical numbers are below 2^48, and physical ones inside the slice.
        let start = logical.strict_mul(block_len);
        let len = count.strict_mul(block_len).min(size.saturating_sub(start));
        let at = physical.strict_mul(block_len);
        let have_pieces = pieces.len();
        match pieces.last_mut() {
            _ if len == 0 => {}
            Some(Piece { start: first, len: have, bytes: Bytes::At(place) })
                if first.strict_add(*have) == start && place.strict_add(*have) == at =>
            {
                *have = have.strict_add(len);
            }
            _ if have_pieces >= MAX_PIECES => {
                return Err(Problem::Limit.text("a file has over 4,194,304 extents"));
            }
            _ => pieces.push(Piece { start, len, bytes: Bytes::At(at) }),
        }
        Ok(())
    })?;
    Ok(Content { size, pieces })
}
