//! A volume whose zeros are holes, or data.

use std::num::NonZero;
use std::ops::Range;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::ReadVolume;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes that are a hole if all of them are zero, from one multiple of it to the next.
pub const ZERO_PIECE_LEN: u64 = 64 << 10;

/// Bytes of one job: as many pieces as there are bits.
const SPAN_LEN: u64 = 32 * ZERO_PIECE_LEN;

/// A volume whose zeros are holes.
#[derive(Debug)]
pub struct ZerosAsHoles<'a> {
    inner: &'a dyn ReadVolume,
    /// Ascending, and no two touch.
    holes: Vec<Range<u64>>,
}

impl ReadVolume for ZerosAsHoles<'_> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let next = self.holes.partition_point(|hole| hole.end <= offset);
        match self.holes.get(next) {
            Some(hole) if hole.start <= offset => {
                Ok(Extent { range: offset..hole.end, kind: ExtentKind::Hole })
            }
            Some(hole) => {
                let mut extent = self.inner.extent_at(offset)?;
                extent.range.end = extent.range.end.min(hole.start);
                Ok(extent)
            }
            None => self.inner.extent_at(offset),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(offset, buf)
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

/// A volume whose written zeros are data like any other.
#[derive(Debug)]
pub struct ZerosAsData<'a>(&'a dyn ReadVolume);

impl<'a> ZerosAsData<'a> {
    /// Looks at a volume so.
    #[must_use]
    pub fn new(inner: &'a dyn ReadVolume) -> Self {
        Self(inner)
    }
}

impl ReadVolume for ZerosAsData<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let mut extent = self.0.extent_at(offset)?;
        if extent.kind == ExtentKind::Zero {
            extent.kind = ExtentKind::Data;
        }
        Ok(extent)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }

    fn unit_len(&self) -> usize {
        self.0.unit_len()
    }

    fn will_need(&self, range: Range<u64>) {
        self.0.will_need(range);
    }

    fn check_unchanged(&self) -> Result<()> {
        self.0.check_unchanged()
    }
}

/// Makes a hole of whatever the volume says is zeros, and wherever all that is stored of a piece of
/// [`ZERO_PIECE_LEN`] is zero. All that is stored is read, on `threads` threads.
///
/// # Errors
///
/// As reading the volume; `Limit` if data and zeros take turns too often; `Interrupted` if `watch` says
/// to stop.
pub fn zeros_as_holes<'a>(
    volume: &'a dyn ReadVolume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<ZerosAsHoles<'a>> {
    let mut holes: Vec<Range<u64>> = Vec::new();
    in_order(
        threads,
        watch,
        spans(volume),
        || Ok(PageBuffer::default()),
        |buffer, (range, kind)| {
            if kind != ExtentKind::Data {
                return Ok((range, u32::MAX));
            }
            let len = range.end.strict_sub(range.start);
            buffer.resize(usize::try_from(len).expect("at most a span"));
            volume.read_at(range.start, buffer)?;
            let mut zeros = 0;
            for (number, piece) in pieces(&range).enumerate() {
                let from = usize::try_from(piece.start.strict_sub(range.start)).expect("in a span");
                let to = usize::try_from(piece.end.strict_sub(range.start)).expect("in a span");
                zeros |= u32::from(is_zero(&buffer[from..to])) << number;
            }
            Ok((range, zeros))
        },
        |(range, zeros)| {
            watch.advance(range.end.strict_sub(range.start));
            if zeros == u32::MAX {
                return add(&mut holes, range);
            }
            let found = pieces(&range).enumerate().filter(|(number, _)| zeros >> number & 1 == 1);
            found.map(|(_, piece)| piece).try_for_each(|piece| add(&mut holes, piece))
        },
    )?;
    Ok(ZerosAsHoles { inner: volume, holes })
}

/// Adds a hole, joined to the last one where it goes on.
fn add(holes: &mut Vec<Range<u64>>, range: Range<u64>) -> Result<()> {
    let count = holes.len();
    match holes.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ if count >= MAX_RUNS => {
            let text = format!("data and zeros alternate over {MAX_RUNS} times");
            return Err(Error::new(Kind::Limit, text));
        }
        _ => holes.push(range),
    }
    Ok(())
}

