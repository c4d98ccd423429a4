//! Fields of XFS that do not say anything of files: UUIDs, places in the log, checksums. Blocks are known by
//! their magic numbers (version 5, `fs/xfs/libxfs/xfs_format.h` and `xfs_da_format.h`).

use crate::explain::Marks;
use crate::explain::fields::Field;
use crate::explain::fields::Says::Cause;
use crate::explain::fields::Says::Layout;
use crate::explain::fields::Says::Sum;
use crate::explain::fields::compare;

const UUID: &str = "xfs-uuid";
const LSN: &str = "xfs-lsn";

/// The superblock.
const SUPERBLOCK: &[Field] = &[
    (32, 16, Cause(UUID)),
    // sb_icount, sb_ifree, sb_fdblocks
    (128, 24, Layout),
    (224, 4, Sum),
    (240, 8, Cause(LSN)),
    // sb_meta_uuid
    (248, 16, Cause(UUID)),
];

const AGF: &[Field] = &[
    (16, 48, Layout),
    (64, 16, Cause(UUID)),
    (80, 128, Layout),
    (208, 8, Cause(LSN)),
    (216, 4, Sum),
];

const AGI: &[Field] = &[
    (16, 280, Layout),
    (296, 16, Cause(UUID)),
    (312, 4, Sum),
    (320, 8, Cause(LSN)),
    (328, 24, Layout),
];

const AGFL: &[Field] =
    &[(8, 16, Cause(UUID)), (24, 8, Cause(LSN)), (32, 4, Sum), (36, 65_500, Layout)];

/// Trees inside an allocation group: free space, inodes, owners, references.
const SHORT_TREE: &[Field] = &[
    (4, 12, Layout),
    (16, 8, Layout),
    (24, 8, Cause(LSN)),
    (32, 16, Cause(UUID)),
    (48, 4, Layout),
    (52, 4, Sum),
    (56, 65_480, Layout),
];

/// Maps of files.
const LONG_TREE: &[Field] = &[
    (4, 20, Layout),
    (24, 8, Layout),
    (32, 8, Cause(LSN)),
    (40, 16, Cause(UUID)),
    (56, 8, Layout),
    (64, 4, Sum),
    (72, 65_464, Layout),
];

/// Blocks of directories that hold names, or free space.
const DIRECTORY: &[Field] =
    &[(4, 4, Sum), (8, 8, Layout), (16, 8, Cause(LSN)), (24, 16, Cause(UUID)), (40, 8, Layout)];

/// Leaves and nodes of directories and attributes.
const NODE: &[Field] = &[
    (0, 8, Layout),
    (12, 4, Sum),
    (16, 8, Layout),
    (24, 8, Cause(LSN)),
    (32, 16, Cause(UUID)),
    (48, 8, Layout),
];

/// The head of a record of the log: checksum and `h_fs_uuid`.
const RECORD: &[Field] = &[(32, 4, Sum), (304, 16, Cause(UUID))];

/// Blocks of long links and of long attributes.
const REMOTE: &[Field] =
    &[(12, 4, Sum), (16, 16, Cause(UUID)), (32, 16, Layout), (48, 8, Cause(LSN))];

/// What of an inode is not the file's own. Times are looked at apart.
const INODE: &[Field] = &[
    // di_nblocks, di_nextents
    (64, 8, Layout),
    (76, 6, Layout),
    // di_gen
    (92, 4, Cause("xfs-generation")),
    (96, 4, Layout),
    (100, 4, Sum),
    // di_changecount
    (104, 8, Cause("xfs-generation")),
    (112, 8, Cause(LSN)),
    (160, 16, Cause(UUID)),
];

/// Times beside that of the content: read, changed, created.
const OTHER_TIMES: [(usize, usize); 3] = [(32, 8), (48, 8), (144, 8)];

const MTIME: (usize, usize) = (40, 8);

