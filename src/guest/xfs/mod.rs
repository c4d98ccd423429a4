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

use crate::guest::failure::Outcome;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::owner::FileId;
use crate::guest::slice::Slice;
use crate::guest::xfs::open::Xfs;

pub(super) use open::is_one;

/// Opens it. A log that needs to be replayed is, in memory.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    Ok(Box::new(open::open(slice)?))
}

fn root(xfs: &Xfs<'_>) -> FileId {
    FileId(xfs.sb.root)
}

fn node(xfs: &Xfs<'_>, id: FileId) -> Outcome<Node> {
    xfs.inode(id)?.node()
}

file_system!(
    Xfs, root: root, claim: owners::claim, free: owners::free, node: node,
    entries: directory::entries, content: tree::content, attributes: attributes::attributes
);

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
