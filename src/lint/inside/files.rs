//! Files of a guest, looked at by rules: what is damaged is noted and counts as absent.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::error::Result;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::Node;
use crate::guest::Outcome;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::guest::escape;

/// Most bytes of a file that are read: configuration is far shorter, and of others the start says enough.
pub(super) const MAX_READ_LEN: u64 = 1 << 20;

/// Most files that one walk looks at.
const MAX_WALKED: usize = 200_000;

/// Most directories below each other.
const MAX_DEPTH: usize = 64;

/// Most faults that are reported: a damaged file system has many.
const MAX_FAULTS: usize = 8;

/// The files of a guest.
pub(super) struct Files<'t, 'g> {
    pub(super) tree: &'t Tree<'g>,
    /// What stands in front of paths in messages.
    prefix: String,
    faults: RefCell<Vec<String>>,
}

/// A file in a directory.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: Vec<u8>,
    /// From the root of the guest.
    pub(super) path: Vec<u8>,
    pub(super) spot: Spot,
    pub(super) node: Node,
}

impl Item {
    pub(super) fn is_file(&self) -> bool {
        self.node.kind == FileKind::Regular
    }
}

impl<'t, 'g> Files<'t, 'g> {
    pub(super) fn new(tree: &'t Tree<'g>, prefix: impl Into<String>) -> Self {
        Self { tree, prefix: prefix.into(), faults: RefCell::default() }
    }

    /// Returns a path as it is shown.
    pub(super) fn place(&self, path: &[u8]) -> String {
        format!("{}{}", self.prefix, escape(path))
    }

    /// Returns a line of a file as it is shown; lines are counted from 1.
    pub(super) fn line(&self, path: &[u8], line: usize) -> String {
        format!("{}:{line}", self.place(path))
    }

    /// Returns what could not be read.
    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults.into_inner()
    }

    /// Notes what was not looked at, and why.
    pub(super) fn note(&self, path: &[u8], why: impl std::fmt::Display) {
        self.faults.borrow_mut().push(format!("{}: {why}", self.place(path)));
    }

    /// Takes damage for absence, and notes it.
    fn taken<T>(&self, path: &[u8], outcome: Outcome<T>) -> Result<Option<T>> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(Failure::Fault(fault)) => {
                if self.faults.borrow().len() < MAX_FAULTS {
                    self.note(path, fault);
                }
                Ok(None)
            }
            Err(Failure::Error(error)) => Err(error),
        }
    }

    /// Finds a file, links followed.
    pub(super) fn find(&self, path: &[u8]) -> Result<Option<(Spot, Node)>> {
        let Some(spot) = self.tree.try_find(path)? else { return Ok(None) };
        Ok(self.taken(path, self.tree.node(spot))?.map(|node| (spot, node)))
    }

    /// Finds a file; a link is what it is.
    pub(super) fn find_itself(&self, path: &[u8]) -> Result<Option<Node>> {
        let Some(spot) = self.tree.try_find_itself(path)? else { return Ok(None) };
        self.taken(path, self.tree.node(spot))
    }

    pub(super) fn exists(&self, path: &[u8]) -> Result<bool> {
        Ok(self.tree.try_find(path)?.is_some())
    }

    pub(super) fn any_exists(&self, paths: &[&[u8]]) -> Result<bool> {
        for path in paths {
            if self.exists(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the first bytes of a regular file, at most 1 MiB; `None` if there is none.
    pub(super) fn text(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.find(path)? {
            Some((spot, node)) if node.kind == FileKind::Regular => {
                self.head(path, spot, MAX_READ_LEN)
            }
            _ => Ok(None),
        }
    }

    /// Returns the first bytes of a file.
    pub(super) fn head(&self, path: &[u8], spot: Spot, len: u64) -> Result<Option<Vec<u8>>> {
        self.taken(path, self.tree.head(spot, len))
    }

    /// Lists a directory, sorted by name; nothing if there is none.
    pub(super) fn list(&self, path: &[u8]) -> Result<Vec<Item>> {
        match self.find(path)? {
            Some((spot, node)) if node.kind == FileKind::Directory => self.list_at(path, spot),
            _ => Ok(Vec::new()),
        }
    }

    fn list_at(&self, path: &[u8], folder: Spot) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let path = if path == b"/" { b"" } else { path };
        for (name, spot) in self.taken(path, self.tree.entries(folder))?.unwrap_or_default() {
            let full = [path, b"/", &name].concat();
            if let Some(node) = self.taken(&full, self.tree.node(spot))? {
                items.push(Item { name, path: full, spot, node });
            }
        }
        Ok(items)
    }

    /// Looks at all files below a directory, or at the file itself, in order of their names. `enter` says of
    /// each directory whether it is entered. Links are not followed.
    pub(super) fn walk(
        &self,
        path: &[u8],
        enter: &dyn Fn(&Item) -> bool,
        each: &mut dyn FnMut(&Item) -> Result<()>,
    ) -> Result<()> {
        let Some((spot, node)) = self.find(path)? else { return Ok(()) };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let top = Item { name, path: path.to_vec(), spot, node };
        let mut left = vec![(top, 0_usize)];
        let mut seen = BTreeSet::new();
        let mut walked = 0_usize;
        while let Some((item, depth)) = left.pop() {
            walked = walked.strict_add(1);
            if walked > MAX_WALKED {
                self.note(
                    path,
                    format!("it has over {MAX_WALKED} files; the rest was not looked at"),
                );
                break;
            }
            if item.node.kind != FileKind::Directory {
                each(&item)?;
                continue;
            }
            if depth > MAX_DEPTH || !seen.insert(item.spot) || !(depth == 0 || enter(&item)) {
                continue;
            }
            let items = self.list_at(&item.path, item.spot)?;
            left.extend(items.into_iter().rev().map(|item| (item, depth.strict_add(1))));
        }
        Ok(())
    }
}

/// Iterates over the lines of a text with their numbers, without blanks around them.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii))
}

/// Iterates over the words of a line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Returns bytes as text for comparisons; what is not UTF-8 becomes a replacement character.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says how many there are.
pub(super) fn many(count: usize, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}
