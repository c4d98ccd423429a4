//! The chunks that a run has stored, so that none is stored twice.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::digest::Digest;
use crate::pack::layout::MAX_CHUNKS;

/// Chunk ids that are never forgotten.
const MOST_FIRST: usize = 327_680;

/// The last chunk ids, which are remembered too: more than a pack can have, so that none stands twice in
/// one. A chunk may wait for its group to fill up while [`MOST_WAITING`] others are stored.
const MOST_LAST: usize = 131_072;

/// Most chunks that are stored while a group fills up.
pub const MOST_WAITING: u32 = 32_768;

const _: () = assert!(MAX_CHUNKS + 2 * MOST_WAITING <= 131_072, "a pack never has a chunk twice");

/// The chunks that a run has stored.
///
/// Past 327,680 of them it remembers the first ones and the last 131,072. A chunk between them can be
/// stored again, in another pack, which costs space and nothing else.
#[derive(Debug)]
pub struct KnownChunks {
    region: u32,
    first: BTreeSet<Digest>,
    last: BTreeSet<Digest>,
    /// What is in `last`, the oldest one first.
    order: VecDeque<Digest>,
    most_first: usize,
    most_last: usize,
}

impl KnownChunks {
    /// Starts with no chunk.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(MOST_FIRST, MOST_LAST)
    }

    fn with_limits(most_first: usize, most_last: usize) -> Self {
        Self {
            region: 0,
            first: BTreeSet::new(),
            last: BTreeSet::new(),
            order: VecDeque::new(),
            most_first,
            most_last,
        }
    }

    /// Tells whether the chunk is remembered.
    #[must_use]
    pub fn contains(&self, id: &Digest) -> bool {
        self.first.contains(id) || self.last.contains(id)
    }

    /// Tells whether the chunk is remembered in this region and will stay so: what a worker can rely on that
    /// looks before its turn.
    #[must_use]
    pub fn has_for_good(&self, region: u32, id: &Digest) -> bool {
        self.region == region && self.first.contains(id)
    }

    /// Remembers the chunk.
    pub fn insert(&mut self, id: Digest) {
        if self.first.len() < self.most_first {
            self.first.insert(id);
        } else if !self.contains(&id) {
            if self.order.len() >= self.most_last
                && let Some(oldest) = self.order.pop_front()
            {
                self.last.remove(&oldest);
            }
            self.last.insert(id);
            self.order.push_back(id);
        }
    }

    /// Forgets all: what comes is of another region.
    pub fn enter(&mut self, region: u32) {
        self.region = region;
        self.first.clear();
        self.last.clear();
        self.order.clear();
    }
}

impl Default for KnownChunks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    fn id(number: u32) -> Digest {
        sha256(&number.to_le_bytes())
    }

    /// What is stored is remembered for as many chunks as a pack has, so no pack has one twice.
    #[test]
    fn the_first_and_the_last_are_remembered() {
        let mut known = KnownChunks::with_limits(10, 5);
        for number in 0..100 {
            assert!(!known.contains(&id(number)));
            known.insert(id(number));
            for back in 0..5_u32.min(number + 1) {
                assert!(known.contains(&id(number - back)), "{number}, {back} back");
            }
        }
        let remembered: Vec<u32> = (0..100).filter(|number| known.contains(&id(*number))).collect();
        assert_eq!(remembered, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 95, 96, 97, 98, 99]);
        // Again: nothing is counted twice, and the last stay the last.
        known.insert(id(99));
        known.insert(id(3));
        assert!(known.contains(&id(95)) && known.contains(&id(3)));
        let good = |known: &KnownChunks, region, number| known.has_for_good(region, &id(number));
        assert!(good(&known, 0, 3) && !good(&known, 0, 99) && !good(&known, 1, 3));
    }

    #[test]
    fn another_region_knows_nothing() {
        let mut known = KnownChunks::with_limits(2, 2);
        (0..4).for_each(|number| known.insert(id(number)));
        known.enter(1);
        assert!((0..4).all(|number| !known.contains(&id(number))));
        known.insert(id(7));
        assert!(known.has_for_good(1, &id(7)) && !known.has_for_good(0, &id(7)));
    }
}
