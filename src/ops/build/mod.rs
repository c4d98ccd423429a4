//! `build`: from a recipe to a bundle that was checked, packed, tested and planned, in that order.

mod checks;
mod request;

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::bundle::Bundle;
use crate::bundle::Writer;
use crate::bundle::check_replaceable;
use crate::calls::Totals;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::io::Judge;
use crate::io::Node;
use crate::io::Staging;
use crate::io::Taken;
use crate::io::unwritten;
use crate::layout::Destination;
use crate::layout::is_archive_name;
use crate::lint::Audience;
use crate::lint::Finding;
pub use crate::ops::build::checks::TestReport;
use crate::ops::build::checks::Tests;
pub use crate::ops::build::request::BuildRequest;
use crate::ops::shared::adding::add_bundle;
use crate::ops::shared::case::Case;
use crate::ops::shared::case::Look;
use crate::ops::shared::case::refusal;
use crate::ops::shared::judging::Judged;
use crate::ops::shared::judging::Waived;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::mapping::open_mapped;
use crate::ops::shared::open::open_typed_bundle;
use crate::ops::shared::outside::check_outside;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::PackReport;
use crate::ops::shared::packing::pack_volumes;
use crate::ops::shared::planning::stage_plan_of;
use crate::ops::shared::recipe::mapped_volumes;
use crate::ops::shared::recipe::open_recipe;
use crate::ops::shared::recipe::replace_sources;
use crate::ops::shared::report::path_text;
use crate::recipe::Prepared;
use crate::work::Watch;

