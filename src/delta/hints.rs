//! Where the base may have what a volume has now: the same file, before it was changed.
//!
//! Anchors find the old self of a page by 64 bytes that both have. A program that was linked again differs in every few
//! bytes, since all addresses in it moved, and has hardly one anchor in common with itself; but it has the same name.

use crate::pack::Page;
use crate::units::PAGE_SIZE;

/// Bytes of a volume, and the bytes of its base that may resemble them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Likely {
    /// First byte of the volume.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// First byte of the base.
    pub base: u64,
}

/// What is known beforehand of where pages of the base resemble pages of a volume. It decides over the size of patches
/// and over nothing else.
#[derive(Clone, Debug, Default)]
pub struct BaseHints {
    /// Ascending by their starts.
    runs: Vec<Likely>,
}

impl BaseHints {
    /// Takes what is known, in any order.
    #[must_use]
    pub fn new(mut runs: Vec<Likely>) -> Self {
        runs.sort_unstable();
        Self { runs }
    }

    /// Returns the base's page that resembles `page`.
    pub(super) fn page(&self, page: Page) -> Option<Page> {
        let start = page.checked_mul(PAGE_SIZE)?;
        let end = start.saturating_add(PAGE_SIZE);
        let behind = self.runs.partition_point(|run| run.start <= start);
        let around = behind.checked_sub(1).map(|at| self.runs[at]);
        if let Some(run) = around
            && start.strict_sub(run.start) < run.len
        {
            let base = run.base.checked_add(start.strict_sub(run.start))?;
            return Some(base.strict_div(PAGE_SIZE));
        }
        // What begins inside the page.
        let next = self.runs.get(behind).filter(|run| run.start < end)?;
        Some(next.base.strict_div(PAGE_SIZE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_hint_of_the_bytes_that_it_begins_with() {
        let run = |start, len, base| Likely { start, len, base };
        let hints = BaseHints::new(vec![
            run(40_960, 8192, 81_920),
            run(4096, 8192, 409_600),
            run(20_992, 512, 8192),
            run(u64::MAX - 5, 9, u64::MAX),
        ]);
        let found: Vec<_> = (0..13).map(|page| hints.page(page)).collect();
        let (none, some) = (None, Some);
        assert_eq!(found[..5], [none, some(100), some(101), none, none]);
        assert_eq!(found[5..], [some(2), none, none, none, none, some(20), some(21), none]);
        assert_eq!(
            (hints.page(u64::MAX), hints.page(u64::MAX / 4096)),
            (none, some(u64::MAX / 4096))
        );
        assert_eq!(BaseHints::default().page(0), None);
    }
}
