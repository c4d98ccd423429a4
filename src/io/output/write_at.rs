//! Bytes that are written at any place: what all outputs share.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use crate::error::Error;
use crate::error::Result;
use crate::io::PageBuffer;
use crate::io::WRITE_PIECE_LEN;
use crate::io::direct::Direct;

/// Bytes of zeros that are written at once, from one multiple of it to the next: long enough for the way
/// past the page cache.
const ZEROS_LEN: u64 = 2 << 20;

/// What zeros are written from. Nothing is ever put there, so it takes no memory.
static ZEROS: LazyLock<PageBuffer> =
    LazyLock::new(|| PageBuffer::zeroed(usize::try_from(ZEROS_LEN).expect("2 MiB")));

/// Bytes that can be written at any place, by any number of threads.
pub trait WriteAt: Send + Sync {
    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses: no space, a limit, a broken disk.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes `len` bytes from `offset` on written zeros.
    ///
    /// # Errors
    ///
    /// As [`WriteAt::write_all_at`].
    fn write_zeros_at(&self, len: u64, offset: u64) -> Result<()> {
        let end = offset.strict_add(len);
        let mut at = offset;
        while at < end {
            let len = end.strict_sub(at).min(ZEROS_LEN.strict_sub(at % ZEROS_LEN));
            self.write_all_at(&ZEROS[..usize::try_from(len).expect("2 MiB at most")], at)?;
            // Cannot overflow: at most `end`.
            at = at.strict_add(len);
        }
        Ok(())
    }

    /// Makes `len` bytes from `offset` on read as zeros, at the least cost in space.
    ///
    /// # Errors
    ///
    /// As [`WriteAt::write_all_at`].
    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()>;

    /// Fills `buf` with what was written from `offset` on.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Invalid` for an output that cannot be read.
    fn read_back_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let _ = (buf, offset);
        Err(Error::invalid("the output cannot be read back, expected a file or a device"))
    }

    /// Makes the output `size` bytes long, where it has a length of its own.
    ///
    /// # Errors
    ///
    /// As [`WriteAt::write_all_at`]; a device that is too small is `Invalid`.
    fn set_size(&self, size: u64) -> Result<()>;
}

/// Writes all of `bytes`: what `direct` takes of them, and the rest a piece at a time.
pub(in crate::io) fn write_both(
    file: &File,
    direct: &Direct,
    path: &Path,
    bytes: &[u8],
    offset: u64,
) -> Result<()> {
    let written = direct.write_at(bytes, offset).map_err(|e| write_failed(path, offset, e))?;
    let at = offset.strict_add(u64::try_from(written).expect("at most all of them"));
    write_pieces(file, path, &bytes[written..], at)
}

/// Writes all of `bytes`, a piece at a time.
fn write_pieces(file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    let mut at = offset;
    for piece in bytes.chunks(WRITE_PIECE_LEN) {
        file.write_all_at(piece, at).map_err(|e| write_failed(path, at, e))?;
        at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
    }
    Ok(())
}

/// Says what to do where the disk is full.
pub(in crate::io) fn write_failed(path: &Path, offset: u64, error: io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::io("write", path, error).at(offset);
    if full { error.advise("free some space, or write the output elsewhere") } else { error }
}
