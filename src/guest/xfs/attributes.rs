//! Extended attributes: in the inode, in leaves, and long values in blocks of their own.
//!
//! ```text
//! in the inode: 0 2 length, 2 1 how many; then { 1 name length, 1 value length, 1 flags, name, value }
//! every index block: 0 4 next, 8 2 magic; in version 5 { 12 4 crc, 16 8 place, 24 8 lsn, 32 16 uuid, 48 8 inode }
//! leaf (0xfbee, 0x3bee): 12 or 56 2 how many; from 32 or 80 on { 4 hash, 2 offset, 1 flags, 1 }
//!   at the offset: local { 2 value length, 1 name length, name, value }, else { 4 block, 4 value length,
//!   1 name length, name }
//! node (0xfebe, 0x3ebe): 12 or 56 2 how many, 2 level; from 16 or 64 on { 4 hash, 4 block }
//! block of a long value: version 5 only: 0 XARM, 4 4 offset, 8 4 length, 12 4 crc, 16 16 uuid, 32 8 inode, 40 8 place
//! an access control list: 4 how many, then { 4 tag, 4 id, 2 permissions, 2 }
//! ```

use std::ops::Range;

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Attribute;
use crate::guest::owner::FileId;
use crate::guest::xfs::inode::Fork;
use crate::guest::xfs::inode::Format;
use crate::guest::xfs::inode::Inode;
use crate::guest::xfs::layout::damaged;
use crate::guest::xfs::mapping;
use crate::guest::xfs::open::Stamp;
use crate::guest::xfs::open::Xfs;

const FLAG_LOCAL: u8 = 0x1;
const FLAG_ROOT: u8 = 0x2;
const FLAG_SECURE: u8 = 0x4;
const FLAG_PARENT: u8 = 0x8;
const FLAG_INCOMPLETE: u8 = 0x80;

/// Most bytes of a value: what the system call allows.
const MAX_VALUE_LEN: usize = 64 << 10;

/// Most leaves and nodes that are read: the names of 64 MiB.
const MAX_BLOCKS: usize = 1 << 14;

fn broken() -> Failure {
    damaged("its extended attributes are impossible")
}

/// Returns the attributes of a file, as the system call shows them.
pub(super) fn attributes(xfs: &Xfs<'_>, id: FileId) -> Outcome<Vec<Attribute>> {
    let inode = xfs.inode(id)?;
    let mut found = Vec::new();
    let fork = inode.fork(Fork::Attributes);
    match inode.format(Fork::Attributes).0 {
        _ if fork.is_empty() => {}
        Format::Local => in_inode(fork, &mut found)?,
        Format::Extents | Format::Tree => {
            let extents = mapping::extents(xfs, &inode, Fork::Attributes)?;
            if !extents.is_empty() {
                InBlocks { xfs, inode: &inode, extents }.read(&mut found)?;
            }
        }
        Format::Device => return Err(broken()),
    }
    Ok(found)
}

fn in_inode(fork: &[u8], found: &mut Vec<Attribute>) -> Outcome<()> {
    if fork.len() < 4 {
        return Err(broken());
    }
    let len = usize::from(field::u16_be(fork, 0)).min(fork.len());
    let count = fork[2];
    let mut rest = fork.get(4..len).ok_or_else(broken)?;
    for _ in 0..count {
        let [name_len, value_len, flags, ..] = *rest else { return Err(broken()) };
        let name_end = usize::from(name_len).strict_add(3);
        let end = name_end.strict_add(value_len.into());
        if rest.len() < end {
            return Err(broken());
        }
        take(&rest[3..name_end], rest[name_end..end].to_vec(), flags, found)?;
        rest = &rest[end..];
    }
    Ok(())
}

struct InBlocks<'a> {
    xfs: &'a Xfs<'a>,
    inode: &'a Inode,
    extents: Vec<(u64, Range<u64>)>,
}

