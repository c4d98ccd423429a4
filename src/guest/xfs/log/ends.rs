//! Where the part of the log begins and ends that a mount would replay: by the cycles that sectors were
//! written in, since the log says nowhere how far it was written.

use crate::guest::failure::Outcome;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::log::circle::Circle;
use crate::guest::xfs::log::layout::FLAG_UNMOUNT;
use crate::guest::xfs::log::layout::Record;

/// Records that may be on their way to the disk at once, and sectors of the longest ones.
const IN_FLIGHT: usize = 8;
const MAX_RECORD: u64 = 512;
const IN_FLIGHT_SECTORS: u64 = 4096;

/// What has to be replayed.
#[derive(Debug)]
pub(super) struct Active {
    /// First sector, and the one behind the last.
    pub(super) tail: u64,
    pub(super) head: u64,
}

/// Finds what has to be replayed; `None` if the last record says that the file system was unmounted.
pub(super) fn find(circle: &Circle<'_>) -> Outcome<Option<Active>> {
    let Some(head) = head(circle)? else { return Ok(None) };
    let last = before(circle, head)?;
    if is_unmount(circle, last, head)? {
        return Ok(None);
    }
    let (last, head) = whole_records(circle, last, head)?;
    if is_unmount(circle, last, head)? {
        return Ok(None);
    }
    let record = circle.record(last)?;
    let tail = record.tail_lsn & u64::from(u32::MAX);
    if tail >= circle.len {
        return Err(damaged("a record of its log points outside it"));
    }
    Ok(Some(Active { tail, head }))
}

/// Returns the last header before a sector, around the end of the log if need be.
fn before(circle: &Circle<'_>, at: u64) -> Outcome<u64> {
    let found = match circle.last_header(0, at)? {
        Some(found) => Some(found),
        None => circle.last_header(at, circle.len)?,
    };
    found.ok_or_else(|| damaged("its log has no records"))
}

/// Tells whether the record at `last` ends at `head` and is nothing but the mark of an unmount.
fn is_unmount(circle: &Circle<'_>, last: u64, head: u64) -> Outcome<bool> {
    let record = circle.record(last)?;
    if circle.after(last, record.whole()) != head || record.operations != 1 {
        return Ok(false);
    }
    if record.has_sum() && circle.whole(last, &record)?.is_none() {
        return Ok(false);
    }
    let operations = circle.read(circle.after(last, record.headers), 1)?;
    // The first word, which the cycle stands for, is the transaction.
    Ok(operations[9] & FLAG_UNMOUNT != 0)
}

/// Cuts off records that did not reach the disk whole, of those that may have been on their way. Returns the
/// last whole one, and the sector behind it.
fn whole_records(circle: &Circle<'_>, last: u64, head: u64) -> Outcome<(u64, u64)> {
    let mut places = vec![last];
    while places.len() < IN_FLIGHT {
        let at = places.last().copied().unwrap_or(last);
        let previous = before(circle, at)?;
        let record = circle.record(previous)?;
        // What is not directly in front belongs to an older round.
        if circle.after(previous, record.whole()) != at || places.contains(&previous) {
            break;
        }
        places.push(previous);
    }
    let mut end = (last, head);
    let mut good = None;
    for place in places.iter().rev() {
        let record = circle.record(*place)?;
        if circle.whole(*place, &record)?.is_none() {
            end = match good {
                Some(good) => (good, *place),
                None => return Err(damaged("the checksum of a record of its log is wrong")),
            };
            break;
        }
        good = Some(*place);
    }
    Ok(end)
}

/// Returns the sector behind the last one that was written; `None` if none ever was.
fn head(circle: &Circle<'_>) -> Outcome<Option<u64>> {
    let (first, last) = (circle.cycle(0)?, circle.cycle(circle.len.strict_sub(1))?);
    if first == 0 {
        // What has records all the same has lost its first sector.
        let some = circle.last_header(0, IN_FLIGHT_SECTORS.min(circle.len))?;
        return if some.is_some() || last != 0 {
            Err(damaged("the first sector of its log is as if never written"))
        } else {
            Ok(None)
        };
    }
    let (written, head) = if last == 0 {
        let written = start_of(circle, 0)?;
        (written, fresh_head(circle, written)?)
    } else {
        let (at, stop) = if first == last {
            (circle.len, last.wrapping_sub(1))
        } else {
            (start_of(circle, last)?, last)
        };
        (at, whole_head(circle, behind_stale(circle, at, stop)?)?)
    };
    check_gap(circle, head, written, first)?;
    Ok(Some(head.strict_rem(circle.len)))
}

