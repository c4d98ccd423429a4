//! Which blocks changed, and because of what.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::guest::VolumeOwners;
use crate::ops::diff_files::costs::FileKey;
use crate::ops::diff_files::costs::Pages;
use crate::ops::diff_files::costs::Share;
use crate::ops::diff_files::costs::shares;
use crate::ops::diff_files::entry::BlockChange;
use crate::ops::diff_files::entry::BlockShare;
use crate::ops::diff_files::entry::Entry;
use crate::ops::diff_files::entry::named;
use crate::work::Watch;

/// Paths of files that changed pages belong to.
pub(super) type Paths = BTreeMap<FileKey, Box<[u8]>>;

/// Tells of each block that changed whose its pages are and were.
pub(super) fn tell(
    pages: &Pages,
    (old, old_paths): (&VolumeOwners, &Paths),
    (new, new_paths): (&VolumeOwners, &Paths),
    watch: &dyn Watch,
    each: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    for block in pages.blocks() {
        watch.check()?;
        let now = shares(block, pages, new);
        // A file is one owner with all that is kept for it.
        let owner = |share: &Share| share.file.ok_or(share.class);
        let sole = now.iter().all(|share| owner(share) == owner(&now[0]));
        each(&Entry::Block(BlockChange {
            block,
            changed_bytes: pages.in_block(block),
            sole,
            owners: owners(now, new_paths),
            old_owners: owners(shares(block, pages, old), old_paths),
        }))?;
    }
    Ok(())
}

/// Names owners, the one with most bytes first.
fn owners(mut shares: Vec<Share>, paths: &Paths) -> Vec<BlockShare> {
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    let name = |share: Share| {
        let path = share.file.and_then(|key| paths.get(&key)).map(|path| named(path));
        let (path, path_bytes) = path.map_or((None, None), |(path, bytes)| (Some(path), bytes));
        BlockShare { class: share.class, path, path_bytes, changed_bytes: share.bytes }
    };
    shares.into_iter().map(name).collect()
}
