//! `snapshot`: the manifest of an image, alone.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::chunking;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::ImageRequest;
use crate::io::OutputFile;
use crate::manifest::Builder;
use crate::manifest::Counts;
use crate::manifest::Summary;
use crate::ops::shared::open::RootSink;
use crate::ops::shared::open::open_source;
use crate::units::ebs_gib;
use crate::work::Watch;

/// What a snapshot is made of.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// The image.
    pub image: ImageRequest,
    /// Where the manifest goes.
    pub output: PathBuf,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
}

/// What a manifest says of its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// Device of the AMI, for a snapshot of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Identity of the snapshot.
    pub root_digest: Digest,
    /// EBS's checksum of the written blocks: SHA-256, LINEAR, base64.
    pub linear_sha256_base64: String,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// GiB that EBS makes of it.
    pub ebs_volume_size_gib: u64,
    /// Blocks of 512 KiB in each state.
    pub blocks: Counts,
    /// Bytes of the manifest.
    pub manifest_bytes: u64,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl SnapshotReport {
    pub(super) fn new(summary: &Summary) -> Self {
        Self {
            device: None,
            root_digest: summary.root,
            linear_sha256_base64: summary.linear.base64(),
            volume_size_bytes: summary.volume_size,
            ebs_volume_size_gib: ebs_gib(summary.volume_size),
            blocks: summary.counts,
            manifest_bytes: summary.file_len,
            notes: Vec::new(),
        }
    }
}

/// Writes the manifest of an image.
///
/// # Errors
///
/// As [`crate::ops::open_source`] and [`chunking::run`]; `Io` if the output cannot be written.
pub fn snapshot(request: &SnapshotRequest, watch: &dyn Watch) -> Result<SnapshotReport> {
    let mut source = open_source(&request.image, watch)?;
    watch.begin(source.size());
    let notes = source.notes();
    let output = OutputFile::create(&request.output)?;
    let mut sink = RootSink(Builder::new(&output));
    let options =
        chunking::Options { threads: request.threads, watch, states: request.states, store: None };
    let name = source.name().to_owned();
    let size = chunking::run(source.blocks(), &options, &mut sink).map_err(|e| e.in_file(&name))?;
    let summary = sink.0.finish(size)?;
    output.commit()?;
    Ok(SnapshotReport { notes, ..SnapshotReport::new(&summary) })
}