/// Cuts a volume into jobs of one kind; of data at most a span each, at its multiples.
fn spans(volume: &dyn ReadVolume) -> impl Iterator<Item = Result<(Range<u64>, ExtentKind)>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= volume.size() {
            return None;
        }
        let extent = match volume.extent_at(at) {
            Ok(extent) => extent,
            Err(e) => {
                at = volume.size();
                return Some(Err(e));
            }
        };
        let mut end = extent.range.end;
        if extent.kind == ExtentKind::Data {
            // Cannot overflow: volumes end at 64 TiB.
            end = end.min(at.strict_div(SPAN_LEN).strict_add(1).strict_mul(SPAN_LEN));
        }
        let range = at..end;
        at = end;
        if extent.kind == ExtentKind::Data {
            volume.will_need(range.clone());
        }
        Some(Ok((range, extent.kind)))
    })
}

/// Cuts a range at the multiples of a piece's length.
fn pieces(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start: mut at, end } = *range;
    std::iter::from_fn(move || {
        let start = at;
        // Cannot overflow: volumes end at 64 TiB.
        at = at.strict_div(ZERO_PIECE_LEN).strict_add(1).strict_mul(ZERO_PIECE_LEN).min(end);
        (start < end).then_some(start..at)
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::volume::extents;
    use crate::work::Unwatched;

    type Kinds = Vec<(Range<u64>, ExtentKind)>;

    /// The extents of a volume whose zeros are holes, its bytes seen to be what they were.
    fn kinds(map: RunMap, bytes: Vec<u8>, threads: usize) -> Kinds {
        let size = map.size();
        let volume = Volume::new(map, vec![Arc::new(bytes).into()]).unwrap();
        let threads = NonZero::new(threads).unwrap();
        let found = zeros_as_holes(&volume, threads, &Unwatched).unwrap();
        let (mut before, mut after) = (vec![7; size as usize], vec![9; size as usize]);
        volume.read_at(0, &mut before).unwrap();
        found.read_at(0, &mut after).unwrap();
        assert!(before == after);
        extents(&found).map(|it| it.unwrap()).map(|it| (it.range, it.kind)).collect()
    }

    #[test]
    fn only_whole_pieces_of_zeros_become_holes_and_the_bytes_stay() {
        const PIECE: u64 = ZERO_PIECE_LEN;
        let mut bytes = vec![0; 5 << 20];
        // A byte at the end of the first span, and one at the start of a piece in the third.
        bytes[(2 << 20) - 1] = 1;
        bytes[(4 << 20) + 3 * 65_536] = 2;
        let mut map = RunMap::default();
        map.push(5 << 20, Place::Stored { source: 0, offset: 0 });
        map.push(1000, Place::Zero);
        map.push(1000, Place::Fill([0; 4]));
        map.push(1000, Place::Fill([0, 0, 0, 1]));
        map.push(70_000, Place::Hole);
        let (hole, data) = (ExtentKind::Hole, ExtentKind::Data);
        let (one, two, end) = ((2 << 20) - PIECE, (4 << 20) + 3 * PIECE, 5 << 20);
        let expected: Kinds = vec![
            (0..one, hole),
            (one..2 << 20, data),
            (2 << 20..two, hole),
            (two..two + PIECE, data),
            (two + PIECE..end + 1000, hole),
            // The zeros of the fill are in one piece with what is not zero.
            (end + 1000..end + 3000, data),
            (end + 3000..end + 73_000, hole),
        ];
        for threads in [1, 3] {
            assert_eq!(kinds(map.clone(), bytes.clone(), threads), expected);
        }
    }

    #[test]
    fn nothing_but_zeros_is_one_hole() {
        let mut map = RunMap::default();
        map.push(12_345_678, Place::Stored { source: 0, offset: 0 });
        let found = kinds(map, vec![0; 12_345_678], 2);
        assert_eq!(found, [(0..12_345_678, ExtentKind::Hole)]);
    }
}
