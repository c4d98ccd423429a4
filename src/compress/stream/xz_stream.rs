//! .xz streams, version 1.2 of the format.

use liblzma::stream as lzma;

use crate::compress::Damage;
use crate::compress::stream::fault::DamagedUnit;
use crate::compress::stream::fault::StreamFault;
use crate::compress::stream::step::Decoded;
use crate::compress::stream::step::Step;
use crate::compress::stream::step::Wrapping;
use crate::compress::stream::step::count;
use crate::compress::stream::xz_walk::Place;
use crate::compress::stream::xz_walk::Walk;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;

const WRAPPING: Wrapping = Wrapping::Xz;

/// Memory of liblzma beside the window.
const EXTRA_LEN: u64 = 2 << 20;

/// The smallest window that a header can say.
const SMALLEST_WINDOW: u64 = 4 << 10;

/// The largest window that a header can say, but for one byte.
const LARGEST_WINDOW: u64 = 4 << 30;

/// Unpacks one stream.
pub(super) struct Stream {
    inner: lzma::Stream,
    max_window: u64,
    /// Byte of the compressed stream at which it starts.
    start: u64,
    walk: Walk,
}

impl Stream {
    pub(super) fn new(start: u64, max_window: u64) -> Result<Self> {
        let most = max_window.strict_add(EXTRA_LEN);
        let inner = lzma::Stream::new_stream_decoder(most, lzma::TELL_UNSUPPORTED_CHECK)
            .map_err(|_| Error::new(Kind::Io, "cannot set up xz: out of memory"))?;
        Ok(Self { inner, max_window, start, walk: Walk::default() })
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Decoded, StreamFault> {
        let (taken, given) = (self.inner.total_in(), self.inner.total_out());
        let result = self.inner.process(input, output, lzma::Action::Run);
        let step = Step {
            taken: count(self.inner.total_in(), taken),
            given: count(self.inner.total_out(), given),
        };
        self.walk.advance(&input[..step.taken]);
        let status = result.map_err(|error| self.fault(error))?;
        Ok(Decoded { step, is_over: matches!(status, lzma::Status::StreamEnd) })
    }

    fn fault(&mut self, error: lzma::Error) -> StreamFault {
        match error {
            lzma::Error::MemLimit => {
                let (needed, limit) = (self.needed(), self.max_window);
                StreamFault::Window { wrapping: WRAPPING, needed, limit }
            }
            lzma::Error::Mem => StreamFault::Memory { wrapping: WRAPPING },
            lzma::Error::Options | lzma::Error::UnsupportedCheck => {
                StreamFault::Options { wrapping: WRAPPING }
            }
            lzma::Error::Format if self.start > 0 => StreamFault::Trailing { wrapping: WRAPPING },
            _ => self.damaged(),
        }
    }

    /// Finds out how large a window the stream needs: the library takes no limit below that.
    fn needed(&mut self) -> u64 {
        let mut window = SMALLEST_WINDOW;
        loop {
            // Windows are 2 or 3 times a power of two.
            for window in [window, window.strict_add(window / 2)] {
                let most = window.strict_add(EXTRA_LEN);
                if window >= LARGEST_WINDOW || self.inner.set_memlimit(most).is_ok() {
                    return window;
                }
            }
            window = window.strict_mul(2);
        }
    }

    fn damaged(&self) -> StreamFault {
        let read = self.inner.total_in();
        let (damage, name, from, found) = match self.walk.place() {
            Place::Head => (Damage::Header, "stream", 0, 0),
            Place::BlockHead { start } => (Damage::Header, "block", start, start),
            Place::Code { start, chunk } => (Damage::Code, "block", start, chunk),
            Place::CodeEnd { start } => (Damage::Length, "block", start, start),
            Place::Check { start } => (Damage::Checksum, "block", start, start),
            Place::Index => (Damage::Index, "stream", 0, 0),
        };
        let unit = DamagedUnit {
            wrapping: WRAPPING,
            name,
            start: self.start.strict_add(from),
            found: self.start.strict_add(found),
            // The byte that makes no sense is not taken.
            end: self.start.strict_add(read).strict_add(u64::from(damage == Damage::Code)),
        };
        StreamFault::Damaged { damage, unit }
    }
}
