//! The transmission phase: requests in, answers out, several at a time.

use std::io;
use std::io::Read;
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::bounded;

use crate::error::Error;
use crate::serve::nbd::handshake::Chosen;
use crate::serve::nbd::layout;
use crate::serve::nbd::layout::CONTEXTS;
use crate::serve::nbd::layout::Context;
use crate::serve::nbd::layout::Request;
use crate::serve::nbd::layout::chunk;
use crate::serve::nbd::layout::cmd;
use crate::serve::nbd::layout::errno;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;

/// Bytes that a thread reads and sends at once.
const PIECE_LEN: usize = 256 << 10;

/// [`PIECE_LEN`] as a part of a volume.
const PIECE_SIZE: u64 = 256 << 10;

/// Threads of a connection that answer. With [`PIECE_LEN`] each, a connection has a mebibyte of buffers.
const WORKERS: usize = 4;

/// Requests that wait for a thread; what a peer sends beyond stays in the socket.
const WAITING: usize = 16;

/// Most descriptors of an answer to `BLOCK_STATUS`, for each context: 32 KiB.
const MAX_DESCRIPTORS: usize = 4096;

/// Shortest run of zeros that is sent as a hole and not as bytes.
const MIN_HOLE_LEN: u64 = 4096;

/// What answers the requests of one peer.
struct Peer<'a, W> {
    chosen: Chosen<'a>,
    out: Mutex<W>,
    /// The stream cannot be written to any more, or an answer was cut off.
    broken: AtomicBool,
    /// Hears of reads that failed.
    failed: &'a (dyn Fn(&Error) + Sync),
}

