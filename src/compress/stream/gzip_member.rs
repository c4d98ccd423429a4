//! gzip members (RFC 1952).

use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

use crate::compress::Damage;
use crate::compress::stream::fault::DamagedUnit;
use crate::compress::stream::fault::StreamFault;
use crate::compress::stream::step::Decoded;
use crate::compress::stream::step::Step;
use crate::compress::stream::step::Wrapping;
use crate::compress::stream::step::count;

/// Most bits of a distance.
const WINDOW_BITS: u8 = 15;

/// Unpacks one member.
pub(super) struct Member {
    inflate: Decompress,
    /// Byte of the stream at which it starts.
    start: u64,
}

impl Member {
    pub(super) fn new(start: u64) -> Self {
        // A reset of one that was used would forget that it is gzip and not zlib.
        Self { inflate: Decompress::new_gzip(WINDOW_BITS), start }
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Decoded, StreamFault> {
        let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, output, FlushDecompress::None)
            .map_err(|error| self.damaged(error.message().unwrap_or_default()))?;
        let step = Step {
            taken: count(self.inflate.total_in(), taken),
            given: count(self.inflate.total_out(), given),
        };
        Ok(Decoded { step, is_over: status == Status::StreamEnd })
    }

    /// Says in which way it is damaged, by zlib's own words for it.
    fn damaged(&self, message: &str) -> StreamFault {
        let damage = match message {
            "incorrect data check" => Damage::Checksum,
            "incorrect length check" => Damage::Length,
            "incorrect header check"
            | "unknown compression method"
            | "unknown header flags set"
            | "header crc mismatch" => Damage::Header,
            _ => Damage::Code,
        };
        let end = self.start.strict_add(self.inflate.total_in());
        let found = if damage == Damage::Code { end } else { self.start };
        let unit =
            DamagedUnit { wrapping: Wrapping::Gzip, name: "member", start: self.start, found, end };
        StreamFault::Damaged { damage, unit }
    }
}
