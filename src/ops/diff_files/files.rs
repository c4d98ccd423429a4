//! Both trees side by side: which files were added, removed, changed, moved.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::error::Result;
use crate::guest::Bytes;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::Node;
use crate::guest::Outcome;
use crate::guest::Part;
use crate::guest::Ranges;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::ops::diff_files::costs::Cost;
use crate::ops::diff_files::costs::Costs;
use crate::ops::diff_files::costs::FileKey;
use crate::ops::diff_files::entry::Change;
use crate::ops::diff_files::entry::Entry;
use crate::ops::diff_files::entry::FileChange;
use crate::ops::diff_files::entry::FolderSum;
use crate::ops::diff_files::entry::named;
use crate::ops::diff_files::renames::Candidate;
use crate::ops::diff_files::renames::pair_up;
use crate::work::Watch;

/// Bytes of both files that are compared at once.
const COMPARE_LEN: usize = 256 << 10;

/// Most directories below each other: paths are far shorter.
const MAX_DEPTH: usize = 4096;

/// One volume.
pub(super) struct Side<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(super) costs: &'a Costs,
    /// The parts of the volume.
    pub(super) parts: &'a [Part<'a>],
    /// Directories that were met.
    seen: BTreeSet<Spot>,
    /// Files that cost something and were met.
    charged: BTreeSet<FileKey>,
    /// Their paths, if they are wanted.
    pub(super) paths: Option<BTreeMap<FileKey, Box<[u8]>>>,
    /// Regular files that the other side does not have by their path.
    alone: Vec<Candidate>,
}

impl<'a> Side<'a> {
    pub(super) fn new(
        tree: &'a Tree<'a>,
        costs: &'a Costs,
        parts: &'a [Part<'a>],
        paths: bool,
    ) -> Self {
        Self {
            tree,
            costs,
            parts,
            seen: BTreeSet::new(),
            charged: BTreeSet::new(),
            paths: paths.then(BTreeMap::new),
            alone: Vec::new(),
        }
    }

    /// Returns what a file costs; of several names, the first one pays.
    fn cost(&mut self, spot: Spot, path: &[u8]) -> Cost {
        let key = (self.tree.part(spot), spot.id);
        let Some(cost) = self.costs.files.get(&key) else { return Cost::default() };
        if !self.charged.insert(key) {
            return Cost::default();
        }
        if let Some(paths) = &mut self.paths {
            paths.insert(key, path.into());
        }
        *cost
    }

    /// Returns the bytes in changed pages of files that have a path, and of those that have none.
    pub(super) fn file_bytes(&self) -> (u64, u64) {
        let sum = |with_path| {
            let files = self.costs.files.iter();
            let picked = files.filter(|(key, _)| self.charged.contains(key) == with_path);
            picked.map(|(_, cost)| cost.bytes).sum()
        };
        (sum(true), sum(false))
    }
}

/// A walk over both trees.
pub(super) struct Walk<'a> {
    pub(super) old: Side<'a>,
    pub(super) new: Side<'a>,
    pub(super) changed: &'a Ranges,
    pub(super) watch: &'a dyn Watch,
    pub(super) each: &'a mut dyn FnMut(&Entry) -> Result<()>,
    pub(super) counts: [u64; Change::COUNT],
}

/// What a subtree costs.
#[derive(Clone, Copy, Default)]
struct Sum {
    bytes: u64,
    delta: u64,
    files: u64,
}

