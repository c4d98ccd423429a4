//! Sets of blocks, of which many follow each other.

use std::collections::BTreeMap;

/// Blocks, as ranges that do not touch: first block to the block behind the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    pub(super) fn has(&self, block: u32) -> bool {
        self.0.range(..=block).next_back().is_some_and(|(_, end)| block < *end)
    }

    pub(super) fn add(&mut self, first: u32, count: u32) {
        let (mut first, mut end) = (first, first.saturating_add(count));
        if let Some((before, its_end)) = self.0.range(..=first).next_back().map(|(a, b)| (*a, *b))
            && its_end >= first
        {
            (first, end) = (before, end.max(its_end));
        }
        while let Some((next, its_end)) = self.0.range(first..=end).next().map(|(a, b)| (*a, *b)) {
            end = end.max(its_end);
            self.0.remove(&next);
        }
        self.0.insert(first, end);
    }

    /// Returns first blocks and counts, ascending.
    pub(super) fn listed(&self) -> Vec<(u32, u32)> {
        self.0.iter().map(|(first, end)| (*first, end.strict_sub(*first))).collect()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_know_what_is_in_them() {
        let mut ranges = Ranges::default();
        for (first, count) in [(5, 1), (7, 1), (6, 1), (20, 10), (0, 2), (25, 20), (2, 1), (18, 4)]
        {
            ranges.add(first, count);
        }
        assert_eq!(ranges.listed(), [(0, 3), (5, 3), (18, 27)]);
        for (block, there) in
            [(0, true), (3, false), (4, false), (7, true), (44, true), (45, false)]
        {
            assert_eq!(ranges.has(block), there, "{block}");
        }
        // The slow twin: a set of blocks.
        let (mut state, mut set, mut ranges) =
            (7_u64, std::collections::BTreeSet::new(), Ranges::default());
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (first, count) = (
                u32::try_from((state >> 40) % 500).unwrap(),
                u32::try_from((state >> 20) % 6 + 1).unwrap(),
            );
            ranges.add(first, count);
            set.extend(first..first + count);
            let block = u32::try_from((state >> 10) % 510).unwrap();
            assert_eq!(ranges.has(block), set.contains(&block));
        }
        let listed: u32 = ranges.listed().iter().map(|(_, count)| *count).sum();
        assert_eq!(usize::try_from(listed).unwrap(), set.len());
    }
}
