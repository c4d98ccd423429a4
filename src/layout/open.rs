//! Which layout is at a path.

use std::path::Path;
use std::sync::Arc;

use crate::error::Kind;
use crate::error::Result;
use crate::io::Folder;
use crate::io::Input;
use crate::io::Node;
use crate::layout::archive::InArchive;
use crate::layout::folder::InFolder;
use crate::layout::name::LAYOUT_NAME;
use crate::layout::store::BlobStore;
use crate::layout::tar;

/// Opens the layout at `path`: a folder, or an archive in one file.
///
/// # Errors
///
/// `Corrupt` if it is not a layout; `Io` if it cannot be read.
pub(crate) fn open(path: &Path) -> Result<Arc<dyn BlobStore>> {
    if Node::at(path)? == Some(Node::Folder) {
        return Ok(Arc::new(InFolder(Folder::open(path)?)));
    }
    InArchive::open(Arc::new(Input::open(path)?))
        .map(|store| -> Arc<dyn BlobStore> { Arc::new(store) })
}

/// Tells whether `path` looks like a layout: a folder with its first file, or a tar archive that begins as
/// one.
///
/// # Errors
///
/// `Io` if that cannot be determined.
pub(crate) fn is_at(path: &Path) -> Result<bool> {
    match Node::at(path)? {
        Some(Node::Folder) => {
            let layout = Folder::file_at(path, LAYOUT_NAME);
            // A link in its place is damage, which opening the layout reports.
            layout.map_or_else(
                |error| if error.kind() == Kind::Io { Err(error) } else { Ok(true) },
                |file| Ok(file.is_some()),
            )
        }
        Some(Node::File | Node::Device) => tar::is_bundle(&Input::open(path)?),
        Some(_) | None => Ok(false),
    }
}
