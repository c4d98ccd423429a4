//! What `diff --files` tells, an entry at a time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::guest::escape;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other content, or is of another kind.
    Changed,
    /// It has the same content at another place of the volume.
    Moved,
    /// It has the content of a file that is gone.
    Renamed,
    /// Only its attributes differ.
    Metadata,
    /// Nothing that it shows differs, and pages that belong to it do.
    Rewritten,
}

impl Change {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    /// Returns its place among all.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Added => 0,
            Self::Removed => 1,
            Self::Changed => 2,
            Self::Moved => 3,
            Self::Renamed => 4,
            Self::Metadata => 5,
            Self::Rewritten => 6,
        }
    }

    /// Returns the stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Renamed => "renamed",
            Self::Metadata => "metadata",
            Self::Rewritten => "rewritten",
        }
    }
}

/// A file that differs, or that pages which differ belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Path from the root; escaped if it is not UTF-8.
    pub path: String,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// What became of it.
    pub change: Change,
    /// Path that a renamed file had; escaped if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_path: Option<String>,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_path_bytes: Option<String>,
    /// What it is, or was.
    pub kind: &'static str,
    /// Bytes of its content before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_size_bytes: Option<u64>,
    /// Bytes of its content now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_size_bytes: Option<u64>,
    /// Bytes in pages that changed and that belonged to it before.
    pub old_changed_bytes: u64,
    /// Bytes in pages that changed and that belong to it now.
    pub changed_bytes: u64,
    /// Of these, bytes in pages that a delta has to carry: not zeros, and nowhere in the old volume.
    pub delta_bytes: u64,
    /// Blocks of 512 KiB that changed and that it has a part of: puts to EBS.
    pub changed_blocks: u64,
    /// Of these, blocks that changed only because of it.
    pub sole_blocks: u64,
}

/// What the files in a directory, and below it, cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderSum {
    /// Path from the root; escaped if it is not UTF-8.
    pub path: String,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// Bytes in pages that changed.
    pub changed_bytes: u64,
    /// Of these, bytes in pages that a delta has to carry: not zeros, and nowhere in the old volume.
    pub delta_bytes: u64,
    /// Files that differ.
    pub files: u64,
}

/// What owners of one class cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassSum {
    /// The class, as `file-data`, `inodes` or `free`.
    pub class: &'static str,
    /// Bytes in pages that changed and that were of it before.
    pub old_changed_bytes: u64,
    /// Bytes in pages that changed and that are of it now.
    pub changed_bytes: u64,
    /// Of these, bytes in pages that a delta has to carry: not zeros, and nowhere in the old volume.
    pub delta_bytes: u64,
    /// Blocks of 512 KiB that changed and that it has a part of: puts to EBS.
    pub changed_blocks: u64,
    /// Of these, blocks that changed only because of it.
    pub sole_blocks: u64,
}

/// What has a part of a block that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockShare {
    /// The class, as `file-data`, `inodes` or `free`.
    pub class: &'static str,
    /// Path of the file that it belongs to, if it belongs to one that has a path; escaped if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its bytes, base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// Bytes in pages that changed.
    pub changed_bytes: u64,
}

/// A block of 512 KiB that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockChange {
    /// Its number.
    pub block: u64,
    /// Bytes in pages that changed.
    pub changed_bytes: u64,
    /// Whether it changed only because of one owner, file or class.
    pub sole: bool,
    /// Whose the pages are now, the one with most of them first.
    pub owners: Vec<BlockShare>,
    /// Whose they were before.
    pub old_owners: Vec<BlockShare>,
}

/// A package that was added, removed or upgraded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// `added`, `removed` or `upgraded`.
    pub change: &'static str,
    /// Its manager: `deb`, `rpm` or `apk`.
    pub manager: &'static str,
    /// Name.
    pub name: String,
    /// Architecture.
    pub architecture: String,
    /// Version before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_version: Option<String>,
    /// Version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_version: Option<String>,
}

/// The sum of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilesReport {
    /// Whether no page differs.
    pub equal: bool,
    /// Bytes of the old volume.
    pub old_size_bytes: u64,
    /// Bytes of the new volume.
    pub new_size_bytes: u64,
    /// Pages of 4 KiB that differ.
    pub changed_pages: u64,
    /// Bytes of these.
    pub changed_bytes: u64,
    /// Of these, bytes of pages that a delta has to carry, before it is compressed.
    pub delta_bytes: u64,
    /// Blocks of 512 KiB with a page that differs: puts to EBS.
    pub changed_blocks: u64,
    /// Bytes of the changed pages that belong to files with a path: the sum over all files.
    pub file_bytes: u64,
    /// Bytes that belong to files without one: deleted while open, or of a file system that is not mounted.
    pub unnamed_bytes: u64,
    /// Bytes that belong to no file.
    pub other_bytes: u64,
    /// Files that were added.
    pub added: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Files with other content.
    pub changed: u64,
    /// Files with the same content at another place of the volume.
    pub moved: u64,
    /// Files with the content of one that is gone.
    pub renamed: u64,
    /// Files of which only attributes differ.
    pub metadata: u64,
    /// Files that look the same, with pages that differ.
    pub rewritten: u64,
    /// What could not be looked into, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// What a class costs.
    Class(ClassSum),
    /// A file.
    File(FileChange),
    /// What is below a directory.
    Directory(FolderSum),
    /// A block, if blocks were asked for.
    Block(BlockChange),
    /// A package.
    Package(PackageChange),
    /// The last one.
    Sum(FilesReport),
}

/// Returns a path for JSON: itself, or escaped beside its bytes in base64.
pub(super) fn named(path: &[u8]) -> (String, Option<String>) {
    let path = if path.is_empty() { b"/" } else { path };
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (escape(path), Some(STANDARD.encode(path))),
    }
}
