//! `unpack`: a snapshot of a bundle back to an image.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::format::Format;
use crate::format::ImageRequest;
use crate::io::Target;
use crate::manifest::Counts;
use crate::ops::convert::write_image;
use crate::ops::open::open_bundle;
use crate::ops::path_text;
use crate::volume::ReadVolume;
use crate::work::Quiet;
use crate::work::Watch;

/// What is unpacked, and to where.
#[derive(Clone, Debug)]
pub struct UnpackRequest {
    /// The bundle.
    pub bundle: PathBuf,
    /// Device of the AMI; the root device where the user names none.
    pub device: Option<String>,
    /// Where the image goes: a new file, or a block device.
    pub output: PathBuf,
    /// Format of the image.
    pub format: &'static Format,
    /// What a thin bundle leans on: a bundle or an image.
    pub base: Option<ImageRequest>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnpackReport {
    /// The image.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Its format.
    pub format: &'static str,
    /// Device of the AMI.
    pub device: String,
    /// Identity of the snapshot.
    pub root_digest: Digest,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Blocks of 512 KiB in each state.
    pub blocks: Counts,
}

/// Writes a snapshot of a bundle as an image. `begin` hears the bytes of the volume.
///
/// # Errors
///
/// As [`crate::bundle::Bundle::open`] and [`crate::bundle::Bundle::snapshot`]; `Corrupt` or `Mismatch` if a chunk is damaged;
/// `Invalid` if the output cannot take the volume; `Io` if it cannot be written.
pub fn unpack(
    request: &UnpackRequest,
    watch: &dyn Watch,
    begin: impl FnOnce(u64),
) -> Result<UnpackReport> {
    let bundle =
        open_bundle(&request.bundle, request.base.as_ref(), request.threads, &Quiet(watch))?;
    let layer = bundle.find(request.device.as_deref())?.clone();
    let snapshot = bundle.snapshot(Some(&layer.device))?;
    begin(snapshot.size());
    let target = Target::open(&request.output)?;
    write_image(request.format, &snapshot, target, &request.output, request.threads, watch)?;
    Ok(UnpackReport {
        output: request.output.clone(),
        format: request.format.name,
        device: layer.device,
        root_digest: layer.root,
        volume_size_bytes: snapshot.size(),
        blocks: snapshot.manifest().header().counts,
    })
}
