//! Compressed streams of any length, unpacked piece by piece: gzip, xz, zstd.
//!
//! A stream may be of many members (gzip), streams (xz) or frames (zstd), one behind the other, as
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
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
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
    /// It uses a filter or a check that is not known here.
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
                write!(f, "the {wrapping} stream is over, expected nothing but another one behind")
            }
            Self::Window { wrapping } => write!(
                f,
                "the {wrapping} stream refers back over {} MiB, the most that is kept",
                MAX_WINDOW_LEN >> 20
            ),
            Self::Options { wrapping } => {
                write!(f, "the {wrapping} stream uses a filter or a check that is not known")
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
    /// Behind zeros that follow the last member: tapes and disks leave them.
    Padding,
}

enum Inner {
    Gzip(Decompress),
    Xz(lzma::Stream),
    Zstd(DCtx<'static>),
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
    /// `Io` if there is no memory for it.
    pub fn new(wrapping: Wrapping) -> Result<Self> {
        let fail = |what: &dyn fmt::Display| Error::new(Kind::Io, format!("cannot set up {what}"));
        let inner = match wrapping {
            Wrapping::Gzip => Inner::Gzip(new_gzip()),
            Wrapping::Xz => {
                let most = MAX_WINDOW_LEN.strict_add(LZMA_EXTRA_LEN);
                let flags = lzma::CONCATENATED | lzma::TELL_UNSUPPORTED_CHECK;
                let made = lzma::Stream::new_stream_decoder(most, flags);
                Inner::Xz(made.map_err(|_| fail(&wrapping))?)
            }
            Wrapping::Zstd => {
                let mut context = DCtx::create();
                context
                    .set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))
                    .map_err(|_| fail(&wrapping))?;
                Inner::Zstd(context)
            }
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
            Inner::Xz(_) => self.xz(input, last, output)?,
            Inner::Zstd(_) => self.zstd(input, output)?,
        };
        let over = last && input.is_empty() && step.given == 0;
        if over && matches!(self.at, At::Start | At::Inside) {
            return Err(StreamFault::Cut { wrapping: self.wrapping });
        }
        Ok(step)
    }

    fn gzip(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, StreamFault> {
        let wrapping = self.wrapping;
        let Inner::Gzip(inflate) = &mut self.inner else { unreachable!("the caller looked") };
        if matches!(self.at, At::Between | At::Padding) {
            let Some(first) = input.first() else { return Ok(Step::default()) };
            if *first == 0 {
                self.at = At::Padding;
                let taken = input.iter().position(|byte| *byte != 0).unwrap_or(input.len());
                return Ok(Step { taken, given: 0 });
            }
            if *first != GZIP_MAGIC || self.at == At::Padding {
                return Err(StreamFault::Trailing { wrapping });
            }
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
        let count = |now: u64, then: u64| usize::try_from(now.strict_sub(then)).expect("a buffer");
        Ok(Step {
            taken: count(inflate.total_in(), taken),
            given: count(inflate.total_out(), given),
        })
    }

    fn xz(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, StreamFault> {
        let wrapping = self.wrapping;
        let Inner::Xz(stream) = &mut self.inner else { unreachable!("the caller looked") };
        if self.at == At::Between {
            // The library has said that all is over, and that takes all input with it.
            return Ok(Step::default());
        }
        let begun = stream.total_out() > 0;
        let (taken, given) = (stream.total_in(), stream.total_out());
        let action = if last { lzma::Action::Finish } else { lzma::Action::Run };
        match stream.process(input, output, action) {
            Ok(lzma::Status::StreamEnd) => self.at = At::Between,
            Ok(_) => self.at = At::Inside,
            Err(lzma::Error::MemLimit | lzma::Error::Mem) => {
                return Err(StreamFault::Window { wrapping });
            }
            Err(lzma::Error::Options | lzma::Error::UnsupportedCheck) => {
                return Err(StreamFault::Options { wrapping });
            }
            Err(lzma::Error::Format) if begun => return Err(StreamFault::Trailing { wrapping }),
            Err(_) => return Err(StreamFault::Damaged { wrapping }),
        }
        let count = |now: u64, then: u64| usize::try_from(now.strict_sub(then)).expect("a buffer");
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

fn new_gzip() -> Decompress {
    const WINDOW_BITS: u8 = 15;
    Decompress::new_gzip(WINDOW_BITS)
}

impl fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDecoder").field("wrapping", &self.wrapping).finish_non_exhaustive()
    }
}
