//! A file that grows at its end, and is read at any place: what must survive a kill before it is whole.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::openat;

use crate::error::Error;
use crate::error::Result;
use crate::io::SharedFolder;
use crate::io::output::c_string;

/// A file that grows at its end.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    path: PathBuf,
}

impl LogFile {
    /// Opens the file `name` of a folder, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn open(folder: &SharedFolder, name: &str) -> Result<Self> {
        let path = folder.path().join(name);
        let (around, name) = folder.around(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_bits_retain(0o600);
        let file = openat(&around, &c_string(OsStr::new(name), &path)?, flags, mode)
            .map_err(|e| Error::io("open", &path, e.into()))?;
        around.sync_all().map_err(|e| Error::io("sync the folder of", &path, e))?;
        Ok(Self { file: File::from(file), path })
    }

    /// Returns the length in bytes.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn len(&self) -> Result<u64> {
        self.file.metadata().map(|it| it.len()).map_err(|e| Error::io("look at", &self.path, e))
    }

    /// Tells whether there is nothing in it.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns when it was last written to.
    ///
    /// # Errors
    ///
    /// `Io` if the system does not say.
    pub fn modified(&self) -> Result<SystemTime> {
        let found = self.file.metadata().and_then(|it| it.modified());
        found.map_err(|e| Error::io("look at", &self.path, e))
    }

    /// Writes bytes at a place.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|e| Error::io("write", &self.path, e).at(offset))
    }

    /// Fills `buf` from byte `offset` on.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses, or the file ends early.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| Error::io("read", &self.path, e).at(offset))
    }

    /// Cuts the file.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub fn cut(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| Error::io("cut", &self.path, e))
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    ///
    /// `Io`; what was written since the last time may be lost then.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }
}
