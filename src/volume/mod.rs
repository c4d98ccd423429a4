//! Volumes: a map of runs and the sources that it points into, read by position.
//!
//! After opening, a volume is immutable data, read by any number of threads. Only packed units lend
//! each thread a context, with the unit that it unpacked last: a large unit is read in pieces.

mod masked;
mod padded;
mod runs;
mod source;
mod units;
mod window;
mod zeros;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::io::SharedExtent;
use crate::units::BlockIndex;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::units::MAX_VOLUME_SIZE;

pub use masked::Masked;
pub use padded::Padded;
pub use runs::Place;
pub use runs::RunMap;
pub use source::MAX_MARKER_LEN;
use source::MAX_PACKED_LEN;
pub use source::MAX_UNIT_LEN;
pub use source::Markers;
pub use source::Source;
pub use source::Unit;
pub use window::Window;
pub use zeros::ZERO_PIECE_LEN;
pub use zeros::ZerosAsData;
pub use zeros::ZerosAsHoles;
pub use zeros::zeros_as_holes;

/// Most runs of a map: 4 Mi runs of at most 32 bytes are 128 MiB of memory.
pub const MAX_RUNS: usize = 4 << 20;

/// The bytes and states of a volume, wherever they come from.
pub trait ReadVolume: Send + Sync + fmt::Debug {
    /// Returns the volume's size in bytes.
    fn size(&self) -> u64;

    /// Returns an extent of one kind that starts at byte `offset`. The next one may be of the same
    /// kind: how far this looks is bounded, and [`extents`] joins them.
    ///
    /// Zeros inside stored data count as data here; [`crate::units::ExtentKind`] of a block is decided by its
    /// bytes too.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Io` if the metadata cannot be read; `Invalid` if `offset` is not inside.
    fn extent_at(&self, offset: u64) -> Result<Extent>;

    /// Fills `buf` with the volume's bytes from byte `offset` on; zeros and holes read as 0.
    ///
    /// # Errors
    ///
    /// `Invalid` if the range ends past the volume; `Corrupt`, `Mismatch` or `Io` if a part of it
    /// cannot be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Returns how many bytes are unpacked together at most: to read a few of them costs as much as to
    /// read them all. 1 where bytes are stored as they are.
    fn unit_len(&self) -> usize {
        1
    }

    /// Says that a range will be read soon, so that a disk can fetch it meanwhile. Nothing has to happen.
    fn will_need(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Returns the ranges whose bytes other files may share, ascending, as [`crate::io::ReadAt::shared_extents`]. None where
    /// nothing is known.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
        Ok(Vec::new())
    }

    /// Fails if a source is not what it was when it was opened.
    ///
    /// # Errors
    ///
    /// `Io` if a source changed.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }
}

/// Iterates over a volume's extents, ascending; they tile `0..size`, and no two neighbours are of
/// one kind.
pub fn extents(volume: &dyn ReadVolume) -> impl Iterator<Item = Result<Extent>> + '_ {
    let mut at = 0;
    let mut ahead: Option<Extent> = None;
    std::iter::from_fn(move || {
        let mut joined = ahead.take();
        while at < volume.size() {
            let next = match volume.extent_at(at) {
                Ok(next) => next,
                Err(error) => {
                    // After a failure there is no next place to look at.
                    at = u64::MAX;
                    return Some(Err(error));
                }
            };
            at = next.range.end;
            match &mut joined {
                Some(extent) if extent.kind == next.kind => extent.range.end = next.range.end,
                Some(_) => {
                    ahead = Some(next);
                    break;
                }
                None => joined = Some(next),
            }
        }
        joined.map(Ok)
    })
}

/// Tells what can be said of a block without reading it: `Data` means that its bytes decide.
///
/// # Errors
///
/// As [`ReadVolume::extent_at`].
pub fn block_hint(volume: &dyn ReadVolume, index: BlockIndex) -> Result<ExtentKind> {
    let range = index.range(volume.size());
    let mut hint = ExtentKind::Hole;
    let mut at = range.start;
    while at < range.end {
        let extent = volume.extent_at(at)?;
        match extent.kind {
            ExtentKind::Data => return Ok(ExtentKind::Data),
            ExtentKind::Zero => hint = ExtentKind::Zero,
            ExtentKind::Hole => {}
        }
        at = extent.range.end;
    }
    Ok(hint)
}

/// Most runs that are looked at for one extent: a caller that goes through a volume of many short runs
/// must not look at each of them again and again.
const MOST_RUNS_JOINED: usize = 64;

/// A volume read through a map.
#[derive(Clone, Debug)]
pub struct Volume {
    map: RunMap,
    sources: Vec<Source>,
    units: Arc<units::Units>,
}

