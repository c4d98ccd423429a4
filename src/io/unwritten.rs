//! Ranges of a file that are allocated and were never written.
//!
//! A file system reports them as holes while the page cache knows nothing of them, and as data once
//! they have been read (`iomap` in Linux looks at the cache there), so `SEEK_HOLE` alone would make
//! the state of a block depend on who read the file before. They come from `fallocate`, and from zeros
//! that a loop device or qemu was asked to write: zeros were wanted here.

use std::ops::Range;

use crate::units::Extent;
use crate::units::ExtentKind;

/// Makes the unwritten ranges zeros in a list of extents that tiles a file, and joins neighbours.
pub(super) fn overlay(extents: Vec<Extent>, unwritten: &[Range<u64>]) -> Vec<Extent> {
    let mut out: Vec<Extent> = Vec::with_capacity(extents.len());
    let mut push = |range: Range<u64>, kind| match out.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.kind == kind => last.range.end = range.end,
        _ => out.push(Extent { range, kind }),
    };
    let mut rest = unwritten.iter().peekable();
    for Extent { range, kind } in extents {
        let mut at = range.start;
        while at < range.end {
            while rest.next_if(|zeros| zeros.end <= at).is_some() {}
            let Some(zeros) = rest.peek() else {
                push(at..range.end, kind);
                break;
            };
            let start = zeros.start.clamp(at, range.end);
            let end = zeros.end.clamp(at, range.end);
            push(at..start, kind);
            push(start..end, ExtentKind::Zero);
            at = end;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwritten_ranges_are_zeros_whatever_they_lie_in() {
        let extent = |range, kind| Extent { range, kind };
        let (data, zero, hole) = (ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole);
        let extents = vec![extent(0..10, data), extent(10..30, hole), extent(30..40, data)];
        let found = overlay(extents, &[5..12, 20..22, 28..35, 50..60]);
        let expected = [
            extent(0..5, data),
            extent(5..12, zero),
            extent(12..20, hole),
            extent(20..22, zero),
            extent(22..28, hole),
            extent(28..35, zero),
            extent(35..40, data),
        ];
        assert_eq!(found, expected);
    }
}
