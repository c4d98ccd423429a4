//! The table of group descriptors.

use crate::guest::ext::layout::Group;
use crate::guest::ext::layout::Superblock;
use crate::guest::failure::Outcome;
use crate::guest::slice::Slice;

/// The descriptors of all groups: 64 bytes of memory each, at most one a 8 blocks.
#[derive(Debug)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// Reads them, wherever the superblock says that they are.
    pub(super) fn read(slice: &Slice<'_>, sb: &Superblock) -> Outcome<Self> {
        let mut groups = Vec::new();
        for index in 0..sb.desc_blocks() {
            let block = sb.desc_block(index);
            let bytes = slice.bytes(block.saturating_mul(sb.block_len), sb.block_len)?;
            let len = usize::try_from(sb.desc_len).expect("at most 1 KiB");
            for (place, desc) in (0_u64..).zip(bytes.chunks_exact(len)) {
                let number = index.strict_mul(sb.descs_per_block()).strict_add(place);
                if number >= sb.groups {
                    break;
                }
                groups.push(Group::parse(desc, number, sb)?);
            }
        }
        Ok(Self(groups))
    }

    /// Iterates over the groups, by their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Group)> + '_ {
        (0..).zip(&self.0)
    }

    /// Returns where an inode is; `None` if there is none of that number.
    pub(super) fn inode_offset(&self, sb: &Superblock, number: u64) -> Option<u64> {
        let index = number.checked_sub(1).filter(|_| number <= sb.inodes)?;
        let group = usize::try_from(index.strict_div(sb.inodes_per_group)).ok()?;
        let place = index.strict_rem(sb.inodes_per_group);
        let table = self.0.get(group)?.inode_table.checked_mul(sb.block_len)?;
        table.checked_add(place.checked_mul(sb.inode_len)?)
    }
}
