//! What became of each file of one file system between two builds.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::error::Result;
use crate::guest::Bytes;
use crate::guest::Failure;
use crate::guest::FileId;
use crate::guest::FileKind;
use crate::guest::FileSystem;
use crate::guest::Node;
use crate::guest::Outcome;
use crate::guest::Owner;
use crate::guest::Part;
use crate::guest::Ranges;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::guest::VolumeOwners;
use crate::ops::churn::claim::Claim;
use crate::ops::churn::claim::Seen;
use crate::ops::churn::file::Fate;
use crate::ops::churn::file::File;
use crate::ops::churn::follow::follow;
use crate::work::Watch;

/// Bytes of both files that are compared at once.
const COMPARE_LEN: usize = 256 << 10;

/// Most directories below each other: paths are far shorter.
const MAX_DEPTH: usize = 4096;

/// What became of all files of a file system.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub(super) files: Vec<File>,
    old: BTreeMap<FileId, usize>,
    new: BTreeMap<FileId, usize>,
    /// Causes that can move other files, where nothing real can; empty where something real differs.
    pub(super) layout_causes: BTreeSet<&'static str>,
}

impl Fates {
    pub(super) fn of_old(&self, id: FileId) -> Option<&File> {
        self.old.get(&id).map(|index| &self.files[*index])
    }

    pub(super) fn of_new(&self, id: FileId) -> Option<&File> {
        self.new.get(&id).map(|index| &self.files[*index])
    }

    /// Tells whether a number leads to the same path in both.
    pub(super) fn is_same_path(&self, old: FileId, new: FileId) -> bool {
        self.old.get(&old).is_some_and(|index| self.new.get(&new) == Some(index))
    }
}

/// Both sides of a partition.
pub(super) struct Sides<'a, 'g> {
    pub(super) old: &'a Part<'g>,
    pub(super) new: &'a Part<'g>,
    pub(super) changed: &'a Ranges,
    /// Whose every byte of both volumes is.
    pub(super) owners: (&'a VolumeOwners, &'a VolumeOwners),
    /// Directories of it that are mounted in the new build, and where: the root, or those of subvolumes.
    pub(super) mounts: &'a [(FileId, Vec<u8>)],
    /// All files of both builds.
    pub(super) trees: (Option<&'a Tree<'a>>, Option<&'a Tree<'a>>),
    pub(super) watch: &'a dyn Watch,
    /// Files of both with content in a page that differs, once they were asked for.
    pub(super) touched: OnceCell<[BTreeSet<FileId>; 2]>,
}

impl Sides<'_, '_> {
    /// Tells whether content of one of two files lies in a page that differs.
    fn touches_either(&self, old: FileId, new: FileId) -> bool {
        let files = |owners: &VolumeOwners, part: &Part<'_>| {
            let len = part.range.end.saturating_sub(part.range.start);
            let spans = part.spans(0..len);
            let pages = spans.into_iter().flat_map(|span| self.changed.within(span));
            let owners = pages.flat_map(|page| owners.within(page));
            let ids = owners.filter_map(|(_, _, owner)| match owner {
                Owner::File(id) => Some(id),
                _ => None,
            });
            ids.collect()
        };
        let [olds, news] = self
            .touched
            .get_or_init(|| [files(self.owners.0, self.old), files(self.owners.1, self.new)]);
        olds.contains(&old) || news.contains(&new)
    }
}

/// Compares all files of both sides; `None` if one side has no files that can be read.
pub(super) fn compare(sides: &Sides<'_, '_>) -> Result<Option<Fates>> {
    let (Some(old), Some(new)) = (sides.old.system(), sides.new.system()) else { return Ok(None) };
    let (old, new) = (Tree::of(old), Tree::of(new));
    let mut fates = Fates::default();
    let mut walk = Walk { sides, old: &old, new: &new, fates: &mut fates, seen: BTreeSet::new() };
    match walk.run() {
        Ok(()) => {}
        Err(Failure::Fault(_)) => return Ok(None),
        Err(Failure::Error(error)) => return Err(error),
    }
    follow(&mut fates.files, (&old, &new), sides.trees)?;
    if fates.files.iter().all(|file| !file.is_real()) {
        let causes = fates.files.iter().filter_map(File::cause);
        fates.layout_causes = causes.collect();
        if fates.layout_causes.is_empty() {
            fates.layout_causes.insert("allocation-order");
        }
    }
    Ok(Some(fates))
}

