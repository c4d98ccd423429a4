//! Trees of an allocation group, which know blocks by their numbers in the group.
//!
//! ```text
//! block: 0 magic, 4 2 level, 6 2 records, 8 4 left, 12 4 right; in version 5 { 16 8 place, 24 8 lsn,
//!   32 16 uuid, 48 4 group, 52 4 crc }; then records, or keys and, behind room for all keys, pointers
//! ```

use std::collections::BTreeSet;

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::open::Stamp;
use crate::guest::xfs::open::Xfs;

/// Most levels of a tree, more than any of the largest groups needs.
const MAX_LEVELS: u32 = 12;

/// A kind of tree.
#[derive(Debug)]
pub(super) struct Kind {
    /// In version 4, and in version 5.
    magics: [&'static [u8; 4]; 2],
    key_len: usize,
    record_len: usize,
}

/// Free space by block: first block, how many.
pub(super) const BY_BLOCK: Kind = Kind { magics: [b"ABTB", b"AB3B"], key_len: 8, record_len: 8 };
/// Free space by length.
pub(super) const BY_COUNT: Kind = Kind { magics: [b"ABTC", b"AB3C"], key_len: 8, record_len: 8 };
/// Inodes: first inode, holes and counts, which are free.
pub(super) const INODES: Kind = Kind { magics: [b"IABT", b"IAB3"], key_len: 4, record_len: 16 };
/// Those of the above that have free inodes.
pub(super) const FREE_INODES: Kind =
    Kind { magics: [b"FIBT", b"FIB3"], key_len: 4, record_len: 16 };
/// Reverse map: keys are a lowest and a highest one.
pub(super) const REVERSE_MAP: Kind =
    Kind { magics: [b"RMB3", b"RMB3"], key_len: 40, record_len: 24 };
/// Shared blocks: first block, how many, how often.
pub(super) const REFCOUNTS: Kind = Kind { magics: [b"R3FC", b"R3FC"], key_len: 4, record_len: 12 };

/// What a walk does with a record of a leaf.
pub(super) type OnRecord<'a> = &'a mut dyn FnMut(&[u8]) -> Outcome<()>;

/// A walk over a tree.
struct Walk<'a> {
    xfs: &'a Xfs<'a>,
    group: u64,
    kind: &'a Kind,
    on_block: &'a mut dyn FnMut(u64) -> Outcome<()>,
    seen: BTreeSet<u64>,
}

/// Goes through the blocks of a tree, by `root` and its levels, and through the records of its leaves,
/// ascending. Without `on_record`, leaves are not read.
pub(super) fn walk(
    xfs: &Xfs<'_>,
    group: u64,
    kind: &Kind,
    (root, levels): (u32, u32),
    on_block: &mut dyn FnMut(u64) -> Outcome<()>,
    mut on_record: Option<OnRecord<'_>>,
) -> Outcome<()> {
    let Some(level) = levels.checked_sub(1).filter(|_| levels <= MAX_LEVELS) else {
        return Err(damaged("the levels of a tree are impossible"));
    };
    let mut walk = Walk { xfs, group, kind, on_block, seen: BTreeSet::new() };
    walk.block(root.into(), level, &mut on_record)
}

impl Walk<'_> {
    fn block(
        &mut self,
        number: u64,
        level: u32,
        on_record: &mut Option<OnRecord<'_>>,
    ) -> Outcome<()> {
        if !self.seen.insert(number) {
            return Err(damaged("a tree of a group is a circle"));
        }
        (self.on_block)(number)?;
        if level == 0 && on_record.is_none() {
            return Ok(());
        }
        let sb = &self.xfs.sb;
        let (offset, bytes) = self.xfs.blocks(sb.group_span(self.group, number, 1))?;
        let magic = self.kind.magics[usize::from(sb.is_v5)];
        if &bytes[..4] != magic || u32::from(field::u16_be(&bytes, 4)) != level {
            return Err(damaged("a block of a group's tree is impossible"));
        }
        let stamp = Stamp { sum: 52, place: 16, uuid: 32, owner: (48, 4, self.group) };
        self.xfs.check(&bytes, offset, stamp)?;
        let room = &bytes[if sb.is_v5 { 56 } else { 16 }..];
        let count = usize::from(field::u16_be(&bytes, 6));
        let Kind { key_len, record_len, .. } = *self.kind;
        if level == 0 {
            if count > room.len().strict_div(record_len) {
                return Err(damaged("a leaf of a group's tree has too many records"));
            }
            let Some(on_record) = on_record else { return Ok(()) };
            return room.chunks_exact(record_len).take(count).try_for_each(on_record);
        }
        let most = room.len().strict_div(key_len.strict_add(4));
        if count > most || count == 0 {
            return Err(damaged("a node of a group's tree has too many records"));
        }
        let pointers = &room[most.strict_mul(key_len)..];
        for pointer in pointers.chunks_exact(4).take(count) {
            self.block(field::u32_be(pointer, 0).into(), level.strict_sub(1), on_record)?;
        }
        Ok(())
    }
}
