//! What each owner costs: bytes of changed pages, bytes that a delta has to carry, and blocks that changed
//! because of it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::guest::FileId;
use crate::guest::Owner;
use crate::guest::Ranges;
use crate::guest::VolumeOwners;
use crate::units::BLOCK_SIZE;

/// What one owner costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Bytes of it in pages that changed.
    pub(super) bytes: u64,
    /// Of these, bytes in pages that a delta has to carry.
    pub(super) delta: u64,
    /// Blocks of 512 KiB that changed and that it has a part of.
    pub(super) blocks: u64,
    /// Of these, blocks in which nothing else changed.
    pub(super) sole: u64,
}

/// A file: which part it is in, and its number there.
pub(super) type FileKey = (usize, FileId);

/// The pages that differ.
#[derive(Debug)]
pub(super) struct Pages {
    /// Bytes of all of them.
    pub(super) changed: Ranges,
    /// Of these, pages that hold what the old volume has nowhere.
    pub(super) novel: Ranges,
}

impl Pages {
    /// Iterates over the numbers of the blocks with a page that differs, ascending.
    pub(super) fn blocks(&self) -> impl Iterator<Item = u64> + '_ {
        let mut next = 0_u64;
        self.changed.as_slice().iter().flat_map(move |range| {
            let first = range.start.strict_div(BLOCK_SIZE).max(next);
            next = range.end.div_ceil(BLOCK_SIZE);
            first..next
        })
    }

    /// Returns the bytes of a block that differ.
    pub(super) fn in_block(&self, number: u64) -> u64 {
        let parts = self.changed.within(range_of(number));
        parts.map(|range| range.end.strict_sub(range.start)).sum()
    }
}

/// Returns the bytes of a block. What differs lies below 2^64, and so does the block, but for its end.
fn range_of(number: u64) -> Range<u64> {
    let start = number.strict_mul(BLOCK_SIZE);
    start..start.saturating_add(BLOCK_SIZE)
}

/// What one owner has of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The file, if it belongs to one.
    pub(super) file: Option<FileKey>,
    /// Its class.
    pub(super) class: &'static str,
    /// Bytes in pages that changed.
    pub(super) bytes: u64,
    /// Of these, bytes in pages that a delta has to carry.
    pub(super) delta: u64,
}

/// Returns who has what of the pages of a block that differ, in the order in which they lie there.
pub(super) fn shares(number: u64, pages: &Pages, owners: &VolumeOwners) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    let mut add = |range: Range<u64>, part: Option<usize>, owner: Owner| {
        let bytes = range.end.saturating_sub(range.start);
        if bytes == 0 {
            return;
        }
        let novel = pages.novel.within(range).map(|it| it.end.strict_sub(it.start));
        let delta: u64 = novel.sum();
        let (file, class) = (part.zip(owner.file()), owner.class());
        match shares.iter_mut().find(|it| (it.file, it.class) == (file, class)) {
            Some(share) => {
                share.bytes = share.bytes.strict_add(bytes);
                share.delta = share.delta.strict_add(delta);
            }
            None => shares.push(Share { file, class, bytes, delta }),
        }
    };
    for range in pages.changed.within(range_of(number)) {
        let mut end = range.start;
        for (part, place, owner) in owners.within(range.clone()) {
            end = part.end;
            add(part, place, owner);
        }
        // What lies behind the end of this volume has no owner in it.
        add(end..range.end, None, Owner::Unknown);
    }
    shares
}

/// What all owners of one volume cost.
#[derive(Debug, Default)]
pub(super) struct Costs {
    /// By file.
    pub(super) files: BTreeMap<FileKey, Cost>,
    /// By class, in the order in which they were met.
    pub(super) classes: Vec<(&'static str, Cost)>,
}

impl Costs {
    /// Attributes pages that changed to their owners.
    pub(super) fn of(pages: &Pages, owners: &VolumeOwners) -> Self {
        let mut costs = Self::default();
        for number in pages.blocks() {
            costs.block(&shares(number, pages, owners));
        }
        costs
    }

    fn block(&mut self, shares: &[Share]) {
        let mut files: Vec<(FileKey, u64, u64)> = Vec::new();
        let mut classes: Vec<(&'static str, u64, u64)> = Vec::new();
        let mut has_others = false;
        for share in shares {
            match share.file {
                Some(key) => add(&mut files, key, share),
                None => has_others = true,
            }
            add(&mut classes, share.class, share);
        }
        let is_only_file = files.len() == 1 && !has_others;
        for (key, bytes, delta) in files {
            charge(self.files.entry(key).or_default(), bytes, delta, is_only_file);
        }
        let is_only_class = classes.len() == 1;
        for (class, bytes, delta) in classes {
            let place = self.classes.iter().position(|(name, _)| *name == class);
            let place = place.unwrap_or_else(|| {
                self.classes.push((class, Cost::default()));
                self.classes.len().strict_sub(1)
            });
            charge(&mut self.classes[place].1, bytes, delta, is_only_class);
        }
    }
}

/// Adds to a key of a short list: a block has at most as many owners as sectors.
fn add<K: PartialEq>(list: &mut Vec<(K, u64, u64)>, key: K, share: &Share) {
    match list.iter_mut().find(|(other, ..)| *other == key) {
        Some((_, bytes, delta)) => {
            *bytes = bytes.strict_add(share.bytes);
            *delta = delta.strict_add(share.delta);
        }
        None => list.push((key, share.bytes, share.delta)),
    }
}

fn charge(cost: &mut Cost, bytes: u64, delta: u64, is_only: bool) {
    cost.bytes = cost.bytes.strict_add(bytes);
    cost.delta = cost.delta.strict_add(delta);
    cost.blocks = cost.blocks.strict_add(1);
    cost.sole = cost.sole.strict_add(u64::from(is_only));
}