/// The plan of a bundle that was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuiltPlan {
    /// Its file.
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    /// Its sums.
    pub totals: Totals,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildReport {
    /// The recipe.
    #[serde(serialize_with = "path_text")]
    pub recipe: PathBuf,
    /// Whether all tests passed: without that there is no bundle.
    pub passed: bool,
    /// Rules that warn.
    pub warnings: Vec<Finding>,
    /// Rules that are broken and that the recipe accepts for a while.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<Waived>,
    /// What was packed.
    pub packed: PackReport,
    /// The tests, up to the first that failed.
    pub tests: Vec<TestReport>,
    /// The plan of the upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<BuiltPlan>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Builds a bundle. It gets its name once every test has passed and its upload can be planned.
///
/// # Errors
///
/// `Invalid` if the recipe is none or EC2 would refuse its AMI, before anything is packed; as
/// [`crate::ops::pack`] and the tests. A test that fails is not an error, and the report says so.
pub fn build(request: &BuildRequest, watch: &dyn Watch) -> Result<BuildReport> {
    build_into(request, watch).map_err(unwritten(&request.output))
}

fn build_into(request: &BuildRequest, watch: &dyn Watch) -> Result<BuildReport> {
    let mut prepared = open_recipe(&request.recipe, &request.templates, watch)?;
    replace_sources(&mut prepared, &request.images).map_err(|e| e.in_file(&request.recipe))?;
    let mut volumes = mapped_volumes(&prepared, &request.images)?;
    for volume in &mut volumes {
        volume.image.free = request.free.or(volume.image.free);
    }
    let plan = request.plan.clone().unwrap_or_else(|| plan_path(&request.output));
    let read = || volumes.iter().map(|it| it.image.image.path.as_path());
    check_outside(&request.output, read())?;
    check_outside(&plan, read().chain([request.output.as_path()]))?;
    let mut case = Case::of_recipe(&prepared, &volumes, Look::Inside, watch)?;
    case.audience = request.audience.unwrap_or(case.audience);
    crate::lint::check_ids(&request.allow)?;
    let judged = case.judged(&request.allow);
    if let Some(error) = refusal(&judged.findings) {
        return Err(error.in_file(&request.recipe));
    }
    // What stands under the name must be a bundle: told before the work, not after it.
    drop(Writer::create(&request.output, request.pack_size, watch)?);
    let staging = match Destination::parse(&request.output)? {
        // The tests get a bundle of its own; what passes them goes into the store.
        Destination::Store { store, name } => Staging::create(&store.join(format!("{name}.ami")))?,
        Destination::Path(path) => Staging::create(&path)?,
    };
    let made = staging.path();
    let judged = Warned { audience: case.audience, judged };
    build_staged(request, &prepared, &volumes, judged, staging, watch)
        .map_err(|error| error.shown_as(&made, &request.output))
}

/// What rules said before anything was packed.
struct Warned {
    audience: Audience,
    judged: Judged,
}

/// Builds the bundle in its staging place, and names it.
fn build_staged(
    request: &BuildRequest,
    prepared: &Prepared,
    volumes: &[MappedVolume],
    warned: Warned,
    staging: Staging,
    watch: &dyn Watch,
) -> Result<BuildReport> {
    let made = staging.path();
    let options = pack_options(request, prepared, &made);
    let opened = open_mapped(volumes, &options.ami, options.groups, watch)
        .map_err(|e| missing_image(e, volumes))?;
    let mut packed = pack_volumes(opened, &options, watch)?;
    let mut report = BuildReport {
        recipe: request.recipe.clone(),
        passed: true,
        warnings: warned.judged.findings,
        waived: warned.judged.waived,
        packed: PackReport { bundle: request.output.clone(), ..packed.clone() },
        tests: Vec::new(),
        plan: None,
        notes: warned.judged.notes,
    };
    for volume in &mut packed.volumes {
        report.notes.append(&mut volume.snapshot.notes);
    }
    let (audience, digest) = (warned.audience, packed.digest);
    let tests = Tests { request, prepared, audience, staging: &staging, digest, watch };
    report.passed = tests.run(&mut report.tests)?;
    if report.passed {
        report.plan = Some(publish(request, prepared, staging, watch)?);
    }
    Ok(report)
}

/// Gives the bundle its name and then the plan, both of which are on the disk by then. If the second does not
/// get its name, the first loses it again; a kill between the two leaves a plan that names another digest
/// than the bundle's.
fn publish(
    request: &BuildRequest,
    prepared: &Prepared,
    staging: Staging,
    watch: &dyn Watch,
) -> Result<BuiltPlan> {
    let path = request.plan.clone().unwrap_or_else(|| plan_path(&request.output));
    let bundle = Bundle::open(&staging.path())?;
    let (upload, distribution) = (&prepared.upload, &prepared.distribution);
    let (plan, report) = stage_plan_of(&bundle, upload, distribution, &path, watch)?;
    if let Destination::Store { .. } = Destination::parse(&request.output)? {
        drop(plan);
        add_bundle(bundle, &request.output, request.groups, request.threads, watch)?;
        // The store may have packed it anew, and a plan names the digest that it is of.
        let bundle = open_typed_bundle(&request.output)?;
        let (plan, report) = stage_plan_of(&bundle, upload, distribution, &path, watch)?;
        plan.commit()?;
        return Ok(BuiltPlan { path, totals: report.totals });
    }
    drop(bundle);
    let taken = staging.take_name(may_replace(&request.output))?;
    let mut named = Some(taken);
    plan.commit_or(|| named.take().map_or(Ok(()), Taken::undo))?;
    Ok(BuiltPlan { path, totals: report.totals })
}

/// Returns what says whether the output may be replaced.
fn may_replace(output: &Path) -> Judge {
    if is_archive_name(output) { check_file } else { check_replaceable }
}

/// Lets a regular file be replaced, and nothing else.
fn check_file(path: &Path) -> Result<()> {
    if Node::itself(path)? == Some(Node::File) {
        return Ok(());
    }
    Err(Error::invalid("it already exists and is not a regular file").in_file(path))
}

/// Says how another image is named, if one of the recipe's is not there.
fn missing_image(error: Error, volumes: &[MappedVolume]) -> Error {
    let missing = volumes
        .iter()
        .find(|it| error.kind() == Kind::Io && error.path() == Some(&it.image.image.path));
    match missing {
        Some(MappedVolume { device, .. }) => {
            let example = format!("{device}=FILE").into();
            error.advise(Advice::Give { setting: Setting::Image, example })
        }
        None => error,
    }
}

/// Returns where a plan goes that the user gave no name: `web.plan.jsonl` for `web.ami`.
fn plan_path(bundle: &Path) -> PathBuf {
    if let Ok(Destination::Store { store, name }) = Destination::parse(bundle) {
        return store.with_file_name(format!("{name}.plan.jsonl"));
    }
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".tar").unwrap_or(&name);
    let name = name.strip_suffix(".ami").unwrap_or(name);
    bundle.with_file_name(format!("{name}.plan.jsonl"))
}

fn pack_options(request: &BuildRequest, prepared: &Prepared, output: &Path) -> PackOptions {
    PackOptions {
        allow: [&prepared.allow[..], &request.allow].concat(),
        groups: request.groups,
        pack_size: request.pack_size,
        threads: request.threads,
        states: request.states,
        ..PackOptions::new(output, prepared.ami.clone())
    }
}
