//! Gzip made by many threads: pieces that do not depend on each other, in one member.
//!
//! A piece is deflated alone and ends on a byte boundary, so the pieces in a row are one stream. Any
//! gunzip reads it, also one that knows of a single member only.

use std::fmt;
use std::ops::RangeInclusive;

use flate2::Compress;
use flate2::Compression;
use flate2::FlushCompress;

use crate::error::Error;
use crate::error::Result;

/// Levels of [`GzipPacker`].
pub const GZIP_LEVELS: RangeInclusive<u32> = 1..=9;

/// Level where the user names none.
pub const DEFAULT_GZIP_LEVEL: u32 = 6;

/// What a member begins with: no name, no time, made on Unix.
pub const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// An empty last block: what ends a row of pieces.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// A piece, deflated.
#[derive(Clone, Debug)]
pub struct GzipPiece {
    /// Deflated bytes.
    pub packed: Vec<u8>,
    /// Checksum of the plain bytes, with their number.
    crc: crc32fast::Hasher,
}

/// Deflates pieces.
pub struct GzipPacker(Compress);

impl GzipPacker {
    /// Makes a packer of a level in [`GZIP_LEVELS`].
    ///
    /// # Errors
    ///
    /// `Invalid` for another level.
    pub fn new(level: u32) -> Result<Self> {
        if !GZIP_LEVELS.contains(&level) {
            let text = format!("compression level is {level}, expected {GZIP_LEVELS:?}");
            return Err(Error::invalid(text));
        }
        Ok(Self(Compress::new(Compression::new(level), false)))
    }

    /// Deflates a piece.
    pub fn pack(&mut self, plain: &[u8]) -> GzipPiece {
        let mut crc = crc32fast::Hasher::new();
        crc.update(plain);
        self.0.reset();
        let mut packed = Vec::with_capacity((plain.len() / 2).strict_add(1024));
        loop {
            let taken = usize::try_from(self.0.total_in()).expect("at most the piece");
            self.0
                .compress_vec(&plain[taken..], &mut packed, FlushCompress::Full)
                .expect("a stream that was just begun takes all bytes");
            let taken = usize::try_from(self.0.total_in()).expect("at most the piece");
            // Room that is left says that nothing is waiting for it.
            if taken == plain.len() && packed.len() < packed.capacity() {
                return GzipPiece { packed, crc };
            }
            packed.reserve((plain.len() / 4).strict_add(1024));
        }
    }
}

impl fmt::Debug for GzipPacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GzipPacker")
    }
}

/// Sums up the pieces of a member, in order.
#[derive(Clone, Debug, Default)]
pub struct GzipSum {
    crc: crc32fast::Hasher,
    /// Plain bytes, modulo 2^32 as the format has them.
    len: u32,
}

impl GzipSum {
    /// Adds a piece that stands for `len` plain bytes.
    pub fn add(&mut self, piece: &GzipPiece, len: usize) {
        self.crc.combine(&piece.crc);
        let len = u32::try_from(len).expect("a piece is short");
        self.len = self.len.wrapping_add(len);
    }

    /// Returns what ends the member.
    #[must_use]
    pub fn finish(self) -> [u8; 10] {
        let mut end = [0; 10];
        end[..2].copy_from_slice(&LAST_BLOCK);
        end[2..6].copy_from_slice(&self.crc.finalize().to_le_bytes());
        end[6..].copy_from_slice(&self.len.to_le_bytes());
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::compress::MAX_WINDOW_LEN;
    use crate::compress::StreamDecoder;
    use crate::compress::Wrapping;

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = StreamDecoder::new(Wrapping::Gzip, MAX_WINDOW_LEN).unwrap();
        let (mut plain, mut at) = (Vec::new(), 0);
        loop {
            let mut out = [0; 4096];
            let step = decoder.step(&bytes[at..], true, &mut out).unwrap();
            if step.taken == 0 && step.given == 0 {
                return plain;
            }
            at = at.strict_add(step.taken);
            plain.extend_from_slice(&out[..step.given]);
        }
    }

    #[test]
    fn pieces_of_any_size_are_one_member() {
        let noise: Vec<u8> =
            (0..300_000_u32).map(|i| i.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect();
        let zeros = vec![0; 70_000];
        for level in [1, 6, 9] {
            let mut packer = GzipPacker::new(level).unwrap();
            for pieces in [vec![], vec![&noise[..0]], vec![&noise[..], &zeros, &noise[..1], &noise]]
            {
                let (mut bytes, mut sum) = (GZIP_HEADER.to_vec(), GzipSum::default());
                for piece in &pieces {
                    let made = packer.pack(piece);
                    bytes.extend_from_slice(&made.packed);
                    sum.add(&made, piece.len());
                }
                bytes.extend_from_slice(&sum.finish());
                assert_eq!(gunzip(&bytes), pieces.concat());
            }
        }
        assert!(GzipPacker::new(0).is_err() && GzipPacker::new(10).is_err());
    }
}
