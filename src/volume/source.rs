//! Where the stored and packed runs of a volume point to.

use std::ops::Range;
use std::sync::Arc;

use crate::compress::Codec;
use crate::error::Error;
use crate::error::Result;
use crate::io::ReadAt;

/// What the packed runs of a source unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// How they are packed.
    pub codec: Codec,
    /// Bytes of each unit when unpacked, at most [`MAX_UNIT_LEN`].
    pub len: u32,
}

/// Most bytes of a unit: the largest cluster of any format that packs them.
pub const MAX_UNIT_LEN: u32 = 2 << 20;

/// Most bytes that a unit takes when packed: no codec makes noise that much longer.
pub(super) const MAX_PACKED_LEN: u32 = 4 << 20;

/// Where stored and packed runs point to.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) bytes: Arc<dyn ReadAt>,
    pub(super) unit: Option<Unit>,
    pub(super) markers: Option<Markers>,
}

/// Most bytes of a marker.
pub const MAX_MARKER_LEN: usize = 64;

/// What stands in front of each packed unit of a source.
#[derive(Clone, Debug)]
pub struct Markers {
    /// Bytes of a marker, at most [`MAX_MARKER_LEN`].
    pub len: usize,
    /// Returns how many packed bytes follow a marker. It is told where the unit starts, in bytes
    /// from the start of `span`, and the run's `len`, and fails if the marker says otherwise or more.
    pub read: fn(&[u8], u64, u32) -> Result<u32>,
    /// The bytes of the volume that the source's units cover. The first unit starts where it does,
    /// and of a unit that passes its end only the bytes inside have to be there.
    pub span: Range<u64>,
}

impl Source {
    /// Makes a source whose packed runs unpack to `unit`.
    #[must_use]
    pub fn packed(bytes: Arc<dyn ReadAt>, unit: Unit) -> Self {
        Self { bytes, unit: Some(unit), markers: None }
    }

    /// Makes a source whose packed runs point to markers, with what unpacks to `unit` behind each.
    ///
    /// The `len` of such a run counts the bytes behind the marker.
    ///
    /// # Panics
    ///
    /// If the markers are over [`MAX_MARKER_LEN`] long.
    #[must_use]
    pub fn marked(bytes: Arc<dyn ReadAt>, unit: Unit, markers: Markers) -> Self {
        assert!(markers.len <= MAX_MARKER_LEN, "a marker of {} bytes", markers.len);
        Self { bytes, unit: Some(unit), markers: Some(markers) }
    }
}

impl Source {
    /// Says which file a failure is about: a volume may have many.
    pub(super) fn named(&self, error: Error) -> Error {
        match self.bytes.origin() {
            Some(path) => error.in_file(path),
            None => error,
        }
    }
}

impl<R: ReadAt + 'static> From<Arc<R>> for Source {
    fn from(bytes: Arc<R>) -> Self {
        Self { bytes, unit: None, markers: None }
    }
}

impl From<Arc<dyn ReadAt>> for Source {
    fn from(bytes: Arc<dyn ReadAt>) -> Self {
        Self { bytes, unit: None, markers: None }
    }
}
