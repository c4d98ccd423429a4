//! Inputs that are read once and in order: pipes, and compressed streams of any kind of input.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;

use crate::compress::MOST_WINDOW_LEN;
use crate::compress::StreamDecoder;
use crate::compress::StreamFault;
use crate::compress::Wrapping;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::io::Input;
use crate::io::ReadAt;
use crate::work::Watch;

/// Longest time for which a wish to stop is not heard while nothing comes.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Bytes at the end that [`Stream::check_end`] is about.
pub const END_LEN: usize = 512;

/// Packed bytes that are taken at once.
const PACKED_LEN: usize = 256 << 10;

/// Where a stream's bytes come from.
enum Origin {
    // One thread reads a stream.
    Reader {
        reader: Box<dyn Read>,
        /// What to wait for before a read that may last.
        wait: Option<File>,
    },
    File {
        input: Arc<Input>,
        at: u64,
    },
}

/// A compressed stream that is being unpacked.
struct Packed {
    decoder: StreamDecoder,
    /// Packed bytes that came and are not unpacked yet, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    /// Packed bytes before `start`, from the beginning of the stream.
    taken: u64,
    /// Nothing comes behind `bytes`.
    last: bool,
}

/// What the last bytes of a stream are asked.
#[derive(Debug)]
struct End {
    check: fn(&[u8]) -> Result<()>,
    /// The last bytes that were taken, at most [`END_LEN`].
    bytes: Vec<u8>,
}

/// Bytes that come once and in order.
pub struct Stream {
    path: PathBuf,
    origin: Origin,
    packed: Option<Box<Packed>>,
    /// Bytes that were looked at before their turn, from `shown` on.
    ahead: Vec<u8>,
    shown: usize,
    end: Option<End>,
    /// Bytes that were given, and the most that are accepted.
    given: u64,
    most: Option<u64>,
}

impl Stream {
    /// Makes a stream of any reader, under a name for messages.
    #[must_use]
    pub fn new(path: &Path, reader: Box<dyn Read>) -> Self {
        Self::from_origin(path, Origin::Reader { reader, wait: None })
    }

    /// Makes a stream of a pipe or terminal.
    pub(super) fn of(path: &Path, file: File) -> Result<Self> {
        let wait = file.try_clone().map_err(|e| Error::io("open", path, e))?;
        Ok(Self::from_origin(path, Origin::Reader { reader: Box::new(file), wait: Some(wait) }))
    }

    /// Makes a stream of an input that could be read at any place.
    #[must_use]
    pub fn of_input(input: Arc<Input>) -> Self {
        let path = input.path().to_owned();
        Self::from_origin(&path, Origin::File { input, at: 0 })
    }

    fn from_origin(path: &Path, origin: Origin) -> Self {
        Self {
            path: path.to_owned(),
            origin,
            packed: None,
            ahead: Vec::new(),
            shown: 0,
            end: None,
            given: 0,
            most: None,
        }
    }

    /// Takes the bytes from here on as a compressed stream that refers back over at most `max_window` bytes,
    /// and gives what is in it.
    ///
    /// # Errors
    ///
    /// As [`StreamDecoder::new`].
    ///
    /// # Panics
    ///
    /// If the stream is unpacked already.
    pub fn unpack(&mut self, wrapping: Wrapping, max_window: u64) -> Result<()> {
        assert!(self.packed.is_none(), "a stream is unpacked once");
        let (bytes, start) = (std::mem::take(&mut self.ahead), std::mem::take(&mut self.shown));
        let decoder = StreamDecoder::new(wrapping, max_window)?;
        self.packed = Some(Box::new(Packed { decoder, bytes, start, taken: 0, last: false }));
        Ok(())
    }

    /// Lets `check` see the last bytes before [`Stream::read_full`] gives them: [`END_LEN`], or as many as
    /// there are. What it returns fails the read.
    pub fn check_end(&mut self, check: fn(&[u8]) -> Result<()>) {
        self.end = Some(End { check, bytes: Vec::new() });
    }

    /// Fails a read that would give more than `most` bytes in all.
    pub fn accept(&mut self, most: u64) {
        self.most = Some(most);
    }

    /// Returns the bytes of the file that were read so far, and all that it has; `None` for a pipe.
    #[must_use]
    pub fn file_progress(&self) -> Option<(u64, u64)> {
        match &self.origin {
            Origin::File { input, at } => Some((*at, input.len())),
            Origin::Reader { .. } => None,
        }
    }

    /// Returns the name for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the bytes come through a pipe.
    #[must_use]
    pub fn is_pipe(&self) -> bool {
        matches!(self.origin, Origin::Reader { .. })
    }

    /// Tells whether the bytes are unpacked as they come.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Returns the next bytes without taking them: `len`, or as many as there are.
    ///
    /// # Errors
    ///
    /// As [`Stream::read_full`].
    pub fn peek(&mut self, len: usize, watch: &dyn Watch) -> Result<&[u8]> {
        self.ahead.drain(..self.shown);
        self.shown = 0;
        let known = self.ahead.len();
        if known < len {
            let mut more = vec![0; len.strict_sub(known)];
            let filled = self.fill(&mut more, watch)?;
            self.ahead.extend_from_slice(&more[..filled]);
        }
        Ok(&self.ahead)
    }

