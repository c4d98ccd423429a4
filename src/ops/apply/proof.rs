//! Whether a volume holds the bytes of a snapshot: asked before an image is changed, and after.
//!
//! Only bytes are compared. A copy of an image by `dd` or `scp` may have its holes elsewhere, and is the
//! same volume for all that is done here; how many blocks differ in that is counted.

use std::num::NonZero;

use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::Source;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Cursor;
use crate::manifest::Manifest;
use crate::ops::shared::likeness::Content;
use crate::ops::shared::likeness::content;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// How a volume compares with one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    /// Whether both have the same number of bytes.
    pub(super) same_size: bool,
    /// The first block with other bytes.
    pub(super) other: Option<BlockIndex>,
    /// Blocks with the same bytes, all zero, that are a hole in one and were written in the other.
    pub(super) other_states: u64,
}

impl Likeness {
    /// Tells whether the volume has the snapshot's bytes.
    pub(super) fn same_bytes(&self) -> bool {
        self.same_size && self.other.is_none()
    }

    /// Tells whether the volume is the snapshot.
    pub(super) fn same(&self) -> bool {
        self.same_bytes() && self.other_states == 0
    }
}

/// How a volume compares with what it was and with what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// With what it was.
    pub(super) old: Likeness,
    /// With what it becomes.
    pub(super) new: Likeness,
    /// The first block that is neither, nor between the two.
    pub(super) stranger: Option<BlockIndex>,
}

/// Says of a block whose bytes are neither the old nor the new ones whether they are between the two: as
/// a write that was interrupted leaves them.
pub(super) trait Between {
    /// Tells whether each part of block `index` that is written at once is the old or the new one.
    ///
    /// # Errors
    ///
    /// As reading the volume, and what its bytes were and become.
    fn is_between(&self, index: BlockIndex) -> Result<bool>;
}

/// What is written to replace what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub(super) old: &'a Manifest,
    pub(super) new: &'a Manifest,
}

/// Reads all of `volume` and compares it with both sides.
///
/// # Errors
///
/// As reading the volume; `Io` if it changed meanwhile; whatever `between` returns.
pub(super) fn look(
    volume: &dyn ReadVolume,
    sides: Sides<'_>,
    between: Option<&dyn Between>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Found> {
    let mut look = Look {
        old: Side::new(sides.old, volume.size()),
        new: Side::new(sides.new, volume.size()),
        next: 0,
        between,
        stranger: None,
    };
    let options = chunking::Options { threads, watch, states: States::default(), store: None };
    chunking::run(Source::Volume(volume), &options, &mut look)?;
    Ok(Found { old: look.old.likeness, new: look.new.likeness, stranger: look.stranger })
}

/// One snapshot, and what was found so far.
struct Side<'a> {
    blocks: Cursor<'a>,
    likeness: Likeness,
}

impl<'a> Side<'a> {
    fn new(manifest: &'a Manifest, size: u64) -> Self {
        let same_size = manifest.volume_size() == size;
        let likeness = Likeness { same_size, other: None, other_states: 0 };
        Self { blocks: Cursor::new(manifest), likeness }
    }

    /// Takes what block `index` is found to be, and returns what it should be.
    fn see(&mut self, index: BlockIndex, found: Block) -> Result<Content> {
        let block = self.blocks.block(index)?;
        if content(block) != content(found) {
            self.likeness.other.get_or_insert(index);
        } else if block.kind() != found.kind() {
            self.likeness.other_states = self.likeness.other_states.strict_add(1);
        }
        Ok(content(block))
    }
}

/// Takes the blocks of a volume in their order.
struct Look<'a> {
    old: Side<'a>,
    new: Side<'a>,
    next: u32,
    between: Option<&'a dyn Between>,
    stranger: Option<BlockIndex>,
}

impl Look<'_> {
    fn see(&mut self, found: Block) -> Result<()> {
        let index = BlockIndex(self.next);
        // A volume has at most 2^27 blocks.
        self.next = self.next.strict_add(1);
        let (old, new) = (self.old.see(index, found)?, self.new.see(index, found)?);
        let found = content(found);
        if self.stranger.is_some() || found == old || found == new {
            return Ok(());
        }
        let between = match self.between {
            Some(between) if old != new => between.is_between(index)?,
            _ => false,
        };
        if !between {
            self.stranger = Some(index);
        }
        Ok(())
    }
}

impl Sink for Look<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        let block = if kind == ExtentKind::Hole { Block::Hole } else { Block::Zero };
        (0..count).try_for_each(|_| self.see(block))
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        self.see(Block::Data(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::manifest::tests::decode;
    use crate::manifest::tests::encode;
    use crate::units::BLOCK_SIZE;

    fn data(content: u8) -> Block {
        Block::Data(Digest([content; 32]))
    }

    /// Says of odd blocks that they are between.
    struct Odd;

    impl Between for Odd {
        fn is_between(&self, index: BlockIndex) -> Result<bool> {
            Ok(index.0 % 2 == 1)
        }
    }

    fn seen(old: &[Block], new: &[Block], found: &[Block]) -> Found {
        let manifest = |blocks: &[Block]| {
            let count = u64::try_from(blocks.len()).unwrap();
            decode(encode(blocks, count.strict_mul(BLOCK_SIZE))).unwrap()
        };
        let (old, new) = (manifest(old), manifest(new));
        let size = u64::try_from(found.len()).unwrap().strict_mul(BLOCK_SIZE);
        let mut look = Look {
            old: Side::new(&old, size),
            new: Side::new(&new, size),
            next: 0,
            between: Some(&Odd),
            stranger: None,
        };
        for block in found {
            look.see(*block).unwrap();
        }
        Found { old: look.old.likeness, new: look.new.likeness, stranger: look.stranger }
    }

    #[test]
    fn states_are_counted_and_bytes_decide() {
        let old = [data(1), Block::Zero, Block::Hole, data(2)];
        let new = [data(1), Block::Hole, Block::Hole, data(3)];
        let found = seen(&old, &new, &[data(1), Block::Hole, Block::Zero, data(2)]);
        assert!(found.old.same_bytes() && !found.old.same() && found.old.other_states == 2);
        assert_eq!(found.new.other, Some(BlockIndex(3)));
        assert_eq!((found.new.other_states, found.stranger), (1, None));
        assert!(seen(&old, &new, &new).new.same());
    }

    #[test]
    fn only_a_block_that_changes_can_be_between() {
        let old = [data(1), data(1), data(1)];
        let new = [data(2), data(2), data(1)];
        assert_eq!(seen(&old, &new, &[data(2), data(9), data(1)]).stranger, None);
        assert_eq!(seen(&old, &new, &[data(9), data(9), data(9)]).stranger, Some(BlockIndex(0)));
        let (old, new) = ([data(1), data(1)], [data(2), data(1)]);
        assert_eq!(seen(&old, &new, &[data(2), data(9)]).stranger, Some(BlockIndex(1)));
    }

    #[test]
    fn a_volume_of_another_size_is_not_the_same() {
        let found = seen(&[data(1)], &[data(1), Block::Hole], &[data(1)]);
        assert!(found.old.same() && !found.new.same_bytes() && found.new.other.is_none());
    }
}
