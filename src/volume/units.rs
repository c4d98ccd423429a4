//! Packed units: unpacked into memory that a thread borrows.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::compress::UnpackFault;
use crate::compress::Unpacker;
use crate::error::Error;
use crate::error::Result;
use crate::volume::MAX_MARKER_LEN;
use crate::volume::Markers;
use crate::volume::Source;

/// Which unit: the source, where its packed bytes start, and where in the volume it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) source: u16,
    pub(super) offset: u64,
    /// `None` if it would start before the volume does.
    pub(super) start: Option<u64>,
}

/// A context and the unit that it unpacked last.
#[derive(Debug, Default)]
struct Lent {
    unpacker: Unpacker,
    packed: Vec<u8>,
    unit: Vec<u8>,
    key: Option<Key>,
}

/// The contexts of a volume, each lent to one thread at a time.
#[derive(Debug, Default)]
pub(super) struct Units(Mutex<Vec<Lent>>);

impl Units {
    /// Fills `buf` with the bytes of a unit from byte `skip` on.
    pub(super) fn read(
        &self,
        source: &Source,
        key: Key,
        packed_len: u32,
        skip: u32,
        buf: &mut [u8],
    ) -> Result<()> {
        let mut lent =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let read = lent.read(source, key, packed_len, skip, buf).map_err(|e| source.named(e));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lent);
        read
    }
}

impl Lent {
    fn read(
        &mut self,
        source: &Source,
        key: Key,
        packed_len: u32,
        skip: u32,
        buf: &mut [u8],
    ) -> Result<()> {
        let unit = source.unit.expect("checked when the volume was made");
        let skip = usize::try_from(skip).expect("inside a unit");
        let unit_len = usize::try_from(unit.len).expect("at most 2 MiB");
        if self.key != Some(key) {
            let (offset, packed_len, needed) = match &source.markers {
                Some(markers) => marked(source, markers, key, packed_len)?,
                None => (key.offset, packed_len, unit_len),
            };
            // What a source says of a packed length is a bound, and may pass its end.
            let there = source.bytes.len().saturating_sub(offset);
            let len = usize::try_from(there.min(u64::from(packed_len))).expect("at most 4 MiB");
            self.packed.resize(len, 0);
            source.bytes.read_exact_at(&mut self.packed, offset)?;
            let whole = buf.len() == unit_len;
            self.unit.resize(unit_len, 0);
            let target = if whole { &mut *buf } else { &mut self.unit[..] };
            self.key = None;
            self.unpacker
                .unpack_up_to(unit.codec, &self.packed, target)
                .and_then(|found| {
                    let expected = needed.min(unit_len);
                    if found < expected {
                        return Err(UnpackFault::Short { found, expected });
                    }
                    Ok(())
                })
                .map_err(|fault| Error::from(fault).at(key.offset))?;
            if whole {
                return Ok(());
            }
            self.key = Some(key);
        }
        buf.copy_from_slice(&self.unit[skip..][..buf.len()]);
        Ok(())
    }
}

/// Reads the marker of a unit: where its packed bytes start, how many there are, and how many they
/// must unpack to at least.
fn marked(
    source: &Source,
    markers: &Markers,
    key: Key,
    packed_len: u32,
) -> Result<(u64, u32, usize)> {
    let mut bytes = [0; MAX_MARKER_LEN];
    let bytes = &mut bytes[..markers.len];
    source.bytes.read_exact_at(bytes, key.offset)?;
    let start = key.start.and_then(|start| start.checked_sub(markers.span.start));
    let start = start.expect("a source's units lie in its span");
    let len = (markers.read)(bytes, start, packed_len).map_err(|e| e.at(key.offset))?;
    // Cannot overflow: a source's bytes were read up to there.
    let offset = key.offset.strict_add(u64::try_from(markers.len).expect("at most 64"));
    let span = markers.span.end.saturating_sub(markers.span.start);
    let needed = usize::try_from(span.saturating_sub(start)).unwrap_or(usize::MAX);
    Ok((offset, len.min(packed_len), needed))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::compress::Codec;
    use crate::compress::Packer;
    use crate::error::Kind;
    use crate::io::ReadAt;
    use crate::volume::Place;
    use crate::volume::ReadVolume;
    use crate::volume::RunMap;
    use crate::volume::Unit;
    use crate::volume::Volume;

    const UNIT_LEN: u32 = 1000;

    /// A marker of two bytes: the number of the unit and how many packed bytes follow.
    fn read(marker: &[u8], start: u64, most: u32) -> Result<u32> {
        let len = u32::from(marker[1]);
        if u64::from(marker[0]) * 1000 != start || len > most {
            return Err(Error::corrupt("marker"));
        }
        Ok(len)
    }

    /// A volume of a hole of 300 bytes and units behind markers: their numbers and lengths.
    fn volume(units: &[(u8, usize)], size: u64) -> Volume {
        let mut map = RunMap::default();
        map.push(300, Place::Hole);
        let mut bytes = Vec::new();
        for (number, len) in units {
            let mut packed = Vec::new();
            Packer::new(Codec::Zlib, None).unwrap().append(&vec![number + 1; *len], &mut packed);
            let offset = bytes.len().try_into().unwrap();
            bytes.extend([*number, packed.len().try_into().unwrap()]);
            bytes.extend(packed);
            let place = Place::Packed { source: 0, offset, len: 60, skip: 0 };
            map.push((size - map.size()).min(UNIT_LEN.into()), place);
        }
        let bytes: Arc<dyn ReadAt> = Arc::new(bytes);
        let unit = Unit { codec: Codec::Zlib, len: UNIT_LEN };
        let markers = Markers { len: 2, read, span: 300..size };
        Volume::new(map, vec![Source::marked(bytes, unit, markers)]).unwrap()
    }

    #[test]
    fn the_last_unit_may_be_short_and_no_other() {
        for last in [450, 451, 1000] {
            let volume = volume(&[(0, 1000), (1, last)], 1750);
            for (from, to) in [(0, 1750), (1300, 1750), (1299, 1302), (1749, 1750), (299, 1300)] {
                let mut buf = vec![9; to - from];
                volume.read_at(from.try_into().unwrap(), &mut buf).unwrap();
                let expected =
                    |at: usize| [0, 1, 2][usize::from(at >= 300) + usize::from(at >= 1300)];
                assert!(buf.iter().zip(from..).all(|(byte, at)| *byte == expected(at)));
            }
        }
        let kind = |units: &[(u8, usize)], offset: u64| {
            volume(units, 1750).read_at(offset, &mut [0]).map_err(|e| e.kind())
        };
        assert_eq!(kind(&[(0, 1000), (1, 449)], 1300), Err(Kind::Corrupt));
        assert_eq!(kind(&[(0, 999), (1, 450)], 300), Err(Kind::Corrupt));
        assert_eq!(kind(&[(0, 1001), (1, 450)], 300), Err(Kind::Corrupt));
    }

    #[test]
    fn a_marker_of_another_unit_is_refused_and_that_unit_alone() {
        let volume = volume(&[(0, 1000), (0, 1000)], 2300);
        volume.read_at(300, &mut [0]).unwrap();
        let error = volume.read_at(1300, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.offset().is_some_and(|offset| offset > 0));
        volume.read_at(1299, &mut [0]).unwrap();
    }
}
