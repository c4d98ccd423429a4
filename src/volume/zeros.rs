//! The map of a volume whose zeros are holes.

use std::num::NonZero;
use std::ops::Range;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::ReadVolume;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes that are a hole if all of them are zero, from one multiple of it to the next.
pub const ZERO_PIECE_LEN: u64 = 64 << 10;

/// Bytes of one job: as many pieces as there are bits.
const SPAN_LEN: u64 = 32 * ZERO_PIECE_LEN;

/// Returns a volume's map with a hole wherever it says zeros, and wherever all that is stored of a piece of
/// [`ZERO_PIECE_LEN`] is zero. All that is stored is read, on `threads` threads.
///
/// # Errors
///
/// As reading the volume; `Limit` if data and zeros take turns too often; `Interrupted` if `watch` says
/// to stop.
pub fn zeros_as_holes(
    volume: &Volume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<RunMap> {
    let mut holes = RunMap::default();
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
                holes.push(range.end.strict_sub(range.start), Place::Hole);
                return Ok(());
            }
            for (number, piece) in pieces(&range).enumerate() {
                if zeros >> number & 1 == 1 {
                    holes.push(piece.end.strict_sub(piece.start), Place::Hole);
                    continue;
                }
                for (part, place) in volume.map().within(piece) {
                    holes.push(part.end.strict_sub(part.start), place);
                }
            }
            if holes.run_count() > MAX_RUNS {
                let text = format!("data and zeros take turns over {MAX_RUNS} times");
                return Err(Error::new(Kind::Limit, text));
            }
            Ok(())
        },
    )?;
    Ok(holes)
}

/// Cuts a volume into jobs of one kind; of data at most a span each, at its multiples.
fn spans(volume: &Volume) -> impl Iterator<Item = Result<(Range<u64>, ExtentKind)>> + '_ {
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
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::work::Unwatched;

    fn holes(map: RunMap, bytes: Vec<u8>, threads: usize) -> Volume {
        let volume = Volume::new(map, vec![Arc::new(bytes).into()]).unwrap();
        let threads = NonZero::new(threads).unwrap();
        let map = zeros_as_holes(&volume, threads, &Unwatched).unwrap();
        volume.with_map(map).unwrap()
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
        for threads in [1, 3] {
            let found = holes(map.clone(), bytes.clone(), threads);
            let places: Vec<_> = found.map().within(0..found.size()).collect();
            let stored = |offset| Place::Stored { source: 0, offset };
            let (one, two, end) = ((2 << 20) - PIECE, (4 << 20) + 3 * PIECE, 5 << 20);
            let expected = [
                (0..one, Place::Hole),
                (one..2 << 20, stored(one)),
                (2 << 20..two, Place::Hole),
                (two..two + PIECE, stored(two)),
                (two + PIECE..end + 1000, Place::Hole),
                // The next one is of the same piece.
                (end + 1000..end + 2000, Place::Fill([0; 4])),
                (end + 2000..end + 3000, Place::Fill([0, 0, 0, 1])),
                (end + 3000..end + 73_000, Place::Hole),
            ];
            assert_eq!(places, expected);
            let mut back = vec![9; 5 << 20];
            found.read_at(0, &mut back).unwrap();
            assert!(back == bytes);
        }
    }

    #[test]
    fn nothing_but_zeros_is_one_hole() {
        let mut map = RunMap::default();
        map.push(12_345_678, Place::Stored { source: 0, offset: 0 });
        let found = holes(map, vec![0; 12_345_678], 2);
        let places: Vec<_> = found.map().within(0..found.size()).collect();
        assert_eq!(places, [(0..12_345_678, Place::Hole)]);
    }
}