impl Volume {
    /// Joins a map with the sources that it points into.
    ///
    /// # Errors
    ///
    /// `Limit` if the volume is over 64 TiB; `Invalid` if it is empty.
    ///
    /// # Panics
    ///
    /// If a run points into a source that is not there: that is the format's own mistake.
    pub fn new(map: RunMap, sources: Vec<Source>) -> Result<Self> {
        check_size(map.size())?;
        for (range, place) in map.within(0..map.size()) {
            match place {
                Place::Stored { source, .. } => {
                    assert!(usize::from(source) < sources.len(), "source {source} is not there");
                }
                Place::Packed { source, len, skip, .. } => {
                    let unit = sources[usize::from(source)].unit.expect("a source with units");
                    let end = range.end.strict_sub(range.start).strict_add(u64::from(skip));
                    assert!(
                        unit.len <= MAX_UNIT_LEN && end <= u64::from(unit.len),
                        "a run ends at byte {end} of a unit of {}",
                        unit.len
                    );
                    assert!(len <= MAX_PACKED_LEN, "a packed unit of {len} bytes");
                }
                Place::Fill(_) | Place::Zero | Place::Hole | Place::Backing => {}
            }
        }
        Ok(Self { map, sources, units: Arc::default() })
    }

    /// Returns the volume that another map makes of the same sources.
    ///
    /// # Errors
    ///
    /// As [`Volume::new`].
    pub fn with_map(&self, map: RunMap) -> Result<Self> {
        Self::new(map, self.sources.clone())
    }

    /// Returns the sources.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the map.
    #[must_use]
    pub fn map(&self) -> &RunMap {
        &self.map
    }

    fn inside(&self, offset: u64, len: usize) -> Result<u64> {
        u64::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len))
            .filter(|end| *end <= self.map.size())
            .ok_or_else(|| {
                let size = self.map.size();
                Error::invalid(format!(
                    "{len} bytes at byte {offset} are not inside the volume of {size} bytes"
                ))
            })
    }
}

/// Checks a volume's size, wherever it was learnt.
///
/// # Errors
///
/// `Limit` over 64 TiB, `Invalid` for 0.
pub fn check_size(size: u64) -> Result<()> {
    if size > MAX_VOLUME_SIZE {
        let text = format!("the volume has {size} bytes, expected at most 64 TiB");
        return Err(Error::new(Kind::Limit, text));
    }
    if size == 0 {
        return Err(Error::invalid("the volume is empty, expected at least one byte"));
    }
    Ok(())
}

impl ReadVolume for Volume {
    fn size(&self) -> u64 {
        self.map.size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.inside(offset, 1)?;
        let mut runs = self.map.within(offset..self.map.size());
        let (mut range, place) = runs.next().expect("a map tiles its size");
        let kind = place.kind();
        for (next, place) in runs.take(MOST_RUNS_JOINED) {
            if place.kind() != kind {
                break;
            }
            range.end = next.end;
        }
        Ok(Extent { range, kind })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = self.inside(offset, buf.len())?;
        let mut rest = buf;
        for (range, place) in self.map.within(offset..end) {
            let len =
                usize::try_from(range.end.strict_sub(range.start)).expect("inside the buffer");
            let (part, behind) = rest.split_at_mut(len);
            rest = behind;
            match place {
                Place::Stored { source, offset } => {
                    self.sources[usize::from(source)].bytes.read_exact_at(part, offset)?;
                }
                Place::Packed { source, offset, len, skip } => {
                    let start = range.start.checked_sub(u64::from(skip));
                    let key = units::Key { source, offset, start };
                    self.units.read(&self.sources[usize::from(source)], key, len, skip, part)?;
                }
                Place::Fill(mut pattern) => {
                    pattern.rotate_left(usize::try_from(range.start % 4).expect("below 4"));
                    let (words, tail) = part.as_chunks_mut();
                    words.fill(pattern);
                    tail.copy_from_slice(&pattern[..tail.len()]);
                }
                Place::Zero | Place::Hole | Place::Backing => part.fill(0),
            }
        }
        Ok(())
    }

    fn unit_len(&self) -> usize {
        let units = self.sources.iter().filter_map(|source| source.unit);
        units.map(|unit| usize::try_from(unit.len).expect("at most 2 MiB")).max().unwrap_or(1)
    }

