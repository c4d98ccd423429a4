//! Ranges of two volumes that are equal because they are the same bytes of one file system.

use std::ops::Range;

use crate::error::Result;
use crate::io::SharedExtent;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::volume::ReadVolume;

/// Ranges that are read all the same, so that a file system whose addresses are of more than one device is not believed.
const SAMPLES: usize = 64;

/// Bytes that are read of each.
const SAMPLE_LEN: usize = 4 << 10;

/// Ranges in which two volumes are equal, ascending and apart; both are stored data there.
#[derive(Debug, Default)]
pub(crate) struct SameBytes {
    ranges: Vec<Range<u64>>,
    /// Where both volumes end, if they end at one place.
    end: Option<u64>,
}

impl SameBytes {
    /// Finds the ranges in which two volumes lie at the same place.
    ///
    /// # Errors
    ///
    /// As [`ReadVolume::shared_extents`] and reading the volumes.
    pub(crate) fn of(left: &dyn ReadVolume, right: &dyn ReadVolume) -> Result<Self> {
        let of_left = left.shared_extents()?;
        if of_left.is_empty() {
            return Ok(Self::default());
        }
        let ranges = same_places(&of_left, &right.shared_extents()?);
        let every = ranges.len().div_ceil(SAMPLES).max(1);
        let (mut a, mut b) = ([0; SAMPLE_LEN], [0; SAMPLE_LEN]);
        for range in ranges.iter().step_by(every) {
            let len = usize::try_from(range.end.strict_sub(range.start)).unwrap_or(SAMPLE_LEN);
            let len = len.min(SAMPLE_LEN);
            left.read_at(range.start, &mut a[..len])?;
            right.read_at(range.start, &mut b[..len])?;
            if a[..len] != b[..len] {
                return Ok(Self::default());
            }
        }
        let end = (left.size() == right.size()).then_some(left.size());
        Ok(Self { ranges, end })
    }

    /// Returns the end of the range that byte `at` is in, and none if it is in none.
    pub(crate) fn end_of(&self, at: u64) -> Option<u64> {
        let next = self.ranges.partition_point(|range| range.end <= at);
        self.ranges.get(next).filter(|range| range.start <= at).map(|range| range.end)
    }

    /// Returns where the next range behind byte `at` starts; none if none does.
    pub(crate) fn next_behind(&self, at: u64) -> Option<u64> {
        let next = self.ranges.partition_point(|range| range.start <= at);
        self.ranges.get(next).map(|range| range.start)
    }

    /// Returns the block behind the last one that is equal, if `first` and the ones up to there are.
    pub(crate) fn blocks_from(&self, first: BlockIndex) -> Option<BlockIndex> {
        let end = self.end_of(first.offset())?;
        // The last block of both volumes is whole where they end.
        let end = if Some(end) == self.end { end.div_ceil(BLOCK_SIZE) } else { end / BLOCK_SIZE };
        let end = BlockIndex(u32::try_from(end).expect("a volume is at most 64 TiB"));
        (end > first).then_some(end)
    }
}

/// Returns the ranges that two lists have at the same places, joined.
fn same_places(left: &[SharedExtent], right: &[SharedExtent]) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        if let (Some(x), Some(y)) = (a.within(&b.range), b.within(&a.range))
            && (x.device, x.address) == (y.device, y.address)
        {
            match found.last_mut() {
                Some(last) if last.end == x.range.start => last.end = x.range.end,
                _ => found.push(x.range),
            }
        }
        if a.range.end <= b.range.end {
            left.next()
        } else {
            right.next()
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Result;
    use crate::units::Extent;
    use crate::units::ExtentKind;

    /// A volume of one byte throughout, which says where it lies.
    #[derive(Debug)]
    struct Placed(u8, u64, Vec<SharedExtent>);

    impl ReadVolume for Placed {
        fn size(&self) -> u64 {
            self.1
        }

        fn extent_at(&self, offset: u64) -> Result<Extent> {
            Ok(Extent { range: offset..self.1, kind: ExtentKind::Data })
        }

        fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<()> {
            buf.fill(self.0);
            Ok(())
        }

        fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
            Ok(self.2.clone())
        }
    }

    fn at(range: Range<u64>, device: u64, address: u64) -> SharedExtent {
        SharedExtent { range, device, address }
    }

    #[test]
    fn what_lies_at_the_same_place_is_the_same() {
        let left = [at(0..10, 1, 100), at(20..40, 1, 200), at(50..60, 1, 900), at(60..70, 1, 910)];
        let right = [
            at(5..25, 1, 105),   // The first one goes on; from 20 on it lies elsewhere.
            at(25..35, 1, 205),  // Inside the second one.
            at(35..40, 2, 215),  // At the same address of another file system.
            at(50..70, 1, 900),  // Two that lie behind each other.
            at(80..90, 1, 1000), // Nothing on the other side.
        ];
        assert_eq!(same_places(&left, &right), [5..10, 25..35, 50..70]);
        assert_eq!(same_places(&right, &left), [5..10, 25..35, 50..70]);
        assert_eq!(same_places(&left, &[]), []);
    }

    #[test]
    fn only_whole_blocks_are_equal_but_for_the_last() {
        let block = BLOCK_SIZE;
        let size = 3 * block + 5;
        let same = SameBytes { ranges: vec![10..2 * block + 7, 3 * block..size], end: Some(size) };
        assert_eq!(same.blocks_from(BlockIndex(0)), None);
        assert_eq!(same.blocks_from(BlockIndex(1)), Some(BlockIndex(2)));
        assert_eq!(same.blocks_from(BlockIndex(2)), None);
        assert_eq!([0, 10].map(|at| same.next_behind(at)), [Some(10), Some(3 * block)]);
        assert_eq!(same.next_behind(3 * block), None);
        assert_eq!(same.blocks_from(BlockIndex(3)), Some(BlockIndex(4)));
        // Where one volume goes on, its last block has more than what is equal.
        let same = SameBytes { end: None, ..same };
        assert_eq!(same.blocks_from(BlockIndex(3)), None);
    }

    #[test]
    fn addresses_that_lie_are_found_out_and_nothing_is_believed() {
        let place = vec![at(0..BLOCK_SIZE, 1, 4096)];
        let (seven, eight) =
            (Placed(7, BLOCK_SIZE, place.clone()), Placed(8, BLOCK_SIZE, place.clone()));
        assert_eq!(SameBytes::of(&seven, &eight).unwrap().end_of(0), None);
        let again = Placed(7, BLOCK_SIZE, place);
        assert_eq!(SameBytes::of(&seven, &again).unwrap().end_of(0), Some(BLOCK_SIZE));
    }
}
