//! All files of a volume, each with the digest of its content.

use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Result;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::Node;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::work::Watch;

/// A file that a walk found.
#[derive(Debug)]
pub(in crate::ops) struct FoundFile<'a> {
    /// Its path; bytes, as the guest has them.
    pub(in crate::ops) path: &'a [u8],
    /// Where it is.
    pub(in crate::ops) spot: Spot,
    /// What it is.
    pub(in crate::ops) node: &'a Node,
    /// Whether this is the first of its names that was met.
    pub(in crate::ops) is_first: bool,
    /// Digest of the content of a regular file that could be read.
    pub(in crate::ops) digest: Option<Digest>,
}

/// Walks over all files, folder by folder. Returns how many are damaged, in part or as a whole.
///
/// # Errors
///
/// `Io` if the volume cannot be read; `Interrupted` on request; whatever `each` returns.
pub(in crate::ops) fn walk_files(
    tree: &Tree<'_>,
    watch: &dyn Watch,
    each: &mut dyn FnMut(&FoundFile<'_>) -> Result<()>,
) -> Result<u64> {
    let mut walk = Walk { tree, seen: BTreeSet::from([tree.root()]), damaged: 0, watch, each };
    walk.run()?;
    Ok(walk.damaged)
}

struct Walk<'a> {
    tree: &'a Tree<'a>,
    /// Folders, and files with several names, that were met.
    seen: BTreeSet<Spot>,
    damaged: u64,
    watch: &'a dyn Watch,
    each: &'a mut dyn FnMut(&FoundFile<'_>) -> Result<()>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let mut left = vec![(self.tree.root(), Vec::new())];
        while let Some((folder, path)) = left.pop() {
            self.watch.check()?;
            let entries = self.tree.entries(folder);
            let Some(entries) = self.sound(entries)? else { continue };
            let at = left.len();
            for (name, spot) in entries {
                let path = [&path[..], b"/", &name].concat();
                let node = self.tree.node(spot);
                let Some(node) = self.sound(node)? else { continue };
                let is_folder = node.kind == FileKind::Directory;
                // A damaged file system can have a folder in itself.
                let is_first =
                    if is_folder || node.links > 1 { self.seen.insert(spot) } else { true };
                let digest = if node.kind == FileKind::Regular {
                    let digest = self.digest(spot);
                    self.sound(digest)?
                } else {
                    None
                };
                let found = FoundFile { path: &path, spot, node: &node, is_first, digest };
                (self.each)(&found)?;
                if is_folder && is_first {
                    left.push((spot, path));
                }
            }
            // The last one is taken first: folders stay in order.
            left[at..].reverse();
        }
        Ok(())
    }

    /// Counts damage; what the system refuses ends the walk.
    fn sound<T>(&mut self, read: Result<T, Failure>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Failure::Fault(_)) => {
                self.damaged = self.damaged.saturating_add(1);
                Ok(None)
            }
            Err(Failure::Error(error)) => Err(error),
        }
    }

    fn digest(&self, spot: Spot) -> Result<Digest, Failure> {
        let mut sum = Sha256::new();
        self.tree.copy(spot, 0, u64::MAX, &mut |bytes| {
            sum.update(bytes);
            self.watch.check()
        })?;
        Ok(sum.finish())
    }
}
