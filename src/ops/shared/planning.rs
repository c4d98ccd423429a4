//! The upload of a bundle as steps, and as a file of them.

use std::borrow::Cow;
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
use crate::digest::Digest;
use crate::error::Result;
use crate::io::OutputFile;
use crate::io::READ_PIECE_LEN;
use crate::io::WriteAt;
use crate::manifest::Manifest;
use crate::work::Watch;

/// Puts that run side by side in the estimate.
pub const DEFAULT_CONNECTIONS: NonZero<u64> = NonZero::new(64).unwrap();

/// What a plan came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// The sums.
    #[serde(flatten)]
    pub totals: Totals,
}

/// A snapshot to start from, open.
#[derive(Debug)]
#[cfg_attr(not(feature = "network"), allow(dead_code, reason = "what publishes proves it"))]
pub(in crate::ops) struct OpenBase {
    /// The device of the bundle that it is the parent of.
    pub(in crate::ops) device: String,
    /// What is in it.
    pub(in crate::ops) manifest: Manifest,
    /// Its id in the account, once it is known.
    pub(in crate::ops) snapshot_id: Option<String>,
    /// What the user named it by.
    pub(in crate::ops) typed: PathBuf,
    /// The bundle that has the manifest, and its device there.
    pub(in crate::ops) bundle: Option<(Digest, String)>,
}

impl OpenBase {
    /// Returns its id.
    pub(in crate::ops) fn id(&self) -> &str {
        self.snapshot_id.as_deref().expect("an id is known before anything is planned")
    }

    /// Returns it as plans have it.
    pub(in crate::ops) fn as_base(&self) -> Base<'_> {
        Base { manifest: &self.manifest, snapshot_id: self.id() }
    }
}

/// Plans the upload of a bundle that is open.
pub(in crate::ops) fn plan_bundle(
    bundle: &Bundle,
    bases: &[OpenBase],
    upload: &Upload,
    distribution: &[Distribution],
    connections: NonZero<u64>,
    watch: &dyn Watch,
    emit: &mut dyn FnMut(&Step) -> Result<()>,
) -> Result<PlanReport> {
    let ami: Cow<'_, Ami> = Cow::Borrowed(bundle.ami());
    let manifests: Vec<(&str, Manifest)> = bundle
        .snapshots()
        .iter()
        .map(|layer| Ok((layer.device.as_str(), bundle.manifest(layer)?)))
        .collect::<Result<_>>()?;
    let volumes = manifests
        .iter()
        .map(|(device, manifest)| {
            let base = bases.iter().find(|it| bare(&it.device) == bare(device));
            let base = base.map(OpenBase::as_base);
            PlanVolume { device, manifest, base }
        })
        .collect();
    let bundle = bundle.digest();
    let mut plan = Plan::new(Planned { bundle, ami, volumes, upload, distribution, connections })?;
    for step in plan.by_ref() {
        watch.check()?;
        emit(&step?)?;
    }
    Ok(PlanReport { totals: plan.totals() })
}

/// Writes the plan of a bundle that is open. It is on the disk when this returns, and gets its name when it is
/// committed.
pub(in crate::ops) fn stage_plan_of(
    bundle: &Bundle,
    upload: &Upload,
    distribution: &[Distribution],
    path: &Path,
    watch: &dyn Watch,
) -> Result<(OutputFile, PlanReport)> {
    staged(path, |emit| {
        plan_bundle(bundle, &[], upload, distribution, DEFAULT_CONNECTIONS, watch, emit)
    })
}

/// Writes steps as lines, a piece at a time.
pub(in crate::ops) fn to_file(
    path: &Path,
    make: impl FnOnce(&mut dyn FnMut(&Step) -> Result<()>) -> Result<PlanReport>,
) -> Result<PlanReport> {
    let (output, report) = staged(path, make)?;
    output.commit()?;
    Ok(report)
}

fn staged(
    path: &Path,
    make: impl FnOnce(&mut dyn FnMut(&Step) -> Result<()>) -> Result<PlanReport>,
) -> Result<(OutputFile, PlanReport)> {
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
    output.sync()?;
    Ok((output, report))
}
