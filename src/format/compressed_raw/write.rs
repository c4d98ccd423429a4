//! From a volume to zstd frames, compressed in parallel and stored in order, and their table.

use crate::compress::DEFAULT_LEVEL;
use crate::compress::Encoder;
use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::compressed_raw::layout::Frame;
use crate::format::compressed_raw::layout::encode;
use crate::format::spans::SPAN_LEN;
use crate::format::spans::spans_of;
use crate::format::tiles::tiles;
use crate::format::writer::WriteOptions;
use crate::io::WriteAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::ReadVolume;
use crate::work::Buffers;
use crate::work::in_order;

/// Bytes of the volume in a frame: as many as can be read at any place, and one job.
const FRAME_LEN: u64 = SPAN_LEN;

/// Frames of zeros that are written at once.
const ZERO_FRAMES: u64 = 256;

/// Writes a volume as zstd frames of 2 MiB, and a table of them. Holes become zeros.
///
/// # Errors
///
/// `Invalid` for a level that zstd does not have; `Unsupported` for a volume of more frames than are
/// read at any place; whatever reading and writing return.
pub fn write(
    volume: &dyn ReadVolume,
    sink: &dyn WriteAt,
    options: &WriteOptions<'_>,
) -> Result<()> {
    let count = volume.size().div_ceil(FRAME_LEN);
    if usize::try_from(count).is_ok_and(|count| count > MAX_RUNS) {
        let text = format!("the volume has {} bytes, expected at most 8 TiB", volume.size());
        return Err(Error::new(Kind::Unsupported, text).advise("write it as raw or qcow2"));
    }
    let level = options.level.unwrap_or(DEFAULT_LEVEL);
    let mut zeros = Vec::new();
    Encoder::with_checksums(level)?.append(&vec![0; len_of(FRAME_LEN)], &mut zeros);
    let buffers = Buffers::default();
    let mut output = Output { sink, at: 0, frames: Vec::new() };
    in_order(
        options.threads,
        options.watch,
        spans_of(volume, tiles(volume, FRAME_LEN)),
        || Ok((Encoder::with_checksums(level)?, Vec::new())),
        |(encoder, plain), tile: Extent| {
            let mut packed = buffers.take();
            if tile.kind == ExtentKind::Data {
                plain.resize(len_of(tile.len()), 0);
                volume.read_at(tile.range.start, plain)?;
                if !is_zero(plain) {
                    encoder.append(plain, &mut packed);
                }
            }
            Ok((tile, packed))
        },
        |(tile, packed)| {
            if packed.is_empty() {
                output.zeros(&zeros, tile.len().strict_div(FRAME_LEN))?;
                // The end of the volume.
                let rest = tile.len().strict_rem(FRAME_LEN);
                if rest > 0 {
                    let mut tail = Vec::new();
                    Encoder::with_checksums(level)?.append(&vec![0; len_of(rest)], &mut tail);
                    output.frame(&tail, rest)?;
                }
            } else {
                output.frame(&packed, tile.len())?;
            }
            buffers.give(packed);
            options.watch.advance(tile.len());
            Ok(())
        },
    )?;
    let table = encode(&output.frames);
    output.write(&table)?;
    sink.set_size(output.at)
}

fn len_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("at most a frame")
}

struct Output<'a> {
    sink: &'a dyn WriteAt,
    at: u64,
    frames: Vec<Frame>,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all_at(bytes, self.at)?;
        self.at = self.at.strict_add(u64::try_from(bytes.len()).expect("a length in memory"));
        Ok(())
    }

    /// Adds a frame of `plain_len` bytes of the volume.
    fn frame(&mut self, packed: &[u8], plain_len: u64) -> Result<()> {
        self.note(packed, plain_len);
        self.write(packed)
    }

    fn note(&mut self, packed: &[u8], plain_len: u64) {
        self.frames.push(Frame {
            packed_len: u32::try_from(packed.len()).expect("little over a frame"),
            plain_len: u32::try_from(plain_len).expect("at most a frame"),
        });
    }

    /// Adds `count` whole frames of zeros.
    fn zeros(&mut self, zeros: &[u8], count: u64) -> Result<()> {
        let mut rest = count;
        while rest > 0 {
            let now = usize::try_from(rest.min(ZERO_FRAMES)).expect("a small number");
            for _ in 0..now {
                self.note(zeros, FRAME_LEN);
            }
            self.write(&zeros.repeat(now))?;
            rest = rest.saturating_sub(ZERO_FRAMES);
        }
        Ok(())
    }
}
