//! Ascending byte ranges that do not touch.

use std::iter::once;
use std::ops::Range;

/// Ascending byte ranges that do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Appends a range, joined to the last one if it goes on there; an empty one is nothing.
    ///
    /// # Panics
    ///
    /// If it starts before the end of the last range: ranges are made in order.
    pub fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            last => {
                assert!(last.is_none_or(|last| last.end < range.start), "ranges in order");
                self.0.push(range);
            }
        }
    }

    /// Returns the ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Returns how many bytes they hold.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // They do not overlap, so that the sum is at most 2^64 - 1.
        self.0.iter().map(|range| range.end.strict_sub(range.start)).sum()
    }

    /// Iterates over the parts of `whole` that the ranges cover.
    pub fn within(&self, whole: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.0.partition_point(|range| range.end <= whole.start);
        self.0[first..]
            .iter()
            .map(move |range| range.start.max(whole.start)..range.end.min(whole.end))
            .take_while(|range| !range.is_empty())
    }

    /// Iterates over the parts of `whole` that no range covers.
    pub fn outside(&self, whole: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.0.partition_point(|range| range.end <= whole.start);
        let inside = self.0[first..].iter().take_while({
            let end = whole.end;
            move |range| range.start < end
        });
        let mut at = whole.start;
        let end = whole.end;
        inside.cloned().chain(once(end..end)).filter_map(move |range| {
            let gap = at..range.start.min(end);
            at = range.end.max(at);
            (!gap.is_empty()).then_some(gap)
        })
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_the_outside_is_what_is_left() {
        let mut ranges = Ranges::default();
        for range in [2..4, 4..6, 8..8, 9..10] {
            ranges.push(range);
        }
        assert_eq!(ranges.as_slice(), [2..6, 9..10]);
        assert_eq!(ranges.bytes(), 5);
        let outside = |whole| ranges.outside(whole).collect::<Vec<_>>();
        assert_eq!(outside(0..12), [0..2, 6..9, 10..12]);
        assert_eq!(outside(3..9), [6..9]);
        assert_eq!(outside(3..5), []);
        assert_eq!(outside(6..8), [6..8]);
        assert_eq!(Ranges::default().outside(1..3).collect::<Vec<_>>(), [1..3]);
        let within = |whole| ranges.within(whole).collect::<Vec<_>>();
        assert_eq!(within(0..12), [2..6, 9..10]);
        assert_eq!(within(3..10), [3..6, 9..10]);
        assert_eq!(within(6..9), []);
    }
}
