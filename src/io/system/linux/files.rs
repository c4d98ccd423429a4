//! Calls by which files are made, named and written.

use std::ffi::CStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::IoSliceMut;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::Advice;
use rustix::fs::FallocateFlags;
use rustix::fs::FsWord;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::PROC_SUPER_MAGIC;
use rustix::fs::RenameFlags;
use rustix::fs::XattrFlags;
use rustix::fs::fadvise;
use rustix::fs::fallocate;
use rustix::fs::fgetxattr;
use rustix::fs::fsetxattr;
use rustix::fs::fstatfs;
use rustix::fs::ioctl_ficlone;
use rustix::fs::openat;
use rustix::fs::renameat_with;
use rustix::fs::statfs;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;
use rustix::io::preadv2;
use rustix::process::DumpableBehavior;
use rustix::process::set_dumpable_behavior;

/// Opens a folder for names in it to be looked up, which needs no permission to list them.
pub(in crate::io) const LOOK_UP: OFlags = OFlags::PATH;

/// Opens a block device alone: `O_EXCL` without `O_CREAT` asks for that here.
pub(in crate::io) const SOLE_USE: OFlags = OFlags::EXCL;

/// Attributes that say who may use a file: the access control list, and the label that a security module
/// goes by.
const LISTS: [&str; 2] = ["system.posix_acl_access", "security.selinux"];

/// Longest attribute that is taken over, in bytes; the kernel's own limit.
const LONGEST_LIST: usize = 64 << 10;

/// File systems that may store bytes compressed, so that nobody knows what they take: btrfs, ZFS, bcachefs.
const COMPRESSING: [FsWord; 3] = [0x9123_683e, 0x2fc1_2fc1, 0xca45_1a4e];

/// A name in an open folder.
pub(in crate::io) type Named<'a> = (&'a File, &'a CStr);

/// Renames a file or folder, if nothing has the new name.
///
/// # Errors
///
/// `EXIST` if something has it; what [`is_lack`] knows where the file system cannot do this.
pub(in crate::io) fn rename_new(old: Named<'_>, new: Named<'_>) -> Result<(), Errno> {
    renameat_with(old.0, old.1, new.0, new.1, RenameFlags::NOREPLACE)
}

/// Lets two files or folders change names in one step.
///
/// # Errors
///
/// What [`is_lack`] knows where the file system cannot do this.
pub(in crate::io) fn exchange(one: Named<'_>, other: Named<'_>) -> Result<(), Errno> {
    renameat_with(one.0, one.1, other.0, other.1, RenameFlags::EXCHANGE)
}

/// Tells whether a file system, or what stands before it, lacks the ways of renaming above.
pub(in crate::io) fn is_lack(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
}

/// Lets a file share all bytes of another, where the file system can do that; `false` where it cannot, and then
/// nothing was done.
///
/// # Errors
///
/// Whatever the system refuses for another reason.
pub(in crate::io) fn clone_file(to: &File, from: &File) -> io::Result<bool> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(
            Errno::OPNOTSUPP
            | Errno::XDEV
            | Errno::INVAL
            | Errno::NOTTY
            | Errno::NOSYS
            | Errno::PERM,
        ) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Gives the space of a range of a file back: it reads as zeros, and counts as never written.
///
/// # Errors
///
/// Whatever the system refuses, as a file system without holes does.
pub(in crate::io) fn punch_hole(file: &File, len: u64, offset: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, offset, len).map_err(io::Error::from)
}

/// Lets a device itself make a range zeros.
///
/// # Errors
///
/// Where it cannot, or not at this alignment.
pub(in crate::io) fn zero_range(device: &File, len: u64, offset: u64) -> io::Result<()> {
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    fallocate(device, flags, offset, len).map_err(io::Error::from)
}

/// Opens a file once more, the very file, whatever its name means now, for writes that bypass the page cache. `None`
/// where that cannot be had.
pub(in crate::io) fn open_direct(file: &File) -> Option<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a small flag");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().write(true).custom_flags(direct).open(path).ok()
}

/// Has the disk fetch a range of a file, if it can: reading goes on meanwhile, and nothing fails.
///
/// The system looks for every page of the range before it fetches any, which costs a tenth of reading them where all
/// are in memory. So the first, the middle and the last are asked for first; what lies between them is as they are,
/// nearly always, and where it is not, reading fetches it.
pub(in crate::io) fn will_need(file: &File, range: Range<u64>) {
    let Some(len) = range.end.checked_sub(range.start).and_then(NonZero::new) else { return };
    let last = range.end.strict_sub(1);
    let at_hand = |at| {
        let byte = &mut [0];
        matches!(preadv2(file, &mut [IoSliceMut::new(byte)], at, ReadWriteFlags::NOWAIT), Ok(1))
    };
    if ![last, range.start.midpoint(last), range.start].into_iter().all(at_hand) {
        let _ = fadvise(file, range.start, Some(len), Advice::WillNeed);
    }
}

/// Makes a file in a folder that never has a name; `None` where the file system has no such files.
///
/// # Errors
///
/// Whatever the system refuses for another reason.
pub(in crate::io) fn born_unnamed(folder: &File) -> io::Result<Option<File>> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    match openat(folder, c".", flags, mode) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Tells whether the file system of a file may store bytes compressed.
pub(in crate::io) fn may_compress(file: &File) -> bool {
    fstatfs(file).is_ok_and(|it| COMPRESSING.contains(&it.f_type))
}

/// Tells whether links in a folder lead to what processes have open, which may have no name.
///
/// # Errors
///
/// Whatever the system refuses.
pub(in crate::io) fn lists_open_files(folder: &Path) -> io::Result<bool> {
    Ok(statfs(folder)?.f_type == PROC_SUPER_MAGIC)
}

/// Returns the lists that say who may use a file.
pub(in crate::io) fn access_lists(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let list = |name| {
        let mut value = vec![0; LONGEST_LIST];
        let len = fgetxattr(file, name, &mut value[..]).ok()?;
        value.truncate(len);
        Some((name, value))
    };
    LISTS.into_iter().filter_map(list).collect()
}

/// Gives a file such lists, as far as the system lets us.
pub(in crate::io) fn give_access_lists(to: impl AsFd, lists: &[(&'static str, Vec<u8>)]) {
    for (name, value) in lists {
        let _ = fsetxattr(&to, *name, value, XattrFlags::empty());
    }
}

/// Lets nobody but root look into this process: a limit of 0 does not bind a core handler behind a pipe.
///
/// # Errors
///
/// Whatever the system refuses.
pub(in crate::io) fn hide_memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)
}
