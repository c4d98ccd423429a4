//! Whether an image has the bytes of a snapshot although its holes are elsewhere.
//!
//! A copy by `dd`, `scp` or an object store turns holes into zeros. Whatever needs the bytes only, as every
//! patch does, takes such a copy for the image that it is, and says so.

use std::num::NonZero;

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Cursor;
use crate::manifest::Manifest;
use crate::manifest::zero_block_digest;
use crate::ops::shared::manifest::manifest_of;
use crate::units::BlockIndex;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// What a block's bytes are; `None` is zeros, in whichever state.
pub(in crate::ops) type Content = Option<Digest>;

/// Returns what a block's bytes are.
pub(in crate::ops) fn content(block: Block) -> Content {
    match block {
        Block::Data(id) if id != zero_block_digest() => Some(id),
        Block::Data(_) | Block::Zero | Block::Hole => None,
    }
}

/// Compares the bytes of two snapshots. Returns how many blocks, all zeros, are a hole in one and were written
/// in the other; `None` if any byte differs.
///
/// # Errors
///
/// `Corrupt` or `Io` if a manifest cannot be read.
pub(in crate::ops) fn other_states(found: &Manifest, expected: &Manifest) -> Result<Option<u64>> {
    if found.volume_size() != expected.volume_size() {
        return Ok(None);
    }
    let (mut left, mut right) = (Cursor::new(found), Cursor::new(expected));
    let mut count = 0_u64;
    for index in (0..expected.block_count()).map(BlockIndex) {
        let (left, right) = (left.block(index)?, right.block(index)?);
        if content(left) != content(right) {
            return Ok(None);
        }
        if left.kind() != right.kind() {
            count = count.strict_add(1);
        }
    }
    Ok(Some(count))
}

/// Finds which of `snapshots` a volume has the bytes of, and in how many blocks its states are others.
///
/// # Errors
///
/// As reading the volume and the manifests.
pub(in crate::ops) fn find_alike(
    volume: &dyn ReadVolume,
    snapshots: impl Iterator<Item = Result<Manifest>>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Option<(Manifest, u64)>> {
    let made = manifest_of(volume, threads, watch)?;
    for snapshot in snapshots {
        let snapshot = snapshot?;
        if let Some(count) = other_states(&made.manifest, &snapshot)? {
            return Ok(Some((snapshot, count)));
        }
    }
    Ok(None)
}

/// Says where the holes of an image are others than in the snapshot, if any are.
pub(in crate::ops) fn states_note(count: u64) -> Option<String> {
    let blocks = match count {
        0 => return None,
        1 => "1 block of the image is a hole".to_owned(),
        _ => format!("{count} blocks of the image are holes"),
    };
    Some(format!(
        "{blocks} where the snapshot has written zeros, or the other way round; the bytes are the same"
    ))
}

/// Says the same of the images that a bundle is read over.
pub(in crate::ops) fn base_notes(bundle: &Bundle) -> Vec<String> {
    bundle.supplied().iter().filter_map(|base| states_note(base.other_states())).collect()
}
