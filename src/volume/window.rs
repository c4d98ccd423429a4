//! A part of a volume, as a volume.

use std::ops::Range;

use crate::error::Error;
use crate::error::Result;
use crate::units::Extent;
use crate::volume::ReadVolume;

/// The bytes of a volume from one place to another.
#[derive(Debug)]
pub struct Window<'a> {
    inner: &'a dyn ReadVolume,
    range: Range<u64>,
}

impl<'a> Window<'a> {
    /// Takes the bytes `range` of a volume.
    ///
    /// # Panics
    ///
    /// If the volume ends before that.
    #[must_use]
    pub fn new(inner: &'a dyn ReadVolume, range: Range<u64>) -> Self {
        assert!(range.start <= range.end && range.end <= inner.size(), "a part of the volume");
        Self { inner, range }
    }

    /// Returns the place in the whole volume.
    fn place(&self, offset: u64, len: u64) -> Result<u64> {
        let start = self.range.start.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(len));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.range.end => Ok(start),
            _ => Err(Error::invalid("the range ends behind the part of the volume").at(offset)),
        }
    }
}

impl ReadVolume for Window<'_> {
    fn size(&self) -> u64 {
        self.range.end.strict_sub(self.range.start)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let extent = self.inner.extent_at(self.place(offset, 1)?)?;
        let start = extent.range.start.max(self.range.start).strict_sub(self.range.start);
        let end = extent.range.end.min(self.range.end).strict_sub(self.range.start);
        Ok(Extent { range: start..end, kind: extent.kind })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        self.inner.read_at(self.place(offset, len)?, buf)
    }

    fn unit_len(&self) -> usize {
        self.inner.unit_len()
    }

    fn will_need(&self, range: Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        if let Ok(start) = self.place(range.start, len) {
            self.inner.will_need(start..start.strict_add(len));
        }
    }

    fn check_unchanged(&self) -> Result<()> {
        self.inner.check_unchanged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::error::Kind;
    use crate::units::ExtentKind;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::volume::extents;

    #[test]
    fn a_window_reads_what_is_there_and_no_more() {
        let mut map = RunMap::default();
        map.push(400, Place::Stored { source: 0, offset: 0 });
        map.push(300, Place::Hole);
        map.push(300, Place::Stored { source: 0, offset: 400 });
        let bytes: Vec<u8> = (0..700_u32).map(|at| at.to_le_bytes()[0]).collect();
        let source: Arc<dyn crate::io::ReadAt> = Arc::new(bytes.clone());
        let volume = Volume::new(map, vec![source.into()]).unwrap();
        let window = Window::new(&volume, 300..800);
        assert_eq!(window.size(), 500);
        let found: Vec<_> = extents(&window).map(Result::unwrap).collect();
        let found: Vec<_> = found.into_iter().map(|it| (it.range, it.kind)).collect();
        let data = ExtentKind::Data;
        assert_eq!(found, [(0..100, data), (100..400, ExtentKind::Hole), (400..500, data)]);
        let mut read = [0; 500];
        window.read_at(0, &mut read).unwrap();
        assert_eq!(read[..100], bytes[300..400]);
        assert_eq!(read[400..], bytes[400..500]);
        assert_eq!(window.read_at(499, &mut [0; 2]).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(window.extent_at(500).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(window.read_at(u64::MAX, &mut [0; 2]).unwrap_err().kind(), Kind::Invalid);
    }
}