struct Walk<'a, 'g> {
    sides: &'a Sides<'a, 'g>,
    old: &'a Tree<'a>,
    new: &'a Tree<'a>,
    fates: &'a mut Fates,
    seen: BTreeSet<(Option<FileId>, Option<FileId>)>,
}

/// A file on both sides, and how deep it lies.
struct Pair {
    old: Option<FileId>,
    new: Option<FileId>,
    path: Vec<u8>,
    depth: usize,
}

impl Walk<'_, '_> {
    fn run(&mut self) -> Outcome<()> {
        let (old, new) = (self.old.root().id, self.new.root().id);
        // Directories that are not mounted are named from their file system's own root on.
        let mounts = self.sides.mounts;
        let mounted = |id: Option<FileId>| {
            let mount = mounts.iter().find(|(root, _)| Some(*root) == id);
            mount.map(|(_, path)| path.strip_suffix(b"/").unwrap_or(path).to_vec())
        };
        let path = mounted(Some(new)).unwrap_or_default();
        let mut left = vec![Pair { old: Some(old), new: Some(new), path, depth: 0 }];
        while let Some(pair) = left.pop() {
            self.sides.watch.check()?;
            let (before, after) = (node(self.old, pair.old)?, node(self.new, pair.new)?);
            let is_directory =
                |node: Option<Node>| node.is_some_and(|it| it.kind == FileKind::Directory);
            let (mut olds, mut news) = (BTreeMap::new(), BTreeMap::new());
            if (is_directory(before) || is_directory(after))
                && pair.depth <= MAX_DEPTH
                && self.seen.insert((pair.old, pair.new))
            {
                olds = names(self.old, pair.old.filter(|_| is_directory(before)))?;
                news = names(self.new, pair.new.filter(|_| is_directory(after)))?;
            }
            let mut fate = self.fate(pair.old.zip(before), pair.new.zip(after))?;
            let may_be = matches!(fate, Fate::Same | Fate::Attributes);
            let mut by_names = false;
            if may_be && is_directory(after) && !olds.keys().eq(news.keys()) {
                by_names = fate == Fate::Same;
                fate = Fate::Changed;
            }
            let same_inodes = olds == news;
            let path = if pair.path.is_empty() { b"/".to_vec() } else { pair.path.clone() };
            let index = self.fates.files.len();
            let is_directory = is_directory(after.or(before));
            let claim = if matches!(fate, Fate::Changed | Fate::Added | Fate::Removed) {
                self.claim(&path, pair.old.zip(before), pair.new.zip(after))?
            } else {
                None
            };
            let ids = [pair.old, pair.new];
            let file = File { index, path, ids, fate, is_directory, same_inodes, by_names, claim };
            self.fates.files.push(file);
            if let Some(id) = pair.old {
                self.fates.old.entry(id).or_insert(index);
            }
            if let Some(id) = pair.new {
                self.fates.new.entry(id).or_insert(index);
            }
            let names: BTreeSet<&Vec<u8>> = olds.keys().chain(news.keys()).collect();
            for name in names.into_iter().rev() {
                let (old, new) = (olds.get(name).copied(), news.get(name).copied());
                let path = mounted(new).unwrap_or_else(|| [&pair.path[..], b"/", name].concat());
                left.push(Pair { old, new, path, depth: pair.depth.strict_add(1) });
            }
        }
        Ok(())
    }

    fn fate(&self, old: Option<(FileId, Node)>, new: Option<(FileId, Node)>) -> Outcome<Fate> {
        let (Some((old_id, old)), Some((new_id, new))) = (old, new) else {
            return Ok(if old.is_none() { Fate::Added } else { Fate::Removed });
        };
        let (one, other) = (Spot { system: 0, id: old_id }, Spot { system: 0, id: new_id });
        let may_read = !old.encrypted && !new.encrypted;
        let compared = match (old.kind, new.kind) {
            (FileKind::Regular, FileKind::Regular) if old.size != new.size => Ok(Some(false)),
            (FileKind::Regular, FileKind::Regular) if may_read => {
                self.same_content(one, other).map(Some)
            }
            (FileKind::Symlink, FileKind::Symlink) if may_read => {
                self.same_target(one, other).map(Some)
            }
            (FileKind::Regular, FileKind::Regular) | (FileKind::Symlink, FileKind::Symlink) => {
                Ok(None)
            }
            (a, b) => Ok(Some(a == b)),
        };
        let compared = match compared {
            Err(failure) if failure.is_unsupported() => None,
            other => other?,
        };
        // What cannot be read is the same if no page of it differs.
        let same = compared.unwrap_or_else(|| !self.sides.touches_either(old_id, new_id));
        if !same {
            return Ok(Fate::Changed);
        }
        let same = self.is_owned_alike((one, old), (other, new))?;
        Ok(if same { Fate::Same } else { Fate::Attributes })
    }

