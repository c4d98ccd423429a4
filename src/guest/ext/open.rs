//! Opening: superblock, descriptors, and a journal that is replayed.

use std::ops::Range;

use crate::guest::ext::groups::Groups;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::journal;
use crate::guest::ext::layout::INCOMPAT_RECOVER;
use crate::guest::ext::layout::RO_ORPHAN_PRESENT;
use crate::guest::ext::layout::SUPERBLOCK_LEN;
use crate::guest::ext::layout::SUPERBLOCK_OFFSET;
use crate::guest::ext::layout::Superblock;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::About;
use crate::guest::file::Caution;
use crate::guest::layout::guid_bytes;
use crate::guest::owner::FileId;
use crate::guest::owner::Owner;
use crate::guest::slice::Slice;

/// `s_state`: unmounted cleanly, and has errors.
const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;

/// An open file system.
#[derive(Debug)]
pub(in crate::guest) struct Ext<'a> {
    pub(super) slice: Slice<'a>,
    pub(super) sb: Superblock,
    pub(super) groups: Groups,
    pub(super) about: About,
}

/// Tells whether a slice holds one.
pub(in crate::guest) fn is_one(slice: &Slice<'_>) -> Outcome<bool> {
    let there = SUPERBLOCK_OFFSET.strict_add(SUPERBLOCK_LEN.try_into().expect("1 KiB"));
    if slice.len() < there {
        return Ok(false);
    }
    Ok(Superblock::is_one(&slice.bytes(SUPERBLOCK_OFFSET, 1024)?))
}

/// Opens it. A journal that needs to be replayed is, in memory.
pub(super) fn open(mut slice: Slice<'_>) -> Outcome<Ext<'_>> {
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
    Ok(Ext { slice, sb, groups, about })
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
        uuid: Some(guid_bytes(&sb.uuid)),
        // The superblock was checked against the slice.
        size: sb.blocks.strict_mul(sb.block_len),
        block_len: sb.block_len,
        free_bytes: sb.free_clusters.saturating_mul(sb.cluster_blocks).saturating_mul(sb.block_len),
        grain: sb.cluster_blocks.strict_mul(sb.block_len),
        replayed: false,
        cautions,
    }
}

impl Ext<'_> {
    /// Reads an inode, live or not.
    pub(super) fn inode(&self, number: u64) -> Outcome<Inode> {
        let owner = Owner::File(FileId(number));
        let Some(offset) = self.groups.inode_offset(&self.sb, number) else {
            return Err(Problem::Damaged.text("no inode has this number").of(owner));
        };
        let bytes = self.slice.bytes(offset, self.sb.inode_len)?;
        Inode::parse(&bytes, number, &self.sb).map_err(|failure| failure.at(owner, offset))
    }

    /// Reads an inode that is in use.
    pub(super) fn live(&self, id: FileId) -> Outcome<Inode> {
        let inode = self.inode(id.0)?;
        if inode.links == 0 {
            let text = "it is named, and its inode is not in use";
            return Err(Problem::Damaged.text(text).of(Owner::File(id)));
        }
        Ok(inode)
    }

    /// Returns the bytes of `count` blocks.
    pub(super) fn span(&self, block: u64, count: u64) -> Range<u64> {
        let len = self.sb.block_len;
        block.saturating_mul(len)..block.saturating_add(count).saturating_mul(len)
    }
}
