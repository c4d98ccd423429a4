//! `ls`: the files of a volume.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Result;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::Spot;
use crate::guest::Time;
use crate::guest::Tree;
use crate::guest::escape;
use crate::guest::matches_pattern;
use crate::ops::shared::guest::InsideRequest;
use crate::ops::shared::guest::with_tree;
use crate::work::Watch;

/// What is listed.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Where.
    pub inside: InsideRequest,
    /// List all directories below, too.
    pub recursive: bool,
    /// Read each regular file for its digest.
    pub digests: bool,
    /// List only files whose name matches a pattern.
    pub name: Option<Vec<u8>>,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedAttribute {
    /// Name, escaped.
    pub name: String,
    /// Value, base64.
    pub value_base64: String,
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedFile {
    /// Path from the root; escaped if it is not UTF-8.
    pub path: String,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// What it is: `file`, `directory`, `symlink` and so on.
    pub kind: &'static str,
    /// Bytes of its content.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has.
    pub links: u64,
    /// Its number in its file system.
    pub inode: u64,
    /// When its content was changed, RFC 3339.
    pub modified: Option<String>,
    /// When it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessed: Option<String>,
    /// When its attributes were changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Major and minor number of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<[u32; 2]>,
    /// What a symbolic link points to; escaped if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_bytes: Option<String>,
    /// Extended attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<ListedAttribute>,
    /// SHA-256 of the content of a regular file, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What of it could not be read, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Its name as it is shown in text: the last part of the path.
    #[serde(skip)]
    pub shown: String,
}

/// What came of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Files that were listed.
    pub files: u64,
    /// Files of which something could not be read.
    pub damaged: u64,
}

/// Lists files, each as it is found.
///
/// # Errors
///
/// As opening the volume and looking for its file systems; `Invalid` if there is no such file; whatever `each` returns. Damage to a file is part
/// of what is listed.
pub fn list(
    request: &ListRequest,
    watch: &dyn Watch,
    each: &mut dyn FnMut(&ListedFile) -> Result<()>,
) -> Result<ListReport> {
    with_tree(&request.inside, watch, |tree| {
        let path = &request.inside.path;
        let start = tree.look_up(path, true)?;
        let mut walk = Walk {
            tree,
            request,
            watch,
            each,
            report: ListReport::default(),
            seen: BTreeSet::new(),
        };
        let prefix = clean(path);
        let node = tree.node(start).map_err(|failure| failure.in_path(path))?;
        if node.kind == FileKind::Directory {
            walk.folder(start, &prefix)?;
        } else {
            let name = prefix.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let listed = walk.listed(start, &prefix, name)?;
            (walk.each)(&listed)?;
            walk.report.files = 1;
        }
        Ok(walk.report)
    })
}

/// Returns a path with one slash in front and none at the end; the root is empty.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| [b"/", *part].concat()).collect()
}

struct Walk<'a> {
    tree: &'a Tree<'a>,
    request: &'a ListRequest,
    watch: &'a dyn Watch,
    each: &'a mut dyn FnMut(&ListedFile) -> Result<()>,
    report: ListReport,
    /// Directories that were listed: in a damaged file system they may lie in each other.
    seen: BTreeSet<Spot>,
}

