//! ext2, ext3 and ext4, with every feature that a root volume can have.

mod attributes;
mod groups;
mod inode;
mod journal;
mod layout;
mod mapping;
mod open;
mod owners;
mod tree;

use crate::guest::ext::open::Ext;
use crate::guest::failure::Outcome;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::owner::FileId;
use crate::guest::slice::Slice;

pub(super) use open::is_one;

const ROOT: FileId = FileId(2);

/// Opens it. A journal that needs to be replayed is, in memory.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    Ok(Box::new(open::open(slice)?))
}

fn root(_: &Ext<'_>) -> FileId {
    ROOT
}

fn node(ext: &Ext<'_>, id: FileId) -> Outcome<Node> {
    ext.live(id)?.node()
}

file_system!(
    Ext, root: root, claim: owners::claim, free: owners::free, node: node,
    entries: tree::entries, content: tree::content, attributes: attributes::attributes
);

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
