//! What a sidecar says of a range, and going through one.

use std::ops::Range;

use crate::error::Result;
use crate::volume::ReadVolume;

/// Largest sidecar that is read, in bytes: half a million ranges with their digests.
pub(super) const MAX_LEN: u64 = 64 << 20;

/// What a sidecar says of a range of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It was written: the image has the bytes, and where the image has a hole, they are zeros.
    Written,
    /// Written zeros.
    Zero,
    /// Never written.
    Hole,
}

/// Reads a range of the volume piece by piece.
pub(super) fn pieces(
    volume: &dyn ReadVolume,
    range: &Range<u64>,
    buffer: &mut [u8],
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let rest = usize::try_from(range.end.strict_sub(at)).unwrap_or(usize::MAX);
        let len = rest.min(buffer.len());
        let piece = &mut buffer[..len];
        volume.read_at(at, piece)?;
        each(at, piece)?;
        at = at.strict_add(u64::try_from(len).expect("at most the buffer"));
    }
    Ok(())
}
