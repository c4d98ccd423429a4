//! What changed between two snapshots: groups that are equal by digest are not looked into.

use std::collections::VecDeque;

use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Entry;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Group;
use crate::manifest::Manifest;
use crate::units::BlockIndex;
use crate::units::ExtentKind;

/// Blocks that follow each other, all changed, and all in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// First block.
    pub first: BlockIndex,
    /// How many there are.
    pub count: u32,
    /// State before. Past the end of the older volume that is a hole.
    pub from: ExtentKind,
    /// State after. Past the end of the newer volume that is a hole.
    pub to: ExtentKind,
}

impl Change {
    /// Returns the block behind the last one.
    #[must_use]
    pub fn end(&self) -> BlockIndex {
        // A volume has at most 2^27 blocks.
        BlockIndex(self.first.0.strict_add(self.count))
    }

    /// Takes `next` in, if it goes on where this one ends and in the same way.
    fn join(&mut self, next: &Self) -> bool {
        let joins = self.end() == next.first && (self.from, self.to) == (next.from, next.to);
        if joins {
            self.count = self.count.strict_add(next.count);
        }
        joins
    }
}

/// Iterates over the changes that lead from `old` to `new`: ascending, and as long as they can be.
///
/// Time grows with the groups and with what changed in them: the two group tables are read whole,
/// 64 bytes for each 512 MiB of volume. Memory is that of one group.
#[must_use]
pub fn changes<'a>(old: &'a Manifest, new: &'a Manifest) -> Changes<'a> {
    Changes { old: Side::new(old), new: Side::new(new), found: VecDeque::new(), failed: false }
}

/// Iterator of [`changes`].
#[derive(Debug)]
pub struct Changes<'a> {
    old: Side<'a>,
    new: Side<'a>,
    /// Changes found; the last one may still grow.
    found: VecDeque<Change>,
    failed: bool,
}

/// One manifest, and the place in its table.
#[derive(Debug)]
struct Side<'a> {
    manifest: &'a Manifest,
    place: usize,
}

impl<'a> Side<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, place: 0 }
    }

    fn peek(&self) -> Option<&'a [u8; super::ENTRY_LEN]> {
        self.manifest.table().get(self.place)
    }

    fn number(&self) -> u32 {
        self.peek().map_or(u32::MAX, |bytes| crate::field::u32_le(bytes, 0))
    }

    /// Returns the entry of group `number`, and moves on, if it is the next one.
    fn take(&mut self, number: u32) -> Result<Option<Entry>> {
        match self.peek() {
            Some(bytes) if self.number() == number => {
                self.place = self.place.strict_add(1);
                Ok(Some(Entry::parse(bytes)?))
            }
            _ => Ok(None),
        }
    }

    fn group(&self, entry: Option<&Entry>) -> Result<Option<Group<'a>>> {
        entry.map(|entry| self.manifest.group(entry)).transpose()
    }
}

fn block(group: Option<&Group<'_>>, bit: u32) -> Block {
    group.map_or(Block::Hole, |group| group.block(bit))
}

impl Changes<'_> {
    /// Looks at groups until one has a change; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let number = self.old.number().min(self.new.number());
            if number == u32::MAX {
                return Ok(false);
            }
            let (old, new) = (self.old.take(number)?, self.new.take(number)?);
            if let (Some(old), Some(new)) = (&old, &new)
                && old.digest == new.digest
            {
                continue;
            }
            let (old, new) = (self.old.group(old.as_ref())?, self.new.group(new.as_ref())?);
            let before = self.found.len();
            for bit in 0..GROUP_BLOCKS {
                let (from, to) = (block(old.as_ref(), bit), block(new.as_ref(), bit));
                if from != to {
                    let first = BlockIndex(number.strict_mul(GROUP_BLOCKS).strict_add(bit));
                    self.push(Change { first, count: 1, from: from.kind(), to: to.kind() });
                }
            }
            if self.found.len() > before {
                return Ok(true);
            }
        }
    }

    fn push(&mut self, change: Change) {
        if !self.found.back_mut().is_some_and(|last| last.join(&change)) {
            self.found.push_back(change);
        }
    }
}

impl Iterator for Changes<'_> {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        // The last change that was found may go on in the next group.
        while self.found.len() < 2 && !self.failed {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failed = true;
                    self.found.clear();
                    return Some(Err(error));
                }
            }
        }
        self.found.pop_front().map(Ok)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::digest::Digest;
    use crate::manifest::tests::decode;
    use crate::manifest::tests::encode;
    use crate::units::BLOCK_SIZE;

    /// A block of a test volume: a number above 1 is data of that content.
    const HOLE: u8 = 0;
    const ZERO: u8 = 1;

    fn manifest(blocks: &[u8]) -> Manifest {
        let size = u64::try_from(blocks.len()).unwrap() * BLOCK_SIZE;
        let blocks: Vec<Block> = blocks
            .iter()
            .map(|block| match *block {
                HOLE => Block::Hole,
                ZERO => Block::Zero,
                content => Block::Data(Digest([content; 32])),
            })
            .collect();
        decode(encode(&blocks, size)).unwrap()
    }

    fn kind(block: u8) -> ExtentKind {
        match block {
            HOLE => ExtentKind::Hole,
            ZERO => ExtentKind::Zero,
            _ => ExtentKind::Data,
        }
    }

    /// What [`changes`] must find, block by block.
    fn slow(old: &[u8], new: &[u8]) -> Vec<Change> {
        let mut found: Vec<Change> = Vec::new();
        for at in 0..old.len().max(new.len()) {
            let side = |blocks: &[u8]| blocks.get(at).copied().unwrap_or(HOLE);
            let (from, to) = (side(old), side(new));
            if from != to {
                let first = BlockIndex(u32::try_from(at).unwrap());
                let change = Change { first, count: 1, from: kind(from), to: kind(to) };
                if !found.last_mut().is_some_and(|last| last.join(&change)) {
                    found.push(change);
                }
            }
        }
        found
    }

    #[test]
    fn changes_are_those_of_a_look_at_each_block() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for _ in 0..40 {
            let old: Vec<u8> = (0..=next(4000))
                .map(|at| if at / 700 % 2 == 0 { HOLE } else { u8::try_from(next(4)).unwrap() })
                .collect();
            let mut new = old.clone();
            new.resize(usize::try_from(1 + next(4000)).unwrap(), HOLE);
            for _ in 0..next(6) {
                let start = usize::try_from(next(4000)).unwrap().min(new.len());
                let end = (start + usize::try_from(next(1500)).unwrap()).min(new.len());
                let content = u8::try_from(next(4)).unwrap();
                new[start..end].fill(content);
            }
            let (a, b) = (manifest(&old), manifest(&new));
            let found: Vec<Change> = changes(&a, &b).collect::<Result<_>>().unwrap();
            assert_eq!(found, slow(&old, &new));
        }
    }

    #[test]
    fn equal_snapshots_have_no_changes() {
        let a = manifest(&[2; 3000]);
        assert_eq!(changes(&a, &a).count(), 0);
    }

    #[test]
    fn a_change_goes_on_over_groups() {
        let (a, b) = (manifest(&[2; 3000]), manifest(&[3; 3000]));
        let all: Vec<Change> = changes(&a, &b).collect::<Result<_>>().unwrap();
        let data = ExtentKind::Data;
        assert_eq!(all, [Change { first: BlockIndex(0), count: 3000, from: data, to: data }]);
    }
}
