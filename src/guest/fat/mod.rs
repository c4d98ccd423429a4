//! FAT12, FAT16 and FAT32, with long names: EFI system partitions.

mod layout;
mod loaders;

use std::collections::BTreeSet;
use std::iter::once;
use std::ops::Range;

use crate::field;
use crate::guest::claims::Claims;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::fat::layout::Boot;
use crate::guest::fat::layout::ENTRY_LEN;
use crate::guest::fat::layout::Link;
use crate::guest::fat::layout::Table;
use crate::guest::fat::layout::Width;
use crate::guest::fat::layout::entries;
use crate::guest::fat::layout::finer;
use crate::guest::fat::layout::first_cluster;
use crate::guest::fat::layout::is_directory;
use crate::guest::fat::layout::is_label;
use crate::guest::fat::layout::is_read_only;
use crate::guest::fat::layout::time;
use crate::guest::file::About;
use crate::guest::file::Attribute;
use crate::guest::file::Bytes;
use crate::guest::file::Caution;
use crate::guest::file::Content;
use crate::guest::file::Entry;
use crate::guest::file::FileKind;
use crate::guest::file::FileSystem;
use crate::guest::file::Node;
use crate::guest::file::Piece;
use crate::guest::owner::FileId;
use crate::guest::owner::Metadata;
use crate::guest::owner::Owner;
use crate::guest::ranges::Ranges;
use crate::guest::slice::Slice;

pub(super) use loaders::loaders;

/// The root directory has no entry; a file's number is the place of its entry in the partition.
const ROOT: FileId = FileId(0);

/// Most bytes of a directory: FAT itself allows 65,536 entries of 32 bytes.
const MAX_DIR_LEN: u64 = 2 << 20;

/// Most bytes of a table: 16 Mi clusters.
const MAX_TABLE_LEN: u64 = 64 << 20;

/// Most directories below each other: a walk down a circle of them ends here.
const MAX_DIRS: usize = 1 << 20;

/// An open file system.
#[derive(Debug)]
pub(super) struct Fat<'a> {
    slice: Slice<'a>,
    boot: Boot,
    table: Table,
    about: About,
}

/// Tells whether a slice holds one: a boot sector that FAT allows, and none of NTFS or exFAT.
pub(super) fn is_one(slice: &Slice<'_>) -> Outcome<bool> {
    let mut sector = [0; 512];
    if slice.len() < 512 {
        return Ok(false);
    }
    slice.read(0, &mut sector)?;
    let jumps = matches!(sector[0], 0xeb | 0xe9);
    let signed = field::u16_le(&sector, 510) == 0xaa55;
    let medium = sector[21] >= 0xf8 || sector[21] == 0xf0;
    let other = [&b"NTFS    "[..], b"EXFAT   ", b"-FVE-FS-"].contains(&&sector[3..11]);
    Ok(jumps && signed && medium && !other && Boot::parse(&sector, slice.len()).is_ok())
}

/// Opens it.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Box<dyn FileSystem + '_>> {
    Ok(Box::new(Fat::open(slice)?))
}

impl<'a> Fat<'a> {
    fn open(slice: Slice<'a>) -> Outcome<Self> {
        let mut sector = [0; 512];
        if slice.len() < 512 {
            return Err(Problem::Damaged.text("it is shorter than a sector"));
        }
        slice.read(0, &mut sector)?;
        let boot = Boot::parse(&sector, slice.len())?;
        if boot.table_len > MAX_TABLE_LEN {
            return Err(Problem::Limit.text("its table is over 64 MiB long"));
        }
        let bytes = slice.bytes(boot.table, boot.table_len)?;
        let mut cautions = Vec::new();
        let table = Table::new(bytes.clone(), boot.width);
        if boot.is_dirty || !table.is_clean() {
            cautions.push(Caution::Dirty);
        }
        // A boot sector that is damaged may show zeros as a table, and all that is there as free.
        if !table.starts_as_one() {
            cautions.push(Caution::Unreadable("its table does not start as one"));
        }
        for copy in 1..boot.tables {
            // Where the copies differ, one of them is wrong, and nobody knows which.
            let at = boot.table.strict_add(copy.strict_mul(boot.table_len));
            if slice.bytes(at, boot.table_len)? != bytes {
                cautions.push(Caution::Unreadable("the copies of its table differ"));
            }
        }
        let mut fat = Self { slice, boot, table, about: About::default() };
        let free = (2..fat.boot.cluster_count.strict_add(2))
            .filter(|cluster| fat.table.link(*cluster) == Link::Free)
            .count();
        let serial = fat.boot.serial;
        let low = serial & 0xffff;
        fat.about = About {
            name: "vfat",
            label: fat.label().unwrap_or_default(),
            uuid: Some(format!("{:04X}-{low:04X}", serial >> 16)),
            size: fat.boot.end,
            block_len: fat.boot.cluster_len,
            free_bytes: u64::try_from(free).unwrap_or(0).saturating_mul(fat.boot.cluster_len),
            grain: fat.boot.cluster_len,
            replayed: false,
            cautions,
        };
        Ok(fat)
    }

