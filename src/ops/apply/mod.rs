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
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::format::ImageRequest;
use crate::format::WriteOptions;
use crate::format::raw;
use crate::io::Target;
use crate::manifest::Manifest;
use crate::ops::apply::changes::Delta;
use crate::ops::apply::changes::changed_blocks;
use crate::ops::apply::changes::write_changes;
use crate::ops::apply::in_place::Outcome;
use crate::ops::apply::proof::Sides;
use crate::ops::apply::request::is_plain;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::likeness::base_notes;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::over_base;
use crate::ops::shared::order::is_bundle;
use crate::ops::shared::order::is_there;
use crate::ops::shared::order::swapped;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::report::path_text;
use crate::ops::shared::trust::open_checked;
use crate::volume::ReadVolume;
use crate::work::Quiet;
use crate::work::Watch;

pub use request::ApplyRequest;
pub use request::ApplyTo;
pub use request::Settle;
pub use request::SettleRequest;

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
    /// An earlier run was interrupted; the image is the old one again.
    Undone,
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
/// [`crate::bundle::Bundle::open`], [`crate::ops::open`] and reading the bundle; `Io` if the new image cannot
/// be written.
pub fn apply(request: &ApplyRequest, watch: &dyn Watch) -> Result<ApplyReport> {
    check_old(request)?;
    match &request.to {
        ApplyTo::Output(output) => to_output(request, output, watch),
        ApplyTo::InPlace => {
            let done = in_place::in_place(request, watch)?;
            let how = match done.outcome {
                Outcome::Changed => Applied::InPlace,
                Outcome::Finished => Applied::Resumed,
                Outcome::Unchanged => Applied::Unchanged,
            };
            let (delta, notes, changed_blocks) = (&done.delta, done.notes, done.changed_blocks);
            let changes = Changes { device: &delta.layer.device, from: &delta.old, to: &delta.new };
            let report = changes.report(&request.old.path, how)?;
            Ok(ApplyReport { changed_blocks, notes, ..report })
        }
    }
}

/// Finishes or undoes an in-place apply that was interrupted, with what its journal holds.
///
/// # Errors
///
/// `Invalid` if there is no journal; `Mismatch` if the image is not the one that the journal was made for,
/// and then nothing was written; as reading the journal and writing the image.
pub fn settle(request: &SettleRequest, watch: &dyn Watch) -> Result<ApplyReport> {
    let (journal, notes) = in_place::settle(request, watch)?;
    let Sides { old, new } = journal.sides();
    let (from, to, how) = match request.settle {
        Settle::Finish => (old, new, Applied::Resumed),
        Settle::Undo => (new, old, Applied::Undone),
    };
    let changes = Changes { device: &journal.device, from, to };
    Ok(ApplyReport { notes, ..changes.report(&request.image.path, how)? })
}

/// Refuses a bundle in the place of the old image.
fn check_old(request: &ApplyRequest) -> Result<()> {
    let old = &request.old;
    let typed = old.typed();
    if !old.inputs.is_empty() || !is_bundle(&typed) {
        return Ok(());
    }
    let error = Error::invalid("it is a bundle, expected the old image").in_file(&old.path);
    if is_bundle(&request.bundle) {
        let to = "make an image of it first".into();
        return Err(error.advise(Advice::Use { verb: Verb::Unpack, to }));
    }
    Err(swapped(error, &typed, &request.bundle, is_there))
}

fn to_output(request: &ApplyRequest, output: &Path, watch: &dyn Watch) -> Result<ApplyReport> {
    check_outside(output, [request.bundle.as_path(), request.old.path.as_path()])?;
    let old = base(&request.old);
    let trusted = open_checked(&request.bundle, request.trust.as_ref(), None, watch)?;
    let bundle = over_base(trusted.bundle, Some(&old), request.threads, &Quiet(watch))?;
    let delta = Delta::find(&bundle, request.device.as_deref())?;
    let snapshot = bundle.snapshot(Some(&delta.layer.device))?;
    let changes = Changes { device: &delta.layer.device, from: &delta.old, to: &delta.new };
    // What can fail comes before the output has its name.
    let report = changes.report(output, Applied::Written)?;
    let report = ApplyReport {
        notes: base_notes(&bundle).into_iter().chain(trusted.notes).collect(),
        ..report
    };
    watch.begin(Some(snapshot.size()));
    let mut target = Target::open(output)?;
    // A clone would keep what the free blocks of the old image still hold, and what it shares has the old image's
    // holes, so they must be the snapshot's.
    if let Target::File(file) = &mut target
        && delta.old_free.is_none()
        && is_plain(&request.old)
        && report.notes.is_empty()
        && let Some(old) = bundle.supplied().iter().find_map(|base| base.file())
        && file.clone_of(old)?
    {
        target.finish(|target| {
            write_changes(&delta.old, &snapshot, target, request.threads, watch)?;
            snapshot.check_unchanged()
        })?;
        return Ok(ApplyReport { how: Applied::Cloned, ..report });
    }
    let options =
        WriteOptions { threads: request.threads, watch, level: None, zeros_as_data: false };
    write_image(&raw::WRITER, &[&snapshot], target, &options)?;
    Ok(report)
}

/// What was changed into what.
struct Changes<'a> {
    device: &'a str,
    from: &'a Manifest,
    to: &'a Manifest,
}

impl Changes<'_> {
    fn report(&self, output: &Path, how: Applied) -> Result<ApplyReport> {
        Ok(ApplyReport {
            output: output.to_owned(),
            device: self.device.to_owned(),
            base_digest: self.from.root(),
            root_digest: self.to.root(),
            volume_size_bytes: self.to.volume_size(),
            changed_blocks: changed_blocks(self.from, self.to)?,
            how,
            notes: Vec::new(),
        })
    }
}

/// Names the old image as the base of the bundle.
fn base(old: &ImageRequest) -> VolumeRequest {
    VolumeRequest { role: Some("to".to_owned()), ..old.clone().into() }
}
