//! The codecs in which image formats pack their clusters and grains.

use std::fmt;
use std::ops::RangeInclusive;

use flate2::Compress;
use flate2::Compression;
use flate2::FlushCompress;
use flate2::Status;
use libdeflater::CompressionLvl;
use libdeflater::Compressor;
use libdeflater::DecompressionError;
use libdeflater::Decompressor;
use zstd::zstd_safe::DCtx;
use zstd::zstd_safe::find_frame_compressed_size;

use crate::compress::Damage;
use crate::compress::frame_head::Frame;
use crate::compress::frame_head::FrameHead;
use crate::compress::frame_head::MAX_HEAD_LEN;
use crate::compress::zlib::ZLIB_HEAD_LEN;
use crate::compress::zlib::has_zlib_head;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;

/// zstd's codes for what the caller must tell apart.
const ZSTD_CHECKSUM_WRONG: usize = 22;
const ZSTD_DESTINATION_TOO_SMALL: usize = 70;

/// How a unit of an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// A raw deflate stream (RFC 1951). Packed, it refers back over at most 4 KiB.
    Deflate,
    /// A zlib stream (RFC 1950).
    Zlib,
    /// One zstd frame (RFC 8878).
    Zstd,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deflate => "deflate",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        })
    }
}

/// What is wrong with a packed unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackFault {
    /// The stream breaks its codec's format, or ends early.
    #[error("these {len} bytes are not a valid {codec} stream: {damage}")]
    Damaged {
        /// The codec.
        codec: Codec,
        /// In which way.
        damage: Damage,
        /// Bytes in which it stands.
        len: usize,
    },
    /// The stream holds fewer bytes than the unit has.
    #[error("the compressed bytes hold {found} bytes, expected {expected}")]
    Short {
        /// Bytes found.
        found: usize,
        /// Bytes of the unit.
        expected: usize,
    },
    /// The stream holds more bytes than the unit has.
    #[error("the compressed bytes hold over {expected} bytes, expected exactly that")]
    Long {
        /// Bytes of the unit.
        expected: usize,
    },
    /// The stream was compressed against a dictionary.
    #[error("the zstd frame needs the dictionary with id {id}, which is not in the file")]
    Dictionary {
        /// The dictionary's id.
        id: u32,
    },
}

impl Fault for UnpackFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Dictionary { .. } => Kind::Unsupported,
            Self::Damaged { .. } | Self::Short { .. } | Self::Long { .. } => Kind::Corrupt,
        }
    }
}

/// Contexts of all codecs, kept from one unit to the next.
pub struct Unpacker {
    deflate: Decompressor,
    zstd: DCtx<'static>,
}

impl Unpacker {
    /// Makes the contexts.
    #[must_use]
    pub fn new() -> Self {
        Self { deflate: Decompressor::new(), zstd: DCtx::create() }
    }

    /// Fills `unit` with what `packed` holds. Bytes behind the end of the stream are ignored: some
    /// formats know the length of packed bytes only in sectors.
    ///
    /// # Errors
    ///
    /// Says in which way the stream is not one of exactly that many bytes. `unit` then holds
    /// anything.
    pub fn unpack(
        &mut self,
        codec: Codec,
        packed: &[u8],
        unit: &mut [u8],
    ) -> Result<(), UnpackFault> {
        let expected = unit.len();
        let found = self.unpack_up_to(codec, packed, unit)?;
        if found == expected { Ok(()) } else { Err(UnpackFault::Short { found, expected }) }
    }

    /// Fills the start of `unit` with what `packed` holds, and returns how many bytes that is.
    ///
    /// # Errors
    ///
    /// As [`Unpacker::unpack`], but a stream of fewer bytes is none.
    pub fn unpack_up_to(
        &mut self,
        codec: Codec,
        packed: &[u8],
        unit: &mut [u8],
    ) -> Result<usize, UnpackFault> {
        let expected = unit.len();
        let result = match codec {
            Codec::Deflate => self.deflate.deflate_decompress(packed, unit),
            Codec::Zlib => self.deflate.zlib_decompress(packed, unit),
            Codec::Zstd => return self.unpack_frame(packed, unit),
        };
        result.map_err(|error| match error {
            DecompressionError::InsufficientSpace => UnpackFault::Long { expected },
            DecompressionError::BadData => {
                let damage = match codec {
                    Codec::Zlib => self.zlib_damage(packed, unit),
                    _ => Damage::Code,
                };
                UnpackFault::Damaged { codec, damage, len: packed.len() }
            }
        })
    }

