//! A layout whose files are in memory, or far away.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::io::Input;
use crate::layout::name::Name;
use crate::layout::store::Blob;
use crate::layout::store::BlobStore;
use crate::layout::store::whole;

/// A layout whose files are inputs of any kind: in memory, or far away.
#[derive(Debug)]
pub struct InInputs {
    path: PathBuf,
    files: BTreeMap<Name, Arc<Input>>,
}

impl InInputs {
    /// Starts a layout without a file, which is called `path` in messages.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), files: BTreeMap::new() }
    }

    /// Adds a file, or another one in its place.
    pub fn insert(&mut self, name: Name, input: Arc<Input>) {
        self.files.insert(name, input);
    }
}

impl BlobStore for InInputs {
    fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: Name) -> Result<Option<Blob>> {
        self.files.get(&name).map(|input| whole(Arc::clone(input))).transpose()
    }
}
