//! Frames of many chunks: compressed at once with long-distance matching, decompressed as far as they
//! are read.

use std::fmt;

use zstd::zstd_safe::CCtx;
use zstd::zstd_safe::CParameter;
use zstd::zstd_safe::DCtx;
use zstd::zstd_safe::DParameter;
use zstd::zstd_safe::InBuffer;
use zstd::zstd_safe::OutBuffer;
use zstd::zstd_safe::ResetDirective;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;

use crate::compress::FrameFault;
use crate::compress::LEVELS;
use crate::compress::check_frame;
use crate::compress::frame_bound;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

/// Stored bytes that the decompressor takes at once when it is not to go to the end.
const PIECE_LEN: usize = 1 << 16;

/// Bit of a frame's descriptor, byte 4 of it: the window is the content.
const SINGLE_SEGMENT: u8 = 0x20;

/// Base-two logarithm of the hash table of level 12, which zstd makes twice as large: so levels up to
/// 12 take less than 32 MiB a thread.
const LEVEL_12_HASH_LOG: u32 = 22;

/// Base-two logarithm of one in how many places long-distance matching remembers, at the levels of the fast strategy, 1 and
/// 2, and from there on. zstd takes 7, and less at high levels: matches of hundreds of bytes are found as well in a
/// quarter of the places, and to enter them costs a tenth of the time of a group.
const FAST_PLACES_LOG: u32 = 9;
const PLACES_LOG: u32 = 8;

/// Base-two logarithm of the places of one hash that are compared; zstd takes 4 to 8.
const PLACES_OF_A_HASH_LOG: u32 = 2;

/// The shortest long-distance match at levels 1 and 2; zstd takes 64 there, and with fewer places that is too long.
const FAST_LEAST_MATCH: u32 = 48;

/// The highest level of zstd's fast strategy.
const FAST_LEVEL: i32 = 2;

/// Base-two logarithms of the tables of 4 bytes an entry that levels 1 to 22 have in a window of 32 MiB,
/// hash and chain. The levels from 5 to 12 have a byte a hash entry instead of a chain.
const TABLES: [[u32; 2]; 22] = [
    [14, 13],
    [16, 15],
    [17, 16],
    [18, 18],
    [19, 17],
    [19, 17],
    [20, 18],
    [20, 18],
    [21, 19],
    [22, 20],
    [22, 20],
    [22, 20],
    [22, 22],
    [23, 22],
    [23, 23],
    [22, 22],
    [22, 23],
    [22, 23],
    [22, 24],
    [23, 25],
    [24, 26],
    [25, 26],
];

/// Returns about how many bytes a [`GroupEncoder`] of a level in [`LEVELS`] takes beside what it
/// compresses and what comes out.
#[must_use]
pub fn encoder_memory(level: i32) -> u64 {
    let place =
        usize::try_from(level.saturating_sub(1)).unwrap_or(0).min(TABLES.len().strict_sub(1));
    // Tables of long distances, sequences, literals, and what the optimal parser keeps; and a copy of what is
    // compressed, if that goes step by step.
    let rest = 6 << 20;
    let window = if level >= SLOW_LEVEL { 32 << 20 } else { 0 };
    TABLES[place].iter().map(|log| 4_u64 << log).sum::<u64>().strict_add(rest).strict_add(window)
}

/// A zstd compressor for groups of chunks, kept from one to the next.
pub struct GroupEncoder {
    context: CCtx<'static>,
    /// Whether it takes so long that it has to ask whether to go on.
    slow: bool,
}

/// The lowest level that takes several seconds for a group.
const SLOW_LEVEL: i32 = 13;

/// Bytes that are compressed at a slow level before it asks whether to go on: one block of zstd.
const STEP_LEN: usize = 128 << 10;