    /// Judges a file that differs by its name.
    fn claim(
        &self,
        path: &[u8],
        old: Option<(FileId, Node)>,
        new: Option<(FileId, Node)>,
    ) -> Outcome<Option<Box<Claim>>> {
        let seen = |tree, side: Option<(FileId, Node)>| {
            side.map(|(id, node)| Seen { tree, spot: Spot { system: 0, id }, node })
        };
        let (old, new) = (seen(self.old, old), seen(self.new, new));
        let mut claim = Claim::of(path, old, new)?;
        if let (Some(claim), Some(one), Some(other)) = (&mut claim, old, new)
            && !self.is_owned_alike((one.spot, one.node), (other.spot, other.node))?
        {
            claim.refuse("its owner, permissions or attributes differ too".to_owned());
        }
        Ok(claim)
    }

    /// Tells whether owner, permissions, attributes and the count of names are the same.
    fn is_owned_alike(&self, old: (Spot, Node), new: (Spot, Node)) -> Outcome<bool> {
        let ((one, old), (other, new)) = (old, new);
        let is_directory = new.kind == FileKind::Directory;
        Ok((old.mode, old.uid, old.gid) == (new.mode, new.uid, new.gid)
            && (is_directory || old.links == new.links)
            && self.same_attributes(one, other)?)
    }

    fn same_target(&self, old: Spot, new: Spot) -> Outcome<bool> {
        Ok(self.old.link(old)? == self.new.link(new)?)
    }

    fn same_attributes(&self, old: Spot, new: Spot) -> Outcome<bool> {
        let sorted = |system: &dyn FileSystem, id| -> Outcome<_> {
            let mut all = system.attributes(id)?;
            all.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(all)
        };
        Ok(sorted(self.old.system(old), old.id)? == sorted(self.new.system(new), new.id)?)
    }

    /// Compares content of one length. What lies where it lay, and where no page changed, is not read.
    fn same_content(&self, old: Spot, new: Spot) -> Outcome<bool> {
        let (one, other) = (self.old.reader(old)?, self.new.reader(new)?);
        let replayed =
            self.old.system(old).about().replayed || self.new.system(new).about().replayed;
        if one.content() == other.content() && !replayed {
            let touched = other.content().pieces.iter().any(|piece| {
                let range = match &piece.bytes {
                    Bytes::At(at) => *at..at.saturating_add(piece.len),
                    Bytes::Packed(packed) => packed.at..packed.at.saturating_add(packed.len),
                    Bytes::Here(_) => return false,
                };
                self.sides.new.spans(range).into_iter().any(|span| self.touches(&span))
            });
            if !touched {
                return Ok(true);
            }
        }
        let (mut a, mut b) = (vec![0; COMPARE_LEN], vec![0; COMPARE_LEN]);
        let mut at = 0;
        while at < one.size() {
            self.sides.watch.check()?;
            let left = one.size().strict_sub(at);
            let len = usize::try_from(left).unwrap_or(COMPARE_LEN).min(COMPARE_LEN);
            one.read(at, &mut a[..len])?;
            other.read(at, &mut b[..len])?;
            if a[..len] != b[..len] {
                return Ok(false);
            }
            at = at.strict_add(u64::try_from(len).expect("at most 256 KiB"));
        }
        Ok(true)
    }

    fn touches(&self, span: &std::ops::Range<u64>) -> bool {
        let whole = span.end.saturating_sub(span.start);
        let outside = self.sides.changed.outside(span.clone());
        outside.map(|it| it.end.strict_sub(it.start)).sum::<u64>() < whole
    }
}

fn node(tree: &Tree<'_>, id: Option<FileId>) -> Outcome<Option<Node>> {
    id.map(|id| tree.node(Spot { system: 0, id })).transpose()
}

fn names(tree: &Tree<'_>, id: Option<FileId>) -> Outcome<BTreeMap<Vec<u8>, FileId>> {
    let Some(id) = id else { return Ok(BTreeMap::new()) };
    let entries = tree.entries(Spot { system: 0, id })?;
    Ok(entries.into_iter().map(|(name, spot)| (name, spot.id)).collect())
}
