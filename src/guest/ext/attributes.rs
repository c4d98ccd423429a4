//! Extended attributes: in the inode, in a block of their own, in inodes of their own; and inline data.
//!
//! ```text
//! in the inode: 4 bytes magic 0xea020000, then entries; in a block: 32 bytes header { magic, refcount,
//!   blocks, hash, checksum }, then entries. Entries end with four zero bytes.
//! entry: e_name_len 1, e_name_index 1, e_value_offs 2, e_value_inum 4, e_value_size 4, e_hash 4, name
//! ```

use crate::digest::crc32c_register;
use crate::field;
use crate::guest::ext::inode::Inode;
use crate::guest::ext::mapping::Mapped;
use crate::guest::ext::mapping::Walk;
use crate::guest::ext::open::Ext;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::Attribute;
use crate::guest::owner::FileId;

const MAGIC: u32 = 0xea02_0000;

/// Most bytes of a value: what the system call allows.
const MAX_VALUE_LEN: u32 = 64 << 10;

const SYSTEM: u8 = 7;
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;

/// Name of the attribute that holds what does not fit into an inode, in the system's namespace.
const INLINE: &[u8] = b"data";

/// An entry, not yet looked up.
struct Raw<'a> {
    index: u8,
    name: &'a [u8],
    value_at: usize,
    value_inode: u64,
    value_len: u32,
}

fn broken() -> Failure {
    Problem::Damaged.text("its extended attributes are impossible")
}

/// Goes through the entries that start at `first`.
fn raw(bytes: &[u8], first: usize) -> Outcome<Vec<Raw<'_>>> {
    let mut found = Vec::new();
    let mut at = first;
    loop {
        let Some(rest) = bytes.get(at..) else { return Err(broken()) };
        if rest.len() < 4 || field::u32_le(rest, 0) == 0 {
            return Ok(found);
        }
        let name_end = usize::from(rest[0]).strict_add(16);
        if rest.len() < name_end {
            return Err(broken());
        }
        found.push(Raw {
            index: rest[1],
            name: &rest[16..name_end],
            value_at: usize::from(field::u16_le(rest, 2)),
            value_inode: field::u32_le(rest, 4).into(),
            value_len: field::u32_le(rest, 8),
        });
        at = at.strict_add(name_end.next_multiple_of(4));
    }
}

/// Returns the value of an entry; offsets count from the start of `room`.
fn value(ext: &Ext<'_>, raw: &Raw<'_>, room: &[u8]) -> Outcome<Vec<u8>> {
    if raw.value_len > MAX_VALUE_LEN {
        return Err(Problem::Limit.text("an extended attribute is over 64 KiB long"));
    }
    let len = usize::try_from(raw.value_len).expect("at most 64 KiB");
    if raw.value_inode == 0 {
        let end = raw.value_at.strict_add(len);
        return room.get(raw.value_at..end).map(<[u8]>::to_vec).ok_or_else(broken);
    }
    let inode = ext.live(FileId(raw.value_inode))?;
    if !inode.holds_attribute() || inode.size != u64::from(raw.value_len) {
        return Err(broken());
    }
    let mut value = vec![0; len];
    let block_len = ext.sb.block_len;
    Walk::new(&ext.slice, &ext.sb, &inode).run(&mut |mapped| {
        let Mapped::Data { logical, physical, count } = mapped else { return Ok(()) };
        let start = usize::try_from(logical.strict_mul(block_len)).unwrap_or(usize::MAX).min(len);
        let there = usize::try_from(count.strict_mul(block_len)).unwrap_or(usize::MAX);
        let end = start.saturating_add(there).min(len);
        ext.slice.read(physical.strict_mul(block_len), &mut value[start..end])
    })?;
    Ok(value)
}

/// Splits the room behind an inode's fields: the entries' bytes, if there are any.
fn in_inode(inode: &Inode) -> Option<&[u8]> {
    let room = inode.attribute_room();
    (room.len() >= 8 && field::u32_le(room, 0) == MAGIC).then(|| &room[4..])
}

/// Returns inline data: what stands in the inode's 60 bytes, and what follows in an attribute.
pub(super) fn inline_data(ext: &Ext<'_>, inode: &Inode) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let head = inode.block_field().to_vec();
    let Some(room) = in_inode(inode) else { return Ok((head, Vec::new())) };
    for entry in raw(room, 0)? {
        if entry.index == SYSTEM && entry.name == INLINE {
            return Ok((head, value(ext, &entry, room)?));
        }
    }
    Ok((head, Vec::new()))
}

