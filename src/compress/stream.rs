//! Compressed streams of any length, unpacked piece by piece: gzip, xz, zstd, bzip2.
//!
//! A stream may be of many members (gzip), streams (xz, bzip2) or frames (zstd), one behind the other, as
//! their own tools read them. What is not one, behind the last, is refused.

use std::fmt;

use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;
use liblzma::stream as lzma;
use zstd::zstd_safe::DCtx;
use zstd::zstd_safe::DParameter;
use zstd::zstd_safe::InBuffer;
use zstd::zstd_safe::OutBuffer;

use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;

/// Most bytes back that a stream may refer to, which is the memory that unpacking takes: what
/// `xz -9` and `zstd --ultra -21` make.
pub const MAX_WINDOW_LEN: u64 = 64 << 20;

/// [`MAX_WINDOW_LEN`] as zstd counts it.
const MAX_WINDOW_LOG: u32 = MAX_WINDOW_LEN.ilog2();

/// Memory of liblzma beside the window.
const LZMA_EXTRA_LEN: u64 = 2 << 20;

/// What gzip's members begin with.
const GZIP_MAGIC: u8 = 0x1f;

/// What xz's streams begin with.
const XZ_MAGIC: u8 = 0xfd;

/// What bzip2's streams begin with.
const BZIP2_MAGIC: u8 = b'B';

/// Zeros behind an xz stream are a multiple of this.
const XZ_PADDING_LEN: usize = 4;

/// zstd's codes for what the caller must tell apart.
const ZSTD_PREFIX_UNKNOWN: usize = 10;
const ZSTD_WINDOW_TOO_LARGE: usize = 16;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrapping {
    /// RFC 1952.
    Gzip,
    /// The .xz file format 1.2.
    Xz,
    /// RFC 8878.
    Zstd,
    /// What bzip2 1.0 reads.
    Bzip2,
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// What is wrong with a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamFault {
    /// It breaks its format, or a checksum in it does not fit.
    Damaged {
        /// The format.
        wrapping: Wrapping,
    },
    /// It ends in the middle.
    Cut {
        /// The format.
        wrapping: Wrapping,
    },
    /// Something else follows.
    Trailing {
        /// The format.
        wrapping: Wrapping,
    },
    /// It needs more memory than it gets.
    Window {
        /// The format.
        wrapping: Wrapping,
    },
    /// It uses an unknown filter or check here.
    Options {
        /// The format.
        wrapping: Wrapping,
    },
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Damaged { wrapping } => {
                write!(f, "the {wrapping} stream is damaged near here")
            }
            Self::Cut { wrapping } => write!(f, "the {wrapping} stream ends in the middle"),
            Self::Trailing { wrapping } => {
                write!(
                    f,
                    "the {wrapping} stream is followed by other bytes, expected another stream or the end"
                )
            }
            Self::Window { wrapping } => write!(
                f,
                "the {wrapping} stream refers back over {} MiB, the limit",
                MAX_WINDOW_LEN >> 20
            ),
            Self::Options { wrapping } => {
                write!(f, "the {wrapping} stream uses an unknown filter or check")
            }
        }
    }
}

impl std::error::Error for StreamFault {}

impl Fault for StreamFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Window { .. } => Kind::Limit,
            Self::Options { .. } => Kind::Unsupported,
            _ => Kind::Corrupt,
        }
    }
}

/// How far one step came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken from the input.
    pub taken: usize,
    /// Bytes put into the output.
    pub given: usize,
}

/// Where in a stream a decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first member.
    Start,
    Inside,
    /// Behind a member.
    Between,
    /// Behind zeros that follow a member: tapes and disks leave them.
    Padding {
        /// How many, as far as they are counted.
        len: usize,
    },
}