/// Why a request failed: an error that the client is sent, or a broken stream.
enum Failure {
    Told(u32, String),
    Stream(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

fn refuse(error: u32, text: &str) -> Failure {
    Failure::Told(error, text.to_owned())
}

/// Answers requests until the peer disconnects.
///
/// `wait` waits without a limit for the first byte of a request and puts it into the buffer; `false` at the end of the
/// stream.
///
/// # Errors
///
/// What reading or writing the stream returns; `InvalidData` if what comes is not a request.
pub(super) fn answer<R: Read, W: Write + Send>(
    chosen: Chosen<'_>,
    mut input: R,
    mut wait: impl FnMut(&mut R, &mut u8) -> io::Result<bool>,
    output: W,
    failed: &(dyn Fn(&Error) + Sync),
) -> io::Result<()> {
    let peer = Peer { chosen, out: Mutex::new(output), broken: AtomicBool::new(false), failed };
    thread::scope(|scope| {
        // Dropped before the threads are waited for, which ends them.
        let (sender, receiver) = bounded::<Request>(WAITING);
        let mut started = Err(io::Error::other("no thread"));
        for _ in 0..WORKERS {
            let (receiver, peer) = (receiver.clone(), &peer);
            let worker = thread::Builder::new().spawn_scoped(scope, move || peer.work(&receiver));
            // One is enough, if the system has no more.
            started = started.or(worker.map(drop));
        }
        drop(receiver);
        started?;
        loop {
            let mut bytes = [0; Request::LEN];
            if peer.broken.load(Ordering::Acquire) || !wait(&mut input, &mut bytes[0])? {
                return Ok(());
            }
            input.read_exact(&mut bytes[1..])?;
            let Some(request) = Request::parse(&bytes) else {
                let text = "a request without its magic number";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            };
            if request.command == cmd::DISC {
                return Ok(());
            }
            if request.command == cmd::WRITE {
                let payload = u64::from(request.len);
                if request.len > layout::BLOCK_SIZES[2] {
                    let text = "a write of over 32 MiB";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                if io::copy(&mut (&mut input).take(payload), &mut io::sink())? < payload {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            if sender.send(request).is_err() {
                // Every thread has stopped, since the stream is broken.
                return Ok(());
            }
        }
    })
}

impl<W: Write> Peer<'_, W> {
    fn volume(&self) -> &dyn ReadVolume {
        &*self.chosen.export.volume
    }

    fn work(&self, requests: &Receiver<Request>) {
        let mut buffer = Vec::new();
        while let Ok(request) = requests.recv() {
            if self.broken.load(Ordering::Acquire) {
                return;
            }
            let done = match self.handle(request, &mut buffer) {
                Ok(()) => Ok(()),
                Err(Failure::Told(error, text)) => self.tell(request, error, &text),
                Err(Failure::Stream(error)) => Err(error),
            };
            if done.is_err() {
                self.broken.store(true, Ordering::Release);
                return;
            }
        }
    }

    fn handle(&self, request: Request, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let known = match request.command {
            cmd::READ => layout::CMD_FLAG_DF,
            cmd::BLOCK_STATUS => layout::CMD_FLAG_REQ_ONE,
            // A client may ask for these with any flag: the answer is no.
            cmd::WRITE | cmd::TRIM | cmd::WRITE_ZEROES => u16::MAX,
            _ => 0,
        };
        if request.flags & !known != 0 {
            return Err(refuse(errno::EINVAL, "a flag that was not offered"));
        }
        match request.command {
            cmd::READ => self.read(request, buffer),
            cmd::FLUSH => Ok(self.done(request)?),
            cmd::BLOCK_STATUS => self.block_status(request),
            cmd::WRITE | cmd::TRIM | cmd::WRITE_ZEROES => {
                Err(refuse(errno::EPERM, "the export is read-only"))
            }
            _ => Err(refuse(errno::EINVAL, "a command that was not offered")),
        }
    }

    /// Returns the byte behind the range that a request is about.
    fn end_of(&self, request: Request) -> Result<u64, Failure> {
        let end = request.offset.checked_add(u64::from(request.len));
        match end {
            Some(end) if request.len > 0 && end <= self.volume().size() => Ok(end),
            _ => Err(refuse(errno::EINVAL, "a range that is empty or ends past the export")),
        }
    }

    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().try_for_each(|part| out.write_all(part))
    }

    /// Says that a request without data is done.
    fn done(&self, request: Request) -> io::Result<()> {
        if self.chosen.structured {
            self.send(&[&layout::chunk_head(chunk::NONE, true, request.cookie, b"", 0)])
        } else {
            self.send(&[&layout::simple_reply(0, request.cookie)])
        }
    }

    fn tell(&self, request: Request, error: u32, text: &str) -> io::Result<()> {
        if self.chosen.structured {
            let body = layout::error_body(error, text);
            self.send(&[&layout::chunk_head(chunk::ERROR, true, request.cookie, &body, 0)])
        } else {
            self.send(&[&layout::simple_reply(error, request.cookie)])
        }
    }

    /// Passes a failure of the volume on.
    fn fail(&self, error: &Error) -> Failure {
        (self.failed)(error);
        refuse(errno::EIO, &error.to_string())
    }

    fn read(&self, request: Request, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let end = self.end_of(request)?;
        if request.len > layout::BLOCK_SIZES[2] {
            return Err(refuse(errno::EINVAL, "a read of over 32 MiB"));
        }
        let whole = usize::try_from(request.len).is_ok_and(|len| len <= PIECE_LEN);
        if !self.chosen.structured {
            return self.read_simply(request, end, buffer);
        }
        if request.flags & layout::CMD_FLAG_DF != 0 {
            if !whole {
                return Err(refuse(errno::EOVERFLOW, "over 256 KiB in one piece"));
            }
            let piece = self.piece(request.offset, end, buffer)?;
            let at = request.offset.to_be_bytes();
            let head =
                layout::chunk_head(chunk::OFFSET_DATA, true, request.cookie, &at, piece.len());
            return Ok(self.send(&[&head, piece])?);
        }
        let mut at = request.offset;
        while at < end {
            let extent = self.extent(at, end)?;
            let offset = at.to_be_bytes();
            let len = extent.len();
            if extent.kind != ExtentKind::Data && len >= MIN_HOLE_LEN {
                at = extent.range.end;
                let len = u32::try_from(len).expect("inside a request").to_be_bytes();
                let before = [&offset[..], &len].concat();
                let done = at == end;
                let head = layout::chunk_head(chunk::OFFSET_HOLE, done, request.cookie, &before, 0);
                self.send(&[&head])?;
                continue;
            }
            let piece = self.piece(at, extent.range.end, buffer)?;
            at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
            let done = at == end;
            let head =
                layout::chunk_head(chunk::OFFSET_DATA, done, request.cookie, &offset, piece.len());
            self.send(&[&head, piece])?;
        }
        Ok(())
    }

    /// Answers with one simple reply, during which no other answer can be sent.
    fn read_simply(&self, request: Request, end: u64, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        // The first piece is read before the reply says that all went well.
        let first = self.piece(request.offset, end, buffer)?;
        let mut at = request.offset.strict_add(u64::try_from(first.len()).expect("a piece"));
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&layout::simple_reply(0, request.cookie))?;
        out.write_all(first)?;
        while at < end {
            // There is no place for an error any more.
            let piece = self
                .piece(at, end, buffer)
                .map_err(|_| Failure::Stream(io::ErrorKind::BrokenPipe.into()))?;
            out.write_all(piece)?;
            at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
        }
        Ok(())
    }

    /// Reads from `at` on, but at most a piece, and not past `end`.
    fn piece<'b>(&self, at: u64, end: u64, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Failure> {
        let left = usize::try_from(end.strict_sub(at)).unwrap_or(usize::MAX);
        // Pieces end where blocks do, so that a block is not unpacked for two of them.
        let within = usize::try_from(at % PIECE_SIZE).expect("inside a piece");
        let aligned = PIECE_LEN.strict_sub(within);
        buffer.resize(PIECE_LEN, 0);
        let buffer = &mut buffer[..left.min(aligned)];
        self.volume().read_at(at, buffer).map_err(|error| self.fail(&error))?;
        Ok(buffer)
    }

    /// Returns the extent at `at`, joined with those behind it of its kind, cut at `end`.
    fn extent(&self, at: u64, end: u64) -> Result<Extent, Failure> {
        let look = |at| self.volume().extent_at(at).map_err(|error| self.fail(&error));
        let mut extent = look(at)?;
        while extent.range.end < end {
            let next = look(extent.range.end)?;
            if next.kind != extent.kind {
                break;
            }
            extent.range.end = next.range.end;
        }
        Ok(Extent { range: at..extent.range.end.min(end), kind: extent.kind })
    }

    fn block_status(&self, request: Request) -> Result<(), Failure> {
        let end = self.end_of(request)?;
        let chosen: Vec<Context> = CONTEXTS
            .into_iter()
            .zip(self.chosen.contexts)
            .filter_map(|(context, chosen)| chosen.then_some(context))
            .collect();
        if chosen.is_empty() {
            return Err(refuse(errno::EINVAL, "no context was chosen"));
        }
        let one = request.flags & layout::CMD_FLAG_REQ_ONE != 0;
        let most = if one { 1 } else { MAX_DESCRIPTORS };
        let mut extents = Vec::new();
        let mut at = request.offset;
        while at < end && extents.len() < most {
            let extent = self.extent(at, end)?;
            at = extent.range.end;
            extents.push(extent);
        }
        for (number, context) in (1..).zip(&chosen) {
            let mut body = context.id().to_be_bytes().to_vec();
            for extent in &extents {
                body.extend(u32::try_from(extent.len()).expect("inside a request").to_be_bytes());
                body.extend(context.flags(extent.kind).to_be_bytes());
            }
            let done = number == chosen.len();
            let head = layout::chunk_head(chunk::BLOCK_STATUS, done, request.cookie, &body, 0);
            self.send(&[&head])?;
        }
        Ok(())
    }
}
