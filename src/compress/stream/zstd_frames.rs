//! zstd frames (RFC 8878), with those that are skipped.

use zstd::zstd_safe::DCtx;
use zstd::zstd_safe::DParameter;
use zstd::zstd_safe::InBuffer;
use zstd::zstd_safe::OutBuffer;

use crate::compress::Damage;
use crate::compress::frame_head::Frame;
use crate::compress::frame_head::FrameHead;
use crate::compress::frame_head::Lacking;
use crate::compress::frame_head::MAX_HEAD_LEN;
use crate::compress::stream::fault::DamagedUnit;
use crate::compress::stream::fault::StreamFault;
use crate::compress::stream::step::Decoded;
use crate::compress::stream::step::MOST_WINDOW_LEN;
use crate::compress::stream::step::Step;
use crate::compress::stream::step::Wrapping;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

const WRAPPING: Wrapping = Wrapping::Zstd;

/// zstd's code for want of memory.
const MEMORY: usize = 64;

/// Bytes of a block's header.
const BLOCK_HEAD_LEN: usize = 3;

/// Bytes of a frame's checksum.
const CHECKSUM_LEN: usize = 4;

/// What of a frame comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Its header.
    Head,
    /// So many bytes that are passed over.
    Skipped(u64),
    /// The header of a block.
    BlockHead,
    /// So many bytes of a block.
    Block(usize),
    /// Plain bytes that are decoded and wait for room.
    Plain,
    /// The checksum.
    Checksum,
}

/// Unpacks frames.
///
/// It reads the headers itself and feeds the library a block at a time. So damage has a place, which the
/// library keeps for itself, and the content size is compared here: to the library a wrong one and a broken
/// code are the same. The header that the library sees has none.
pub(super) struct Frames {
    context: DCtx<'static>,
    max_window: u64,
    next: Next,
    /// A header that is being read: of the frame, of a block, or the checksum.
    head: [u8; MAX_HEAD_LEN],
    head_len: usize,
    /// Byte of the frame at which it starts.
    head_at: u64,
    frame: Option<Frame>,
    /// Byte of the stream at which the frame starts, how many were read, and where the block starts.
    start: u64,
    read: u64,
    block: u64,
    is_last_block: bool,
    /// Plain bytes of the frame that were given.
    given: u64,
}

impl Frames {
    pub(super) fn new(max_window: u64) -> Result<Self> {
        let fail = || Error::new(Kind::Io, "cannot set up zstd: out of memory");
        let mut context = DCtx::try_create().ok_or_else(fail)?;
        let most = DParameter::WindowLogMax(MOST_WINDOW_LEN.ilog2());
        context.set_parameter(most).map_err(|_| fail())?;
        Ok(Self {
            context,
            max_window,
            next: Next::Head,
            head: [0; MAX_HEAD_LEN],
            head_len: 0,
            head_at: 0,
            frame: None,
            start: 0,
            read: 0,
            block: 0,
            is_last_block: false,
            given: 0,
        })
    }

    /// Begins the frame at byte `start` of the stream.
    pub(super) fn begin(&mut self, start: u64) {
        (self.next, self.head_len, self.frame) = (Next::Head, 0, None);
        (self.start, self.read, self.given, self.is_last_block) = (start, 0, 0, false);
    }

