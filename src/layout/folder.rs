//! A layout in a folder.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::io::Folder;
use crate::layout::name::Name;
use crate::layout::store::Blob;
use crate::layout::store::BlobStore;
use crate::layout::store::whole;

/// A layout in a folder, which stays the same one although another may take its name.
#[derive(Debug)]
pub(super) struct InFolder(pub(super) Folder);

impl BlobStore for InFolder {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        self.0.file(&name.to_string())?.map(|input| whole(Arc::new(input))).transpose()
    }
}