impl GroupEncoder {
    /// Makes an encoder of a level in [`LEVELS`], for content of up to `most_len` bytes.
    ///
    /// # Errors
    ///
    /// `Invalid` for another level; `Io` if out of memory.
    pub fn new(level: i32, most_len: usize) -> Result<Self> {
        if !LEVELS.contains(&level) {
            let text = format!("compression level is {level}, expected {LEVELS:?}");
            return Err(Error::invalid(text));
        }
        let failed =
            |_| Error::new(Kind::Io, format!("cannot set up compression at level {level}"));
        let mut context = CCtx::try_create().ok_or(0).map_err(failed)?;
        let mut set = |parameter| context.set_parameter(parameter).map_err(failed).map(drop);
        set(CParameter::CompressionLevel(level))?;
        // The window holds all of it; zstd takes a smaller one where there is less.
        set(CParameter::WindowLog(most_len.next_power_of_two().ilog2()))?;
        set(CParameter::EnableLongDistanceMatching(true))?;
        set(CParameter::LdmBucketSizeLog(PLACES_OF_A_HASH_LOG))?;
        if level <= FAST_LEVEL {
            set(CParameter::LdmHashRateLog(FAST_PLACES_LOG))?;
            set(CParameter::LdmMinMatch(FAST_LEAST_MATCH))?;
        } else {
            set(CParameter::LdmHashRateLog(PLACES_LOG))?;
        }
        if level == 12 {
            set(CParameter::HashLog(LEVEL_12_HASH_LOG))?;
        }
        Ok(Self { context, slow: level >= SLOW_LEVEL })
    }

    /// Fills `frame` with the frame of `plain`. At a slow level, `go_on` is asked now and then.
    ///
    /// # Errors
    ///
    /// `Io` if out of memory; what `go_on` returns.
    pub fn encode(
        &mut self,
        plain: &[u8],
        frame: &mut Vec<u8>,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let failed = || Error::new(Kind::Io, "cannot compress: out of memory");
        frame.clear();
        frame.try_reserve(frame_bound(plain.len())).map_err(|_| failed())?;
        // With room for the bound, memory is all that can fail.
        if !self.slow {
            return self.context.compress2(frame, plain).map(drop).map_err(|_| failed());
        }
        self.context.reset(ResetDirective::SessionOnly).map_err(|_| failed())?;
        let len = u64::try_from(plain.len()).expect("memory is under 2^64 bytes");
        self.context.set_pledged_src_size(Some(len)).map_err(|_| failed())?;
        let mut output = OutBuffer::around(frame);
        for step in plain.chunks(STEP_LEN) {
            go_on()?;
            let mut input = InBuffer::around(step);
            while input.pos() < step.len() {
                let more = Directive::ZSTD_e_continue;
                let step = self.context.compress_stream2(&mut output, &mut input, more);
                step.map_err(|_| failed())?;
            }
        }
        let mut nothing = InBuffer::around(&[]);
        let end = Directive::ZSTD_e_end;
        while self.context.compress_stream2(&mut output, &mut nothing, end).map_err(|_| failed())?
            > 0
        {
            go_on()?;
        }
        Ok(())
    }
}

impl fmt::Debug for GroupEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupEncoder")
    }
}

/// A zstd decompressor for a group of chunks, which stops where it is told to and goes on from there.
pub struct GroupDecoder {
    context: DCtx<'static>,
    /// Bytes of the frame that were taken.
    taken: usize,
    ended: bool,
}

impl GroupDecoder {
    /// Makes a decoder.
    ///
    /// # Errors
    ///
    /// `Io` if out of memory.
    pub fn new() -> Result<Self> {
        let failed = || Error::new(Kind::Io, "cannot set up decompression: out of memory");
        let mut context = DCtx::try_create().ok_or_else(failed)?;
        // It decompresses to where the content stays, and needs no window beside it.
        context.set_parameter(DParameter::StableOutBuffer(true)).map_err(|_| failed())?;
        Ok(Self { context, taken: 0, ended: false })
    }

