//! The first bytes of something that comes in order, as far as they tell what it is.

use crate::error::Result;
use crate::format::text;
use crate::io::ReadAt;
use crate::io::Stream;
use crate::work::Watch;

/// Bytes by which a format is found: as far as the magics lie.
pub(super) const HEAD_LEN: usize = 64 << 10;

/// First bytes. What is behind them reads as zeros, and there is no end to be seen.
#[derive(Clone, Debug)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Whether nothing is behind them.
    is_whole: bool,
}

impl Head {
    /// Takes first bytes, [`HEAD_LEN`] of them or all that there are.
    pub(super) fn new(bytes: Vec<u8>, is_whole: bool) -> Self {
        Self { bytes, is_whole }
    }

    /// Looks at the first bytes of a stream.
    pub(super) fn of(stream: &mut Stream, watch: &dyn Watch) -> Result<Self> {
        let bytes = stream.peek(HEAD_LEN, watch)?.to_vec();
        let is_whole = bytes.len() < HEAD_LEN;
        Ok(Self { bytes, is_whole })
    }

    /// Tells whether all of it may turn out to be text, so that the rest has to be looked at.
    pub(super) fn may_be_text(&self) -> bool {
        !self.is_whole && text::is_text(&self.bytes, false)
    }
}

impl ReadAt for Head {
    fn len(&self) -> u64 {
        let len = self.bytes.len().try_into().expect("memory is under 2^64 bytes");
        if self.is_whole { len } else { u64::MAX }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        if self.is_whole {
            return self.bytes.read_exact_at(buf, offset);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = self.bytes.get(start..).unwrap_or_default();
        let len = known.len().min(buf.len());
        let (known, rest) = (&known[..len], buf.split_at_mut(len));
        rest.0.copy_from_slice(known);
        rest.1.fill(0);
        Ok(())
    }
}
