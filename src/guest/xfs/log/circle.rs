//! The log as a circle of sectors.

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::slice::Slice;
use crate::guest::xfs::layout::Superblock;
use crate::guest::xfs::log::layout;
use crate::guest::xfs::log::layout::Record;

const SECTOR_LEN: u64 = 512;

/// Sectors that are read at once while searching backwards.
const STEP: u64 = 128;

/// The log as a circle of sectors.
#[derive(Debug)]
pub(super) struct Circle<'a> {
    slice: &'a Slice<'a>,
    pub(super) sb: &'a Superblock,
    start: u64,
    /// How many sectors there are.
    pub(super) len: u64,
}

impl<'a> Circle<'a> {
    pub(super) fn new(slice: &'a Slice<'a>, sb: &'a Superblock) -> Self {
        let range = sb.span(sb.log_start, sb.log_blocks).expect("checked with the superblock");
        let len = range.end.strict_sub(range.start) / SECTOR_LEN;
        Self { slice, sb, start: range.start, len }
    }

    /// Returns the sector behind `at` that is `count` sectors farther on.
    pub(super) fn after(&self, at: u64, count: u64) -> u64 {
        at.strict_add(count).strict_rem(self.len)
    }

    /// Returns how many sectors there are from one to another, going forward.
    pub(super) fn distance(&self, from: u64, to: u64) -> u64 {
        if to >= from { to.strict_sub(from) } else { self.len.strict_sub(from).strict_add(to) }
    }

    /// Reads sectors, past the end from the start on.
    pub(super) fn read(&self, at: u64, count: u64) -> Outcome<Vec<u8>> {
        let first = count.min(self.len.strict_sub(at));
        let place = |at: u64| self.start.strict_add(at.strict_mul(SECTOR_LEN));
        let mut bytes = self.slice.bytes(place(at), first.strict_mul(SECTOR_LEN))?;
        let rest = count.strict_sub(first).min(self.len);
        if rest > 0 {
            bytes.extend(self.slice.bytes(place(0), rest.strict_mul(SECTOR_LEN))?);
        }
        Ok(bytes)
    }

    pub(super) fn cycle(&self, at: u64) -> Outcome<u32> {
        Ok(layout::cycle(&self.read(at, 1)?))
    }

    /// Reads the header that must be at a sector.
    pub(super) fn record(&self, at: u64) -> Outcome<Record> {
        Record::parse(&self.read(at, 1)?, self.sb)
    }

    /// Returns the bytes of a whole record; `None` if its checksum is wrong, or it must have one and has none.
    pub(super) fn whole(&self, at: u64, record: &Record) -> Outcome<Option<Vec<u8>>> {
        let bytes = self.read(at, record.whole().min(self.len))?;
        let is_right = if record.has_sum() { record.sum_is_right(&bytes) } else { !self.sb.is_v5 };
        Ok((is_right && record.whole() <= self.len).then_some(bytes))
    }

    /// Returns the first sector of `start..end` that was written in a cycle.
    pub(super) fn first_of_cycle(&self, start: u64, end: u64, cycle: u32) -> Outcome<Option<u64>> {
        let mut at = start;
        while at < end {
            let count = STEP.min(end.strict_sub(at));
            let bytes = self.read(at, count)?;
            for (place, sector) in (at..).zip(bytes.chunks_exact(layout::SECTOR)) {
                if layout::cycle(sector) == cycle {
                    return Ok(Some(place));
                }
            }
            at = at.strict_add(count);
        }
        Ok(None)
    }

    /// Returns the last sector of `start..end` that is the header of a record.
    pub(super) fn last_header(&self, start: u64, end: u64) -> Outcome<Option<u64>> {
        let mut behind = end;
        while behind > start {
            let first = behind.saturating_sub(STEP).max(start);
            let bytes = self.read(first, behind.strict_sub(first))?;
            let sectors = bytes.chunks_exact(layout::SECTOR).zip(first..);
            let headers = sectors.filter(|(it, _)| field::u32_be(it, 0) == layout::MAGIC);
            if let Some((_, at)) = headers.last() {
                return Ok(Some(at));
            }
            behind = first;
        }
        Ok(None)
    }

    /// Counts the sectors of `start..end` that are headers of records of a cycle.
    pub(super) fn headers_of_cycle(&self, start: u64, end: u64, cycle: u32) -> Outcome<usize> {
        let (mut at, mut headers) = (start, 0_usize);
        while at < end {
            let count = STEP.min(end.strict_sub(at));
            let bytes = self.read(at, count)?;
            let sectors = bytes.chunks_exact(layout::SECTOR);
            let is_header =
                |it: &&[u8]| field::u32_be(it, 0) == layout::MAGIC && layout::cycle(it) == cycle;
            headers = headers.strict_add(sectors.filter(is_header).count());
            at = at.strict_add(count);
        }
        Ok(headers)
    }
}
