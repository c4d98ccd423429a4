//! Whose every byte is: owners, and maps of them that tile.

use std::fmt;
use std::ops::Range;

/// Number of a file in its file system: an inode or record number, never reused inside one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a file system keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metadata {
    /// A superblock or a copy of one.
    Superblock,
    /// Descriptors of block groups, allocation groups or chunks, and room kept for more.
    Descriptors,
    /// What the allocator records: bitmaps, free-space trees, file allocation tables.
    Allocator,
    /// Inodes or file records.
    Inodes,
    /// Entries of directories.
    Directory,
    /// Where the extents of a file lie, outside its inode.
    Mapping,
    /// Extended attributes.
    Attributes,
    /// Quotas.
    Quota,
    /// Trees of a file system that keeps everything in trees.
    Tree,
    /// Anything else: blocks against mounting twice, lists of orphans, bad blocks, reserved space.
    Other,
}

impl Metadata {
    /// Returns the stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::Descriptors => "descriptors",
            Self::Allocator => "allocator",
            Self::Inodes => "inodes",
            Self::Directory => "directory",
            Self::Mapping => "mapping",
            Self::Attributes => "attributes",
            Self::Quota => "quota",
            Self::Tree => "tree",
            Self::Other => "other-metadata",
        }
    }
}

/// Whose a byte range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Content of a file.
    File(FileId),
    /// What the file system keeps for one file: entries of a directory, its map, its attributes.
    OfFile(Metadata, FileId),
    /// What the file system keeps for itself.
    Metadata(Metadata),
    /// A journal or log.
    Journal,
    /// Nobody's: the allocator may give it away.
    Free,
    /// Swap space.
    Swap,
    /// A partition table, or a copy of one.
    Table,
    /// Code that the firmware or a boot loader runs from a fixed place.
    BootCode,
    /// Between partitions.
    Gap,
    /// Not known to be anything: it is kept.
    Unknown,
}

impl Owner {
    /// Returns the stable name of the class that the owner is in.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::File(_) => "file-data",
            Self::OfFile(kind, _) | Self::Metadata(kind) => kind.name(),
            Self::Journal => "journal",
            Self::Free => "free",
            Self::Swap => "swap",
            Self::Table => "partition-table",
            Self::BootCode => "boot-code",
            Self::Gap => "gap",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the file that the range belongs to, if it belongs to one.
    #[must_use]
    pub fn file(self) -> Option<FileId> {
        match self {
            Self::File(id) | Self::OfFile(_, id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(id) => write!(f, "file {id}"),
            Self::OfFile(kind, id) => write!(f, "{} of file {id}", kind.name()),
            other => f.write_str(other.class()),
        }
    }
}

/// Runs of owners that tile `0..size`: sorted, no gap, no overlap; only the starts are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerMap {
    runs: Vec<(u64, Owner)>,
    size: u64,
}

impl OwnerMap {
    /// Appends `len` bytes, joined to the last run where the owner is the same.
    ///
    /// # Panics
    ///
    /// If the map grows over 2^64 bytes.
    pub fn push(&mut self, len: u64, owner: Owner) {
        if len == 0 {
            return;
        }
        if self.runs.last().is_none_or(|(_, last)| *last != owner) {
            self.runs.push((self.size, owner));
        }
        self.size = self.size.strict_add(len);
    }

    /// Appends what is missing up to byte `end`; nothing if the map is as long as that.
    pub fn fill(&mut self, end: u64, owner: Owner) {
        self.push(end.saturating_sub(self.size), owner);
    }

    /// Appends another map.
    pub fn append(&mut self, other: &Self) {
        for (range, owner) in other.within(0..other.size) {
            self.push(range.end.strict_sub(range.start), owner);
        }
    }

    /// Returns the bytes that the runs tile.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many runs there are.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Iterates over the runs that touch `range`, cut to it, ascending.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, Owner)> + '_ {
        let end = range.end.min(self.size);
        let first = self.runs.partition_point(|(start, _)| *start <= range.start).saturating_sub(1);
        // Cut first: an iterator that skips runs would walk over all of them.
        let runs = &self.runs[first..];
        let ends = runs.iter().skip(1).map(|(start, _)| *start).chain([self.size]);
        let all = runs.iter().zip(ends);
        all.map(move |((start, owner), stop)| ((*start).max(range.start)..stop.min(end), *owner))
            .take_while(|(cut, _)| !cut.is_empty())
    }

    /// Returns a map of a part alone.
    #[must_use]
    pub fn cut(&self, range: Range<u64>) -> Self {
        let mut part = Self::default();
        for (run, owner) in self.within(range) {
            part.push(run.end.strict_sub(run.start), owner);
        }
        part
    }

    /// Sums the bytes of the runs that `wanted` picks.
    pub fn sum(&self, wanted: impl Fn(Owner) -> bool) -> u64 {
        let picked = self.within(0..self.size).filter(|(_, owner)| wanted(*owner));
        picked.map(|(range, _)| range.end.strict_sub(range.start)).sum()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn runs_tile_and_join_and_are_cut_to_the_range() {
        let mut map = OwnerMap::default();
        map.push(10, Owner::Free);
        map.push(0, Owner::Gap);
        map.push(5, Owner::Free);
        map.push(5, Owner::File(FileId(7)));
        map.fill(30, Owner::Unknown);
        map.fill(3, Owner::Gap);
        assert_eq!((map.size(), map.run_count()), (30, 3));
        let all: Vec<_> = map.within(0..u64::MAX).collect();
        let file = Owner::File(FileId(7));
        assert_eq!(all, [(0..15, Owner::Free), (15..20, file), (20..30, Owner::Unknown)]);
        assert_eq!(map.within(16..18).collect::<Vec<_>>(), [(16..18, file)]);
        assert_eq!(map.within(30..40).count(), 0);
        assert_eq!(map.sum(|owner| owner == Owner::Free), 15);
        let part: Vec<_> = map.cut(10..25).within(0..30).collect();
        assert_eq!(part, [(0..5, Owner::Free), (5..10, file), (10..15, Owner::Unknown)]);
        let mut twice = map.clone();
        twice.append(&map);
        assert_eq!((twice.size(), twice.run_count()), (60, 6));
    }
}