    /// Returns the label: an entry of the root directory, else what stands in the boot sector.
    fn label(&self) -> Option<Vec<u8>> {
        let trim = |label: &[u8]| {
            let len = label.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at.strict_add(1));
            label[..len].to_vec()
        };
        let root = self.folder(ROOT).ok()?;
        let live = root.chunks_exact(ENTRY_LEN).take_while(|it| it[0] != 0);
        let entry =
            live.filter(|it| it[0] != 0xe5).find(|it| is_label(it)).map(|it| trim(&it[..11]));
        entry.or_else(|| Some(trim(&self.boot.label)).filter(|it| it != b"NO NAME"))
    }

    /// Goes through a chain of clusters: runs of them, in order.
    fn chain(&self, first: u64, each: &mut dyn FnMut(Range<u64>) -> Outcome<()>) -> Outcome<()> {
        let len = self.boot.cluster_len;
        let mut cluster = first;
        let mut run: Option<Range<u64>> = None;
        for _ in 0..self.boot.cluster_count {
            let Some(place) = self.boot.place(cluster) else {
                return Err(Problem::Damaged.text("a file has clusters outside it"));
            };
            let end = place.strict_add(len);
            match &mut run {
                Some(run) if run.end == place => run.end = end,
                other => {
                    if let Some(done) = other.replace(place..end) {
                        each(done)?;
                    }
                }
            }
            match self.table.link(cluster) {
                Link::Next(next) => cluster = next,
                Link::End => return run.map_or(Ok(()), each),
                Link::Free | Link::Bad => {
                    return Err(Problem::Damaged.text("a chain of clusters leads to a free one"));
                }
            }
        }
        Err(Problem::Damaged.text("a chain of clusters does not end"))
    }

    /// Returns the entry of a file.
    fn entry(&self, id: FileId) -> Outcome<[u8; ENTRY_LEN]> {
        let mut entry = [0; ENTRY_LEN];
        self.slice.read(id.0, &mut entry)?;
        if !id.0.is_multiple_of(32) || matches!(entry[0], 0 | 0xe5) || is_label(&entry) {
            let text = "no file has this number: no entry of a directory starts there";
            return Err(Problem::Request.text(text).of(Owner::File(id)));
        }
        Ok(entry)
    }

    /// Returns where the entries of a directory lie.
    fn places(&self, id: FileId) -> Outcome<Vec<Range<u64>>> {
        let mut cluster = self.boot.root_cluster;
        if id == ROOT {
            if self.boot.width != Width::Fat32 {
                let (offset, len) = self.boot.fixed_root;
                return Ok(once(offset..offset.strict_add(len)).collect());
            }
        } else {
            let entry = self.entry(id)?;
            if !is_directory(&entry) {
                return Err(Problem::Request.text("it is not a directory"));
            }
            cluster = first_cluster(&entry, self.boot.width);
        }
        let (mut places, mut len) = (Vec::new(), 0_u64);
        self.chain(cluster, &mut |run| {
            len = len.strict_add(run.end.strict_sub(run.start));
            if len > MAX_DIR_LEN {
                return Err(Problem::Limit.text("a directory is over 2 MiB long"));
            }
            places.push(run);
            Ok(())
        })?;
        Ok(places)
    }

    /// Returns the bytes of a directory.
    fn folder(&self, id: FileId) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        for place in self.places(id)? {
            bytes.extend(self.slice.bytes(place.start, place.end.strict_sub(place.start))?);
        }
        Ok(bytes)
    }

    /// Returns names and entries of a directory.
    fn list(&self, id: FileId) -> Outcome<Vec<Entry>> {
        let places = self.places(id)?;
        let bytes = self.folder(id)?;
        let mut found = Vec::new();
        for raw in entries(&bytes) {
            let mut at = u64::try_from(raw.at).expect("at most 2 MiB");
            let place = places.iter().find_map(|place| {
                let len = place.end.strict_sub(place.start);
                if at < len {
                    return Some(place.start.strict_add(at));
                }
                at = at.strict_sub(len);
                None
            });
            let place = place.expect("an entry is in one of the places");
            found.push(Entry { name: raw.name, id: FileId(place) });
        }
        Ok(found)
    }

    fn claim_files(&self, claims: &mut Claims) -> Outcome<()> {
        let mut left = vec![ROOT];
        let mut seen = BTreeSet::new();
        while let Some(folder) = left.pop() {
            if !seen.insert(folder) || seen.len() > MAX_DIRS {
                return Err(Problem::Damaged.text("directories contain each other"));
            }
            for place in self.places(folder)? {
                claims.add(place, Owner::OfFile(Metadata::Directory, folder))?;
            }
            for entry in self.list(folder)? {
                let raw = self.entry(entry.id)?;
                if is_directory(&raw) {
                    left.push(entry.id);
                    continue;
                }
                let first = first_cluster(&raw, self.boot.width);
                if first != 0 {
                    let owner = Owner::File(entry.id);
                    self.chain(first, &mut |run| claims.add(run, owner))
                        .map_err(|failure| failure.of(owner))?;
                }
            }
        }
        Ok(())
    }
}