impl Walk<'_> {
    fn folder(&mut self, start: Spot, path: &[u8]) -> Result<()> {
        let mut left = vec![(start, path.to_vec())];
        self.seen.insert(start);
        while let Some((folder, path)) = left.pop() {
            self.watch.check()?;
            let entries = match self.tree.entries(folder) {
                Ok(entries) => entries,
                Err(Failure::Fault(fault)) if folder != start => {
                    self.damaged(folder, &path, &fault.to_string())?;
                    continue;
                }
                Err(failure) => return Err(failure.in_path(&self.request.inside.path)),
            };
            let at = left.len();
            for (name, spot) in entries {
                let path = [&path[..], b"/", &name].concat();
                let listed = self.listed(spot, &path, &name)?;
                let is_folder = listed.kind == FileKind::Directory.name();
                let pattern = self.request.name.as_ref();
                if pattern.is_none_or(|pattern| matches_pattern(pattern, &name)) {
                    (self.each)(&listed)?;
                    self.report.files = self.report.files.strict_add(1);
                    self.report.damaged =
                        self.report.damaged.strict_add(u64::from(listed.damage.is_some()));
                }
                if is_folder && self.request.recursive {
                    if self.seen.insert(spot) {
                        left.push((spot, path));
                    } else {
                        self.damaged(spot, &path, "this directory has a second name")?;
                    }
                }
            }
            // The last one is taken first: the names stay in order.
            left[at..].reverse();
        }
        Ok(())
    }

    fn damaged(&mut self, spot: Spot, path: &[u8], damage: &str) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let mut listed = blank(spot, path, name);
        listed.kind = FileKind::Directory.name();
        listed.damage = Some(damage.to_owned());
        self.report.damaged = self.report.damaged.strict_add(1);
        (self.each)(&listed)
    }

    fn listed(&self, spot: Spot, path: &[u8], name: &[u8]) -> Result<ListedFile> {
        let mut listed = blank(spot, path, name);
        match self.fill(spot, &mut listed) {
            Ok(()) => {}
            Err(Failure::Fault(fault)) => listed.damage = Some(fault.to_string()),
            Err(Failure::Error(error)) => return Err(error),
        }
        Ok(listed)
    }

    fn fill(&self, spot: Spot, listed: &mut ListedFile) -> Result<(), Failure> {
        let node = self.tree.node(spot)?;
        listed.kind = node.kind.name();
        listed.size_bytes = node.size;
        (listed.mode, listed.uid, listed.gid) = (node.mode, node.uid, node.gid);
        listed.links = node.links;
        listed.modified = text(node.modified);
        listed.accessed = node.accessed.and_then(text);
        listed.changed = node.changed.and_then(text);
        listed.created = node.created.and_then(text);
        if let FileKind::CharDevice(major, minor) | FileKind::BlockDevice(major, minor) = node.kind
        {
            listed.device = Some([major, minor]);
        }
        for attribute in self.tree.system(spot).attributes(spot.id)? {
            listed.xattrs.push(ListedAttribute {
                name: escape(&attribute.name),
                value_base64: STANDARD.encode(&attribute.value),
            });
        }
        listed.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        if node.kind == FileKind::Symlink && !node.encrypted {
            (listed.link, listed.link_bytes) = named(&self.tree.link(spot)?);
        }
        if node.kind == FileKind::Regular && self.request.digests {
            let mut sum = Sha256::new();
            self.tree.copy(spot, 0, u64::MAX, &mut |bytes| {
                sum.update(bytes);
                self.watch.check()
            })?;
            listed.digest = Some(sum.finish());
        }
        Ok(())
    }
}

/// Returns a name for JSON: itself, or escaped beside its bytes in base64.
fn named(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (Some(escape(bytes)), Some(STANDARD.encode(bytes))),
    }
}

/// Returns a name that is text as it is shown on one line.
#[must_use]
pub fn escaped(name: &str) -> String {
    escape(name.as_bytes())
}

fn blank(spot: Spot, path: &[u8], name: &[u8]) -> ListedFile {
    let (path, path_bytes) = named(path);
    ListedFile {
        path: path.unwrap_or_default(),
        path_bytes,
        kind: "unknown",
        size_bytes: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        links: 0,
        inode: spot.id.0,
        modified: None,
        accessed: None,
        changed: None,
        created: None,
        device: None,
        link: None,
        link_bytes: None,
        xattrs: Vec::new(),
        digest: None,
        damage: None,
        shown: escape(name),
    }
}

/// Writes a time; `None` for what no calendar has.
fn text(time: Time) -> Option<String> {
    let nanoseconds = i32::try_from(time.nanoseconds).ok()?;
    // Before 1970 both parts must have one sign.
    let (seconds, nanoseconds) = if time.seconds < 0 && nanoseconds > 0 {
        (time.seconds.checked_add(1)?, nanoseconds.checked_sub(1_000_000_000)?)
    } else {
        (time.seconds, nanoseconds)
    };
    Timestamp::new(seconds, nanoseconds).ok().map(|it| it.to_string())
}
