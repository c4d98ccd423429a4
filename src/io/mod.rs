//! The only room that touches the file system.
//!
//! Inputs are read by position, outputs are written beside their final name and renamed, and files
//! of our own formats can be mapped into memory.
#![allow(clippy::disallowed_methods, reason = "what the other rooms may not do is done here")]

mod abilities;
mod direct;
mod folder;
mod in_place;
mod input;
mod kept;
mod leftovers;
mod listing;
mod log_file;
mod map;
mod node;
mod open;
mod output;
mod page_buffer;
mod private_log;
mod scratch;
mod secret;
mod shared_extents;
mod shared_folder;
mod signals;
mod stream;
mod system;
#[cfg(test)]
pub(crate) mod testing;
mod unwritten;
mod users;
mod witness;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::units::Extent;
use crate::units::ExtentKind;

pub use abilities::Abilities;
pub use folder::Folder;
pub use in_place::InPlace;
pub use in_place::remove;
pub use input::Input;
pub use leftovers::take_leftovers;
pub use listing::Listed;
pub use listing::list;
pub use log_file::LogFile;
pub use map::Mapped;
pub use map::catch_bus_errors;
pub use node::Node;
pub use node::inode;
pub use node::real_path;
pub use open::Opened;
pub use open::STANDARD_INPUT;
pub use open::open;
pub use output::Device;
pub use output::Judge;
pub use output::OutputDir;
pub use output::OutputFile;
pub use output::Staging;
pub use output::Taken;
pub use output::Target;
pub use output::WriteAt;
pub use output::is_block_device;
pub use output::unwritten;
pub use page_buffer::PageBuffer;
pub use private_log::PrivateLog;
pub use scratch::Scratch;
pub use secret::read_secret;
pub use shared_extents::SharedExtent;
use shared_extents::parts_of;
pub use shared_folder::FolderLock;
pub use shared_folder::Hold;
pub use shared_folder::SharedFile;
pub use shared_folder::SharedFolder;
pub use shared_folder::StagedFiles;
pub use signals::ignores;
pub use stream::END_LEN;
pub use stream::Stream;
pub use users::writers_of;
pub use witness::Witness;

/// Largest single read of an image, in bytes. Eight pieces of this size, one for each lane, stay in a
/// second-level cache of 1 MiB until they are hashed; with twice the size `snapshot` of a Debian root
/// volume took 1.13 times as long.
pub const READ_PIECE_LEN: usize = 64 << 10;

/// Largest single read of each of two images that are compared, in bytes. Both pieces stay in a
/// second-level cache of 1 MiB; with a quarter of the size `compare` of two Debian root volumes took
/// 1.1 times as long.
pub const PAIR_PIECE_LEN: usize = 256 << 10;

/// Largest single write through the page cache, in bytes. A larger one lets the file system take pages
/// of two mebibytes, and on a virtual machine just those are first given back to the host: 2 GiB then
/// took 2 to 5 s where writes of this size took 0.4 to 0.6 s. None smaller was faster.
pub const WRITE_PIECE_LEN: usize = 256 << 10;

/// Bytes that can be read from any place, by any number of threads.
///
/// A program can bring its own: [`Input::of_storage`] makes an input of anything that has this trait, as of a
/// blob in a registry.
pub trait ReadAt: Send + Sync + fmt::Debug {
    /// Returns how many bytes there are.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on. Never a short read.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses, `Corrupt` if the bytes end before `buf` is full; both name the
    /// file and the offset.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// Returns what is data, what was written as zeros and what was never written, as far as that is
    /// known without reading: ascending extents that tile `0..len()`. One extent of data where nothing
    /// is known; none where there are no bytes.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Limit` if there are over `limit` extents.
    fn extents(&self, limit: usize) -> Result<Vec<Extent>> {
        let _ = limit;
        Ok(all_data(self.len()))
    }

    /// Returns the ranges that other files may share, ascending, with the places at which they lie: bytes at one
    /// place are equal, and nobody has to read them. None where nothing is known.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
        Ok(Vec::new())
    }

    /// Says that a range will be read soon, so that a disk can fetch it meanwhile. Nothing has to happen.
    fn will_need(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Returns the file that the bytes are in, where there is one.
    fn origin(&self) -> Option<&Path> {
        None
    }

    /// Fails if the bytes are not what they were when they were opened.
    ///
    /// # Errors
    ///
    /// `Io` if they changed, or if that cannot be determined any more.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// Tells whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn extents(&self, limit: usize) -> Result<Vec<Extent>> {
        (**self).extents(limit)
    }

    fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
        (**self).shared_extents()
    }

    fn will_need(&self, range: Range<u64>) {
        (**self).will_need(range);
    }

    fn origin(&self) -> Option<&Path> {
        (**self).origin()
    }

    fn check_unchanged(&self) -> Result<()> {
        (**self).check_unchanged()
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        u64::try_from(Self::len(self)).expect("memory is under 2^64 bytes")
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or_else(|| Error::corrupt("the bytes end early").at(offset))?;
        buf.copy_from_slice(found);
        Ok(())
    }
}

/// Returns the extents of `len` bytes of which nothing more is known.
fn all_data(len: u64) -> Vec<Extent> {
    let whole = Extent { range: 0..len, kind: ExtentKind::Data };
    if len > 0 { vec![whole] } else { Vec::new() }
}

/// Reads `len` bytes from `offset` on into memory of their own.
///
/// # Errors
///
/// As [`ReadAt::read_exact_at`]. Nothing is allocated for bytes that are not there.
pub fn read_vec(source: &dyn ReadAt, offset: u64, len: u64) -> Result<Vec<u8>> {
    let end = offset.checked_add(len).filter(|end| *end <= source.len());
    let (Some(_), Ok(len)) = (end, usize::try_from(len)) else {
        return Err(Error::corrupt(format!(
            "the file ends at byte {}, expected {len} more bytes here",
            source.len()
        ))
        .at(offset));
    };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| {
        let text = format!("there is no memory for {len} bytes of it");
        Error::new(Kind::Io, text).at(offset)
    })?;
    bytes.resize(len, 0);
    source.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// A part of other bytes, seen as a whole: a member of an archive, or a section.
#[derive(Clone, Debug)]
pub struct Part<R> {
    whole: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> Part<R> {
    /// Takes the `len` bytes of `whole` from `start` on.
    ///
    /// # Errors
    ///
    /// `Corrupt` if `whole` ends before that.
    pub fn new(whole: R, start: u64, len: u64) -> Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= whole.len() => Ok(Self { whole, start, len }),
            _ => Err(Error::corrupt(format!(
                "the file ends at byte {}, expected {len} more bytes here",
                whole.len()
            ))
            .at(start)),
        }
    }

    /// Returns the whole.
    #[must_use]
    pub fn whole(&self) -> &R {
        &self.whole
    }

    /// Returns the byte of the whole at which the part starts.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl<R: ReadAt> ReadAt for Part<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let len = u64::try_from(buf.len()).expect("memory is under 2^64 bytes");
        match offset.checked_add(len) {
            // Cannot overflow: the part lies inside the whole.
            Some(end) if end <= self.len => {
                self.whole.read_exact_at(buf, self.start.strict_add(offset))
            }
            _ => Err(Error::corrupt("the part ends early").at(self.start.saturating_add(offset))),
        }
    }

    fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
        Ok(parts_of(&self.whole.shared_extents()?, self.start, self.len))
    }

    fn origin(&self) -> Option<&Path> {
        self.whole.origin()
    }

    fn check_unchanged(&self) -> Result<()> {
        self.whole.check_unchanged()
    }
}
