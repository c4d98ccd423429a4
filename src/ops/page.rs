//! A document that is made in memory, and its name.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Result;
use crate::io::OutputFile;
use crate::io::WriteAt;
use crate::io::unwritten;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::outside::check_spares;

/// A document that has no name yet.
#[derive(Debug)]
pub struct PageOutput {
    output: OutputFile,
    path: PathBuf,
}

impl PageOutput {
    /// Begins a document under a name that nothing has which is read for it: the volumes, and `more`.
    ///
    /// # Errors
    ///
    /// `Invalid` if the name is that of something that is read, or of something that is not a regular file; `Io` if the
    /// system refuses.
    pub fn create<'a>(
        path: &Path,
        volumes: &[&'a VolumeRequest],
        more: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Self> {
        check_spares(path, volumes, more)?;
        Ok(Self { output: OutputFile::create(path)?, path: path.to_owned() })
    }

    /// Writes the document, and gives it its name.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; then nothing has the name that did not have it before.
    pub fn finish(self, bytes: &[u8]) -> Result<()> {
        let written = self.output.write_all_at(bytes, 0);
        written.and_then(|()| self.output.commit()).map_err(unwritten(&self.path))
    }
}
