//! Looking inside a volume that the user named: its files, by the path that the guest itself has for them.

use crate::error::Result;
use crate::guest::Guest;
use crate::guest::PartName;
use crate::guest::Tree;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::work::Watch;

/// A place inside a volume.
#[derive(Clone, Debug, Default)]
pub struct InsideRequest {
    /// The volume.
    pub volume: VolumeRequest,
    /// Path from the guest's root, or from that of the partition; bytes, as the guest has them.
    pub path: Vec<u8>,
    /// The part whose files are meant; the root file system and what it mounts otherwise.
    pub partition: Option<PartName>,
}

impl InsideRequest {
    /// Asks for a path inside a volume.
    #[must_use]
    pub fn new(volume: VolumeRequest, path: Vec<u8>) -> Self {
        Self { volume, path, partition: None }
    }
}

/// Opens the volume and calls `with` with its files.
///
/// # Errors
///
/// As [`open`] and [`Tree::open`]; whatever `with` returns.
pub(in crate::ops) fn with_tree<T>(
    request: &InsideRequest,
    watch: &dyn Watch,
    with: impl FnOnce(&Tree<'_>) -> Result<T>,
) -> Result<T> {
    let opened = open(&request.volume, watch)?;
    let done = || {
        let guest = Guest::open(opened.volume())?;
        let tree = Tree::open(&guest, request.partition.as_ref())?;
        let done = with(&tree)?;
        opened.volume().check_unchanged()?;
        Ok(done)
    };
    done().map_err(|error| request.volume.fail(error))
}
