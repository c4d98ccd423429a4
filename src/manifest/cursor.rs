//! Blocks of a manifest, looked up one after the other.

use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Group;
use crate::manifest::Manifest;
use crate::units::BlockIndex;

/// Looks blocks up, and keeps the group of the last one: each group is checked once on the way through a
/// volume, however many of its blocks are looked at.
#[derive(Debug)]
pub struct Cursor<'a> {
    manifest: &'a Manifest,
    /// The last group's number, and the group unless all of it are holes.
    last: Option<(u32, Option<Group<'a>>)>,
}

impl<'a> Cursor<'a> {
    /// Starts looking into a manifest.
    #[must_use]
    pub fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, last: None }
    }

    /// Returns what block `index` is; past the volume's end that is a hole.
    ///
    /// # Errors
    ///
    /// `Corrupt` if its group is damaged.
    pub fn block(&mut self, index: BlockIndex) -> Result<Block> {
        let number = index.0 / GROUP_BLOCKS;
        let group = match self.last {
            Some((last, group)) if last == number => group,
            _ => {
                let entry = self.manifest.entry(number)?;
                let group = entry.map(|entry| self.manifest.group(&entry)).transpose()?;
                self.last = Some((number, group));
                group
            }
        };
        Ok(group.map_or(Block::Hole, |group| group.block(index.0 % GROUP_BLOCKS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::digest::Digest;
    use crate::manifest::tests::decode;
    use crate::manifest::tests::encode;
    use crate::units::BLOCK_SIZE;

    #[test]
    fn a_cursor_finds_what_the_manifest_finds_wherever_it_goes() {
        let mut blocks = vec![Block::Hole; 2500];
        blocks[3] = Block::Zero;
        blocks[1030] = Block::Data(Digest([4; 32]));
        blocks[2499] = Block::Data(Digest([5; 32]));
        let manifest = decode(encode(&blocks, BLOCK_SIZE.strict_mul(2500))).unwrap();
        let mut cursor = Cursor::new(&manifest);
        for index in [0, 3, 4, 1030, 3, 2499, 1031, 1500, 0] {
            let index = BlockIndex(index);
            assert_eq!(cursor.block(index).unwrap(), manifest.block(index).unwrap());
        }
        assert_eq!(cursor.block(BlockIndex(2500)).unwrap(), Block::Hole);
        assert_eq!(cursor.block(BlockIndex(1 << 26)).unwrap(), Block::Hole);
    }
}