impl FileSystem for Fat<'_> {
    fn about(&self) -> &About {
        &self.about
    }

    fn claim(&self, claims: &mut Claims) -> Outcome<()> {
        let Boot { table, table_len, tables, .. } = self.boot;
        claims.add(0..table, Owner::Metadata(Metadata::Superblock))?;
        let end = table.strict_add(table_len.strict_mul(tables));
        claims.add(table..end, Owner::Metadata(Metadata::Allocator))?;
        let (root, len) = self.boot.fixed_root;
        let padding = root.strict_add(len)..self.boot.data;
        claims.add(padding, Owner::Metadata(Metadata::Other))?;
        // Sectors at the end that are too few for a cluster.
        let clusters = self.boot.cluster_count.strict_mul(self.boot.cluster_len);
        let rest = self.boot.data.strict_add(clusters)..self.boot.end;
        claims.add(rest, Owner::Metadata(Metadata::Other))?;
        self.claim_files(claims)?;
        for cluster in 2..self.boot.cluster_count.strict_add(2) {
            if self.table.link(cluster) == Link::Bad
                && let Some(place) = self.boot.place(cluster)
            {
                let range = place..place.strict_add(self.boot.cluster_len);
                claims.add(range, Owner::Metadata(Metadata::Other))?;
            }
        }
        Ok(())
    }

    fn free(&self) -> Outcome<Ranges> {
        let mut free = Ranges::default();
        for cluster in 2..self.boot.cluster_count.strict_add(2) {
            if self.table.link(cluster) == Link::Free
                && let Some(place) = self.boot.place(cluster)
            {
                free.push(place..place.strict_add(self.boot.cluster_len));
            }
        }
        Ok(free)
    }

    fn root(&self) -> FileId {
        ROOT
    }

    fn node(&self, id: FileId) -> Outcome<Node> {
        // As Linux shows it: FAT keeps neither owners nor permissions.
        let mut node = Node {
            id,
            kind: FileKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            modified: time(0, 0),
            accessed: None,
            changed: None,
            created: None,
            encrypted: false,
        };
        if id == ROOT {
            return Ok(node);
        }
        let entry = self.entry(id)?;
        if !is_directory(&entry) {
            node.kind = FileKind::Regular;
            if is_read_only(&entry) {
                node.mode = 0o555;
            }
            node.size = field::u32_le(&entry, 28).into();
        }
        let at = |date, clock| time(field::u16_le(&entry, date), clock);
        node.modified = at(24, field::u16_le(&entry, 22));
        node.accessed = (field::u16_le(&entry, 18) != 0).then(|| at(18, 0));
        node.created = (field::u16_le(&entry, 16) != 0)
            .then(|| finer(at(16, field::u16_le(&entry, 14)), entry[13]));
        Ok(node)
    }

    fn entries(&self, folder: FileId) -> Outcome<Vec<Entry>> {
        self.list(folder).map_err(|failure| failure.of(Owner::File(folder)))
    }

    fn content(&self, id: FileId) -> Outcome<Content> {
        let not = || Problem::Request.text("it is not a regular file");
        if id == ROOT {
            return Err(not());
        }
        let entry = self.entry(id)?;
        if is_directory(&entry) {
            return Err(not());
        }
        let size = u64::from(field::u32_le(&entry, 28));
        let (mut pieces, mut start) = (Vec::new(), 0_u64);
        let first = first_cluster(&entry, self.boot.width);
        if first != 0 {
            self.chain(first, &mut |run| {
                let len = run.end.strict_sub(run.start).min(size.saturating_sub(start));
                if len > 0 {
                    pieces.push(Piece { start, len, bytes: Bytes::At(run.start) });
                }
                start = start.strict_add(len);
                Ok(())
            })
            .map_err(|failure: Failure| failure.of(Owner::File(id)))?;
        }
        if start < size {
            let text = "a file has fewer clusters than its size needs";
            return Err(Problem::Damaged.text(text).of(Owner::File(id)));
        }
        Ok(Content { size, pieces })
    }

    fn attributes(&self, _id: FileId) -> Outcome<Vec<Attribute>> {
        Ok(Vec::new())
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Outcome<()> {
        self.slice.read(offset, buf)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