/// Compares blocks of metadata that begin where `old` and `new` do, by the magic number of the new one.
#[must_use]
pub fn block(old: &[u8], new: &[u8]) -> Marks {
    let magic = new.get(..4).unwrap_or_default();
    let fields = match magic {
        b"XFSB" => SUPERBLOCK,
        b"XAGF" => AGF,
        b"XAGI" => AGI,
        b"XAFL" => AGFL,
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => SHORT_TREE,
        b"BMA3" => LONG_TREE,
        b"XDB3" | b"XDD3" | b"XDF3" => DIRECTORY,
        b"XSLM" | b"XARM" => REMOTE,
        _ => match new.get(8..10) {
            Some(&([0x3d, 0xf1 | 0xff] | [0x3e, 0xbe] | [0x3b, 0xee])) => NODE,
            _ => &[],
        },
    };
    compare(old, new, fields)
}

/// Compares sectors of the log: the head of a record has the UUID.
#[must_use]
pub fn log(old: &[u8], new: &[u8]) -> Marks {
    let mut marks = Marks::default();
    for (one, other) in old.chunks(512).zip(new.chunks(512)) {
        let is_head = other.starts_with(&[0xfe, 0xed, 0xba, 0xbe]);
        let own = compare(one, other, if is_head { RECORD } else { &[] });
        marks.join(if own.real { Marks::of("xfs-log") } else { own });
    }
    marks
}

/// Compares inodes of one file. `is_own` says that it is the file system's, or the root.
#[must_use]
pub fn inode(old: &[u8], new: &[u8], is_own: bool, same_content: bool) -> Marks {
    let differs = |(at, len): (usize, usize)| {
        let end = at.strict_add(len);
        old.get(at..end) != new.get(at..end)
    };
    let touched = differs(MTIME) && !is_own;
    let cause = if touched { "file-times" } else { "xfs-times" };
    let mut fields = INODE.to_vec();
    fields.extend(OTHER_TIMES.iter().chain([&MTIME]).map(|(at, len)| (*at, *len, Cause(cause))));
    if same_content {
        // Where the content lies, and names that lead elsewhere.
        fields.push((176, old.len().saturating_sub(176), Layout));
    }
    compare(old, new, &fields)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// The UUID and the place in the log are found in every kind of block, and the rest is not called that.
    #[test]
    fn every_kind_of_block_has_its_uuid_and_place_in_the_log() {
        let kinds: [(&[u8], usize, usize); 8] = [
            (b"XFSB", 32, 240),
            (b"XAGF", 64, 208),
            (b"XAGI", 296, 320),
            (b"XAFL", 8, 24),
            (b"IAB3", 32, 24),
            (b"BMA3", 40, 32),
            (b"XDB3", 24, 16),
            (b"XSLM", 16, 48),
        ];
        for (magic, uuid, lsn) in kinds {
            let change = |at: usize| {
                let mut old = vec![0; 512];
                old[..4].copy_from_slice(magic);
                let mut new = old.clone();
                new[at] = 1;
                block(&old, &new)
            };
            assert_eq!((change(uuid), change(lsn)), (Marks::of(UUID), Marks::of(LSN)), "{magic:?}");
        }
        let (mut old, mut new) = (vec![0; 512], vec![0; 512]);
        (old[8], old[9], new[8], new[9]) = (0x3d, 0xf1, 0x3d, 0xf1);
        new[40] = 1;
        assert_eq!(block(&old, &new), Marks::of(UUID));
        assert!(block(&[0; 512], &[1; 512]).real);
    }

    #[test]
    fn fields_of_inodes_name_their_causes() {
        let change = |at: usize| {
            let (old, mut new) = (vec![0; 512], vec![0; 512]);
            new[at] = 1;
            inode(&old, &new, false, false)
        };
        assert_eq!(change(92), Marks::of("xfs-generation"));
        assert_eq!(change(144), Marks::of("xfs-times"));
        assert_eq!(change(40), Marks::of("file-times"));
        assert!(change(2).real && change(56).real && change(200).real);
    }
}