    fn will_need(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.size());
        if range.is_empty() {
            return;
        }
        for (range, place) in self.map.within(range) {
            let (source, place) = match place {
                // Cannot overflow: what is stored is inside its source.
                Place::Stored { source, offset } => {
                    let len = range.end.strict_sub(range.start);
                    (source, offset..offset.strict_add(len))
                }
                Place::Packed { source, offset, len, .. } => {
                    (source, offset..offset.strict_add(len.into()))
                }
                Place::Fill(_) | Place::Zero | Place::Hole | Place::Backing => continue,
            };
            self.sources[usize::from(source)].bytes.will_need(place);
        }
    }

    fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
        let of_sources: Vec<_> = self
            .sources
            .iter()
            .map(|source| source.bytes.shared_extents())
            .collect::<Result<_>>()?;
        let mut found = Vec::new();
        if of_sources.iter().all(Vec::is_empty) {
            return Ok(found);
        }
        for (range, place) in self.map.within(0..self.map.size()) {
            let Place::Stored { source, offset } = place else { continue };
            let extents = &of_sources[usize::from(source)];
            let end = offset.saturating_add(range.end.strict_sub(range.start));
            let first = extents.partition_point(|extent| extent.range.end <= offset);
            let inside = extents[first..].iter().map_while(|extent| extent.within(&(offset..end)));
            found.extend(inside.map(|part| {
                // From bytes of the source to bytes of the volume: inside the run, so inside the volume.
                let there = |at: u64| range.start.strict_add(at.strict_sub(offset));
                SharedExtent { range: there(part.range.start)..there(part.range.end), ..part }
            }));
        }
        Ok(found)
    }

    fn check_unchanged(&self) -> Result<()> {
        self.sources.iter().try_for_each(|source| source.bytes.check_unchanged())
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::path::Path;
    use std::sync::Mutex;

    use crate::io::Input;

    fn volume() -> Volume {
        let mut map = RunMap::default();
        map.push(3, Place::Hole);
        map.push(5, Place::Stored { source: 0, offset: 2 });
        map.push(6, Place::Fill(*b"abcd"));
        map.push(4, Place::Zero);
        map.push(2, Place::Hole);
        Volume::new(map, vec![Arc::new(b"..hello..".to_vec()).into()]).unwrap()
    }

    #[test]
    fn every_range_reads_as_a_part_of_the_whole() {
        let volume = volume();
        let whole = b"\0\0\0helloabcdab\0\0\0\0\0\0";
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut buf = vec![0xee; end - start];
                volume.read_at(start.try_into().unwrap(), &mut buf).unwrap();
                assert_eq!(buf, whole[start..end], "{start}..{end}");
            }
        }
        assert_eq!(volume.read_at(20, &mut [0]).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(volume.read_at(u64::MAX, &mut [0]).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn extents_tile_the_volume_and_join_like_kinds() {
        let volume = volume();
        let extents: Vec<_> =
            extents(&volume).map(|e| e.map(|e| (e.range, e.kind)).unwrap()).collect();
        assert_eq!(
            extents,
            [
                (0..3, ExtentKind::Hole),
                (3..14, ExtentKind::Data),
                (14..18, ExtentKind::Zero),
                (18..20, ExtentKind::Hole)
            ]
        );
        assert_eq!(volume.extent_at(5).unwrap().range, 5..14);
        assert!(volume.extent_at(20).is_err());
    }

    /// A disk is told of what is stored there, and of nothing else.
    #[test]
    fn what_will_be_needed_is_told_in_places_of_the_source() {
        #[derive(Debug, Default)]
        struct Told(Mutex<Vec<Range<u64>>>);
        impl ReadAt for Told {
            fn len(&self) -> u64 {
                1000
            }
            fn read_exact_at(&self, _: &mut [u8], _: u64) -> Result<()> {
                unreachable!("nothing is read")
            }
            fn will_need(&self, range: Range<u64>) {
                self.0.lock().unwrap().push(range);
            }
        }
        let told = Arc::new(Told::default());
        let disk: Arc<dyn ReadAt> = told.clone();
        let storage = Input::of_storage(Path::new("disk"), disk);
        let part: Arc<dyn ReadAt> =
            Arc::new(Input::part(&Arc::new(storage), 100, 900, "a part").unwrap());
        let mut map = RunMap::default();
        map.push(30, Place::Hole);
        map.push(50, Place::Stored { source: 0, offset: 20 });
        map.push(60, Place::Zero);
        map.push(40, Place::Stored { source: 0, offset: 500 });
        let volume = Volume::new(map, vec![part.into()]).unwrap();
        let window = Window::new(&volume, 10..170);
        let views: [&dyn ReadVolume; 3] =
            [&window, &ZerosAsData::new(&window), &Padded::to_multiple(&window, 7)];
        for volume in views {
            volume.will_need(0..160);
            volume.will_need(25..26);
            // What is not inside is nobody's need.
            volume.will_need(400..500);
            let told = std::mem::take(&mut *told.0.lock().unwrap());
            assert_eq!(told, [120..170, 600..630, 125..126], "{volume:?}");
        }
    }

    #[test]
    fn extents_join_more_runs_than_one_look_sees() {
        let mut map = RunMap::default();
        for number in 0..1000 {
            // No two of these runs lie side by side in the source.
            map.push(10, Place::Stored { source: 0, offset: 20_000 - 20 * number });
        }
        map.push(7, Place::Hole);
        let volume = Volume::new(map, vec![Arc::new(vec![1; 20_010]).into()]).unwrap();
        assert!(volume.extent_at(0).unwrap().len() < 10_000);
        let extents: Vec<_> = extents(&volume).map(|e| e.unwrap().range).collect();
        assert_eq!(extents, [0..10_000, 10_000..10_007]);
    }

    #[test]
    fn an_empty_and_an_oversized_volume_are_refused() {
        let kind_of = |size| {
            let mut map = RunMap::default();
            map.push(size, Place::Hole);
            Volume::new(map, Vec::new()).map_err(|e| e.kind()).err()
        };
        assert_eq!(kind_of(0), Some(Kind::Invalid));
        assert_eq!(kind_of(MAX_VOLUME_SIZE), None);
        assert_eq!(kind_of(MAX_VOLUME_SIZE + 1), Some(Kind::Limit));
    }
}
