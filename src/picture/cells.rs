//! A volume divided into cells of equal size, and how many bytes of each class lie in each.

use std::ops::Range;

use crate::units::PAGE_SIZE;

/// Cells that tile `0..size` in address order. A cell begins at `size * index / count`, so that no two of them differ
/// by more than a byte, whatever the size of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells<const CLASSES: usize> {
    size: u64,
    cells: Vec<[u64; CLASSES]>,
}

impl<const CLASSES: usize> Cells<CLASSES> {
    /// Divides `size` bytes into `count` cells, or into single bytes if there are fewer.
    #[must_use]
    pub fn new(size: u64, count: usize) -> Self {
        let count = usize::try_from(size).unwrap_or(usize::MAX).min(count);
        Self { size, cells: vec![[0; CLASSES]; count] }
    }

    /// Returns how many cells there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// Returns the bytes of the volume that a cell stands for.
    ///
    /// # Panics
    ///
    /// If there is no such cell.
    #[must_use]
    pub fn range(&self, index: usize) -> Range<u64> {
        assert!(index < self.cells.len(), "there are {} cells", self.cells.len());
        self.start(index)..self.start(index.strict_add(1))
    }

    /// Returns the bytes of each class in a cell.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u64; CLASSES] {
        &self.cells[index]
    }

    /// Counts a range of the volume as bytes of a class. What lies past the end is left out.
    ///
    /// # Panics
    ///
    /// If there is no such class.
    pub fn add(&mut self, range: Range<u64>, class: usize) {
        let end = range.end.min(self.size);
        let mut at = range.start;
        while at < end {
            let index = self.holding(at);
            let stop = self.start(index.strict_add(1)).min(end);
            let bytes = &mut self.cells[index][class];
            *bytes = bytes.saturating_add(stop.strict_sub(at));
            at = stop;
        }
    }

    fn start(&self, index: usize) -> u64 {
        let (index, count) = (wide(index), wide(self.cells.len()));
        let start = u128::from(self.size).strict_mul(index).strict_div(count);
        u64::try_from(start).expect("not past the size")
    }

    /// Returns the cell that holds byte `at` of the volume.
    fn holding(&self, at: u64) -> usize {
        // The cell that the rule of three names begins at `at` or before; rounding may have left it one too low.
        let place = u128::from(at).strict_mul(wide(self.cells.len()));
        let place = place.strict_div(u128::from(self.size));
        let index = usize::try_from(place).expect("below the count");
        let next = index.strict_add(1);
        if next < self.cells.len() && self.start(next) <= at { next } else { index }
    }
}

/// Most buckets of a tally: many times as many as a picture has cells.
const MOST_BUCKETS: usize = 1 << 16;

/// Bytes of classes by place, for a volume whose size is not known yet: buckets that double in size when there would be
/// too many. Exact to the byte, but for where in its bucket a byte lies; below 256 MiB a bucket is a page.
#[derive(Clone, Debug)]
pub struct Tally<const CLASSES: usize> {
    bucket_size: u64,
    buckets: Vec<[u64; CLASSES]>,
}

impl<const CLASSES: usize> Default for Tally<CLASSES> {
    fn default() -> Self {
        Self { bucket_size: PAGE_SIZE, buckets: Vec::new() }
    }
}

impl<const CLASSES: usize> Tally<CLASSES> {
    /// Counts a range as bytes of a class.
    ///
    /// # Panics
    ///
    /// If there is no such class.
    pub fn add(&mut self, range: Range<u64>, class: usize) {
        let last = |size: u64| usize::try_from(range.end.div_ceil(size)).unwrap_or(usize::MAX);
        while last(self.bucket_size) > MOST_BUCKETS {
            self.fold();
        }
        let end = last(self.bucket_size);
        if self.buckets.len() < end {
            self.buckets.resize(end, [0; CLASSES]);
        }
        let mut at = range.start;
        while at < range.end {
            let index = at.strict_div(self.bucket_size);
            // At most the end of the range, rounded up to a bucket: volumes are far smaller than 2^63 bytes.
            let stop = index.strict_add(1).strict_mul(self.bucket_size).min(range.end);
            let bytes = &mut self.buckets[usize::try_from(index).expect("below the end")][class];
            *bytes = bytes.saturating_add(stop.strict_sub(at));
            at = stop;
        }
    }

