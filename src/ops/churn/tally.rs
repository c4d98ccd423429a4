//! What causes and real differences cost.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::units::BLOCK_SIZE;

/// What one cause, or one real difference, costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Pages with a part of it.
    pub(super) pages: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    /// Blocks of 512 KiB with such a page.
    pub(super) blocks: u64,
    /// Of these, blocks in which nothing else differs.
    pub(super) sole: u64,
}

/// A file: its partition among those of the new build, and its place among the files of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) part: usize,
    pub(super) file: usize,
}

/// What a real difference belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blame {
    /// A file.
    File(Place),
    /// What a file system keeps of a file in a place of that class.
    Record(Place, &'static str),
    /// What a file system keeps for itself, or what lies outside of all.
    Class(&'static str),
}

/// A page, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) causes: BTreeSet<&'static str>,
    pub(super) real: BTreeSet<Blame>,
    /// Classes of records that say where files lie, and those that are the same and lie elsewhere.
    pub(super) follows: BTreeMap<&'static str, BTreeSet<Place>>,
}

/// What records of a class cost that follow from real differences, and the files that they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Following {
    pub(super) cost: Cost,
    pub(super) files: BTreeSet<Place>,
}

/// All that was judged, a page after another, ascending.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) causes: BTreeMap<&'static str, Cost>,
    pub(super) real: BTreeMap<Blame, Cost>,
    pub(super) follows: BTreeMap<&'static str, Following>,
    pub(super) pages: u64,
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    pub(super) explained_pages: u64,
    pub(super) real_pages: u64,
    pub(super) explained_blocks: u64,
    block: u64,
    seen: Judged,
}

impl Tally {
    /// Takes a page.
    pub(super) fn take(&mut self, start: u64, len: u64, judged: Judged) {
        let number = start.strict_div(BLOCK_SIZE);
        if number != self.block {
            self.flush();
            self.block = number;
        }
        self.pages = self.pages.strict_add(1);
        self.bytes = self.bytes.strict_add(len);
        let is_real = !judged.real.is_empty();
        self.real_pages = self.real_pages.strict_add(u64::from(is_real));
        let is_explained = !is_real && judged.follows.is_empty();
        self.explained_pages = self.explained_pages.strict_add(u64::from(is_explained));
        let add = |cost: &mut Cost| {
            cost.pages = cost.pages.strict_add(1);
            cost.bytes = cost.bytes.strict_add(len);
        };
        for cause in &judged.causes {
            add(self.causes.entry(cause).or_default());
        }
        for blame in &judged.real {
            add(self.real.entry(*blame).or_default());
        }
        for (class, files) in judged.follows {
            let following = self.follows.entry(class).or_default();
            add(&mut following.cost);
            following.files.extend(files);
            self.seen.follows.entry(class).or_default();
        }
        self.seen.causes.extend(judged.causes);
        self.seen.real.extend(judged.real);
    }

    /// Ends a block.
    pub(super) fn flush(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        let count = seen.causes.len().strict_add(seen.real.len()).strict_add(seen.follows.len());
        if count == 0 {
            return;
        }
        self.blocks = self.blocks.strict_add(1);
        let is_explained = seen.real.is_empty() && seen.follows.is_empty();
        self.explained_blocks = self.explained_blocks.strict_add(u64::from(is_explained));
        let add = |cost: &mut Cost| {
            cost.blocks = cost.blocks.strict_add(1);
            cost.sole = cost.sole.strict_add(u64::from(count == 1));
        };
        for cause in seen.causes {
            add(self.causes.entry(cause).or_default());
        }
        for blame in seen.real {
            add(self.real.entry(blame).or_default());
        }
        for class in seen.follows.into_keys() {
            add(&mut self.follows.entry(class).or_default().cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_blocks_are_counted_once() {
        let mut tally = Tally::default();
        let page = |causes: &[&'static str], real: &[&'static str]| Judged {
            causes: causes.iter().copied().collect(),
            real: real.iter().map(|it| Blame::Class(it)).collect(),
            follows: BTreeMap::new(),
        };
        tally.take(0, 4096, page(&["a"], &[]));
        tally.take(4096, 4096, page(&["a", "b"], &[]));
        tally.take(BLOCK_SIZE, 4096, page(&["a"], &[]));
        tally.take(BLOCK_SIZE.strict_mul(5), 100, page(&[], &["x"]));
        let place = |file| Place { part: 0, file };
        for (number, files) in [(9, &[1, 2][..]), (9, &[2, 3]), (9, &[])] {
            let files = files.iter().map(|file| place(*file)).collect();
            let follows = BTreeMap::from([("inodes", files)]);
            let page = Judged { follows, ..Judged::default() };
            tally.take(BLOCK_SIZE.strict_mul(number), 10, page);
        }
        tally.flush();
        let cost = |pages, bytes, blocks, sole| Cost { pages, bytes, blocks, sole };
        assert_eq!(tally.causes["a"], cost(3, 12288, 2, 1));
        assert_eq!(tally.causes["b"], cost(1, 4096, 1, 0));
        assert_eq!(tally.real[&Blame::Class("x")], cost(1, 100, 1, 1));
        let files = [1, 2, 3].map(place).into();
        assert_eq!(tally.follows["inodes"], Following { cost: cost(3, 30, 1, 1), files });
        assert_eq!((tally.blocks, tally.explained_blocks), (4, 2));
        assert_eq!((tally.pages, tally.explained_pages, tally.real_pages), (7, 3, 1));
    }
}
