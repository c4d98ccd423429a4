//! Replaying a journal in memory: which blocks of it lie over which blocks of the file system.
//!
//! ```text
//! every block of the log's own (big-endian): 0 h_magic 0xc03b3998, 4 h_blocktype, 8 h_sequence
//! superblock (types 3, 4): 12 s_blocksize, 16 s_maxlen, 20 s_first, 24 s_sequence, 28 s_start,
//!   40 s_feature_incompat, 48 s_uuid, 84 s_num_fc_blks
//! descriptor (1): tags from byte 12 on: t_blocknr 4, then t_checksum 2 and t_flags 2, or with checksums
//!   of version 3 t_flags 4; t_blocknr_high 4; with version 3 t_checksum 4
//! commit (2): 16 h_chksum        revoke (5): 12 r_count, then block numbers of 4 or 8 bytes
//! ```

use std::collections::BTreeMap;

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::ext::groups::Groups;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::layout::Superblock;
use crate::guest::ext::mapping::Mapped;
use crate::guest::ext::mapping::Walk;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::slice::Patch;
use crate::guest::slice::Slice;

const MAGIC: u32 = 0xc03b_3998;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

const HAS_64BIT: u32 = 0x2;
const HAS_SUMS_V2: u32 = 0x8;
const HAS_SUMS_V3: u32 = 0x10;
const HAS_FAST_COMMIT: u32 = 0x20;
/// Revokes, wide block numbers, commits in any order, checksums, fast commits.
const KNOWN: u32 = 0x3f;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;

/// Blocks of fast commits, if the superblock does not say.
const DEFAULT_FAST_BLOCKS: u64 = 256;

/// Most blocks of a journal: 16 Mi of 4 KiB are 64 GiB.
const MAX_BLOCKS: u64 = 16 << 20;

/// The log of a file system.
struct Log<'a> {
    slice: &'a Slice<'a>,
    block_len: u64,
    /// Where its blocks lie: first block of the log, first block of the file system, how many.
    places: Vec<(u64, u64, u64)>,
    incompat: u32,
    first: u64,
    /// Block behind the last one of the circle.
    end: u64,
    start: u64,
    sequence: u32,
    seed: u32,
}

/// Returns what a replay puts over the file system; nothing if the journal is empty.
pub(super) fn replay(
    slice: &Slice<'_>,
    sb: &Superblock,
    groups: &Groups,
) -> Outcome<BTreeMap<u64, Patch>> {
    if sb.journal_device != 0 || sb.journal_inode == 0 {
        return Err(Problem::Unsupported.text("its journal is on another device"));
    }
    let Some(offset) = groups.inode_offset(sb, sb.journal_inode) else {
        return Err(Problem::Damaged.text("it has no journal inode"));
    };
    let inode = Inode::parse(&slice.bytes(offset, sb.inode_len)?, sb.journal_inode, sb)?;
    let mut places = Vec::new();
    Walk::new(slice, sb, &inode).run(&mut |mapped| {
        if let Mapped::Data { logical, physical, count } = mapped {
            places.push((logical, physical, count));
        }
        Ok(())
    })?;
    let Some(log) = Log::open(slice, sb, places)? else { return Ok(BTreeMap::new()) };
    log.replay(sb)
}

impl<'a> Log<'a> {
    fn open(
        slice: &'a Slice<'a>,
        sb: &Superblock,
        places: Vec<(u64, u64, u64)>,
    ) -> Outcome<Option<Self>> {
        let mut log = Self {
            slice,
            block_len: sb.block_len,
            places,
            incompat: 0,
            first: 0,
            end: 1,
            start: 0,
            sequence: 0,
            seed: 0,
        };
        let head = log.block(0)?;
        let u32_at = |at| field::u32_be(&head, at);
        let broken = || Problem::Damaged.text("the superblock of its journal is impossible");
        if u32_at(0) != MAGIC || !matches!(u32_at(4), 3 | 4) {
            return Err(broken());
        }
        log.incompat = if u32_at(4) == 4 { u32_at(40) } else { 0 };
        if log.incompat & !KNOWN != 0 {
            return Err(Problem::Unsupported.text("its journal has features that are not known"));
        }
        let end = u64::from(u32_at(16));
        let fast = match u64::from(u32_at(84)) {
            _ if log.incompat & HAS_FAST_COMMIT == 0 => 0,
            0 => DEFAULT_FAST_BLOCKS,
            count => count,
        };
        log.end = end.checked_sub(fast).ok_or_else(broken)?;
        (log.first, log.start) = (u32_at(20).into(), u32_at(28).into());
        log.sequence = u32_at(24);
        log.seed = crc32c_register(u32::MAX, &head[48..64]);
        if log.start == 0 {
            return Ok(None);
        }
        let is_inside = log.first > 0 && (log.first..log.end).contains(&log.start);
        if u64::from(u32_at(12)) != log.block_len || !is_inside || end > MAX_BLOCKS {
            return Err(broken());
        }
        if fast > 0 && field::u16_le(&log.block(log.end)?, 0) == 9 {
            return Err(Problem::Unsupported.text("its journal holds fast commits"));
        }
        Ok(Some(log))
    }

