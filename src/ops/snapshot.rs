//! `snapshot`: the manifest of a volume, alone.

use std::num::NonZero;
use std::path::PathBuf;

use crate::chunking::States;
use crate::error::Result;
use crate::io::OutputFile;
use crate::ops::shared::manifest::write_manifest;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_in_order;
use crate::ops::shared::outside::check_apart;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::SnapshotReport;
use crate::work::Watch;
use crate::work::default_threads;

/// What a snapshot is made of.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// The volume.
    pub image: VolumeRequest,
    /// Where the manifest goes.
    pub output: PathBuf,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
}

impl SnapshotRequest {
    /// Asks for the manifest of a volume, states kept, with all processors.
    #[must_use]
    pub fn new(image: VolumeRequest, output: impl Into<PathBuf>) -> Self {
        let (threads, states) = (default_threads(), States::default());
        Self { image, output: output.into(), threads, states }
    }
}

/// Writes the manifest of a volume.
///
/// # Errors
///
/// As [`open_in_order`] and [`crate::chunking::run`]; `Io` if the output cannot be written.
pub fn snapshot(request: &SnapshotRequest, watch: &dyn Watch) -> Result<SnapshotReport> {
    let mut source = open_in_order(&request.image, watch)?;
    watch.begin(source.size());
    let notes = source.notes();
    check_outside(&request.output, [request.image.image.path.as_path()])?;
    check_apart(&request.output, source.inputs())?;
    let output = OutputFile::create(&request.output)?;
    let summary = output.finish(|output| {
        write_manifest(source.blocks(), output, request.states, request.threads, watch)
            .map_err(|error| request.image.fail(error))
    })?;
    let free = request.image.free.map(|record| record.to_string());
    Ok(SnapshotReport { free, notes, ..SnapshotReport::new(&summary) })
}
