//! Bytes of the items that change metadata. Pure. Numbers are as x86 and ARM write them, but for those of
//! new inodes.
//!
//! ```text
//! buffer (0x123c): 4 2 flags, 6 2 sectors, 8 8 first sector, 16 4 words of the map, 20 the map: a bit for
//!   each 128 bytes; then a region for each run of bits
//! inode (0x123b): 4 4 fields, 16 8 inode, 24 4 device, 40 8 sector, 48 4 sectors, 52 4 offset in bytes (without
//!   a pad all from 16 on stand 4 bytes earlier); then the core, and the forks that the fields name
//! new inodes (0x123f, big-endian): 4 4 group, 8 4 block, 12 4 how many, 16 4 bytes of one, 20 4 blocks,
//!   24 4 generation
//! ```

use crate::field;

pub(super) const INODE: u16 = 0x123b;
pub(super) const BUFFER: u16 = 0x123c;
pub(super) const NEW_INODES: u16 = 0x123f;

pub(super) const PIECE: usize = 128;

const BUFFER_OF_INODES: u16 = 0x1;
const BUFFER_CANCELLED: u16 = 0x2;

/// Most sectors of a buffer: a directory block is at most 64 KiB; chunks of inodes are not longer.
const MAX_SECTORS: u16 = 256;

/// What was logged of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) sector: u64,
    pub(super) sectors: u64,
    flags: u16,
    /// Runs of pieces: first and how many.
    pub(super) runs: Vec<(usize, usize)>,
}

impl Buffer {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 20 {
            return None;
        }
        let sectors = field::u16_le(bytes, 6);
        let words = usize::try_from(field::u32_le(bytes, 16)).ok()?;
        let map = bytes.get(20..20_usize.checked_add(words.checked_mul(4)?)?)?;
        if sectors == 0 || sectors > MAX_SECTORS {
            return None;
        }
        Some(Self {
            sector: field::u64_le(bytes, 8),
            sectors: sectors.into(),
            flags: field::u16_le(bytes, 4),
            runs: runs(map),
        })
    }

    /// Tells whether only the links between unlinked inodes in it count.
    pub(super) fn is_of_inodes(&self) -> bool {
        self.flags & BUFFER_OF_INODES != 0
    }

    /// Tells whether what was written to it before counts for nothing.
    pub(super) fn is_cancelled(&self) -> bool {
        self.flags & BUFFER_CANCELLED != 0
    }
}

/// Returns the runs of bits that are set.
fn runs(map: &[u8]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, byte) in map.iter().enumerate() {
        for bit in 0..8 {
            if byte >> bit & 1 == 0 {
                continue;
            }
            let place = at.strict_mul(8).strict_add(bit);
            match found.last_mut() {
                Some((first, count)) if first.strict_add(*count) == place => {
                    *count = count.strict_add(1);
                }
                _ => found.push((place, 1)),
            }
        }
    }
    found
}

/// What was logged of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeItem {
    fields: u32,
    pub(super) number: u64,
    pub(super) device: u32,
    pub(super) sector: u64,
    pub(super) sectors: u64,
    pub(super) offset: u32,
}

impl InodeItem {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let pad: usize = match bytes.len() {
            52 => 0,
            56.. => 4,
            _ => return None,
        };
        let at = |place: usize| place.strict_add(pad);
        Some(Self {
            fields: field::u32_le(bytes, 4),
            number: field::u64_le(bytes, at(12)),
            device: field::u32_le(bytes, at(20)),
            sector: field::u64_le(bytes, at(36)),
            sectors: field::u32_le(bytes, at(44)).into(),
            offset: field::u32_le(bytes, at(48)),
        })
    }

    pub(super) fn has_device(&self) -> bool {
        self.fields & 0x10 != 0
    }

    /// Returns whether the data fork was logged, and whether as the root of a tree.
    pub(super) fn data(&self) -> Option<bool> {
        (self.fields & 0x0e != 0).then_some(self.fields & 0x08 != 0)
    }

    /// Returns whether the attribute fork was logged, and whether as the root of a tree.
    pub(super) fn attributes(&self) -> Option<bool> {
        (self.fields & 0x1c0 != 0).then_some(self.fields & 0x100 != 0)
    }
}

/// Inodes that were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewInodes {
    pub(super) group: u64,
    pub(super) block: u64,
    pub(super) count: u64,
    pub(super) inode_len: u64,
    pub(super) blocks: u64,
    pub(super) generation: u32,
}

impl NewInodes {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 28 {
            return None;
        }
        let u32_at = |at| u64::from(field::u32_be(bytes, at));
        Some(Self {
            group: u32_at(4),
            block: u32_at(8),
            count: u32_at(12),
            inode_len: u32_at(16),
            blocks: u32_at(20),
            generation: field::u32_be(bytes, 24),
        })
    }
}