    fn place(&self, number: u64) -> Outcome<u64> {
        let next = self.places.partition_point(|(first, ..)| *first <= number);
        let place = next.checked_sub(1).and_then(|at| self.places.get(at));
        match place {
            Some((first, physical, count)) if number.strict_sub(*first) < *count => {
                Ok(physical.strict_add(number.strict_sub(*first)).strict_mul(self.block_len))
            }
            _ => Err(Problem::Damaged.text("its journal has holes")),
        }
    }

    fn block(&self, number: u64) -> Outcome<Vec<u8>> {
        self.slice.bytes(self.place(number)?, self.block_len)
    }

    fn next(&self, number: u64) -> u64 {
        let next = number.strict_add(1);
        if next >= self.end { self.first } else { next }
    }

    fn has_sums(&self) -> bool {
        self.incompat & (HAS_SUMS_V2 | HAS_SUMS_V3) != 0
    }

    /// Compares the checksum of one of the log's own blocks, which stands at `at`.
    fn sum_is_right(&self, block: &[u8], at: usize) -> bool {
        if !self.has_sums() {
            return true;
        }
        let mut sum = crc32c_register(self.seed, &block[..at]);
        sum = crc32c_register(sum, &[0; 4]);
        sum = crc32c_register(sum, &block[at.strict_add(4)..]);
        sum == field::u32_be(block, at)
    }

    /// Returns the tags of a descriptor: block, and whether its head is escaped.
    fn tags(&self, block: &[u8]) -> Vec<(u64, bool)> {
        let is_wide = self.incompat & HAS_64BIT != 0;
        let is_v3 = self.incompat & HAS_SUMS_V3 != 0;
        let mut len: usize = if is_v3 { 16 } else { 8 };
        if !is_v3 && is_wide {
            len = 12;
        }
        if !is_v3 && self.incompat & HAS_SUMS_V2 != 0 {
            len = len.strict_add(2);
        }
        let end = block.len().strict_sub(if self.has_sums() { 4 } else { 0 });
        let mut tags = Vec::new();
        let mut at = 12_usize;
        while at.strict_add(len) <= end {
            let flags = if is_v3 {
                field::u32_be(block, at.strict_add(4))
            } else {
                field::u16_be(block, at.strict_add(6)).into()
            };
            let low = u64::from(field::u32_be(block, at));
            let high = if is_wide { field::u32_be(block, at.strict_add(8)) } else { 0 };
            tags.push((low | u64::from(high) << 32, flags & TAG_ESCAPED != 0));
            at = at.strict_add(len);
            if flags & TAG_SAME_UUID == 0 {
                at = at.strict_add(16);
            }
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        tags
    }

    /// Goes through the log until it ends: what each transaction that was committed writes and revokes.
    fn replay(&self, sb: &Superblock) -> Outcome<BTreeMap<u64, Patch>> {
        // By block: where it is in the log, and in which transaction.
        let mut written: Vec<(u64, u64, bool, u32)> = Vec::new();
        let mut revoked: BTreeMap<u64, u32> = BTreeMap::new();
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        let (mut at, mut sequence) = (self.start, self.sequence);
        let mut left = self.end.strict_sub(self.first);
        while left > 0 {
            let block = self.block(at)?;
            let is_own = field::u32_be(&block, 0) == MAGIC && field::u32_be(&block, 8) == sequence;
            let tail = block.len().strict_sub(4);
            (at, left) = (self.next(at), left.strict_sub(1));
            match field::u32_be(&block, 4) {
                DESCRIPTOR if is_own && self.sum_is_right(&block, tail) => {
                    for (target, escaped) in self.tags(&block) {
                        new.push((target, self.place(at)?, escaped, sequence));
                        (at, left) = (self.next(at), left.saturating_sub(1));
                    }
                }
                REVOKE if is_own && self.sum_is_right(&block, tail) => {
                    gone.extend(self.revoked(&block));
                }
                COMMIT if is_own && self.sum_is_right(&block, 16) => {
                    written.append(&mut new);
                    for target in gone.drain(..) {
                        revoked.insert(target, sequence);
                    }
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        let mut patches = BTreeMap::new();
        for (target, from, escaped, sequence) in written {
            if target >= sb.blocks {
                return Err(Problem::Damaged.text("its journal writes outside it"));
            }
            let is_revoked = |last: &u32| last.wrapping_sub(sequence) < 1 << 31;
            if revoked.get(&target).is_some_and(is_revoked) {
                continue;
            }
            let head = escaped.then_some(MAGIC.to_be_bytes());
            patches.insert(target.strict_mul(sb.block_len), Patch::Copy { from, head });
        }
        Ok(patches)
    }

    fn revoked(&self, block: &[u8]) -> Vec<u64> {
        let end = usize::try_from(field::u32_be(block, 12)).unwrap_or(0).min(block.len());
        let is_wide = self.incompat & HAS_64BIT != 0;
        let entries = block.get(16..end).unwrap_or_default();
        let number = |it: &[u8]| {
            if is_wide { field::u64_be(it, 0) } else { field::u32_be(it, 0).into() }
        };
        entries.chunks_exact(if is_wide { 8 } else { 4 }).map(number).collect()
    }
}