enum Inner {
    Gzip(Decompress),
    Xz {
        stream: lzma::Stream,
        /// Whether another stream came before.
        is_second: bool,
    },
    Zstd(DCtx<'static>),
    Bzip2 {
        stream: bzip2::Decompress,
        /// Whether another stream came before.
        is_second: bool,
    },
}

/// Unpacks one compressed stream.
pub struct StreamDecoder {
    inner: Inner,
    wrapping: Wrapping,
    at: At,
}

impl StreamDecoder {
    /// Makes a decoder.
    ///
    /// # Errors
    ///
    /// `Io` if out of memory.
    pub fn new(wrapping: Wrapping) -> Result<Self> {
        let fail = |what: &dyn fmt::Display| Error::new(Kind::Io, format!("cannot set up {what}"));
        let inner = match wrapping {
            Wrapping::Gzip => Inner::Gzip(new_gzip()),
            Wrapping::Xz => {
                Inner::Xz { stream: new_xz().map_err(|_| fail(&wrapping))?, is_second: false }
            }
            Wrapping::Zstd => {
                let mut context = DCtx::create();
                context
                    .set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))
                    .map_err(|_| fail(&wrapping))?;
                Inner::Zstd(context)
            }
            Wrapping::Bzip2 => Inner::Bzip2 { stream: new_bzip2(), is_second: false },
        };
        Ok(Self { inner, wrapping, at: At::Start })
    }

    /// Unpacks as much of `input` as `output` has room for. `last` says that nothing follows `input`;
    /// a step that then neither takes nor gives is the end of a whole stream.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the stream.
    pub fn step(
        &mut self,
        input: &[u8],
        last: bool,
        output: &mut [u8],
    ) -> Result<Step, StreamFault> {
        let step = match self.inner {
            Inner::Gzip(_) => self.gzip(input, output)?,
            Inner::Xz { .. } => self.xz(input, output)?,
            Inner::Zstd(_) => self.zstd(input, output)?,
            Inner::Bzip2 { .. } => self.bzip2(input, output)?,
        };
        let over = last && input.is_empty() && step.given == 0;
        match self.at {
            At::Start | At::Inside if over => Err(StreamFault::Cut { wrapping: self.wrapping }),
            At::Padding { len }
                if over && self.wrapping == Wrapping::Xz && len % XZ_PADDING_LEN != 0 =>
            {
                Err(StreamFault::Trailing { wrapping: self.wrapping })
            }
            _ => Ok(step),
        }
    }

    /// Takes what may stand between two members. `None` if a member stands here.
    fn between(&mut self, input: &[u8], first: u8) -> Result<Option<Step>, StreamFault> {
        let wrapping = self.wrapping;
        let (At::Between | At::Padding { .. }) = self.at else { return Ok(None) };
        let Some(byte) = input.first() else { return Ok(Some(Step::default())) };
        if *byte == 0 && wrapping != Wrapping::Bzip2 {
            let taken = input.iter().position(|byte| *byte != 0).unwrap_or(input.len());
            let before = if let At::Padding { len } = self.at { len } else { 0 };
            self.at = At::Padding { len: before.wrapping_add(taken) };
            return Ok(Some(Step { taken, given: 0 }));
        }
        let padded = match self.at {
            // gzip takes zeros to be the end.
            At::Padding { len } => wrapping == Wrapping::Xz && len % XZ_PADDING_LEN == 0,
            _ => true,
        };
        if padded && *byte == first { Ok(None) } else { Err(StreamFault::Trailing { wrapping }) }
    }

    fn gzip(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, StreamFault> {
        if let Some(step) = self.between(input, GZIP_MAGIC)? {
            return Ok(step);
        }
        let wrapping = self.wrapping;
        let Inner::Gzip(inflate) = &mut self.inner else { unreachable!("the caller looked") };
        if self.at != At::Inside && self.at != At::Start {
            // A reset would forget that it is gzip and not zlib.
            *inflate = new_gzip();
        }
        if !input.is_empty() {
            self.at = At::Inside;
        }
        let (taken, given) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| StreamFault::Damaged { wrapping })?;
        if status == Status::StreamEnd {
            self.at = At::Between;
        }
        Ok(Step {
            taken: count(inflate.total_in(), taken),
            given: count(inflate.total_out(), given),
        })
    }

    fn xz(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, StreamFault> {
        if let Some(step) = self.between(input, XZ_MAGIC)? {
            return Ok(step);
        }
        let wrapping = self.wrapping;
        let is_first = matches!(self.at, At::Start | At::Inside);
        let Inner::Xz { stream, is_second } = &mut self.inner else {
            unreachable!("the caller looked")
        };
        if !is_first {
            *stream = new_xz().map_err(|_| StreamFault::Window { wrapping })?;
            *is_second = true;
        }
        if !input.is_empty() {
            self.at = At::Inside;
        }
        let (taken, given) = (stream.total_in(), stream.total_out());
        match stream.process(input, output, lzma::Action::Run) {
            Ok(lzma::Status::StreamEnd) => self.at = At::Between,
            Ok(_) => {}
            Err(lzma::Error::MemLimit | lzma::Error::Mem) => {
                return Err(StreamFault::Window { wrapping });
            }
            Err(lzma::Error::Options | lzma::Error::UnsupportedCheck) => {
                return Err(StreamFault::Options { wrapping });
            }
            Err(lzma::Error::Format) if *is_second => {
                return Err(StreamFault::Trailing { wrapping });
            }
            Err(_) => return Err(StreamFault::Damaged { wrapping }),
        }
        Ok(Step { taken: count(stream.total_in(), taken), given: count(stream.total_out(), given) })
    }

    fn zstd(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, StreamFault> {
        let wrapping = self.wrapping;
        let Inner::Zstd(context) = &mut self.inner else { unreachable!("the caller looked") };
        if input.is_empty() && self.at != At::Inside {
            return Ok(Step::default());
        }
        let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
        let hint = context.decompress_stream(&mut to, &mut from).map_err(|code| {
            match 0_usize.wrapping_sub(code) {
                ZSTD_PREFIX_UNKNOWN if self.at == At::Between => StreamFault::Trailing { wrapping },
                ZSTD_WINDOW_TOO_LARGE => StreamFault::Window { wrapping },
                _ => StreamFault::Damaged { wrapping },
            }
        })?;
        self.at = if hint == 0 { At::Between } else { At::Inside };
        Ok(Step { taken: from.pos(), given: to.pos() })
    }
}

impl StreamDecoder {
    fn bzip2(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, StreamFault> {
        if let Some(step) = self.between(input, BZIP2_MAGIC)? {
            return Ok(step);
        }
        let wrapping = self.wrapping;
        let is_first = matches!(self.at, At::Start | At::Inside);
        let Inner::Bzip2 { stream, is_second } = &mut self.inner else {
            unreachable!("the caller looked")
        };
        if !is_first {
            *stream = new_bzip2();
            *is_second = true;
        }
        if !input.is_empty() {
            self.at = At::Inside;
        }
        let (taken, given) = (stream.total_in(), stream.total_out());
        match stream.decompress(input, output) {
            Ok(bzip2::Status::StreamEnd) => self.at = At::Between,
            Ok(bzip2::Status::MemNeeded) => return Err(StreamFault::Window { wrapping }),
            Ok(_) => {}
            Err(bzip2::Error::DataMagic) if *is_second => {
                return Err(StreamFault::Trailing { wrapping });
            }
            Err(_) => return Err(StreamFault::Damaged { wrapping }),
        }
        Ok(Step { taken: count(stream.total_in(), taken), given: count(stream.total_out(), given) })
    }
}

/// Returns how far a count went: no further than a buffer is long.
fn count(now: u64, then: u64) -> usize {
    usize::try_from(now.strict_sub(then)).expect("a buffer")
}

fn new_xz() -> Result<lzma::Stream, lzma::Error> {
    let most = MAX_WINDOW_LEN.strict_add(LZMA_EXTRA_LEN);
    lzma::Stream::new_stream_decoder(most, lzma::TELL_UNSUPPORTED_CHECK)
}

fn new_bzip2() -> bzip2::Decompress {
    // The other way takes half of the few mebibytes, and twice the time.
    bzip2::Decompress::new(false)
}

fn new_gzip() -> Decompress {
    const WINDOW_BITS: u8 = 15;
    Decompress::new_gzip(WINDOW_BITS)
}

impl fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDecoder").field("wrapping", &self.wrapping).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::io::Write;

    const ALL: [Wrapping; 4] = [Wrapping::Gzip, Wrapping::Xz, Wrapping::Zstd, Wrapping::Bzip2];

    fn pack(wrapping: Wrapping, plain: &[u8]) -> Vec<u8> {
        match wrapping {
            Wrapping::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Wrapping::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Wrapping::Zstd => {
                let mut frame = Vec::new();
                crate::compress::Encoder::with_checksums(1).unwrap().append(plain, &mut frame);
                frame
            }
            Wrapping::Bzip2 => {
                let level = bzip2::Compression::fast();
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// Unpacks with `most` bytes of input and of output at once.
    fn unpack(wrapping: Wrapping, packed: &[u8], most: usize) -> Result<Vec<u8>, StreamFault> {
        let mut decoder = StreamDecoder::new(wrapping).unwrap();
        let (mut all, mut at, mut output) = (Vec::new(), 0, vec![0; most]);
        loop {
            let end = packed.len().min(at + most);
            let step = decoder.step(&packed[at..end], at == packed.len(), &mut output)?;
            assert!(step.taken <= end - at && step.given <= most);
            at += step.taken;
            all.extend_from_slice(&output[..step.given]);
            if at == packed.len() && step == Step::default() && end == at {
                // The step before may have been the first to hear that this is the end.
                let last = decoder.step(&[], true, &mut output)?;
                all.extend_from_slice(&output[..last.given]);
                if last == Step::default() {
                    return Ok(all);
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_length_give_the_same_as_the_whole() {
        let plain: Vec<u8> = (0_u32..3000).flat_map(|n| (n * n % 251).to_le_bytes()).collect();
        for wrapping in ALL {
            let one = pack(wrapping, &plain);
            let three = [&one[..], &pack(wrapping, &[]), &one].concat();
            for most in [1, 2, 3, 7, 100, 4096, 1 << 20] {
                assert_eq!(unpack(wrapping, &one, most), Ok(plain.clone()), "{wrapping}, {most}");
                let twice = [&plain[..], &plain].concat();
                assert_eq!(unpack(wrapping, &three, most), Ok(twice), "{wrapping}, {most}");
            }
        }
    }

    #[test]
    fn every_prefix_is_cut_and_everything_behind_is_trailing() {
        for wrapping in ALL {
            let packed = pack(wrapping, b"some bytes, some bytes, some bytes");
            for most in [1, 4096] {
                for end in 0..packed.len() {
                    let cut = Err(StreamFault::Cut { wrapping });
                    assert_eq!(unpack(wrapping, &packed[..end], most), cut, "{wrapping}, {end}");
                }
                let longer = [&packed[..], b"something else, as long as a header"].concat();
                let found = unpack(wrapping, &longer, most);
                assert_eq!(found, Err(StreamFault::Trailing { wrapping }), "{wrapping}, {most}");
            }
        }
    }

    #[test]
    fn a_changed_byte_is_damage() {
        for wrapping in ALL {
            let packed = pack(wrapping, b"some bytes, some bytes, some bytes");
            let mut changed = packed.clone();
            let last = packed.len() - 1;
            changed[last] ^= 0x40;
            assert!(unpack(wrapping, &changed, 4096).is_err(), "{wrapping}");
        }
    }
}
