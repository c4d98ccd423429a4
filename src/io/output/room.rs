//! Whether there is room for an output, asked before the work.

use std::fs::File;
use std::path::Path;

use rustix::fs::fstatvfs;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::system::may_compress;
use crate::units::format_size;

/// Fails if the file system of `file` has no room for `bytes` more bytes. One that does not say how much
/// it has is believed to have enough.
pub(super) fn check_room(file: &File, bytes: u64, path: &Path) -> Result<()> {
    let Ok(stat) = fstatvfs(file) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if stat.f_blocks == 0 || bytes <= free || may_compress(file) {
        return Ok(());
    }
    let text = format!(
        "No space left: {} must be written, and the file system has {}",
        format_size(bytes),
        format_size(free)
    );
    Err(Error::new(Kind::Io, text)
        .in_file(path)
        .advise("free some space, or write the output elsewhere"))
}
