//! Magic numbers: bytes that stand at a fixed place.

use crate::error::Result;
use crate::io::ReadAt;

/// Tells whether `bytes` stand at `offset`; what lies outside the source does not.
pub(super) fn has(source: &dyn ReadAt, offset: u64, bytes: &[u8]) -> Result<bool> {
    let mut found = [0; 32];
    let found = &mut found[..bytes.len()];
    let len = u64::try_from(bytes.len()).expect("a magic is short");
    // Cannot overflow: offsets of magics are small.
    if offset.saturating_add(len) > source.len() {
        return Ok(false);
    }
    source.read_exact_at(found, offset)?;
    Ok(found == bytes)
}

/// Tells whether `bytes` stand at the start; what lies outside the source does not.
pub(super) fn starts_with(source: &dyn ReadAt, bytes: &[u8]) -> Result<bool> {
    has(source, 0, bytes)
}
