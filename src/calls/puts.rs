//! Which blocks an upload writes: all that are written, or what makes a parent's snapshot the new one.

use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Change;
use crate::manifest::Changes;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Group;
use crate::manifest::Manifest;
use crate::manifest::changes;
use crate::manifest::zero_block_digest;
use crate::units::BlockIndex;
use crate::units::ExtentKind;

/// Blocks that follow each other and are written with the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// First block.
    pub first: BlockIndex,
    /// How many there are.
    pub count: u32,
    /// SHA-256 of the bytes of each.
    pub digest: Digest,
}

impl Put {
    /// Tells whether zeros are written.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.digest == zero_block_digest()
    }

    fn join(&mut self, next: &Self) -> bool {
        let joins =
            self.first.0.strict_add(self.count) == next.first.0 && self.digest == next.digest;
        if joins {
            self.count = self.count.strict_add(next.count);
        }
        joins
    }
}

/// The snapshot that an upload starts from.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// What its blocks are.
    pub manifest: &'a Manifest,
    /// Its id in the account.
    pub snapshot_id: &'a str,
}

/// A manifest with the group that was looked at last.
#[derive(Debug)]
struct Cursor<'a> {
    manifest: &'a Manifest,
    number: Option<u32>,
    group: Option<Group<'a>>,
}

impl<'a> Cursor<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, number: None, group: None }
    }

    /// Returns the group of a block; `None` where all of it are holes.
    fn group(&mut self, index: u32) -> Result<Option<&Group<'a>>> {
        let number = index / GROUP_BLOCKS;
        if self.number != Some(number) {
            let entry = self.manifest.entry(number)?;
            self.group = entry.map(|entry| self.manifest.group(&entry)).transpose()?;
            self.number = Some(number);
        }
        Ok(self.group.as_ref())
    }

    /// Returns what a block is; past the volume's end that is a hole.
    fn block(&mut self, index: u32) -> Result<Block> {
        Ok(self.group(index)?.map_or(Block::Hole, |group| group.block(index % GROUP_BLOCKS)))
    }
}

/// Where the blocks that may have to be written come from.
#[derive(Debug)]
enum Source<'a> {
    /// Every block of the volume, one after the other; with a base, beside the base's.
    Every { next: u32, end: u32, base: Option<Cursor<'a>> },
    /// Only what changed since the base.
    Changed { changes: Changes<'a>, current: Option<Change> },
}

/// Iterates over the blocks that an upload writes, ascending, in memory that does not grow.
///
/// Replayed onto the base's volume (or onto a new one) they give the target's bytes: a block that is
/// a hole now and was data before is written as zeros, because a block that is left out keeps the
/// parent's bytes.
#[derive(Debug)]
pub struct Puts<'a> {
    target: Cursor<'a>,
    source: Source<'a>,
    send_holes: bool,
    ahead: Option<Put>,
    ended: bool,
}

impl<'a> Puts<'a> {
    /// Starts at block 0. With `send_holes`, holes are written as zeros too.
    #[must_use]
    pub fn new(target: &'a Manifest, base: Option<&'a Manifest>, send_holes: bool) -> Self {
        let source = match base {
            Some(base) if !send_holes => {
                Source::Changed { changes: changes(base, target), current: None }
            }
            _ => {
                let end = base.map_or(0, Manifest::block_count).max(target.block_count());
                Source::Every { next: 0, end, base: base.map(Cursor::new) }
            }
        };
        Self { target: Cursor::new(target), source, send_holes, ahead: None, ended: false }
    }

    /// Returns what must be put somewhere next, before it is joined; `None` at the end.
    fn step(&mut self) -> Result<Option<Put>> {
        match &mut self.source {
            Source::Changed { changes, current } => changed(&mut self.target, changes, current),
            Source::Every { next, end, base } => {
                every(&mut self.target, next, *end, base.as_mut(), self.send_holes)
            }
        }
    }

    fn joined(&mut self) -> Result<Option<Put>> {
        let mut joined = self.ahead.take();
        while !self.ended {
            let Some(next) = self.step()? else {
                self.ended = true;
                break;
            };
            match &mut joined {
                Some(put) => {
                    if !put.join(&next) {
                        self.ahead = Some(next);
                        break;
                    }
                }
                None => joined = Some(next),
            }
        }
        Ok(joined)
    }
}

/// Takes the next block of the changes that must be written.
fn changed(
    target: &mut Cursor<'_>,
    changes: &mut Changes<'_>,
    current: &mut Option<Change>,
) -> Result<Option<Put>> {
    loop {
        let Some(change) = current.take().filter(|change| change.count > 0) else {
            match changes.next() {
                Some(change) => *current = Some(change?),
                None => return Ok(None),
            }
            continue;
        };
        let put = |count, digest| Put { first: change.first, count, digest };
        match (change.from, change.to) {
            (_, ExtentKind::Data) => {
                let block = target.block(change.first.0)?;
                let digest = block.digest().expect("the change leads to data");
                let first = BlockIndex(change.first.0.strict_add(1));
                let count = change.count.strict_sub(1);
                *current = Some(Change { first, count, ..change });
                return Ok(Some(put(1, digest)));
            }
            // Written blocks must be overwritten, and written zeros stay written.
            (_, ExtentKind::Zero) | (ExtentKind::Data, ExtentKind::Hole) => {
                return Ok(Some(put(change.count, zero_block_digest())));
            }
            // The parent's zeros read as the hole does.
            (ExtentKind::Zero | ExtentKind::Hole, ExtentKind::Hole) => {}
        }
    }
}

/// Takes the next of all blocks that must be written.
fn every(
    target: &mut Cursor<'_>,
    next: &mut u32,
    end: u32,
    mut base: Option<&mut Cursor<'_>>,
    send_holes: bool,
) -> Result<Option<Put>> {
    while *next < end {
        let index = *next;
        let group_end = (index / GROUP_BLOCKS).strict_add(1).strict_mul(GROUP_BLOCKS).min(end);
        let target_hole = target.group(index)?.is_none();
        let base_hole = match &mut base {
            Some(base) => base.group(index)?.is_none(),
            None => true,
        };
        if target_hole && base_hole {
            *next = group_end;
            if send_holes {
                let count = group_end.strict_sub(index);
                return Ok(Some(Put {
                    first: BlockIndex(index),
                    count,
                    digest: zero_block_digest(),
                }));
            }
            continue;
        }
        *next = index.strict_add(1);
        let block = target.block(index)?;
        let before = match &mut base {
            Some(base) => base.block(index)?,
            None => Block::Hole,
        };
        let digest = match (before, block) {
            (Block::Hole, Block::Hole) if !send_holes => continue,
            (Block::Zero, Block::Hole) => continue,
            (before, after) if before == after && after != Block::Hole => continue,
            (_, after) => after.digest().unwrap_or_else(zero_block_digest),
        };
        return Ok(Some(Put { first: BlockIndex(index), count: 1, digest }));
    }
    Ok(None)
}

impl Iterator for Puts<'_> {
    type Item = Result<Put>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.joined();
        if found.is_err() {
            self.ended = true;
            self.ahead = None;
        }
        found.transpose()
    }
}
