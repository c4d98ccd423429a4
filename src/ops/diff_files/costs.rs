//! What each owner costs: bytes of changed pages, and blocks that changed because of it.

use std::collections::BTreeMap;
use std::hash::Hash;

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
    /// Blocks of 512 KiB that changed and that it has a part of.
    pub(super) blocks: u64,
    /// Of these, blocks in which nothing else changed.
    pub(super) sole: u64,
}

/// A file: which part it is in, and its number there.
pub(super) type FileKey = (usize, FileId);

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
    pub(super) fn of(changed: &Ranges, owners: &VolumeOwners) -> Self {
        let mut costs = Self::default();
        let mut block = Block::default();
        for range in changed.as_slice() {
            let mut end = range.start;
            for (part, place, owner) in owners.within(range.clone()) {
                end = part.end;
                costs.take(&mut block, part, place, owner);
            }
            // What lies behind the end of this volume has no owner in it.
            costs.take(&mut block, end..range.end, None, Owner::Unknown);
        }
        costs.flush(&mut block);
        costs
    }

    fn take(
        &mut self,
        block: &mut Block,
        range: std::ops::Range<u64>,
        part: Option<usize>,
        owner: Owner,
    ) {
        let mut at = range.start;
        while at < range.end {
            let number = at.strict_div(BLOCK_SIZE);
            let end = number.strict_add(1).strict_mul(BLOCK_SIZE).min(range.end);
            if number != block.number {
                self.flush(block);
                block.number = number;
            }
            let bytes = end.strict_sub(at);
            if let (Some(part), Some(id)) = (part, owner.file()) {
                add(&mut block.files, (part, id), bytes);
            } else {
                block.has_others = true;
            }
            add(&mut block.classes, owner.class(), bytes);
            at = end;
        }
    }

    fn flush(&mut self, block: &mut Block) {
        let is_only_file = block.files.len() == 1 && !block.has_others;
        for (key, bytes) in block.files.drain(..) {
            charge(self.files.entry(key).or_default(), bytes, is_only_file);
        }
        let is_only_class = block.classes.len() == 1;
        for (class, bytes) in block.classes.drain(..) {
            let place = self.classes.iter().position(|(name, _)| *name == class);
            let place = place.unwrap_or_else(|| {
                self.classes.push((class, Cost::default()));
                self.classes.len().strict_sub(1)
            });
            charge(&mut self.classes[place].1, bytes, is_only_class);
        }
        block.has_others = false;
    }
}

/// What changed in one block.
#[derive(Debug, Default)]
struct Block {
    number: u64,
    files: Vec<(FileKey, u64)>,
    classes: Vec<(&'static str, u64)>,
    /// Whether something changed that belongs to no file.
    has_others: bool,
}

/// Adds bytes to a key of a short list: a block has at most 512 owners.
fn add<K: PartialEq + Hash>(list: &mut Vec<(K, u64)>, key: K, bytes: u64) {
    match list.iter_mut().find(|(other, _)| *other == key) {
        Some((_, sum)) => *sum = sum.strict_add(bytes),
        None => list.push((key, bytes)),
    }
}

fn charge(cost: &mut Cost, bytes: u64, is_only: bool) {
    cost.bytes = cost.bytes.strict_add(bytes);
    cost.blocks = cost.blocks.strict_add(1);
    cost.sole = cost.sole.strict_add(u64::from(is_only));
}
