//! Whose every block is, by walking all trees.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::iter::once;
use std::ops::Range;

use crate::guest::btrfs::extent::EXTENT_DATA;
use crate::guest::btrfs::extent::Extent;
use crate::guest::btrfs::extent::Stored;
use crate::guest::btrfs::layout::Key;
use crate::guest::btrfs::layout::Root;
use crate::guest::btrfs::layout::STRIPE_LEN;
use crate::guest::btrfs::layout::SUPERBLOCK_LEN;
use crate::guest::btrfs::layout::SUPERBLOCKS;
use crate::guest::btrfs::layout::damaged;
use crate::guest::btrfs::layout::unsupported;
use crate::guest::btrfs::open::Btrfs;
use crate::guest::btrfs::open::check_keys;
use crate::guest::btrfs::open::child;
use crate::guest::btrfs::open::file_id;
use crate::guest::claims::Claims;
use crate::guest::failure::Outcome;
use crate::guest::owner::Metadata;
use crate::guest::owner::Owner;

/// Bytes at the start of the device in which no chunk is made any more.
const START_LEN: u64 = 1 << 20;

/// Numbers of trees.
const EXTENTS: u64 = 2;
const DEVICES: u64 = 4;
const SUMS: u64 = 7;
const QUOTAS: u64 = 8;
const UUIDS: u64 = 9;
const FREE_SPACE: u64 = 10;
const BLOCK_GROUPS: u64 = 11;
/// Trees of data that are being moved: minus 9 and minus 8.
const MOVED_DATA: u64 = u64::MAX - 8;
const MOVED_TREES: u64 = u64::MAX - 7;

/// Whose the extents are that a tree of files names.
#[derive(Clone, Copy)]
enum Files {
    /// Of the files of a subvolume, by its place.
    Of(usize),
    /// Of the file system.
    Own(Metadata),
    /// It names none.
    None,
}

/// Returns the ranges of the device around superblocks, which chunks may cover and nothing is ever put into: the
/// piece of a chunk, of 64 KiB, that has the superblock.
pub(super) fn superblocks(btrfs: &Btrfs<'_>) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for at in SUPERBLOCKS {
        if at.saturating_add(SUPERBLOCK_LEN) > btrfs.sb.size {
            break;
        }
        let copies =
            btrfs.chunks.iter().flat_map(|it| it.copies.iter().map(|copy| (*copy, it.len)));
        let mut range = at..at.strict_add(STRIPE_LEN).min(btrfs.sb.size);
        for (copy, len) in copies {
            let end = copy.strict_add(len);
            if (copy..end).contains(&at) {
                let skip = at.strict_sub(copy).strict_div(STRIPE_LEN).strict_mul(STRIPE_LEN);
                let start = copy.strict_add(skip);
                range = start..start.strict_add(STRIPE_LEN).min(end);
            }
        }
        found.push(range);
    }
    found
}

/// Claims all metadata and all extents of files.
pub(super) fn claim(btrfs: &Btrfs<'_>, claims: &mut Claims) -> Outcome<()> {
    if btrfs.has_dying {
        return Err(unsupported("a subvolume that was deleted is still being removed"));
    }
    let superblocks = superblocks(btrfs);
    claims.add(0..superblocks[0].start, Owner::BootCode)?;
    for range in &superblocks {
        claims.add(range.clone(), Owner::Metadata(Metadata::Superblock))?;
    }
    // What lies behind the first superblock is kept where no chunk covers it.
    let mut at = superblocks[0].end;
    let mut copies: Vec<Range<u64>> = btrfs
        .chunks
        .iter()
        .flat_map(|it| it.copies.iter().map(|copy| *copy..copy.strict_add(it.len)))
        .filter(|range| range.start < START_LEN)
        .collect();
    copies.sort_by_key(|range| range.start);
    for range in copies.into_iter().chain(once(START_LEN..START_LEN)) {
        claims.add(at..range.start.max(at), Owner::Metadata(Metadata::Other))?;
        at = at.max(range.end);
    }
    let mut walk = Walk { btrfs, claims, nodes: BTreeSet::new(), extents: BTreeMap::new() };
    walk.tree(btrfs.sb.chunks, Metadata::Descriptors, Files::None)?;
    walk.tree(btrfs.sb.roots, Metadata::Tree, Files::Own(Metadata::Allocator))?;
    for (place, subvolume) in btrfs.subvolumes.iter().enumerate() {
        walk.tree(subvolume.root, Metadata::Tree, Files::Of(place))?;
    }
    for (id, root) in &btrfs.trees {
        let (kind, files) = match *id {
            EXTENTS | DEVICES | FREE_SPACE | BLOCK_GROUPS => (Metadata::Allocator, Files::None),
            SUMS | UUIDS => (Metadata::Tree, Files::None),
            QUOTAS => (Metadata::Quota, Files::None),
            MOVED_DATA | MOVED_TREES => (Metadata::Tree, Files::Own(Metadata::Other)),
            id if btrfs.subvolumes.iter().any(|it| it.id == id) => continue,
            _ => return Err(unsupported("it has a tree that is not known")),
        };
        walk.tree(*root, kind, files)?;
    }
    Ok(())
}

struct Walk<'w, 'a> {
    btrfs: &'w Btrfs<'a>,
    claims: &'w mut Claims,
    /// Places of nodes that were met: snapshots share them.
    nodes: BTreeSet<u64>,
    /// Extents that were met, and how long they are: files share them.
    extents: BTreeMap<u64, u64>,
}

impl Walk<'_, '_> {
    fn tree(&mut self, root: Root, kind: Metadata, files: Files) -> Outcome<()> {
        self.below(root, None, None, (kind, files))
    }

    fn below(
        &mut self,
        root: Root,
        first: Option<Key>,
        limit: Option<Key>,
        (kind, files): (Metadata, Files),
    ) -> Outcome<()> {
        let node = self.btrfs.node(root)?;
        check_keys(&node, first, limit)?;
        if !self.nodes.insert(root.place) {
            return Ok(());
        }
        for range in self.btrfs.copies(root.place, self.btrfs.sb.node_len)? {
            self.claims.add(range, Owner::Metadata(kind))?;
        }
        for at in 0..node.count() {
            if node.level > 0 {
                let (child, first, limit) = child(&node, at, limit)?;
                self.below(child, Some(first), limit, (kind, files))?;
                continue;
            }
            let key = node.key(at);
            let owner = match files {
                _ if key.kind != EXTENT_DATA => continue,
                Files::Of(place) => Owner::File(file_id(place, key.object)?),
                Files::Own(kind) => Owner::Metadata(kind),
                Files::None => continue,
            };
            let extent = Extent::parse(node.data(at)).map_err(|failure| failure.of(owner))?;
            if let Stored::At { place, len, .. } = extent.stored {
                self.extent(place, len, owner).map_err(|failure| failure.of(owner))?;
            }
        }
        Ok(())
    }

    fn extent(&mut self, place: u64, len: u64, owner: Owner) -> Outcome<()> {
        match self.extents.insert(place, len) {
            Some(before) if before == len => return Ok(()),
            Some(_) => return Err(damaged("an extent has two lengths")),
            None => {}
        }
        for range in self.btrfs.copies(place, len)? {
            self.claims.add(range, owner)?;
        }
        Ok(())
    }
}