/// Returns the attributes of a file, as the system call shows them.
pub(super) fn attributes(ext: &Ext<'_>, id: FileId) -> Outcome<Vec<Attribute>> {
    let inode = ext.live(id)?;
    let mut found = Vec::new();
    if let Some(room) = in_inode(&inode) {
        for entry in raw(room, 0)? {
            take(ext, &entry, room, &mut found)?;
        }
    }
    if inode.attribute_block != 0 {
        let offset = inode.attribute_block.saturating_mul(ext.sb.block_len);
        let block = ext.slice.bytes(offset, ext.sb.block_len)?;
        if field::u32_le(&block, 0) != MAGIC {
            return Err(broken());
        }
        check_sum(ext, inode.attribute_block, &block)?;
        for entry in raw(&block, 32)? {
            take(ext, &entry, &block, &mut found)?;
        }
    }
    Ok(found)
}

fn check_sum(ext: &Ext<'_>, number: u64, block: &[u8]) -> Outcome<()> {
    if !ext.sb.has_sums() {
        return Ok(());
    }
    let mut sum = crc32c_register(ext.sb.seed, &number.to_le_bytes());
    sum = crc32c_register(sum, &block[..16]);
    sum = crc32c_register(sum, &[0; 4]);
    sum = crc32c_register(sum, &block[20..]);
    if sum != field::u32_le(block, 16) {
        return Err(Problem::Damaged.text("the checksum of its extended attributes is wrong"));
    }
    Ok(())
}

fn take(ext: &Ext<'_>, entry: &Raw<'_>, room: &[u8], found: &mut Vec<Attribute>) -> Outcome<()> {
    let prefix: &[u8] = match entry.index {
        SYSTEM if entry.name == INLINE => return Ok(()),
        1 => b"user.",
        ACL_ACCESS => b"system.posix_acl_access",
        ACL_DEFAULT => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        SYSTEM => b"system.",
        8 => b"system.richacl",
        // Encryption contexts and the like have no name outside the kernel.
        _ => return Ok(()),
    };
    let mut bytes = value(ext, entry, room)?;
    if matches!(entry.index, ACL_ACCESS | ACL_DEFAULT) {
        bytes = acl(&bytes)?;
    }
    found.push(Attribute { name: [prefix, entry.name].concat(), value: bytes });
    Ok(())
}

/// Turns an access control list as it is stored into the one that the system call shows.
fn acl(stored: &[u8]) -> Outcome<Vec<u8>> {
    if stored.len() < 4 || field::u32_le(stored, 0) != 1 {
        return Err(Problem::Damaged.text("its access control list is impossible"));
    }
    let mut shown = 2_u32.to_le_bytes().to_vec();
    let mut rest = &stored[4..];
    while !rest.is_empty() {
        // Entries of named users and groups have an id.
        let has_id = rest.len() >= 4 && matches!(field::u16_le(rest, 0), 2 | 8);
        let len = if has_id { 8 } else { 4 };
        if rest.len() < len {
            return Err(Problem::Damaged.text("its access control list is impossible"));
        }
        let (entry, behind) = rest.split_at(len);
        shown.extend_from_slice(&entry[..4]);
        shown.extend_from_slice(if has_id { &entry[4..8] } else { &[0xff; 4] });
        rest = behind;
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_list_becomes_the_shown_one() {
        let stored =
            [&[1, 0, 0, 0][..], &[1, 0, 6, 0], &[2, 0, 7, 0, 0xe8, 3, 0, 0], &[32, 0, 4, 0]];
        let shown = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
            &[2, 0, 7, 0, 0xe8, 3, 0, 0],
            &[32, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        ];
        assert_eq!(acl(&stored.concat()).unwrap(), shown.concat());
        assert!(acl(&[1, 0, 0, 0, 2, 0, 7, 0]).is_err());
        assert!(acl(&[2, 0, 0, 0]).is_err());
    }

    #[test]
    fn entries_that_leave_their_room_are_refused() {
        let mut bytes = vec![0; 64];
        bytes[0] = 4;
        bytes[1] = 1;
        assert_eq!(raw(&bytes, 0).unwrap().len(), 1);
        bytes[0] = 60;
        assert!(raw(&bytes, 0).is_err());
    }
}
