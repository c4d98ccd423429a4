//! A file that is changed where it stands, by a caller that has a journal of what is to be changed.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::WriteAt;
use crate::io::direct::Direct;
use crate::io::output::Place;
use crate::io::output::write_both;
use crate::io::system::punch_hole;

/// A regular file, open for changes, and locked against others who do the same.
#[derive(Debug)]
pub struct InPlace {
    file: File,
    direct: Direct,
    path: PathBuf,
}

impl InPlace {
    /// Opens the file for changes.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses or another run has it; `Invalid` if it is not a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let kind = fs::metadata(path).map_err(|e| Error::io("open", path, e))?.file_type();
        if !kind.is_file() {
            return Err(Error::invalid("it is not a regular file, expected one")
                .in_file(path)
                .advise("write a new image with -o"));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Error::io("open for writing", path, e))?;
        if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(Error::new(Kind::Io, "another run is changing it")
                .in_file(path)
                .advise("wait for it to finish"));
        }
        Ok(Self { direct: Direct::of(&file), file, path: path.to_owned() })
    }

    /// Returns the file as an input: this very file, whatever has its name by now. It counts as changed
    /// once it is not what it was when this was called.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn input(&self) -> Result<Arc<Input>> {
        let file = self.file.try_clone().map_err(|e| Error::io("open", &self.path, e))?;
        Input::of_file(file, &self.path).map(Arc::new)
    }

    /// Fails if the name leads to another file by now.
    ///
    /// # Errors
    ///
    /// `Io` if it does, or if that cannot be determined.
    pub fn check_name(&self) -> Result<()> {
        let fail = |e| Error::io("look at", &self.path, e);
        let open = self.file.metadata().map_err(fail)?;
        let named = fs::metadata(&self.path).map_err(fail)?;
        if (open.dev(), open.ino()) == (named.dev(), named.ino()) {
            return Ok(());
        }
        Err(Error::new(Kind::Io, "another file took its name during the run").in_file(&self.path))
    }

    /// Brings all that was changed to the disk.
    ///
    /// # Errors
    ///
    /// `Io`; then the changes must be made again.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path, e))
    }
}

impl WriteAt for InPlace {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        write_both(&self.file, &self.direct, &self.path, bytes, offset)
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        punch_hole(&self.file, len, offset)
            .map_err(|e| Error::io("write", &self.path, e).at(offset))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|e| Error::io("write", &self.path, e).at(size))
    }
}

/// Removes a file with what runs that were killed left of it, and syncs its folder: it is gone for good
/// when this returns.
///
/// # Errors
///
/// `Io` if the system refuses.
pub fn remove(path: &Path) -> Result<()> {
    let place = Place::of(path)?;
    fs::remove_file(path).map_err(|e| Error::io("remove", path, e))?;
    place.sweep();
    place.folder().sync_all().map_err(|e| Error::io("sync the folder of", path, e))
}
