//! What the map of blocks shows: for each cell, the category that most of its bytes are of.

use std::ops::Range;

use crate::picture::Cells;
use crate::picture::Tally;
use crate::units::ExtentKind;

/// Categories of bytes, as the map colours them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Hole,
    Zero,
    /// Data that did not change, or of which nothing else is known.
    Data,
    Files,
    Metadata,
    Free,
    Boot,
    Other,
}

impl Category {
    pub(super) const ALL: [Self; 8] = [
        Self::Hole,
        Self::Zero,
        Self::Data,
        Self::Files,
        Self::Metadata,
        Self::Free,
        Self::Boot,
        Self::Other,
    ];

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|it| *it == self).expect("it is one of them")
    }

    /// Returns the category of a class of owners.
    pub(super) fn of(class: &str) -> Self {
        match class {
            "file-data" => Self::Files,
            "free" => Self::Free,
            "swap" | "partition-table" | "boot-code" => Self::Boot,
            "gap" | "unknown" => Self::Other,
            _ => Self::Metadata,
        }
    }

    pub(super) fn of_kind(kind: ExtentKind) -> Self {
        match kind {
            ExtentKind::Hole => Self::Hole,
            ExtentKind::Zero => Self::Zero,
            ExtentKind::Data => Self::Data,
        }
    }
}

/// Bytes of each category by their place.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    tally: Tally<8>,
    /// Bytes of each category, over the whole volume.
    pub(super) sums: [u64; 8],
}

impl Places {
    pub(super) fn add(&mut self, range: Range<u64>, category: Category) {
        let sum = &mut self.sums[category.index()];
        *sum = sum.saturating_add(range.end.saturating_sub(range.start));
        self.tally.add(range, category.index());
    }

    pub(super) fn cells(&self, size: u64, count: usize) -> Cells<8> {
        self.tally.cells(size, count)
    }
}

/// Returns the category that a cell is shown in. What is known of an owner hides data of which nothing is known, that
/// hides written zeros, and those hide holes: a cell that looks empty is.
pub(super) fn shown(bytes: &[u64; 8]) -> Category {
    let owned = Category::ALL[3..].iter().rev().max_by_key(|it| bytes[it.index()]);
    let owned = owned.copied().filter(|it| bytes[it.index()] > 0);
    let has = |category: Category| bytes[category.index()] > 0;
    owned.unwrap_or(match () {
        () if has(Category::Data) => Category::Data,
        () if has(Category::Zero) => Category::Zero,
        () => Category::Hole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_looks_empty_is() {
        let mut bytes = [0; 8];
        assert_eq!(shown(&bytes), Category::Hole);
        bytes[Category::Hole.index()] = 1000;
        assert_eq!(shown(&bytes), Category::Hole);
        for (category, count) in
            [(Category::Zero, 3), (Category::Data, 2), (Category::Other, 1), (Category::Files, 5)]
        {
            bytes[category.index()] = count;
            assert_eq!(shown(&bytes), category);
        }
        bytes[Category::Free.index()] = 4;
        assert_eq!(shown(&bytes), Category::Files);
    }

    #[test]
    fn every_class_has_a_category() {
        assert_eq!(Category::of("inodes"), Category::Metadata);
        assert_eq!(Category::of("boot-code"), Category::Boot);
        assert_eq!(Category::ALL.map(Category::index), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
