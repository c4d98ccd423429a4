//! `build`: from a recipe to a bundle that was checked, packed, tested and planned, in that order.

mod checks;

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::bundle::Bundle;
use crate::bundle::FreeRecord;
use crate::bundle::Writer;
use crate::bundle::check_replaceable;
use crate::calls::Totals;
use crate::chunking::States;
use crate::compress::DEFAULT_LEVEL;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::io::Judge;
use crate::io::Node;
use crate::io::Staging;
use crate::io::unwritten;
use crate::layout::is_archive_name;
use crate::lint::Finding;
pub use crate::ops::build::checks::TestReport;
use crate::ops::build::checks::run_test;
use crate::ops::shared::case::Case;
use crate::ops::shared::case::refusal;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::mapping::open_mapped;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::PackReport;
use crate::ops::shared::packing::pack_volumes;
use crate::ops::shared::planning::write_plan_of;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::mapped_volumes;
use crate::ops::shared::recipe::open_recipe;
use crate::ops::shared::recipe::replace_sources;
use crate::ops::shared::report::path_text;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::recipe::Prepared;
use crate::work::Watch;
use crate::work::default_threads;

/// What is built.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The recipe.
    pub recipe: PathBuf,
    /// Where the bundle goes.
    pub output: PathBuf,
    /// Where the plan of its upload goes; beside the bundle where there is none.
    pub plan: Option<PathBuf>,
    /// Volumes in the place of the recipe's own, by device.
    pub images: Vec<MappedVolume>,
    /// Values of the recipe's templates.
    pub templates: TemplateRequest,
    /// Rules that are not applied, beside the recipe's.
    pub allow: Vec<String>,
    /// Compression level.
    pub level: i32,
    /// Bytes at which packs are closed.
    pub pack_size: u64,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
    /// What becomes of free blocks, in the place of what the recipe says.
    pub free: Option<FreeRecord>,
}

impl BuildRequest {
    /// Asks for the bundle of a recipe with what `pack` does where nothing else is said.
    #[must_use]
    pub fn new(recipe: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            recipe: recipe.into(),
            output: output.into(),
            plan: None,
            images: Vec::new(),
            templates: TemplateRequest::default(),
            allow: Vec::new(),
            level: DEFAULT_LEVEL,
            pack_size: DEFAULT_PACK_SIZE,
            threads: default_threads(),
            states: States::default(),
            free: None,
        }
    }
}

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
    let case = Case::of_recipe(&prepared, &volumes, watch)?;
    crate::lint::check_ids(&request.allow)?;
    let findings = case.findings(&request.allow);
    if let Some(error) = refusal(&findings) {
        return Err(error.in_file(&request.recipe));
    }
    // What stands under the name must be a bundle: told before the work, not after it.
    drop(Writer::create(&request.output, request.pack_size)?);
    let staging = Staging::create(&request.output)?;
    let options = pack_options(request, &prepared, staging.path());
    let opened = open_mapped(&volumes, &options.ami, options.level, watch)
        .map_err(|e| missing_image(e, &volumes))?;
    let mut packed = pack_volumes(opened, &options, watch)?;
    let mut report = BuildReport {
        recipe: request.recipe.clone(),
        passed: true,
        warnings: findings,
        packed: PackReport { bundle: request.output.clone(), ..packed.clone() },
        tests: Vec::new(),
        plan: None,
        notes: Vec::new(),
    };
    for volume in &mut packed.volumes {
        report.notes.append(&mut volume.snapshot.notes);
    }
    for test in &prepared.tests {
        watch.check()?;
        let done = run_test(test, &request.recipe, &staging, &prepared, request.threads, watch)?;
        report.passed &= done.passed;
        report.tests.push(done);
        if !report.passed {
            return Ok(report);
        }
    }
    let path = request.plan.clone().unwrap_or_else(|| plan_path(&request.output));
    let bundle = Bundle::open(staging.path())?;
    let plan = write_plan_of(&bundle, &prepared.upload, &prepared.distribution, &path, watch)?;
    drop(bundle);
    staging.commit(may_replace(&request.output))?;
    report.plan = Some(BuiltPlan { path, totals: plan.totals });
    Ok(report)
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
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".tar").unwrap_or(&name);
    let name = name.strip_suffix(".ami").unwrap_or(name);
    bundle.with_file_name(format!("{name}.plan.jsonl"))
}

fn pack_options(request: &BuildRequest, prepared: &Prepared, output: &Path) -> PackOptions {
    PackOptions {
        allow: [&prepared.allow[..], &request.allow].concat(),
        level: request.level,
        pack_size: request.pack_size,
        threads: request.threads,
        states: request.states,
        ..PackOptions::new(output, prepared.ami.clone())
    }
}
