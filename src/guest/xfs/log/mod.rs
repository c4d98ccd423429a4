//! The log: whether the file system was unmounted cleanly, and if not, what a mount would write.

mod circle;
mod ends;
mod items;
mod layout;
mod overlay;
mod replay;
mod transactions;

use std::collections::BTreeMap;

use crate::guest::failure::Outcome;
use crate::guest::slice::Patch;
use crate::guest::slice::Slice;
use crate::guest::xfs::layout::Superblock;

pub(super) use overlay::SECTOR_LEN;

/// Returns the sectors that have to be laid over the file system; `None` if its log is clean.
///
/// # Errors
///
/// A fault if the log is damaged, as a mount would refuse it too.
pub(super) fn read(slice: &Slice<'_>, sb: &Superblock) -> Outcome<Option<BTreeMap<u64, Patch>>> {
    let circle = circle::Circle::new(slice, sb);
    let Some(active) = ends::find(&circle)? else { return Ok(None) };
    let mut overlay = overlay::Overlay::new(slice, sb);
    replay::replay(&circle, &active, &mut overlay)?;
    Ok(Some(overlay.into_patches()))
}
