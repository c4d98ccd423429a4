//! What `diff --files` tells, an entry at a time.

use serde::Serialize;

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
    /// It has the same content at another place.
    Moved,
    /// Only its attributes differ.
    Metadata,
    /// Nothing that it shows differs, and pages that belong to it do.
    Rewritten,
}

impl Change {
    /// How many there are.
    pub(super) const COUNT: usize = 6;

    /// Returns its place among all.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Added => 0,
            Self::Removed => 1,
            Self::Changed => 2,
            Self::Moved => 3,
            Self::Metadata => 4,
            Self::Rewritten => 5,
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
    /// Blocks of 512 KiB that changed and that it has a part of.
    pub changed_blocks: u64,
    /// Of these, blocks that changed only because of it.
    pub sole_blocks: u64,
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
    /// Blocks of 512 KiB with a page that differs: puts to EBS.
    pub changed_blocks: u64,
    /// Files that were added.
    pub added: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Files with other content.
    pub changed: u64,
    /// Files with the same content at another place.
    pub moved: u64,
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
    /// A package.
    Package(PackageChange),
    /// The last one.
    Sum(FilesReport),
}
