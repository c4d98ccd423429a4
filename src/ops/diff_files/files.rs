//! Both trees side by side: which files were added, removed, changed, moved.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;
use crate::error::Result;
use crate::guest::Bytes;
use crate::guest::FileKind;
use crate::guest::Node;
use crate::guest::Part;
use crate::guest::Ranges;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::guest::escape;
use crate::ops::diff_files::costs::Cost;
use crate::ops::diff_files::costs::Costs;
use crate::ops::diff_files::entry::Change;
use crate::ops::diff_files::entry::Entry;
use crate::ops::diff_files::entry::FileChange;
use crate::ops::diff_files::entry::FolderSum;
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
    /// Directories and files with several names that were met.
    pub(super) seen: BTreeSet<Spot>,
}

impl Side<'_> {
    /// Returns what a file costs; of several names, the first one pays.
    fn cost(&mut self, spot: Spot, node: &Node) -> Cost {
        if node.links > 1 && node.kind != FileKind::Directory && !self.seen.insert(spot) {
            return Cost::default();
        }
        let key = (self.tree.part(spot), spot.id);
        self.costs.files.get(&key).copied().unwrap_or_default()
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
    files: u64,
}

impl Walk<'_> {
    /// Goes through all files of both.
    pub(super) fn run(&mut self) -> Result<()> {
        let (old, new) = (self.old.tree.root(), self.new.tree.root());
        self.pair(Some(old), Some(new), &mut Vec::new(), 0).map(drop)
    }

    fn pair(
        &mut self,
        old: Option<Spot>,
        new: Option<Spot>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Sum> {
        self.watch.check()?;
        let node = |side: &Side<'_>, spot: Option<Spot>| {
            spot.map(|spot| side.tree.node(spot)).transpose().map_err(Error::from)
        };
        let (old_node, new_node) = (node(&self.old, old)?, node(&self.new, new)?);
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
            Some(spot) => tree.entries(spot).map_err(Error::from),
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
            sum.files = sum.files.strict_add(below.files);
        }
        if sum.bytes > 0 || sum.files > 0 {
            let (path, path_bytes) = named(path);
            let folder = FolderSum { path, path_bytes, changed_bytes: sum.bytes, files: sum.files };
            (self.each)(&Entry::Directory(folder))?;
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
        let before = old.map_or(Cost::default(), |(spot, node)| self.old.cost(spot, &node));
        let after = new.map_or(Cost::default(), |(spot, node)| self.new.cost(spot, &node));
        let change = match (old, new) {
            (None, None) => return Ok(Sum::default()),
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Removed,
            (Some(old), Some(new)) => match self.change(old, new)? {
                Some(change) => change,
                None if before.bytes > 0 || after.bytes > 0 => Change::Rewritten,
                None => return Ok(Sum::default()),
            },
        };
        self.counts[change.index()] = self.counts[change.index()].strict_add(1);
        let (shown, path_bytes) = named(if path.is_empty() { b"/" } else { path });
        (self.each)(&Entry::File(FileChange {
            path: shown,
            path_bytes,
            change,
            kind: new.or(old).map_or("unknown", |(_, node)| node.kind.name()),
            old_size_bytes: old.map(|(_, node)| node.size),
            new_size_bytes: new.map(|(_, node)| node.size),
            old_changed_bytes: before.bytes,
            changed_bytes: after.bytes,
            changed_blocks: after.blocks,
            sole_blocks: after.sole,
        }))?;
        Ok(Sum { bytes: after.bytes, files: 1 })
    }

    /// Compares a file with itself; `None` if nothing of it differs.
    fn change(&self, old: (Spot, Node), new: (Spot, Node)) -> Result<Option<Change>> {
        let ((old_spot, old), (new_spot, new)) = (old, new);
        if old.kind != new.kind {
            return Ok(Some(Change::Changed));
        }
        let moved = match old.kind {
            FileKind::Regular if old.size != new.size => return Ok(Some(Change::Changed)),
            FileKind::Regular if !old.encrypted && !new.encrypted => {
                match self.content(old_spot, new_spot)? {
                    Some(Change::Changed) => return Ok(Some(Change::Changed)),
                    other => other,
                }
            }
            FileKind::Symlink if !old.encrypted && !new.encrypted => {
                let (one, other) = (self.old.tree.link(old_spot)?, self.new.tree.link(new_spot)?);
                if one != other {
                    return Ok(Some(Change::Changed));
                }
                None
            }
            _ => None,
        };
        let same = (old.mode, old.uid, old.gid, old.links)
            == (new.mode, new.uid, new.gid, new.links)
            && old.modified == new.modified
            && self.attributes(old_spot, new_spot)?;
        Ok(moved.or(if same { None } else { Some(Change::Metadata) }))
    }

    fn attributes(&self, old: Spot, new: Spot) -> Result<bool> {
        let mut one = self.old.tree.system(old).attributes(old.id)?;
        let mut other = self.new.tree.system(new).attributes(new.id)?;
        one.sort_by(|a, b| a.name.cmp(&b.name));
        other.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(one == other)
    }

    /// Compares content of one length: changed, moved, or neither. What lies where it lay, and where no
    /// page changed, is not read.
    fn content(&self, old: Spot, new: Spot) -> Result<Option<Change>> {
        let (one, other) = (self.old.tree.reader(old)?, self.new.tree.reader(new)?);
        let old_part = &self.old.parts[self.old.tree.part(old)];
        let new_part = &self.new.parts[self.new.tree.part(new)];
        let same_place = one.content() == other.content() && old_part.is_where(new_part);
        // A journal that was replayed may hold newer content than the place that it belongs to.
        let replayed = |side: &Side<'_>, spot| side.tree.system(spot).about().replayed;
        if same_place && !replayed(&self.old, old) && !replayed(&self.new, new) {
            let touched = other.content().pieces.iter().any(|piece| match &piece.bytes {
                Bytes::At(at) => {
                    let spans = new_part.spans(*at..at.saturating_add(piece.len));
                    spans.into_iter().any(|span| {
                        let whole = span.end.saturating_sub(span.start);
                        let outside =
                            self.changed.outside(span).map(|it| it.end.strict_sub(it.start));
                        outside.sum::<u64>() < whole
                    })
                }
                Bytes::Here(_) => false,
                Bytes::Packed(_) => true,
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

/// Returns a path for JSON: itself, or escaped beside its bytes in base64.
fn named(path: &[u8]) -> (String, Option<String>) {
    let path = if path.is_empty() { b"/" } else { path };
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (escape(path), Some(STANDARD.encode(path))),
    }
}