/// Fails if more records of this round lie from the head on, behind what did not reach the disk, than may have been on
/// their way with it. Then a sector in the middle is damaged, and what stands before it may be anything: also the mark
/// of the unmount before the last mount, as if nothing had happened since.
fn check_gap(circle: &Circle<'_>, head: u64, written: u64, cycle: u32) -> Outcome<()> {
    let count = if head <= written {
        circle.headers_of_cycle(head, written, cycle)?
    } else {
        let wrapped = circle.headers_of_cycle(head, circle.len, cycle)?;
        wrapped.strict_add(circle.headers_of_cycle(0, written, cycle)?)
    };
    if count > IN_FLIGHT {
        return Err(damaged("a sector in the middle of its log is of another round"));
    }
    Ok(())
}

/// Finds, by halves, the first sector of a cycle that reaches to the end.
fn start_of(circle: &Circle<'_>, cycle: u32) -> Outcome<u64> {
    let (mut other, mut found) = (0, circle.len.strict_sub(1));
    while found.strict_sub(other) > 1 {
        let middle = other.midpoint(found);
        if circle.cycle(middle)? == cycle {
            found = middle;
        } else {
            other = middle;
        }
    }
    Ok(found)
}

/// Finds the head of a log that never went around.
fn fresh_head(circle: &Circle<'_>, written: u64) -> Outcome<u64> {
    let mut head = written;
    let start = head.saturating_sub(IN_FLIGHT_SECTORS);
    if let Some(earlier) = circle.first_of_cycle(start, head, 0)? {
        head = earlier;
    }
    match whole_record(circle, start, head, 0)? {
        Some(head) => Ok(head),
        None => Err(damaged("its log has no records")),
    }
}

/// Moves the head back to sectors of the round before, which writes that came in another order left.
fn behind_stale(circle: &Circle<'_>, head: u64, stop: u32) -> Outcome<u64> {
    let count = IN_FLIGHT_SECTORS.min(circle.len);
    if head >= count {
        let start = head.strict_sub(count);
        return Ok(circle.first_of_cycle(start, head, stop)?.unwrap_or(head));
    }
    let start = circle.len.strict_sub(count.strict_sub(head));
    if let Some(at) = circle.first_of_cycle(start, circle.len, stop.wrapping_sub(1))? {
        return Ok(at);
    }
    Ok(circle.first_of_cycle(0, head, stop)?.unwrap_or(head))
}

/// Moves the head back to the start of a record that was not written whole.
fn whole_head(circle: &Circle<'_>, head: u64) -> Outcome<u64> {
    let start = head.saturating_sub(MAX_RECORD);
    match whole_record(circle, start, head, 0)? {
        Some(found) => return Ok(found),
        None if start > 0 => return Err(damaged("its log has no records")),
        None => {}
    }
    let start = circle.len.saturating_sub(MAX_RECORD.saturating_sub(head));
    let end = circle.len;
    let found = whole_record(circle, start, end, head)?;
    Ok(found.filter(|found| *found != end).unwrap_or(head))
}

/// Looks at the last record before `end`: its own start if it does not end there, `more` sectors farther on.
/// `None` if there is none from `start` on.
fn whole_record(circle: &Circle<'_>, start: u64, end: u64, more: u64) -> Outcome<Option<u64>> {
    let Some(at) = circle.last_header(start, end)? else { return Ok(None) };
    let record = Record::parse(&circle.read(at, 1)?, circle.sb)?;
    let there = end.strict_sub(at).strict_add(more);
    Ok(Some(if there == record.whole() { end } else { at }))
}