    /// Fills the start of `unit` with what one frame holds.
    fn unpack_frame(&mut self, packed: &[u8], unit: &mut [u8]) -> Result<usize, UnpackFault> {
        let damaged = |damage, len| UnpackFault::Damaged { codec: Codec::Zstd, damage, len };
        let whole = packed.len();
        let head = FrameHead::parse(packed.get(..MAX_HEAD_LEN).unwrap_or(packed));
        let content_len = match head {
            Ok(FrameHead::Frame(Frame { dictionary: Some(id), .. })) => {
                return Err(UnpackFault::Dictionary { id });
            }
            Ok(FrameHead::Frame(frame)) => frame.content_len,
            Ok(FrameHead::Skipped { .. }) | Err(_) => {
                return Err(damaged(Damage::Header, whole));
            }
        };
        if content_len.is_some_and(|len| usize::try_from(len).map_or(true, |len| len > unit.len()))
        {
            return Err(UnpackFault::Long { expected: unit.len() });
        }
        let len = find_frame_compressed_size(packed).map_err(|_| damaged(Damage::Code, whole))?;
        self.zstd.decompress(unit, &packed[..len]).map_err(|code| {
            match 0_usize.wrapping_sub(code) {
                ZSTD_CHECKSUM_WRONG => damaged(Damage::Checksum, len),
                ZSTD_DESTINATION_TOO_SMALL => UnpackFault::Long { expected: unit.len() },
                _ => damaged(Damage::Code, len),
            }
        })
    }

