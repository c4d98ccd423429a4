//! Inputs: regular files and block devices by position, pipes in order.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::fs::SeekFrom;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::io::unwritten;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::work::Watch;

/// What standard input is called in messages.
pub const STANDARD_INPUT: &str = "standard input";

/// An input by the way in which it can be read.
#[derive(Debug)]
pub enum Opened {
    /// A regular file or block device: any byte at any time.
    File(Input),
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
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        return Stream::of(path, file).map(Opened::Stream);
    }
    Input::open(path).map(Opened::File)
}

/// Bytes that come once and in order.
pub struct Stream {
    path: PathBuf,
    // One thread reads a stream.
    reader: Box<dyn Read>,
    /// What to wait for before a read that may last.
    wait: Option<File>,
}

/// Longest time for which a wish to stop is not heard while nothing comes.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Stream {
    /// Makes a stream of any reader, under a name for messages.
    #[must_use]
    pub fn new(path: &Path, stream: Box<dyn Read>) -> Self {
        Self { path: path.to_owned(), reader: stream, wait: None }
    }

    /// Makes a stream of a pipe or terminal.
    fn of(path: &Path, file: File) -> Result<Self> {
        let wait = file.try_clone().map_err(|e| Error::io("open", path, e))?;
        Ok(Self { path: path.to_owned(), reader: Box::new(file), wait: Some(wait) })
    }

    /// Waits until there is something to read, or the user wants to stop.
    fn wait(&self, watch: &dyn Watch) -> Result<()> {
        let Some(file) = &self.wait else { return watch.check() };
        loop {
            watch.check()?;
            match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(Error::io("wait for", &self.path, e.into())),
            }
        }
    }

    /// Returns the name for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buf` as far as the stream goes and returns how much that was; short only at the end.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Interrupted` if `watch` says to stop.
    pub fn read_full(&mut self, buf: &mut [u8], watch: &dyn Watch) -> Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            self.wait(watch)?;
            match self.reader.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(len) => filled = filled.strict_add(len),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path, e)),
            }
        }
        Ok(filled)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What tells a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A regular file or block device, open for reading.
#[derive(Debug)]
pub struct Input {
    file: File,
    path: PathBuf,
    len: u64,
    /// Taken at opening; a block device has no times that say anything.
    identity: Option<Identity>,
}

impl Input {
    /// Opens a regular file or block device.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Invalid` if it is a folder, a pipe or a socket.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e| Error::io("open", path, e);
        // A pipe must not be opened here: that would wait for its writer.
        let kind = std::fs::metadata(path).map_err(fail)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let what = if kind.is_dir() { "a folder" } else { "a pipe, socket or terminal" };
            return Err(Error::invalid(format!("it is {what}, expected a file or block device"))
                .in_file(path));
        }
        let mut file = File::open(path).map_err(fail)?;
        let (len, identity) = if kind.is_block_device() {
            (file.seek(io::SeekFrom::End(0)).map_err(fail)?, None)
        } else {
            let identity = Identity::of(&file).map_err(fail)?;
            (identity.size, Some(identity))
        };
        Ok(Self { file, path: path.to_owned(), len, identity })
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the device and inode numbers of a regular file.
    #[must_use]
    pub fn inode(&self) -> Option<(u64, u64)> {
        self.identity.map(|identity| (identity.device, identity.inode))
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn too_many_extents(&self, limit: usize) -> Error {
        let text = format!("it has over {limit} extents, the most that are read");
        Error::new(Kind::Limit, text)
            .in_file(&self.path)
            .advise("copy it with `cp --sparse=always` to join its extents")
    }

    /// Returns the file's data, its holes, and as zeros what is allocated and was never written,
    /// ascending.
    ///
    /// A block device, and a file system that has no holes, gives one extent of data.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Limit` if there are over `limit` extents.
    pub fn extents(&self, limit: usize) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut at = 0;
        while at < self.len {
            let data = match self.identity {
                Some(_) => self.next(SeekFrom::Data(at))?,
                None => Some(at),
            };
            let start = data.unwrap_or(self.len).min(self.len);
            if start > at {
                extents.push(Extent { range: at..start, kind: ExtentKind::Hole });
            }
            if start < self.len {
                let end = match self.identity {
                    Some(_) => self.next(SeekFrom::Hole(start))?.unwrap_or(self.len),
                    None => self.len,
                };
                // A hole that starts where the data does would keep us here for ever.
                let end = end.min(self.len).max(start.strict_add(1));
                extents.push(Extent { range: start..end, kind: ExtentKind::Data });
                at = end;
            } else {
                at = self.len;
            }
            if extents.len() > limit {
                return Err(self.too_many_extents(limit));
            }
        }
        if self.identity.is_none() {
            return Ok(extents);
        }
        let zeros = unwritten::unwritten(&self.file)
            .map_err(|e| Error::io("find the unwritten ranges of", &self.path, e))?;
        let extents = unwritten::overlay(extents, &zeros);
        if extents.len() > limit { Err(self.too_many_extents(limit)) } else { Ok(extents) }
    }

    /// Seeks to the next data or hole; `None` past the last.
    fn next(&self, from: SeekFrom) -> Result<Option<u64>> {
        match rustix::fs::seek(&self.file, from) {
            Ok(offset) => Ok(Some(offset)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // The file system has no such call: all of it may be data.
            Err(rustix::io::Errno::INVAL) => match from {
                SeekFrom::Data(at) => Ok(Some(at)),
                _ => Ok(None),
            },
            Err(e) => Err(Error::io("find the holes of", &self.path, e.into())),
        }
    }
}

impl ReadAt for Input {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                let len = self.file.metadata().map_or(self.len, |meta| meta.len());
                let text = format!(
                    "the file ends at byte {len}, expected {} bytes from here on",
                    buf.len()
                );
                // Shorter than at opening: somebody cut it. Else our caller asked past the end,
                // because the file's own numbers said so.
                let kind = if self.identity.is_some_and(|then| len < then.size) {
                    Kind::Io
                } else {
                    Kind::Corrupt
                };
                return Error::new(kind, text).at(offset).in_file(&self.path);
            }
            Error::io("read", &self.path, e).at(offset)
        })
    }

    fn check_unchanged(&self) -> Result<()> {
        let Some(then) = self.identity else { return Ok(()) };
        let now = Identity::of(&self.file).map_err(|e| Error::io("look at", &self.path, e))?;
        if now == then {
            return Ok(());
        }
        let what = if now.size == then.size {
            "its contents changed while it was read".to_owned()
        } else {
            format!("its size changed from {} to {} bytes while it was read", then.size, now.size)
        };
        Err(Error::new(Kind::Io, what)
            .in_file(&self.path)
            .advise("stop whatever writes to it and run this again"))
    }
}
