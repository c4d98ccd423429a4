//! A block device as an output.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::io::direct::Direct;
use crate::io::output::write_at::WriteAt;
use crate::io::output::write_at::write_both;
use crate::io::system::SOLE_USE;
use crate::io::system::zero_range;

/// A block device, written where it stands: there is no name to swap, so a run that stops half way
/// leaves it half written.
#[derive(Debug)]
pub struct Device {
    file: File,
    direct: Direct,
    path: PathBuf,
    len: u64,
    /// Whether anything was written.
    changed: AtomicBool,
}

impl Device {
    /// Opens a block device for writing, alone.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses, as it does while the device is mounted or otherwise in use.
    pub fn open(path: &Path) -> Result<Self> {
        use io::Seek;
        let exclusive = i32::try_from(SOLE_USE.bits()).expect("a small flag");
        let mut file =
            OpenOptions::new().write(true).read(true).custom_flags(exclusive).open(path).map_err(
                |e| {
                    let busy = e.kind() == io::ErrorKind::ResourceBusy;
                    let error = Error::io("open for writing", path, e);
                    if busy { error.advise("unmount it, or stop what uses it") } else { error }
                },
            )?;
        let len = file.seek(io::SeekFrom::End(0)).map_err(|e| Error::io("measure", path, e))?;
        let changed = AtomicBool::new(false);
        Ok(Self { direct: Direct::of(&file), file, path: path.to_owned(), len, changed })
    }

    /// Brings all that was written to the disk.
    ///
    /// # Errors
    ///
    /// `Io`; then the device's content is unknown.
    pub fn commit(self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.failed(Error::io("sync", &self.path, e)))
    }

    /// Adds to an error what became of the device.
    pub(in crate::io) fn failed(&self, error: Error) -> Error {
        let path = shown(&self.path);
        if self.changed.load(Ordering::Relaxed) {
            return error.leaving(format!("{path} was overwritten in part: write all of it again"));
        }
        match error.kind() {
            Kind::Interrupted => error.leaving(format!("{path} is unchanged")),
            _ => error,
        }
    }
}

impl WriteAt for Device {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.changed.store(true, Ordering::Relaxed);
        write_both(&self.file, &self.direct, &self.path, bytes, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| Error::io("read back", &self.path, e).at(offset))
    }

    /// Old content must not show through, so a hole is zeroed, by the device itself where it can.
    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.changed.store(true, Ordering::Relaxed);
        // What the device refuses is written.
        zero_range(&self.file, len, offset).or_else(|_| self.write_zeros_at(len, offset))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        if size <= self.len {
            return Ok(());
        }
        let text = format!("the device has {} bytes, expected {size} or more", self.len);
        Err(Error::invalid(text).in_file(&self.path).advise("use a device that is large enough"))
    }
}

/// Tells whether `path` leads to a block device.
#[must_use]
pub fn is_block_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
}