    /// Fills `buf` as far as the stream goes and returns how much that was; short only at the end.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Corrupt`, `Limit` or `Unsupported` at the packed byte where a
    /// compressed stream cannot be unpacked; `Interrupted` if `watch` says to stop; as
    /// [`Stream::check_end`] has it.
    pub fn read_full(&mut self, buf: &mut [u8], watch: &dyn Watch) -> Result<usize> {
        let known = &self.ahead[self.shown..];
        let count = known.len().min(buf.len());
        buf[..count].copy_from_slice(&known[..count]);
        self.shown = self.shown.strict_add(count);
        let filled = self.fill(&mut buf[count..], watch)?.strict_add(count);
        self.given = self.given.saturating_add(u64::try_from(filled).expect("a buffer"));
        if let Some(most) = self.most.filter(|most| self.given > *most) {
            let text = format!("it has over {most} bytes, the most that are accepted");
            let advice = Advice::Give { setting: Setting::MaxSize, example: "SIZE".into() };
            return Err(Error::new(Kind::Limit, text).in_file(&self.path).advise(advice));
        }
        if let Some(End { check, bytes }) = &mut self.end {
            bytes.extend_from_slice(&buf[filled.saturating_sub(END_LEN)..filled]);
            bytes.drain(..bytes.len().saturating_sub(END_LEN));
            if filled < buf.len() {
                check(bytes).map_err(|e| e.in_file(&self.path))?;
            }
        }
        Ok(filled)
    }

    /// Fails if what the bytes come from is not what it was when it was opened.
    ///
    /// # Errors
    ///
    /// `Io` if a file changed.
    pub fn check_unchanged(&self) -> Result<()> {
        match &self.origin {
            Origin::File { input, .. } => input.check_unchanged(),
            Origin::Reader { .. } => Ok(()),
        }
    }

    /// Fills `buf` with bytes that nobody looked at before.
    fn fill(&mut self, buf: &mut [u8], watch: &dyn Watch) -> Result<usize> {
        let Self { path, origin, packed, .. } = self;
        let mut filled = 0;
        while filled < buf.len() {
            let rest = &mut buf[filled..];
            let len = match packed {
                None => origin.read(path, rest, watch)?,
                Some(packed) => packed.read(path, origin, rest, watch)?,
            };
            if len == 0 {
                break;
            }
            filled = filled.strict_add(len);
        }
        Ok(filled)
    }
}

impl Packed {
    /// Unpacks some bytes; none are the end.
    fn read(
        &mut self,
        path: &Path,
        origin: &mut Origin,
        buf: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<usize> {
        loop {
            watch.check()?;
            if self.start == self.bytes.len() && !self.last {
                self.bytes.resize(PACKED_LEN, 0);
                self.start = 0;
                let len = origin.read(path, &mut self.bytes, watch)?;
                self.bytes.truncate(len);
                self.last = len == 0;
            }
            let fed = &self.bytes[self.start..];
            let step = self
                .decoder
                .step(fed, self.last, buf)
                .map_err(|fault| failed(fault, self.taken).in_file(path))?;
            self.start = self.start.strict_add(step.taken);
            // No stream is of 2^64 bytes.
            self.taken = self.taken.strict_add(u64::try_from(step.taken).expect("a buffer"));
            let over = self.last && self.start == self.bytes.len();
            if step.given > 0 || (over && step.taken == 0) {
                return Ok(step.given);
            }
        }
    }
}

/// Says where in a compressed stream a fault is: where the decoder stopped, if nothing better is known.
fn failed(fault: StreamFault, taken: u64) -> Error {
    let error = Error::from(fault).at(fault.place().unwrap_or(taken));
    match fault {
        StreamFault::Window { needed, .. } if needed <= MOST_WINDOW_LEN => {
            error.advise(Advice::Give {
                setting: Setting::Window,
                example: format!("{}M", needed.div_ceil(1 << 20)).into(),
            })
        }
        StreamFault::Dictionary { .. } => error.advise("unpack it with `zstd -d -D DICTIONARY`"),
        _ => error,
    }
}

impl Origin {
    /// Reads some bytes; none are the end.
    fn read(&mut self, path: &Path, buf: &mut [u8], watch: &dyn Watch) -> Result<usize> {
        match self {
            Self::File { input, at } => {
                watch.check()?;
                let rest = input.len().strict_sub(*at);
                let len = usize::try_from(rest).unwrap_or(buf.len()).min(buf.len());
                input.read_exact_at(&mut buf[..len], *at)?;
                *at = at.strict_add(u64::try_from(len).expect("a buffer"));
                Ok(len)
            }
            Self::Reader { reader, wait } => loop {
                wait_for(path, wait.as_ref(), watch)?;
                match reader.read(buf) {
                    // Another reader of the same pipe was faster.
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    read => return read.map_err(|e| Error::io("read", path, e)),
                }
            },
        }
    }
}

/// Waits until there is something to read, or the user wants to stop.
fn wait_for(path: &Path, file: Option<&File>, watch: &dyn Watch) -> Result<()> {
    let Some(file) = file else { return watch.check() };
    loop {
        watch.check()?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&PATIENCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(Error::io("wait for", path, e.into())),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("path", &self.path).finish_non_exhaustive()
    }
}
