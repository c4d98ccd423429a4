//! A volume of which some bytes are left out.

use std::ops::Range;

use crate::error::Result;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;

/// A volume of which some bytes read as zeros: as holes, or as written zeros where something was stored.
#[derive(Debug)]
pub struct Masked {
    inner: Box<dyn ReadVolume>,
    /// Ascending, and no two touch.
    ranges: Vec<Range<u64>>,
    kind: ExtentKind,
}

impl Masked {
    /// Leaves `ranges`, which ascend and do not touch, out of a volume.
    ///
    /// # Panics
    ///
    /// If `kind` is data.
    #[must_use]
    pub fn new(inner: Box<dyn ReadVolume>, ranges: Vec<Range<u64>>, kind: ExtentKind) -> Self {
        assert!(kind != ExtentKind::Data, "what is left out is not data");
        Self { inner, ranges, kind }
    }

    /// Returns what is left out.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }
}

impl ReadVolume for Masked {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let next = self.ranges.partition_point(|range| range.end <= offset);
        let Some(range) = self.ranges.get(next) else { return self.inner.extent_at(offset) };
        if range.start > offset {
            let mut extent = self.inner.extent_at(offset)?;
            extent.range.end = extent.range.end.min(range.start);
            return Ok(extent);
        }
        if self.kind == ExtentKind::Hole {
            return Ok(Extent { range: offset..range.end, kind: ExtentKind::Hole });
        }
        // What was never written stays a hole: only stored bytes become zeros.
        let mut extent = self.inner.extent_at(offset)?;
        extent.range.end = extent.range.end.min(range.end);
        if extent.kind == ExtentKind::Data {
            extent.kind = ExtentKind::Zero;
        }
        Ok(extent)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.size()) else {
            return self.inner.read_at(offset, buf);
        };
        let next = self.ranges.partition_point(|range| range.end <= offset);
        // A read that lies in one range needs nothing of the volume.
        if self.ranges.get(next).is_some_and(|it| it.start <= offset && end <= it.end) {
            buf.fill(0);
            return Ok(());
        }
        self.inner.read_at(offset, buf)?;
        for range in self.ranges[next..].iter().take_while(|range| range.start < end) {
            let both = range.start.max(offset)..range.end.min(end);
            let at = |byte: u64| usize::try_from(byte.strict_sub(offset)).expect("in the buffer");
            buf[at(both.start)..at(both.end)].fill(0);
        }
        Ok(())
    }

    fn unit_len(&self) -> usize {
        self.inner.unit_len()
    }

    fn will_need(&self, range: Range<u64>) {
        self.inner.will_need(range);
    }

    fn check_unchanged(&self) -> Result<()> {
        self.inner.check_unchanged()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::volume::extents;

    /// 100 bytes: 40 of sevens, 20 never written, 40 of sevens.
    fn masked(ranges: Vec<Range<u64>>, kind: ExtentKind) -> Masked {
        let mut map = RunMap::default();
        map.push(40, Place::Stored { source: 0, offset: 0 });
        map.push(20, Place::Hole);
        map.push(40, Place::Stored { source: 0, offset: 40 });
        let source: Arc<dyn crate::io::ReadAt> = Arc::new(vec![7; 80]);
        Masked::new(Box::new(Volume::new(map, vec![source.into()]).unwrap()), ranges, kind)
    }

    #[test]
    fn every_read_shows_zeros_where_something_is_left_out() {
        let volume = masked(vec![10..20, 50..70, 90..100], ExtentKind::Hole);
        let whole: Vec<u8> = (0..100)
            .map(|at| match at {
                0..10 | 20..40 | 70..90 => 7,
                _ => 0,
            })
            .collect();
        for start in 0..100_usize {
            for end in start..=100 {
                let mut buf = vec![1; end - start];
                volume.read_at(start.try_into().unwrap(), &mut buf).unwrap();
                assert_eq!(buf, whole[start..end], "{start}..{end}");
            }
        }
        assert!(volume.read_at(99, &mut [0, 0]).is_err());
    }

    #[test]
    fn holes_are_holes_and_zeros_stand_only_where_something_was() {
        let kinds = |kind| {
            let volume = masked(vec![10..20, 30..70], kind);
            extents(&volume).map(|it| it.map(|it| (it.range, it.kind)).unwrap()).collect::<Vec<_>>()
        };
        let (data, zero, hole) = (ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole);
        let expected =
            [(0..10, data), (10..20, hole), (20..30, data), (30..70, hole), (70..100, data)];
        assert_eq!(kinds(hole), expected);
        let expected = [
            (0..10, data),
            (10..20, zero),
            (20..30, data),
            (30..40, zero),
            (40..60, hole),
            (60..70, zero),
            (70..100, data),
        ];
        assert_eq!(kinds(zero), expected);
    }
}
