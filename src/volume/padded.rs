//! A volume with zeros behind its end.

use std::ops::Range;

use crate::error::Result;
use crate::units::Extent;
use crate::volume::ReadVolume;

/// A volume that is longer than what it is made of: zeros follow, in the state of what is last.
#[derive(Debug)]
pub struct Padded<'a> {
    inner: &'a dyn ReadVolume,
    size: u64,
}

impl<'a> Padded<'a> {
    /// Fills `inner` up with zeros to a multiple of `grain` bytes.
    ///
    /// # Panics
    ///
    /// If `grain` is 0, or `inner` is larger than any volume.
    #[must_use]
    pub fn to_multiple(inner: &'a dyn ReadVolume, grain: u64) -> Self {
        let size = inner.size().checked_next_multiple_of(grain).expect("a volume, and a grain");
        Self { inner, size }
    }
}

impl ReadVolume for Padded<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let size = self.inner.size();
        // What is asked for behind the end is told of the last byte.
        let within = if offset < self.size { offset.min(size.saturating_sub(1)) } else { offset };
        let mut extent = self.inner.extent_at(within)?;
        extent.range.start = offset;
        if extent.range.end == size {
            extent.range.end = self.size;
        }
        Ok(extent)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return self.inner.read_at(offset, buf);
        }
        let there = self.inner.size().saturating_sub(offset).min(len);
        let (bytes, zeros) = buf.split_at_mut(usize::try_from(there).expect("at most the buffer"));
        zeros.fill(0);
        if bytes.is_empty() { Ok(()) } else { self.inner.read_at(offset, bytes) }
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
    use super::*;

    use std::sync::Arc;

    use crate::error::Kind;
    use crate::units::ExtentKind;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::volume::extents;

    /// 700 bytes of sevens, and 300 of what the last place says.
    fn volume(last: Place) -> Volume {
        let mut map = RunMap::default();
        map.push(700, Place::Stored { source: 0, offset: 0 });
        map.push(300, last);
        let source: Arc<dyn crate::io::ReadAt> = Arc::new(vec![7; 1000]);
        Volume::new(map, vec![source.into()]).unwrap()
    }

    #[test]
    fn zeros_follow_in_the_state_of_what_is_last() {
        for (last, kind) in [
            (Place::Stored { source: 0, offset: 700 }, ExtentKind::Data),
            (Place::Zero, ExtentKind::Zero),
            (Place::Hole, ExtentKind::Hole),
        ] {
            let volume = volume(last);
            let padded = Padded::to_multiple(&volume, 512);
            assert_eq!(padded.size(), 1024);
            let all: Vec<_> = extents(&padded).collect::<Result<_>>().unwrap();
            assert_eq!(all.last().unwrap().kind, kind);
            assert_eq!(all.last().unwrap().range.end, 1024);
            let tail = padded.extent_at(1010).unwrap();
            assert_eq!((tail.kind, tail.range), (kind, 1010..1024));
            let mut bytes = [1; 424];
            padded.read_at(600, &mut bytes).unwrap();
            let sevens = if kind == ExtentKind::Data { 400 } else { 100 };
            assert!(bytes[..sevens].iter().all(|byte| *byte == 7));
            assert!(bytes[sevens..].iter().all(|byte| *byte == 0));
            padded.read_at(1020, &mut bytes[..4]).unwrap();
            assert_eq!(bytes[..4], [0; 4]);
        }
    }

    #[test]
    fn there_is_nothing_behind_the_zeros() {
        let volume = volume(Place::Hole);
        let padded = Padded::to_multiple(&volume, 512);
        assert_eq!(padded.read_at(1020, &mut [0; 5]).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(padded.extent_at(1024).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(Padded::to_multiple(&volume, 1).size(), 1000);
    }
}