    /// Says in which way a zlib stream is damaged: the library has one word for all of them.
    fn zlib_damage(&mut self, packed: &[u8], unit: &mut [u8]) -> Damage {
        let Some((head, code)) = packed.split_at_checked(ZLIB_HEAD_LEN) else {
            return Damage::Header;
        };
        if !has_zlib_head(head) {
            return Damage::Header;
        }
        match self.deflate.deflate_decompress(code, unit) {
            Ok(_) => Damage::Checksum,
            Err(_) => Damage::Code,
        }
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

/// Levels of [`Codec::Deflate`]: level 0 would only store.
pub const DEFLATE_LEVELS: RangeInclusive<i32> = 1..=9;

/// Levels of [`Codec::Zlib`].
pub const ZLIB_LEVELS: RangeInclusive<i32> = 1..=12;

/// Level of both where the user names none: zlib's own.
const DEFAULT_DEFLATE_LEVEL: i32 = 6;

/// Binary logarithm of how far back our raw deflate streams refer: QEMU's own, and all that some readers of its
/// images keep. See `docs/formats/qcow2.md` for what it costs.
const WINDOW_BITS: u8 = 12;

/// A compressor of units, kept from one to the next.
pub struct Packer(Inner);

enum Inner {
    Deflate(Compress),
    Zlib(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    /// Makes a compressor; `None` is the codec's default level.
    ///
    /// # Errors
    ///
    /// `Invalid` for a level that the codec does not have: 1 to 9 of deflate, 1 to 12 of zlib, 1 to 22 of
    /// zstd; `Io` if out of memory.
    pub fn new(codec: Codec, level: Option<i32>) -> Result<Self> {
        let within = |levels: RangeInclusive<i32>| {
            let level = level.unwrap_or(DEFAULT_DEFLATE_LEVEL);
            if levels.contains(&level) {
                return Ok(level);
            }
            Err(Error::invalid(format!("compression level is {level}, expected {levels:?}")))
        };
        Ok(Self(match codec {
            Codec::Deflate => {
                let level = u32::try_from(within(DEFLATE_LEVELS)?).expect("at most 9");
                let level = Compression::new(level);
                Inner::Deflate(Compress::new_with_window_bits(level, false, WINDOW_BITS))
            }
            Codec::Zlib => {
                let level = CompressionLvl::new(within(ZLIB_LEVELS)?).expect("at most 12");
                Inner::Zlib(Compressor::new(level))
            }
            Codec::Zstd => {
                let (level, levels) = (level.unwrap_or(super::DEFAULT_LEVEL), super::LEVELS);
                if !levels.contains(&level) {
                    let text = format!("compression level is {level}, expected {levels:?}");
                    return Err(Error::invalid(text));
                }
                let made = zstd::bulk::Compressor::new(level);
                Inner::Zstd(made.map_err(|e| {
                    let text = format!("cannot set up compression at level {level}: {e}");
                    Error::new(Kind::Io, text)
                })?)
            }
        }))
    }

    /// Packs `unit` to the start of `out` and returns the packed bytes; `None` if they do not fit.
    pub fn pack(&mut self, unit: &[u8], out: &mut [u8]) -> Option<usize> {
        match &mut self.0 {
            Inner::Deflate(deflate) => {
                deflate.reset();
                let packed = deflate.compress(unit, out, FlushCompress::Finish);
                let is_whole = packed.is_ok_and(|status| status == Status::StreamEnd);
                let len = usize::try_from(deflate.total_out()).expect("at most the buffer");
                is_whole.then_some(len)
            }
            Inner::Zlib(deflate) => deflate.zlib_compress(unit, out).ok(),
            Inner::Zstd(zstd) => zstd.compress_to_buffer(unit, out).ok(),
        }
    }
}

/// Returns the most bytes that zlib makes of `len` bytes with a window that is not its usual one.
fn deflate_bound(len: usize) -> usize {
    len.strict_add(len.div_ceil(8)).strict_add(len.div_ceil(64)).strict_add(5)
}

impl Packer {
    /// Appends what `unit` packs to and returns its length in bytes.
    pub fn append(&mut self, unit: &[u8], out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let bound = match &mut self.0 {
            Inner::Deflate(_) => deflate_bound(unit.len()),
            Inner::Zlib(deflate) => deflate.zlib_compress_bound(unit.len()),
            Inner::Zstd(_) => super::frame_bound(unit.len()),
        };
        out.resize(start.strict_add(bound), 0);
        let len = self.pack(unit, &mut out[start..]).expect("the bound is the library's own");
        out.truncate(start.strict_add(len));
        len
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 65_536];
        let len = Packer::new(codec, None).unwrap().pack(plain, &mut out).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let noise: Vec<u8> = (0..1024_u32)
            .flat_map(|word| word.wrapping_mul(word).wrapping_mul(0x9e37_79b9).to_le_bytes())
            .collect();
        for codec in [Codec::Deflate, Codec::Zlib, Codec::Zstd] {
            let mut packer = Packer::new(codec, None).unwrap();
            assert_eq!(packer.pack(&noise, &mut [0; 1000]), None, "{codec:?}");
            assert!(packer.pack(&[7; 4096], &mut [0; 1000]).is_some(), "{codec:?}");
            let most = if codec == Codec::Deflate { 9 } else { 12 };
            for (level, good) in [(0, false), (1, true), (most, true), (23, false), (-1, false)] {
                let made = Packer::new(codec, Some(level));
                assert_eq!(made.map_err(|e| e.kind()).err(), (!good).then_some(Kind::Invalid));
            }
        }
    }

    #[test]
    fn each_codec_gives_the_unit_and_ignores_what_is_behind_it() {
        let plain: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        let mut unpacker = Unpacker::new();
        for codec in [Codec::Deflate, Codec::Zlib, Codec::Zstd] {
            let mut bytes = packed(codec, &plain);
            let whole = bytes.len();
            let mut unit = vec![1; plain.len()];
            if codec != Codec::Zlib {
                bytes.extend_from_slice(&[0xaa; 500]);
            }
            unpacker.unpack(codec, &bytes, &mut unit).unwrap();
            assert_eq!(unit, plain, "{codec:?}");
            for cut in [0, 1, whole / 2, whole.strict_sub(1)] {
                assert!(unpacker.unpack(codec, &bytes[..cut], &mut unit).is_err(), "{codec:?}");
            }
        }
    }

    /// A reader that keeps 4 KiB reads what is packed, and one that keeps less does not have to.
    #[test]
    fn deflate_refers_back_over_four_kibibytes_at_most() {
        let noise: Vec<u8> = (0..5000_u32)
            .map(|n| n.wrapping_mul(n).wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
            .collect();
        for (distance, shrinks) in [(3000, true), (4500, false)] {
            let plain = noise[..distance].repeat(65_536 / distance);
            for level in DEFLATE_LEVELS {
                let mut out = vec![0; deflate_bound(plain.len())];
                let packed =
                    Packer::new(Codec::Deflate, Some(level)).unwrap().pack(&plain, &mut out);
                assert_eq!(packed.unwrap() < plain.len() / 4, shrinks, "level {level}, {distance}");
                let mut unit = vec![0; plain.len()];
                Unpacker::new().unpack(Codec::Deflate, &out[..packed.unwrap()], &mut unit).unwrap();
                assert_eq!(unit, plain);
            }
        }
    }

    #[test]
    fn streams_append_and_come_back() {
        let noise: Vec<u8> =
            (0..40_000_u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
        let (mut zlib, mut unpacker) = (Packer::new(Codec::Zlib, None).unwrap(), Unpacker::new());
        let mut out = vec![9];
        for plain in [&noise[..0], &noise[..1], &noise[..65_536], &vec![7; 65_536]] {
            let start = out.len();
            let len = zlib.append(plain, &mut out);
            assert_eq!(out.len(), start.strict_add(len));
            let mut unit = vec![1; 65_536];
            let found = unpacker.unpack_up_to(Codec::Zlib, &out[start..], &mut unit).unwrap();
            assert_eq!(&unit[..found], plain);
        }
    }

    /// Each way in which a packed unit can be damaged has its own name.
    #[test]
    fn damage_is_told_by_its_kind() {
        let plain: Vec<u8> =
            (0..=255_u8).flat_map(|n| [n, n / 3, n / 7, 9]).cycle().take(9000).collect();
        let mut unpacker = Unpacker::new();
        let mut unit = vec![0; plain.len()];
        let mut damage = |codec, bytes: &[u8]| match unpacker.unpack(codec, bytes, &mut unit) {
            Err(UnpackFault::Damaged { damage, len, .. }) if len == bytes.len() => Some(damage),
            other => panic!("{other:?}"),
        };
        let mut zlib = packed(Codec::Zlib, &plain);
        let end = zlib.len().strict_sub(1);
        zlib[end] ^= 1;
        assert_eq!(damage(Codec::Zlib, &zlib), Some(Damage::Checksum));
        zlib[1] ^= 1;
        assert_eq!(damage(Codec::Zlib, &zlib), Some(Damage::Header));
        let mut frame = Vec::new();
        crate::compress::Encoder::with_checksums(3).unwrap().append(&plain, &mut frame);
        let end = frame.len().strict_sub(1);
        frame[end] ^= 1;
        assert_eq!(damage(Codec::Zstd, &frame), Some(Damage::Checksum));
        frame[0] ^= 1;
        assert_eq!(damage(Codec::Zstd, &frame), Some(Damage::Header));
        for codec in [Codec::Deflate, Codec::Zlib, Codec::Zstd] {
            // Cut in the middle, and with a block of a kind that there is not.
            let bytes = packed(codec, &plain);
            assert_eq!(damage(codec, &bytes[..bytes.len() / 2]), Some(Damage::Code), "{codec}");
            let mut bytes = bytes;
            let first = match codec {
                Codec::Deflate => 0,
                Codec::Zlib => 2,
                Codec::Zstd => 7,
            };
            bytes[first] |= 6;
            assert_eq!(damage(codec, &bytes), Some(Damage::Code), "{codec}");
        }
    }

    #[test]
    fn a_frame_with_a_dictionary_names_it() {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x21, 77, 5, 0x21, 0, 0];
        let found = Unpacker::new().unpack(Codec::Zstd, &frame, &mut [0; 5]);
        assert_eq!(found, Err(UnpackFault::Dictionary { id: 77 }));
    }

    #[test]
    fn a_stream_of_another_length_is_refused() {
        let mut unpacker = Unpacker::new();
        for codec in [Codec::Deflate, Codec::Zlib, Codec::Zstd] {
            let bytes = packed(codec, &[7; 5000]);
            let short = UnpackFault::Short { found: 5000, expected: 5001 };
            assert_eq!(unpacker.unpack(codec, &bytes, &mut [0; 5001]), Err(short));
            assert!(unpacker.unpack(codec, &bytes, &mut [0; 4999]).is_err(), "{codec:?}");
        }
    }
}
