//! `apply`: an image that a thin bundle was packed against, to the image that it leads to.

mod changes;
mod in_place;
mod journal;
mod proof;
mod request;

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::format::ImageRequest;
use crate::format::WriteOptions;
use crate::format::raw;
use crate::io::Input;
use crate::io::Target;
use crate::ops::apply::changes::Delta;
use crate::ops::apply::changes::write_changes;
use crate::ops::apply::in_place::Outcome;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_bundle;
use crate::ops::shared::report::path_text;
use crate::volume::ReadVolume;
use crate::work::Quiet;
use crate::work::Watch;

pub use request::ApplyRequest;
pub use request::ApplyTo;

/// In which way the new image came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// It shares the unchanged bytes with the old one.
    Cloned,
    /// All of it was written.
    Written,
    /// The old image was changed.
    InPlace,
    /// An earlier run was interrupted; this one finished it.
    Resumed,
    /// The old image is the new one already.
    Unchanged,
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplyReport {
    /// The new image.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Device of the AMI.
    pub device: String,
    /// Identity of the old snapshot.
    pub base_digest: Digest,
    /// Identity of the new one.
    pub root_digest: Digest,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Blocks of 512 KiB that changed.
    pub changed_blocks: u64,
    /// How it was done.
    pub how: Applied,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Makes the new image.
///
/// # Errors
///
/// `Mismatch` if the old image is not what the bundle was packed against, before a byte is written; as
/// [`crate::bundle::Bundle::open`], [`crate::ops::open_image`] and reading the bundle; `Io` if the new image cannot
/// be written.
pub fn apply(request: &ApplyRequest, watch: &dyn Watch) -> Result<ApplyReport> {
    match &request.to {
        ApplyTo::Output(output) => to_output(request, output, watch),
        ApplyTo::InPlace => {
            let (delta, outcome, notes) = in_place::in_place(request, watch)?;
            let how = match outcome {
                Outcome::Changed => Applied::InPlace,
                Outcome::Finished => Applied::Resumed,
                Outcome::Unchanged => Applied::Unchanged,
            };
            Ok(ApplyReport { notes, ..report(&delta, &request.old.path, how)? })
        }
    }
}

fn to_output(request: &ApplyRequest, output: &Path, watch: &dyn Watch) -> Result<ApplyReport> {
    let bundle =
        open_bundle(&request.bundle, Some(&base(&request.old)), request.threads, &Quiet(watch))?;
    let delta = Delta::find(&bundle, request.device.as_deref())?;
    let snapshot = bundle.snapshot(Some(&delta.layer.device))?;
    watch.begin(Some(snapshot.size()));
    let mut target = Target::open(output)?;
    if let Target::File(file) = &mut target
        && request.old_is_plain()
        && file.clone_of(&Input::open(&request.old.path)?)?
    {
        write_changes(&delta.old, &snapshot, file, request.threads, watch)?;
        snapshot.check_unchanged()?;
        target.commit()?;
        return report(&delta, output, Applied::Cloned);
    }
    let options = WriteOptions { threads: request.threads, watch, level: None };
    write_image(&raw::WRITER, &[&snapshot], target, &options)?;
    report(&delta, output, Applied::Written)
}

fn report(delta: &Delta, output: &Path, how: Applied) -> Result<ApplyReport> {
    Ok(ApplyReport {
        output: output.to_owned(),
        device: delta.layer.device.clone(),
        base_digest: delta.old.root(),
        root_digest: delta.new.root(),
        volume_size_bytes: delta.new.volume_size(),
        changed_blocks: delta.changed_blocks()?,
        how,
        notes: Vec::new(),
    })
}

/// Names the old image as the base of the bundle.
fn base(old: &ImageRequest) -> VolumeRequest {
    VolumeRequest { role: Some("to".to_owned()), ..old.clone().into() }
}
