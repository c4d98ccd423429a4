//! The proof that a snapshot is what its manifest says: the list of its blocks, and a sample of their bytes.

use std::num::NonZero;

use crate::aws::Aws;
use crate::calls::Base;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Group;
use crate::manifest::Manifest;
use crate::manifest::zero_block_digest;
use crate::ops::publish::ranges::Ranges;
use crate::units::ebs_gib;
use crate::work::in_order;

/// Blocks that are read, spread over the volume: enough to see that blocks are not those of another snapshot, and so few
/// that a run which is ended at every 50th request gets through.
const SAMPLES: u64 = 24;

/// Blocks that are read side by side.
const SIDE_BY_SIDE: NonZero<usize> = NonZero::new(8).unwrap();

/// What was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proved {
    /// Blocks of the list.
    pub(super) blocks: u64,
    /// Blocks whose bytes were read.
    pub(super) samples: u64,
}

/// Iterates over the blocks that a snapshot must have, ascending, each with its checksum: those of the target that are
/// written, and those that its parent has. A parent has more than its manifest says: what was written once in its line, and
/// is a hole now, is a block of zeros.
struct Expected<'a> {
    target: &'a Manifest,
    parent: Ranges,
    /// The block before which all are sent, since holes are.
    sent: u32,
    next: u32,
    end: u32,
    number: Option<u32>,
    group: Option<Group<'a>>,
}

impl<'a> Expected<'a> {
    fn new(target: &'a Manifest, parent: Ranges, base: Option<Base<'_>>, send_holes: bool) -> Self {
        let base = base.map_or(0, |it| it.manifest.block_count());
        let last = base.max(target.block_count());
        let (sent, end) = (if send_holes { last } else { 0 }, last.max(parent.end()));
        Self { target, parent, sent, next: 0, end, number: None, group: None }
    }

    /// Opens the group of a block.
    fn look(&mut self, number: u32) -> Result<()> {
        if self.number != Some(number) {
            let entry = self.target.entry(number)?;
            self.group = entry.map(|entry| self.target.group(&entry)).transpose()?;
            self.number = Some(number);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(u32, Digest)>> {
        while self.next < self.end {
            let index = self.next;
            self.look(index / GROUP_BLOCKS)?;
            if index >= self.sent && self.group.is_none() {
                // Nothing of the target up to the end of the group.
                let group = (index / GROUP_BLOCKS).strict_add(1).strict_mul(GROUP_BLOCKS);
                let parents = self.parent.next_at(index).unwrap_or(self.end);
                if parents > index {
                    self.next = parents.min(group).min(self.end);
                    continue;
                }
            }
            self.next = index.strict_add(1);
            let group = self.group.as_ref();
            let block = group.map_or(Block::Hole, |group| group.block(index % GROUP_BLOCKS));
            if block != Block::Hole || index < self.sent || self.parent.has(index) {
                return Ok(Some((index, block.digest().unwrap_or_else(zero_block_digest))));
            }
        }
        Ok(None)
    }
}

impl Iterator for Expected<'_> {
    type Item = Result<(u32, Digest)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Proves that a snapshot that is complete has just the blocks that it must have, with the bytes that they must have.
///
/// # Errors
///
/// `Mismatch` if it does not; as listing and reading blocks.
pub(super) fn prove(
    aws: &Aws<'_, '_>,
    region: &str,
    snapshot_id: &str,
    target: &Manifest,
    base: Option<Base<'_>>,
    send_holes: bool,
) -> Result<Proved> {
    let wrong = |text: String| Error::new(Kind::Mismatch, format!("{snapshot_id}: {text}"));
    let mut parent = Ranges::default();
    if let Some(base) = base {
        aws.for_each_block(region, base.snapshot_id, None, |block| {
            parent.add(block.block_index, 1);
            Ok(())
        })?;
    }
    let mut expected = Expected::new(target, parent, base, send_holes);
    let stride = target.header().counts.written().div_ceil(SAMPLES).max(1);
    // Which ones is decided by the content, so that another run reads the same ones.
    let first = u64::from(target.root().0[0]).checked_rem(stride);
    let (mut blocks, mut samples) = (0_u64, Vec::new());
    let gib = aws.for_each_block(region, snapshot_id, None, |block| {
        let (index, digest) = match expected.next().transpose()? {
            Some((index, digest)) if index == block.block_index => (index, digest),
            Some((index, _)) => {
                let text =
                    format!("its list has block {}, expected block {index}", block.block_index);
                return Err(wrong(text));
            }
            None => {
                let text = format!("its list has block {}, expected no more", block.block_index);
                return Err(wrong(text));
            }
        };
        if blocks.checked_rem(stride) == first {
            let token = block.block_token.ok_or_else(|| wrong("a block has no token".into()))?;
            samples.push((index, digest, token));
        }
        blocks = blocks.strict_add(1);
        Ok(())
    })?;
    if let Some((index, _)) = expected.next().transpose()? {
        return Err(wrong(format!("its list ends before block {index}")));
    }
    if blocks > 0 && gib < ebs_gib(target.volume_size()) {
        let expected = ebs_gib(target.volume_size());
        return Err(wrong(format!("it has {gib} GiB, expected at least {expected}")));
    }
    let count = u64::try_from(samples.len()).expect("memory is under 2^64 bytes");
    in_order(
        SIDE_BY_SIDE,
        aws.http().watch(),
        samples.into_iter().map(Ok),
        || Ok(()),
        |(), (index, digest, token)| {
            let (_, found) = aws.get_block(region, snapshot_id, index, &token)?;
            if found == digest {
                return Ok(());
            }
            let text = format!(
                "block {index} has the checksum {}, expected {}",
                found.base64(),
                digest.base64()
            );
            Err(wrong(text))
        },
        |()| Ok(()),
    )?;
    Ok(Proved { blocks, samples: count })
}
