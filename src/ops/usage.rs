//! Whose the bytes of a volume are: classes, files and directories, and what of each is stored.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::error::Result;
use crate::guest::Failure;
use crate::guest::FileId;
use crate::guest::FileKind;
use crate::guest::Guest;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::guest::VolumeOwners;
use crate::guest::escape;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;

/// Most directories below each other: paths are far shorter.
const MAX_DEPTH: usize = 4096;

/// Bytes of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OwnedBytes {
    /// Bytes of the volume that belong to it.
    pub bytes: u64,
    /// Of these, bytes that the image stores.
    pub stored_bytes: u64,
}

impl OwnedBytes {
    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
    }
}

/// A file or directory and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnedPath {
    /// Path from the root; escaped if it is not UTF-8.
    pub path: String,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// What belongs to it; to a directory, also what is below it.
    #[serde(flatten)]
    pub owned: OwnedBytes,
}

/// What is reported of a volume, in this order: runs ascending, then classes, then files and directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageEntry {
    /// Bytes of the volume, what the image says of them, and the class of their owner.
    Run(Range<u64>, ExtentKind, &'static str),
    /// A class, as `file-data` or `free`.
    Class(&'static str, OwnedBytes),
    /// A file that owns bytes.
    File(OwnedPath),
    /// A directory with files below it that own bytes; after these.
    Directory(OwnedPath),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// Bytes of the volume.
    pub size_bytes: u64,
    /// What could not be looked into, and why.
    pub notes: Vec<String>,
}

/// A file: which part it is in, and its number there.
type FileKey = (usize, FileId);

/// Finds whose the bytes of a volume are, and hands over what is found.
///
/// # Errors
///
/// As [`open`] and reading the volume; whatever `each` returns. Files that cannot be walked are a note.
pub fn usage(
    request: &VolumeRequest,
    watch: &dyn Watch,
    each: &mut dyn FnMut(UsageEntry) -> Result<()>,
) -> Result<UsageReport> {
    let opened = open(request, watch)?;
    let mut done = || usage_of(opened.volume(), watch, each);
    done().map_err(|error| request.fail(error))
}

fn usage_of(
    volume: &dyn ReadVolume,
    watch: &dyn Watch,
    each: &mut dyn FnMut(UsageEntry) -> Result<()>,
) -> Result<UsageReport> {
    let guest = Guest::open(volume)?;
    let owners = guest.owners()?;
    let files = runs(volume, &owners, watch, each)?;
    let mut report = UsageReport { size_bytes: volume.size(), notes: Vec::new() };
    match Tree::open(&guest, None) {
        Ok(tree) => {
            let (seen, damaged) = (BTreeSet::new(), 0);
            let mut walk = Walk { tree: &tree, files: &files, seen, damaged, watch, each };
            walk.run()?;
            if walk.damaged > 0 {
                let text =
                    format!("{} files and directories are damaged and left out", walk.damaged);
                report.notes.push(text);
            }
        }
        Err(error) => {
            report.notes.push(format!("files are not listed: {}", error.without_advice()));
        }
    }
    volume.check_unchanged()?;
    Ok(report)
}

/// Tells runs and classes, and returns what belongs to each file.
fn runs(
    volume: &dyn ReadVolume,
    owners: &VolumeOwners,
    watch: &dyn Watch,
    each: &mut dyn FnMut(UsageEntry) -> Result<()>,
) -> Result<BTreeMap<FileKey, OwnedBytes>> {
    let mut files: BTreeMap<FileKey, OwnedBytes> = BTreeMap::new();
    let mut classes: BTreeMap<&'static str, OwnedBytes> = BTreeMap::new();
    for extent in extents(volume) {
        watch.check()?;
        let extent = extent?;
        let is_stored = extent.kind == ExtentKind::Data;
        for (range, part, owner) in owners.within(extent.range) {
            let bytes = range.end.strict_sub(range.start);
            let owned = OwnedBytes { bytes, stored_bytes: if is_stored { bytes } else { 0 } };
            classes.entry(owner.class()).or_default().add(owned);
            if let (Some(part), Some(id)) = (part, owner.file()) {
                files.entry((part, id)).or_default().add(owned);
            }
            each(UsageEntry::Run(range, extent.kind, owner.class()))?;
        }
    }
    let mut classes: Vec<_> = classes.into_iter().collect();
    classes.sort_by_key(|(_, owned)| std::cmp::Reverse(owned.bytes));
    for (class, owned) in classes {
        each(UsageEntry::Class(class, owned))?;
    }
    Ok(files)
}

/// A walk over all files.
struct Walk<'a> {
    tree: &'a Tree<'a>,
    files: &'a BTreeMap<FileKey, OwnedBytes>,
    /// Directories and files with several names that were met: the first name has what belongs to them.
    seen: BTreeSet<Spot>,
    /// Files and directories that could not be read.
    damaged: u64,
    watch: &'a dyn Watch,
    each: &'a mut dyn FnMut(UsageEntry) -> Result<()>,
}