impl Walk<'_> {
    /// Goes through all files of both.
    pub(super) fn run(&mut self) -> Result<()> {
        let (old, new) = (self.old.tree.root(), self.new.tree.root());
        self.pair(Some(old), Some(new), &mut Vec::new(), 0)?;
        let (olds, news) =
            (std::mem::take(&mut self.old.alone), std::mem::take(&mut self.new.alone));
        let changes = pair_up((self.old.tree, olds), (self.new.tree, news), self.watch)?;
        changes.into_iter().try_for_each(|change| self.tell(change))
    }

    fn tell(&mut self, file: FileChange) -> Result<()> {
        let count = &mut self.counts[file.change.index()];
        *count = count.strict_add(1);
        (self.each)(&Entry::File(file))
    }

    fn pair(
        &mut self,
        old: Option<Spot>,
        new: Option<Spot>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Sum> {
        self.watch.check()?;
        let node =
            |side: &Side<'_>, spot: Option<Spot>| spot.map(|spot| side.tree.node(spot)).transpose();
        let inside = |failure: Failure| failure.in_path(if path.is_empty() { b"/" } else { path });
        let (old_node, new_node) =
            (node(&self.old, old).map_err(inside)?, node(&self.new, new).map_err(inside)?);
        let (before, after) = (old.zip(old_node), new.zip(new_node));
        let mut sum = self.one(before, after, path)?;
        let folder = |it: Option<(Spot, Node)>, seen: &mut BTreeSet<Spot>| {
            it.filter(|(spot, node)| node.kind == FileKind::Directory && seen.insert(*spot))
                .map(|(spot, _)| spot)
        };
        let old = folder(before, &mut self.old.seen);
        let new = folder(after, &mut self.new.seen);
        if (old.is_none() && new.is_none()) || depth > MAX_DEPTH {
            return Ok(sum);
        }
        let list = |tree: &Tree<'_>, spot: Option<Spot>| match spot {
            Some(spot) => tree.entries(spot).map_err(inside),
            None => Ok(Vec::new()),
        };
        let (olds, news) = (list(self.old.tree, old)?, list(self.new.tree, new)?);
        let (mut olds, mut news) = (olds.into_iter().peekable(), news.into_iter().peekable());
        loop {
            // The lower name is next; one that both have is next in both.
            let name = match (olds.peek(), news.peek()) {
                (Some((a, _)), Some((b, _))) => a.min(b).clone(),
                (Some((name, _)), None) | (None, Some((name, _))) => name.clone(),
                (None, None) => break,
            };
            let old = olds.next_if(|(it, _)| *it == name).map(|(_, spot)| spot);
            let new = news.next_if(|(it, _)| *it == name).map(|(_, spot)| spot);
            let len = path.len();
            path.push(b'/');
            path.extend_from_slice(&name);
            let below = self.pair(old, new, path, depth.strict_add(1))?;
            path.truncate(len);
            sum.bytes = sum.bytes.strict_add(below.bytes);
            sum.delta = sum.delta.strict_add(below.delta);
            sum.files = sum.files.strict_add(below.files);
        }
        if sum.bytes > 0 || sum.files > 0 {
            let (path, path_bytes) = named(path);
            (self.each)(&Entry::Directory(FolderSum {
                path,
                path_bytes,
                changed_bytes: sum.bytes,
                delta_bytes: sum.delta,
                files: sum.files,
            }))?;
        }
        Ok(sum)
    }

    /// Says what became of one file.
    fn one(
        &mut self,
        old: Option<(Spot, Node)>,
        new: Option<(Spot, Node)>,
        path: &[u8],
    ) -> Result<Sum> {
        let before = old.map_or(Cost::default(), |(spot, _)| self.old.cost(spot, path));
        let after = new.map_or(Cost::default(), |(spot, _)| self.new.cost(spot, path));
        let change = match (old, new) {
            (None, None) => return Ok(Sum::default()),
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Removed,
            (Some(old), Some(new)) => {
                let touched = before.bytes > 0 || after.bytes > 0;
                let change = self.change(old, new, touched);
                match change.map_err(|failure| failure.in_path(path))? {
                    Some(change) => change,
                    None if touched => Change::Rewritten,
                    None => return Ok(Sum::default()),
                }
            }
        };
        let (shown, path_bytes) = named(path);
        let file = FileChange {
            path: shown,
            path_bytes,
            change,
            old_path: None,
            old_path_bytes: None,
            kind: new.or(old).map_or("unknown", |(_, node)| node.kind.name()),
            old_size_bytes: old.map(|(_, node)| node.size),
            new_size_bytes: new.map(|(_, node)| node.size),
            old_changed_bytes: before.bytes,
            changed_bytes: after.bytes,
            delta_bytes: after.delta,
            changed_blocks: after.blocks,
            sole_blocks: after.sole,
        };
        // A file that only one side has by its path may be the other's, by another path.
        let is_regular = |(_, node): &(Spot, Node)| node.kind == FileKind::Regular && node.size > 0;
        match (old.filter(is_regular), new.filter(is_regular)) {
            (Some((spot, node)), None) if new.is_none() => {
                self.old.alone.push(Candidate { spot, size: node.size, file });
            }
            (None, Some((spot, node))) if old.is_none() => {
                self.new.alone.push(Candidate { spot, size: node.size, file });
            }
            _ => self.tell(file)?,
        }
        Ok(Sum { bytes: after.bytes, delta: after.delta, files: 1 })
    }

    /// Compares a file with itself; `None` if nothing of it differs. Content that cannot be read counts as changed if
    /// a page of it differs.
    fn change(
        &self,
        old: (Spot, Node),
        new: (Spot, Node),
        touched: bool,
    ) -> Outcome<Option<Change>> {
        let ((old_spot, old), (new_spot, new)) = (old, new);
        if old.kind != new.kind {
            return Ok(Some(Change::Changed));
        }
        let unread = touched.then_some(Change::Changed);
        let compared = match old.kind {
            FileKind::Regular if old.size != new.size => Ok(Some(Change::Changed)),
            FileKind::Regular | FileKind::Symlink if old.encrypted || new.encrypted => Ok(unread),
            FileKind::Regular => self.content(old_spot, new_spot),
            FileKind::Symlink => self.targets(old_spot, new_spot),
            _ => Ok(None),
        };
        let moved = match compared {
            Err(failure) if failure.is_unsupported() => unread,
            other => other?,
        };
        if moved == Some(Change::Changed) {
            return Ok(moved);
        }
        let same = (old.mode, old.uid, old.gid, old.links)
            == (new.mode, new.uid, new.gid, new.links)
            && old.modified == new.modified
            && self.attributes(old_spot, new_spot)?;
        Ok(moved.or(if same { None } else { Some(Change::Metadata) }))
    }

    /// Compares what links point to.
    fn targets(&self, old: Spot, new: Spot) -> Outcome<Option<Change>> {
        let same = self.old.tree.link(old)? == self.new.tree.link(new)?;
        Ok((!same).then_some(Change::Changed))
    }

    fn attributes(&self, old: Spot, new: Spot) -> Outcome<bool> {
        let mut one = self.old.tree.system(old).attributes(old.id)?;
        let mut other = self.new.tree.system(new).attributes(new.id)?;
        one.sort_by(|a, b| a.name.cmp(&b.name));
        other.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(one == other)
    }

    /// Compares content of one length: changed, moved, or neither. What lies where it lay, and where no
    /// page changed, is not read.
    fn content(&self, old: Spot, new: Spot) -> Outcome<Option<Change>> {
        let (one, other) = (self.old.tree.reader(old)?, self.new.tree.reader(new)?);
        let old_part = &self.old.parts[self.old.tree.part(old)];
        let new_part = &self.new.parts[self.new.tree.part(new)];
        let same_place = one.content() == other.content() && old_part.is_where(new_part);
        // A journal that was replayed may hold newer content than the place that it belongs to.
        let replayed = |side: &Side<'_>, spot| side.tree.system(spot).about().replayed;
        if same_place && !replayed(&self.old, old) && !replayed(&self.new, new) {
            let touched = other.content().pieces.iter().any(|piece| {
                let place = match &piece.bytes {
                    Bytes::At(at) => *at..at.saturating_add(piece.len),
                    Bytes::Packed(packed) => packed.at..packed.at.saturating_add(packed.len),
                    Bytes::Here(_) => return false,
                };
                let spans = new_part.spans(place);
                spans.into_iter().any(|span| self.changed.within(span).next().is_some())
            });
            if !touched {
                return Ok(None);
            }
        }
        let (mut a, mut b) = (vec![0; COMPARE_LEN], vec![0; COMPARE_LEN]);
        let mut at = 0;
        while at < one.size() {
            self.watch.check()?;
            let left = one.size().strict_sub(at);
            let len = usize::try_from(left).unwrap_or(COMPARE_LEN).min(COMPARE_LEN);
            one.read(at, &mut a[..len])?;
            other.read(at, &mut b[..len])?;
            if a[..len] != b[..len] {
                return Ok(Some(Change::Changed));
            }
            at = at.strict_add(u64::try_from(len).expect("at most 256 KiB"));
        }
        Ok((!same_place).then_some(Change::Moved))
    }
}
