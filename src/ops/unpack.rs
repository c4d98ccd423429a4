//! `unpack`: a snapshot of a bundle back to an image.

use std::num::NonZero;
use std::path::PathBuf;

use serde::Serialize;

use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::WriteOptions;
use crate::format::Writer;
use crate::io::Target;
use crate::manifest::Counts;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::likeness::base_notes;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::check_most;
use crate::ops::shared::open::over_base;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::ops::shared::trust::TrustRequest;
use crate::ops::shared::trust::open_checked;
use crate::volume::ReadVolume;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// What is unpacked, and to where.
#[derive(Clone, Debug)]
pub struct UnpackRequest {
    /// The bundle.
    pub bundle: PathBuf,
    /// Device of the AMI; where the user names none, the root device, or all of them if the format takes
    /// several.
    pub device: Option<String>,
    /// Where the image goes: a new file, or a block device.
    pub output: PathBuf,
    /// Format of the image.
    pub format: &'static Writer,
    /// What a thin bundle depends on: a bundle or an image.
    pub base: Option<VolumeRequest>,
    /// Level of compression, in the format's own scale; `None` is its default.
    pub level: Option<i32>,
    /// Most bytes of the volumes that are accepted.
    pub max_size: Option<u64>,
    /// Who has to vouch for the bundle; anyone may have made it otherwise.
    pub trust: Option<TrustRequest>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl UnpackRequest {
    /// Asks for the root volume, or for all if the format takes several, with all processors.
    #[must_use]
    pub fn new(
        bundle: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
        format: &'static Writer,
    ) -> Self {
        Self {
            bundle: bundle.into(),
            device: None,
            output: output.into(),
            format,
            base: None,
            level: None,
            max_size: None,
            trust: None,
            threads: default_threads(),
        }
    }
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
    /// Devices of the other volumes, where the format takes all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_devices: Vec<String>,
    /// Identity of the snapshot.
    pub root_digest: Digest,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Blocks of 512 KiB in each state.
    pub blocks: Counts,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Writes a snapshot of a bundle as an image.
///
/// # Errors
///
/// As [`crate::bundle::Bundle::open`] and [`crate::bundle::Bundle::snapshot`]; `Corrupt` or `Mismatch` if a chunk is damaged;
/// `Invalid` if the output cannot take the volume; `Io` if it cannot be written.
pub fn unpack(request: &UnpackRequest, watch: &dyn Watch) -> Result<UnpackReport> {
    request.format.check_level(request.level)?;
    let base = request.base.iter().map(|base| base.image.path.as_path());
    check_outside(&request.output, base.chain([request.bundle.as_path()]))?;
    let base = request.base.as_ref();
    let trusted = open_checked(&request.bundle, request.trust.as_ref(), base, watch)?;
    let bundle = over_base(trusted.bundle, base, request.threads, &Quiet(watch))?;
    let options = WriteOptions {
        threads: request.threads,
        watch,
        level: request.level,
        zeros_as_data: false,
    };
    let layers: Vec<_> = match (&request.device, request.format.takes_many()) {
        (None, true) => all_layers(&bundle)?,
        (device, _) => vec![bundle.find(device.as_deref())?.clone()],
    };
    let snapshots: Vec<_> =
        layers.iter().map(|layer| bundle.snapshot(Some(&layer.device))).collect::<Result<_>>()?;
    let size = snapshots.iter().map(ReadVolume::size).sum();
    if let Some(most) = request.max_size {
        check_most(size, most).map_err(|error| error.in_file(&request.bundle))?;
    }
    watch.begin(Some(size));
    let target = Target::open(&request.output)?;
    let volumes: Vec<&dyn ReadVolume> =
        snapshots.iter().map(|it| -> &dyn ReadVolume { it }).collect();
    let mut notes = base_notes(&bundle);
    notes.extend(write_image(request.format, &volumes, target, &options)?);
    let layer = layers[0].clone();
    let snapshot = &snapshots[0];
    let others = layers[1..].iter().map(|layer| layer.device.clone()).collect();
    Ok(UnpackReport {
        output: request.output.clone(),
        format: request.format.name,
        device: layer.device,
        other_devices: others,
        root_digest: layer.root,
        volume_size_bytes: snapshot.size(),
        blocks: snapshot.manifest().header().counts,
        notes,
    })
}

/// Returns all volumes of a bundle, the root device first.
fn all_layers(bundle: &Bundle) -> Result<Vec<SnapshotLayer>> {
    let root = bundle.find(None)?;
    let others = bundle.snapshots().iter().filter(|layer| layer.device != root.device);
    Ok(std::iter::once(root).chain(others).cloned().collect())
}