/// A directory that the walk is in.
struct Level {
    entries: std::vec::IntoIter<(Vec<u8>, Spot)>,
    /// Bytes of the path up to it.
    path_len: usize,
    owned: OwnedBytes,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let root = self.tree.root();
        self.seen.insert(root);
        let mut path = Vec::new();
        let mut levels: Vec<Level> = self.level(root, &path)?.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            self.watch.check()?;
            let Some((name, spot)) = level.entries.next() else {
                let done = levels.pop().expect("it is there");
                path.truncate(done.path_len);
                if done.owned.bytes > 0 {
                    (self.each)(UsageEntry::Directory(owned_path(&path, done.owned)))?;
                }
                if let Some(above) = levels.last_mut() {
                    above.owned.add(done.owned);
                    path.truncate(above.path_len);
                }
                continue;
            };
            path.truncate(level.path_len);
            path.push(b'/');
            path.extend_from_slice(&name);
            let node = match self.tree.node(spot) {
                Ok(node) => node,
                Err(Failure::Fault(_)) => {
                    self.damaged = self.damaged.saturating_add(1);
                    continue;
                }
                Err(Failure::Error(error)) => return Err(error),
            };
            if node.kind == FileKind::Directory {
                if self.seen.insert(spot) && levels.len() < MAX_DEPTH {
                    levels.extend(self.level(spot, &path)?);
                }
                continue;
            }
            if node.links > 1 && !self.seen.insert(spot) {
                continue;
            }
            let owned = self.owned(spot);
            level.owned.add(owned);
            if owned.bytes > 0 {
                (self.each)(UsageEntry::File(owned_path(&path, owned)))?;
            }
        }
        Ok(())
    }

    fn owned(&self, spot: Spot) -> OwnedBytes {
        self.files.get(&(self.tree.part(spot), spot.id)).copied().unwrap_or_default()
    }

    /// Opens a directory; `None` if it is damaged.
    fn level(&mut self, folder: Spot, path: &[u8]) -> Result<Option<Level>> {
        match self.tree.entries(folder) {
            Ok(entries) => {
                let (entries, owned) = (entries.into_iter(), self.owned(folder));
                Ok(Some(Level { entries, path_len: path.len(), owned }))
            }
            Err(Failure::Fault(_)) => {
                self.damaged = self.damaged.saturating_add(1);
                Ok(None)
            }
            Err(Failure::Error(error)) => Err(error),
        }
    }
}

/// Returns a path for JSON: itself, or escaped beside its bytes in base64.
fn owned_path(path: &[u8], owned: OwnedBytes) -> OwnedPath {
    let path = if path.is_empty() { b"/" } else { path };
    match std::str::from_utf8(path) {
        Ok(text) => OwnedPath { path: text.to_owned(), path_bytes: None, owned },
        Err(_) => OwnedPath { path: escape(path), path_bytes: Some(STANDARD.encode(path)), owned },
    }
}
