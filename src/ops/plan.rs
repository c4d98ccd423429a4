//! `plan`: the whole upload of a bundle as data, step by step.

use std::path::Path;

use crate::calls::Step;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::planning::PlanReport;
use crate::ops::shared::planning::plan_bundle;
use crate::ops::shared::planning::to_file;
use crate::ops::shared::upload::PlanRequest;
use crate::ops::shared::upload::Prepared;
use crate::work::Watch;

/// Plans the upload of a bundle; `emit` takes the steps, one after the other.
///
/// # Errors
///
/// As [`crate::bundle::Bundle::open`], as the rules that would refuse the AMI, and whatever `emit` returns.
pub fn plan(
    request: &PlanRequest,
    watch: &dyn Watch,
    emit: &mut dyn FnMut(&Step) -> Result<()>,
) -> Result<PlanReport> {
    let Prepared { bundle, bases, upload, distribution, .. } = Prepared::of(request, None, watch)?;
    if let Some(base) = bases.iter().find(|it| it.snapshot_id.is_none()) {
        let advice = Advice::Give { setting: Setting::Base, example: "OLD=snap-0123".into() };
        let text = "a plan asks nobody which snapshot has its content";
        return Err(Error::invalid(text).in_file(&base.typed).advise(advice));
    }
    plan_bundle(&bundle, &bases, &upload, &distribution, request.connections, watch, emit)
}

/// Writes the plan of a request as a file of JSON lines.
///
/// # Errors
///
/// As [`plan`]; `Io` if the file cannot be written.
pub fn write_plan(request: &PlanRequest, path: &Path, watch: &dyn Watch) -> Result<PlanReport> {
    let bases = request.bases.iter().map(|base| base.path.as_path());
    check_outside(path, bases.chain([request.bundle.as_path()]))?;
    to_file(path, |emit| plan(request, watch, emit))
}