    /// Doubles the size of the buckets.
    fn fold(&mut self) {
        let sum = |pair: &[[u64; CLASSES]]| {
            std::array::from_fn(|class| pair.iter().map(|bytes| bytes[class]).sum())
        };
        self.buckets = self.buckets.chunks(2).map(sum).collect();
        self.bucket_size = self.bucket_size.strict_mul(2);
    }

    /// Returns the cells of a volume of `size` bytes.
    #[must_use]
    pub fn cells(&self, size: u64, count: usize) -> Cells<CLASSES> {
        let mut cells = Cells::new(size, count);
        let mut start = 0_u64;
        for bucket in &self.buckets {
            let mut at = start;
            for (class, bytes) in bucket.iter().enumerate() {
                let end = at.saturating_add(*bytes);
                cells.add(at..end, class);
                at = end;
            }
            start = start.saturating_add(self.bucket_size);
        }
        cells
    }
}

fn wide(number: usize) -> u128 {
    u128::try_from(number).expect("memory is under 2^64 bytes")
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// The slow twin: byte by byte.
    #[test]
    fn each_byte_is_counted_in_the_cell_that_holds_it() {
        for size in 1..40_u64 {
            for count in 1..50_usize {
                let mut cells = Cells::<1>::new(size, count);
                assert_eq!(cells.count(), count.min(usize::try_from(size).unwrap()));
                let range = size / 3..size * 2;
                cells.add(range.clone(), 0);
                let mut next = 0;
                for index in 0..cells.count() {
                    let cell = cells.range(index);
                    assert_eq!(cell.start, next, "{size} bytes, {count} cells");
                    assert!(!cell.is_empty());
                    next = cell.end;
                    let inside = cell.filter(|byte| range.contains(byte)).count();
                    assert_eq!(cells.bytes(index)[0], u64::try_from(inside).unwrap());
                }
                assert_eq!(next, size);
            }
        }
    }

    /// A tally whose buckets are pages gives what the cells themselves count; folded ones lose no byte.
    #[test]
    fn a_tally_counts_as_cells_do_before_the_size_is_known() {
        let size = 1000 * PAGE_SIZE;
        let (mut tally, mut cells) = (Tally::<2>::default(), Cells::<2>::new(size, 100));
        for number in 0..100 {
            let start = number * 10 * PAGE_SIZE;
            let range = start..start + number % 9 * PAGE_SIZE;
            let class = usize::from(number % 2 == 0);
            tally.add(range.clone(), class);
            cells.add(range, class);
        }
        assert_eq!(tally.cells(size, 100), cells);
        let far = (64_u64 << 40) - 1;
        tally.add(far - 10..far, 0);
        let sum = |cells: &Cells<2>| {
            (0..cells.count()).map(|index| cells.bytes(index).iter().sum::<u64>()).sum::<u64>()
        };
        assert_eq!(sum(&tally.cells(far, 80)), sum(&cells) + 10);
        assert!(tally.buckets.len() <= MOST_BUCKETS);
    }

    #[test]
    fn the_largest_volume_and_none_at_all_have_cells() {
        let size = 64_u64 << 40;
        let mut cells = Cells::<2>::new(size, 100);
        cells.add(0..size, 1);
        let all: u64 = (0..100).map(|index| cells.bytes(index)[1]).sum();
        assert_eq!(all, size);
        let mut none = Cells::<1>::new(0, 100);
        none.add(0..10, 0);
        assert_eq!(none.count(), 0);
    }
}
