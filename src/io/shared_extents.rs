//! Ranges of a file whose bytes other files have too, because they lie at the same place.
//!
//! A copy by `cp --reflink`, and a snapshot of a subvolume, shares its extents with the original until one of them
//! is written to. Two ranges with one address are equal, and nobody has to read them. That is believed only where
//! the file system says that the extent is shared, that it has its place for good, and that the bytes stand there as
//! they are; and only of file systems that have one space of addresses.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use crate::io::system::shared_ranges;

/// A range of some bytes, and the place in a file system at which they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedExtent {
    /// The bytes.
    pub range: Range<u64>,
    /// The file system that they are in.
    pub device: u64,
    /// Where the first of them lies there.
    pub address: u64,
}

impl SharedExtent {
    /// Returns the part of it that lies in `range`; none if none does.
    #[must_use]
    pub fn within(&self, range: &Range<u64>) -> Option<Self> {
        let start = self.range.start.max(range.start);
        let end = self.range.end.min(range.end);
        // The address goes on with the bytes, as far as the file system has some.
        let address = self.address.checked_add(start.checked_sub(self.range.start)?)?;
        (start < end).then_some(Self { range: start..end, device: self.device, address })
    }
}

/// Returns what the `len` bytes from byte `start` on have of some extents, as ranges of that part.
pub(super) fn parts_of(extents: &[SharedExtent], start: u64, len: u64) -> Vec<SharedExtent> {
    let inside = start..start.saturating_add(len);
    let parts = extents.iter().filter_map(|extent| extent.within(&inside));
    parts
        .map(|part| {
            let range = part.range.start.strict_sub(start)..part.range.end.strict_sub(start);
            SharedExtent { range, ..part }
        })
        .collect()
}

/// Most extents that are looked at: a file in more pieces is read.
const MOST_EXTENTS: usize = 1 << 20;

/// Returns the shared extents of the first `len` bytes of a file, ascending; none where the file system has none or does not
/// tell.
///
/// # Errors
///
/// Whatever the system refuses.
pub(super) fn shared_extents(file: &File, len: u64) -> io::Result<Vec<SharedExtent>> {
    let ranges = shared_ranges(file, MOST_EXTENTS)?;
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let device = file.metadata()?.dev();
    let whole = ranges.into_iter().map(|(range, address)| SharedExtent { range, device, address });
    let extents: Vec<_> = whole.filter_map(|extent| extent.within(&(0..len))).collect();
    // The file system lists extents in ascending order, and the search below relies on that.
    let ascending = extents.is_sorted_by(|a, b| a.range.end <= b.range.start);
    Ok(if ascending { extents } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_extent_lies_as_far_behind_its_address() {
        let extent = SharedExtent { range: 100..300, device: 7, address: 5000 };
        let part = |range, address| Some(SharedExtent { range, device: 7, address });
        assert_eq!(extent.within(&(0..1000)), part(100..300, 5000));
        assert_eq!(extent.within(&(150..200)), part(150..200, 5050));
        assert_eq!(extent.within(&(0..100)), None);
        assert_eq!(extent.within(&(300..400)), None);
        let last = SharedExtent { range: 0..10, device: 7, address: u64::MAX };
        assert_eq!(last.within(&(5..10)), None);
        let moved = SharedExtent { range: 50..100, device: 7, address: 5000 };
        assert_eq!(parts_of(&[extent], 50, 100), [moved]);
    }
}
