//! Whose every block is, by walking all inodes; and, apart from that, what the bitmaps call free.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::claims::Claims;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::inode::is_unused;
use crate::guest::ext::layout::COMPAT_ORPHAN_FILE;
use crate::guest::ext::layout::INCOMPAT_MMP;
use crate::guest::ext::layout::inode_table_blocks;
use crate::guest::ext::mapping::Mapped;
use crate::guest::ext::mapping::Walk;
use crate::guest::ext::open::Ext;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::owner::FileId;
use crate::guest::owner::Metadata;
use crate::guest::owner::Owner;
use crate::guest::ranges::Ranges;

const BAD_BLOCKS: u64 = 1;
const RESIZE: u64 = 7;

/// Bytes of an inode table that are read at once.
const TABLE_PIECE_LEN: u64 = 512 << 10;

/// Most files that were deleted while open: a list in a circle ends here.
const MAX_ORPHANS: usize = 1 << 16;

/// Claims all metadata and all blocks of live files.
pub(super) fn claim(ext: &Ext<'_>, claims: &mut Claims) -> Outcome<()> {
    for (range, owner) in fixed(ext) {
        claims.add(range, owner)?;
    }
    let orphans = orphans(ext)?;
    let mut walk = Walker { ext, claims, attribute_blocks: BTreeSet::new() };
    let inode_len = ext.sb.inode_len;
    let per_piece = TABLE_PIECE_LEN.strict_div(inode_len);
    for (number, group) in ext.groups.iter() {
        let first = number.strict_mul(ext.sb.inodes_per_group).strict_add(1);
        let table = group.inode_table.strict_mul(ext.sb.block_len);
        let mut done = 0;
        while done < group.used_inodes {
            let count = group.used_inodes.strict_sub(done).min(per_piece);
            let offset = table.strict_add(done.strict_mul(inode_len));
            let bytes = ext.slice.bytes(offset, count.strict_mul(inode_len))?;
            let len = usize::try_from(inode_len).expect("at most a block");
            for (place, raw) in (done..).zip(bytes.chunks_exact(len)) {
                if is_unused(raw) {
                    continue;
                }
                let inode = first.strict_add(place);
                walk.inode(raw, inode, &orphans)
                    .map_err(|failure| failure.of(Owner::File(FileId(inode))))?;
            }
            done = done.strict_add(count);
        }
    }
    Ok(())
}

/// Returns what lies at fixed places, in the order of the groups.
fn fixed(ext: &Ext<'_>) -> Vec<(Range<u64>, Owner)> {
    let sb = &ext.sb;
    let mut all = Vec::new();
    if sb.block_len == 1024 {
        all.push((0..1024, Owner::BootCode));
    }
    let mut put = |block, count, kind| all.push((ext.span(block, count), Owner::Metadata(kind)));
    for (number, group) in ext.groups.iter() {
        let [superblock, descs] = sb.group_head(number);
        put(superblock.0, superblock.1, Metadata::Superblock);
        // Room for more descriptors may be cut off by the end of a short last group.
        let end = descs.0.strict_add(descs.1).min(sb.blocks);
        put(descs.0, end.saturating_sub(descs.0), Metadata::Descriptors);
        put(group.block_bitmap, 1, Metadata::Allocator);
        put(group.inode_bitmap, 1, Metadata::Allocator);
        put(group.inode_table, inode_table_blocks(sb), Metadata::Inodes);
    }
    if sb.incompat & INCOMPAT_MMP != 0 && sb.mmp_block != 0 {
        put(sb.mmp_block, 1, Metadata::Other);
    }
    all
}

