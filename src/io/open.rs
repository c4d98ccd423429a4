//! Opening what the user named, in the way in which it can be read.

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::Stream;

/// What standard input is called in messages.
pub const STANDARD_INPUT: &str = "standard input";

/// An input by the way in which it can be read.
#[derive(Debug)]
pub enum Opened {
    /// A regular file or block device: any byte at any time.
    File(Arc<Input>),
    /// A pipe, a terminal or standard input: once, in order.
    Stream(Stream),
}

/// Opens an input that the user named; `-` is standard input.
///
/// # Errors
///
/// `Io` if the system refuses, `Invalid` for a folder.
pub fn open(path: &Path) -> Result<Opened> {
    if path.as_os_str() == OsStr::new("-") {
        let name = Path::new(STANDARD_INPUT);
        let copy = io::stdin().as_fd().try_clone_to_owned();
        let file = File::from(copy.map_err(|e| Error::io("open", name, e))?);
        return Stream::of(name, file).map(Opened::Stream);
    }
    let kind = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?.file_type();
    if kind.is_fifo() || kind.is_char_device() {
        // Until a pipe has a writer, opening it would not hear the wish to stop. Reading waits for
        // that as well, and hears it.
        let flags = if kind.is_fifo() { OFlags::NONBLOCK } else { OFlags::empty() };
        let flags = i32::try_from(flags.bits()).expect("a small flag");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        return Stream::of(path, file.map_err(|e| Error::io("open", path, e))?).map(Opened::Stream);
    }
    Input::open(path).map(Arc::new).map(Opened::File)
}
