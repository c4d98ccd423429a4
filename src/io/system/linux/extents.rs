//! Where the bytes of a file lie, as `FIEMAP` has it.

use std::fs::File;
use std::io;
use std::ops::Range;

use fiemap::Fiemap;
use fiemap::FiemapExtent;
use fiemap::FiemapExtentFlags;
use fiemap::FiemapFlags;

/// `f_type` of the file systems that share extents and have one space of addresses, from `linux/magic.h`: XFS and
/// btrfs. bcachefs, for one, gives addresses of devices and does not say of which.
const ONE_SPACE: [u64; 2] = [0x5846_5342, 0x9123_683e];

/// Extents whose address does not say where bytes stand as they are read.
const NOT_AS_READ: FiemapExtentFlags = FiemapExtentFlags::UNKNOWN
    .union(FiemapExtentFlags::DELALLOC)
    .union(FiemapExtentFlags::ENCODED)
    .union(FiemapExtentFlags::DATA_ENCRYPTED)
    .union(FiemapExtentFlags::NOT_ALIGNED)
    .union(FiemapExtentFlags::DATA_INLINE)
    .union(FiemapExtentFlags::DATA_TAIL)
    .union(FiemapExtentFlags::UNWRITTEN);

/// Returns the ranges of a file that are allocated and were never written, ascending; none where the file system
/// does not tell.
///
/// # Errors
///
/// Whatever the system refuses.
pub(in crate::io) fn unwritten_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
    let found = unwritten(file, FiemapFlags::empty())?;
    // Bytes that wait in the page cache for such a range are seen as written once they are.
    if found.is_empty() { Ok(found) } else { unwritten(file, FiemapFlags::SYNC) }
}

fn unwritten(file: &File, flags: FiemapFlags) -> io::Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let told = each_extent(file, flags, |extent| {
        if !extent.fe_flags.contains(FiemapExtentFlags::UNWRITTEN) {
            return true;
        }
        let start = extent.fe_logical;
        let end = start.saturating_add(extent.fe_length);
        match ranges.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => ranges.push(start..end),
        }
        true
    })?;
    Ok(if told { ranges } else { Vec::new() })
}

/// Returns the ranges of a file whose bytes other files may have too, because they lie at the same place, as the file
/// system lists them, each with the address of its first byte; none where the file system has none, does not tell, or
/// lists over `most`.
///
/// # Errors
///
/// Whatever the system refuses.
pub(in crate::io) fn shared_ranges(file: &File, most: usize) -> io::Result<Vec<(Range<u64>, u64)>> {
    let kind = rustix::fs::fstatfs(file)?.f_type;
    if !u64::try_from(kind).is_ok_and(|kind| ONE_SPACE.contains(&kind)) {
        return Ok(Vec::new());
    }
    let mut ranges = Vec::new();
    // What waits in the page cache gets its place first; written to later, the file is not what it was.
    let told = each_extent(file, FiemapFlags::SYNC, |extent| {
        let flags = extent.fe_flags;
        if flags.contains(FiemapExtentFlags::SHARED) && !flags.intersects(NOT_AS_READ) {
            let range = extent.fe_logical..extent.fe_logical.saturating_add(extent.fe_length);
            ranges.push((range, extent.fe_physical));
        }
        ranges.len() <= most
    })?;
    Ok(if told { ranges } else { Vec::new() })
}

/// Calls `take` with each extent until it returns `false`. Returns `false` then, and where the file system does not
/// tell.
fn each_extent(
    file: &File,
    flags: FiemapFlags,
    mut take: impl FnMut(&FiemapExtent) -> bool,
) -> io::Result<bool> {
    for extent in Fiemap::with_flags(file, flags) {
        match extent {
            Ok(extent) if take(&extent) => {}
            Ok(_) => return Ok(false),
            Err(e) if is_unsupported(&e) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

fn is_unsupported(error: &io::Error) -> bool {
    // ENOTTY and EBADR come from file systems that have no such call, or not with these flags.
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EBADR | libc::EINVAL | libc::ENOSYS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_many_devices_is_not_asked() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let kind = u64::try_from(rustix::fs::fstatfs(&file).unwrap().f_type).unwrap();
        if !ONE_SPACE.contains(&kind) {
            assert_eq!(shared_ranges(&file, 1 << 20).unwrap(), []);
        }
    }
}
