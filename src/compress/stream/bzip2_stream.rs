//! bzip2 streams, as bzip2 1.0 reads them.

use bzip2::Decompress;
use bzip2::Error;
use bzip2::Status;

use crate::compress::Damage;
use crate::compress::stream::fault::DamagedUnit;
use crate::compress::stream::fault::StreamFault;
use crate::compress::stream::step::Decoded;
use crate::compress::stream::step::Step;
use crate::compress::stream::step::Wrapping;
use crate::compress::stream::step::count;

/// Bytes of a stream's end: a mark and a checksum, behind up to seven bits of the last block.
const END_LEN: usize = 11;

/// Bytes of a stream's header.
const HEADER_LEN: u64 = 4;

/// Bytes that the library takes before it looks at them, at most.
const AHEAD_LEN: u64 = 8;

/// What stands in front of the checksum of a stream.
const END_MARK: u64 = 0x1772_4538_5090;

/// Unpacks one stream.
///
/// The library has one word for a broken code and for a checksum that does not fit. So it never gets
/// input and room for output together: a call without room decodes a block, one without input gives its
/// bytes and then checks them.
pub(super) struct Stream {
    inner: Decompress,
    /// Byte of the compressed stream at which it starts.
    start: u64,
    /// Byte at or shortly before which its current block starts: blocks do not care for the limits of bytes,
    /// and the library reads ahead.
    block: u64,
    /// Whether bytes of the current block were given.
    gives: bool,
    /// The last bytes that were taken.
    last: [u8; END_LEN],
}

impl Stream {
    pub(super) fn new(start: u64) -> Self {
        // The other way takes half of the few mebibytes, and twice the time.
        let inner = Decompress::new(false);
        let block = start.strict_add(HEADER_LEN);
        Self { inner, start, block, gives: false, last: [0; END_LEN] }
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Decoded, StreamFault> {
        let before = self.inner.total_in();
        let result = self.inner.decompress(input, &mut []);
        let taken = count(self.inner.total_in(), before);
        if taken == 0 && self.gives && matches!(result, Err(Error::Data)) {
            return Err(self.damaged(Damage::Checksum));
        }
        if taken > 0 && std::mem::take(&mut self.gives) {
            self.block = self.start.strict_add(before.saturating_sub(AHEAD_LEN));
        }
        self.remember(&input[..taken]);
        let status = result.map_err(|error| self.fault(error))?;
        if taken > 0 || status == Status::StreamEnd {
            return decoded(status, Step { taken, given: 0 });
        }
        let before = self.inner.total_out();
        let status = self.inner.decompress(&[], output).map_err(|error| match error {
            Error::Data => self.damaged(Damage::Checksum),
            error => self.fault(error),
        })?;
        let given = count(self.inner.total_out(), before);
        self.gives |= given > 0;
        decoded(status, Step { taken: 0, given })
    }

    fn remember(&mut self, taken: &[u8]) {
        let kept = taken.len().min(END_LEN);
        self.last.rotate_left(kept);
        let new = END_LEN.strict_sub(kept);
        self.last[new..].copy_from_slice(&taken[taken.len().strict_sub(kept)..]);
    }

    /// Says what is wrong where the library was decoding.
    fn fault(&self, error: Error) -> StreamFault {
        let wrapping = Wrapping::Bzip2;
        let read = self.inner.total_in();
        match error {
            Error::DataMagic if self.start > 0 && read <= HEADER_LEN => {
                StreamFault::Trailing { wrapping }
            }
            Error::DataMagic => self.damaged(Damage::Header),
            _ if self.is_at_end() => self.damaged(Damage::Checksum),
            _ => self.damaged(Damage::Code),
        }
    }

    /// Tells whether the last bytes are those of a stream's end, which begins at any bit.
    fn is_at_end(&self) -> bool {
        let bits = self.last.iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
        (0..8)
            .any(|shift| (bits >> (32_u32.strict_add(shift))) & 0xffff_ffff_ffff == END_MARK.into())
    }

    fn damaged(&self, damage: Damage) -> StreamFault {
        let end = self.start.strict_add(self.inner.total_in());
        // The checksum at the end is that of all blocks together.
        let of_all = damage == Damage::Header || self.is_at_end() && !self.gives;
        let (name, start) = if of_all { ("stream", self.start) } else { ("block", self.block) };
        let found = start;
        let unit = DamagedUnit { wrapping: Wrapping::Bzip2, name, start, found, end };
        StreamFault::Damaged { damage, unit }
    }
}

fn decoded(status: Status, step: Step) -> Result<Decoded, StreamFault> {
    match status {
        Status::MemNeeded => Err(StreamFault::Memory { wrapping: Wrapping::Bzip2 }),
        status => Ok(Decoded { step, is_over: status == Status::StreamEnd }),
    }
}
