//! What an upload of a bundle is made for: the bundle, its parents, and what the recipe and the request say.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ami::Distribution;
use crate::ami::Upload;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::calls::marked;
use crate::error::Error;
use crate::error::Result;
use crate::format::Named;
use crate::io::Input;
use crate::lint::Subject;
use crate::lint::VolumeFacts;
use crate::manifest::Manifest;
use crate::ops::shared::case::refuse;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::bases_in;
use crate::ops::shared::open::find;
use crate::ops::shared::open::image_base;
use crate::ops::shared::open::open_typed_bundle;
use crate::ops::shared::planning::DEFAULT_CONNECTIONS;
use crate::ops::shared::planning::OpenBase;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::now;
use crate::ops::shared::recipe::open_recipe;
use crate::ops::shared::trust::TrustRequest;
use crate::ops::shared::trust::open_checked;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// A snapshot to start from. A plan takes the id as it is; what publishes wants it proved.
#[derive(Clone, Debug)]
pub struct BaseSnapshotRequest {
    /// A bundle or a snapshot manifest; a bundle's device stands behind a colon.
    pub path: PathBuf,
    /// Its id in the account; `None` for what a record says, which only what publishes looks for.
    pub snapshot_id: Option<String>,
}

impl BaseSnapshotRequest {
    /// Names a snapshot, and its id in the account.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, snapshot_id: impl Into<String>) -> Self {
        Self { path: path.into(), snapshot_id: Some(snapshot_id.into()) }
    }

    /// Names what a record is about, and leaves it to the record which snapshot has it.
    #[must_use]
    pub fn recorded(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), snapshot_id: None }
    }
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
    /// Rules that are not applied, beside the recipe's.
    pub allow: Vec<String>,
}

impl PlanRequest {
    /// Asks for the whole upload of a bundle.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self {
            bundle: bundle.into(),
            bases: Vec::new(),
            recipe: None,
            templates: TemplateRequest::default(),
            region: None,
            encrypted: false,
            kms_key_arn: None,
            send_holes: None,
            copy_to: Vec::new(),
            connections: DEFAULT_CONNECTIONS,
            allow: Vec::new(),
        }
    }
}

/// What an upload is made for, open and judged.
#[derive(Debug)]
pub(in crate::ops) struct Prepared {
    /// The bundle.
    pub(in crate::ops) bundle: Bundle,
    /// Snapshots to start from.
    pub(in crate::ops) bases: Vec<OpenBase>,
    /// How snapshots are uploaded.
    pub(in crate::ops) upload: Upload,
    /// Copies to make.
    pub(in crate::ops) distribution: Vec<Distribution>,
    /// Rules that are not applied.
    pub(in crate::ops) allow: Vec<String>,
}

impl Prepared {
    /// Opens what a request names, after a trusted signature was found if one is asked for.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open`] and [`open_checked`], and as the rules that would refuse the AMI.
    pub(in crate::ops) fn of(
        request: &PlanRequest,
        trust: Option<&TrustRequest>,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let mut upload = Upload::default();
        let mut distribution = Vec::new();
        let mut allow = request.allow.clone();
        if let Some(path) = &request.recipe {
            let prepared = open_recipe(path, &request.templates, watch)?;
            (upload, distribution) = (prepared.upload, prepared.distribution);
            allow.extend(prepared.allow);
        }
        if request.region.is_some() {
            upload.region.clone_from(&request.region);
        }
        if request.kms_key_arn.is_some() {
            upload.kms_key_arn.clone_from(&request.kms_key_arn);
        }
        upload.encrypted |= request.encrypted || request.kms_key_arn.is_some();
        upload.send_holes = request.send_holes.unwrap_or(upload.send_holes);
        distribution.extend(request.copy_to.iter().map(|region| Distribution::to(region)));
        let bundle = match trust {
            None => open_typed_bundle(&request.bundle)?,
            trust => open_checked(&request.bundle, trust, None, watch)?.bundle,
        };
        let mut prepared = Self { bundle, bases: Vec::new(), upload, distribution, allow };
        prepared.check(request)?;
        let (bases, under) = open_bases(&prepared.bundle, &request.bases, watch)?;
        prepared.bases = bases;
        if !under.is_empty() {
            prepared.bundle = prepared.bundle.over(under)?;
        }
        Ok(prepared)
    }

    /// Applies the rules: again when more is known.
    ///
    /// # Errors
    ///
    /// `Invalid` if EC2 would refuse the AMI.
    pub(in crate::ops) fn check(&self, request: &PlanRequest) -> Result<()> {
        check_rules(&self.bundle, &self.upload, &self.distribution, request, &self.allow)
            .map_err(|e| e.in_file(&request.bundle))
    }
}

/// Refuses what EC2 would refuse, whether the bundle, the recipe or the request asks for it.
fn check_rules(
    bundle: &Bundle,
    upload: &Upload,
    distribution: &[Distribution],
    request: &PlanRequest,
    allow: &[String],
) -> Result<()> {
    let volumes: Vec<VolumeFacts> = bundle
        .snapshots()
        .iter()
        .map(|layer| {
            let size = bundle.manifest(layer)?.volume_size();
            Ok(VolumeFacts { device: layer.device.clone(), size, ..VolumeFacts::default() })
        })
        .collect::<Result<_>>()?;
    // What it is registered as has the tag of the bundle, too.
    let ami = marked(bundle.ami(), bundle.digest());
    let parents: Vec<&str> =
        request.bases.iter().filter_map(|it| it.snapshot_id.as_deref()).collect();
    let subject = Subject {
        volumes: &volumes,
        upload: Some(upload),
        distribution,
        parents: &parents,
        now: now(),
        ..Subject::of(&ami)
    };
    refuse(&subject, allow).map(drop)
}

/// Opens the snapshots to start from, each for a device of the bundle. Of a thin bundle, returns with them what it is over.
fn open_bases(
    bundle: &Bundle,
    requests: &[BaseSnapshotRequest],
    watch: &dyn Watch,
) -> Result<(Vec<OpenBase>, Vec<Arc<BaseSnapshot>>)> {
    let mut bases: Vec<OpenBase> = Vec::new();
    let mut under = Vec::new();
    let is_thin = bundle.is_thin()?;
    for request in requests {
        // What it is called: a device of the bundle, whatever holds the manifest.
        let Named { path, ami, inside: device } = Named::parse(&request.path);
        let base = VolumeRequest { ami, ..VolumeRequest::new(&path) };
        let (manifest, holder) = match find(&base).map_err(|error| base.fail(error))? {
            Found::Bundle(base) => {
                if is_thin {
                    under.extend(bases_in(bundle, &base)?);
                }
                let layer = base.find(device.as_deref())?;
                (base.manifest(layer)?, Some((base.digest(), layer.device.clone())))
            }
            Found::Image if is_thin => {
                let image = image_base(bundle, &base, default_threads(), &Quiet(watch))?;
                let root = image.manifest().root();
                let layer = bundle.bases().iter().find(|it| it.root == root);
                under.push(image);
                let layer = layer.expect("an image is a base only if the bundle names it");
                (bundle.base_manifest(layer)?, None)
            }
            _ => (Manifest::open(&Input::open(&path)?)?, None),
        };
        let layer = bundle.find(device.as_deref())?;
        if bases.iter().any(|it| it.device == layer.device) {
            return Err(Error::invalid(format!("{} has two bases, expected one", layer.device)));
        }
        bases.push(OpenBase {
            device: layer.device.clone(),
            manifest,
            snapshot_id: request.snapshot_id.clone(),
            typed: request.path.clone(),
            bundle: holder,
        });
    }
    Ok((bases, under))
}
