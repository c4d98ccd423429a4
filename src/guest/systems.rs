//! The table of file systems, and what is recognised by its name alone.

use crate::guest::btrfs;
use crate::guest::ext;
use crate::guest::failure::Failure;
use crate::guest::failure::FileSystemFault;
use crate::guest::failure::Outcome;
use crate::guest::fat;
use crate::guest::file::FileSystem;
use crate::guest::ntfs;
use crate::guest::slice::Slice;
use crate::guest::swap;
use crate::guest::swap::Swap;
use crate::guest::xfs;

/// A file system that can be read: how it is recognised, and how it is opened.
struct Row {
    name: &'static str,
    is_one: fn(&Slice<'_>) -> Outcome<bool>,
    open: for<'a> fn(Slice<'a>) -> Outcome<Box<dyn FileSystem + 'a>>,
}

/// The file systems that can be read. What walks this table needs no change for a new row.
const FILE_SYSTEMS: &[Row] = &[
    Row { name: "ext", is_one: ext::is_one, open: ext::open },
    Row { name: "vfat", is_one: fat::is_one, open: fat::open },
    Row { name: "ntfs", is_one: ntfs::is_one, open: ntfs::open },
    Row { name: "btrfs", is_one: btrfs::is_one, open: btrfs::open },
    Row { name: "xfs", is_one: xfs::is_one, open: xfs::open },
];

/// What is recognised and not read: name, offset, bytes. The first one that matches counts.
const NAMED: &[(&str, u64, &[u8])] = &[
    ("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    ("DM_verity_hash", 0, b"verity\0\0"),
    ("LVM2_member", 512, b"LABELONE"),
    ("LVM2_member", 0, b"LABELONE"),
    ("LVM2_member", 1024, b"LABELONE"),
    ("LVM2_member", 1536, b"LABELONE"),
    ("linux_raid_member", 0, b"\xfc\x4e\x2b\xa9"),
    ("linux_raid_member", 4096, b"\xfc\x4e\x2b\xa9"),
    ("bcache", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    ("bcachefs", 4120, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    ("BitLocker", 3, b"-FVE-FS-"),
    ("ceph_bluestore", 0, b"bluestore block device"),
    ("exfat", 3, b"EXFAT   "),
    ("ReFS", 3, b"ReFS\0\0\0\0"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("iso9660", 32_769, b"CD001"),
    ("reiserfs", 65_588, b"ReIsEr"),
    ("jfs", 32_768, b"JFS1"),
];

/// Where the uberblocks of ZFS may begin, in steps of 1 KiB, in either byte order.
const ZFS_UBERBLOCKS: std::ops::Range<u64> = 128..256;
const ZFS_MAGICS: [[u8; 8]; 2] = [*b"\x0c\xb1\xba\0\0\0\0\0", *b"\0\0\0\0\0\xba\xb1\x0c"];

/// What a partition, or a whole volume, holds.
#[derive(Debug)]
pub enum Found<'a> {
    /// A file system that can be read.
    System(Box<dyn FileSystem + 'a>),
    /// Swap space.
    Swap(Swap),
    /// Something that is known by name and not read.
    Named(&'static str),
    /// A file system that is damaged, or that has features that are not known.
    Broken {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        fault: FileSystemFault,
    },
    /// Nothing that is known.
    Nothing,
}

impl Found<'_> {
    /// Returns the name of what is there.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::System(system) => Some(system.about().name),
            Self::Swap(_) => Some("swap"),
            Self::Named(name) | Self::Broken { name, .. } => Some(name),
            Self::Nothing => None,
        }
    }
}

/// Finds out what a slice holds. `again` makes the same slice once more.
///
/// # Errors
///
/// An error if the volume cannot be read; damage is part of what is found.
pub(super) fn find<'a>(again: &dyn Fn() -> Slice<'a>) -> crate::error::Result<Found<'a>> {
    let slice = again();
    for row in FILE_SYSTEMS {
        match (row.is_one)(&slice) {
            Ok(true) => {}
            Ok(false) | Err(Failure::Fault(_)) => continue,
            Err(Failure::Error(error)) => return Err(error),
        }
        return match (row.open)(slice) {
            Ok(system) => Ok(Found::System(system)),
            Err(Failure::Fault(fault)) => Ok(Found::Broken { name: row.name, fault }),
            Err(Failure::Error(error)) => Err(error),
        };
    }
    match swap::find(&slice)? {
        Some(swap) => Ok(Found::Swap(swap)),
        None => named(&slice).map_err(Into::into),
    }
}

fn named<'a>(slice: &Slice<'_>) -> Outcome<Found<'a>> {
    let starts = |offset, magic: &[u8]| -> Outcome<bool> {
        let len = u64::try_from(magic.len()).expect("a few bytes");
        let there = offset < slice.len() && len <= slice.len().saturating_sub(offset);
        Ok(there && slice.bytes(offset, len)? == magic)
    };
    for (name, offset, magic) in NAMED {
        if starts(*offset, magic)? {
            return Ok(Found::Named(name));
        }
    }
    // RAID metadata of versions 0.90 and 1.0 stands at the end.
    let old = (slice.len() & !0xffff).saturating_sub(64 << 10);
    let new = slice.len().saturating_sub(8 << 10) & !0xfff;
    if slice.len() > 128 << 10
        && (starts(old, b"\xfc\x4e\x2b\xa9")? || starts(new, b"\xfc\x4e\x2b\xa9")?)
    {
        return Ok(Found::Named("linux_raid_member"));
    }
    for number in ZFS_UBERBLOCKS {
        for magic in &ZFS_MAGICS {
            if starts(number.strict_mul(1024), magic)? {
                return Ok(Found::Named("zfs_member"));
            }
        }
    }
    Ok(Found::Nothing)
}
