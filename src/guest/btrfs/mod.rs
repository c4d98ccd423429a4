//! Btrfs on one device, with one copy or two of each block; all subvolumes are found below the one that a mount shows.

mod extent;
mod free;
mod layout;
mod lzo;
mod open;
mod owners;
mod tree;

use crate::guest::btrfs::open::Btrfs;
use crate::guest::failure::Outcome;
use crate::guest::file::FileSystem;
use crate::guest::file::Packed;
use crate::guest::owner::FileId;
use crate::guest::slice::Slice;

pub(super) use open::is_one;

/// Opens it.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    Ok(Box::new(open::open(slice)?))
}

file_system!(
    Btrfs, root: tree::root, claim: owners::claim, free: free::free, node: tree::node,
    entries: tree::entries, content: tree::content, attributes: tree::attributes, and {
        fn unpack(&self, packed: &Packed) -> Outcome<Vec<u8>> {
            tree::unpacked(self, packed)
        }

        fn subvolume(&self, id: u64) -> Option<FileId> {
            let place = self.subvolumes.iter().position(|it| it.id == id)?;
            open::file_id(place, self.subvolumes[place].folder).ok()
        }

        fn roots(&self) -> Vec<FileId> {
            let all = self.subvolumes.iter().enumerate();
            all.filter_map(|(place, it)| open::file_id(place, it.folder).ok()).collect()
        }

        fn top(&self) -> FileId {
            self.subvolume(open::TOP).unwrap_or_else(|| self.root())
        }
    }
);

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
