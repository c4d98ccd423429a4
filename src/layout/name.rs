//! The files of a layout, by their names.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use crate::digest::Digest;

/// Name of the file that says which layout it is.
pub(crate) const LAYOUT_NAME: &str = "oci-layout";

/// Name of the file that names the manifest.
pub(crate) const INDEX_NAME: &str = "index.json";

/// Returns the name of a blob inside the layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// Tells whether a bundle of this name is one file.
#[must_use]
pub fn is_archive_name(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("tar"))
}

/// A file of a layout, by what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The file that says which layout it is.
    Layout,
    /// The file that names the manifests.
    Index,
    /// A blob, by its digest.
    Blob(Digest),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str(LAYOUT_NAME),
            Self::Index => f.write_str(INDEX_NAME),
            Self::Blob(digest) => f.write_str(&blob_name(digest)),
        }
    }
}