/// Turns an inode's core as it is logged, in the machine's byte order, into that of the disk. `core` has the
/// disk's one, of which what is not logged is kept.
pub(super) fn put_core(logged: &[u8], core: &mut [u8], lsn: u64) {
    const WORDS_16: [usize; 9] = [0, 2, 20, 22, 30, 80, 88, 90, 6];
    const WORDS_32: [usize; 8] = [8, 12, 16, 72, 76, 84, 92, 128];
    const WORDS_64: [usize; 5] = [56, 64, 104, 120, 152];
    let is_v3 = core.len() >= 176 && logged.len() >= 176;
    let flags2 = if is_v3 { field::u64_le(logged, 120) } else { 0 };
    let len = logged.len().min(core.len());
    let fits = |end: usize| end <= len;
    let (is_wide_count, is_wide_time) = (flags2 & 0x10 != 0, flags2 & 0x8 != 0);
    for at in WORDS_16.into_iter().filter(|at| fits(at.strict_add(2))) {
        field::put_u16_be(core, at, field::u16_le(logged, at));
    }
    for at in WORDS_32.into_iter().filter(|at| fits(at.strict_add(4))) {
        field::put_u32_be(core, at, field::u32_le(logged, at));
    }
    for at in WORDS_64.into_iter().filter(|at| fits(at.strict_add(8))) {
        field::put_u64_be(core, at, field::u64_le(logged, at));
    }
    for at in [4, 5, 82, 83] {
        core[at] = logged[at];
    }
    for at in [32_usize, 40, 48, 144].into_iter().filter(|at| fits(at.strict_add(8))) {
        if is_wide_time {
            field::put_u64_be(core, at, field::u64_le(logged, at));
        } else {
            field::put_u32_be(core, at, field::u32_le(logged, at));
            field::put_u32_be(core, at.strict_add(4), field::u32_le(logged, at.strict_add(4)));
        }
    }
    if is_v3 {
        if is_wide_count {
            field::put_u64_be(core, 24, field::u64_le(logged, 24));
        }
        field::put_u64_be(core, 112, lsn);
        core[160..176].copy_from_slice(&logged[160..176]);
    }
}

/// Turns the root of a tree as it is logged, a whole block, into that of an inode's fork. `None` if it does
/// not fit.
pub(super) fn put_root(block: &[u8], fork: &mut [u8], header_len: usize) -> Option<()> {
    let from = block.len().checked_sub(header_len)? / 16;
    let to = fork.len().checked_sub(4)? / 16;
    let records = usize::from(field::u16_be(block, 6));
    if records > from || records > to {
        return None;
    }
    let len = records.strict_mul(8);
    let pointers = header_len.strict_add(from.strict_mul(8));
    let target = to.strict_mul(8).strict_add(4);
    fork[..4].copy_from_slice(&block[4..8]);
    fork[4..len.strict_add(4)].copy_from_slice(&block[header_len..header_len.strict_add(len)]);
    fork[target..target.strict_add(len)]
        .copy_from_slice(&block[pointers..pointers.strict_add(len)]);
    Some(())
}

/// Returns where a block of metadata of version 5 keeps the place in the log of its last change, and its UUID;
/// `None` of what has none, or is not metadata yet.
pub(super) fn lsn_and_uuid(block: &[u8]) -> Option<(usize, usize)> {
    let places = match &block[..4] {
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (24, 32),
        b"BMA3" => (32, 40),
        b"XAGF" => (208, 64),
        b"XAFL" => (24, 8),
        b"XAGI" => (320, 296),
        b"XSLM" => (48, 16),
        b"XDB3" | b"XDD3" | b"XDF3" => (16, 24),
        b"XFSB" => (240, 32),
        _ => match field::u16_be(block, 8) {
            0x3df1 | 0x3dff | 0x3bee | 0x3ebe => (24, 32),
            _ => return None,
        },
    };
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_runs_of_pieces() {
        let mut bytes = vec![0; 28];
        field::put_u16_le(&mut bytes, 6, 8);
        field::put_u64_le(&mut bytes, 8, 4711);
        field::put_u32_le(&mut bytes, 16, 2);
        bytes[20..24].copy_from_slice(&[0b1000_0001, 0b1, 0, 0]);
        bytes[27] = 0x80;
        let found = Buffer::parse(&bytes).unwrap();
        assert_eq!((found.sector, found.sectors), (4711, 8));
        assert_eq!(found.runs, [(0, 1), (7, 2), (63, 1)]);
        assert_eq!(Buffer::parse(&bytes[..27]), None);
        field::put_u32_le(&mut bytes, 16, u32::MAX);
        assert_eq!(Buffer::parse(&bytes), None);
    }

    #[test]
    fn a_root_moves_its_pointers() {
        let mut block = vec![0; 72 + 32];
        field::put_u16_be(&mut block, 4, 1);
        field::put_u16_be(&mut block, 6, 1);
        block[72] = 7;
        block[88] = 9;
        let mut fork = vec![0; 4 + 48];
        put_root(&block, &mut fork, 72).unwrap();
        assert_eq!((fork[1], fork[3], fork[4], fork[28]), (1, 1, 7, 9));
        field::put_u16_be(&mut block, 6, 3);
        assert!(put_root(&block, &mut fork, 72).is_none());
    }
}