    /// Goes on with the frame as far as one step leads.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Decoded, StreamFault> {
        let (mut taken, mut given, mut is_over) = (0, 0, false);
        match self.next {
            Next::Head => (taken, is_over) = self.head(input)?,
            Next::Skipped(left) => {
                taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left.strict_sub(u64::try_from(taken).expect("a buffer"));
                self.next = Next::Skipped(left);
                is_over = left == 0;
            }
            Next::BlockHead => taken = self.block_head(input)?,
            Next::Block(left) => {
                let piece = &input[..left.min(input.len())];
                let fed = self.feed(piece, output);
                (taken, given) = fed.map_err(|it| self.refused(it, Damage::Code, piece.len()))?;
                let left = left.strict_sub(taken);
                self.next = if left > 0 { Next::Block(left) } else { Next::Plain };
            }
            Next::Plain => {
                let fed = self.feed(&[], output);
                (_, given) = fed.map_err(|it| self.refused(it, Damage::Code, 0))?;
                if given < output.len() {
                    is_over = self.end_block()?;
                }
            }
            Next::Checksum => (taken, is_over) = self.checksum(input)?,
        }
        self.read = self.read.strict_add(u64::try_from(taken).expect("a buffer"));
        Ok(Decoded { step: Step { taken, given }, is_over })
    }

    /// Adds to the header that is being read, and returns how many bytes that took.
    fn gather(&mut self, input: &[u8], whole: usize) -> usize {
        if self.head_len == 0 {
            self.head_at = self.read;
        }
        let taken = whole.strict_sub(self.head_len).min(input.len());
        let end = self.head_len.strict_add(taken);
        self.head[self.head_len..end].copy_from_slice(&input[..taken]);
        self.head_len = end;
        taken
    }

    /// Reads the header of the frame; one that is skipped may be over with it.
    fn head(&mut self, input: &[u8]) -> Result<(usize, bool), StreamFault> {
        let mut taken = 0_usize;
        loop {
            match FrameHead::parse(&self.head[..self.head_len]) {
                Ok(FrameHead::Skipped { len }) => {
                    self.next = Next::Skipped(len);
                    return Ok((taken, len == 0));
                }
                Ok(FrameHead::Frame(frame)) => {
                    self.open(frame)?;
                    return Ok((taken, false));
                }
                Err(Lacking::Magic) if self.start > 0 => {
                    return Err(StreamFault::Trailing { wrapping: WRAPPING });
                }
                Err(Lacking::Magic | Lacking::Sense) => {
                    let fault = self.refused(Refused::Damaged, Damage::Header, self.head_len);
                    return Err(fault);
                }
                Err(Lacking::Bytes(whole)) => {
                    let more = self.gather(&input[taken..], whole);
                    if more == 0 {
                        return Ok((taken, false));
                    }
                    taken = taken.strict_add(more);
                }
            }
        }
    }

    /// Makes ready for the blocks of a frame.
    fn open(&mut self, frame: Frame) -> Result<(), StreamFault> {
        let (wrapping, limit) = (WRAPPING, self.max_window);
        if let Some(id) = frame.dictionary {
            return Err(StreamFault::Dictionary { wrapping, id });
        }
        let too_large = StreamFault::Window { wrapping, needed: frame.window_len, limit };
        if frame.window_len > limit {
            return Err(too_large);
        }
        let head = frame.without_content_len().ok_or(too_large)?;
        self.frame = Some(frame);
        self.feed_head(&head, Damage::Header)?;
        (self.next, self.head_len) = (Next::BlockHead, 0);
        Ok(())
    }

    fn block_head(&mut self, input: &[u8]) -> Result<usize, StreamFault> {
        let taken = self.gather(input, BLOCK_HEAD_LEN);
        self.block = self.start.strict_add(self.head_at);
        if self.head_len < BLOCK_HEAD_LEN {
            return Ok(taken);
        }
        let head = [self.head[0], self.head[1], self.head[2]];
        let word = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        self.feed_head(&head, Damage::Code)?;
        self.head_len = 0;
        self.is_last_block = word & 1 == 1;
        let len = usize::try_from(word >> 3).expect("21 bits");
        // A run of one byte is stored as that.
        let len = if word >> 1 & 3 == 1 { len.min(1) } else { len };
        self.next = if len > 0 { Next::Block(len) } else { Next::Plain };
        Ok(taken)
    }

    /// Ends a block whose bytes were all given, and tells whether it was the frame's end.
    fn end_block(&mut self) -> Result<bool, StreamFault> {
        if !self.is_last_block {
            self.next = Next::BlockHead;
            return Ok(false);
        }
        let frame = self.frame.expect("its header was read");
        if frame.content_len.is_some_and(|len| len != self.given) {
            return Err(self.refused(Refused::Damaged, Damage::Length, 0));
        }
        (self.next, self.head_len) = (Next::Checksum, 0);
        Ok(!frame.has_checksum)
    }

    fn checksum(&mut self, input: &[u8]) -> Result<(usize, bool), StreamFault> {
        let taken = self.gather(input, CHECKSUM_LEN);
        if self.head_len < CHECKSUM_LEN {
            return Ok((taken, false));
        }
        let sum = [self.head[0], self.head[1], self.head[2], self.head[3]];
        self.feed_head(&sum, Damage::Checksum)?;
        Ok((taken, true))
    }

    /// Lets the library take bytes; it takes all of them, but for those of a block for which there is no
    /// room yet.
    fn feed(&mut self, bytes: &[u8], output: &mut [u8]) -> Result<(usize, usize), Refused> {
        let (mut from, mut to) = (InBuffer::around(bytes), OutBuffer::around(output));
        self.context.decompress_stream(&mut to, &mut from).map_err(|code| {
            if 0_usize.wrapping_sub(code) == MEMORY { Refused::Memory } else { Refused::Damaged }
        })?;
        let (taken, given) = (from.pos(), to.pos());
        self.given = self.given.strict_add(u64::try_from(given).expect("a buffer"));
        Ok((taken, given))
    }

    /// Lets the library take a header or checksum that was gathered.
    fn feed_head(&mut self, bytes: &[u8], damage: Damage) -> Result<(), StreamFault> {
        match self.feed(bytes, &mut []) {
            Ok((taken, _)) if taken == bytes.len() => Ok(()),
            fed => {
                let refused = fed.err().unwrap_or(Refused::Damaged);
                // Bytes that were gathered may have been counted already.
                self.read = self.head_at;
                Err(self.refused(refused, damage, self.head_len))
            }
        }
    }

    /// Says what is wrong with the frame: `more` bytes of it were read beside those that are counted.
    fn refused(&self, refused: Refused, damage: Damage, more: usize) -> StreamFault {
        if refused == Refused::Memory {
            return StreamFault::Memory { wrapping: WRAPPING };
        }
        let more = u64::try_from(more).expect("a buffer");
        let (start, end) = (self.start, self.start.strict_add(self.read).strict_add(more));
        let found = if damage == Damage::Code { self.block } else { start };
        let unit = DamagedUnit { wrapping: WRAPPING, name: "frame", start, found, end };
        StreamFault::Damaged { damage, unit }
    }
}

/// Why the library does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Memory,
    Damaged,
}