impl InBlocks<'_> {
    /// Reads a block of the attribute fork, and returns where it is.
    fn block(&self, number: u64) -> Outcome<(u64, Vec<u8>)> {
        let next = self.extents.partition_point(|(first, _)| *first <= number);
        let extent = next.checked_sub(1).and_then(|at| self.extents.get(at));
        let block_len = self.xfs.sb.block_len;
        let place = extent.and_then(|(first, bytes)| {
            let skip = number.strict_sub(*first).checked_mul(block_len)?;
            let at = bytes.start.checked_add(skip)?;
            (at < bytes.end).then_some(at)
        });
        let Some(at) = place else { return Err(broken()) };
        Ok((at, self.xfs.slice.bytes(at, block_len)?))
    }

    /// Goes down to the first leaf, and from leaf to leaf.
    fn read(&self, found: &mut Vec<Attribute>) -> Outcome<()> {
        let v5 = self.xfs.sb.is_v5;
        let mut number = 0;
        let mut above: Option<u16> = None;
        for _ in 0..MAX_BLOCKS {
            let (offset, block) = self.block(number)?;
            let kind = field::u16_be(&block, 8);
            let [leaf, node] = if v5 { [0x3bee, 0x3ebe] } else { [0xfbee, 0xfebe] };
            if kind != leaf && kind != node {
                return Err(broken());
            }
            let owner = (48, 8, self.inode.number);
            self.xfs.check(&block, offset, Stamp { sum: 12, place: 16, uuid: 32, owner })?;
            let count_at = if v5 { 56 } else { 12 };
            let count = usize::from(field::u16_be(&block, count_at));
            if kind == node {
                let level = field::u16_be(&block, count_at.strict_add(2));
                if count == 0 || above.is_some_and(|above| level >= above) {
                    return Err(broken());
                }
                above = Some(level);
                number = field::u32_be(&block, if v5 { 68 } else { 20 }).into();
                continue;
            }
            above = Some(0);
            let entries = block.get(if v5 { 80 } else { 32 }..).unwrap_or_default();
            if count > entries.len() / 8 {
                return Err(broken());
            }
            for entry in entries.chunks_exact(8).take(count) {
                self.entry(&block, entry, found)?;
            }
            number = field::u32_be(&block, 0).into();
            if number == 0 {
                return Ok(());
            }
        }
        Err(Problem::Limit.text("the attributes of a file are over 64 MiB long"))
    }

    fn entry(&self, block: &[u8], entry: &[u8], found: &mut Vec<Attribute>) -> Outcome<()> {
        let flags = entry[6];
        let at = usize::from(field::u16_be(entry, 4));
        let rest = block.get(at..).ok_or_else(broken)?;
        let name_at: usize = if flags & FLAG_LOCAL != 0 { 3 } else { 9 };
        if rest.len() < name_at {
            return Err(broken());
        }
        let name_end = name_at.strict_add(rest[name_at.strict_sub(1)].into());
        let name = rest.get(name_at..name_end).ok_or_else(broken)?;
        if flags & (FLAG_INCOMPLETE | FLAG_PARENT) != 0 {
            return Ok(());
        }
        let value = if flags & FLAG_LOCAL != 0 {
            let end = name_end.strict_add(field::u16_be(rest, 0).into());
            rest.get(name_end..end).ok_or_else(broken)?.to_vec()
        } else {
            self.value(field::u32_be(rest, 0).into(), field::u32_be(rest, 4))?
        };
        take(name, value, flags, found)
    }

    /// Reads a value that has blocks of its own.
    fn value(&self, first: u64, len: u32) -> Outcome<Vec<u8>> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > MAX_VALUE_LEN {
            return Err(Problem::Limit.text("an extended attribute is over 64 KiB long"));
        }
        let mut value = Vec::new();
        let mut number = first;
        while value.len() < len {
            let (offset, block) = self.block(number)?;
            let mut here = &block[..];
            if self.xfs.sb.is_v5 {
                let owner = (32, 8, self.inode.number);
                let says = usize::try_from(field::u32_be(here, 4)).ok();
                if &here[..4] != b"XARM" || says != Some(value.len()) {
                    return Err(broken());
                }
                self.xfs.check(here, offset, Stamp { sum: 12, place: 40, uuid: 16, owner })?;
                here = &here[56..];
            }
            let take = len.strict_sub(value.len()).min(here.len());
            value.extend_from_slice(&here[..take]);
            number = number.strict_add(1);
        }
        Ok(value)
    }
}

