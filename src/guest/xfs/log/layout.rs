//! Bytes of log records and of the operations in them. Pure.
//!
//! ```text
//! record header (a sector, big-endian): 0 4 magic 0xfeedbabe, 4 4 cycle, 8 4 version, 12 4 bytes of
//!   operations, 16 8 lsn (cycle, sector), 24 8 lsn of the oldest record that is needed, 32 4 crc (little-endian),
//!   40 4 operations, 44 256 the first word of each sector that follows, 304 16 uuid, 320 4 size of buffers
//! one more header for each 32 KiB of that size above the first: 0 4 cycle, 4 256 first words
//! sectors of operations: the first word is the cycle
//! operation: 0 4 transaction, 4 4 length, 8 1 client, 9 1 flags, then bytes
//! ```

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::xfs::layout::Superblock;
use crate::guest::xfs::layout::damaged;

pub(super) const MAGIC: u32 = 0xfeed_babe;
pub(super) const SECTOR: usize = 512;

/// Sectors that one header has the first words of.
const WORDS: usize = 64;

/// Bytes of a header that its checksum covers, on machines of 64 bits and of 32.
const HEADER_LENS: [usize; 2] = [328, 324];
/// Bytes of one more header that its checksum covers.
const MORE_LEN: usize = 260;

/// Most bytes of operations of a record: buffers are at most 256 KiB.
const MAX_LEN: u32 = 256 << 10;

pub(super) const FLAG_START: u8 = 0x01;
pub(super) const FLAG_COMMIT: u8 = 0x02;
pub(super) const FLAG_CONTINUES: u8 = 0x04;
pub(super) const FLAG_CONTINUED: u8 = 0x08;
pub(super) const FLAG_END: u8 = 0x10;
pub(super) const FLAG_UNMOUNT: u8 = 0x20;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) cycle: u32,
    pub(super) lsn: u64,
    pub(super) tail_lsn: u64,
    pub(super) operations: u32,
    pub(super) len: u32,
    /// Sectors of headers, and of operations.
    pub(super) headers: u64,
    pub(super) sectors: u64,
    sum: u32,
}

/// Returns the cycle that a sector was written in.
pub(super) fn cycle(sector: &[u8]) -> u32 {
    let first = field::u32_be(sector, 0);
    if first == MAGIC { field::u32_be(sector, 4) } else { first }
}

impl Record {
    /// Reads the header in a sector that begins with the magic number.
    pub(super) fn parse(sector: &[u8], sb: &Superblock) -> Result<Self, Failure> {
        let u32_at = |at| field::u32_be(sector, at);
        let (version, len, size) = (u32_at(8), u32_at(12), u32_at(320));
        let is_right = u32_at(0) == MAGIC && matches!(version, 1 | 2) && len <= MAX_LEN;
        if !is_right {
            return Err(damaged("a record of its log is impossible"));
        }
        if sector[304..320] != sb.uuid {
            return Err(damaged("its log belongs to another file system"));
        }
        let headers = if version == 2 && size > 32 << 10 { size.div_ceil(32 << 10) } else { 1 };
        if headers > 8 {
            return Err(damaged("a record of its log is impossible"));
        }
        Ok(Self {
            cycle: u32_at(4),
            lsn: field::u64_be(sector, 16),
            tail_lsn: field::u64_be(sector, 24),
            operations: u32_at(40),
            len,
            headers: headers.into(),
            sectors: u64::from(len).div_ceil(512),
            sum: field::u32_le(sector, 32),
        })
    }

    /// Returns the sectors of all of it.
    pub(super) fn whole(&self) -> u64 {
        self.headers.strict_add(self.sectors)
    }

    /// Splits the bytes of all of it into headers and operations.
    fn split<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        bytes.split_at(usize::try_from(self.headers).expect("at most 8").strict_mul(SECTOR))
    }

    /// Tells whether it has a checksum: what `mkfs.xfs` writes and what version 4 has may have none.
    pub(super) fn has_sum(&self) -> bool {
        self.sum != 0
    }

    /// Compares its checksum, over the bytes of all of it.
    pub(super) fn sum_is_right(&self, bytes: &[u8]) -> bool {
        let (headers, data) = self.split(bytes);
        let len = usize::try_from(self.len).expect("at most 256 KiB");
        let more = len.div_ceil(WORDS.strict_mul(SECTOR)).saturating_sub(1);
        let sum_with = |header_len| {
            let mut sum = crc32c_register(u32::MAX, &headers[..32]);
            sum = crc32c_register(sum, &[0; 4]);
            sum = crc32c_register(sum, &headers[36..header_len]);
            for header in headers.chunks_exact(SECTOR).skip(1).take(more) {
                sum = crc32c_register(sum, &header[..MORE_LEN]);
            }
            !crc32c_register(sum, &data[..len])
        };
        HEADER_LENS.iter().any(|header_len| sum_with(*header_len) == self.sum)
    }

    /// Puts the first words of all sectors back, and returns the operations; `None` if there is no header
    /// for some of them.
    pub(super) fn unpack(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (headers, data) = self.split(bytes);
        let mut data = data.to_vec();
        for (place, sector) in data.chunks_exact_mut(SECTOR).enumerate() {
            let header = headers.chunks_exact(SECTOR).nth(place / WORDS)?;
            let first = if place < WORDS { 44 } else { 4_usize };
            let at = first.strict_add((place % WORDS).strict_mul(4));
            sector[..4].copy_from_slice(&header[at..at.strict_add(4)]);
        }
        data.truncate(usize::try_from(self.len).expect("at most 256 KiB"));
        Some(data)
    }
}

/// A piece of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation<'a> {
    pub(super) transaction: u32,
    pub(super) flags: u8,
    pub(super) bytes: &'a [u8],
}

/// Goes through the operations of a record. `None` where one is impossible, after the good ones.
pub(super) fn operations(
    mut rest: &[u8],
    count: u32,
) -> impl Iterator<Item = Option<Operation<'_>>> {
    (0..count).map(move |_| {
        let (header, behind) = rest.split_at_checked(12)?;
        let len = usize::try_from(field::u32_be(header, 4)).ok()?;
        let (bytes, behind) = behind.split_at_checked(len)?;
        rest = behind;
        Some(Operation { transaction: field::u32_be(header, 0), flags: header[9], bytes })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_stay_in_their_record() {
        let bytes = b"\0\0\0\x01\0\0\0\x02\x69\x01\0\0ab\0\0\0\x02\0\0\0\0\x69\x02\0\0";
        let found: Vec<_> = operations(bytes, 3).collect();
        let first = Operation { transaction: 1, flags: FLAG_START, bytes: b"ab" };
        let second = Operation { transaction: 2, flags: FLAG_COMMIT, bytes: b"" };
        assert_eq!(found, [Some(first), Some(second), None]);
    }
}
