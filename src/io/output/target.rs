//! Where an image goes.

use std::path::Path;

use crate::error::Result;
use crate::io::output::device::Device;
use crate::io::output::device::is_block_device;
use crate::io::output::file::OutputFile;
use crate::io::output::file::unwritten;
use crate::io::output::write_at::WriteAt;

/// Where an image goes: a file under a new name, or a block device.
#[derive(Debug)]
pub enum Target {
    /// A regular file, renamed at the end.
    File(OutputFile),
    /// A block device, written in place.
    Device(Device),
}

impl Target {
    /// Opens the output that the user named: a block device in place, anything else as a new file.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`] and [`Device::open`].
    pub fn open(path: &Path) -> Result<Self> {
        if is_block_device(path) {
            Device::open(path).map(Self::Device)
        } else {
            OutputFile::create(path).map(Self::File)
        }
    }

    /// Opens the output for bytes that were decrypted: a new file is its owner's alone.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub fn open_private(path: &Path) -> Result<Self> {
        if is_block_device(path) {
            Device::open(path).map(Self::Device)
        } else {
            OutputFile::create_private(path).map(Self::File)
        }
    }

    /// Fails if there is no room for `bytes` bytes more, as far as that can be said: a device has its size.
    ///
    /// # Errors
    ///
    /// `Io`, as [`OutputFile::check_room`].
    pub fn check_room(&self, bytes: u64) -> Result<()> {
        match self {
            Self::File(file) => file.check_room(bytes),
            Self::Device(_) => Ok(()),
        }
    }

    /// Calls `write`, and finishes the output if that went well: it is on the disk, under its name, when
    /// this returns.
    ///
    /// # Errors
    ///
    /// Whatever `write` returns, with what became of the output; as [`OutputFile::commit`] and
    /// [`Device::commit`].
    pub fn finish<T>(self, write: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let done = write(&self).map_err(|error| match &self {
            Self::File(file) => unwritten(file.target())(error),
            Self::Device(device) => device.failed(error),
        })?;
        self.commit()?;
        Ok(done)
    }

    /// Finishes the output: it is on the disk, under its name, when this returns.
    ///
    /// # Errors
    ///
    /// `Io`, as [`OutputFile::commit`] and [`Device::commit`].
    pub fn commit(self) -> Result<()> {
        match self {
            Self::File(file) => file.commit(),
            Self::Device(device) => device.commit(),
        }
    }

    fn writer(&self) -> &dyn WriteAt {
        match self {
            Self::File(file) => file,
            Self::Device(device) => device,
        }
    }
}

impl WriteAt for Target {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.writer().write_all_at(bytes, offset)
    }

    fn write_zeros_at(&self, len: u64, offset: u64) -> Result<()> {
        self.writer().write_zeros_at(len, offset)
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.writer().make_hole_at(len, offset)
    }

    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.writer().read_back_at(buf, offset)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.writer().set_size(size)
    }
}
