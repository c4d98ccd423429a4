//! What a thin bundle changes of a volume, and the writing of it.

use std::num::NonZero;

use crate::bundle::Bundle;
use crate::bundle::FreeRecord;
use crate::bundle::Snapshot;
use crate::bundle::SnapshotLayer;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::io::PageBuffer;
use crate::io::WriteAt;
use crate::manifest;
use crate::manifest::Block;
use crate::manifest::Change;
use crate::manifest::Manifest;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Watch;
use crate::work::in_order;

/// Blocks that one job writes.
pub(super) const JOB_BLOCKS: u32 = 4;

const _: () = assert!(BLOCK_SIZE == 524_288, "a job is two mebibytes");

/// A device of a thin bundle, and the two manifests that say what changes.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) layer: SnapshotLayer,
    pub(super) old: Manifest,
    pub(super) new: Manifest,
    /// What became of the old volume's free blocks, which an image may still have.
    pub(super) old_free: Option<FreeRecord>,
}

impl Delta {
    /// Finds what a bundle says of a device; of the root device for `None`.
    pub(super) fn find(bundle: &Bundle, device: Option<&str>) -> Result<Self> {
        let layer = bundle.find(device)?.clone();
        let base = layer.base.and_then(|root| bundle.bases().iter().find(|it| it.root == root));
        let Some(base) = base else {
            let text = format!("the volume of {} needs no base", layer.device);
            let to = "write the image: the bundle has all of it".into();
            return Err(Error::invalid(text)
                .in_file(bundle.path())
                .advise(Advice::Use { verb: Verb::Unpack, to }));
        };
        let old_free = base.free;
        let (old, new) = (bundle.base_manifest(base)?, bundle.manifest(&layer)?);
        Ok(Self { layer, old, new, old_free })
    }
}

/// Counts the blocks that change.
pub(super) fn changed_blocks(from: &Manifest, to: &Manifest) -> Result<u64> {
    let mut changed = 0_u64;
    for change in manifest::changes(from, to) {
        changed = changed.strict_add(u64::from(change?.count));
    }
    Ok(changed)
}

/// Writes every block that is not as it was in `from`, as it is in `to`.
pub(super) fn write_changes(
    from: &Manifest,
    to: &Snapshot,
    out: &dyn WriteAt,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    let size = to.size();
    out.set_size(size)?;
    write_last_zeros(from, to.manifest(), out)?;
    let end = to.manifest().block_count();
    let jobs = manifest::changes(from, to.manifest()).flat_map(|change| match change {
        Ok(change) => pieces(change, end).map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    in_order(
        threads,
        watch,
        jobs,
        || Ok(PageBuffer::default()),
        |buffer, (kind, first, count)| {
            let start = BlockIndex(first).offset();
            let stop = BlockIndex(first.strict_add(count)).offset().min(size);
            let len = stop.strict_sub(start);
            match kind {
                ExtentKind::Hole => {
                    // To the end of the block, for the page that the volume ends in must go too.
                    let len = BlockIndex(first.strict_add(count)).offset().strict_sub(start);
                    out.make_hole_at(len, start)?;
                }
                ExtentKind::Zero => out.write_zeros_at(len, start)?,
                ExtentKind::Data => {
                    buffer.resize(usize::try_from(len).expect("a few blocks"));
                    to.read_at(start, buffer)?;
                    out.write_all_at(buffer, start)?;
                }
            }
            Ok(len)
        },
        |len| {
            watch.advance(len);
            Ok(())
        },
    )
}

/// Writes the zeros of a last block that was cut. It is not among the changes, but what was written
/// of it may all have lain behind the new end.
fn write_last_zeros(from: &Manifest, to: &Manifest, out: &dyn WriteAt) -> Result<()> {
    let size = to.volume_size();
    let Some(last) = to.block_count().checked_sub(1).map(BlockIndex) else { return Ok(()) };
    if size < from.volume_size() && to.block(last)? == Block::Zero {
        out.write_zeros_at(size.strict_sub(last.offset()), last.offset())?;
    }
    Ok(())
}

/// Cuts a change into jobs, up to block `end`.
fn pieces(change: Change, end: u32) -> impl Iterator<Item = (ExtentKind, u32, u32)> {
    let stop = change.end().0.min(end);
    let most = if change.to == ExtentKind::Data { JOB_BLOCKS } else { u32::MAX };
    let mut next = change.first.0;
    std::iter::from_fn(move || {
        (next < stop).then(|| {
            let first = next;
            next = first.saturating_add(most).min(stop);
            (change.to, first, next.strict_sub(first))
        })
    })
}
