//! XFS, versions 4 and 5.

mod attributes;
mod btree;
mod directory;
mod inode;
mod layout;
mod log;
mod mapping;
mod open;
mod owners;
mod tree;

use crate::guest::claims::Claims;
use crate::guest::failure::Outcome;
use crate::guest::file::About;
use crate::guest::file::Attribute;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::owner::FileId;
use crate::guest::owner::Owner;
use crate::guest::ranges::Ranges;
use crate::guest::slice::Slice;
use crate::guest::xfs::open::Xfs;

pub(super) use open::is_one;

/// Opens it. A log that needs to be replayed is, in memory.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    Ok(Box::new(open::open(slice)?))
}

impl FileSystem for Xfs<'_> {
    fn about(&self) -> &About {
        &self.about
    }

    fn claim(&self, claims: &mut Claims) -> Outcome<()> {
        owners::claim(self, claims)
    }

    fn free(&self) -> Outcome<Ranges> {
        owners::free(self)
    }

    fn root(&self) -> FileId {
        FileId(self.sb.root)
    }

    fn node(&self, id: FileId) -> Outcome<Node> {
        self.inode(id)?.node().map_err(|failure| failure.of(Owner::File(id)))
    }

    fn entries(&self, folder: FileId) -> Outcome<Vec<Entry>> {
        directory::entries(self, folder).map_err(|failure| failure.of(Owner::File(folder)))
    }

    fn content(&self, id: FileId) -> Outcome<Content> {
        tree::content(self, id).map_err(|failure| failure.of(Owner::File(id)))
    }

    fn attributes(&self, id: FileId) -> Outcome<Vec<Attribute>> {
        attributes::attributes(self, id).map_err(|failure| failure.of(Owner::File(id)))
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Outcome<()> {
        self.slice.read(offset, buf)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