    /// Starts a frame, which must be one of exactly `len` bytes in a single segment, and makes room for
    /// it in `plain`.
    ///
    /// # Errors
    ///
    /// Says in which way the frame is not that.
    pub fn begin(
        &mut self,
        frame: &[u8],
        len: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), FrameFault> {
        check_frame(frame, len)?;
        if frame.get(4).is_none_or(|descriptor| descriptor & SINGLE_SEGMENT == 0) {
            return Err(FrameFault::Window);
        }
        self.context.reset(ResetDirective::SessionOnly).map_err(|_| FrameFault::Damaged)?;
        (self.taken, self.ended) = (0, false);
        plain.clear();
        plain.reserve_exact(len);
        Ok(())
    }

    /// Decompresses on until `plain` has `end` bytes or some more. `frame`, its length and `plain` must be
    /// those that [`GroupDecoder::begin`] saw, and `plain` as the last call left it.
    ///
    /// # Errors
    ///
    /// `Damaged` if the content breaks the format. What `plain` holds then is not to be used.
    pub fn decode(
        &mut self,
        frame: &[u8],
        len: usize,
        plain: &mut Vec<u8>,
        end: usize,
    ) -> Result<(), FrameFault> {
        // All of it is done when the frame says so, and not before.
        while !self.ended && (plain.len() < end || end >= len) {
            let piece = if end >= len { usize::MAX } else { PIECE_LEN };
            let stop = self.taken.saturating_add(piece).min(frame.len());
            let mut input = InBuffer::around(&frame[self.taken..stop]);
            let from = plain.len();
            let mut output = OutBuffer::around_pos(plain, from);
            let hint = self
                .context
                .decompress_stream(&mut output, &mut input)
                .map_err(|_| FrameFault::Damaged)?;
            let moved = input.pos();
            self.taken = self.taken.strict_add(moved);
            self.ended = hint == 0;
            if !self.ended && moved == 0 && plain.len() == from {
                return Err(FrameFault::Damaged);
            }
        }
        let whole = plain.len() == len && self.taken == frame.len();
        if self.ended && !whole { Err(FrameFault::Damaged) } else { Ok(()) }
    }
}