/// Takes an attribute under the name that the system call has for it.
fn take(name: &[u8], value: Vec<u8>, flags: u8, found: &mut Vec<Attribute>) -> Outcome<()> {
    if flags & (FLAG_INCOMPLETE | FLAG_PARENT) != 0 {
        return Ok(());
    }
    let is_root = flags & FLAG_ROOT != 0;
    let shown = match name {
        b"SGI_ACL_FILE" if is_root => Some("system.posix_acl_access"),
        b"SGI_ACL_DEFAULT" if is_root => Some("system.posix_acl_default"),
        _ => None,
    };
    if let Some(shown) = shown {
        found.push(Attribute { name: shown.into(), value: acl(&value)? });
        return Ok(());
    }
    let prefix: &[u8] = match flags & (FLAG_ROOT | FLAG_SECURE) {
        FLAG_ROOT => b"trusted.",
        FLAG_SECURE => b"security.",
        _ => b"user.",
    };
    found.push(Attribute { name: [prefix, name].concat(), value });
    Ok(())
}

/// Turns an access control list as it is stored into the one that the system call shows.
fn acl(stored: &[u8]) -> Outcome<Vec<u8>> {
    let entries = stored.get(4..).ok_or_else(broken)?;
    let count = usize::try_from(field::u32_be(stored, 0)).unwrap_or(usize::MAX);
    if count > entries.len() / 12 {
        return Err(damaged("its access control list is impossible"));
    }
    let mut shown = 2_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(12).take(count) {
        let (tag, id) = (field::u32_be(entry, 0), field::u32_be(entry, 4));
        let Ok(short) = u16::try_from(tag) else {
            return Err(damaged("its access control list is impossible"));
        };
        // Only entries of named users and groups have an id.
        let id = if matches!(tag, 2 | 8) { id } else { u32::MAX };
        shown.extend_from_slice(&short.to_le_bytes());
        shown.extend_from_slice(&field::u16_be(entry, 8).to_le_bytes());
        shown.extend_from_slice(&id.to_le_bytes());
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_list_becomes_the_shown_one() {
        let stored = b"\0\0\0\x02\0\0\0\x01\0\0\0\0\0\x06\0\0\0\0\0\x02\0\0\x03\xe8\0\x07\0\0";
        let shown = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
            &[2, 0, 7, 0, 0xe8, 3, 0, 0],
        ];
        assert_eq!(acl(stored).unwrap(), shown.concat());
        assert!(acl(&stored[..27]).is_err());
        assert!(acl(&[0; 3]).is_err());
    }

    #[test]
    fn attributes_in_an_inode_stay_in_their_room() {
        let fork = b"\0\x10\x02\0\x01\x02\x02axy\x01\x01\0bz\0\0\0";
        let mut found = Vec::new();
        in_inode(fork, &mut found).unwrap();
        let names: Vec<_> = found.iter().map(|it| (&it.name[..], &it.value[..])).collect();
        assert_eq!(names, [(&b"trusted.a"[..], &b"xy"[..]), (b"user.b", b"z")]);
        for (at, value) in [(2, 3), (1, 14), (4, 40)] {
            let mut fork = *fork;
            fork[at] = value;
            assert!(in_inode(&fork, &mut Vec::new()).is_err(), "{at}");
        }
    }
}
