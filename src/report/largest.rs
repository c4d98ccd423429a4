//! The largest of many, in memory that does not grow with how many there are.

use std::cmp::Reverse;

use crate::report::document::Listing;
use crate::report::document::PathFacts;

/// The largest paths by their bytes; of equals, those whose names come first.
#[derive(Debug)]
pub(super) struct Largest {
    most: usize,
    kept: Vec<PathFacts>,
    count: u64,
    bytes: u64,
}

impl Largest {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Vec::new(), count: 0, bytes: 0 }
    }

    pub(super) fn add(&mut self, path: PathFacts) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(path.bytes);
        self.kept.push(path);
        if self.kept.len() >= self.most.saturating_mul(2).max(64) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.kept.sort_by(|a, b| (Reverse(a.bytes), &a.path).cmp(&(Reverse(b.bytes), &b.path)));
        self.kept.truncate(self.most);
    }

    /// Returns all that were kept, largest first.
    pub(super) fn kept(&mut self) -> &[PathFacts] {
        self.sort();
        &self.kept
    }

    /// Returns the first `most` rows, and what is left out; its bytes only where no two rows share any.
    pub(super) fn listing(&mut self, most: usize, shared: bool) -> Listing<PathFacts> {
        self.sort();
        let rows: Vec<PathFacts> = self.kept.iter().take(most).cloned().collect();
        let shown = u64::try_from(rows.len()).expect("a few hundred");
        let bytes = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
        let other_bytes = (!shared).then(|| self.bytes.saturating_sub(bytes));
        Listing { rows, others: self.count.saturating_sub(shown), other_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_the_rest_is_summed_in_any_order() {
        let path = |number: u64| PathFacts {
            path: format!("/{:04}", number.strict_mul(7919).strict_rem(1000)),
            change: None,
            bytes: number.strict_mul(7919).strict_rem(1000) / 2,
            changed_blocks: None,
            sole_blocks: None,
        };
        let listing = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut largest = Largest::new(20);
            numbers.for_each(|number| largest.add(path(number)));
            largest.listing(10, false)
        };
        let found = listing(&mut (0..1000));
        let names: Vec<_> = found.rows.iter().map(|row| row.path.as_str()).collect();
        assert_eq!(names[..3], ["/0998", "/0999", "/0996"]);
        assert_eq!((found.rows.len(), found.others), (10, 990));
        let shown: u64 = found.rows.iter().map(|row| row.bytes).sum();
        assert_eq!(
            found.other_bytes.unwrap().strict_add(shown),
            (0..1000_u64).map(|it| it / 2).sum::<u64>()
        );
        let backward = listing(&mut (0..1000).rev());
        assert!(backward.rows.iter().map(|row| &row.path).eq(names));
    }
}
