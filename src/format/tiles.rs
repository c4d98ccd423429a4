//! Extents whose edges are moved to those of a format's own blocks.

use crate::error::Result;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::volume::extents;

/// Iterates over a volume's extents as whole blocks; the last block may be cut by the volume's end.
///
/// A block that extents of different kinds share becomes data, so that its bytes decide: a block is
/// a hole, or zero without a look at it, only if all of it is.
pub(super) fn tiles(
    volume: &dyn ReadVolume,
    block_len: u64,
) -> impl Iterator<Item = Result<Extent>> + '_ {
    let mut tiler = Tiler { block_len, size: volume.size(), at: 0 };
    extents(volume).flat_map(move |extent| {
        let (whole, failed) = match extent {
            Ok(extent) => (Some(tiler.next(extent)), None),
            Err(e) => (None, Some(Err(e))),
        };
        whole.into_iter().flatten().map(Ok).chain(failed)
    })
}

/// Where the edges of extents are moved between blocks.
struct Tiler {
    block_len: u64,
    size: u64,
    /// Every block before is handed out.
    at: u64,
}

impl Tiler {
    /// Takes the next extent and returns the whole blocks that it completes: first one that it
    /// shares with those before, then its own. Either may be empty.
    fn next(&mut self, Extent { range, kind }: Extent) -> [Extent; 2] {
        if kind == ExtentKind::Data {
            // The blocks that it shares at either end are data too.
            let end = range.end.next_multiple_of(self.block_len).min(self.size);
            return [self.take(0, kind), self.take(end, kind)];
        }
        let start = range.start.next_multiple_of(self.block_len).min(self.size);
        // What was not handed out before `start` is a block that an earlier extent ended inside.
        let shared = self.take(start, ExtentKind::Data);
        let rest = range.end.strict_rem(self.block_len);
        let end = if range.end == self.size { range.end } else { range.end.strict_sub(rest) };
        [shared, self.take(end, kind)]
    }

    /// Hands out everything up to `end` as `kind`.
    fn take(&mut self, end: u64, kind: ExtentKind) -> Extent {
        let start = self.at;
        self.at = start.max(end);
        Extent { range: start..self.at, kind }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// The slow twin of `Tiler`: asks each byte of each block.
    #[test]
    fn a_block_is_a_hole_or_zero_only_if_all_of_it_is() {
        const BLOCK: u64 = 8;
        let mut state = 0x2545_f491_u64;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        for round in 0..20_000 {
            let (mut extents, mut at) = (Vec::new(), 0);
            let size = BLOCK * below(6) + 1 + below(BLOCK);
            while at < size {
                let end = size.min(at + 1 + below(20));
                let kind = [ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole]
                    [usize::try_from(below(3)).unwrap()];
                extents.push(Extent { range: at..end, kind });
                at = end;
            }
            let mut tiler = Tiler { block_len: BLOCK, size, at: 0 };
            let mut quick = Vec::new();
            for extent in extents.clone() {
                for tile in tiler.next(extent).into_iter().filter(|tile| !tile.is_empty()) {
                    assert_eq!(tile.range.start % BLOCK, 0);
                    assert!(tile.range.end % BLOCK == 0 || tile.range.end == size);
                    for _ in 0..tile.len().div_ceil(BLOCK) {
                        quick.push(tile.kind);
                    }
                }
            }
            let slow: Vec<_> = (0..size.div_ceil(BLOCK))
                .map(|block| {
                    let block = block * BLOCK..size.min((block + 1) * BLOCK);
                    let mut touching = extents
                        .iter()
                        .filter(|e| e.range.start < block.end && e.range.end > block.start);
                    let first = touching.next().unwrap();
                    // Two extents of one kind that meet inside a block may be told as data.
                    if touching.next().is_none() { first.kind } else { ExtentKind::Data }
                })
                .collect();
            assert_eq!(quick, slow, "round {round}: {extents:?}");
        }
    }
}
