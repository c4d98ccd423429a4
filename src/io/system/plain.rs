//! The twin of [`linux`](super::linux) that asks for no more than POSIX: what has no such call is done the plain way, or
//! answered as a file system answers that cannot do it. What is weaker for it stands in `docs/compatibility.md`.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens a folder for names in it to be looked up.
pub(in crate::io) const LOOK_UP: OFlags = OFlags::RDONLY;

/// Opens a block device: nothing asks for sole use.
pub(in crate::io) const SOLE_USE: OFlags = OFlags::empty();

/// Bytes of zeros that are written at once.
const ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A name in an open folder.
pub(in crate::io) type Named<'a> = (&'a File, &'a CStr);

/// Has no such call.
pub(in crate::io) fn rename_new(_old: Named<'_>, _new: Named<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Has no such call.
pub(in crate::io) fn exchange(_one: Named<'_>, _other: Named<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Tells whether a way of renaming is not there.
pub(in crate::io) fn is_lack(error: Errno) -> bool {
    error == Errno::NOSYS
}

/// No file shares bytes of another.
pub(in crate::io) fn clone_file(_to: &File, _from: &File) -> io::Result<bool> {
    Ok(false)
}

/// Writes zeros: the space stays taken, and the range counts as written.
pub(in crate::io) fn punch_hole(file: &File, len: u64, offset: u64) -> io::Result<()> {
    let end = offset.strict_add(len);
    let mut at = offset;
    while at < end {
        let rest = usize::try_from(end.strict_sub(at)).unwrap_or(ZEROS.len());
        let zeros = &ZEROS[..rest.min(ZEROS.len())];
        file.write_all_at(zeros, at)?;
        at = at.strict_add(u64::try_from(zeros.len()).expect("a few of them"));
    }
    Ok(())
}

/// No device does it itself: the caller writes zeros.
pub(in crate::io) fn zero_range(_device: &File, _len: u64, _offset: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// All writes go through the page cache.
pub(in crate::io) fn open_direct(_file: &File) -> Option<File> {
    None
}

/// The system reads ahead as it thinks best.
pub(in crate::io) fn will_need(_file: &File, _range: Range<u64>) {}

/// A file has a name before it loses it.
pub(in crate::io) fn born_unnamed(_folder: &File) -> io::Result<Option<File>> {
    Ok(None)
}

/// Nothing says so: the room that a file system has is believed.
pub(in crate::io) fn may_compress(_file: &File) -> bool {
    false
}

/// Knows the folder by its name.
pub(in crate::io) fn lists_open_files(folder: &Path) -> io::Result<bool> {
    Ok(folder.canonicalize()?.starts_with("/proc"))
}

/// Has no name for them.
pub(in crate::io) fn access_lists(_file: &File) -> Vec<(&'static str, Vec<u8>)> {
    Vec::new()
}

/// Has no name for them.
pub(in crate::io) fn give_access_lists(_to: impl AsFd, _lists: &[(&'static str, Vec<u8>)]) {}

/// Has no such call.
pub(in crate::io) fn hide_memory() -> io::Result<()> {
    Ok(())
}

/// Nothing says so.
pub(in crate::io) fn ignored_signals() -> u64 {
    0
}

/// No file system says which ranges were never written.
pub(in crate::io) fn unwritten_ranges(_file: &File) -> io::Result<Vec<Range<u64>>> {
    Ok(Vec::new())
}

/// No file system says where bytes lie.
pub(in crate::io) fn shared_ranges(
    _file: &File,
    _most: usize,
) -> io::Result<Vec<(Range<u64>, u64)>> {
    Ok(Vec::new())
}

/// Nobody says who has a file open.
pub(in crate::io) fn writers_of(_files: &[(u64, u64)]) -> Option<(usize, Vec<String>)> {
    None
}

/// Without maps nothing is lost under one.
pub(in crate::io) fn catch_bus_errors() -> io::Result<()> {
    Ok(())
}

/// A map that nobody makes: files are read into memory.
#[derive(Debug)]
pub(in crate::io) enum Map {}

impl Map {
    /// Maps nothing.
    pub(in crate::io) fn new(_file: &File, _offset: u64, _len: usize) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Never.
    pub(in crate::io) fn is_lost(&self) -> bool {
        match *self {}
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match *self {}
    }
}
