//! Where the files of a layout are read from.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::Part;
use crate::io::ReadAt;
use crate::layout::name::Name;

/// A file of a layout, open: a part of the input that holds it.
pub type Blob = Part<Arc<Input>>;

/// Where the files of a layout are read from: a folder, an archive, memory, a registry.
///
/// Nothing above knows which it is. What is read is judged there: a store says what it has, and fails only if
/// it cannot tell.
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Returns what the layout is called in messages.
    fn path(&self) -> &Path;

    /// Returns what the file `name` is called in messages.
    fn path_of(&self, name: Name) -> PathBuf {
        self.path().join(name.to_string())
    }

    /// Opens a file of the layout; `None` if it does not have it.
    ///
    /// # Errors
    ///
    /// `Io` if the store cannot be asked; `Corrupt` if what is there cannot be a file of a layout.
    fn file(&self, name: Name) -> Result<Option<Blob>>;
}

/// Takes all of an input.
pub(super) fn whole(input: Arc<Input>) -> Result<Blob> {
    let len = input.len();
    Part::new(input, 0, len)
}

/// Reads a small file of a layout whole.
///
/// # Errors
///
/// `Corrupt` if it is not there; `Limit` if it has over `most` bytes; as [`BlobStore::file`].
pub(crate) fn read(store: &dyn BlobStore, name: Name, most: u64) -> Result<Vec<u8>> {
    let path = store.path_of(name);
    let file = store
        .file(name)?
        .ok_or_else(|| Error::corrupt(format!("the layout has no {name}")).in_file(&path))?;
    read_small(&file, most).map_err(|e| e.in_file(&path))
}

/// Checks that it is an OCI image layout of the version that is known.
pub(crate) fn check_layout(store: &dyn BlobStore) -> Result<()> {
    /// Most bytes of `oci-layout`.
    const MOST: u64 = 4096;
    #[derive(serde::Deserialize)]
    struct Layout {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let path = store.path_of(Name::Layout);
    let bytes = read(store, Name::Layout, MOST)?;
    let layout: Layout = serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(format!("oci-layout: {e}")).in_file(&path))?;
    if layout.version == "1.0.0" {
        Ok(())
    } else {
        let text = format!("image layout version is {:?}, expected 1.0.0", layout.version);
        Err(Error::new(Kind::Unsupported, text).in_file(&path))
    }
}

/// Reads a blob whole, if it is not larger than such a blob ever is.
pub(crate) fn read_small(blob: &Blob, most: u64) -> Result<Vec<u8>> {
    let len = blob.len();
    if len > most {
        let text = format!("it has {len} bytes, expected at most {most}");
        return Err(Error::new(Kind::Limit, text));
    }
    crate::io::read_vec(blob, 0, len)
}
