//! `plan`: the whole upload of a bundle as data, step by step.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Distribution;
use crate::ami::Upload;
use crate::ami::bare;
use crate::bundle::Bundle;
use crate::calls::Base;
use crate::calls::Plan;
use crate::calls::PlanRequest as Planned;
use crate::calls::PlanVolume;
use crate::calls::Step;
use crate::calls::Totals;
use crate::error::Error;
use crate::error::Result;
use crate::io::Input;
use crate::io::OutputFile;
use crate::io::READ_PIECE_LEN;
use crate::io::WriteAt;
use crate::manifest::Manifest;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::open_recipe;
use crate::work::Watch;

/// Puts that run side by side in the estimate.
pub const DEFAULT_CONNECTIONS: NonZero<u64> = NonZero::new(64).unwrap();

/// A snapshot to start from.
#[derive(Clone, Debug)]
pub struct BaseSnapshotRequest {
    /// A bundle or a snapshot manifest; a bundle's device stands behind a colon.
    pub path: PathBuf,
    /// Its id in the account.
    pub snapshot_id: String,
}

/// What is planned.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The bundle.
    pub bundle: PathBuf,
    /// Snapshots to start from.
    pub bases: Vec<BaseSnapshotRequest>,
    /// A recipe that says how to upload and where to distribute.
    pub recipe: Option<PathBuf>,
    /// Values of the recipe's templates.
    pub templates: TemplateRequest,
    /// Region of the upload, over the recipe's.
    pub region: Option<String>,
    /// Encrypt the snapshots, or say that the base is encrypted.
    pub encrypted: bool,
    /// Key to encrypt with.
    pub kms_key_arn: Option<String>,
    /// Send holes as zeros, or leave them out; over the recipe's.
    pub send_holes: Option<bool>,
    /// Regions to copy to, beside the recipe's.
    pub copy_to: Vec<String>,
    /// Puts that run side by side in the estimate.
    pub connections: NonZero<u64>,
}

/// What a plan came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// The sums.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Plans the upload of a bundle; `emit` takes the steps, one after the other.
///
/// # Errors
///
/// As [`Bundle::open`], [`Plan::new`] and whatever `emit` returns.
pub fn plan(
    request: &PlanRequest,
    watch: &dyn Watch,
    emit: &mut dyn FnMut(&Step) -> Result<()>,
) -> Result<PlanReport> {
    let mut upload = Upload::default();
    let mut distribution = Vec::new();
    if let Some(path) = &request.recipe {
        let prepared = open_recipe(path, &request.templates)?;
        (upload, distribution) = (prepared.upload, prepared.distribution);
    }
    if request.region.is_some() {
        upload.region.clone_from(&request.region);
    }
    if request.kms_key_arn.is_some() {
        upload.kms_key_arn.clone_from(&request.kms_key_arn);
    }
    upload.encrypted |= request.encrypted || request.kms_key_arn.is_some();
    upload.send_holes = request.send_holes.unwrap_or(upload.send_holes);
    distribution.extend(
        request
            .copy_to
            .iter()
            .map(|region| Distribution { region: region.clone(), ..Distribution::default() }),
    );
    let bundle = Bundle::open(&request.bundle)?;
    let bases = open_bases(&bundle, &request.bases)?;
    plan_bundle(&bundle, &bases, &upload, &distribution, request.connections, watch, emit)
}

/// A base, open: its device, its manifest and its id.
type OpenBase = (String, Manifest, String);

/// Opens the snapshots to start from, each for a device of the bundle.
fn open_bases(bundle: &Bundle, requests: &[BaseSnapshotRequest]) -> Result<Vec<OpenBase>> {
    let mut bases: Vec<OpenBase> = Vec::new();
    for request in requests {
        let (path, device) = match split(&request.path) {
            Some((path, device)) => (path, Some(device)),
            None => (request.path.clone(), None),
        };
        let manifest = if Bundle::is_at(&path) {
            let base = Bundle::open(&path)?;
            base.manifest(base.find(device.as_deref())?)?
        } else {
            Manifest::open(&Input::open(&path)?)?
        };
        let layer = bundle.find(device.as_deref())?;
        if bases.iter().any(|(device, ..)| *device == layer.device) {
            return Err(Error::invalid(format!("{} has two bases, expected one", layer.device)));
        }
        bases.push((layer.device.clone(), manifest, request.snapshot_id.clone()));
    }
    Ok(bases)
}

/// Splits `old.ami:/dev/sdf`, if there is no file of that name.
fn split(path: &Path) -> Option<(PathBuf, String)> {
    let (file, device) = path.to_str()?.rsplit_once(":/dev/")?;
    (!path.exists()).then(|| (PathBuf::from(file), format!("/dev/{device}")))
}

/// Plans the upload of a bundle that is open.
fn plan_bundle(
    bundle: &Bundle,
    bases: &[OpenBase],
    upload: &Upload,
    distribution: &[Distribution],
    connections: NonZero<u64>,
    watch: &dyn Watch,
    emit: &mut dyn FnMut(&Step) -> Result<()>,
) -> Result<PlanReport> {
    let ami: &Ami = bundle.ami();
    let manifests: Vec<(&str, Manifest)> = bundle
        .snapshots()
        .iter()
        .map(|layer| Ok((layer.device.as_str(), bundle.manifest(layer)?)))
        .collect::<Result<_>>()?;
    let volumes = manifests
        .iter()
        .map(|(device, manifest)| {
            let base = bases.iter().find(|(of, ..)| bare(of) == bare(device));
            let base = base.map(|(_, manifest, id)| Base { manifest, snapshot_id: id });
            PlanVolume { device, manifest, base }
        })
        .collect();
    let mut plan = Plan::new(Planned { ami, volumes, upload, distribution, connections })?;
    for step in plan.by_ref() {
        watch.check()?;
        emit(&step?)?;
    }
    Ok(PlanReport { totals: plan.totals() })
}

/// Writes the plan of a request as a file of JSON lines.
///
/// # Errors
///
/// As [`plan`]; `Io` if the file cannot be written.
pub fn write_plan(request: &PlanRequest, path: &Path, watch: &dyn Watch) -> Result<PlanReport> {
    to_file(path, |emit| plan(request, watch, emit))
}

/// Writes the plan of a bundle that is open.
pub(super) fn write_plan_of(
    bundle: &Bundle,
    upload: &Upload,
    distribution: &[Distribution],
    path: &Path,
    watch: &dyn Watch,
) -> Result<PlanReport> {
    to_file(path, |emit| {
        plan_bundle(bundle, &[], upload, distribution, DEFAULT_CONNECTIONS, watch, emit)
    })
}

/// Writes steps as lines, a piece at a time.
fn to_file(
    path: &Path,
    make: impl FnOnce(&mut dyn FnMut(&Step) -> Result<()>) -> Result<PlanReport>,
) -> Result<PlanReport> {
    let output = OutputFile::create(path)?;
    let mut buffer = Vec::new();
    let mut written = 0_u64;
    let mut flush = |buffer: &mut Vec<u8>| {
        output.write_all_at(buffer, written)?;
        written = written.strict_add(u64::try_from(buffer.len()).expect("a few lines"));
        buffer.clear();
        Ok(())
    };
    let report = make(&mut |step| {
        serde_json::to_writer(&mut buffer, step).expect("plain data always serialises");
        buffer.push(b'\n');
        if buffer.len() < READ_PIECE_LEN { Ok(()) } else { flush(&mut buffer) }
    })?;
    flush(&mut buffer)?;
    output.commit()?;
    Ok(report)
}
