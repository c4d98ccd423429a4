//! Extents in pieces that make good jobs: few where there is nothing to read, small where there is.

use std::ops::Range;

use crate::error::Error;
use crate::error::Result;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;

/// Bytes of data that one job reads and handles.
///
/// Large enough that handing out jobs costs nothing, small enough that the window of jobs stays in
/// a few tens of MiB.
pub(super) const SPAN_LEN: u64 = 2 << 20;

/// Zeros of one job: enough to keep jobs few, little enough to stop soon when asked.
const ZERO_SPAN_LEN: u64 = 64 << 20;

/// Hole of one job: it costs a system call or nothing.
const HOLE_SPAN_LEN: u64 = 1 << 30;

/// Cuts extents of a volume as [`spans`] does; each span that is drawn will be read soon.
pub(super) fn spans_of(
    volume: &dyn ReadVolume,
    extents: impl Iterator<Item = Result<Extent>>,
) -> impl Iterator<Item = Result<Extent>> {
    spans(extents).inspect(|span| {
        if let Ok(Extent { range, kind: ExtentKind::Data }) = span {
            volume.will_need(range.clone());
        }
    })
}

/// Cuts extents at the multiples of a length that fits their kind; every kind's length is a
/// multiple of [`SPAN_LEN`].
pub(super) fn spans(
    extents: impl Iterator<Item = Result<Extent>>,
) -> impl Iterator<Item = Result<Extent>> {
    extents.flat_map(|extent| match extent {
        Ok(Extent { range, kind }) => Spans { range, kind, failed: None },
        Err(e) => Spans { range: 0..0, kind: ExtentKind::Hole, failed: Some(e) },
    })
}

/// What is left of one extent, or the failure that stands in its place.
struct Spans {
    range: Range<u64>,
    kind: ExtentKind,
    failed: Option<Error>,
}

impl Iterator for Spans {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        if self.range.is_empty() {
            return None;
        }
        let len = match self.kind {
            ExtentKind::Data => SPAN_LEN,
            ExtentKind::Zero => ZERO_SPAN_LEN,
            ExtentKind::Hole => HOLE_SPAN_LEN,
        };
        let start = self.range.start;
        // Cannot overflow: volumes end at 64 TiB.
        let end = start.strict_div(len).strict_add(1).strict_mul(len).min(self.range.end);
        self.range.start = end;
        Some(Ok(Extent { range: start..end, kind: self.kind }))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    fn cut(range: Range<u64>, kind: ExtentKind) -> Vec<Range<u64>> {
        spans([Ok(Extent { range, kind })].into_iter()).map(|span| span.unwrap().range).collect()
    }

    #[test]
    fn spans_tile_an_extent_and_are_cut_at_multiples() {
        for (kind, len) in [
            (ExtentKind::Data, SPAN_LEN),
            (ExtentKind::Zero, ZERO_SPAN_LEN),
            (ExtentKind::Hole, HOLE_SPAN_LEN),
        ] {
            assert!(len.is_multiple_of(SPAN_LEN));
            assert_eq!(cut(5..2 * len + 7, kind), [5..len, len..2 * len, 2 * len..2 * len + 7]);
            assert_eq!(cut(len..len + 1, kind), [len..len + 1]);
        }
    }

    #[test]
    fn the_largest_hole_is_few_jobs() {
        assert_eq!(cut(0..64 << 40, ExtentKind::Hole).len(), 1 << 16);
    }

    #[test]
    fn a_failure_keeps_its_place() {
        let hole = |range| Ok(Extent { range, kind: ExtentKind::Hole });
        let extents = [hole(0..1), Err(Error::invalid("no")), hole(1..2)];
        let told: Vec<_> = spans(extents.into_iter()).map(|span| span.is_ok()).collect();
        assert_eq!(told, [true, false, true]);
    }
}