impl fmt::Debug for GroupDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupDecoder")
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// Words that repeat at any distance.
    fn text(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            [b"some ".to_vec(), (state >> 50).to_string().into_bytes()].concat()
        })
        .flatten()
        .take(len)
        .collect()
    }

    fn frame_of(plain: &[u8], level: i32) -> Vec<u8> {
        let mut frame = vec![9; 3];
        GroupEncoder::new(level, plain.len())
            .unwrap()
            .encode(plain, &mut frame, &mut || Ok(()))
            .unwrap();
        frame
    }

    #[test]
    fn a_group_comes_back_at_once_and_step_by_step() {
        for (level, len) in [(1, 3 << 20), (2, 5 << 20), (12, 1 << 20), (2, 1 << 19), (13, 3 << 20)]
        {
            let plain = text(len, 7);
            let frame = frame_of(&plain, level);
            let mut decoder = GroupDecoder::new().unwrap();
            let mut back = Vec::new();
            for step in [len, 1 << 19, 300_000, 1] {
                decoder.begin(&frame, len, &mut back).unwrap();
                let mut end = 0;
                while back.len() < len {
                    end = (end + step).min(len).max(back.len() + 1);
                    decoder.decode(&frame, len, &mut back, end).unwrap();
                    assert!(back.len() >= end, "step {step}");
                }
                assert!(back == plain, "level {level}, step {step}");
                decoder.decode(&frame, len, &mut back, len).unwrap();
            }
        }
    }

    /// A group takes long at a high level, and is left when it must be.
    #[test]
    fn a_slow_level_asks_whether_to_go_on() {
        let plain = text(4 << 20, 3);
        let mut encoder = GroupEncoder::new(13, plain.len()).unwrap();
        let (mut frame, mut asked) = (Vec::new(), 0);
        let mut stop = || {
            asked += 1;
            if asked > 3 { Err(Error::interrupted()) } else { Ok(()) }
        };
        let stopped = encoder.encode(&plain, &mut frame, &mut stop).unwrap_err();
        assert_eq!((stopped.kind(), asked), (Kind::Interrupted, 4));
        // The next group knows nothing of it.
        encoder.encode(&plain, &mut frame, &mut || Ok(())).unwrap();
        assert!(frame == frame_of(&plain, 13));
    }

    /// What is not needed is not decompressed.
    #[test]
    fn decoding_stops_soon_after_what_is_wanted() {
        let plain = text(16 << 20, 3);
        let frame = frame_of(&plain, 2);
        let (mut decoder, mut back) = (GroupDecoder::new().unwrap(), Vec::new());
        decoder.begin(&frame, plain.len(), &mut back).unwrap();
        decoder.decode(&frame, plain.len(), &mut back, 1 << 19).unwrap();
        assert!(back.len() < 2 << 20, "{} bytes", back.len());
        assert_eq!(back, plain[..back.len()]);
    }

    /// A repetition at a distance of megabytes is found at the fastest level.
    #[test]
    fn long_distances_are_matched() {
        let noise: Vec<u8> = text(2 << 20, 1)
            .chunks(8)
            .flat_map(|word| {
                let hash = word.iter().fold(0_u64, |sum, byte| {
                    (sum ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                });
                hash.to_le_bytes()
            })
            .collect();
        let twice = [&noise[..], &text(9 << 20, 2), &noise].concat();
        let (once, both) = (frame_of(&noise, 1).len(), frame_of(&twice, 1).len());
        let between = frame_of(&text(9 << 20, 2), 1).len();
        assert!(both < once + between + once / 10, "{both} bytes, {once} and {between}");
    }

    #[test]
    fn anything_but_the_one_frame_is_refused() {
        let plain = text(1 << 20, 5);
        let frame = frame_of(&plain, 2);
        let (mut decoder, mut back) = (GroupDecoder::new().unwrap(), Vec::new());
        let mut refused = |frame: &[u8], len: usize| -> Result<(), FrameFault> {
            decoder.begin(frame, len, &mut back)?;
            decoder.decode(frame, len, &mut back, len)
        };
        assert_eq!(refused(&frame, plain.len()), Ok(()));
        assert_eq!(refused(&[], plain.len()), Err(FrameFault::NotOneFrame));
        let longer = [&frame[..], b"x"].concat();
        assert_eq!(refused(&longer, plain.len()), Err(FrameFault::NotOneFrame));
        assert!(matches!(refused(&frame, 1 << 19), Err(FrameFault::ContentSize { .. })));
        for end in (0..frame.len()).step_by(3989) {
            assert!(refused(&frame[..end], plain.len()).is_err(), "{end}");
        }
        // A small window, in which a reader would have to keep what it decompressed apart.
        let mut windowed = Vec::new();
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(17)).unwrap();
        windowed.reserve(frame_bound(plain.len()));
        context.compress2(&mut windowed, &plain).unwrap();
        assert_eq!(refused(&windowed, plain.len()), Err(FrameFault::Window));
        for at in (0..frame.len()).step_by(241) {
            let mut flipped = frame.clone();
            flipped[at] ^= 0x10;
            let _ = refused(&flipped, plain.len());
        }
        assert_eq!(refused(&frame, plain.len()), Ok(()), "what was refused leaves no trace");
    }

    #[test]
    fn a_level_outside_the_range_is_refused() {
        assert!(GroupEncoder::new(0, 1 << 20).is_err() && GroupEncoder::new(23, 1 << 20).is_err());
    }

    /// The estimate holds, and is not twice what is needed.
    #[test]
    fn memory_is_as_estimated() {
        let plain = text(2 << 20, 9);
        for level in [1, 2, 3, 9, 12] {
            let mut encoder = GroupEncoder::new(level, 32 << 20).unwrap();
            // Tables follow the content, so there must be enough of it.
            let plain = plain.repeat(16);
            encoder.encode(&plain, &mut Vec::new(), &mut || Ok(())).unwrap();
            let used = u64::try_from(encoder.context.sizeof()).unwrap();
            let estimate = encoder_memory(level);
            assert!(used <= estimate, "level {level}: {used}, estimate {estimate}");
            assert!(level < 9 || estimate <= used * 2, "level {level}: {used}, {estimate}");
        }
    }
}
