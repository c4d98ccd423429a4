//! Where the blocks of an inode lie: extents, or blocks of block numbers.
//!
//! ```text
//! extent tree node: 12 bytes { eh_magic 0xf30a, eh_entries, eh_max, eh_depth, eh_generation }, then
//!   leaf  12 bytes { ee_block 4, ee_len 2 (over 32,768: unwritten), ee_start_hi 2, ee_start_lo 4 }
//!   index 12 bytes { ei_block 4, ei_leaf_lo 4, ei_leaf_hi 2, 2 unused }
//!   behind eh_max entries, outside the inode: the checksum
//! block numbers: 12 direct ones, then one block of them, one block of such blocks, and one more level
//! ```

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::layout::Superblock;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::slice::Slice;

const EXTENT_MAGIC: u16 = 0xf30a;
const MAX_DEPTH: u16 = 5;
const MAX_WRITTEN_LEN: u16 = 32_768;

/// What a walk over the map of a file meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// Blocks with content.
    Data { logical: u64, physical: u64, count: u64 },
    /// Blocks that are given to the file and read as zeros.
    Unwritten { physical: u64, count: u64 },
    /// A block of the map itself.
    Node(u64),
}

/// A walk over the map of one file.
pub(super) struct Walk<'a> {
    pub(super) slice: &'a Slice<'a>,
    pub(super) sb: &'a Superblock,
    pub(super) inode: &'a Inode,
    /// The next block of the file that may be mapped: maps ascend, so that no walk goes in circles.
    next: u64,
    /// Blocks that were seen, of the map and of the file.
    seen: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(slice: &'a Slice<'a>, sb: &'a Superblock, inode: &'a Inode) -> Self {
        Self { slice, sb, inode, next: 0, seen: 0 }
    }

    /// Goes through all that is mapped, ascending.
    pub(super) fn run(mut self, each: &mut dyn FnMut(Mapped) -> Outcome<()>) -> Outcome<()> {
        if !self.inode.has_blocks() {
            return Ok(());
        }
        let root = self.inode.block_field();
        if self.inode.has_extents() {
            return self.extents(root, None, each);
        }
        let pointers: Vec<u64> =
            root.chunks_exact(4).map(|it| field::u32_le(it, 0).into()).collect();
        self.pointers(&pointers[..12], each)?;
        for (pointer, level) in pointers[12..].iter().zip(1..) {
            self.level(*pointer, level, each)?;
        }
        Ok(())
    }

    fn see(&mut self, physical: u64, count: u64) -> Outcome<()> {
        let end = physical.checked_add(count);
        if physical == 0 || end.is_none_or(|end| end > self.sb.blocks) {
            return Err(Problem::Damaged.text("a file has blocks outside the file system"));
        }
        self.seen = self.seen.saturating_add(count);
        if self.seen > self.sb.blocks {
            return Err(Problem::Damaged.text("a file has more blocks than the file system"));
        }
        Ok(())
    }

    fn extents(
        &mut self,
        node: &[u8],
        depth: Option<u16>,
        each: &mut dyn FnMut(Mapped) -> Outcome<()>,
    ) -> Outcome<()> {
        let broken = || Problem::Damaged.text("a node of an extent tree is impossible");
        let (entries, most) = (field::u16_le(node, 2), field::u16_le(node, 4));
        let here = field::u16_le(node, 6);
        let room = (node.len().strict_sub(12)).strict_div(12);
        if field::u16_le(node, 0) != EXTENT_MAGIC
            || entries > most
            || usize::from(most) > room
            || depth.is_some_and(|depth| here != depth)
            || here > MAX_DEPTH
        {
            return Err(broken());
        }
        for entry in node[12..].chunks_exact(12).take(entries.into()) {
            let logical = u64::from(field::u32_le(entry, 0));
            if logical < self.next {
                return Err(broken());
            }
            if let Some(below) = here.checked_sub(1) {
                let physical =
                    u64::from(field::u32_le(entry, 4)) | u64::from(field::u16_le(entry, 8)) << 32;
                self.see(physical, 1)?;
                each(Mapped::Node(physical))?;
                let block =
                    self.slice.bytes(physical.strict_mul(self.sb.block_len), self.sb.block_len)?;
                self.check_sum(&block)?;
                self.extents(&block, Some(below), each)?;
                continue;
            }
            let physical =
                u64::from(field::u32_le(entry, 8)) | u64::from(field::u16_le(entry, 6)) << 32;
            let len = field::u16_le(entry, 4);
            let written = len <= MAX_WRITTEN_LEN;
            let count = u64::from(if written { len } else { len.strict_sub(MAX_WRITTEN_LEN) });
            if count == 0 {
                return Err(broken());
            }
            self.see(physical, count)?;
            self.next = logical.strict_add(count);
            each(if written {
                Mapped::Data { logical, physical, count }
            } else {
                Mapped::Unwritten { physical, count }
            })?;
        }
        Ok(())
    }

    fn check_sum(&self, block: &[u8]) -> Outcome<()> {
        // The header was not read yet: what it says is compared with the block first.
        let tail = usize::from(field::u16_le(block, 4)).strict_mul(12).strict_add(12);
        if !self.sb.has_sums() || tail.strict_add(4) > block.len() {
            return Ok(());
        }
        if crc32c_register(self.inode.seed, &block[..tail]) != field::u32_le(block, tail) {
            return Err(Problem::Damaged.text("the checksum of an extent tree is wrong"));
        }
        Ok(())
    }

    /// Takes consecutive block numbers, each for the next block of the file.
    fn pointers(
        &mut self,
        pointers: &[u64],
        each: &mut dyn FnMut(Mapped) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut at = 0;
        while at < pointers.len() {
            let physical = pointers[at];
            let same = pointers[at..].iter().zip(0..).take_while(|(it, step)| {
                if physical == 0 { **it == 0 } else { Some(**it) == physical.checked_add(*step) }
            });
            let count = same.count();
            at = at.strict_add(count);
            let count = u64::try_from(count).expect("the numbers of a block");
            let logical = self.next;
            self.next = logical.strict_add(count);
            if physical != 0 {
                self.see(physical, count)?;
                each(Mapped::Data { logical, physical, count })?;
            }
        }
        Ok(())
    }

    /// Goes through a block of block numbers, with `level` levels.
    fn level(
        &mut self,
        pointer: u64,
        level: u32,
        each: &mut dyn FnMut(Mapped) -> Outcome<()>,
    ) -> Outcome<()> {
        let fan = self.sb.block_len / 4;
        if pointer == 0 {
            // At most (2^14)^3 blocks.
            self.next = self.next.strict_add(fan.strict_pow(level));
            return Ok(());
        }
        self.see(pointer, 1)?;
        each(Mapped::Node(pointer))?;
        let block = self.slice.bytes(pointer.strict_mul(self.sb.block_len), self.sb.block_len)?;
        let pointers: Vec<u64> =
            block.chunks_exact(4).map(|it| field::u32_le(it, 0).into()).collect();
        match level.strict_sub(1) {
            0 => self.pointers(&pointers, each),
            below => pointers.iter().try_for_each(|it| self.level(*it, below, each)),
        }
    }
}
