//! What else has UUIDs and salts: swap space, LVM2, LUKS, dm-verity.

use crate::explain::Marks;
use crate::explain::fields::Field;
use crate::explain::fields::Says::Cause;
use crate::explain::fields::Says::Sum;
use crate::explain::fields::compare;

/// Compares the first page of swap space.
#[must_use]
pub fn swap(offset: u64, old: &[u8], new: &[u8]) -> Marks {
    let fields: &[_] = if offset == 0 { &[(1036, 16, Cause("swap-uuid"))] } else { &[] };
    compare(old, new, fields)
}

/// Compares labels and metadata of a physical volume of LVM2: lines of its text that name an id or a time, and
/// the label's own UUID.
#[must_use]
pub fn lvm(old: &[u8], new: &[u8]) -> Marks {
    let is_drawn = |line: &[u8]| {
        let line = line.trim_ascii();
        [&b"id = "[..], b"creation_time", b"creation_host", b"seqno", b"contents", b"description"]
            .iter()
            .any(|it| line.starts_with(it))
    };
    let rest = |bytes: &[u8]| -> Vec<Vec<u8>> {
        // Binary lines are labels and headers, which repeat the UUID and sum it up.
        let is_text =
            |line: &&[u8]| line.iter().all(|it| it.is_ascii_graphic() || it.is_ascii_whitespace());
        let lines = bytes.split(|byte| *byte == b'\n').filter(is_text);
        lines.filter(|line| !is_drawn(line)).map(<[u8]>::to_vec).collect()
    };
    if rest(old) == rest(new) { Marks::of("lvm-uuid") } else { Marks::of_real() }
}

/// Compares what LUKS encrypts: without the key nothing can be compared, so all of it has one cause.
#[must_use]
pub fn luks() -> Marks {
    Marks::of("luks-uuid")
}

/// Compares hashes of dm-verity, which begin with a superblock: `same_data` says that what they sum up is the
/// same.
#[must_use]
pub fn verity(same_data: bool) -> Marks {
    if same_data { Marks::of("verity-salt") } else { Marks::of_real() }
}

/// What every node of Btrfs begins with: checksum, UUID, place, flags, UUID of the tree of chunks, generation.
const BTRFS_NODE: &[Field] =
    &[(0, 32, Sum), (32, 16, Cause("btrfs-uuid")), (64, 16, Cause("btrfs-uuid"))];

/// A superblock: the same, and the device's own UUIDs.
const BTRFS_SUPERBLOCK: &[Field] = &[
    (0, 32, Sum),
    (32, 16, Cause("btrfs-uuid")),
    // dev_item: the device's UUID and the file system's
    (0x10b, 32, Cause("btrfs-uuid")),
    // metadata_uuid
    (0x23b, 16, Cause("btrfs-uuid")),
];

/// Compares a page of Btrfs, which is not looked into: superblocks and the heads of nodes are known by their
/// places and their shape.
#[must_use]
pub fn btrfs(offset: u64, old: &[u8], new: &[u8]) -> Marks {
    let is_superblock = new.get(64..72).is_some_and(|it| it == b"_BHRfS_M");
    // A node says where it lies, and what is in use lies where it lay.
    let is_node =
        new.len() >= 101 && old.get(48..64) == new.get(48..64) && offset.is_multiple_of(4096);
    let mut marks = match (is_superblock, is_node) {
        (true, _) => compare(old, new, BTRFS_SUPERBLOCK),
        (_, true) => compare(old, new, BTRFS_NODE),
        _ => Marks::of_real(),
    };
    marks.sum &= marks.causes.is_empty();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_a_cause_and_a_label_is_not() {
        let change = |at: usize| {
            let (old, mut new) = (vec![0; 4096], vec![0; 4096]);
            new[at] = 1;
            swap(0, &old, &new)
        };
        assert_eq!(change(1036), Marks::of("swap-uuid"));
        assert!(change(1052).real && change(1028).real);
        let text = |id: &str, name: &str| format!("vg {{\nid = \"{id}\"\nname = {name}\n}}\n");
        let one = text("a", "x");
        assert_eq!(lvm(one.as_bytes(), text("b", "x").as_bytes()), Marks::of("lvm-uuid"));
        assert!(lvm(one.as_bytes(), text("a", "y").as_bytes()).real);
    }
}