/// Returns the inodes that no directory names and that are there all the same.
fn orphans(ext: &Ext<'_>) -> Outcome<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let mut next = ext.sb.last_orphan;
    while next != 0 && found.insert(next) {
        if found.len() > MAX_ORPHANS {
            return Err(
                Problem::Limit.text("it has over 65,536 files that were deleted while open")
            );
        }
        next = ext.inode(next)?.next_orphan;
    }
    if ext.sb.compat & COMPAT_ORPHAN_FILE != 0 && ext.sb.orphan_file != 0 {
        let file = ext.inode(ext.sb.orphan_file)?;
        let block_len = usize::try_from(ext.sb.block_len).expect("at most 64 KiB");
        Walk::new(&ext.slice, &ext.sb, &file).run(&mut |mapped| {
            let Mapped::Data { physical, count, .. } = mapped else { return Ok(()) };
            for block in physical..physical.strict_add(count) {
                let bytes =
                    ext.slice.bytes(block.strict_mul(ext.sb.block_len), ext.sb.block_len)?;
                // Eight bytes at the end are a magic number and a checksum.
                let numbers = bytes[..block_len.strict_sub(8)].chunks_exact(4);
                found.extend(
                    numbers.map(|it| u64::from(field::u32_le(it, 0))).filter(|it| *it != 0),
                );
                if found.len() > MAX_ORPHANS {
                    let text = "it has over 65,536 files that were deleted while open";
                    return Err(Problem::Limit.text(text));
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

struct Walker<'a, 'b> {
    ext: &'a Ext<'a>,
    claims: &'b mut Claims,
    /// Blocks of attributes are shared by files: each counts once.
    attribute_blocks: BTreeSet<u64>,
}

impl Walker<'_, '_> {
    fn inode(&mut self, raw: &[u8], number: u64, orphans: &BTreeSet<u64>) -> Outcome<()> {
        let sb = &self.ext.sb;
        let reserved = number < sb.first_inode;
        let links = field::u16_le(raw, 0x1a);
        if links == 0 && !reserved && !orphans.contains(&number) {
            return Ok(());
        }
        let inode = Inode::parse(raw, number, sb)?;
        let acl = inode.attribute_block;
        if acl != 0 && self.attribute_blocks.insert(acl) {
            let owner = Owner::OfFile(Metadata::Attributes, inode.id());
            self.claims.add(self.ext.span(acl, 1), owner)?;
        }
        if reserved && inode.blocks == 0 {
            return Ok(());
        }
        let (data, map) = self.owners_of(&inode);
        let ext = self.ext;
        let claims = &mut *self.claims;
        if number == RESIZE {
            // It maps the room for more descriptors, which lies at fixed places, by one block of its own.
            let own = u64::from(field::u32_le(inode.block_field(), 52));
            let count = u64::from(own != 0);
            return claims.add(ext.span(own, count), map);
        }
        Walk::new(&ext.slice, sb, &inode).run(&mut |mapped| match mapped {
            Mapped::Data { physical, count, .. } | Mapped::Unwritten { physical, count } => {
                claims.add(ext.span(physical, count), data)
            }
            Mapped::Node(block) => claims.add(ext.span(block, 1), map),
        })
    }

    /// Returns the owner of an inode's data, and that of the blocks of its map.
    fn owners_of(&self, inode: &Inode) -> (Owner, Owner) {
        let sb = &self.ext.sb;
        let number = inode.number;
        let whole = |owner| (owner, owner);
        if number == sb.journal_inode {
            return whole(Owner::Journal);
        }
        if sb.quota_inodes.contains(&number) {
            return whole(Owner::Metadata(Metadata::Quota));
        }
        if number == RESIZE {
            return whole(Owner::Metadata(Metadata::Descriptors));
        }
        if number == BAD_BLOCKS || number == sb.orphan_file {
            return whole(Owner::Metadata(Metadata::Other));
        }
        let map = Owner::OfFile(Metadata::Mapping, inode.id());
        if inode.holds_attribute() {
            return (Owner::OfFile(Metadata::Attributes, inode.id()), map);
        }
        if inode.mode & 0o170_000 == 0o040_000 {
            return (Owner::OfFile(Metadata::Directory, inode.id()), map);
        }
        (Owner::File(inode.id()), map)
    }
}

/// Returns what the bitmaps call free. A bitmap that was never written calls free all but what lies at
/// fixed places.
pub(super) fn free(ext: &Ext<'_>) -> Outcome<Ranges> {
    let sb = &ext.sb;
    let mut places: Vec<Range<u64>> = fixed(ext).into_iter().map(|(range, _)| range).collect();
    places.sort_unstable_by_key(|range| range.start);
    let mut taken = Ranges::default();
    let mut end = 0;
    for range in places {
        // Copies may be claimed twice in a damaged file system; here they only have to ascend.
        taken.push(range.start.max(end)..range.end);
        end = end.max(range.end);
    }
    let mut free = Ranges::default();
    let grain = sb.cluster_blocks.strict_mul(sb.block_len);
    for (number, group) in ext.groups.iter() {
        let (start, end) = (sb.group_start(number), sb.group_end(number));
        let bytes = ext.span(start, end.strict_sub(start));
        if group.block_uninit && sb.has_group_sums() {
            for range in taken.outside(bytes) {
                // A cluster that metadata begins or ends in is taken whole.
                let start = range.start.checked_next_multiple_of(grain).unwrap_or(u64::MAX);
                let end = if range.end.is_multiple_of(grain) || range.end == ext.about.size {
                    range.end
                } else {
                    range.end.strict_div(grain).strict_mul(grain)
                };
                let start = if grain == sb.block_len { range.start } else { start };
                free.push(start..end.max(start));
            }
            continue;
        }
        let bitmap = ext.slice.bytes(group.block_bitmap.strict_mul(sb.block_len), sb.block_len)?;
        let bits = sb.blocks_per_group.strict_div(sb.cluster_blocks);
        let used = usize::try_from(bits / 8).expect("at most a block");
        if sb.has_sums() {
            let sum = crc32c_register(sb.seed, &bitmap[..used]);
            let wide = sb.desc_len >= 64;
            let mask = if wide { u32::MAX } else { 0xffff };
            if sum & mask != group.block_bitmap_sum & mask {
                return Err(Problem::Damaged.text("the checksum of a block bitmap is wrong"));
            }
        }
        for run in zeros(&bitmap[..used]) {
            let from = bytes.start.strict_add(run.start.strict_mul(grain));
            let to = bytes.start.strict_add(run.end.strict_mul(grain)).min(bytes.end);
            free.push(from..to.max(from));
        }
    }
    Ok(free)
}

/// Iterates over the runs of zero bits, ascending.
fn zeros(bitmap: &[u8]) -> impl Iterator<Item = Range<u64>> + '_ {
    let count = u64::try_from(bitmap.len()).expect("a block").strict_mul(8);
    let mut at = 0_u64;
    std::iter::from_fn(move || {
        let start = next_bit(bitmap, at, false)?;
        at = next_bit(bitmap, start, true).unwrap_or(count);
        Some(start..at)
    })
}

/// Returns the first bit from `at` on that is `wanted`, a byte at a time.
fn next_bit(bitmap: &[u8], at: u64, wanted: bool) -> Option<u64> {
    let mut at = usize::try_from(at).ok()?;
    let flip = if wanted { 0 } else { 0xff };
    loop {
        let byte = (*bitmap.get(at / 8)? ^ flip) >> (at % 8);
        if byte != 0 {
            let zeros = usize::try_from(byte.trailing_zeros()).expect("below 8");
            return u64::try_from(at.strict_add(zeros)).ok();
        }
        at = (at / 8).strict_add(1).strict_mul(8);
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_zero_bits_are_found_across_bytes() {
        let runs = |bytes: &[u8]| zeros(bytes).collect::<Vec<_>>();
        assert_eq!(runs(&[0xff, 0xff]), []);
        assert_eq!(runs(&[0, 0]), [0..16]);
        assert_eq!(runs(&[0b0111_1110, 0xff, 0b1000_0001]), [0..1, 7..8, 17..23]);
        assert_eq!(runs(&[0x0f, 0xf0, 0xff]), [4..12]);
        assert_eq!(runs(&[]), []);
    }
}
