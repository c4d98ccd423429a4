//! The parts of a bundle: plain files beside its manifest.

use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::instance_store::manifest::Manifest;
use crate::io::Input;
use crate::io::Node;

/// The parts that a manifest names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
}

impl<'a> Parts<'a> {
    pub(super) fn new(folder: &'a Path, manifest: &'a Manifest) -> Self {
        Self { folder, manifest }
    }

    pub(super) fn count(self) -> usize {
        self.manifest.parts.len()
    }

    /// Returns the bytes of all parts, as the manifest says.
    pub(super) fn bundled_size(self) -> u64 {
        self.manifest.bundled_size
    }

    /// Opens a part: a plain file beside the manifest.
    pub(super) fn open(self, index: usize) -> Result<Input> {
        let path = self.folder.join(&self.manifest.parts[index].filename);
        // A link could lead to any file of the reader's.
        match Node::itself(&path)? {
            Some(Node::File) => Input::open(&path),
            Some(_) => Err(Error::corrupt("the part is not a plain file").in_file(&path)),
            None => Err(Error::corrupt("the part is missing").in_file(&path)),
        }
    }
}
