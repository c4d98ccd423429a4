//! What parts of a volume are told apart by: docs/formats/parts.md.

use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;

use crate::chunking::Sink;
use crate::chunking::States;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::GROUP_BLOCKS;
use crate::manifest::Manifest;
use crate::manifest::Part;
use crate::ops::shared::report::SnapshotReport;
use crate::units::ExtentKind;
use crate::units::PAGE_LEN;
use crate::units::PAGE_SIZE;
use crate::units::block_count;
use crate::volume::ReadVolume;

/// A part of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumePartReport {
    /// First block.
    pub first_block: u32,
    /// How many blocks.
    pub block_count: u32,
    /// Bytes of the whole volume.
    pub whole_size_bytes: u64,
    /// Fingerprint of the whole volume.
    pub volume: Digest,
    /// All options that the part depends on.
    pub options: String,
    /// What the part's own manifest says.
    pub snapshot: SnapshotReport,
}

impl VolumePartReport {
    /// Says what a part is, and what its own manifest says.
    pub(in crate::ops) fn new(part: Part, snapshot: SnapshotReport) -> Self {
        Self {
            first_block: part.first_block,
            block_count: part.block_count,
            whole_size_bytes: part.volume_size,
            volume: part.volume,
            options: part.options,
            snapshot,
        }
    }
}

/// Blocks of a volume, as a user names them: `A..B`, `A..` up to the end, or `..B` from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpan {
    /// The first one.
    pub first: u32,
    /// The one behind the last; that of the volume if it is left out.
    pub end: Option<u32>,
}

impl FromStr for BlockSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("{text:?} is not a span of blocks, expected A..B, A.. or ..B");
        let number = |text: &str| text.parse::<u32>().map_err(|_| fail());
        let (first, end) = text.split_once("..").ok_or_else(fail)?;
        let end = if end.is_empty() { None } else { Some(number(end)?) };
        let first = if first.is_empty() { 0 } else { number(first)? };
        if end.is_some_and(|end| end <= first) {
            return Err(format!("{text:?} has no blocks, expected A below B"));
        }
        Ok(Self { first, end })
    }
}

impl BlockSpan {
    /// Returns the blocks of a volume of `size` bytes.
    ///
    /// # Errors
    ///
    /// `Invalid` if the volume does not have them.
    pub(in crate::ops) fn within(self, size: u64) -> Result<Range<u32>> {
        let count = block_count(size);
        let end = self.end.unwrap_or(count);
        if self.first < end && end <= count {
            return Ok(self.first..end);
        }
        let first = self.first;
        Err(Error::invalid(format!(
            "blocks {first}..{end} are not in the volume, which has {count}"
        )))
    }
}

/// Number of the last page of a fingerprint.
const LAST_SAMPLE: u64 = 256;

/// Returns the fingerprint of a volume.
///
/// # Errors
///
/// As reading it.
pub(in crate::ops) fn fingerprint(volume: &dyn ReadVolume) -> Result<Digest> {
    let size = volume.size();
    let mut sum = Sha256::new();
    sum.update(b"amikit.part.v1\0\0");
    sum.update(&size.to_le_bytes());
    let last_page = size.div_ceil(PAGE_SIZE).saturating_sub(1);
    for sample in 0..=LAST_SAMPLE {
        // Below 2^64: a volume has at most 2^34 pages.
        let at = last_page.strict_mul(sample).strict_div(LAST_SAMPLE).strict_mul(PAGE_SIZE);
        let mut page = [0; PAGE_LEN];
        let len = usize::try_from(size.strict_sub(at).min(PAGE_SIZE)).expect("a page");
        volume.read_at(at, &mut page[..len])?;
        sum.update(&page);
    }
    Ok(sum.finish())
}

/// Returns the options that all parts depend on, as words.
pub(in crate::ops) fn options(kind: &str, states: States, free: Option<String>) -> String {
    let zeros = if states.zeros_as_holes { "hole" } else { "keep" };
    let holes = if states.holes_as_zeros { "zero" } else { "keep" };
    let free = free.unwrap_or_else(|| "keep".to_owned());
    format!("kind={kind} zeros={zeros} holes={holes} free={free}")
}

/// Hands all blocks of a manifest to a sink, in order.
///
/// # Errors
///
/// `Corrupt` if a group is damaged; whatever the sink returns.
pub(in crate::ops) fn push_blocks(manifest: &Manifest, sink: &mut dyn Sink) -> Result<()> {
    let count = manifest.block_count();
    let mut next = 0;
    for entry in manifest.entries() {
        let entry = entry?;
        // Cannot overflow: groups lie inside the volume.
        let start = entry.group.strict_mul(GROUP_BLOCKS);
        if start > next {
            sink.run(ExtentKind::Hole, start.strict_sub(next))?;
        }
        next = start.strict_add(GROUP_BLOCKS).min(count);
        let blocks = usize::try_from(next.strict_sub(start)).expect("at most 1,024");
        for block in manifest.verified_group(&entry)?.blocks().take(blocks) {
            match block {
                Block::Data(digest) => sink.data(digest)?,
                Block::Zero => sink.run(ExtentKind::Zero, 1)?,
                Block::Hole => sink.run(ExtentKind::Hole, 1)?,
            }
        }
    }
    if next < count {
        sink.run(ExtentKind::Hole, count.strict_sub(next))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::units::BLOCK_SIZE;

    #[test]
    fn a_span_is_read_and_held_against_the_volume() {
        let span = |text: &str| text.parse::<BlockSpan>();
        assert_eq!(span("2..5"), Ok(BlockSpan { first: 2, end: Some(5) }));
        assert_eq!(span("2.."), Ok(BlockSpan { first: 2, end: None }));
        assert_eq!(span("..5"), Ok(BlockSpan { first: 0, end: Some(5) }));
        for text in ["", "2", "5..5", "5..2", "a..b", "-1..2", "1..2..3"] {
            assert!(span(text).is_err(), "{text}");
        }
        let size = BLOCK_SIZE.strict_mul(9).strict_add(1);
        let within = |text: &str| span(text).unwrap().within(size);
        assert_eq!(within("2..").unwrap(), 2..10);
        assert_eq!(within("9..10").unwrap(), 9..10);
        assert!(within("10..").is_err() && within("2..11").is_err());
    }
}
