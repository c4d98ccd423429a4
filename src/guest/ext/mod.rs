//! ext2, ext3 and ext4, with every feature that a root volume can have.

mod attributes;
mod groups;
mod inode;
mod journal;
mod layout;
mod mapping;
mod owners;
mod tree;

use std::ops::Range;

use crate::guest::claims::Claims;
use crate::guest::ext::groups::Groups;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::layout::INCOMPAT_RECOVER;
use crate::guest::ext::layout::RO_ORPHAN_PRESENT;
use crate::guest::ext::layout::SUPERBLOCK_LEN;
use crate::guest::ext::layout::SUPERBLOCK_OFFSET;
use crate::guest::ext::layout::Superblock;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::About;
use crate::guest::file::Attribute;
use crate::guest::file::Caution;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::owner::FileId;
use crate::guest::owner::Owner;
use crate::guest::ranges::Ranges;
use crate::guest::slice::Slice;

const ROOT: FileId = FileId(2);

/// `s_state`: unmounted cleanly, and has errors.
const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;

/// An open file system.
#[derive(Debug)]
pub(super) struct Ext<'a> {
    slice: Slice<'a>,
    sb: Superblock,
    groups: Groups,
    about: About,
}

/// Tells whether a slice holds one.
pub(super) fn is_one(slice: &Slice<'_>) -> Outcome<bool> {
    let there = SUPERBLOCK_OFFSET.strict_add(SUPERBLOCK_LEN.try_into().expect("1 KiB"));
    if slice.len() < there {
        return Ok(false);
    }
    Ok(Superblock::is_one(&slice.bytes(SUPERBLOCK_OFFSET, 1024)?))
}

/// Opens it. A journal that needs to be replayed is, in memory.
pub(super) fn open(mut slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    let found = superblock(&slice)?;
    let mut about = about(&found);
    let mut sb = found;
    if sb.incompat & INCOMPAT_RECOVER != 0 {
        let groups = Groups::read(&slice, &sb)?;
        let patches = journal::replay(&slice, &sb, &groups)?;
        slice.lay_over(sb.block_len, patches)?;
        sb = superblock(&slice)?;
        about.replayed = true;
    }
    let groups = Groups::read(&slice, &sb)?;
    Ok(Box::new(Ext { slice, sb, groups, about }))
}

fn superblock(slice: &Slice<'_>) -> Outcome<Superblock> {
    let mut bytes = [0; SUPERBLOCK_LEN];
    slice.read(SUPERBLOCK_OFFSET, &mut bytes)?;
    Superblock::parse(&bytes, slice.len())
}

fn about(sb: &Superblock) -> About {
    let mut cautions = Vec::new();
    if sb.incompat & INCOMPAT_RECOVER != 0 || sb.state & STATE_VALID == 0 {
        cautions.push(Caution::Dirty);
    }
    if sb.state & STATE_ERRORS != 0 {
        cautions.push(Caution::Errors);
    }
    if sb.last_orphan != 0 || sb.ro_compat & RO_ORPHAN_PRESENT != 0 {
        cautions.push(Caution::Orphans);
    }
    if let Some((set, bits)) = sb.unknown_features() {
        cautions.push(Caution::Feature(set, bits));
    }
    let label_len = sb.label.iter().position(|byte| *byte == 0).unwrap_or(sb.label.len());
    About {
        name: sb.name(),
        label: sb.label[..label_len].to_vec(),
        uuid: Some(uuid(&sb.uuid)),
        // The superblock was checked against the slice.
        size: sb.blocks.strict_mul(sb.block_len),
        block_len: sb.block_len,
        free_bytes: sb.free_clusters.saturating_mul(sb.cluster_blocks).saturating_mul(sb.block_len),
        grain: sb.cluster_blocks.strict_mul(sb.block_len),
        replayed: false,
        cautions,
    }
}

/// Writes a UUID as `blkid` does.
fn uuid(bytes: &[u8; 16]) -> String {
    let digits = |range: Range<usize>| {
        bytes[range].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    [digits(0..4), digits(4..6), digits(6..8), digits(8..10), digits(10..16)].join("-")
}

impl Ext<'_> {
    /// Reads an inode, live or not.
    fn inode(&self, number: u64) -> Outcome<Inode> {
        let Some(offset) = self.groups.inode_offset(&self.sb, number) else {
            return Err(Problem::Damaged.text("there is no inode of that number"));
        };
        let bytes = self.slice.bytes(offset, self.sb.inode_len)?;
        let owner = Owner::File(FileId(number));
        Inode::parse(&bytes, number, &self.sb).map_err(|failure| failure.at(owner, offset))
    }

    /// Returns the bytes of `count` blocks.
    fn span(&self, block: u64, count: u64) -> Range<u64> {
        let len = self.sb.block_len;
        block.saturating_mul(len)..block.saturating_add(count).saturating_mul(len)
    }
}

impl FileSystem for Ext<'_> {
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
        ROOT
    }

    fn node(&self, id: FileId) -> Outcome<Node> {
        tree::live(self, id)?.node().map_err(|failure| failure.of(Owner::File(id)))
    }

    fn entries(&self, folder: FileId) -> Outcome<Vec<Entry>> {
        tree::entries(self, folder).map_err(|failure| failure.of(Owner::File(folder)))
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
